"""The doctor finds each ailment, names its cure, and changes nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ConfigError
from appliance.jobs.home import doctor
from appliance.jobs.home import doctor as store_health
from appliance.jobs.home.doctor import Examined, Finding, Outcome, examine
from appliance.jobs.home.init import init_home
from appliance.jobs.private_log.create import create_log
from appliance.runs.clock import RunClock
from appliance.store.database import open_store
from appliance.store.filesystem import Room
from appliance.store.home.journal import append_event
from appliance.store.home.settings import replace_settings
from appliance.store.verify.trust import StoredRoot, put_root
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


def findings(home: Path, *, allow_network_fs: bool = False) -> dict[str, Finding]:
    clock = RunClock(home, lambda: NOW)
    examined = Examined(home, lambda: NOW, lambda: clock.behind, allow_network_fs)
    return {one.name: one for one in examine(examined)}


def failed(home: Path) -> dict[str, str]:
    """The reason of each failed check."""
    return {name: one.error.reason for name, one in findings(home).items() if one.error is not None}


def test_a_new_home_is_well(home: Path) -> None:
    found = findings(home)
    assert {one.outcome for one in found.values()} == {Outcome.OK}
    assert found["keys"].text == "site.example"
    assert found["site"].text == "site.example, connected"
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
        *("room", "keys", "site", "clock", "trust-root", "sinks", "private-logs"),
    }


def test_what_nobody_would_notice_of_a_private_log_is_said(home: Path) -> None:
    store = open_store(home, write=True)
    create_log(store, "build", "log.example", bytes(32), NOW)
    store.close()
    assert findings(home)["private-logs"].outcome is Outcome.OK
    reboot()
    found = findings(home)["private-logs"]
    assert found.outcome is Outcome.WARNING and "cannot be seen" in found.text


def test_without_a_home_everything_else_is_still_said(tmp_path: Path) -> None:
    found = findings(tmp_path / "none")
    assert found["home"].error is not None and found["home"].error.reason == "no-store"
    assert found["python"].outcome is Outcome.OK
    for name in ("site", "clock", "trust-root", "sinks"):
        assert found[name].outcome is Outcome.SKIPPED


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
    assert findings(home)["site"].outcome is Outcome.WARNING


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
    assert found["journal"].outcome is Outcome.WARNING
    assert found["database"].outcome is Outcome.OK
    assert findings(home)["journal"].outcome is Outcome.OK  # opening it rolled it back


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
        (0, Outcome.OK),
        (14 * DAY, Outcome.OK),
        (15 * DAY, Outcome.WARNING),
        (91 * DAY, Outcome.FAILED),
    ],
)
def test_an_old_trusted_root_is_found(home: Path, age: int, outcome: Outcome) -> None:
    store = open_store(home, write=True)
    put_root(store, StoredRoot(b"x", "x", NOW - age))
    with store.atomic():
        replace_settings(store, {"verify.maxTrustRootAge.fail": "90d"})
    store.close()
    assert findings(home)["trust-root"].outcome is outcome


def test_a_sink_that_would_miss_the_next_alert_is_found_before_it(
    home: Path, tmp_path: Path
) -> None:
    secret, program = tmp_path / "secret", tmp_path / "page"

    def told(sink: dict[str, Any]) -> Finding:
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
    assert told(webhook).outcome is Outcome.OK
    command: dict[str, Any] = {"type": "command", "argv": [str(program)]}
    assert reason(told(command)) == "bad-sink"
    program.write_text("#!/bin/sh\n")
    assert reason(told(command)) == "bad-sink"
    program.chmod(0o755)
    assert told(command).text == f"command {program}"
    lines: dict[str, Any] = {"type": "file", "path": str(tmp_path / "none" / "alerts.jsonl")}
    assert reason(told(lines)) == "bad-sink"
    assert told(lines | {"path": str(tmp_path / "alerts.jsonl")}).outcome is Outcome.OK


def reason(one: Finding) -> str:
    assert one.error is not None, one.text
    return one.error.reason


@pytest.mark.parametrize(
    ("room", "outcome"),
    [
        (Room(10**12, 10**6, 10**13), Outcome.OK),
        (Room(10**12, None, 10**13), Outcome.OK),
        (Room(100 * 2**20, 10**6, 10**13), Outcome.WARNING),
        (Room(10**12, 500, 10**13), Outcome.WARNING),
        (Room(15 * 2**20, 10**6, 10**13), Outcome.FAILED),
        (Room(10**12, 0, 10**13), Outcome.FAILED),
    ],
)
def test_little_room_is_found(
    home: Path, monkeypatch: pytest.MonkeyPatch, room: Room, outcome: Outcome
) -> None:
    monkeypatch.setattr(store_health, "room_at", lambda _: room)
    found = findings(home)["room"]
    assert found.outcome is outcome
    assert f"{room.free_bytes:,}" in found.text


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [("ext4", Outcome.OK), ("nfs4", Outcome.FAILED), ("exfat", Outcome.WARNING), ("", Outcome.OK)],
)
def test_a_filesystem_that_cannot_hold_a_home_is_found(
    home: Path, monkeypatch: pytest.MonkeyPatch, kind: str, outcome: Outcome
) -> None:
    monkeypatch.setattr(doctor, "filesystem_type", lambda _: kind)
    assert findings(home)["filesystem"].outcome is outcome
    allowed = findings(home, allow_network_fs=True)["filesystem"].outcome
    assert allowed is (Outcome.WARNING if kind == "nfs4" else outcome)


def test_an_old_sqlite_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "sqlite_version", lambda: "3.34.1")
    assert failed(home) == {"sqlite": "sqlite-version"}


def test_a_blob_directory_that_cannot_be_written_is_found(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "blobs" / "sha256").rename(home / "aside")
    (home / "blobs" / "sha256").write_text("not a directory")
    found = findings(home)["blobs"]
    assert found.outcome is Outcome.FAILED
    assert f"Errno {errno.ENOTDIR}" not in found.text  # said in words


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
            return {one.name: one.outcome.value for one in found}

        found = as_nobody(look)
        assert found["home"] == "warning"
        assert found["keys"] == "skipped"
        assert found["database"] == found["site"] == "ok"
        assert found["blobs"] == "failed"
