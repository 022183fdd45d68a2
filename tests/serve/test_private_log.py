"""The private log over real HTTP: what Rekor v2 clients and mirrors are told."""

from __future__ import annotations

import json
import signal
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from appliance.fetch.http import HttpClient, HttpSettings
from appliance.fetch.rekor_v2 import RekorV2Log
from appliance.jobs.mirror.audit import audit
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.mirror.sync import sync
from appliance.jobs.private_log.create import freeze_log
from appliance.store.database import create_store
from appliance.store.lock import writer_lock
from appliance.store.mirror.logs import add_log, put_backend, require_backend
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import require_private_log
from appliance.tlog.note import SigningKey
from tests.pki.rsa_keys import posted, rsa_key
from tests.private_log.private_homes import (
    NOW,
    ORIGIN,
    SEED,
    check_home,
    log_bodies,
    make_home,
    writing,
)
from tests.serve.running_log import ENTRIES, RunningLog, running_log, verified_index
from tests.serve.signed_requests import signed_request
from tests.shared import vectors

KEY = SigningKey(ORIGIN, SEED).verifier


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("log") / "home"
    make_home(made)
    log_bodies(made, [b"entry %d" % number for number in range(254)])
    return made


@pytest.fixture(scope="module")
def log(home: Path) -> Iterator[RunningLog]:
    with running_log(home) as server:
        yield server


def test_the_published_vector_byte_for_byte(tmp_path: Path) -> None:
    vector = vectors()["private_log_first_entry"]
    seed = bytes.fromhex("6b99f145931665e2ff6e99805e1560bf077cb4ae5b5d933795cc15046dd4ba1c")
    make_home(tmp_path / "home", origin=vector["origin"], seed=seed)
    with running_log(tmp_path / "home") as log:
        _, _, before = log.ask("GET", "/api/v2/checkpoint")
        assert before.decode() == vector["checkpoint_size_0"]
        status, answer = log.post(json.dumps(vector["request"]).encode())
        _, _, after = log.ask("GET", "/api/v2/checkpoint")
    assert after.decode() == vector["checkpoint_size_1"]
    assert status == 201
    assert answer == {
        "logIndex": "0",
        "logId": {"keyId": "2AtEIMfG6Y41yK0tcwRTBS2tjhOrjKGIpDkHFgp65g0="},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
        "integratedTime": "0",
        "inclusionPromise": None,
        "inclusionProof": {
            "logIndex": "0",
            "rootHash": b64encode(bytes.fromhex(vector["leaf_hash_hex"])).decode(),
            "treeSize": "1",
            "hashes": [],
            "checkpoint": {"envelope": vector["checkpoint_size_1"]},
        },
        "canonicalizedBody": b64encode(vector["canonical_body"].encode()).decode(),
    }


def test_entries_are_answered_with_proofs_across_tiles(log: RunningLog) -> None:
    indices = []
    for number in range(4):  # entries 254 to 257: one tile ends, another begins
        status, answer = log.post(signed_request(b"across %d" % number))
        assert status == 201
        indices.append(verified_index(answer, KEY))
    assert indices == sorted(indices)
    assert indices[-1] >= 257


def test_a_duplicate_is_answered_with_the_first_ones_index(log: RunningLog) -> None:
    request = signed_request(b"twice")
    _, first = log.post(request)
    status, headers, answer = log.ask("POST", ENTRIES, request)
    index = first["logIndex"]
    assert status == 409
    assert headers["X-Log-Index"] == index
    assert json.loads(answer) == {
        "code": 6,
        "message": "an equivalent entry already exists in the transparency log with index " + index,
        "details": [],
    }


def _changed(*path: str, to: object) -> bytes:
    request: Any = json.loads(signed_request(b"changed"))
    member = request["hashedRekordRequestV002"]
    for name in path[:-1]:
        member = member[name]
    member[path[-1]] = to
    return json.dumps(request).encode()


_INVALID = "invalid hashedrekord request"
_TYPE = "invalid type, must be hashedrekord"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", _TYPE),
        (b"{}", _TYPE),
        (b'{"dsseRequestV002":{}}', _TYPE),
        (b'{"hashedRekordRequestV002":{}}', _INVALID),
        (_changed("digest", to=b64encode(bytes(32)).decode()), _INVALID),
        (_changed("digest", to=None), _INVALID),
        (_changed("signature", "content", to="AAAA"), _INVALID),
        (_changed("signature", "verifier", "keyDetails", to="PKIX_ED25519_PH"), _INVALID),
        (b"{", None),
        (b"[]", None),
        (b'{"hashedRekordRequestV002":{},"more":1}', None),
        (b'{"digest":NaN}', None),
        (b"[" * 100_000, None),
        (b"\xff\xfe{}", None),
        (b'{"x":"' + b"a" * 4 * 1024 * 1024 + b'"}', "http: request body too large"),
    ],
    ids=range(15),
)
def test_a_request_that_is_no_entry(log: RunningLog, body: bytes, message: str | None) -> None:
    status, answer = log.post(body)
    assert (status, answer["code"], answer["details"]) == (400, 3, [])
    assert message is None or answer["message"] == message


def test_a_key_that_is_made_to_be_slow_is_no_entry(log: RunningLog) -> None:
    assert log.post(posted(rsa_key(31), b"by a key that is not"))[0] == 201
    status, answer = log.post(posted(rsa_key(3070), b"slow"))
    assert (status, answer["message"]) == (400, "invalid hashedrekord request")


def test_what_is_large_but_allowed_is_read(log: RunningLog) -> None:
    padded = signed_request(b"padded").ljust(4 * 1024 * 1024)
    assert log.post(padded)[0] == 201


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", ENTRIES, 501, 12),
        ("PUT", ENTRIES, 501, 12),
        ("POST", "/api/v2/checkpoint", 501, 12),
        ("POST", "/healthz", 501, 12),
        ("GET", "/", 404, 5),
        ("POST", ENTRIES + "/", 404, 5),
        ("GET", "/api/v2/", 404, 5),
        ("GET", "/api/v2/tile/0/001", 404, 5),  # not full yet
        ("GET", "/api/v2/tile/0/001.p/255", 404, 5),  # beyond the checkpoint
        ("GET", "/api/v2/tile/0/000.p/0", 404, 5),
        ("GET", "/api/v2/tile/0/000.p/256", 404, 5),
        ("GET", "/api/v2/tile/0/0", 404, 5),
        ("GET", "/api/v2/tile/64/000", 404, 5),
        ("GET", "/api/v2/tile/1/000", 404, 5),
        ("GET", "/api/v2/tile/entries/001", 404, 5),
        ("GET", "/api/v2/tile/entries/x000/000", 404, 5),
        ("GET", "/api/v2/tile/0/../../attestor.db", 404, 5),
        ("GET", "/api/v2/tile/0/000%00", 404, 5),
        ("GET", "/api/v2/tile/0/" + "x999/" * 30 + "999", 404, 5),
    ],
)
def test_what_is_not_there(log: RunningLog, method: str, path: str, status: int, code: int) -> None:
    got, _, answer = log.ask(method, path)
    assert (got, json.loads(answer)["code"]) == (status, code)


def test_reads_are_what_a_mirror_expects(log: RunningLog) -> None:
    expected = {
        "/healthz": ("application/json", b'{"status":"SERVING"}\n'),
        "/api/v2/checkpoint": ("text/plain; charset=utf-8", None),
        "/api/v2/tile/0/000": ("application/octet-stream", None),
        "/api/v2/tile/entries/000": ("application/octet-stream", None),
    }
    for path, (content_type, body) in expected.items():
        status, headers, answer = log.ask("GET", path)
        assert (status, headers["Content-Type"]) == (200, content_type)
        assert body in (None, answer)
        status, headers, nothing = log.ask("HEAD", path)
        assert (status, nothing, headers["Content-Length"]) == (200, b"", str(len(answer)))
    _, _, whole = log.ask("GET", "/api/v2/tile/0/000")
    for width in (1, 100, 255):
        _, _, part = log.ask("GET", f"/api/v2/tile/0/000.p/{width}")
        assert part == whole[: 32 * width]


def test_a_mirror_elsewhere_proves_all_of_it(log: RunningLog, tmp_path: Path) -> None:
    store = create_store(tmp_path / "mirror")
    with store.atomic():
        known = add_log(store, ORIGIN, 2, KEY.spki)
        put_backend(store, "private", known, base_url=log.url, read_url=None)
    with HttpClient(HttpSettings()) as http:
        source = RekorV2Log(http, log.url)
        backend = require_backend(store, "private")
        report = sync(store, backend, source, Wanted(entries=True), NOW)
    assert report.complete
    assert audit(Mirror(store, known), full=True).entry_bundles >= 2
    store.close()


def test_another_writer_makes_clients_wait_not_fail(log: RunningLog, home: Path) -> None:
    with writer_lock(home, holder="a test\n", wait_seconds=0, sleep=lambda _: None):
        released = []
        # The lock is this process's; what the server has to do is wait.
        timer = Timer(0.0, lambda: released.append(log.post(signed_request(b"while locked"))))
        timer.start()
        timer.join(0.3)
        assert not released
    timer.join()
    assert released[0][0] == 201


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals, code: int) -> None:
    make_home(tmp_path / "home")
    log = RunningLog(tmp_path / "home")
    assert log.post(signed_request(b"before the end"))[0] == 201
    assert log.stop(number) == (code, "")
    assert len(check_home(tmp_path / "home")) == 1


def test_a_log_frozen_while_it_is_served_is_read_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_home(home)
    with running_log(home) as log:
        assert log.post(signed_request(b"the last"))[0] == 201
        with writing(home) as store:
            note = freeze_log(store, require_private_log(store, None), NOW).note
        for _ in range(2):
            status, headers, said = log.ask("POST", ENTRIES, signed_request(b"too late"))
            assert status == 405
            assert headers["Content-Type"] == "text/plain; charset=utf-8"
            assert said == b"This log has been frozen, please switch to the latest log.\n"
        assert log.ask("GET", "/api/v2/checkpoint")[2] == note
        assert log.ask("GET", "/healthz")[0] == 200
    with running_log(home) as log:
        assert log.ask("POST", ENTRIES, signed_request(b"too late"))[0] == 405
