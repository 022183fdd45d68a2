"""What goes wrong without a sound: told within its threshold by check, an alert, status, and code.

One row each for a stuck queue, syncs that fail for a month, a full disk, files of a wrong owner
and a wrong clock: how it begins, which command meets it and with which code, and what is said.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from appliance.value import frozen
from tests.divergence.world import DAY, HOUR, LogServer, World
from tests.faults.test_full_disk import Disk, attestor, disk
from tests.queue.signed_files import write_artifact

__all__ = ["disk"]

MIB: Final = 1024 * 1024
STRANGER: Final = 12345  # a user that is not there
OK, WARNING, CRITICAL = 0, 1, 2  # of check


@frozen
class Row:
    """One thing that goes wrong."""

    kind: str  # of the problem
    begin: Callable[[World], None]
    at: int  # seconds since then, when it is looked at
    before: int | None  # seconds since then, when it is not told yet; None: it is told at once
    code: int  # of the scheduled sync that meets it
    check: int
    severity: str
    more: Callable[[World], None] | None = None  # that is true of it as well


def refuse_writes(world: World) -> None:
    """Queue an item for a log whose write host is not there; syncs go on."""
    dead = "http://127.0.0.1:9/"
    world.add("primary", world.log, "--url", dead)
    world.set("rekor.serverUrl", dead)
    world.set("rekor.offline.drainOnConnect", "false")
    world.cli("queue", "add", *write_artifact(world.directory / "in", b"waiting"))


def go_down(world: World) -> None:
    world.serve("primary", None)


def set_back(world: World) -> None:
    world.now -= 5 * DAY


def drained(world: World) -> None:
    """Let a script drain the queue, which waits and tries again as it is set, and then fails."""
    waited = [0.0]

    def sleep(seconds: float) -> None:
        waited[0] += seconds

    def now() -> int:
        return world.now + int(waited[0])

    session = Session(world.home, now=now, sleep=sleep, uptime=lambda: ("boot", now()))
    assert run(["queue", "drain"], session) == 7
    world.capsys.readouterr()


ROWS: Final = {
    "a stuck queue, a day": Row(
        "queue", refuse_writes, DAY + HOUR, DAY - HOUR, 0, WARNING, "warning", drained
    ),
    "a stuck queue, 48 hours": Row(
        "queue", refuse_writes, 2 * DAY + HOUR, DAY - HOUR, 0, CRITICAL, "critical", drained
    ),
    "a day of failing syncs": Row("sync", go_down, DAY + HOUR, DAY - HOUR, 7, CRITICAL, "warning"),
    "a month of failing syncs": Row("sync", go_down, 30 * DAY, DAY - HOUR, 7, CRITICAL, "warning"),
    "a month of failing jobs": Row("job", go_down, 30 * DAY, DAY - HOUR, 7, CRITICAL, "warning"),
    "a clock that was set back": Row("clock", set_back, HOUR, None, 0, CRITICAL, "critical"),
}


@pytest.fixture
def world(tmp_path: Path, server: LogServer, capsys: pytest.CaptureFixture[str]) -> Iterator[World]:
    made = World(tmp_path, server, capsys)
    made.log.grow(300)
    made.sync()
    yield made


def told(world: World) -> dict[str, list[dict[str, Any]]]:
    """Return what status and the alerts say, by kind of problem."""
    status = world.cli("sync-status")["data"]
    problems = [*status["home"]["problems"]]
    for one in status["backends"]:
        problems += one.get("problems", [])
    listed = world.cli("alerts", "list", "--unacked")["data"]["alerts"]
    raised = [
        one["payload"] | {"ended": one["endedAt"]} for one in listed if "problem" in one["payload"]
    ]
    return {"problems": problems, "alerts": [one for one in raised if not one["ended"]]}


@pytest.mark.parametrize("name", ROWS)
def test_it_is_told_within_its_threshold_and_not_before(world: World, name: str) -> None:
    row = ROWS[name]
    world.cli("check", expect=OK)
    assert told(world) == {"problems": [], "alerts": []}
    row.begin(world)
    began = world.now
    if row.before is not None:
        for at in range(HOUR, row.before + 1, 6 * HOUR):
            world.now = began + at
            if row.code == 0:
                world.log.grow(1)
            world.cli("sync", expect=row.code)
        world.now = began + row.before
        if row.code == 0:
            world.log.grow(1)
        world.cli("sync", expect=row.code)
        found = told(world)
        assert row.kind not in {one["problem"] for one in found["alerts"]}
        assert row.kind not in {one["kind"] for one in found["problems"]}
    world.now = began + row.at
    if row.code == 0:
        world.log.grow(1)
    world.cli("sync", expect=row.code)
    line = world.cli("check", expect=row.check)["data"]
    assert line["state"] == {OK: "OK", WARNING: "WARNING", CRITICAL: "CRITICAL"}[row.check]
    found = told(world)
    [alert] = [one for one in found["alerts"] if one["problem"] == row.kind]
    assert alert["severity"] == row.severity
    assert any(one["kind"] == row.kind for one in found["problems"]), found
    if row.more is not None:
        row.more(world)


def test_a_disk_that_fills_is_told_while_there_is_room_to_say_so(
    disk: Disk, server: LogServer, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(disk.root, server, capsys)
    world.log.grow(300)
    world.sync()
    world.cli("check", expect=OK)
    disk.leave(8 * MIB // 4096)
    world.log.grow(1)
    world.sync()
    world.cli("check", expect=CRITICAL)
    found = told(world)
    assert [(one["problem"], one["severity"]) for one in found["alerts"]] == [("disk", "critical")]
    assert [one["kind"] for one in found["problems"]] == ["disk"]
    disk.leave(0)
    world.log.grow(300)
    assert attestor(world.home, ["sync"]).returncode == 6  # by then it is a code of its own
    assert attestor(world.home, ["check"]).returncode == CRITICAL


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to give a file away")
def test_a_wrong_owner_is_told_and_a_writer_stops_at_the_home_of_another(world: World) -> None:
    os.chown(world.home / "attestor.db", STRANGER, STRANGER)
    world.log.grow(1)
    world.sync()
    world.cli("check", expect=CRITICAL)
    found = told(world)
    assert [(one["problem"], one["severity"]) for one in found["alerts"]] == [("owner", "critical")]
    assert [one["kind"] for one in found["problems"]] == ["owner"]
    for path in (world.home, *world.home.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    before = (world.home / "attestor.db").read_bytes()
    error = world.sync(expect=6)["error"]
    assert "sudo -u" in error["next"] or "owner" in error["next"] or "user" in error["next"], error
    assert (world.home / "attestor.db").read_bytes() == before


def status_text(world: World) -> str:
    """Return what sync-status prints for people."""
    session = Session(world.home, now=lambda: world.now)
    assert run(["sync-status"], session) == 0
    return world.capsys.readouterr().out


def test_a_failed_sync_is_told_at_once_and_changes_no_health(world: World) -> None:
    go_down(world)
    for times in ("", ", 2 in a row"):
        world.now += 60
        world.cli("sync", expect=7)
        text = status_text(world)
        assert "HEALTHY" in text
        assert f", failed{times}: " in text and "primary: its last sync, 20" in text
        world.cli("check", expect=OK)
    world.serve("primary", world.log)
    world.now += 60
    world.cli("sync")
    assert "failed" not in status_text(world)
