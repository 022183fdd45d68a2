"""The doctor finds each ailment, names its cure, and changes nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ConfigError
from appliance.jobs.checks import CheckResult, CheckState
from appliance.jobs.home import doctor
from appliance.jobs.home import doctor as store_health
from appliance.jobs.home.doctor import Examined, examine
from appliance.jobs.home.init import init_home
from appliance.jobs.private_log.create import create_log
from appliance.runs.clock import RunClock
from appliance.store.database import open_store
from appliance.store.filesystem import Room
from appliance.store.home.clock import SIGNED, raise_floor
from appliance.store.home.journal import append_event
from appliance.store.home.settings import replace_settings
from appliance.store.verify.trust import StoredRoot, put_root
from appliance.times import utc
from tests.cli.homes import Home
from tests.private_log.private_homes import home_in_memory, reboot
from tests.store.test_database import leave_hot_journal
from tests.store.test_integrity import damage_a_page
from tests.store.unprivileged import as_nobody, reachable_directory

NOW = 1_760_000_000
DAY = 86_400


def seed(n_bytes: int) -> bytes:
    return bytes(n_bytes)


@pytest.fixture
def home() -> Iterator[Path]:
    with home_in_memory() as path:
        init_home(path, "site.example", "connected", seed)
        yield path


def findings(home: Path, *, allow_network_fs: bool = False) -> dict[str, CheckResult]:
    clock = RunClock(home, lambda: NOW)
    examined = Examined(home, lambda: NOW, lambda: clock.behind, allow_network_fs)
    return {one.name: one for one in examine(examined)}


def failed(home: Path) -> dict[str, str]:
    """The reason of each failed check."""
    return {name: one.error.reason for name, one in findings(home).items() if one.error is not None}


def test_no_clock_is_reset_to_before_what_somebody_signed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Home(tmp_path / "site", capsys)
    store = open_store(site.path, write=True)
    with store.atomic():
        raise_floor(store, SIGNED, NOW + DAY, "a signature of tsa.example")
    store.close()
    reset = ("doctor", "--reset-clock", "battery replaced")
    error = site.json(*reset, expect=8)
    assert error["reason"] == "clock-behind" and "--signed-too" in error["next"]
    assert site.run("doctor", "--signed-too")[0] == 2
    assert site.json(*reset, "--signed-too")["now"] == utc(NOW)
    store = open_store(site.path, write=True)
    with store.atomic():
        raise_floor(store, SIGNED, NOW + 299, "a signature of tsa.example")
    store.close()
    site.json(*reset)  # clocks that agree this well agree


def test_a_new_home_is_well(home: Path) -> None:
    found = findings(home)
    assert {one.state for one in found.values()} == {CheckState.OK}
    assert found["keys"].message == "site.example"
    assert found["site"].message == "site.example, connected"
    assert set(found) == {
        *(
            "python",
            "sqlite",
            "home",
            "filesystem",
            "journal",
            "database",
            "schema",
            "history",
            "custody",
            "blobs",
        ),
        *("room", "keys", "site", "clock", "trust-root", "sinks", "index", "private-logs"),
    }


def test_what_nobody_would_notice_of_a_private_log_is_said(home: Path) -> None:
    store = open_store(home, write=True)
    create_log(store, "build", "log.example", bytes(32), NOW)
    store.close()
    assert findings(home)["private-logs"].state is CheckState.OK
    reboot()
    found = findings(home)["private-logs"]
    assert found.state is CheckState.WARNING and "cannot be seen" in found.message


def test_without_a_home_everything_else_is_still_said(tmp_path: Path) -> None:
    found = findings(tmp_path / "none")
    assert found["home"].error is not None and found["home"].error.reason == "no-store"
    assert found["python"].state is CheckState.OK
    for name in ("site", "clock", "trust-root", "sinks"):
        assert found[name].state is CheckState.SKIPPED


def test_files_that_others_can_write_are_found(home: Path) -> None:
    (home / "attestor.db").chmod(0o602)
    assert failed(home) == {"database": "permissions"}
    (home / "attestor.db").chmod(0o600)
    home.chmod(0o777)
    assert failed(home)["home"] == "permissions"


@pytest.mark.parametrize(
    ("path", "mode"), [("keys", 0o755), ("keys", 0o770), ("keys/site.example.key", 0o644)]
)
def test_keys_that_others_can_read_are_found(home: Path, path: str, mode: int) -> None:
    (home / path).chmod(mode)
    found = findings(home)
    assert isinstance(found["keys"].error, ConfigError)
    assert found["keys"].error.next_step.startswith("run: chmod")


def test_a_lost_key_and_a_site_without_a_name_are_found(home: Path) -> None:
    (home / "keys" / "site.example.key").unlink()
    assert failed(home) == {"site": "no-key"}
    store = open_store(home, write=True)
    with store.atomic():
        store.execute("DELETE FROM setting WHERE key = 'site.name'")
    store.close()
    assert findings(home)["site"].state is CheckState.WARNING


def test_a_damaged_database_and_a_changed_schema_are_found(home: Path) -> None:
    store = open_store(home, write=True)
    with store.atomic():
        store.execute("DROP VIEW rekor_checkpoints")
        replace_settings(store, {f"site.k{number}": "value" * 50 for number in range(200)})
    store.close()
    assert failed(home) == {"schema": "schema-changed"}
    damage_a_page(home)
    assert failed(home)["database"] == "corrupt"


def test_a_journal_left_by_a_killed_run_is_a_warning(home: Path) -> None:
    leave_hot_journal(home)
    found = findings(home)
    assert found["journal"].state is CheckState.WARNING
    assert found["database"].state is CheckState.OK
    assert findings(home)["journal"].state is CheckState.OK  # opening it rolled it back


def test_a_clock_behind_what_was_recorded_is_found(home: Path) -> None:
    for seconds, expected in ((299, {}), (301, {"clock": "clock"})):
        store = open_store(home, write=True)
        with store.atomic():
            append_event(store, NOW + seconds, "test.clock", {})
        store.close()
        assert failed(home) == expected


@pytest.mark.parametrize(
    ("age", "outcome"),
    [
        (0, CheckState.OK),
        (14 * DAY, CheckState.OK),
        (15 * DAY, CheckState.WARNING),
        (91 * DAY, CheckState.FAILED),
    ],
)
def test_an_old_trusted_root_is_found(home: Path, age: int, outcome: CheckState) -> None:
    store = open_store(home, write=True)
    put_root(store, StoredRoot(b"x", "x", NOW - age))
    with store.atomic():
        replace_settings(store, {"verify.maxTrustRootAge.fail": "90d"})
    store.close()
    assert findings(home)["trust-root"].state is outcome


def test_a_sink_that_would_miss_the_next_alert_is_found_before_it(
    home: Path, tmp_path: Path
) -> None:
    secret, program = tmp_path / "secret", tmp_path / "page"

    def told(sink: dict[str, Any]) -> CheckResult:
        store = open_store(home, write=True)
        with store.atomic():
            replace_settings(store, {"alerts.sinks": [sink]})
        store.close()
        return findings(home)["sinks"]

    webhook: dict[str, Any] = {
        "type": "webhook",
        "url": "https://sink.example",
        "secretFile": str(secret),
    }
    assert reason(told(webhook)) == "no-secret"
    secret.write_text("s")
    secret.chmod(0o644)
    assert reason(told(webhook)) == "key-permissions"
    secret.chmod(0o600)
    assert told(webhook).state is CheckState.OK
    command: dict[str, Any] = {"type": "command", "argv": [str(program)]}
    assert reason(told(command)) == "bad-sink"
    program.write_text("#!/bin/sh\n")
    assert reason(told(command)) == "bad-sink"
    program.chmod(0o755)
    assert told(command).message == f"command {program}"
    lines: dict[str, Any] = {"type": "file", "path": str(tmp_path / "none" / "alerts.jsonl")}
    assert reason(told(lines)) == "bad-sink"
    assert told(lines | {"path": str(tmp_path / "alerts.jsonl")}).state is CheckState.OK


def reason(one: CheckResult) -> str:
    assert one.error is not None, one.message
    return one.error.reason


@pytest.mark.parametrize(
    ("room", "outcome"),
    [
        (Room(10**12, 10**6, 10**13), CheckState.OK),
        (Room(10**12, None, 10**13), CheckState.OK),
        (Room(100 * 2**20, 10**6, 10**13), CheckState.WARNING),
        (Room(10**12, 500, 10**13), CheckState.WARNING),
        (Room(15 * 2**20, 10**6, 10**13), CheckState.FAILED),
        (Room(10**12, 0, 10**13), CheckState.FAILED),
    ],
)
def test_little_room_is_found(
    home: Path, monkeypatch: pytest.MonkeyPatch, room: Room, outcome: CheckState
) -> None:
    monkeypatch.setattr(store_health, "room_at", lambda _: room)
    found = findings(home)["room"]
    assert found.state is outcome
    assert f"{room.free_bytes:,}" in found.message


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("ext4", CheckState.OK),
        ("nfs4", CheckState.FAILED),
        ("exfat", CheckState.WARNING),
        ("", CheckState.OK),
    ],
)
def test_a_filesystem_that_cannot_hold_a_home_is_found(
    home: Path, monkeypatch: pytest.MonkeyPatch, kind: str, outcome: CheckState
) -> None:
    monkeypatch.setattr(doctor, "filesystem_type", lambda _: kind)
    assert findings(home)["filesystem"].state is outcome
    allowed = findings(home, allow_network_fs=True)["filesystem"].state
    assert allowed is (CheckState.WARNING if kind == "nfs4" else outcome)


def test_an_old_sqlite_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "sqlite_version", lambda: "3.34.1")
    assert failed(home) == {"sqlite": "sqlite-version"}


def test_a_blob_directory_that_cannot_be_written_is_found(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "blobs" / "sha256").rename(home / "aside")
    (home / "blobs" / "sha256").write_text("not a directory")
    found = findings(home)["blobs"]
    assert found.state is CheckState.FAILED
    assert f"Errno {errno.ENOTDIR}" not in found.message  # said in words


def test_somebody_without_rights_to_the_keys_is_not_told_they_are_wrong() -> None:
    with reachable_directory() as directory:
        home = directory / "home"
        init_home(home, "site.example", "connected", seed)
        home.chmod(0o755)
        for path in (home, home / "blobs", home / "blobs" / "sha256"):
            path.chmod(0o755)
        (home / "attestor.db").chmod(0o644)
        list(examine(Examined(home, lambda: NOW, lambda: None)))  # so that everything is imported

        def look() -> dict[str, str]:
            found = examine(Examined(home, lambda: NOW, lambda: None))
            return {one.name: one.state.value for one in found}

        found = as_nobody(look)
        assert found["home"] == "warning"
        assert found["keys"] == "skipped"
        assert found["database"] == found["site"] == "ok"
        assert found["blobs"] == "failed"
