"""The proxy does to a client what it writes down, in the shares it was told."""

from __future__ import annotations

import json
from collections import Counter
from http.client import HTTPConnection, HTTPException, IncompleteRead
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.pki.authorities import new_key
from tests.rig.fault_proxy import (
    FAULTS,
    HALF_BODY,
    LOST,
    NONE,
    RESET_AFTER,
    RESET_BEFORE,
    TOO_MANY,
    UNAVAILABLE,
    FaultProxy,
    fault_proxy,
)
from tests.rig.v1_proposals import hashedrekord
from tests.rig.v1_server import ENTRIES, V1Server, v1_server


def post(proxy: FaultProxy, body: bytes) -> tuple[int | str, bytes]:
    """Post once; return the status, or what went wrong, and the body."""
    connection = HTTPConnection(urlsplit(proxy.url).netloc, timeout=10)
    try:
        connection.request("POST", ENTRIES, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status in (429, 503):
            assert answer.status == 503 or answer.getheader("Retry-After") == "1"
        return answer.status, answer.read()
    except IncompleteRead as error:
        return HALF_BODY, error.partial
    except (ConnectionResetError, HTTPException) as error:
        return type(error).__name__, b""
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("fault", "seen", "taken"),
    [
        (NONE, {201}, True),
        (TOO_MANY, {429}, False),
        (UNAVAILABLE, {503}, False),
        (RESET_BEFORE, {"ConnectionResetError"}, False),
        (RESET_AFTER, {"ConnectionResetError"}, True),
        (HALF_BODY, {HALF_BODY}, True),
    ],
)
def test_each_fault_is_what_it_says(
    tmp_path: Path, fault: str, seen: set[int | str], taken: bool
) -> None:
    faults = {} if fault == NONE else {fault: 1.0}
    with (
        v1_server() as log,
        fault_proxy(log.url, tmp_path / "record", seed=1, faults=faults) as proxy,
    ):
        proposal = hashedrekord(new_key(), b"content")
        status, body = post(proxy, proposal)
        assert status in seen
        assert len(log.entries) == taken
        (write,) = proxy.writes()
        assert (write.fault, write.index >= 0) == (fault, taken)
        if fault == NONE:
            assert json.loads(body) == log.answer(log.entries[0])
        if fault == HALF_BODY:
            assert json.dumps(log.answer(log.entries[0])).encode().startswith(body)
        # The log knows it, so the next honest answer is that it is there already.
        if taken:
            proxy.faults = {}
            assert post(proxy, proposal)[0] == 409


def test_the_shares_are_those_that_were_asked_for(tmp_path: Path) -> None:
    proxy = FaultProxy("http://127.0.0.1:1", tmp_path / "record", 7, FAULTS, 1)
    drawn = Counter(proxy.draw() for _ in range(20_000))
    for fault, share in FAULTS.items():
        assert abs(drawn[fault] / 20_000 - share) < 0.01, fault
    assert set(LOST) < set(drawn)
    again = FaultProxy("http://127.0.0.1:1", tmp_path / "record", 7, FAULTS, 1)
    assert Counter(again.draw() for _ in range(20_000)) == drawn


def test_reads_pass(tmp_path: Path) -> None:
    log: V1Server
    with (
        v1_server() as log,
        fault_proxy(log.url, tmp_path / "record", seed=1, faults={TOO_MANY: 1.0}) as proxy,
    ):
        connection = HTTPConnection(urlsplit(proxy.url).netloc, timeout=10)
        connection.request("GET", "/api/v1/log")
        assert json.loads(connection.getresponse().read())["treeID"] == str(log.tree_id)
        connection.close()
        assert proxy.writes() == []
