"""Several logs out of one process: each with a key, a place, a rule and a budget of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.private_log.private_homes import check_home
from tests.serve.hosted_homes import (
    BUILD_HOST,
    LOGS,
    PLACES,
    RELEASE_PATH,
    TOKENS,
    key_of,
    make_hosting_home,
)
from tests.serve.running_log import ENTRIES, RunningLog, running_log, verified_index
from tests.serve.signed_requests import signed_request

METRIC = re.compile(r'(?m)^attestor_log_requests_total\{log="([^"]*)",status="(\d+)"\} ([0-9.]+)$')


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("hosting") / "home"
    make_hosting_home(made, limits={"build": 6})
    return made


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[RunningLog]:
    with running_log(home) as running:
        yield running


def ask(
    server: RunningLog, log: str, method: str, path: str, body: bytes | None = None, **changed: str
) -> tuple[int, Any, bytes]:
    before, headers = PLACES[log]
    headers = {name: value for name, value in {**headers, **changed}.items() if value}
    return server.ask(method, before + path, body, headers)


def tree_size(server: RunningLog, log: str) -> int:
    return int(json.loads(ask(server, log, "GET", "/api/v2/log")[2])["treeSize"])


def counted(server: RunningLog) -> dict[tuple[str, int], float]:
    status, headers, text = server.ask("GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = METRIC.findall(text.decode())
    return {(log, int(code)): float(value) for log, code, value in found}


def test_each_log_signs_what_it_is_asked_for_with_its_own_key(
    server: RunningLog, home: Path
) -> None:
    request = signed_request(b"the same artifact for each")
    for log in LOGS:
        status, _, answer = ask(server, log, "POST", ENTRIES, request)
        assert status == 201, answer
        verified_index(json.loads(answer), key_of(log))
        status, _, note = ask(server, log, "GET", "/api/v2/checkpoint")
        assert status == 200
        assert note.startswith(f"{log}.log.example\n".encode())
    for log in LOGS:
        assert len(check_home(home, log)) >= 1


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKENS['build'][:-1]}",
        f"Bearer {TOKENS['build']}x",
        f"Basic {TOKENS['build']}",
        f"{TOKENS['build']}",
        "Bearer \u00e9",
    ],
)
def test_without_the_right_token_it_is_401_and_a_challenge(server: RunningLog, shown: str) -> None:
    before, size = counted(server), tree_size(server, "build")
    status, headers, answer = ask(
        server, "build", "POST", ENTRIES, signed_request(b"no token"), Authorization=shown
    )
    assert (status, json.loads(answer)["code"]) == (401, 16)
    assert headers["WWW-Authenticate"].startswith("Bearer realm=")
    assert tree_size(server, "build") == size
    assert counted(server)["build", 401] == before["build", 401] + 1


def test_what_is_open_is_read_without_a_token_and_what_is_restricted_is_not(
    server: RunningLog,
) -> None:
    for path in ("/api/v2/checkpoint", "/api/v2/log", "/checkpoint"):
        assert ask(server, "build", "GET", path, Authorization="")[0] == 200
        assert ask(server, "release", "GET", path, Authorization="")[0] == 401
        assert ask(server, "release", "GET", path)[0] == 200
    assert ask(server, "release", "HEAD", "/api/v2/checkpoint", Authorization="")[0] == 401
    assert ask(server, "release", "GET", "/healthz", Authorization="")[0] == 200


def test_asking_for_another_log_is_404_with_and_without_a_token(server: RunningLog) -> None:
    before = counted(server)
    # Holders of one log's token do not hear that there is another.
    for log, other in (("build", "release"), ("release", "build")):
        token = f"Bearer {TOKENS[other]}"
        status, headers, answer = ask(
            server, log, "POST", ENTRIES, signed_request(b"astray"), Authorization=token
        )
        assert (status, json.loads(answer)["code"]) == (404, 5)
        assert "WWW-Authenticate" not in headers
    after = counted(server)
    assert after["build", 404] == before["build", 404] + 1
    assert after["release", 404] == before["release", 404] + 1


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere/api/v2/checkpoint",
        f"{RELEASE_PATH}x/api/v2/checkpoint",
        f"{RELEASE_PATH}/../api/v2/checkpoint",
        f"{RELEASE_PATH}{RELEASE_PATH}/api/v2/checkpoint",
        RELEASE_PATH,
    ],
)
def test_a_place_that_is_no_log_s_is_404(server: RunningLog, path: str) -> None:
    token = {"Authorization": f"Bearer {TOKENS['release']}"}
    assert server.ask("GET", path, None, token)[0] == 404


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (BUILD_HOST, "build"),
        (BUILD_HOST.upper(), "build"),
        (f"{BUILD_HOST}.", "build"),
        (f"{BUILD_HOST}:8443", "build"),
        (f"x{BUILD_HOST}", "open"),
        (f"{BUILD_HOST}.evil.example", "open"),
        ("[::1]:3000", "open"),
        ("\u00e9", "open"),
    ],
)
def test_the_host_decides_whatever_its_spelling(server: RunningLog, host: str, origin: str) -> None:
    status, _, note = server.ask("GET", "/api/v2/checkpoint", None, {"Host": host})
    assert status == 200
    assert note.startswith(f"{origin}.log.example\n".encode())


def test_the_budget_of_a_log_is_its_own_and_says_when_to_come_back(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_hosting_home(home, limits={"build": 3})
    with running_log(home) as server:
        before = counted(server)
        for number in range(3):
            request = signed_request(b"within %d" % number)
            assert ask(server, "build", "POST", ENTRIES, request)[0] == 201
            # What is not logged costs nothing.
            assert ask(server, "build", "POST", ENTRIES, b"{}")[0] in (400, 429)
        assert ask(server, "build", "POST", ENTRIES, request)[0] == 429
        status, headers, answer = ask(server, "build", "POST", ENTRIES, signed_request(b"over"))
        assert (status, json.loads(answer)["code"]) == (429, 8)
        assert 3500 < int(headers["Retry-After"]) <= 3600
        assert ask(server, "build", "GET", "/api/v2/checkpoint")[0] == 200
        assert ask(server, "open", "POST", ENTRIES, signed_request(b"over"))[0] == 201
        assert counted(server)["build", 429] == before["build", 429] + 3
    assert len(check_home(home, "build")) == 3
    with running_log(home) as server:  # a new start does not give a new hour
        assert ask(server, "build", "POST", ENTRIES, signed_request(b"over"))[0] == 429


def test_metrics_go_on_over_a_restart_and_strangers_do_not_see_them(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_hosting_home(home)
    with running_log(home) as server:
        for header in ("X-Forwarded-For", "Forwarded", "Via"):
            assert server.ask("GET", "/metrics", None, {header: "192.0.2.1"})[0] == 404
        assert ask(server, "open", "POST", ENTRIES, signed_request(b"one"))[0] == 201
    with running_log(home) as server:
        assert counted(server)["open", 201] == 1
        assert counted(server)["-", 404] == 3  # the process was asked, none of its logs
        assert server.ask("POST", "/metrics", b"")[0] == 501


def test_one_log_of_several_can_be_served_alone_under_its_rule(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_hosting_home(home)
    with running_log(home, "--log", "release") as server:
        assert ask(server, "release", "GET", "/api/v2/checkpoint")[0] == 200
        assert ask(server, "release", "GET", "/api/v2/checkpoint", Authorization="")[0] == 401
        assert server.ask("GET", "/api/v2/checkpoint")[0] == 404
