"""Many clients at once, and a server killed under them: nothing acknowledged is ever lost."""

from __future__ import annotations

import itertools
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from appliance.jobs.mirror.prove import prove_consistency
from appliance.store.database import open_store
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import require_private_log
from appliance.tlog.note import SigningKey
from appliance.tlog.proof import verify_consistency
from appliance.tlog.strict_base64 import decode_base64
from tests.private_log.private_homes import ORIGIN, SEED, check_home, make_home
from tests.serve.running_log import ENTRIES, RunningLog, exchange, running_log, verified_index
from tests.serve.signed_requests import signed_request

CLIENTS = 64
EACH = 6
ROUNDS = 20
KEY = SigningKey(ORIGIN, SEED).verifier


def test_each_of_many_clients_gets_a_proof_of_its_own(tmp_path: Path) -> None:
    make_home(tmp_path / "home")
    requests = [
        [signed_request(b"%d of client %d" % (number, client)) for number in range(EACH)]
        for client in range(CLIENTS)
    ]
    with running_log(tmp_path / "home") as log, ThreadPoolExecutor(CLIENTS) as pool:

        def client(bodies: list[bytes]) -> list[tuple[int, bytes]]:
            connection = log.connect()
            try:
                indices = []
                for body in bodies:
                    status, _, answer = exchange(connection, "POST", ENTRIES, body)
                    assert status == 201, answer
                    logged = json.loads(answer)
                    body = decode_base64(logged["canonicalizedBody"])
                    indices.append((verified_index(logged, KEY), body))
                return indices
            finally:
                connection.close()

        logged = [one for answers in pool.map(client, requests) for one in answers]
    entries = check_home(tmp_path / "home")
    assert len(entries) == CLIENTS * EACH
    assert sorted(logged) == list(enumerate(entries))


def test_one_body_from_all_clients_at_once_is_logged_once(tmp_path: Path) -> None:
    make_home(tmp_path / "home")
    request = signed_request(b"the same for all")
    with running_log(tmp_path / "home") as log, ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: log.post(request), range(32)))
    assert sorted(status for status, _ in answers) == [201] + [409] * 31
    assert len(check_home(tmp_path / "home")) == 1


class _Acknowledged:
    """What clients were told, over all the lives of the server."""

    def __init__(self) -> None:
        self.entries: dict[int, bytes] = {}
        self.notes: set[bytes] = set()

    def load(self, log: RunningLog, name: bytes) -> None:
        """Post entries until the server is gone."""
        connection = log.connect()
        try:
            for number in range(1000):
                request = signed_request(b"%d %s" % (number, name))
                status, _, answer = exchange(connection, "POST", ENTRIES, request)
                assert status == 201, answer
                logged = json.loads(answer)
                index = verified_index(logged, KEY)
                assert index not in self.entries
                self.entries[index] = decode_base64(logged["canonicalizedBody"])
                self.notes.add(logged["inclusionProof"]["checkpoint"]["envelope"].encode())
        except (OSError, HTTPException):
            pass  # killed, as is the intention
        finally:
            connection.close()


@pytest.mark.slow
def test_a_server_killed_again_and_again_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """Where each kill falls is up to the clock; the seed is for the delays only."""
    home = tmp_path / "home"
    make_home(home)
    told = _Acknowledged()
    delays = random.Random(20)  # noqa: S311 not a secret
    for life in range(ROUNDS):
        log = RunningLog(home)
        with ThreadPoolExecutor(8) as pool:
            for client in range(8):
                pool.submit(told.load, log, b"%d in life %d" % (client, life)).add_done_callback(
                    lambda done: done.result()
                )
            time.sleep(delays.uniform(0.02, 0.4))
            log.kill()
    with running_log(home):
        pass  # publishes what the last kill left signed
    entries = check_home(home)
    assert len(told.entries) > ROUNDS
    assert {index: entries[index] for index in told.entries} == told.entries
    assert len(set(entries)) == len(entries)
    _check_pairwise(home, told.notes)


def _check_pairwise(home: Path, notes: set[bytes]) -> None:
    """Prove every checkpoint that was published a prefix of the next."""
    store = open_store(home, write=False)
    try:
        mirror = Mirror(store, require_private_log(store, None).log)
        sizes = mirror.history.accepted_sizes()
        for older, newer in itertools.pairwise(sizes):
            verify_consistency(*prove_consistency(mirror, older, newer))
        published = {note for size in sizes for note in mirror.history.notes(size)}
        assert notes <= published
    finally:
        store.close()
