"""The settings of privateLog: what `log serve` does with and without them."""

from __future__ import annotations

import json
import signal
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.cli.main import run
from appliance.runs.session import Session
from tests.private_log.private_homes import make_home
from tests.serve.running_log import ENTRIES, RunningLog, running_log
from tests.serve.signed_requests import signed_request
from tests.serve.test_sites import certificate

CERTIFICATE = certificate("dns:ci.example").public_bytes(Encoding.DER)
SHOWN = {"Client-Cert": f":{b64encode(CERTIFICATE).decode()}:"}
FORWARDED = {"X-Forwarded-For": "192.0.2.7"}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLog]:
    """A log without any setting."""
    home = tmp_path_factory.mktemp("bare") / "home"
    # This machine remembers by its key what a log signed: two homes have two.
    make_home(home, origin="bare.example", seed=bytes(range(32)))
    with running_log(home) as server:
        yield server


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines") / "access.log"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, log_file: Path) -> Iterator[RunningLog]:
    """The same with every setting of the section."""
    home = tmp_path_factory.mktemp("set") / "home"
    make_home(home)
    config = home.parent / "config.yaml"
    config.write_text(
        "attestor:\n"
        "  privateLog:\n"
        "    hosted:\n"
        "      - log: build\n"
        "        path: /build\n"
        '        clientCertificates: ["dns:ci.example"]\n'
        f"    accessLog: {log_file}\n"
        "    metrics: anybody\n"
        "    trustedProxies: [127.0.0.1]\n"
        "    clientCertificateHeader: Client-Cert\n"
    )
    assert run(["--home", str(home), "config", "apply", str(config), "-q"], Session(home)) == 0
    with running_log(home) as running:
        yield running


def lines_of(path: Path, at_least: int) -> list[dict[str, Any]]:
    for _ in range(200):  # a line is written after its answer
        found = path.read_text().splitlines() if path.exists() else []
        if len(found) >= at_least:
            return [json.loads(one) for one in found]
        time.sleep(0.05)
    raise AssertionError(f"{len(found)} lines")


def test_setting_privateLog_hosted(bare: RunningLog, server: RunningLog) -> None:
    for running, path, status in (
        (bare, "/api/v2/checkpoint", 200),
        (bare, "/build/api/v2/checkpoint", 404),
        (server, "/api/v2/checkpoint", 404),
        (server, "/build/api/v2/checkpoint", 200),
    ):
        assert running.ask("GET", path)[0] == status


def test_setting_privateLog_clientCertificateHeader(bare: RunningLog, server: RunningLog) -> None:
    def post(running: RunningLog, path: str, headers: dict[str, str]) -> int:
        return running.ask("POST", path + ENTRIES, signed_request(b"certified"), headers)[0]

    assert post(bare, "", {}) == 201
    assert post(server, "/build", {}) == 403
    assert post(server, "/build", {"X-Cert": SHOWN["Client-Cert"]}) == 403
    assert post(server, "/build", SHOWN) == 201


def test_setting_privateLog_metrics(bare: RunningLog, server: RunningLog) -> None:
    assert bare.ask("GET", "/metrics")[0] == 200
    assert bare.ask("GET", "/metrics", None, FORWARDED)[0] == 404
    assert server.ask("GET", "/metrics", None, FORWARDED)[0] == 200


def test_setting_privateLog_trustedProxies(
    bare: RunningLog, server: RunningLog, log_file: Path
) -> None:
    already = len(lines_of(log_file, 1))
    assert server.ask("GET", "/build/healthz", None, FORWARDED)[0] == 200
    assert lines_of(log_file, already + 1)[-1]["client"] == "192.0.2.7"


def test_setting_privateLog_accessLog(server: RunningLog, log_file: Path) -> None:
    already = len(lines_of(log_file, 1))
    secret = {**SHOWN, "Authorization": "Bearer a-secret-token"}
    assert server.ask("GET", "/build/checkpoint?token=a-secret", None, secret)[0] == 200
    assert server.ask("POST", "/build" + ENTRIES, b"{}", secret)[0] == 400
    assert server.ask("\x7fX", "/")[0] == 400
    read, posted, bad = lines_of(log_file, already + 3)[-3:]
    assert {name: read[name] for name in ("log", "client", "caller", "method", "path")} == {
        **{"log": "build", "client": "127.0.0.1", "caller": None, "method": "GET"},
        "path": "/build/checkpoint",
    }
    assert (read["status"], read["bytes"] > 100, read["microseconds"] > 0) == (200, True, True)
    assert (posted["caller"], posted["status"]) == ("dns:ci.example", 400)
    assert (bad["log"], bad["status"]) == (None, 400)
    assert "a-secret" not in log_file.read_text()
    # As logrotate does it.
    log_file.rename(log_file.with_suffix(".1"))
    server.process.send_signal(signal.SIGHUP)
    for _ in range(200):
        if log_file.exists():
            break
        time.sleep(0.05)
    assert server.ask("GET", "/build/healthz")[0] == 200
    assert lines_of(log_file, 1)[-1]["path"] == "/build/healthz"
