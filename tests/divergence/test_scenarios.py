"""What logs do, and what is to come of it: exit codes, state, alerts, counts, quarantine.

Each scenario is a story told through commands and real HTTP; what it must leave behind is
its last line. The names of the counts are the metrics' without attestor_rekor_.
"""

from __future__ import annotations

import json

import pytest

from appliance.store.lock import writer_lock
from appliance.store.mirror.logs import put_window, require_log
from appliance.tlog.cosignature import cosigner_key
from appliance.tlog.note import SigningKey
from appliance.tlog.tile import Tile
from tests.divergence.world import DAY, HOUR, MINUTE, World
from tests.simulator import SimulatedLog

MISMATCHES = "checkpoint_mismatch_total primary log.example"
ROLLBACKS = "checkpoint_rollback_detected_total primary"
FETCHED = "sync_checkpoints_fetched_total primary"
STORED = "sync_checkpoints_stored_total primary"
STALE_BOTH = ("StaleCheckpoint warning x1", "StaleTreeSize warning x1")
CROSS = "cross_log_divergence_total copy primary"  # labels in their order: mirror, primary


def error(kind: str, backend: str = "primary") -> str:
    return f"sync_errors_total {backend} {kind}"


def anomaly(severity: str, kind: str) -> str:
    return f"anomalies_detected_total {severity} {kind}"


# --- an honest log


def test_the_first_checkpoint_is_taken(world: World) -> None:
    world.log.grow(300)
    world.sync()
    world.ends(head=300, counts={FETCHED: 1, STORED: 1, "sync_tiles_fetched_total primary": 3})


def test_nothing_new_changes_nothing(world: World) -> None:
    world.log.grow(300)
    world.sync()
    world.sync()
    world.ends(head=300, counts={FETCHED: 2, STORED: 1, "sync_tiles_cached_total primary": 3})


def test_growth_is_followed(world: World) -> None:
    for more in (1, 255, 1, 300):
        world.log.grow(more)
        world.sync()
    world.ends(head=557, counts={STORED: 4, "sync_checkpoint_age_seconds_count primary": 4})


def test_an_empty_log_is_followed_too(world: World) -> None:
    world.sync()
    world.log.grow(5)
    world.sync()
    world.ends(head=5, counts={STORED: 2})


# --- root mismatch and forks


def test_another_root_at_our_size(world: World) -> None:
    world.log.grow(300)
    world.sync()
    world.serve("primary", world.log.fork(at=120))
    world.sync(expect=4)
    world.ends(
        head=300,
        alerts=["RootHashMismatch critical x1"],
        quarantine=120,
        health="QUARANTINED",
        evidence=1,
        counts={MISMATCHES: 1, STORED: 1, anomaly("critical", "RootHashMismatch"): 1},
    )


@pytest.mark.parametrize(("at", "growth"), [(0, 1), (120, 1), (299, 500), (256, 212)])
def test_a_larger_tree_that_ours_is_no_prefix_of(world: World, at: int, growth: int) -> None:
    world.log.grow(300)
    world.sync()
    twin = world.log.fork(at=at)
    twin.grow(growth)
    world.serve("primary", twin)
    world.sync(expect=4)
    world.ends(
        head=300,
        alerts=["TreeFork critical x1"],
        quarantine=at,
        health="QUARANTINED",
        evidence=1,
        counts={MISMATCHES: 1, anomaly("critical", "TreeFork"): 1},
    )


def test_the_same_fork_seen_twice_is_one_of_everything(world: World) -> None:
    world.log.grow(100)
    world.sync()
    world.serve("primary", world.log.fork(at=50))
    for _ in range(3):
        world.sync(expect=4)
    world.ends(
        head=100,
        alerts=["RootHashMismatch critical x3"],
        quarantine=50,
        health="QUARANTINED",
        evidence=1,
        counts={MISMATCHES: 3},
    )


def test_a_fork_that_grows_is_one_alert_with_evidence_each_time(world: World) -> None:
    world.log.grow(100)
    world.sync()
    twin = world.log.fork(at=70)
    world.serve("primary", twin)
    for _ in range(3):
        twin.grow(10)
        world.sync(expect=4)
    world.ends(
        head=100,
        alerts=["TreeFork critical x3"],
        quarantine=70,
        health="QUARANTINED",
        evidence=3,
    )


def test_a_second_earlier_fork_lowers_what_is_believed(world: World) -> None:
    world.log.grow(100)
    world.sync()
    for at in (70, 30, 90):
        world.serve("primary", world.log.fork(at=at))
        world.sync(expect=4)
    world.ends(
        head=100,
        alerts=["RootHashMismatch critical x3"],
        quarantine=30,
        health="QUARANTINED",
        evidence=3,
    )


def test_an_earlier_fork_seen_again_lowers_what_is_believed_once_more(world: World) -> None:
    world.log.grow(100)
    world.sync()
    early, late = world.log.fork(at=30), world.log.fork(at=70)
    world.serve("primary", early)
    world.sync(expect=4)
    world.lift()
    world.serve("primary", late)
    world.sync(expect=4)
    assert world.cli("quarantine", "list")["data"]["quarantines"][0]["lastCommonSize"] == 70
    world.serve("primary", early)
    world.sync(expect=4)
    world.ends(
        head=100,
        alerts=["RootHashMismatch critical x1 over", "RootHashMismatch critical x2"],
        quarantine=30,
        health="QUARANTINED",
        evidence=2,
    )


def test_a_fork_whose_tiles_come_late_is_compared_then(world: World) -> None:
    world.log.grow(1000)
    world.sync()
    twin = world.log.fork(at=700)
    twin.lose(Tile(0, 2))
    world.serve("primary", twin)
    world.sync(expect=4)
    twin.tell_the_truth()
    world.sync(expect=4)
    world.ends(
        head=1000,
        alerts=["RootHashMismatch critical x2"],
        quarantine=700,
        health="QUARANTINED",
        evidence=1,
    )


def test_a_fork_whose_tiles_are_gone_is_believed_from_what_could_be_compared(
    world: World,
) -> None:
    world.log.grow(1000)
    world.sync()
    twin = world.log.fork(at=700)
    twin.lose(Tile(0, 2))
    world.serve("primary", twin)
    world.sync(expect=4)
    world.ends(
        head=1000,
        alerts=["RootHashMismatch critical x1"],
        quarantine=512,
        health="QUARANTINED",
        evidence=1,
    )


def test_a_fork_that_healed_is_proven_but_not_taken(world: World) -> None:
    world.log.grow(100)
    world.sync()
    world.serve("primary", world.log.fork(at=50))
    world.sync(expect=4)
    world.serve("primary", world.log)
    assert world.sync(expect=8)["error"]["reason"] == "quarantined"
    world.log.grow(10)
    assert "continues what we accepted" in world.sync(expect=8)["error"]["message"]
    world.ends(
        head=100,
        alerts=["RootHashMismatch critical x1"],
        quarantine=50,
        health="QUARANTINED",
        evidence=1,
        counts={FETCHED: 4, STORED: 1},
    )


def test_a_fork_that_healed_and_was_explained_goes_on(world: World) -> None:
    world.log.grow(100)
    world.sync()
    world.serve("primary", world.log.fork(at=50))
    world.sync(expect=4)
    world.log.grow(10)
    world.serve("primary", world.log)
    world.lift()
    world.sync()
    world.ends(head=110, alerts=["RootHashMismatch critical x1 over"], evidence=1)


def test_a_fork_that_comes_back_is_a_new_alert_and_a_new_quarantine(world: World) -> None:
    world.log.grow(100)
    world.sync()
    twin = world.log.fork(at=50)
    world.serve("primary", twin)
    world.sync(expect=4)
    world.lift()
    world.serve("primary", world.log)
    world.sync()
    world.serve("primary", twin)
    world.sync(expect=4)
    world.ends(
        head=100,
        alerts=["RootHashMismatch critical x1 over", "RootHashMismatch critical x1"],
        quarantine=50,
        health="QUARANTINED",
        evidence=1,
    )


def test_a_look_at_a_fork_is_evidence_too(world: World) -> None:
    world.log.grow(100)
    world.sync()
    world.serve("primary", world.log.fork(at=50))
    world.sync("--dry-run", expect=4)
    world.ends(
        head=100,
        alerts=["RootHashMismatch critical x1"],
        quarantine=50,
        health="QUARANTINED",
        evidence=1,
    )


def test_a_fork_is_noticed_by_a_sync_that_may_fetch_nothing_more(world: World) -> None:
    world.log.grow(2000)
    world.sync("--max-tiles", "0")
    twin = world.log.fork(at=50)
    twin.grow(3000)
    world.serve("primary", twin)
    world.sync("--max-tiles", "0", expect=4)
    world.ends(
        head=2000,
        alerts=["TreeFork critical x1"],
        quarantine=0,  # without tiles of ours nothing could be compared
        health="QUARANTINED",
        evidence=1,
    )


def test_a_fork_without_its_witnesses_is_a_fork(world: World) -> None:
    world.log.grow(100)
    world.sync()
    witness = cosigner_key(SigningKey("witness.example", bytes(range(32))))
    policy = world.directory / "policy"
    policy.write_text(f"witness w {witness.vkey}\nquorum w\n")
    key = world.directory / "primary.vkey"
    world.cli(
        *("backend", "add", "primary", "--origin", "log.example", "--public-key", key),
        *("--read-url", world.url("primary"), "--policy", policy),
    )
    world.log.grow(1)
    assert world.sync(expect=8)["error"]["reason"] == "quorum"
    world.serve("primary", world.log.fork(at=50))
    world.sync(expect=4)
    world.ends(
        head=100,
        alerts=["TreeFork critical x1"],
        quarantine=50,
        health="QUARANTINED",
        evidence=1,
        counts={error("signature"): 1},
    )


def test_with_detection_off_evidence_is_kept_and_nobody_alarmed(world: World) -> None:
    world.set("divergenceDetection.enabled", "false")
    world.log.grow(100)
    world.sync()
    world.serve("primary", world.log.fork(at=50))
    world.sync(expect=4)
    world.ends(head=100, evidence=1, counts={MISMATCHES: 1})


def test_one_log_that_forks_does_not_stop_another(world: World) -> None:
    other = SimulatedLog("other.example")
    other.grow(10)
    world.add("other", other)
    world.log.grow(100)
    world.sync()
    world.serve("primary", world.log.fork(at=50))
    other.grow(5)
    answer = world.sync(expect=4)
    assert [one["ok"] for one in answer["data"]["backends"]] == [True, False]
    world.ends(
        head=100,
        alerts=["RootHashMismatch critical x1"],
        quarantine=50,
        health="QUARANTINED",
        evidence=1,
    )
    assert world.cli("sync-status", "--backend", "other")["data"]["backends"][0]["treeSize"] == 15


# --- older heads


def test_an_older_head_once_is_a_warning_and_no_alert(world: World) -> None:
    world.log.grow(400)
    world.sync()
    world.log.roll_back(to=300)
    assert "stale replica" in world.sync()["warnings"][0]
    world.ends(head=400, counts={anomaly("info", "StaleReplica"): 1, ROLLBACKS: 0})


def test_an_older_head_again_is_an_alert_that_counts(world: World) -> None:
    world.log.grow(400)
    world.sync()
    world.log.roll_back(to=300)
    for _ in range(4):
        world.sync()
    world.ends(
        head=400,
        alerts=["StaleReplica warning x3"],
        health="DEGRADED",
        counts={anomaly("info", "StaleReplica"): 4, anomaly("warning", "StaleReplica"): 3},
    )


def test_a_replica_that_caught_up_ends_its_alert_and_may_fall_behind_again(world: World) -> None:
    world.log.grow(400)
    world.sync()
    world.log.roll_back(to=300)
    world.sync()
    world.sync()
    world.log.resume()
    world.sync()
    world.log.roll_back(to=200)
    world.sync()
    world.sync()
    world.ends(
        head=400,
        alerts=["StaleReplica warning x1 over", "StaleReplica warning x1"],
        health="DEGRADED",
    )


def test_a_smaller_tree_that_is_no_prefix_is_a_rollback(world: World) -> None:
    world.log.grow(400)
    world.sync()
    twin = world.log.fork(at=100)
    twin.roll_back(to=300)
    world.serve("primary", twin)
    world.sync(expect=4)
    world.ends(
        head=400,
        alerts=["TreeSizeRollback critical x1"],
        quarantine=100,
        health="QUARANTINED",
        evidence=1,
        counts={ROLLBACKS: 1, MISMATCHES: 0, anomaly("critical", "TreeSizeRollback"): 1},
    )


def test_another_root_at_an_older_accepted_size_is_a_rollback(world: World) -> None:
    for more in (300, 100):
        world.log.grow(more)
        world.sync()
    twin = world.log.fork(at=299)
    twin.roll_back(to=300)
    world.serve("primary", twin)
    world.sync(expect=4)
    world.ends(
        head=400,
        alerts=["TreeSizeRollback critical x1"],
        quarantine=299,
        health="QUARANTINED",
        evidence=1,
    )


def test_an_older_head_that_nothing_places_is_incomplete_and_no_alert(world: World) -> None:
    world.log.grow(70_000)
    world.sync("--max-tiles", "0")
    world.log.roll_back(to=2_999)
    world.log.lose(Tile(0, 11))
    assert world.sync("--max-tiles", "0", expect=5)["error"]["reason"] == "not-placed"
    world.ends(head=70_000, health="DEGRADED", counts={ROLLBACKS: 0})


def test_an_older_head_that_nothing_placed_is_over_once_ours_is_offered_again(
    world: World,
) -> None:
    world.log.grow(70_000)
    world.sync("--max-tiles", "0")
    world.log.roll_back(to=2_999)
    world.log.lose(Tile(0, 11))
    world.sync("--max-tiles", "0", expect=5)
    world.log.resume()
    world.sync("--max-tiles", "0")
    world.ends(head=70_000)


def test_an_older_head_without_tiles_here_is_shown_by_whoever_offers_it(world: World) -> None:
    world.log.grow(70_000)
    world.sync("--max-tiles", "0")
    world.log.roll_back(to=3_000)
    world.sync("--max-tiles", "0")
    world.ends(head=70_000, counts={anomaly("info", "StaleReplica"): 1})


# --- two sources


def mirrored(world: World) -> SimulatedLog:
    """Mirror 400 entries from two places, and return what the second one serves."""
    world.log.grow(400)
    copy = world.log.fork(at=400)
    world.add("copy", copy, "--mirror-of", "primary")
    world.sync()
    return copy


def test_two_sources_that_agree(world: World) -> None:
    mirrored(world)
    world.sync()
    world.ends(head=400, counts={"sync_checkpoints_fetched_total copy": 2})


def test_a_mirror_that_lags_a_little_is_tolerated(world: World) -> None:
    mirrored(world)
    for _ in range(5):
        world.log.grow(10)
        world.sync()
    world.ends(head=450, counts={anomaly("info", "StaleReplica"): 4})


def test_a_mirror_that_stays_behind_is_a_warning_until_it_caught_up(world: World) -> None:
    copy = mirrored(world)
    world.log.grow(10)
    for _ in range(4):
        world.log.grow(1)
        world.sync(after=40 * MINUTE)
    alert = "CrossLogDivergence warning x1"
    world.ends(head=414, alerts=[alert], health="DEGRADED")
    copy.grow(world.log.entries[400:])
    world.sync()
    world.ends(head=414, alerts=[f"{alert} over"])


def test_a_mirror_with_another_root_at_our_size_is_critical(world: World) -> None:
    mirrored(world)
    world.serve("copy", world.log.fork(at=77))
    world.sync(expect=4)
    world.ends(
        head=400,
        alerts=["CrossLogDivergence critical x1"],
        quarantine=77,
        health="QUARANTINED",
        evidence=1,
        counts={CROSS: 1, "checkpoint_mismatch_total copy log.example": 1},
    )


def test_a_mirror_that_lags_on_another_tree_is_critical(world: World) -> None:
    mirrored(world)
    twin = world.log.fork(at=77)
    twin.roll_back(to=200)
    world.serve("copy", twin)
    world.sync(expect=4)
    world.ends(
        head=400,
        alerts=["CrossLogDivergence critical x1"],
        quarantine=77,
        health="QUARANTINED",
        evidence=1,
        counts={CROSS: 1, "checkpoint_rollback_detected_total copy": 1},
    )


def test_a_mirror_with_a_larger_tree_that_is_another_is_critical(world: World) -> None:
    mirrored(world)
    twin = world.log.fork(at=399)
    twin.grow(100)
    world.serve("copy", twin)
    world.sync(expect=4)
    world.ends(
        head=400,
        alerts=["CrossLogDivergence critical x1"],
        quarantine=399,
        health="QUARANTINED",
        evidence=1,
        counts={CROSS: 1},
    )


def test_a_mirror_that_is_ahead_brings_us_there_and_the_primary_follows(world: World) -> None:
    copy = mirrored(world)
    copy.grow(5)
    world.sync()
    world.log.grow(copy.entries[400:])
    world.sync()
    world.ends(head=405, counts={"sync_checkpoints_stored_total copy": 2})


def test_without_cross_log_checks_a_mirror_s_lie_is_the_log_s(world: World) -> None:
    mirrored(world)
    world.set("divergenceDetection.enableCrossLogChecks", "false")
    world.serve("copy", world.log.fork(at=77))
    world.sync(expect=4)
    world.ends(
        head=400,
        alerts=["RootHashMismatch critical x1"],
        quarantine=77,
        health="QUARANTINED",
        evidence=1,
    )


def test_the_same_fork_from_two_sources_is_two_alerts_and_one_quarantine(world: World) -> None:
    mirrored(world)
    twin = world.log.fork(at=77)
    world.serve("copy", twin)
    world.serve("primary", twin)
    world.sync(expect=4)
    world.ends(
        head=400,
        alerts=["CrossLogDivergence critical x1", "RootHashMismatch critical x1"],
        quarantine=77,
        health="QUARANTINED",
        evidence=1,
    )


def test_a_disabled_mirror_is_not_asked_whatever_it_would_say(world: World) -> None:
    mirrored(world)
    world.serve("copy", world.log.fork(at=77))
    world.cli("backend", "disable", "copy")
    world.sync()
    world.ends(head=400)


def test_a_lagging_mirror_that_is_disabled_alarms_nobody_any_more(world: World) -> None:
    mirrored(world)
    for _ in range(4):
        world.log.grow(1)
        world.sync(after=40 * MINUTE)
    world.cli("backend", "disable", "copy")
    world.sync()
    world.ends(head=404, alerts=["CrossLogDivergence warning x1 over"])


def test_after_a_failover_the_mirror_is_the_primary(world: World) -> None:
    copy = mirrored(world)
    world.serve("primary", None)
    world.sync(expect=7)
    world.cli("failover", "primary", "--to", "copy")
    copy.grow(9)
    world.log = copy
    world.sync()
    world.ends(head=409, counts={error("http"): 1})
    assert world.cli("failover", "primary", "--to", "copy", expect=9)["error"]["reason"] == (
        "not-a-mirror"
    )


def enabled(world: World) -> dict[str, bool]:
    return {one["id"]: one["enabled"] for one in world.cli("backend", "list")["data"]["backends"]}


def test_the_way_back_from_a_failover_leads_to_where_it_began(world: World) -> None:
    mirrored(world)
    for _ in range(2):
        there = world.cli("failover", "primary", "--to", "copy")["data"]
        assert (there["disabled"], enabled(world)) == ("primary", {"copy": True, "primary": False})
        world.cli("backend", "enable", "primary")  # it is in order again, and a mirror
        back = world.cli("failover", "copy", "--to", "primary")["data"]
        assert (back["disabled"], enabled(world)) == (None, {"copy": True, "primary": True})
    # One that was off before is off again.
    world.cli("backend", "disable", "copy")
    world.cli("failover", "primary", "--to", "copy")
    assert world.cli("failover", "copy", "--to", "primary")["data"]["disabled"] == "copy"
    assert enabled(world) == {"copy": False, "primary": True}


# --- mirror logs, under an origin and a key of their own


def copied(world: World) -> SimulatedLog:
    """Mirror a log and another that is configured to copy it; return the other."""
    world.log.grow(200)
    other = SimulatedLog("other.example")
    other.grow(world.log.entries)
    world.add("other", other)
    settings = world.directory / "mirrors.yaml"
    settings.write_text("attestor:\n  divergenceDetection:\n    mirrorOrigins: [other.example]\n")
    world.cli("config", "apply", settings)
    world.sync()
    return other


def test_a_mirror_log_that_copies_faithfully(world: World) -> None:
    other = copied(world)
    world.log.grow(5)
    world.sync()
    other.grow(world.log.entries[200:])
    world.sync()
    world.ends(head=205)


def test_a_mirror_log_with_another_tree_is_told_and_quarantines_nobody(world: World) -> None:
    other = copied(world)
    world.log.grow(5)
    other.grow(5)
    for _ in range(2):
        assert world.sync(expect=4)["error"]["reason"] == "cross-log-divergence"
    world.ends(
        head=205,
        alerts=["CrossLogDivergence critical x2"],  # once a run
        health="UNHEALTHY",
        evidence=1,
        counts={"cross_log_divergence_total other.example log.example": 2},
    )


def test_a_mirror_log_that_stays_behind_is_a_warning(world: World) -> None:
    copied(world)
    for _ in range(3):
        world.log.grow(5)
        world.sync(after=40 * MINUTE)
    listed = world.cli("alerts", "list")["data"]["alerts"]
    assert ["CrossLogDivergence", "warning", "other.example"] in [
        [one["type"], one["severity"], one["origin"]] for one in listed
    ]
    world.ends(head=215, alerts=[f"{one['type']} warning x{one['count']}" for one in listed])


# --- age


def test_a_quiet_log_that_answers_is_fresh_and_an_answer_ends_an_outage(world: World) -> None:
    world.log.grow(100)
    world.sync()
    world.sync(after=HOUR + MINUTE)
    world.ends(head=100)
    world.serve("primary", None)
    world.sync(after=HOUR - 10 * MINUTE, expect=7)
    world.ends(head=100, health="DEGRADED")  # below the threshold of the alert
    world.serve("primary", world.log)
    world.sync()
    world.ends(head=100)


def test_a_log_that_answers_and_does_not_grow_is_well_and_told(world: World) -> None:
    world.log.grow(100)
    world.sync()
    for _ in range(3):
        world.sync(after=HOUR)
    world.ends(
        head=100,
        alerts=["StaleTreeSize warning x1"],
        counts={anomaly("warning", "StaleTreeSize"): 1},
    )


def test_an_outage_is_no_attack_but_a_log_gets_stale_in_it(world: World) -> None:
    world.log.grow(100)
    world.sync()
    world.serve("primary", None)
    world.sync(expect=7)
    world.ends(head=100, counts={error("http"): 1})
    world.sync(after=HOUR, expect=7)
    world.ends(head=100, alerts=["StaleCheckpoint warning x1"], health="DEGRADED")
    world.serve("primary", world.log)
    world.log.grow(1)
    world.sync()
    world.ends(head=101, alerts=["StaleCheckpoint warning x1 over"], counts={error("http"): 2})


CLOCK = "HomeUnhealthy critical x1"


def test_a_clock_that_was_ahead_is_told_and_one_step_heals(world: World) -> None:
    world.log.grow(100)
    world.sync()
    world.sync(after=DAY)
    world.sync(after=-DAY)
    world.ends(head=100, alerts=["StaleTreeSize warning x2", CLOCK])
    assert world.cli("sync-status")["data"]["home"]["health"] == "UNHEALTHY"
    assert [one["kind"] for one in world.cli("check", expect=2)["data"]["home"]["problems"]] == [
        "clock"
    ]
    changed = world.cli("doctor", "--reset-clock", "the battery was replaced")["data"]
    assert changed["changed"] > 0
    listed = world.cli("alerts", "list")["data"]["alerts"]  # it does not outlive its cause
    assert all(one["endedAt"] for one in listed if one["type"] == "HomeUnhealthy")
    world.sync()
    world.ends(head=100, alerts=["StaleTreeSize warning x2 over", f"{CLOCK} over"])
    assert world.cli("sync-status")["data"]["home"]["health"] == "HEALTHY"


def test_a_clock_set_back_hides_no_fork(world: World) -> None:
    world.log.grow(100)
    world.sync()
    world.serve("primary", world.log.fork(at=50))
    world.sync(expect=4, after=-30 * DAY)
    world.sync(expect=4, after=60 * DAY)
    world.ends(
        head=100,
        alerts=[
            "RootHashMismatch critical x2",
            f"{CLOCK} over",
            *STALE_BOTH,
            *("HomeUnhealthy warning x1", "HomeUnhealthy warning x1"),  # sync: the job, the log
        ],
        quarantine=50,
        health="QUARANTINED",
        evidence=1,
    )


# --- shards that ended


def test_a_frozen_log_is_never_stale(world: World) -> None:
    world.log.grow(100)
    world.sync()
    world.log.freeze()
    world.sync(after=30 * DAY)
    world.ends(head=100, health="FROZEN")


def test_a_frozen_log_that_grows_broke_its_word(world: World) -> None:
    world.log.grow(100)
    world.log.freeze()
    world.sync()
    world.log.extensions = ()
    world.log.grow(5)
    assert world.sync(expect=4)["error"]["reason"] == "frozen-shard-grew"
    world.sync()  # what was added is taken; the alert stays
    world.ends(
        head=105,
        alerts=["FrozenShardGrew critical x1"],
        health="UNHEALTHY",
        evidence=1,
        counts={STORED: 2, anomaly("critical", "FrozenShardGrew"): 1},
    )
    world.cli("alerts", "ack", "1", "--note", "the operator reopened it")
    world.ends(head=105, alerts=["FrozenShardGrew critical x1"], evidence=1)


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_shard_that_grows_after_its_window_is_told_if_it_stood_still_before(
    world: World, confirmed: bool
) -> None:
    world.log.grow(100)
    world.sync()
    store = world.store()
    with store.atomic():
        put_window(
            store, require_log(store, "log.example"), world.log.key.spki, None, world.now + HOUR
        )
    store.close()
    if confirmed:
        world.sync(after=2 * HOUR)
    world.log.grow(1)
    for _ in range(6 if confirmed else 0):  # what was seen to have ended is asked once a week
        world.sync(after=24 * HOUR)
    world.sync(after=24 * HOUR, expect=4 if confirmed else 0)
    world.ends(
        head=101,
        alerts=["FrozenShardGrew critical x1"] if confirmed else [],
        health="UNHEALTHY" if confirmed else "FROZEN",
        evidence=int(confirmed),
    )


# --- wrong bytes, and interruptions


def test_a_wrong_tile_is_a_no_and_no_alert(world: World) -> None:
    world.log.grow(600)
    world.log.lie(Tile(0, 1))
    world.sync(expect=3)
    world.log.tell_the_truth()
    world.sync()
    world.ends(head=600, counts={error("proof"): 1})


def test_another_key_s_checkpoint_is_a_no_and_no_alert(world: World) -> None:
    world.log.grow(10)
    world.sync()
    stranger = SimulatedLog()
    stranger.signer = SigningKey(stranger.origin, bytes(32))
    stranger.grow(20)
    world.serve("primary", stranger)
    world.sync(expect=3)
    world.ends(head=10, counts={error("signature"): 1})


def test_a_page_in_place_of_a_checkpoint_is_no_answer_and_no_alert(world: World) -> None:
    world.log.grow(10)
    world.sync()
    world.log.lie("checkpoint", b"<html>sign in</html>\n")
    world.sync(expect=7)
    world.ends(head=10, counts={error("malformed"): 1, FETCHED: 1})


def test_an_interrupted_sync_is_completed_by_the_next(world: World) -> None:
    world.log.grow(2000)
    world.log.lose(Tile(0, 3))
    world.sync(expect=7)
    world.log.tell_the_truth()
    world.sync()
    world.ends(head=2000, counts={error("http"): 1, STORED: 1})


def test_a_fork_after_an_interrupted_sync_is_a_fork(world: World) -> None:
    world.log.grow(2000)
    world.log.lose(Tile(0, 3))
    world.sync(expect=7)
    world.serve("primary", world.log.fork(at=1999))
    world.sync(expect=4)
    world.ends(
        head=2000,
        alerts=["RootHashMismatch critical x1"],
        quarantine=1999,  # the right edge is enough to find it
        health="QUARANTINED",
        evidence=1,
        counts={error("http"): 1, MISMATCHES: 1},
    )


def test_a_sync_that_meets_a_lock_is_counted(world: World) -> None:
    world.log.grow(10)
    world.sync()
    with writer_lock(world.home, holder="another run", wait_seconds=0, sleep=lambda _: None):
        world.sync(expect=75)
    world.ends(head=10, counts={error("locked"): 1})


# --- damage here


def damage(world: World, level: int, tile_index: int) -> None:
    store = world.store()
    [row] = store.rows(
        "SELECT digest FROM tile WHERE level = ? AND tile_index = ?", [level, tile_index]
    )
    path = store.blobs.path(row["digest"])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    store.close()


def test_our_own_damage_is_no_attack(world: World) -> None:
    world.log.grow(700)
    world.sync()
    damage(world, 0, 1)
    world.log.roll_back(to=300)
    assert world.sync(expect=6)["error"]["reason"] == "corrupt"
    world.ends(
        head=700,
        alerts=["StoreCorrupt critical x1"],
        health="UNHEALTHY",
        counts={error("storage"): 1, anomaly("critical", "StoreCorrupt"): 1},
    )


def test_damage_does_not_make_a_stale_replica_a_rollback(world: World) -> None:
    world.log.grow(700)
    world.sync()
    damage(world, 0, 1)
    world.log.roll_back(to=300)
    world.log.lose(Tile(0, 1))
    world.log.lose(Tile(0, 1, 44))
    world.sync(expect=6)
    world.ends(head=700, alerts=["StoreCorrupt critical x1"], health="UNHEALTHY")


def test_a_fork_is_a_fork_even_with_damage_here(world: World) -> None:
    world.log.grow(700)
    world.sync()
    damage(world, 0, 1)
    twin = world.log.fork(at=600)
    twin.grow(5)
    world.serve("primary", twin)
    world.sync(expect=4)
    world.ends(
        head=700,
        alerts=["TreeFork critical x1"],
        quarantine=600,  # the damaged tile is before it, and its parent is whole
        health="QUARANTINED",
        evidence=1,
    )


@pytest.mark.parametrize("command", [("tiles", "verify"), ("checkpoint", "verify")])
def test_an_audit_names_damage_and_ends_the_alert_once_it_is_repaired(
    world: World, command: tuple[str, str]
) -> None:
    world.log.grow(700)
    world.sync()
    damage(world, 0, 1)
    more = ("--origin", "log.example", "--tree-size", "600") if command[0] == "checkpoint" else ()
    assert world.cli(*command, *more, expect=6)["error"]["reason"] == "corrupt"
    [alert] = world.cli("alerts", "list")["data"]["alerts"]
    assert alert["payload"]["eventType"] == "attestor.store.corrupt"
    assert len(alert["payload"]["blobs"]) == 1
    world.cli("tiles", "fetch", "1", "--backend", "primary")
    world.cli("tiles", "verify", "--full")
    world.ends(head=700, alerts=["StoreCorrupt critical x1 over"])


# --- what others were shown


def test_a_checkpoint_from_elsewhere_that_fits_is_kept(world: World) -> None:
    world.log.grow(400)
    world.sync()
    file = world.directory / "seen"
    file.write_bytes(world.log.checkpoint_at(123))
    world.cli("checkpoint", "add", file)
    world.ends(head=400)


def test_a_checkpoint_from_elsewhere_that_does_not_fit_is_a_split_view(world: World) -> None:
    world.log.grow(400)
    world.sync()
    file = world.directory / "seen"
    file.write_bytes(world.log.fork(at=9).checkpoint_at(123))
    world.cli("checkpoint", "add", file, expect=4)
    world.sync(expect=8)
    world.ends(
        head=400,
        alerts=["RootHashMismatch critical x1"],
        quarantine=0,  # of that tree nothing but its root is known
        health="QUARANTINED",
        evidence=1,
        counts={"checkpoint_mismatch_total seen log.example": 1},
    )


def test_a_larger_checkpoint_from_elsewhere_is_compared_once_we_get_there(world: World) -> None:
    world.log.grow(400)
    world.sync()
    twin = world.log.fork(at=400)
    twin.grow(100)
    file = world.directory / "seen"
    file.write_bytes(twin.checkpoint_at(450))
    world.cli("checkpoint", "add", file)
    world.log.grow(20)
    world.sync()
    world.log.grow(100)
    world.sync(expect=4)
    world.ends(
        head=520,
        alerts=["RootHashMismatch critical x1"],
        quarantine=0,
        health="QUARANTINED",
        evidence=1,
    )


def test_the_evidence_says_how_the_lie_came(world: World) -> None:
    world.log.grow(100)
    world.sync()
    world.serve("primary", world.log.fork(at=50))
    world.sync(expect=4)
    pack = world.directory / "pack"
    world.cli("alerts", "export", "1", "--output", pack)
    exchange = json.loads((pack / "evidence.json").read_text())["exchange"]
    assert (exchange["url"], exchange["status"]) == (f"{world.url('primary')}checkpoint", 200)
    assert ["X-Served-By", "primary"] in exchange["headers"]
    assert exchange["addresses"] == ["127.0.0.1"]
    assert exchange["peer"].startswith("127.0.0.1 port ")
