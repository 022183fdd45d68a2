"""A log of ours and its witnesses: what they answer, and what waits when they do not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ApplianceError, MalformedError, RemoteError
from appliance.fetch.witness import WitnessAnswer
from appliance.jobs.private_log.cosigning import QUORUM, SILENCE_SECONDS, Asked, Cosigners
from appliance.jobs.private_log.create import freeze_log
from appliance.jobs.private_log.sequence import sequence
from appliance.runs.private_log import set_witnesses
from appliance.store.home.key_files import load_signing_key
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import require_private_log
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.cosignature import cosign, cosigner_key, open_cosignatures
from appliance.tlog.merkle import EMPTY_ROOT, TreeHead
from appliance.tlog.ml_dsa import subtree_message
from appliance.tlog.note import NoteSignature, SigningKey, parse_note
from appliance.tlog.note_keys import cosigned_message, ml_dsa_44
from appliance.tlog.proof import verify_consistency
from appliance.tlog.tlog_policy import TlogPolicy, Witness, parse_tlog_policy
from appliance.tlog.witness_request import parse_witness_request
from tests.private_log.private_homes import (
    NOW,
    ORIGIN,
    SEED,
    check_home,
    checkpoint_of,
    home_in_memory,
    make_home,
    writing,
)

LOG = SigningKey(ORIGIN, SEED)
Answer = Callable[[bytes], WitnessAnswer]


class World:
    """A home with a log, and witnesses that do as a test says."""

    def __init__(self, home: Path, quorum: str, *names: str) -> None:
        self.home = home
        self.keys = {one: SigningKey(f"{one}.example", one.encode() * 32) for one in names}
        self.at = {name: TreeHead(0, EMPTY_ROOT) for name in names}
        self.answers: dict[str, Answer] = {}  # instead of the honest one
        self.requests: list[str] = []
        self.told: list[Asked] = []
        self.clock = 1000.0
        lines = [
            f"witness {name} {cosigner_key(key).vkey} http://{name}.invalid/"
            for name, key in self.keys.items()
        ]
        group = f"group two 2 {' '.join(names)}\n" if quorum == "two" else ""
        self.policy = ("\n".join(lines) + f"\n{group}quorum {quorum}\n").encode()
        make_home(home)
        with writing(home) as store:
            set_witnesses(store, require_private_log(store, None), self.policy, NOW)
        self.cosigners = Cosigners(self.ask, self.told.append, lambda: self.clock)

    def ask(self, witness: Witness, request: bytes, seconds: float) -> WitnessAnswer:
        self.requests.append(witness.name)
        if witness.name in self.answers:
            return self.answers[witness.name](request)
        asked = parse_witness_request(request)
        last = self.at[witness.name]
        if asked.old_size != last.tree_size:
            return WitnessAnswer(409, b"", last.tree_size)
        signed = open_checkpoint(asked.note, [LOG.verifier], ORIGIN)
        verify_consistency(last, signed.head, asked.proof)
        self.at[witness.name] = signed.head
        line = cosign(signed, self.keys[witness.name], NOW)
        return WitnessAnswer(200, line.line.encode(), None)

    def log(self, *bodies: bytes, seconds: float = 5.0) -> tuple[str, ...]:
        """Log bodies; return who cosigned the checkpoint that was answered with."""
        with writing(self.home) as store:
            private = require_private_log(store, None)
            policy = parse_tlog_policy(self.policy)

            def cosigned(checkpoint: SignedCheckpoint, prove: object) -> SignedCheckpoint:
                return self.cosigners.cosign(policy, checkpoint, prove, seconds)  # type: ignore[arg-type]

            key = load_signing_key(self.home, ORIGIN)
            done = sequence(store, private, key, bodies, NOW, cosigned)
            note = Mirror(store, private.log).history.newest_note(done.checkpoint.head.tree_size)
        assert note == done.checkpoint.note  # what clients are answered with
        return self.cosigners_of(note, policy)

    def cosigners_of(self, note: bytes, policy: TlogPolicy) -> tuple[str, ...]:
        signed = open_checkpoint(note, [LOG.verifier], ORIGIN)
        found = open_cosignatures(signed, policy.witness_keys)
        return tuple(one.key.name.removesuffix(".example") for one in found)

    def published(self) -> int:
        return checkpoint_of(self.home).head.tree_size


def failing(error: ApplianceError) -> Answer:
    def answer(_: bytes) -> WitnessAnswer:
        raise error

    return answer


UNREACHABLE = failing(RemoteError("refused", reason="unreachable"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "home", "none", "a", "b")


def test_cosignatures_are_published_and_answered_with_the_checkpoint(world: World) -> None:
    assert world.log(b"one") == ("a", "b")
    assert world.requests == ["a", "b"]
    assert world.log(b"two", b"three") == ("a", "b")
    assert world.requests == ["a", "b"] * 2  # no 409: what each is at is remembered
    assert world.log(b"two") == ("a", "b")  # a duplicate: nothing is signed, nobody asked
    assert len(world.requests) == 4
    assert len(check_home(world.home)) == 3


def test_a_witness_that_is_elsewhere_is_answered_from_there(world: World) -> None:
    for number in range(300):
        if number % 100 == 0:
            world.log(str(number).encode())
    world.cosigners = Cosigners(world.ask, world.told.append, lambda: world.clock)  # a new process
    world.requests.clear()
    assert world.log(b"more") == ("a", "b")
    assert sorted(world.requests) == ["a", "a", "b", "b"]


def test_without_a_quorum_nobody_waits_for_a_witness(world: World) -> None:
    world.answers["a"] = UNREACHABLE
    assert world.log(b"one") == ("b",)
    assert {(one.witness, one.outcome) for one in world.told} == {
        ("a", "unreachable"),
        ("b", "cosigned"),
    }
    # It is left alone for a while, and then asked again.
    world.requests.clear()
    del world.answers["a"]
    assert world.log(b"two") == ("b",)
    assert world.requests == ["b"]
    world.clock += SILENCE_SECONDS + 1
    assert world.log(b"three") == ("a", "b")


def test_a_witness_that_hangs_costs_no_more_than_its_time(tmp_path: Path) -> None:
    world = World(tmp_path / "home", "none", "a", "b")
    world.cosigners = Cosigners(world.ask, world.told.append, time.monotonic)

    def hang(_: bytes) -> WitnessAnswer:
        time.sleep(3)
        raise RemoteError("late", reason="timeout")

    world.answers["a"] = hang
    before = time.monotonic()
    assert world.log(b"one", seconds=0.5) == ("b",)
    assert time.monotonic() - before < 2.5
    assert world.log(b"two", seconds=0.5) == ("b",)


@pytest.mark.parametrize("status", [400, 403, 404, 422, 500])
def test_a_witness_that_refuses_is_named_with_what_it_said(world: World, status: int) -> None:
    world.answers["a"] = lambda _: WitnessAnswer(status, b"no such log", None)
    assert world.log(b"one") == ("b",)
    [refused] = [one for one in world.told if one.witness == "a"]
    assert (refused.outcome, refused.message) == (
        "refused",
        f"it answered {status}: no such log",
    )


def test_what_a_witness_answers_is_verified(world: World) -> None:
    stranger = SigningKey("a.example", b"\x33" * 32)
    world.log(b"zero")

    def forged(request: bytes) -> WitnessAnswer:
        signed = open_checkpoint(parse_witness_request(request).note, [LOG.verifier], ORIGIN)
        return WitnessAnswer(200, cosign(signed, stranger, NOW).line.encode(), None)

    def of_another_tree(_: bytes) -> WitnessAnswer:
        with writing(world.home) as store:
            log = require_private_log(store, None).log
            note = Mirror(store, log).history.newest_note(0)
        signed = open_checkpoint(note, [LOG.verifier], ORIGIN)
        return WitnessAnswer(200, cosign(signed, world.keys["a"], NOW).line.encode(), None)

    def smuggled(request: bytes) -> WitnessAnswer:
        """Good, over a longer text: one that begins with what was to be cosigned."""
        text = parse_note(parse_witness_request(request).note).text
        key = world.keys["a"]
        message = cosigned_message(f"{text}\nmore\n".encode(), NOW)
        signature = NOW.to_bytes(8) + key.sign_bytes(message)
        line = NoteSignature(key.name, cosigner_key(key).key_id, signature).line
        return WitnessAnswer(200, f"more\n\n{line}".encode(), None)

    others: list[Answer] = [lambda _: WitnessAnswer(200, b"", None)]
    others.append(lambda _: WitnessAnswer(200, b"<html>", None))
    for number, answer in enumerate((forged, of_another_tree, smuggled, *others)):
        world.answers["a"] = answer
        world.told.clear()
        world.clock += SILENCE_SECONDS + 1
        assert world.log(f"body {number}".encode()) == ("b",)
        assert [one.outcome for one in world.told if one.witness == "a"] == ["bad-answer"]


def test_a_witness_may_have_an_ml_dsa_44_key(tmp_path: Path) -> None:
    """The quorum takes its cosignature alone; one by another key of the kind is none."""
    mldsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    home, name = tmp_path / "home", "pq.example"
    secret, stranger = (mldsa.MLDSA44PrivateKey.generate() for _ in range(2))
    key = ml_dsa_44(name, secret.public_key().public_bytes_raw())
    world = World(home, "none")
    world.policy = f"witness pq {key.vkey} http://pq.invalid/\nquorum pq\n".encode()
    with writing(home) as store:
        set_witnesses(store, require_private_log(store, None), world.policy, NOW)

    def answered_by(signer: Any) -> Answer:
        def answer(request: bytes) -> WitnessAnswer:
            asked = parse_witness_request(request)
            signed = open_checkpoint(asked.note, [LOG.verifier], ORIGIN)
            message = subtree_message(name, NOW, str(signed.checkpoint).encode())
            assert message is not None
            line = NoteSignature(name, key.key_id, NOW.to_bytes(8) + signer.sign(message))
            return WitnessAnswer(200, line.line.encode(), None)

        return answer

    world.answers["pq"] = answered_by(stranger)
    with pytest.raises(RemoteError) as refused:
        world.log(b"one")
    assert (refused.value.reason, world.published()) == (QUORUM, 0)
    assert world.told[-1].outcome == "bad-answer"
    world.answers["pq"] = answered_by(secret)
    world.clock += SILENCE_SECONDS + 1
    assert world.log(b"one") == ("pq",)
    assert world.published() == 1


def test_a_witness_that_is_ahead_of_us_is_told(world: World) -> None:
    world.answers["a"] = lambda _: WitnessAnswer(409, b"", 1000)
    assert world.log(b"one") == ("b",)
    assert "1,000" in next(one.message for one in world.told if one.outcome == "ahead")
    world.answers["a"] = lambda _: WitnessAnswer(409, b"", 0)  # and one that never agrees
    world.clock += SILENCE_SECONDS + 1
    assert world.log(b"two") == ("b",)


def test_a_batch_waits_for_its_quorum_and_nothing_overtakes_it(tmp_path: Path) -> None:
    world = World(tmp_path / "home", "two", "a", "b", "c")
    assert len(world.log(b"one")) >= 2
    world.answers |= {"a": UNREACHABLE, "b": UNREACHABLE}
    for _ in range(3):
        with pytest.raises(RemoteError) as raised:
            world.log(b"two")
        assert raised.value.reason == "quorum"
        assert world.published() == 1
    with pytest.raises(RemoteError):
        world.log(b"three")  # nothing is signed after it, either
    del world.answers["b"]
    assert set(world.log(b"three")) >= {"b", "c"}
    assert world.published() == 3
    assert check_home(world.home) == (b"one", b"two", b"three")


def test_the_quorum_stops_waiting_for_the_slow(tmp_path: Path) -> None:
    world = World(tmp_path / "home", "two", "a", "b", "c")
    world.cosigners = Cosigners(world.ask, world.told.append, time.monotonic)

    def slow(_: bytes) -> WitnessAnswer:
        time.sleep(3)
        raise RemoteError("late", reason="timeout")

    world.answers["a"] = slow
    before = time.monotonic()
    assert set(world.log(b"one", seconds=10)) == {"b", "c"}
    assert time.monotonic() - before < 2.5


def test_no_way_leads_around_the_quorum(tmp_path: Path) -> None:
    world = World(tmp_path / "home", "two", "a", "b")
    with writing(world.home) as store:
        private = require_private_log(store, None)
        key = load_signing_key(world.home, ORIGIN)
        with pytest.raises(RemoteError):
            sequence(store, private, key, [b"one"], NOW)  # asks nobody
        with pytest.raises(RemoteError):
            freeze_log(store, private, NOW)
    assert world.published() == 0
    assert world.log() == ("a", "b")
    assert world.published() == 1


def test_a_freeze_waits_for_its_quorum(tmp_path: Path) -> None:
    world = World(tmp_path / "home", "two", "a", "b")
    world.log(b"one")
    with writing(world.home) as store, pytest.raises(RemoteError):
        freeze_log(store, require_private_log(store, None), NOW)
    assert not checkpoint_of(world.home).frozen
    assert world.log() == ("a", "b")
    with writing(world.home) as store:
        log = require_private_log(store, None).log
        assert b"Log frozen" in Mirror(store, log).history.newest_note(1)


def test_a_policy_that_could_never_be_met_is_refused(tmp_path: Path) -> None:
    with home_in_memory() as home:
        make_home(home)
        witness = cosigner_key(SigningKey("w.example", b"w" * 32)).vkey
        own = cosigner_key(LOG).vkey
        with writing(home) as store:
            private = require_private_log(store, None)
            for policy, reason in (
                (f"witness w {witness}\nquorum w\n", "quorum-unreachable"),
                (f"witness w {own} http://w.invalid/\nquorum w\n", "policy-log"),
                (f"log {SigningKey('x', b'x' * 32).verifier.vkey}\nquorum none\n", "policy-log"),
            ):
                with pytest.raises(ApplianceError) as raised:
                    set_witnesses(store, private, policy.encode(), NOW)
                assert raised.value.reason == reason
            with pytest.raises(MalformedError):
                set_witnesses(store, private, b"quorum w", NOW)
            set_witnesses(store, private, f"witness w {witness}\nquorum none\n".encode(), NOW)
            set_witnesses(store, private, None, NOW)
