"""Three logs in one process, killed and held up: nothing told is lost, and nobody honest waits.

ATTESTOR_SOAK=1 kills 20 times and asks 200 times, instead of 3 and 30.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from appliance.tlog.strict_base64 import decode_base64
from tests.private_log.private_homes import check_home
from tests.serve.hosted_homes import LOGS, PLACES, key_of, make_hosting_home
from tests.serve.running_log import ENTRIES, RunningLog, exchange, running_log, verified_index
from tests.serve.signed_requests import signed_request

SOAK = bool(os.environ.get("ATTESTOR_SOAK"))
ROUNDS = 20 if SOAK else 3
ASKED = 200 if SOAK else 30
SLOW = 200

Told = dict[int, bytes]  # by entry index, what was answered to be there


def load(server: RunningLog, log: str, name: bytes, told: Told) -> None:
    """Post entries to one log until the server is gone."""
    before, headers = PLACES[log]
    connection = server.connect()
    try:
        for number in itertools.count():
            request = signed_request(b"%d %s" % (number, name))
            status, _, answer = exchange(connection, "POST", before + ENTRIES, request, headers)
            assert status == 201, answer
            logged = json.loads(answer)
            index = verified_index(logged, key_of(log))
            assert index not in told
            told[index] = decode_base64(logged["canonicalizedBody"])
    except (OSError, HTTPException):
        pass  # killed, as is the intention
    finally:
        connection.close()


@pytest.mark.slow
def test_killed_under_load_no_log_loses_or_mixes_what_it_acknowledged(tmp_path: Path) -> None:
    """Where each kill falls is up to the clock; the seed is for the delays only."""
    home = tmp_path / "home"
    make_hosting_home(home)
    told: dict[str, Told] = {log: {} for log in LOGS}
    delays = random.Random(15)  # noqa: S311 not a secret
    for life in range(ROUNDS):
        server = RunningLog(home)
        with ThreadPoolExecutor(6) as pool:
            running = [
                pool.submit(load, server, log, b"%d of life %d" % (client, life), told[log])
                for client in range(2)
                for log in LOGS
            ]
            time.sleep(delays.uniform(0.3, 1.0))
            server.kill()
            for one in running:
                one.result()
    with running_log(home):
        pass  # publishes what the last kill left signed
    for log in LOGS:
        entries = check_home(home, log)  # one tree under all that was ever signed
        assert len(told[log]) > ROUNDS
        assert {index: entries[index] for index in told[log]} == told[log]
        assert len(set(entries)) == len(entries)


@pytest.mark.alone
def test_slow_clients_of_the_others_do_not_keep_an_honest_one_waiting(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_hosting_home(home)
    with running_log(home) as server:
        host, _, port = server.address.partition(":")
        stop = threading.Event()
        slow = [socket.create_connection((host, int(port)), timeout=10) for _ in range(SLOW)]

        def drip() -> None:
            for number, one in enumerate(slow):
                before, headers = PLACES[("release", "open")[number % 2]]
                lines = [f"POST {before}{ENTRIES} HTTP/1.1", "Content-Length: 1000"]
                lines += [f"{name}: {value}" for name, value in {"Host": "x", **headers}.items()]
                one.sendall("\r\n".join([*lines, "", ""]).encode())
            while not stop.wait(0.1):
                for one in slow:
                    with contextlib.suppress(OSError):
                        one.sendall(b" ")

        dripper = threading.Thread(target=drip)
        dripper.start()
        try:
            before, headers = PLACES["build"]
            took = []
            for number in range(ASKED):
                request = signed_request(b"honest %d" % number)
                began = time.monotonic()
                assert server.ask("POST", before + ENTRIES, request, headers)[0] == 201
                took.append(time.monotonic() - began)
            slowest = sorted(took)
            assert slowest[max(0, len(took) * 99 // 100 - 1)] < 1.0, slowest[-5:]
        finally:
            stop.set()
            dripper.join()
            for one in slow:
                one.close()
