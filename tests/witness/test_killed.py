"""kill -9 of a witness that is being asked: it never vouches for two trees of one log."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.cosignature import open_cosignatures, parse_witness_vkey
from appliance.tlog.witness_request import WitnessRequest
from tests.simulator import SimulatedLog
from tests.witness.test_witness import WitnessHome, asking

KILLS = 60 if os.environ.get("ATTESTOR_SOAK") else 5
ADD = "/add-checkpoint"


class Asking(threading.Thread):
    """A log that asks again and again, as logs do, and notes what it was answered with."""

    def __init__(self, log: SimulatedLog, address: list[str], *, largest: int) -> None:
        super().__init__()
        self.log, self.address, self.largest = log, address, largest
        self.old = 0  # what it believes the witness is at
        self.cosigned: list[bytes] = []
        self.ending = threading.Event()

    def run(self) -> None:
        size = 1
        while not self.ending.is_set() and size < self.largest:
            size = max(size, self.old)
            try:
                status, body = self.post(asking(self.log, min(self.old, size), size))
            except (OSError, HTTPException):
                time.sleep(0.02)  # it was killed: the same again
                continue
            if status == 200:
                self.cosigned.append(self.log.checkpoint_at(size) + body)
                self.old, size = size, size + 1
            elif status == 409:
                self.old = int(body)
                assert self.old <= size, "the witness is where we never were"

    def wait_for(self, n_cosigned: int) -> None:
        """Return once it has so many; fails after a minute."""
        deadline = time.monotonic() + 60
        while len(self.cosigned) < n_cosigned:
            assert self.is_alive() and time.monotonic() < deadline, len(self.cosigned)
            time.sleep(0.01)

    def post(self, request: WitnessRequest) -> tuple[int, bytes]:
        connection = HTTPConnection(self.address[0], timeout=10)
        try:
            connection.request("POST", ADD, bytes(request))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def serve(home: Path) -> tuple[subprocess.Popen[bytes], str]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "appliance.cli.main", "--home", str(home)),
            *("witness", "serve", "--bind", "127.0.0.1:0", "--json"),
        ],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    url: str = json.loads(process.stdout.readline())["data"]["url"]
    return process, url.removeprefix("http://")


def test_a_witness_that_is_killed_never_vouches_for_two_trees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = WitnessHome(tmp_path / "home", capsys)
    home.log.grow(4000)
    twin = home.log.fork(at=0)  # the same key, another tree from the first entry on
    twin.grow(1)
    chance = random.Random(20261129)  # noqa: S311 of a test
    process, at = serve(home.path)
    address = [at]
    honest = Asking(home.log, address, largest=4000)
    honest.start()
    forked = 0
    for _ in range(KILLS):
        # By answers, not by time: a busy machine gives few of them in a second.
        honest.wait_for(len(honest.cosigned) + chance.randint(11, 30))
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        process, address[0] = serve(home.path)
        # Right after the start, the fork asks for whatever the witness may have forgotten.
        for old in (0, honest.old, max(0, honest.old - 1), honest.old + 1):
            proof = twin.consistency_proof(old, 4001) if old else ()
            request = WitnessRequest(old, proof, twin.checkpoint_at(4001))
            forked += honest.post(request)[0] == 200
    honest.ending.set()
    honest.join()
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert forked == 0
    witness = parse_witness_vkey(home.vkey)
    sizes = []
    for note in honest.cosigned:
        signed = open_checkpoint(note, [home.log.key], home.log.origin)
        assert open_cosignatures(signed, [witness])
        assert signed.head == home.log.head_at(signed.head.tree_size)
        sizes.append(signed.head.tree_size)
    assert sizes == sorted(sizes)
    assert len(sizes) > 10 * KILLS
    assert home.size() >= sizes[-1]
