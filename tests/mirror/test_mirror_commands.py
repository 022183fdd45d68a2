"""sync-status, tiles and checkpoint, as people and scripts see them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.errors import DivergenceError
from appliance.store.mirror.logs import put_policy
from appliance.store.mirror.tile_cache import forget
from appliance.times import age_text
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.cosignature import cosign, cosigner_key
from appliance.tlog.note import SigningKey
from appliance.tlog.tile import Tile
from tests.cli.homes import NOW
from tests.cli.mirrored import MirroredHome
from tests.mirror.mirrors import sync_from
from tests.simulator import SimulatedLog

DAY = 86_400


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


@pytest.fixture
def filled(home: MirroredHome) -> MirroredHome:
    for more in (200, 400, 400):
        home.sync(more)
    return home


def backdate(home: MirroredHome, seconds: int) -> None:
    for path in (home.path / "blobs").rglob("*"):
        if path.is_file():
            os.utime(path, (NOW - seconds, NOW - seconds))


# --- sync-status


def test_status_of_a_fresh_mirror(home: MirroredHome) -> None:
    home.sync(1_500, now=NOW - 135)
    code, out, err = home.run("sync-status")
    assert (code, err) == (0, "")
    assert out == (
        "Backend  Origin       Tree Size  Last Sync (UTC)         Age  Coverage  Health\n"
        "sim      log.example      1,500  2025-10-09 08:51:05  2m 15s    100.0%  HEALTHY\n"
    )
    [one] = home.json("status")["backends"]
    assert one.pop("syncs")["error"] is None
    assert one == {
        "coveredAgeSeconds": 135,
        "growthAgeSeconds": 135,
        "problems": [],
        "backend": "sim",
        "origin": "log.example",
        "enabled": True,
        "treeSize": 1500,
        "mirrorSize": 1500,
        "lastSync": "2025-10-09T08:51:05Z",
        "ageSeconds": 135,
        "coverage": {"percent": 100.0, "treeSize": 1500, "present": 6, "expected": 6},
        "health": "HEALTHY",
        "reasons": [],
    }


def test_status_of_nothing(home: MirroredHome) -> None:
    [one] = home.json("sync-status")["backends"]
    assert (one["treeSize"], one["lastSync"], one["health"]) == (None, None, "UNHEALTHY")
    assert "never" in home.run("sync-status")[1]
    home.json("backend", "remove", "sim")
    assert home.run("sync-status") == (0, "no backend yet\n", "")


def health(home: MirroredHome) -> str:
    [one] = home.json("sync-status", "--backend", "sim")["backends"]
    found: str = one["health"]
    return found


def test_health_follows_age_and_the_role_s_limits(home: MirroredHome) -> None:
    home.sync(3, now=NOW - 1801)
    assert health(home) == "DEGRADED"
    home.json("init", "--role", "isolated")
    assert health(home) == "HEALTHY"
    home.json("config", "set", "divergenceDetection.degradedCheckpointAgeThreshold", "1h")
    home.json("config", "set", "divergenceDetection.unhealthyCheckpointAgeThreshold", "2h")
    assert health(home) == "HEALTHY"
    home.json("config", "set", "divergenceDetection.degradedCheckpointAgeThreshold", "1m")
    assert health(home) == "DEGRADED"
    home.json("config", "set", "divergenceDetection.unhealthyCheckpointAgeThreshold", "29m")
    assert health(home) == "UNHEALTHY"


def test_an_idle_log_that_answers_is_young_and_its_growth_ages(home: MirroredHome) -> None:
    home.sync(3, now=NOW - 5 * DAY)
    home.sync(0, now=NOW - 60)
    [one] = home.json("sync-status")["backends"]
    assert (one["lastSync"], one["ageSeconds"]) == ("2025-10-09T08:52:20Z", 60)
    assert one["growthAgeSeconds"] == 5 * DAY


def test_a_witness_that_cosigned_again_makes_it_young(home: MirroredHome) -> None:
    home.sync(3, now=NOW - 5 * DAY)
    witness = SigningKey("witness.example", b"\x05" * 32)
    with home.mirror() as mirror:
        checkpoint = open_checkpoint(home.log.checkpoint(), [home.log.key], home.log.origin)
        note = checkpoint.note + cosign(checkpoint, witness, NOW - 30).line.encode()
        home.log.lie("checkpoint", note)
        sync_from(mirror, home.log, now=NOW - 20)
    assert health(home) == "HEALTHY"  # it answered; nobody said to believe a witness
    with home.mirror() as mirror, mirror.store.atomic():
        policy = f"witness w {cosigner_key(witness).vkey}\nquorum w\n"
        put_policy(mirror.store, mirror.log, policy.encode())
    assert health(home) == "HEALTHY"
    [one] = home.json("sync-status")["backends"]
    assert one["ageSeconds"] == 30


def test_a_frozen_log_is_frozen_and_a_contradicted_one_quarantined(home: MirroredHome) -> None:
    home.sync(3, now=NOW - 50 * DAY)
    home.log.freeze()
    home.sync(0, now=NOW - 50 * DAY)
    assert health(home) == "FROZEN"
    twin = home.log.fork(at=2)
    with home.mirror() as mirror, pytest.raises(DivergenceError):
        sync_from(mirror, twin)
    assert health(home) == "QUARANTINED"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59, "59s"),
        (60, "1m 0s"),
        (135, "2m 15s"),
        (3600, "1h 0m"),
        (7261, "2h 1m"),
        (90_000, "1d 1h"),
        (100 * DAY, "100d 0h"),
    ],
)
def test_ages_are_written_in_two_units(seconds: int, text: str) -> None:
    assert age_text(seconds) == text


# --- tiles


def test_stats_are_a_card_for_people_and_numbers_for_scripts(filled: MirroredHome) -> None:
    backdate(filled, 3 * DAY)
    [one] = filled.json("tiles", "stats", "--backend", "sim")["backends"]
    assert (one["tiles"], one["entryBundles"]) == (5, 4)
    assert one["coverage"] == {"percent": 100.0, "treeSize": 1000, "present": 4, "expected": 4}
    assert one["oldest"] == one["newest"] == "2025-10-06T08:53:20Z"
    out = filled.run("tiles", "stats")[1].splitlines()
    assert [line.partition(":")[0] for line in out] == [
        *("Origin", "Total Tiles", "Cache Size", "Coverage", "Oldest Tile", "Newest Tile"),
    ]
    assert out[3] == "Coverage:    100% (tree size 1,000)"
    assert out[2] == f"Cache Size:  {one['bytes'] / 1000:.1f} kB"
    assert out[4] == "Oldest Tile: 2025-10-06 08:53:20"


def test_prune_refuses_to_lose_proofs_and_says_what_would_remain(filled: MirroredHome) -> None:
    backdate(filled, 31 * DAY)
    losing = ("tiles", "prune", "--older-than", "720h", "--allow-coverage-loss")
    dry = filled.json(*losing, "--dry-run")
    [log] = dry["logs"]
    assert (log["tiles"], log["entryBundles"], log["coverage"]["percent"]) == (3, 4, 25.0)
    error = filled.json("tiles", "prune", "--max-size", "1KiB", expect=8)
    assert error["reason"] == "coverage-loss"
    assert "25.0% (1,000)" in error["message"]
    assert filled.json("tiles", "stats")["backends"][0]["tiles"] == 5
    lost = filled.json(*losing)
    assert lost == {**dry, "dryRun": False}
    assert filled.json("tiles", "stats")["backends"][0]["coverage"]["percent"] == 25.0
    filled.json("store", "check", "--read-data")
    filled.json("prove", "--origin", "log.example", "--index", "5", expect=5)
    filled.sync(100)
    filled.json("prove", "--origin", "log.example", "--index", "5")


def test_prune_by_age_spares_tiles_and_says_so(filled: MirroredHome) -> None:
    backdate(filled, 31 * DAY)
    [log] = filled.json("tiles", "prune", "--older-than", "720h")["logs"]
    assert (log["tiles"], log["entryBundles"], log["sparedTiles"]) == (0, 4, 3)
    assert log["coverage"]["percent"] == 100.0
    filled.json("prove", "--origin", "log.example", "--index", "5")
    _, out, _ = filled.run("tiles", "prune", "--older-than", "720h")
    assert "3 tiles as old stay, proofs rest on them" in out


def test_prune_of_entries_alone_loses_no_proof(filled: MirroredHome) -> None:
    data = filled.json("tiles", "prune", "--max-size", "30kB", "--entries-only")
    assert data["logs"][0]["tiles"] == 0 < data["logs"][0]["entryBundles"]
    filled.json("prove", "--origin", "log.example", "--index", "5")
    filled.json("store", "check", "--read-data")


def test_prune_takes_its_limits_from_the_configuration(filled: MirroredHome) -> None:
    code, _, err = filled.run("tiles", "prune")
    assert code == 2 and "--older-than" in err
    filled.json("config", "set", "tileCache.autoPruneAfter", "10d")
    assert filled.json("tiles", "prune")["logs"][0]["entryBundles"] == 0
    backdate(filled, 11 * DAY)
    # The last one stays: it says from where on sync fetches.
    assert filled.json("tiles", "prune", "--dry-run")["logs"][0]["entryBundles"] == 3
    assert filled.json("tiles", "prune", "--entries-only")["logs"][0]["entryBundles"] == 3
    assert filled.json("tiles", "prune")["logs"][0]["entryBundles"] == 0
    for wrong in (["--older-than", "720"], ["--max-size", "1.5GB"]):
        assert filled.run("tiles", "prune", *wrong)[0] == 2


def test_clear_removes_the_tiles_and_no_checkpoint(filled: MirroredHome) -> None:
    dry = filled.json("tiles", "clear", "--backend", "sim", "--dry-run")
    assert filled.json("tiles", "stats")["backends"][0]["tiles"] == 5
    assert filled.json("tiles", "clear", "--backend", "sim") == {**dry, "dryRun": False}
    assert len(filled.json("checkpoints", "list")["checkpoints"]) == 3
    filled.json("tiles", "clear", "--backend", "none", expect=5)


# --- checkpoint


def test_checkpoints_are_listed_newest_last(filled: MirroredHome) -> None:
    found = filled.json("checkpoints", "list", "--backend", "sim")["checkpoints"]
    assert [one["treeSize"] for one in found] == [200, 600, 1000]
    assert found[2]["rootHash"] == filled.log.head.root_hash.hex()
    assert found[2]["firstSeen"] == "2025-10-09T08:53:20Z"
    last = filled.json("checkpoint", "list", "--origins", "log.example", "--last", "1")
    assert last["checkpoints"] == found[2:]
    lines = filled.run("checkpoint", "list")[1].splitlines()
    assert len(lines) == 4 and "1,000" in lines[3]
    filled.json("checkpoints", "list", "--origins", "other.example", expect=5)
    assert filled.run("checkpoints", "list", "--backend", "sim", "--origins", "x")[0] == 2


def test_a_note_is_shown_byte_for_byte(filled: MirroredHome) -> None:
    note = filled.log.checkpoint().decode()
    assert filled.run("checkpoints", "show", "--backend", "sim") == (0, note, "")
    data = filled.json("checkpoint", "show", "--origin", "log.example", "--tree-size", "200")
    assert data["notes"] == [filled.log.checkpoint_at(200).decode()]
    filled.json("checkpoint", "show", "--backend", "sim", "--tree-size", "201", expect=5)
    assert filled.run("checkpoint", "show")[0] == 2


def test_verify_proves_the_chain_and_any_root(filled: MirroredHome) -> None:
    chain = filled.json("checkpoints", "verify", "--backend", "sim")
    assert (chain["proven"], chain["unproven"], chain["problems"]) == (3, [], [])
    for size, signed in (("600", True), ("700", False)):
        words = ("checkpoint", "verify", "--origin", "log.example", "--tree-size", size)
        root = filled.json(*words)
        assert root["signed"] is signed
        assert root["rootHash"] == filled.log.head_at(int(size)).root_hash.hex()
    code, out, _ = filled.run("checkpoint", "verify", "--backend", "sim")
    assert (code, out) == (
        0,
        "log.example: 3 notes opened, 3 of 3 checkpoints proven prefixes of 1,000\n",
    )


def test_a_row_that_is_not_what_its_note_says_is_damage_and_an_alert(filled: MirroredHome) -> None:
    with filled.mirror() as mirror, mirror.store.atomic():
        [row] = mirror.store.rows("SELECT min(tree_size) AS size FROM checkpoint")
        mirror.store.execute(
            "UPDATE checkpoint SET root_hash = ? WHERE tree_size = ?", [bytes(32), row["size"]]
        )
    verify = ("checkpoints", "verify", "--backend", "sim")
    assert filled.json(*verify, expect=6)["reason"] == "corrupt"
    # No blob of ours is named by it, so nobody but the command knows which log it is of.
    [alert] = filled.json("alerts", "list")["alerts"]
    assert alert["payload"]["eventType"] == "attestor.store.corrupt"
    assert "its row says" in alert["payload"]["description"]


def test_verify_tells_missing_from_damaged_from_lying(filled: MirroredHome) -> None:
    with filled.mirror() as mirror:
        forget(mirror, [Tile(0, 2)])
    verify = ("checkpoints", "verify", "--backend", "sim")
    assert filled.json(*verify, expect=5)["reason"] == "tile-missing"
    filled.sync(0)
    filled.json(*verify)
    with filled.mirror() as mirror:
        [row] = mirror.store.rows("SELECT digest FROM tile WHERE level = 0 AND tile_index = 2")
        path = mirror.store.blobs.path(row["digest"])
    raw = path.read_bytes()
    path.write_bytes(b"\0" + raw[1:])
    assert filled.json(*verify, expect=6)["reason"] == "corrupt"
    [alert] = filled.json("alerts", "list")["alerts"]
    assert alert["payload"]["eventType"] == "attestor.store.corrupt"
    path.write_bytes(raw)
    twin: SimulatedLog = filled.log.fork(at=5)
    with filled.mirror() as mirror, mirror.store.atomic():
        mirror.store.execute(
            "UPDATE checkpoint_note SET note = ? WHERE tree_size = 600", [twin.checkpoint_at(600)]
        )
        mirror.store.execute(
            "UPDATE checkpoint SET root_hash = ? WHERE tree_size = 600",
            [twin.head_at(600).root_hash],
        )
    assert filled.json(*verify, expect=4)["reason"] == "fork"
    [one] = filled.json("sync-status")["backends"]
    assert one["health"] == "QUARANTINED"
