"""What the end of a sync makes of the queue: what is sent, what is serious, what is a warning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import StoreError
from appliance.store.database import open_store
from appliance.store.mirror.logs import add_log, put_backend
from appliance.value import replaced
from tests.cli.homes import Home
from tests.queue.signed_files import write_artifact
from tests.queue.two_faced_log import TwoFacedLog, two_faced_log
from tests.simulator import SimulatedLog


@pytest.fixture
def served() -> Iterator[TwoFacedLog]:
    log = SimulatedLog()
    log.grow(20)
    with two_faced_log(log) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str], served: TwoFacedLog) -> Home:
    """A home that mirrors the log and sends its queue there, one item waiting."""
    made = Home(tmp_path / "home", capsys)
    made.app = replaced(made.app, uptime=lambda: ("boot", 0), sleep=lambda _: None)
    store = open_store(made.path, write=True)
    with store.atomic():
        known = add_log(store, served.log.origin, 2, served.log.key.spki)
        put_backend(store, "server", known, base_url=served.url, read_url=served.url)
    store.close()
    made.json("config", "set", "rekor.serverUrl", served.url)
    made.json("sync")
    made.json("queue", "add", *write_artifact(tmp_path / "in", b"waiting"))
    return made


def show_writers_another_tree(served: TwoFacedLog) -> None:
    served.written = SimulatedLog(served.log.origin, salt="for writers")
    served.written.grow(8)  # smaller than what is mirrored, so it can be compared at once


def alerts(home: Home) -> list[str]:
    return [one["type"] for one in home.json("alerts", "list")["alerts"]]


def test_a_drain_that_is_shown_another_tree_is_code_4(home: Home, served: TwoFacedLog) -> None:
    show_writers_another_tree(served)
    error = home.json("queue", "drain", expect=4)
    assert error["reason"] == "root-mismatch"
    assert "kept as evidence" in error["next"]
    assert alerts(home) == ["RootHashMismatch"]


def test_a_sync_ends_with_the_contradiction_its_drain_was_shown(
    home: Home, served: TwoFacedLog
) -> None:
    show_writers_another_tree(served)
    assert home.json("sync", expect=4)["reason"] == "root-mismatch"
    assert served.posts == 1
    assert alerts(home) == ["RootHashMismatch"]
    assert len(home.json("quarantine", "list")["quarantines"]) == 1


def test_what_a_drain_was_shown_while_the_home_was_locked_is_compared_by_the_next_sync(
    home: Home, served: TwoFacedLog
) -> None:
    show_writers_another_tree(served)
    with home.app.fresh().locked():
        home.json("queue", "drain")
    assert alerts(home) == []
    assert home.json("sync", expect=4)["reason"] == "root-mismatch"
    assert alerts(home) == ["RootHashMismatch"]


def test_what_was_sent_is_told_even_if_what_the_log_showed_cannot_be_kept(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("the store is full")

    monkeypatch.setattr("appliance.runs.drain.keep_note", full)
    with home.app.fresh().locked():
        code, out, err = home.run("queue", "drain")
    assert code == 6 and "the store is full" in err
    assert "1 logged and proven" in out + err


def test_any_other_failure_of_its_drain_is_a_warning_of_a_sync(
    home: Home, served: TwoFacedLog
) -> None:
    served.is_down = True
    code, out, err = home.run("sync")
    assert (code, served.posts) == (0, 1), out + err
    assert "Warning: the queue: " in err


def test_a_dry_run_of_a_sync_sends_nothing(home: Home, served: TwoFacedLog) -> None:
    home.json("sync", "--dry-run")
    assert served.posts == 0
    assert home.json("sync")["queue"]["logged"] == 1


def test_nothing_is_sent_by_a_sync_that_reached_no_log(home: Home, served: TwoFacedLog) -> None:
    honest = served.log
    served.log = SimulatedLog("another.example")  # whose key nobody here knows
    home.json("sync", expect=3)
    assert served.posts == 0
    served.log = honest
    assert home.json("sync")["queue"]["logged"] == 1


def test_a_queue_that_is_switched_off_is_sent_by_nobody(home: Home, served: TwoFacedLog) -> None:
    home.json("config", "set", "rekor.enabled", "false")
    assert "queue" not in home.json("sync")
    home.json("queue", "drain")
    assert served.posts == 0
