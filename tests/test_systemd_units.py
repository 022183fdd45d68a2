"""The units are what systemd takes without a word, and are as shut as they say."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from configparser import RawConfigParser
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from appliance.runs import exit_codes
from appliance.runs.session import Session
from appliance.serve.notify import READY, notify
from appliance.store.database import open_store
from appliance.store.home.runs import command_runs
from appliance.store.passphrases import CREDENTIAL
from tests.interop.rekor_server import static_file_server
from tests.serve.running_log import ENTRIES
from tests.serve.signed_requests import signed_request
from tests.simulator import SimulatedLog

ROOT = Path(__file__).resolve().parent.parent
UNITS = sorted((ROOT / "scripts" / "systemd").glob("attestor-*.*"))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
SERVERS = [unit for unit in SERVICES if "Type=notify" in unit.read_text()]
SYSTEM_UNITS = Path("/usr/lib/systemd/system")
MOST_EXPOSED = 1.5  # of systemd-analyze's 0 to 10
SECONDS = 60
PR_SET_MDWE = 65  # of Linux 6.3; an older kernel says no and the test shows less

named = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
named_service = pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
named_server = pytest.mark.parametrize("unit", SERVERS, ids=lambda path: path.name)


def parsed(unit: Path) -> RawConfigParser:
    parser = RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit.read_text())
    return parser


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root directory in which our units are installed beside the system's own."""
    if shutil.which("systemd-analyze") is None or not SYSTEM_UNITS.is_dir():
        pytest.skip("there is no systemd-analyze here: it comes with Debian's package systemd")
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(SYSTEM_UNITS, root / SYSTEM_UNITS.relative_to("/"), symlinks=True)
    ours = root / "etc" / "systemd" / "system"
    ours.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(unit, ours)
    program = root / "usr" / "bin" / "attestor"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return root


def analyze(root: Path, *arguments: str) -> str:
    """Return all that systemd-analyze has to say."""
    done = subprocess.run(
        ["systemd-analyze", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SECONDS,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{root}/etc/systemd/system:"},
    )
    return done.stdout


@named
def test_systemd_takes_a_unit_without_a_word(unit: Path, installed: Path) -> None:
    # Its exit code is 0 even for keys it does not know.
    assert analyze(installed, "verify", f"--root={installed}", "--man=no", unit.name) == ""


@named
def test_systemd_would_have_said_something(unit: Path, installed: Path) -> None:
    wrong = installed / "etc" / "systemd" / "system" / f"wrong-{unit.name}"
    wrong.write_text(unit.read_text() + "\n[Unit]\nDescripton=misspelt\n")
    said = analyze(installed, "verify", f"--root={installed}", "--man=no", wrong.name)
    assert "Unknown key" in said


@named_service
def test_a_service_is_hardly_exposed(unit: Path, installed: Path) -> None:
    said = analyze(
        *(installed, "security", "--offline=yes", "--no-pager", f"--root={installed}", unit.name)
    )
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) <= MOST_EXPOSED, said


@pytest.mark.parametrize(
    "unit", [unit for unit in SERVICES if unit not in SERVERS], ids=lambda path: path.name
)
def test_a_service_runs_once_for_its_timer_and_says_what_it_has_to_say_to_the_journal(
    unit: Path,
) -> None:
    assert unit.with_suffix(".timer") in UNITS
    service = parsed(unit)["Service"]
    assert service["Type"] == "oneshot"
    assert service["User"] == service["StateDirectory"] == "attestor"
    assert "StandardOutput" not in service and "StandardError" not in service
    assert service["SuccessExitStatus"] == "75"
    assert "TimeoutStartSec" in service, "a oneshot service may run for ever otherwise"


def test_all_services_are_shut_in_the_same_way() -> None:
    own = {"PrivateNetwork", "IPAddressDeny", "RestrictAddressFamilies"}
    own |= {"ExecStart", "ExecStopPost", "TimeoutStartSec", "LoadCredential"}
    # What is nothing of how shut a service is, but of how it runs.
    own |= {"Type", "SuccessExitStatus", "Nice", "IOSchedulingClass", "IOSchedulingPriority"}
    own |= {"Restart", "RestartSec", "RestartPreventExitStatus", "TimeoutStopSec"}
    own |= {"LogsDirectory", "LogsDirectoryMode"}
    shut = [{k: v for k, v in parsed(one)["Service"].items() if k not in own} for one in SERVICES]
    assert all(one == shut[0] for one in shut)


@named_server
def test_a_server_says_when_it_is_ready_and_is_started_again_unless_a_hand_is_needed(
    unit: Path,
) -> None:
    service = parsed(unit)["Service"]
    assert service["User"] == service["StateDirectory"] == "attestor"
    assert "--scheduled" in service["ExecStart"], "health would not hear how it ends"
    assert service["SuccessExitStatus"] == str(128 + signal.SIGTERM)
    assert service["Restart"] == "on-failure"
    kept_down = {int(code) for code in service["RestartPreventExitStatus"].split()}
    passing = {exit_codes.BUG, exit_codes.STORE, 7, 75, *range(128, 256)}
    ours = {code for code, _ in exit_codes.EXIT_CODES.values()} | {*exit_codes.OTHER_CODES}
    assert kept_down == ours - passing - {0}
    assert parsed(unit)["Unit"]["StartLimitIntervalSec"] == "0"
    assert parsed(unit)["Install"]["WantedBy"] == "multi-user.target"


def test_what_signs_has_the_passphrase_and_nothing_else_has() -> None:
    signing = {"attestor-log", "attestor-witness", "attestor-queue", "attestor-sync"}
    for unit in SERVICES:
        has = parsed(unit)["Service"].get("LoadCredential")
        assert has == (CREDENTIAL if unit.stem in signing else None), unit.name


def test_a_memory_that_outlasts_a_stop_is_every_services_and_ends_with_the_boot() -> None:
    # RemoveIPC= takes what the user has in /dev/shm when any of the services stops.
    for unit in SERVICES:
        service = parsed(unit)["Service"]
        assert service["RuntimeDirectory"] == "attestor", unit.name
        assert service["RuntimeDirectoryPreserve"] == "yes", unit.name


def test_the_user_of_the_services_is_made_without_a_shell(tmp_path: Path) -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("there is no systemd-sysusers here: it comes with Debian's package systemd")
    (tmp_path / "etc").mkdir()
    file = ROOT / "scripts" / "systemd" / "attestor.sysusers"
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", file],
        check=True,
        capture_output=True,
        timeout=SECONDS,
    )
    name, _, _, _, _, home, shell = (tmp_path / "etc" / "passwd").read_text().strip().split(":")
    assert (name, home) == ("attestor", "/var/lib/attestor")
    assert shell.endswith("nologin")


@named_service
def test_a_service_can_tell_one_boot_from_another(unit: Path) -> None:
    # The budget does not believe a clock that was set back: it reads the boot's id, and would
    # go on without it.
    assert Session(home=ROOT).uptime()[0], "this machine does not tell"
    assert parsed(unit)["Service"].get("ProcSubset", "all") == "all"


def test_metrics_are_written_after_a_sync_that_failed_too() -> None:
    # The second ExecStart= of a oneshot service does not run when the first one failed.
    service = parsed(ROOT / "scripts" / "systemd" / "attestor-sync.service")["Service"]
    assert "metrics" not in service["ExecStart"]
    assert "metrics" in service["ExecStopPost"] and "--textfile" in service["ExecStopPost"]


def test_what_needs_no_network_has_none() -> None:
    service = parsed(ROOT / "scripts" / "systemd" / "attestor-verify.service")["Service"]
    assert service["PrivateNetwork"] == "yes"


@pytest.mark.parametrize(
    "unit", [unit for unit in UNITS if unit.suffix == ".timer"], ids=lambda path: path.name
)
def test_a_timer_catches_up_and_does_not_hit_a_log_with_all_others_at_once(unit: Path) -> None:
    timer = parsed(unit)
    assert timer["Timer"]["Persistent"] == "true"
    assert "RandomizedDelaySec" in timer["Timer"]
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert unit.with_suffix(".service") in UNITS


def system_calls(group: str) -> set[str]:
    """Return the names of a group of system calls, those of the groups in it included."""
    found: set[str] = set()
    for line in analyze(ROOT, "syscall-filter", "--no-pager", group).split("\n")[1:]:
        word = line.strip()
        if word.startswith("@"):
            found |= system_calls(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return found


def allowed_by(unit: Path) -> set[str]:
    """Return the system calls that a service may make."""
    allowed: set[str] = set()
    for words in re.findall(r"(?m)^SystemCallFilter=(.*)$", unit.read_text()):
        named = set().union(*map(system_calls, words.removeprefix("~").split()))
        allowed = allowed - named if words.startswith("~") else allowed | named
    return allowed | system_calls("@default")


def test_the_limits_leave_room_for_the_work(installed: Path, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace here, which lists the system calls of a run")
    log = SimulatedLog()
    log.grow(300)
    log.write_static(tmp_path / "log")
    (tmp_path / "log.der").write_bytes(log.key.spki)
    # As MemoryDenyWriteExecute= does: whatever wants to write code into memory fails.
    shut = (
        f"import ctypes, os, sys; ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [
        *(sys.executable, "-c", shut, shutil.which("strace") or "", "-f", "-qq", "-A"),
        *("-o", str(tmp_path / "trace"), sys.executable, "-m", "appliance.cli.main"),
        *("--home", str(tmp_path / "home")),
    ]
    with static_file_server(tmp_path / "log") as url:
        where = ["--url", url, "--read-url", url, "--public-key", str(tmp_path / "log.der")]
        for arguments in (
            ["init", "--site", "unit.example"],
            ["backend", "add", "public", "--origin", log.origin, *where],
            ["sync", "--entries", "--quiet"],
            ["metrics", "--textfile", str(tmp_path / "attestor.prom")],
            ["alerts", "send"],
            ["tiles", "verify", "--full", "--jobs", "2"],
        ):
            done = subprocess.run(
                [*command, *arguments],
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
                cwd=ROOT,
            )
            assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    made = set(re.findall(r"(?m)^\d+ +(\w+)\(", (tmp_path / "trace").read_text()))
    assert {"fsync", "connect", "flock"} <= made
    # SQLite gives its files to their owner, and only where it runs as root.
    as_root = {"fchown"} if os.geteuid() == 0 else set()
    for unit in SERVICES:
        assert made - as_root <= allowed_by(unit), unit.name


@named_server
def test_a_server_does_its_work_within_the_limits_and_tells_who_watches_it(
    unit: Path, installed: Path, tmp_path: Path
) -> None:
    """The command of the unit itself, told to systemd as systemd is told: over its socket."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("there is no strace here, which lists the system calls of a run")
    home = Home(tmp_path / "home")
    home.run("log", "create", "build", "--origin", "log.example")
    home.run("key", "generate", "witness.example", "--type", "witness")
    words = parsed(unit)["Service"]["ExecStart"].split()[1:]
    words[words.index("--bind") + 1] = "127.0.0.1:0"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SECONDS)
        command = [strace, "-f", "-qq", "-o", str(tmp_path / "trace"), *home.command, *words]
        server = subprocess.Popen(
            [*command, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            assert manager.recv(4096) == b"READY=1"
            assert server.stdout is not None
            url = urlsplit(json.loads(server.stdout.readline())["data"]["url"])
            connection = HTTPConnection(url.hostname or "", url.port or 0, timeout=SECONDS)
            connection.request("POST", ENTRIES, signed_request(b"an artifact"))
            logged = connection.getresponse().status == 201
            connection.close()
            home.wait_until_recorded(words)
            child = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()[0]
            os.kill(int(child), signal.SIGTERM)
            assert manager.recv(4096) == b"STOPPING=1"
            _, said = server.communicate(timeout=SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # what is traced outlives strace
            server.communicate()
    assert (server.returncode, said) == (128 + signal.SIGTERM, b"")
    assert logged == (unit.stem == "attestor-log")
    made = set(re.findall(r"(?m)^\d+ +(\w+)\(", (tmp_path / "trace").read_text()))
    as_root = {"fchown"} if os.geteuid() == 0 else set()
    assert {"bind", "listen", "sendto"} <= made
    assert made - as_root - allowed_by(unit) == set()


class Home:
    """A home that is asked by commands of their own, as a unit's is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.command = [sys.executable, "-m", "appliance.cli.main", "--home", str(path)]
        self.run("init", "--site", "unit.example")

    def run(self, *words: str) -> None:
        done = subprocess.run(
            [*self.command, *words], capture_output=True, timeout=SECONDS, cwd=ROOT, check=False
        )
        assert done.returncode == 0, done.stderr

    def wait_until_recorded(self, words: list[str]) -> None:
        """Wait until health has heard that a server runs; it is written beside serving."""
        command = " ".join(words[1 : words.index("--bind")])
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            store = open_store(self.path, write=False)
            try:
                runs = {one.command: one for one in command_runs(store)}
            finally:
                store.close()
            if command in runs and runs[command].succeeded_at is not None:
                return
            time.sleep(0.2)
        raise AssertionError(f"{command} was not recorded")


def test_who_is_told_where_systemd_listens(tmp_path: Path) -> None:
    assert not notify(READY, environment={})
    assert not notify(READY, environment={"NOTIFY_SOCKET": "relative"})
    assert not notify(READY, environment={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    for name in (str(tmp_path / "socket"), f"@attestor-test-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(name.replace("@", "\0"))
            manager.settimeout(SECONDS)
            assert notify(READY, "STATUS=well", environment={"NOTIFY_SOCKET": name})
            assert manager.recv(4096) == b"READY=1\nSTATUS=well"
