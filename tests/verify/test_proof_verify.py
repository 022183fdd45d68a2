"""proof verify --policy: each step of a proof needs the quorum of the policy, and its own log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.cli.main import run
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.rekor.two_step_proof import with_upstream
from appliance.runs.session import Session
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.cosignature import cosign, cosigner_key
from appliance.tlog.note import SigningKey
from appliance.tlog.tlog_proof import TlogProof
from appliance.value import replaced
from tests.pki.logs import V2Log
from tests.rekor.test_two_step_proof import BODY, FIRST, SECOND, upstream_of

WITNESS = SigningKey("witness.example", b"\x09" * 32)
VKEY = cosigner_key(WITNESS).vkey
BOTH_LOGS = f"log {FIRST.key.verifier.vkey}\nlog {SECOND.key.verifier.vkey}\n"


def cosigned(note: bytes, log: V2Log) -> bytes:
    """Add the witness's line to a checkpoint of a log."""
    checkpoint = open_checkpoint(note, [log.key.verifier], log.origin)
    return note + cosign(checkpoint, WITNESS, 1_760_000_000).line.encode()


def first_step(*, by_witness: bool) -> TlogProof:
    step = FIRST.add(BODY).inclusion_proof
    assert step is not None
    note = step.checkpoint.encode()
    return TlogProof(step.entry_index, step.hashes, cosigned(note, FIRST) if by_witness else note)


def second_step(note: bytes, *, by_witness: bool) -> TransparencyLogEntry:
    entry = upstream_of(note)
    step = entry.inclusion_proof
    assert step is not None
    if not by_witness:
        return entry
    seen = cosigned(step.checkpoint.encode(), SECOND).decode()
    return replaced(entry, inclusion_proof=replaced(step, checkpoint=seen))


class Desk:
    """Whoever verifies: no home, a policy and two files."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self.capsys = directory, capsys

    def verify(self, proof: TlogProof, policy: str, expect: int = 0) -> str:
        """Verify a proof under a policy; return the reason for a no."""
        contents = {"proof": bytes(proof), "entry": BODY, "policy": policy.encode()}
        for name, content in contents.items():
            (self.directory / name).write_bytes(content)
        named = {name: str(self.directory / name) for name in contents}
        words = ["proof", "verify", named["proof"], "--entry", named["entry"]]
        session = Session(home=self.directory / "none")
        code = run([*words, "--policy", named["policy"], "--json"], session)
        answer = json.loads(self.capsys.readouterr().out)
        assert code == answer["exitCode"] == expect, answer
        return str(answer["error"]["reason"]) if expect else ""


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def test_one_step_needs_the_quorum(desk: Desk) -> None:
    demanding = f"{BOTH_LOGS}witness w {VKEY}\nquorum w\n"
    desk.verify(first_step(by_witness=True), demanding)
    assert desk.verify(first_step(by_witness=False), demanding, expect=8) == "quorum"
    desk.verify(first_step(by_witness=False), f"{BOTH_LOGS}quorum none\n")


@pytest.mark.parametrize(
    ("first", "second", "suffices"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_two_steps_need_it_in_both_logs(
    desk: Desk, first: bool, second: bool, suffices: bool
) -> None:
    proof = first_step(by_witness=first)
    proof = with_upstream(proof, second_step(proof.note, by_witness=second))
    demanding = f"{BOTH_LOGS}witness w {VKEY}\nquorum w\n"
    reason = desk.verify(proof, demanding, expect=0 if suffices else 8)
    assert reason == ("" if suffices else "quorum")


def test_a_log_that_the_policy_does_not_name_counts_for_nothing(desk: Desk) -> None:
    proof = first_step(by_witness=False)
    proof = with_upstream(proof, second_step(proof.note, by_witness=False))
    first_alone = f"log {FIRST.key.verifier.vkey}\nquorum none\n"
    assert desk.verify(proof, first_alone, expect=3) == "unknown-signer"
    second_alone = f"log {SECOND.key.verifier.vkey}\nquorum none\n"
    assert desk.verify(proof, second_alone, expect=3) == "unknown-signer"
