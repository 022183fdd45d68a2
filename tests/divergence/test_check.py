"""check: one line, performance data, and 0 to 3 whatever happens."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from appliance.cli.main import run
from appliance.errors import DivergenceError
from appliance.jobs.divergence.alarm import raise_alarm
from appliance.policy.alarms import Anomaly, rollback_alarm, stale_alarm
from appliance.runs import check as check_module
from appliance.runs.session import Session
from appliance.store.mirror.logs import put_backend
from tests.cli.homes import NOW
from tests.cli.mirrored import MirroredHome
from tests.mirror.mirrors import sync_from

MINUTE = 60
HOUR = 60 * MINUTE
# What the Monitoring Plugins Development Guidelines allow for performance data.
PERFORMANCE_VALUE = re.compile(
    r"'[^'=]+'=-?[0-9.]+(s|%|)(;[0-9.]*)?(;[0-9.]*)?(;[0-9.]*)?(;[0-9.]*)?"
)


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


def checked(home: MirroredHome, *arguments: str) -> tuple[int, str]:
    """Return the code and the line; there is one, well formed, and nothing on stderr."""
    code, out, err = home.run("check", *arguments)
    assert err == ""
    assert out.count("\n") == 1
    words = {0: "OK", 1: "WARNING", 2: "CRITICAL", 3: "UNKNOWN"}
    assert out.startswith(f"ATTESTOR {words[code]} - ")
    text, _, performance = out.rstrip("\n").partition(" | ")
    assert "|" not in text
    for one in performance.split(" ") if performance else []:
        assert PERFORMANCE_VALUE.fullmatch(one), one
    return code, out


def test_a_log_that_is_well_is_ok_with_all_its_numbers(home: MirroredHome) -> None:
    home.sync(300, now=NOW - 135)
    code, line = checked(home)
    assert code == 0
    assert line == (
        "ATTESTOR OK - sim HEALTHY: 300 entries, 2m 15s old | 'sim_age'=135s;1800;7200;0"
        " 'sim_tree_size'=300;;;0 'sim_coverage'=100%;;;0;100 'queue_depth'=0;;;0"
        " 'unacked_critical_alerts'=0;;0;0\n"
    )


@pytest.mark.parametrize(
    ("age", "arguments", "code"),
    [
        (30 * MINUTE, [], 0),
        (30 * MINUTE + 1, [], 1),
        (2 * HOUR, [], 1),
        (2 * HOUR + 1, [], 2),
        (10 * MINUTE, ["--warning", "5m"], 1),
        (10 * MINUTE, ["--warning", "5m", "--critical", "9m"], 2),
        (3 * HOUR, ["--warning", "4h", "--critical", "1d"], 0),
    ],
)
def test_ages_are_compared_with_what_is_configured_or_given(
    home: MirroredHome, age: int, arguments: list[str], code: int
) -> None:
    home.sync(300, now=NOW - age)
    found, line = checked(home, *arguments)
    assert (found, f"'sim_age'={age}s;" in line) == (code, True), line


def test_configured_thresholds_count(home: MirroredHome) -> None:
    home.sync(300, now=NOW - 20 * MINUTE)
    assert checked(home)[0] == 0
    home.json("config", "set", "divergenceDetection.degradedCheckpointAgeThreshold", "10m")
    code, line = checked(home)
    assert (code, "'sim_age'=1200s;600;7200;0" in line) == (1, True)


def test_a_log_that_was_never_synced_is_critical(home: MirroredHome) -> None:
    code, line = checked(home)
    assert code == 2
    assert "sim UNHEALTHY: no checkpoint was accepted yet" in line
    assert "sim_age" not in line


def test_a_quarantined_log_is_critical_however_fresh(home: MirroredHome) -> None:
    home.sync(300)
    with home.mirror() as mirror, pytest.raises(DivergenceError):
        sync_from(mirror, home.log.fork(at=200))
    code, line = checked(home)
    assert code == 2
    assert "sim QUARANTINED: it contradicted itself; believed up to 200 entries" in line
    assert "1 critical alert is not acknowledged: attestor alerts list --unacked" in line
    assert "'unacked_critical_alerts'=1;;0;0" in line
    home.json("alerts", "ack", "1")
    code, line = checked(home)
    assert (code, "not acknowledged" in line) == (2, False)


def test_a_frozen_log_is_well_at_any_age(home: MirroredHome) -> None:
    home.log.grow(300)
    home.log.freeze()
    home.sync(0, now=NOW - 400 * 24 * HOUR)
    code, line = checked(home)
    assert (code, "'sim_age'=34560000s;;;0" in line) == (0, True)


def test_a_critical_alert_about_no_log_is_critical_until_somebody_has_seen_it(
    home: MirroredHome,
) -> None:
    home.sync(300)
    warning = stale_alarm(
        Anomaly.STALE_TREE_SIZE,
        origin="log.example",
        tree_size=7,
        age=4000,
        threshold=3600,
        backend="sim",
        description="not critical",
    )
    with home.mirror() as mirror, mirror.store.atomic():
        raise_alarm(mirror.store, warning, NOW)
    assert checked(home)[0] == 0
    with home.mirror() as mirror, mirror.store.atomic():
        critical = rollback_alarm(
            origin="x",
            previous_size=2,
            attempted_size=1,
            backend="x",
            description="",
        )
        number = raise_alarm(mirror.store, critical, NOW)
    assert checked(home)[0] == 2
    home.json("alerts", "ack", str(number))
    assert checked(home)[0] == 0


def test_mirrors_and_private_logs_are_looked_at_only_when_named(home: MirroredHome) -> None:
    home.sync(300)
    home.json("log", "create", "build", "--origin", "build.example")
    with home.mirror() as mirror, mirror.store.atomic():
        put_backend(mirror.store, "copy", mirror.log, base_url=None, read_url=None, mirror_of="sim")
    code, line = checked(home)
    assert (code, "build" in line, "copy" in line) == (0, False, False)
    # A private log that nobody writes to stands still, and that is no fault.
    code, line = checked(home, "--backend", "build", "--backend", "copy")
    assert ("'build_age'" in line, "'copy_age'" in line) == (True, True)


def test_what_is_disabled_is_looked_at_only_when_named(home: MirroredHome) -> None:
    home.sync(300)
    home.json("backend", "disable", "sim")
    code, line = checked(home)
    assert code == 3
    assert "no enabled backend; see 'attestor backend list'" in line
    assert checked(home, "--backend", "sim")[0] == 0


def test_json_carries_the_same(home: MirroredHome) -> None:
    home.sync(300, now=NOW - HOUR)
    code, out, err = home.run("check", "--json")
    answer = json.loads(out)
    assert (code, answer["exitCode"], answer["ok"], err) == (1, 1, False, "")
    assert answer["data"]["state"] == "WARNING"
    assert answer["data"]["backends"][0]["ageSeconds"] == HOUR
    assert answer["data"]["unackedCriticalAlerts"] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--nonsense"],
        ["check", "surplus"],
        ["check", "--warning", "soon"],
        ["check", "--warning", "2h", "--critical", "1h"],
        ["check", "--backend", "nobody"],
        ["--nonsense", "check"],
        ["--lock-wait", "soon", "check"],
        ["--color", "purple", "check"],
    ],
)
def test_wrong_usage_is_unknown(home: MirroredHome, arguments: list[str]) -> None:
    home.sync(300)
    code, out, err = home.run(*arguments)
    assert (code, out[:19], out.count("\n"), err) == (3, "ATTESTOR UNKNOWN - ", 1, "")
    code, out, err = home.run(*arguments, "--json")
    answer = json.loads(out)
    assert (code, answer["exitCode"], answer["command"], err) == (3, 3, "check", "")
    assert answer["error"]["message"]


def test_a_home_that_is_not_there_or_broken_is_unknown(
    tmp_path: Path, home: MirroredHome, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check"], Session(home=tmp_path / "nowhere")) == 3
    assert capsys.readouterr().out.startswith("ATTESTOR UNKNOWN - ")
    assert run(["check", "--json"], Session(home=tmp_path / "nowhere")) == 3
    answer = json.loads(capsys.readouterr().out)
    assert (answer["exitCode"], answer["data"]["state"]) == (3, "UNKNOWN")
    assert answer["error"]["reason"] == "no-store"
    (home.path / "attestor.db").write_bytes(b"no database" * 100)
    assert checked(home)[0] == 3


def test_a_bug_of_ours_is_unknown_with_its_traceback_on_stderr(
    home: MirroredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbles(*_: object) -> None:
        raise ZeroDivisionError("of all things | here\nand there")

    monkeypatch.setattr(check_module, "_look", stumbles)
    code, out, err = home.run("check")
    assert (code, out) == (
        3,
        "ATTESTOR UNKNOWN - a bug in the appliance: ZeroDivisionError: of all things / here"
        " and there\n",
    )
    assert "Traceback" in err


def test_other_commands_keep_their_codes(home: MirroredHome) -> None:
    assert home.run("store", "check", "--nonsense")[0] == 2
    assert home.run("--home", "check", "sync-status", "--nonsense")[0] == 2
    assert home.run("--home", str(home.path / "check"), "sync-status")[0] == 6


def test_it_only_reads(home: MirroredHome) -> None:
    home.sync(300)
    before = (home.path / "attestor.db").read_bytes()
    (home.path / "lock").unlink(missing_ok=True)
    (home.path / "attestor.db").chmod(0o400)
    checked(home)
    assert (home.path / "attestor.db").read_bytes() == before
    assert not (home.path / "lock").exists()


def test_alerts_that_do_not_reach_their_sink_are_a_warning(home: MirroredHome) -> None:
    home.sync(300)
    home.json("config", "set", "alerts.sinks", "[{type: command, argv: [/bin/false]}]")
    found = stale_alarm(
        Anomaly.STALE_TREE_SIZE,
        origin=home.log.origin,
        tree_size=300,
        age=4000,
        threshold=3600,
        backend="sim",
        description="no growth for an hour",
    )
    with home.mirror() as mirror, mirror.store.atomic():
        raise_alarm(mirror.store, found, NOW, log=mirror.log)
    for code in (0, 0, 0, 1):
        assert checked(home)[0] == code
        home.json("alerts", "send", "--all", expect=7)
    code, line = checked(home)
    assert code == 1
    assert "alerts do not reach command /bin/false: attestor alerts send --all" in line
