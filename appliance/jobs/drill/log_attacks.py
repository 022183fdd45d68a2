"""Drills in which the log itself, or what stands between it and us, does not play fair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Final

from appliance.errors import DivergenceError, RefusedError, RemoteError, RestoredError
from appliance.jobs.divergence.health import LogStatus, log_status
from appliance.jobs.divergence.lift import lift
from appliance.jobs.drill.checks import Checks
from appliance.jobs.drill.sites import BACKEND, DrillSites, LogHome, Release, Site, artifact
from appliance.jobs.home.backup import backup
from appliance.jobs.home.configure import read_configuration
from appliance.policy.health import AgeLimits, Health
from appliance.policy.relate import Relation
from appliance.store.database import DATABASE_NAME
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.mirror.logs import require_backend

DAY: Final = 86_400  # seconds
DIVERGED: Final = "rekor.checkpoint.divergence"
ROLLED_BACK: Final = "rekor.checkpoint.rollback"
STALE: Final = "rekor.checkpoint.stale"


def fork(sites: DrillSites, checks: Checks) -> None:
    """A log shows one tree to us and another to somebody else, under its own key."""
    releases = _delivered(sites)
    other_face = _other_face(sites, common=200)
    forged = _only_there(sites, other_face, 100)  # as large as the honest one
    larger = _only_there(sites, other_face, 50)
    with _unmoved(sites.outside, checks, "outside", notes=2):
        checks.refused(
            "sync refuses another root of the size it holds",
            partial(sites.sync, other_face, tree_size=300),
            *(DivergenceError, "root-mismatch"),
        )
        checks.refused(
            "sync refuses a larger tree that ours is no prefix of",
            partial(sites.sync, other_face),
            *(DivergenceError, "fork"),
        )
    _carried_inside(sites, checks, other_face, "fork")
    _quarantined(sites, checks, 200, DIVERGED, releases)
    for release, tree in ((forged[0], "its own size"), (larger[0], "a larger size")):
        verdict = sites.verify(release)
        checks.expect(
            f"inside, verify does not say yes to what only the fork has, at {tree}",
            verdict.error is not None,
            verdict.own_view.text,
        )
    _explained(sites, checks)


def rollback(sites: DrillSites, checks: Checks) -> None:
    """A log forgets its newest entries and goes on otherwise; a replica is only late."""
    releases = _delivered(sites)
    checks.same(
        "sync knows a late replica's checkpoint for a prefix of ours",
        *(Relation.BEHIND.value, sites.sync(tree_size=200).relation.value),
    )
    checks.same("and counts it as no contradiction", 0, sites.outside.evidence())
    shorter = _other_face(sites, common=100)
    _only_there(sites, shorter, 150)
    with _unmoved(sites.outside, checks, "outside", notes=1):
        checks.refused(
            "sync refuses a smaller tree that is no prefix of ours",
            partial(sites.sync, shorter),
            *(DivergenceError, "rollback"),
        )
    _carried_inside(sites, checks, shorter, "rollback")
    _quarantined(sites, checks, 100, ROLLED_BACK, releases)
    saved = sites.directory / "monday.db"
    backup(sites.log.store, saved, nullcontext, with_blobs=False, with_keys=False)
    for _ in range(2):  # one batch would be rolled forward: that was signed, and is the same
        sites.grow(5)
    sites.log.store.close()
    saved.replace(sites.log.home / DATABASE_NAME)
    sites.log.reopen()
    checks.refused(
        "our own log signs nothing from a database restored from an older backup",
        *(partial(sites.grow, 1), RestoredError, "restored"),
    )


def stale(sites: DrillSites, checks: Checks) -> None:
    """Time passes and nothing new comes, though sticks do."""
    [release] = sites.grow(1)
    sites.sync()
    sites.import_(sites.export("first.tar"))
    for site, where in ((sites.outside, "outside"), (sites.inside, "inside")):
        checks.same(
            f"{where} begins healthy", Health.HEALTHY.value, _status(sites, site).health.value
        )
    sites.now += 20 * DAY
    checks.same(
        "inside, it counts as old after 20 days",
        *(Health.DEGRADED.value, _inside(sites).health.value),
    )
    sites.now += 20 * DAY
    checks.refused("the log answers no more", sites.sync_in_vain, RemoteError, "unreachable")
    checks.same(
        "outside says so", *(Health.UNHEALTHY.value, _status(sites, sites.outside).health.value)
    )
    checks.same("outside alerts", STALE, sites.outside.alarms())
    sites.import_(sites.export("again.tar", since_size=1))
    status = _inside(sites)
    checks.same("a stick of today with an old checkpoint refreshes nothing", 40, _days(status))
    checks.same("inside says so", Health.UNHEALTHY.value, status.health.value)
    checks.same("inside alerts", STALE, sites.inside.alarms())
    month = sites.verify(release, max_age=30 * DAY)
    checks.expect(
        "verify refuses where at most 30 days are allowed",
        isinstance(month.error, RefusedError),
        month.error or "yes",
    )
    checks.expect(
        "and says yes where no limit is set", *(sites.verify(release).error is None, "yes")
    )
    [newer] = sites.grow(1)
    sites.sync()
    sites.import_(sites.export("fresh.tar", since_size=1))
    checks.same(
        "one new checkpoint makes it healthy", Health.HEALTHY.value, _inside(sites).health.value
    )
    for site, where in ((sites.outside, "outside"), (sites.inside, "inside")):
        checks.same(f"{where}, the alert ends", "none", site.alarms())
    fresh = sites.verify(newer, max_age=DAY)
    checks.expect("and verify says yes again", fresh.error is None, fresh.error or "yes")


def _delivered(sites: DrillSites) -> list[Release]:
    """Bring both sites to the same 300 entries."""
    releases = [*sites.grow(100), *sites.grow(100), *sites.grow(100)]
    sites.sync()
    sites.import_(sites.export("first.tar"))
    return releases


def _other_face(sites: DrillSites, common: int) -> LogHome:
    log = sites.another_log("other-face")
    for start in range(0, common, 100):
        log.add(sites.logged[start : start + 100], sites.now)
    return log


def _only_there(sites: DrillSites, log: LogHome, count: int) -> list[Release]:
    requests = sites.requests(count)
    first = sites.count - count
    made = log.add(requests, sites.now)
    return [Release(artifact(first + at), bundle) for at, bundle in enumerate(made)]


def _carried_inside(sites: DrillSites, checks: Checks, log: LogHome, reason: str) -> None:
    """Import what an exporter that we trust was shown, and signed in good faith."""
    deceived = sites.another_outside("deceived", log)
    sites.sync(log, deceived)
    stick = sites.export("deceived.tar", site=deceived)
    with _unmoved(sites.inside, checks, "inside", notes=1):
        checks.refused(
            "import refuses it under a trusted exporter's signature",
            *(partial(sites.import_, stick), DivergenceError, reason),
        )


def _quarantined(
    sites: DrillSites, checks: Checks, common: int, event: str, releases: list[Release]
) -> None:
    """Expect both sites to believe no more than what both stories share, and to say so."""
    for site, where in ((sites.outside, "outside"), (sites.inside, "inside")):
        checks.same(f"{where} alerts", event, site.alarms())
        held = quarantine_of(site.store, site.mirror.log)
        size = held.last_common_size if held else None
        checks.same(f"{where}, the log is quarantined beyond size", common, size)
    sound, doubted = sites.verify(releases[0]), sites.verify(releases[250])
    checks.expect(
        "what rests on the common past stays good", sound.error is None, sound.own_view.text
    )
    reason = doubted.error.reason if doubted.error else "yes"
    checks.same("what rests on more is refused", "quarantined", reason)


def _explained(sites: DrillSites, checks: Checks) -> None:
    """Lift both quarantines, as an operator does who found out; the honest log goes on."""
    for site in (sites.outside, sites.inside):
        held = quarantine_of(site.store, site.mirror.log)
        if held is not None:
            lift(site.store, held.id, "a drill", sites.now, dry_run=False)
    [release] = sites.grow(1)
    sites.sync()
    sites.import_(sites.export("explained.tar", since_size=300))
    try:
        verdict = sites.verify(release)
    except ValueError as error:  # a mirror that took a fork has tiles of two trees
        checks.expect("once it is explained the honest log goes on", False, str(error))
        return
    checks.expect(
        "once it is explained the honest log goes on", verdict.error is None, verdict.own_view.text
    )


@contextmanager
def _unmoved(site: Site, checks: Checks, where: str, *, notes: int) -> Iterator[None]:
    """Expect that what happens within leaves a site where it was, with more evidence."""
    before, kept = site.standing(), site.evidence()
    yield
    checks.same(f"{where}, nothing moved", before, site.standing())
    checks.same(f"{where}, the contradictions are kept", notes, site.evidence() - kept)


def _inside(sites: DrillSites) -> LogStatus:
    return _status(sites, sites.inside)


def _status(sites: DrillSites, site: Site) -> LogStatus:
    configuration = read_configuration(site.store)
    limits = AgeLimits(
        configuration.seconds("divergenceDetection.degradedCheckpointAgeThreshold"),
        configuration.seconds("divergenceDetection.unhealthyCheckpointAgeThreshold"),
    )
    return log_status(site.store, require_backend(site.store, BACKEND), limits, sites.now)


def _days(status: LogStatus) -> int | None:
    return None if status.age is None else status.age // DAY
