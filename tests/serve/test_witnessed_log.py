"""log serve before a witness that runs, goes, and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from appliance.runs.metrics import home_metrics
from appliance.runs.private_log import set_witnesses
from appliance.runs.session import Session
from appliance.runs.witness import Witness
from appliance.serve.http_server import HttpServer
from appliance.serve.witness import WitnessService
from appliance.store.private_log.private_logs import require_private_log
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.cosignature import open_cosignatures
from appliance.tlog.note import SigningKey
from appliance.tlog.witness_request import MAX_REQUEST_BYTES
from tests.cli.homes import Home
from tests.private_log.private_homes import NOW, ORIGIN, SEED, check_home, make_home, writing
from tests.serve.running_log import RunningLog
from tests.serve.signed_requests import signed_request

LOG = SigningKey(ORIGIN, SEED).verifier


@contextmanager
def serving(witness: Witness, port: int = 0) -> Iterator[int]:
    """Serve a witness until the block ends; yields its port."""
    service = WitnessService(witness.cosign, witness.cosigned, lambda *_: None)
    server = HttpServer(service.routes.answer, "127.0.0.1", port, MAX_REQUEST_BYTES)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.port
    finally:
        server.stop()
        thread.join()
        server.close()


@pytest.fixture
def witness(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Witness:
    home = Home(tmp_path / "witness", capsys)
    home.json("key", "generate", "witness.example", "--type", "witness")
    pinned = tmp_path / "log.vkey"
    pinned.write_text(f"{LOG.vkey}\n")
    home.json("backend", "add", "log", "--origin", ORIGIN, "--public-key", pinned)
    return Witness(home.app.fresh(), None)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_what_waits_for_the_quorum_is_published_when_the_witness_is_back(
    tmp_path: Path, witness: Witness, stack: ExitStack
) -> None:
    home = tmp_path / "log"
    make_home(home)

    def cosigned(note: bytes) -> bool:
        signed = open_checkpoint(note, [LOG], ORIGIN)
        return bool(open_cosignatures(signed, [witness.verifier]))

    with serving(witness) as port:
        policy = f"witness w {witness.verifier.vkey} http://127.0.0.1:{port}/\nquorum w\n"
        with writing(home) as store:
            set_witnesses(store, require_private_log(store, None), policy.encode(), NOW)
        labels = f'origin="{ORIGIN}",outcome="unreachable",witness="w"'
        first = home_metrics(Session(home=home)).decode()  # an alert needs a zero to rise from
        assert f"attestor_log_cosignatures_total{{{labels}}} 0.0" in first, first
        log = RunningLog(home)
        stack.callback(log.stop)
        for number in range(3):
            status, answer = log.post(signed_request(b"%d" % number))
            assert status == 201
            assert cosigned(answer["inclusionProof"]["checkpoint"]["envelope"].encode())
    waiting = signed_request(b"waits")
    status, _ = log.post(waiting)
    assert status == 503
    _, _, before = log.ask("GET", "/checkpoint")
    assert before.split(b"\n")[1] == b"3"  # reads go on, and show nothing of it
    assert log.post(signed_request(b"behind it"))[0] == 503
    with serving(witness, port):
        deadline = time.monotonic() + 20
        while (published := log.ask("GET", "/checkpoint")[2]) == before:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        # Nobody asked again; what was not signed yet is not in it.
        assert published.split(b"\n")[1] == b"4"
        assert cosigned(published)
        assert log.post(waiting)[0] == 409
        assert log.post(signed_request(b"behind it"))[0] == 201
    stack.close()
    assert len(check_home(home)) == 5
