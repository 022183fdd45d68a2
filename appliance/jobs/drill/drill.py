"""Drill: a log and both sides of a gap in a directory, the whole way, and an attack on it.

What runs are the jobs that the commands run, on real homes with real keys. So a drill
shows of the installed program, on this machine, that it does what it is relied upon for.
It is no test of the formats: that is what the project's tests are for.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from appliance.jobs.checks import CheckResult
from appliance.jobs.drill.checks import REFUSALS, Checks
from appliance.jobs.drill.log_attacks import fork, rollback, stale
from appliance.jobs.drill.media_attacks import (
    MAX_STICK_BYTES,
    bit_rot,
    replayed_bundle,
    tampered_bundle,
)
from appliance.jobs.drill.sites import DrillSites, RandomBytes, Release
from appliance.jobs.home.store_check import check_store
from appliance.jobs.mirror.audit import audit
from appliance.jobs.transfer.ingest import IngestReport, Rules, ingest
from appliance.store.files import read_foreign
from appliance.value import frozen
from bundles.reader import peek


@frozen
class Drilled:
    """What came of one attack."""

    attack: str
    checks: tuple[CheckResult, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether it was met as it has to be."""
        return bool(self.checks) and not any(check.failed for check in self.checks)


def drill(
    directory: Path,
    attacks: Sequence[str],
    now: int,
    random_bytes: RandomBytes,
    monotonic: Callable[[], float],
) -> tuple[Drilled, ...]:
    """Run each of `attacks` on sites of its own below `directory`, from `now` on.

    A check that fails is a value. Raises KeyError for an attack that is not in ATTACKS,
    and StoreError if there is no room for the sites.
    """
    done = []
    for attack in attacks:
        started = monotonic()
        checks = Checks()
        place = directory / attack
        place.mkdir()
        sites = DrillSites(place, now, random_bytes)
        try:
            with checks.going_on("the way from the log to the inside"):
                ATTACKS[attack](sites, checks)
        finally:
            sites.close()
        done.append(Drilled(attack, tuple(checks.done), monotonic() - started))
    return tuple(done)


def round_trip(sites: DrillSites, checks: Checks) -> None:
    """The log grows, sticks are carried, releases are verified; nobody attacks."""
    releases = sites.grow(300)
    sites.sync()
    stick = sites.export("first.tar")
    whole = read_foreign(stick, MAX_STICK_BYTES)
    claims = peek(io.BytesIO(whole))
    before = sites.inside.standing()
    planned = ingest(sites.inside.store, stick, Rules(dry_run=True), sites.now)
    checks.same("a dry run changes nothing", before, sites.inside.standing())
    need = planned.logs[0].need
    checks.expect("and says what would come", need > 0, f"{need} tiles and entry bundles")
    arrived = sites.import_(stick)
    checks.same("what was inspected is what arrived", claims.header.bundle_id, arrived.bundle_id)
    checks.same("the first stick brings the log inside", sites.outside.head, sites.inside.head)
    _verified(sites, checks, releases[0], "a release is verified inside")
    other = Release(b"something else\n", releases[0].sigstore_bundle)
    refused = sites.verify(other).error
    checks.expect("another artifact is not", refused is not None, refused or "yes")
    _receipt_comes_back(sites, checks, arrived)
    newer = sites.grow(20)
    sites.sync()
    delta = sites.export("delta.tar")
    base = peek(io.BytesIO(read_foreign(delta, MAX_STICK_BYTES))).manifest.logs[0].base
    checks.same("the delta starts where it says", 300, base.tree_size if base else None)
    n_bytes = len(read_foreign(delta, MAX_STICK_BYTES))
    checks.expect(
        "a delta is smaller", n_bytes < len(whole) / 2, f"{n_bytes:,} of {len(whole):,} bytes"
    )
    sites.import_(delta)
    checks.same("the delta brings the rest", sites.outside.head, sites.inside.head)
    _verified(sites, checks, newer[-1], "the newest release is verified inside")
    audited = audit(sites.inside.mirror, full=True)
    checks.same("the tiles inside lead to the signed root", sites.inside.head, audited.head)
    damaged = check_store(sites.inside.store, read_data=True).damaged
    checks.same("damaged blobs inside", 0, len(damaged))


def _receipt_comes_back(sites: DrillSites, checks: Checks, arrived: IngestReport) -> None:
    receipt = arrived.receipt or b""
    forged = receipt.replace(b"300", b"299", 1)
    checks.refused("an altered receipt is refused", partial(sites.accept, forged), REFUSALS)
    accepted = sites.accept(receipt)
    checks.same("the receipt is of what left", arrived.bundle_id, accepted.bundle_id)


def _verified(sites: DrillSites, checks: Checks, release: Release, what: str) -> None:
    verdict = sites.verify(release)
    checks.expect(what, verdict.error is None, verdict.error or verdict.own_view.text)


ATTACKS: Final[dict[str, Callable[[DrillSites, Checks], None]]] = {
    "none": round_trip,
    "fork": fork,
    "rollback": rollback,
    "stale": stale,
    "tampered-bundle": tampered_bundle,
    "replayed-bundle": replayed_bundle,
    "bit-rot": bit_rot,
}
