"""attestor verify with a tlog-proof: a log holds the file's own bytes, as its witnesses saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.cosignature import cosign, cosigner_key
from appliance.tlog.note import SigningKey, parse_note
from appliance.tlog.tlog_proof import TlogProof
from tests.mirror.mirrors import NOW, make_mirror, sync_from
from tests.signed_artifacts import SIGNER_PEM, bundle_of, log_request, sign_request
from tests.simulator import SimulatedLog

CONTENT = b"the file is the entry\n"
WITNESS = SigningKey("witness.example", b"\x05" * 32)


class Desk:
    """A log that holds a file, its proof with one witness, and a policy."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self.capsys = directory, capsys
        self.log = SimulatedLog()
        self.log.grow(20)
        self.index = self.log.head.tree_size
        self.log.grow([CONTENT])
        self.file = directory / "file"
        self.file.write_bytes(CONTENT)
        self.proof = directory / "file.tlog-proof"
        self.write_proof()
        self.policy = directory / "policy"
        self.policy.write_text(
            f"log {self.log.key.vkey}\nwitness w {cosigner_key(WITNESS).vkey}\nquorum w\n", "utf-8"
        )

    def write_proof(self, *, cosigned: bool = True) -> None:
        raw = self.log.checkpoint()
        signed = open_checkpoint(raw, [self.log.key], self.log.origin)
        if cosigned:
            raw += cosign(signed, WITNESS, NOW).line.encode()
            assert len(parse_note(raw).signatures) == 2
        hashes = self.log.inclusion_proof(self.index)
        self.proof.write_bytes(bytes(TlogProof(self.index, tuple(hashes), raw)))

    def verify(self, *words: str | Path) -> tuple[int, dict[str, Any], str]:
        session = Session(home=self.directory / "home", now=lambda: NOW)
        code = run(["verify", str(self.file), "--json", *map(str, words)], session)
        out, err = self.capsys.readouterr()
        return code, json.loads(out), err


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def reason(answer: dict[str, Any]) -> str:
    return str(answer["error"]["reason"])


def test_a_log_holds_the_file_and_its_witness_saw_it(desk: Desk) -> None:
    code, answer, _ = desk.verify("--policy", desk.policy)
    assert code == 0
    (one,) = answer["data"]["artifacts"]
    assert (one["log"]["entryIndex"], one["signer"]) == (desk.index, None)
    assert [named["name"] for named in one["cosigners"]] == ["witness.example"]
    _, answer, _ = desk.verify("--policy", desk.policy, "--record")
    assert "tlog-proofs are not recorded" in answer["warnings"][-1]


def test_another_file_another_log_or_too_few_witnesses_are_a_no(desk: Desk) -> None:
    desk.file.write_bytes(CONTENT + b"x")
    code, answer, _ = desk.verify("--policy", desk.policy)
    assert (code, reason(answer)) == (3, "proof")
    desk.file.write_bytes(CONTENT)
    desk.write_proof(cosigned=False)
    code, answer, _ = desk.verify("--policy", desk.policy)
    assert (code, reason(answer)) == (8, "quorum")
    stranger = SigningKey(desk.log.origin, b"\x09" * 32).verifier.vkey
    desk.policy.write_text(f"log {stranger}\nquorum none\n", "utf-8")
    code, answer, _ = desk.verify("--policy", desk.policy)
    assert (code, reason(answer)) == (3, "unknown-signer")


def test_every_flipped_byte_of_the_proof_is_no_yes_for_another_place(desk: Desk) -> None:
    raw = desk.proof.read_bytes()
    for position in range(0, len(raw), 3):
        spoiled = bytearray(raw)
        spoiled[position] ^= 1
        desk.proof.write_bytes(bytes(spoiled))
        code, answer, _ = desk.verify("--policy", desk.policy)
        assert code in (3, 5, 8), position
        assert answer["ok"] is False


def test_it_says_nothing_of_a_signer_and_a_bundle_does(desk: Desk) -> None:
    key = desk.directory / "key"
    key.write_bytes(SIGNER_PEM)
    code, answer, _ = desk.verify("--key", key)
    assert (code, reason(answer)) == (8, "no-signature")
    request = sign_request(CONTENT)
    bundle = desk.directory / "bundle"
    bundle.write_bytes(bundle_of(desk.log, request, log_request(desk.log, request)))
    code, answer, _ = desk.verify("--bundle", bundle, "--policy", desk.policy)
    assert (code, reason(answer)) == (8, "no-signer")
    assert desk.verify("--bundle", desk.proof)[0] == 2  # nobody was named, and no policy


def test_our_own_mirror_is_asked_as_well(desk: Desk) -> None:
    mirror = make_mirror(desk.directory / "home", desk.log)
    code, answer, _ = desk.verify("--policy", desk.policy, "--require-mirror")
    assert (code, reason(answer)) == (5, "not-covered")
    sync_from(mirror, desk.log)
    code, answer, _ = desk.verify("--policy", desk.policy, "--require-mirror")
    assert (code, answer["data"]["artifacts"][0]["ownView"]["coverage"]) == (0, "covered")
