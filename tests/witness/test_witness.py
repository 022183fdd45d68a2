"""A witness: what it cosigns, what it never does, and what a kill or a restore makes of it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path

import pytest

from appliance.errors import ApplianceError, StoreError
from appliance.jobs.witness import witness as job
from appliance.jobs.witness.witness import OldSizeError
from appliance.runs.session import Session
from appliance.runs.witness import WRITE_DOWN_SECONDS, RequestTally, Witness
from appliance.serve.http_server import HttpServer
from appliance.serve.witness import WitnessService
from appliance.store.database import open_store
from appliance.store.mirror.logs import add_log, put_backend
from appliance.store.witness.cosigned import read_record
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.cosignature import open_cosignatures, parse_witness_vkey
from appliance.tlog.merkle import Hash
from appliance.tlog.note import SigningKey, sign_note
from appliance.tlog.witness_request import MAX_REQUEST_BYTES, SIZE_TYPE, WitnessRequest
from appliance.value import replaced
from tests.cli.homes import NOW, Home
from tests.private_log.private_homes import reboot
from tests.simulator import SimulatedLog

NAME = "witness.example"


class WitnessHome(Home):
    """A home with one witness key, that pins a simulated log."""

    def __init__(
        self, path: Path, capsys: pytest.CaptureFixture[str], key_type: str = "witness"
    ) -> None:
        super().__init__(path, capsys)
        self.log = SimulatedLog()
        self.pin(self.log)
        self.vkey = self.json("key", "generate", NAME, "--type", key_type)["vkey"]

    def pin(self, log: SimulatedLog) -> None:
        store = open_store(self.path, write=True)
        with store.atomic():
            known = add_log(store, log.origin, 2, log.key.spki)
            put_backend(store, log.origin, known, base_url=None, read_url=None)
        store.close()

    def witness(self) -> Witness:
        return Witness(replaced(self.app.fresh(), lock_wait=5.0), NAME)

    def size(self) -> int:
        return self.witness().cosigned()[0].head.tree_size

    def verify(self, note: bytes, log: SimulatedLog) -> int:
        """Verify our cosignature on a note with nothing but both keys; return its time."""
        signed = open_checkpoint(note, [log.key], log.origin)
        [found] = open_cosignatures(signed, [parse_witness_vkey(self.vkey)])
        return found.timestamp


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> WitnessHome:
    return WitnessHome(tmp_path / "home", capsys)


def asking(log: SimulatedLog, old: int, size: int | None = None) -> WitnessRequest:
    size = log.tree_size if size is None else size
    proof = log.consistency_proof(old, size) if 0 < old < size else ()
    return WitnessRequest(old, proof, log.checkpoint_at(size))


def refused(ask: Callable[[], object], reason: str) -> ApplianceError:
    with pytest.raises(ApplianceError) as raised:
        ask()
    assert raised.value.reason == reason, raised.value.message
    return raised.value


# --- what is cosigned


def test_a_log_that_grows_is_cosigned_each_time(home: WitnessHome) -> None:
    witness, old = home.witness(), 0
    for more in (0, 7, 1, 300, 0):
        home.log.grow(more)
        done = witness.cosign(asking(home.log, old))
        assert home.verify(done.note, home.log) == NOW
        assert done.note.endswith(done.line)
        old = home.log.tree_size
        assert home.size() == old == done.head.tree_size
    [row] = home.json("witness", "status")["cosigned"]
    assert (row["origin"], row["treeSize"], row["key"]) == (home.log.origin, 308, NAME)
    metrics = home.run("metrics")[1]
    assert f'attestor_witness_tree_size{{origin="log.example",witness="{NAME}"}} 308.0' in metrics
    assert 'attestor_witness_cosigned_total{origin="log.example"} 5.0' in metrics


def test_each_log_has_a_state_of_its_own(home: WitnessHome) -> None:
    other = SimulatedLog("other.example")
    home.pin(other)
    home.log.grow(5)
    other.grow(9)
    witness = home.witness()
    witness.cosign(asking(home.log, 0))
    witness.cosign(asking(other, 0))
    assert [row.head.tree_size for row in witness.cosigned()] == [5, 9]
    assert "5 " in (home.path / "keys" / f"{NAME}.cosigned").read_text()


# --- what never is


def test_a_fork_is_never_cosigned_and_is_kept_as_evidence(home: WitnessHome) -> None:
    witness = home.witness()
    home.log.grow(100)
    twin = home.log.fork(at=40)
    witness.cosign(asking(home.log, 0))
    # Larger, from a tree that was never cosigned: nothing can prove it.
    twin.grow(20)
    refused(lambda: witness.cosign(asking(twin, 100)), "proof")
    honest = home.log.consistency_proof(40, 100)
    forged = WitnessRequest(100, honest, twin.checkpoint_at(120))
    refused(lambda: witness.cosign(forged), "proof")
    # The same size: both notes are the log's, and prove what it did.
    error = refused(
        lambda: witness.cosign(WitnessRequest(100, (), twin.checkpoint_at(100))), "root-mismatch"
    )
    assert "evidence 1" in error.next_step
    assert home.size() == 100
    # From then on the log is in quarantine, and nothing of it is cosigned.
    home.log.grow(1)
    refused(lambda: witness.cosign(asking(home.log, 100)), "quarantined")


def test_a_tree_that_our_own_mirror_contradicts_is_never_cosigned(
    home: WitnessHome, tmp_path: Path
) -> None:
    home.log.grow(100)
    twin = home.log.fork(at=40)
    tree = tmp_path / "tree"
    home.log.write_static(tree)
    mirror_of(home, tree)
    refused(lambda: home.witness().cosign(asking(twin, 0, 90)), "root-mismatch")
    assert home.witness().cosigned() == ()


def mirror_of(home: WitnessHome, tree: Path) -> None:
    """Let a witness's home mirror the log as well, from a directory."""
    key = home.path.parent / "log.vkey"
    key.write_text(f"{home.log.key.vkey}\n")
    home.json(
        *("backend", "add", "copy", "--origin", home.log.origin, "--public-key", key),
        *("--url", f"file://{tree}", "--mirror-of", home.log.origin),
    )
    home.json("sync", "--backend", "copy", "--full-tiles")


def test_rollback_replay_and_wrong_old_sizes(home: WitnessHome) -> None:
    witness = home.witness()
    home.log.grow(50)
    first = asking(home.log, 0)
    witness.cosign(first)
    home.log.grow(50)
    witness.cosign(asking(home.log, 50))
    for old, size in ((0, 50), (50, 60), (0, 100), (50, 50), (99, 100)):
        with pytest.raises(OldSizeError) as raised:
            witness.cosign(asking(home.log, old, size))
        assert raised.value.size == 100
    refused(lambda: witness.cosign(first), "old-size")
    above = WitnessRequest(101, (), home.log.checkpoint_at(100))
    refused(lambda: witness.cosign(above), "malformed")
    assert witness.cosign(asking(home.log, 100)).head.tree_size == 100  # once more, with a new time
    assert home.size() == 100


def test_whoever_is_not_the_log_gets_nothing(home: WitnessHome) -> None:
    home.log.grow(9)
    witness = home.witness()
    unknown = SimulatedLog("unknown.example")
    unknown.grow(3)
    refused(lambda: witness.cosign(asking(unknown, 0)), "unknown-log")
    impostor = SigningKey(home.log.origin, b"\x05" * 32)
    text = home.log.checkpoint_at(9).partition(b"\n\n")[0].decode() + "\n"
    forged = WitnessRequest(0, (), sign_note(text, [impostor]))
    refused(lambda: witness.cosign(forged), "unknown-signer")
    of_another_size = home.log.checkpoint_at(8).partition(b"\n\n")[2]
    spoilt = WitnessRequest(0, (), text.encode() + b"\n" + of_another_size)
    refused(lambda: witness.cosign(spoilt), "bad-signature")
    proof = (Hash(bytes(32)),)
    refused(lambda: witness.cosign(WitnessRequest(0, proof, home.log.checkpoint_at(9))), "proof")
    assert witness.cosigned() == ()


def test_which_key_cosigns(home: WitnessHome, tmp_path: Path) -> None:
    home.log.grow(3)
    request = tmp_path / "request"
    request.write_bytes(bytes(asking(home.log, 0)))
    error = home.json("witness", "sign", request, "--key", "site.example", expect=8)
    assert error["reason"] == "key-role"
    home.json("key", "generate", "second.example", "--type", "witness")
    assert home.json("witness", "sign", request, expect=9)["reason"] == "which-key"
    assert home.json("witness", "sign", request, "--key", NAME)["treeSize"] == 3


# --- races, kills, restores


def test_of_two_at_once_exactly_one_wins(home: WitnessHome) -> None:
    home.log.grow(60)
    witness = home.witness()
    witness.cosign(asking(home.log, 0, 10))
    requests = [asking(home.log, 10, size) for size in range(11, 27)]
    together = threading.Barrier(len(requests))

    def ask(request: WitnessRequest) -> int | None:
        together.wait()
        try:
            return witness.cosign(request).head.tree_size
        except OldSizeError as error:
            assert error.size > 10
            return None

    with ThreadPoolExecutor(len(requests)) as pool:
        won = [size for size in pool.map(ask, requests) if size is not None]
    assert len(won) == 1
    assert home.size() == won[0]


class DiedError(Exception):
    """The process is gone here."""


@pytest.mark.parametrize("step", ["remember_heads", "swap_record", "put_cosigned"])
def test_a_kill_between_storing_and_answering(
    home: WitnessHome, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.log.grow(100)
    twin = home.log.fork(at=60)
    home.witness().cosign(asking(home.log, 0, 50))

    def die(*_: object) -> None:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(job, step, die)
        with pytest.raises(DiedError):
            home.witness().cosign(asking(home.log, 50, 80))
    # Nobody heard of 80. Whatever was stored of it, the log gets on, and a fork does not
    # get past what may have been cosigned.
    at = 50
    try:
        home.witness().cosign(asking(home.log, 50, 80))
    except OldSizeError as error:
        at = error.size
        assert at == 80
        with pytest.raises(OldSizeError):
            home.witness().cosign(asking(twin, 50, 90))
        home.witness().cosign(asking(home.log, 80, 80))
    assert at == (50 if step == "remember_heads" else 80)
    assert home.witness().cosign(asking(home.log, 80, 100)).head.tree_size == 100


def test_a_database_that_is_put_back_forgets_nothing(home: WitnessHome) -> None:
    home.log.grow(100)
    home.witness().cosign(asking(home.log, 0, 50))
    old = (home.path / "attestor.db").read_bytes()
    home.witness().cosign(asking(home.log, 50, 80))
    (home.path / "attestor.db").write_bytes(old)
    assert home.size() == 50
    with pytest.raises(OldSizeError) as raised:
        home.witness().cosign(asking(home.log, 50, 90))
    assert raised.value.size == 80


def test_a_whole_home_that_is_put_back_is_seen_while_the_machine_runs(
    home: WitnessHome, tmp_path: Path
) -> None:
    home.log.grow(100)
    home.witness().cosign(asking(home.log, 0, 50))
    record = home.path / "keys" / f"{NAME}.cosigned"
    before = ((home.path / "attestor.db").read_bytes(), record.read_bytes())
    home.witness().cosign(asking(home.log, 50, 80))
    (home.path / "attestor.db").write_bytes(before[0])
    record.write_bytes(before[1])
    with pytest.raises(OldSizeError) as raised:
        home.witness().cosign(asking(home.log, 50, 90))
    assert raised.value.size == 80


def test_our_own_cosignature_that_comes_back_is_remembered(
    home: WitnessHome, tmp_path: Path
) -> None:
    """After a boot nothing on the machine is newer; the log itself may bring it back."""
    home.log.grow(100)
    home.witness().cosign(asking(home.log, 0, 50))
    record = home.path / "keys" / f"{NAME}.cosigned"
    before = ((home.path / "attestor.db").read_bytes(), record.read_bytes())
    note = home.witness().cosign(asking(home.log, 50, 80)).note
    (home.path / "attestor.db").write_bytes(before[0])
    record.write_bytes(before[1])
    reboot()
    tree = tmp_path / "tree"
    home.log.roll_back(to=80)
    home.log.write_static(tree)
    (tree / "checkpoint").write_bytes(note)
    mirror_of(home, tree)
    with pytest.raises(OldSizeError) as raised:
        home.witness().cosign(asking(home.log, 50, 90))
    assert raised.value.size == 80


def test_a_copy_and_a_backup_do_not_cosign_before_somebody_answers_for_it(
    home: WitnessHome, tmp_path: Path
) -> None:
    home.log.grow(100)
    home.witness().cosign(asking(home.log, 0, 50))
    copy = tmp_path / "copy"
    shutil.copytree(home.path, copy)
    request = tmp_path / "request"
    request.write_bytes(bytes(asking(home.log, 50)))
    backup = tmp_path / "backup"
    home.json("store", "backup", "--with-blobs", "--with-keys", backup)
    for place in (copy, backup):
        there = Home.__new__(Home)
        there.path, there.capsys = place, home.capsys
        there.app = Session(home=place, now=lambda: NOW)
        error = there.json("witness", "sign", request, expect=8)
        assert (error["reason"], "--only-copy" in error["next"]) == ("restored", True)
        assert there.run("witness", "status")[0] == 8
        assert there.run("witness", "recover")[0] == 2
        [head] = there.json("witness", "recover", "--only-copy")["logs"]
        assert head["treeSize"] == 50
    assert there.json("witness", "sign", request)["treeSize"] == 100
    (home.path / "keys" / f"{NAME}.cosigned").unlink()
    assert home.json("witness", "sign", request, expect=8)["reason"] == "restored"


def test_a_record_that_cannot_be_written_answers_nobody(
    home: WitnessHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.log.grow(10)

    home.witness().cosign(asking(home.log, 0, 4))

    def full(*_: object, **__: object) -> None:
        raise StoreError("no space", reason="disk-full")

    with monkeypatch.context() as patch:
        patch.setattr(job, "swap_record", full)
        refused(lambda: home.witness().cosign(asking(home.log, 4)), "disk-full")
    assert home.size() == 4
    record = read_record(home.path, NAME)
    assert record is not None
    assert record.heads[home.log.origin].tree_size == 4


# --- over HTTP


def test_answers_are_counted_by_their_status(home: WitnessHome) -> None:
    clock = [0.0]
    tally = RequestTally(replaced(home.app, monotonic=lambda: clock[0]))
    for status in ("200", "409", "200"):
        tally.add(status)
    assert 'attestor_witness_requests_total{status="200"} 0.0' in home.run("metrics")[1]
    clock[0] += WRITE_DOWN_SECONDS
    tally.add("422")
    tally.add("422")
    tally.write_down()
    metrics = home.run("metrics")[1]
    for status, times in (("200", 2), ("409", 1), ("422", 2)):
        assert f'attestor_witness_requests_total{{status="{status}"}} {times}.0' in metrics


@pytest.fixture
def server(home: WitnessHome) -> Iterator[HTTPConnection]:
    witness = home.witness()
    told: list[tuple[str, object]] = []
    service = WitnessService(witness.cosign, witness.cosigned, lambda *one: told.append(one))
    running = HttpServer(service.routes.answer, "127.0.0.1", 0, MAX_REQUEST_BYTES)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    connection = HTTPConnection(running.host, running.port, timeout=30)
    yield connection
    connection.close()
    running.stop()
    thread.join()
    running.close()


def test_the_statuses_are_those_of_the_specification(
    home: WitnessHome, server: HTTPConnection
) -> None:
    log = home.log

    def post(body: bytes, path: str = "/add-checkpoint") -> tuple[int, bytes, str]:
        server.request("POST", path, body)
        answer = server.getresponse()
        return answer.status, answer.read(), answer.headers["Content-Type"]

    def get(path: str) -> tuple[int, bytes]:
        server.request("GET", path)
        answer = server.getresponse()
        return answer.status, answer.read()

    hidden = f"/{log.key.log_id.hex()}/checkpoint"
    assert get("/healthz")[0] == 200
    assert get(hidden)[0] == 404
    log.grow(20)
    status, line, _ = post(bytes(asking(log, 0)))
    assert status == 200
    note = log.checkpoint_at(20) + line
    assert home.verify(note, log) == NOW
    assert get(f"/{sha256(log.origin.encode()).hexdigest()}/checkpoint") == (200, note)
    log.grow(10)
    assert post(bytes(asking(log, 10))) == (409, b"20\n", SIZE_TYPE)
    assert post(bytes(asking(log, 20)))[0] == 200
    bad = replaced(asking(log, 30), proof=(Hash(bytes(32)),))
    assert post(bytes(bad))[0] == 422
    assert post(bytes(replaced(asking(log, 30), old_size=31)))[0] == 400
    other = SimulatedLog("other.example")
    other.grow(3)
    assert post(bytes(asking(other, 0)))[0] == 404
    impostor = SigningKey(log.origin, b"\x05" * 32)
    text = log.checkpoint_at(30).partition(b"\n\n")[0].decode() + "\n"
    assert post(bytes(WitnessRequest(30, (), sign_note(text, [impostor]))))[0] == 403
    spelt_otherwise = b"old 030\n\n" + log.checkpoint_at(30)
    for junk in (b"", b"old 30", spelt_otherwise, b"old -1\n\nx", b"\xff" * 99):
        assert post(junk)[0] == 400, junk
    lines = b"".join(b"A" * 43 + b"=\n" for _ in range(64))
    assert post(b"old 30\n" + lines + b"\n" + log.checkpoint_at(30))[0] == 400
    assert post(bytes(MAX_REQUEST_BYTES + 1))[0] == 400
    twin = log.fork(at=5)
    assert post(bytes(WitnessRequest(30, (), twin.checkpoint_at(30))))[0] == 422
    log.grow(1)
    assert post(bytes(asking(log, 30)))[0] == 403  # in quarantine since
    assert post(b"x", "/elsewhere")[0] == 404
    assert home.size() == 30


# --- by file, across a gap


def test_a_request_crosses_a_gap_and_comes_back_cosigned(
    home: WitnessHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = Home(tmp_path / "log", capsys)
    ours.app = replaced(ours.app, random_bytes=lambda n: b"\x09" * n)
    vkey = ours.json("log", "create", "build", "--origin", "build.example")["vkey"]
    pinned = tmp_path / "build.vkey"
    pinned.write_text(f"{vkey}\n")
    home.json("backend", "add", "build", "--origin", "build.example", "--public-key", pinned)
    policy = tmp_path / "policy"
    policy.write_text(f"witness w1 {home.vkey}\nquorum none\n")
    assert ours.json("log", "witnesses", policy)["witnesses"][0]["cosignedAt"] is None
    request, cosigned = tmp_path / "request", tmp_path / "cosigned"
    asked = ours.json(
        *("witness", "request", "--backend", "build", "--witness", "w1", "--output", request)
    )
    assert (asked["oldSize"], asked["treeSize"]) == (0, 0)
    done = home.json("witness", "sign", request, "--output", cosigned)
    assert done["note"].encode() == cosigned.read_bytes()
    assert ours.json("checkpoint", "add", cosigned)["checkpoints"][0]["standing"] == "proven"
    [witness] = ours.json("log", "witnesses")["witnesses"]
    assert (witness["name"], witness["cosignedAt"]) == ("w1", "2025-10-09T08:53:20Z")
    assert home.vkey.split("+")[0] in ours.json("log", "status")["logs"][0]["checkpoint"]
