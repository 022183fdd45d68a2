"""queue drain, forecast and bundle as a script runs them, against a log in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.jobs.private_log.create import create_log
from appliance.store.database import create_store, open_store
from appliance.store.lock import DRAIN_LOCK_NAME
from appliance.store.mirror.logs import add_log, put_backend
from appliance.tlog.note_keys import VerifierKey
from appliance.value import replaced
from tests.cli.homes import NOW, Home
from tests.queue.signed_files import envelope, write_artifact, write_envelope
from tests.serve.running_log import RunningLog, running_log, verified_index

ORIGIN = "log.example"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningLog, VerifierKey]]:
    home = tmp_path_factory.mktemp("log") / "home"
    store = create_store(home)
    key = create_log(store, "build", ORIGIN, b"\x05" * 32, NOW).log.keys[0]
    store.close()
    with running_log(home) as running:
        yield running, key


@pytest.fixture
def home(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    log: tuple[RunningLog, VerifierKey],
) -> Home:
    made = Home(tmp_path / "home", capsys)
    made.app = replaced(made.app, uptime=lambda: ("boot", 0))  # as still as its clock
    running, key = log
    store = open_store(made.path, write=True)
    with store.atomic():
        known = add_log(store, ORIGIN, 2, key.spki)
        put_backend(store, "server", known, base_url=running.url, read_url=None)
    store.close()
    made.json("config", "set", "rekor.serverUrl", running.url)
    return made


def test_an_item_goes_through_and_is_proven(
    home: Home, tmp_path: Path, log: tuple[RunningLog, VerifierKey]
) -> None:
    added = home.json("queue", "add", *write_artifact(tmp_path / "in", b"through"))
    drained = home.json("queue", "drain")
    assert (drained["logged"], drained["waiting"]) == (1, 0)
    shown = home.json("queue", "show", added["id"][:12])
    assert shown["state"] == "logged"
    verified_index(shown["entry"], log[1])
    assert home.json("queue", "forecast") == {"queues": [], "emptyAt": "2025-10-09T08:53:20Z"}


def test_an_envelope_that_was_there_already_is_completed_over_http(
    home: Home, tmp_path: Path, log: tuple[RunningLog, VerifierKey]
) -> None:
    options = write_envelope(tmp_path / "in", envelope(b"scan"))
    first = home.json("queue", "add", *options)
    assert home.json("queue", "drain")["duplicates"] == 0
    home.json("tenant", "add", "other")
    second = home.json("queue", "add", *options, "--tenant", "other")
    assert home.json("queue", "drain")["duplicates"] == 1
    shown = [home.json("queue", "show", one["id"]) for one in (first, second)]
    assert shown[0]["entry"]["logIndex"] == shown[1]["entry"]["logIndex"]
    verified_index(shown[1]["entry"], log[1])


def test_what_has_no_slot_waits_and_is_forecast(home: Home, tmp_path: Path) -> None:
    home.json("config", "set", "rekor.budget.hourlyLimit", "1")
    for content in (b"first", b"second"):
        home.json("queue", "add", *write_artifact(tmp_path / "in", content))
    drained = home.json("queue", "drain")
    assert (drained["logged"], drained["waiting"]) == (1, 1)
    forecast = home.json("queue", "forecast")
    [queue] = forecast["queues"]
    assert (queue["waiting"], queue["firstSlotAt"]) == (1, forecast["emptyAt"])
    assert drained["nextSlotAt"] == forecast["emptyAt"] >= "2025-10-09T09:53:21Z"


def test_a_second_drain_beside_the_first_answers_75(home: Home) -> None:
    with home.app.locked(DRAIN_LOCK_NAME):
        assert home.json("queue", "drain", expect=75)["reason"] == "locked"


def test_a_drain_runs_while_the_home_is_locked(home: Home, tmp_path: Path) -> None:
    home.json("queue", "add", *write_artifact(tmp_path / "in", b"beside a sync"))
    with home.app.locked():
        assert home.json("queue", "drain")["logged"] == 1


def test_without_a_server_there_is_nothing_to_drain_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home", capsys)
    assert home.json("queue", "drain", expect=9)["reason"] == "no-server"


def test_a_log_that_is_down_is_7_and_loses_nothing(home: Home, tmp_path: Path) -> None:
    home.json("config", "set", "rekor.retry.maxAttempts", "1")
    store = open_store(home.path, write=True)
    with store.atomic():
        store.execute("UPDATE backend SET base_url = 'http://127.0.0.1:9'")
        store.execute("""UPDATE setting SET value = '"http://127.0.0.1:9"'
            WHERE key = 'rekor.serverUrl'""")
    store.close()
    added = home.json("queue", "add", *write_artifact(tmp_path / "in", b"down"))
    assert home.json("queue", "drain", expect=7)["reason"] == "unreachable"
    shown = home.json("queue", "show", added["id"])
    assert (shown["state"], shown["reason"]) == ("postponed", "unreachable")
    assert home.json("budget", "show")["budgets"][0]["free"] == 34


def test_a_good_sync_sends_the_queue(home: Home, tmp_path: Path) -> None:
    home.json("config", "set", "rekor.offline.drainOnConnect", "false")
    added = home.json("queue", "add", *write_artifact(tmp_path / "in", b"on connect"))
    assert "queue" not in home.json("sync")
    home.json("config", "set", "rekor.offline.drainOnConnect", "true")
    assert home.json("sync")["queue"]["logged"] == 1
    assert home.json("queue", "show", added["id"])["state"] == "logged"
    assert "queue" not in home.json("sync")  # nothing waits any more
    code, out, _ = home.run("checkpoints", "list", "--backend", "server")
    assert code == 0, out


def test_a_queue_that_cannot_be_sent_does_not_fail_the_sync(home: Home, tmp_path: Path) -> None:
    home.json("queue", "add", *write_artifact(tmp_path / "in", b"not sent"))
    with home.app.locked(DRAIN_LOCK_NAME):
        code, _, err = home.run("sync")
    assert code == 0
    assert "the queue was not sent: another run holds" in err


def test_a_finished_bundle_verifies_with_its_stamp_carried(home: Home, tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "in", b"finished")
    added = home.json("queue", "add", *artifact)
    finished = tmp_path / "finished.sigstore.json"
    command = ["queue", "bundle", added["id"], "--output", str(finished)]
    assert home.json(*command, expect=7)["reason"] == "not-logged"
    home.json("queue", "drain")
    home.json(*command)
    home.json("verify", artifact[1], "--bundle", finished, "--key", artifact[5])


def test_a_new_schema_carries_the_queue_over(home: Home, tmp_path: Path) -> None:
    added = home.json("queue", "add", *write_artifact(tmp_path / "in", b"carried over"))
    home.json("tenant", "disable", "system")
    home.json("checkpoint-store", "init", "--force")
    assert home.json("queue", "show", added["id"])["state"] == "queued"
    assert [one["enabled"] for one in home.json("tenant", "list")["tenants"]] == [False]
