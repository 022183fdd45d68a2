"""What each setting of witnesses does, through commands."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from appliance.tlog.cosignature import cosigner_key
from appliance.tlog.note import SigningKey
from tests.cli.homes import Home
from tests.serve.signed_requests import signed_request
from tests.witness.test_witness import WitnessHome, asking, refused


def test_setting_witness_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """None but these are cosigned, and never a log of this home."""
    home = WitnessHome(tmp_path / "home", capsys)
    home.log.grow(3)
    home.json("config", "set", "witness.logs", '["other.example"]')
    refused(lambda: home.witness().cosign(asking(home.log, 0)), "unknown-log")
    home.json("config", "set", "witness.logs", f'["{home.log.origin}"]')
    home.witness().cosign(asking(home.log, 0))
    home.json("config", "set", "witness.logs", "[]")
    home.json("log", "create", "build", "--origin", "build.example")
    home.json("witness", "request", "--backend", "build", "--output", home.path / "request")
    error = home.json("witness", "sign", home.path / "request", expect=5)
    assert error["reason"] == "unknown-log"


def test_setting_witness_timeout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It bounds what a batch waits for a witness that says nothing."""
    home = Home(tmp_path / "site", capsys)
    home.json("log", "create", "build", "--origin", "log.example")
    request, policy = tmp_path / "request", tmp_path / "policy"
    request.write_bytes(signed_request(b"first"))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        vkey = cosigner_key(SigningKey("w.example", b"w" * 32)).vkey
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        policy.write_text(f"witness w {vkey} {url}\nquorum none\n")
        home.json("log", "witnesses", policy)
        for timeout, least in (("100ms", 0.1), ("2s", 2.0)):
            home.json("config", "set", "witness.timeout", timeout)
            request.write_bytes(signed_request(timeout.encode()))
            before = time.monotonic()
            code, _, err = home.run("log", "add", request)
            took = time.monotonic() - before
            assert (code, "witness w" in err) == (0, True)
            assert took >= least
            assert least == 2.0 or took < 1.9
