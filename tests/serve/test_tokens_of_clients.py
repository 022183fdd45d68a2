"""A log that demands a bearer token, and a home of ours as its client: to read and to write."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ConfigError
from appliance.jobs.home.configure import read_configuration
from appliance.runs.network import http_settings
from appliance.runs.session import Session
from tests.cli.homes import Home
from tests.fetch.hostile_server import HostileServer
from tests.serve.hosted_homes import RELEASE_PATH, TOKENS, key_of, make_hosting_home
from tests.serve.running_log import ENTRIES, RunningLog, running_log
from tests.serve.signed_requests import signed_request

ORIGIN = "release.log.example"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningLog]:
    make_hosting_home(tmp_path / "hosting")
    with running_log(tmp_path / "hosting") as running:
        headers = {"Authorization": f"Bearer {TOKENS['release']}"}
        for number in range(3):
            entry = signed_request(b"%d" % number)
            assert running.ask("POST", f"{RELEASE_PATH}{ENTRIES}", entry, headers)[0] == 201
        yield running


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    return Home(tmp_path / "home", capsys)


def configure(home: Home, directory: Path, url: str, token: str | None, expect: int = 0) -> Any:
    """Have the log for a backend, with a token file if there is a token."""
    key, file = directory / "log.pem", directory / "token"
    spki = b64encode(key_of("release").spki).decode()
    key.write_text(f"-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n")
    if token is not None:
        file.write_text(f"{token}\n")
        file.chmod(0o600)
    config = directory / "client.yaml"
    config.write_text(
        "attestor:\n  rekorSync:\n    backends:\n"
        f"      - id: release\n        origin: {ORIGIN}\n        baseUrl: {url}\n"
        f"        publicKeyPath: {key}\n"
        f"        tokenFile: {'null' if token is None else file}\n"
    )
    return home.json("config", "apply", config, expect=expect)


def test_a_log_that_demands_a_token_is_read_with_the_one_of_its_backend(
    server: RunningLog, home: Home, tmp_path: Path
) -> None:
    url = f"{server.url}{RELEASE_PATH}"
    configure(home, tmp_path, url, None)
    code, out, err = home.run("sync")
    assert code == 7 and "401" in out + err and "tokenFile" in out + err
    error = home.json("log", "get", "--url", url, "--log-index", "1", expect=7)
    assert "tokenFile" in error["next"]
    configure(home, tmp_path, url, "another" * 5)
    assert home.run("sync")[0] == 7
    configure(home, tmp_path, url, TOKENS["release"])
    assert home.run("sync")[0] == 0
    assert home.json("checkpoints", "list")["checkpoints"][0]["treeSize"] == 3
    shown = home.run("config", "show")[1]
    assert TOKENS["release"] not in shown and "tokenFile" in shown


def test_the_token_goes_to_its_log_and_to_nobody_else(home: Home, tmp_path: Path) -> None:
    with HostileServer() as log:
        configure(home, tmp_path, log.url, "the-token" * 4)
        home.run("sync")
        assert log.requests
        assert {one.headers["authorization"] for one in log.requests} == {
            f"Bearer {'the-token' * 4}"
        }
    with Session(home.path).reading() as store:
        settings = http_settings(read_configuration(store))
    [(prefix, token)] = settings.tokens
    assert prefix == f"{log.url.rstrip('/')}/" and token() == "the-token" * 4
    assert "the-token" not in repr(settings)


def test_a_proxy_reads_no_token_of_a_log_on_this_host(home: Home, tmp_path: Path) -> None:
    with HostileServer() as log, HostileServer() as proxy:
        configure(home, tmp_path, log.url, "the-token" * 4)
        home.json("config", "set", "http.proxy", proxy.url)
        error = home.json("sync", expect=9)
        assert error["reason"] == "open-token" and proxy.url.rstrip("/") in error["message"]
        assert log.requests == proxy.requests == []
        home.json("config", "set", "http.noProxy", '["127.0.0.1"]')
        home.run("sync")
        assert log.requests and proxy.requests == []


def test_of_two_logs_one_below_the_other_each_gets_its_own_token(
    home: Home, tmp_path: Path
) -> None:
    configure(home, tmp_path, "https://logs.example/", "outer" * 8)
    inner = tmp_path / "inner"
    inner.write_text("inner" * 8)
    inner.chmod(0o600)
    config = tmp_path / "both.yaml"
    config.write_text(
        (tmp_path / "client.yaml").read_text() + "      - id: second\n"
        f"        origin: second.example\n        baseUrl: https://logs.example/second\n"
        f"        publicKeyPath: {tmp_path / 'log.pem'}\n        tokenFile: {inner}\n"
    )
    home.json("config", "apply", config)
    with Session(home.path).reading() as store:
        settings = http_settings(read_configuration(store), {})
    assert [(prefix, token()[:5]) for prefix, token in settings.tokens] == [
        ("https://logs.example/second/", "inner"),
        ("https://logs.example/", "outer"),
    ]


@pytest.mark.parametrize(
    ("url", "token", "mode", "reason"),
    [
        ("http://log.example.org", "t" * 32, 0o600, "open-token"),
        ("http://127.0.0.1.example.org", "t" * 32, 0o600, "open-token"),
        ("https://log.example.org", "two words", 0o600, "bad-token"),
        ("https://log.example.org", "", 0o600, "bad-token"),
        ("https://log.example.org", "t" * 32, 0o644, "key-permissions"),
    ],
)
def test_a_token_that_others_could_read_is_sent_nowhere(
    home: Home, tmp_path: Path, url: str, token: str, mode: int, reason: str
) -> None:
    configure(home, tmp_path, url, token)
    (tmp_path / "token").chmod(mode)
    error = home.json("sync", expect=9)
    assert error["reason"] == reason
    with pytest.raises(ConfigError), Session(home.path).http():
        pass
