"""While a log is quarantined: what rests on common ground stays good, the rest is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.policy.own_view import Coverage, rests_on_common_ground
from tests.divergence.world import NOW, World
from tests.fetch.hostile_server import HostileServer
from tests.signed_artifacts import SIGNER_PEM, bundle_of, log_request, sign_request
from tests.simulator import SimulatedLog

COMMON = 200  # where the fork begins


class Logged:
    """Three artifacts: logged before the fork, after it, and only in the lying story."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.log.grow(100)
        self.old = self._log(world.log, "old")
        world.log.grow(COMMON - world.log.tree_size)
        self.twin = world.log.fork(at=COMMON)
        self.new = self._log(world.log, "new")
        world.log.grow(100)
        self.twin.grow(5)
        self.false = self._log(self.twin, "false")
        self.key = world.directory / "signer.pem"
        self.key.write_bytes(SIGNER_PEM)

    def _log(self, log: SimulatedLog, name: str) -> Path:
        artifact = self.world.directory / name
        artifact.write_bytes(f"release {name}\n".encode())
        request = sign_request(artifact.read_bytes())
        index = log_request(log, request)
        artifact.with_suffix(".sigstore.json").write_bytes(bundle_of(log, request, index))
        return artifact

    def verify(self, artifact: Path, expect: int = 0) -> str:
        answer = self.world.cli(
            *("verify", artifact, "--bundle", artifact.with_suffix(".sigstore.json")),
            *("--key", self.key),
            expect=expect,
        )
        return "" if expect == 0 else str(answer["error"]["reason"])


@pytest.fixture
def logged(world: World) -> Logged:
    return Logged(world)


def test_verify_says_yes_on_common_ground_and_names_the_alert_beyond(logged: Logged) -> None:
    world = logged.world
    world.sync()
    logged.verify(logged.old)
    logged.verify(logged.new)
    world.serve("primary", logged.twin)
    world.sync(expect=4)
    assert world.cli("quarantine", "list")["data"]["quarantines"][0]["lastCommonSize"] == COMMON
    logged.verify(logged.old)
    assert logged.verify(logged.new, expect=8) == "quarantined"
    assert logged.verify(logged.false, expect=4) == "split-view"
    world.lift()
    logged.verify(logged.new)


def test_a_bundle_that_contradicts_us_quarantines_the_log(logged: Logged) -> None:
    world = logged.world
    world.sync()
    assert logged.verify(logged.false, expect=4) == "split-view"
    [alert] = world.cli("alerts", "list")["data"]["alerts"]
    assert (alert["type"], alert["payload"]["backend"]) == ("RootHashMismatch", "seen")
    pack = world.directory / "pack"
    world.cli("alerts", "export", str(alert["number"]), "--output", pack)
    evidence = json.loads((pack / "evidence.json").read_text())
    assert evidence["source"].endswith("false.sigstore.json")
    assert logged.verify(logged.old, expect=8) == "quarantined"  # nothing is known to be shared


def test_a_verify_that_finds_a_split_view_tells_a_file_and_opens_no_connection(
    logged: Logged,
) -> None:
    world = logged.world
    world.sync()
    file, settings = world.directory / "alerts.jsonl", world.directory / "config.yaml"
    with HostileServer() as server:
        sinks = [
            {"type": "webhook", "url": f"{server.url}hook"},
            {"type": "file", "path": str(file)},
        ]
        settings.write_text(json.dumps({"attestor": {"alerts": {"sinks": sinks}}}))
        world.cli("config", "apply", settings)
        assert logged.verify(logged.false, expect=4) == "split-view"
        assert server.n_connections == 0
    [alert] = world.cli("alerts", "list")["data"]["alerts"]
    assert json.loads(file.read_text()) == alert["payload"]


def test_a_recorded_verdict_brings_the_log_s_checkpoint_to_be_compared(logged: Logged) -> None:
    world = logged.world
    world.log.roll_back(to=150)
    world.sync()
    bundle = logged.false.with_suffix(".sigstore.json")
    world.cli("verify", logged.false, "--bundle", bundle, "--key", logged.key, "--record")
    world.log.resume()
    assert world.sync(expect=4)["error"]["reason"] == "root-mismatch"
    assert world.cli("verdicts", "recheck", expect=4)["error"]["reason"] == "split-view"


def test_prove_falls_back_to_common_ground_or_refuses(logged: Logged) -> None:
    world = logged.world
    world.log.roll_back(to=150)
    world.sync()
    world.log.resume()
    world.sync()
    world.serve("primary", logged.twin)
    world.sync(expect=4)
    prove = ("prove", "--origin", "log.example")
    note = world.log.checkpoint_at(150).decode()
    assert world.cli(*prove, "--index", "100")["data"]["checkpoint"] == note
    assert world.cli(*prove, "--from-size", "100")["data"]["treeSize"] == 150
    newest = str(world.log.tree_size)
    for refused in (
        ("--index", "160"),
        ("--index", "100", "--tree-size", newest),
        ("--from-size", "151"),
    ):
        assert world.cli(*prove, *refused, expect=8)["error"]["reason"] == "quarantined"
    exported = world.cli("export", "--output", world.directory / "stick.tar")
    assert "beyond 200 entries it is in doubt" in exported["warnings"][0]


def test_an_import_is_held_back_like_a_sync(logged: Logged, tmp_path: Path) -> None:
    world = logged.world
    world.sync()
    stick = tmp_path / "stick.tar"
    world.cli("export", "--full", "--output", stick)
    vkey = world.cli("key", "show", "site.example")["data"]["vkey"]
    world.cli("exporters", "add", vkey)
    world.cli("import", stick)
    world.serve("primary", logged.twin)
    world.sync(expect=4)
    assert world.cli("import", stick, expect=8)["error"]["reason"] == "quarantined"
    world.lift()
    world.cli("import", stick)


@pytest.mark.parametrize(
    ("coverage", "entry_index", "tree_size", "is_good"),
    [
        (Coverage.COVERED, 5, 200, True),
        (Coverage.COVERED, 199, 300, True),
        (Coverage.COVERED, 200, 300, False),
        (Coverage.COVERED, None, 201, False),
        (Coverage.NEWER, 5, 300, False),
        (Coverage.TILES_MISSING, 5, 200, True),
        (Coverage.TILES_MISSING, 5, 201, False),
        (Coverage.NO_CHECKPOINT, 5, None, False),
    ],
)
def test_what_rests_on_common_ground(
    coverage: Coverage, entry_index: int | None, tree_size: int | None, is_good: bool
) -> None:
    assert rests_on_common_ground(coverage, entry_index, tree_size, COMMON) is is_good


def test_a_quarantine_is_lifted_once_and_with_a_reason(logged: Logged) -> None:
    world = logged.world
    world.sync()
    world.serve("primary", logged.twin)
    world.sync(expect=4)
    world.cli("quarantine", "lift", "1", expect=2)
    world.cli("quarantine", "lift", "1", "--reason", " ", expect=2)
    assert world.cli("quarantine", "lift", "2", "--reason", "x", expect=5)["error"]["reason"] == (
        "unknown-quarantine"
    )
    world.cli("quarantine", "lift", "1", "--reason", "x", "--dry-run")
    assert len(world.cli("quarantine", "list")["data"]["quarantines"]) == 1
    world.lift()
    world.cli("quarantine", "lift", "1", "--reason", "again")
    [one] = world.cli("quarantine", "list", "--lifted")["data"]["quarantines"]
    assert (one["liftReason"], one["since"]) == ("explained", "2025-10-09T09:03:20Z")
    store = world.store()
    events = [row["event"] for row in store.rows("SELECT event FROM journal ORDER BY id")]
    store.close()
    assert [one for one in events if one.startswith(("evidence", "alert", "quarantine"))] == [
        *("evidence.kept", "alert.raised", "quarantine.begun", "quarantine.lifted", "alert.ended")
    ]
    assert world.now > NOW
