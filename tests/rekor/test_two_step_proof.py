"""Two steps prove an entry in a log whose checkpoint another log holds; each can be broken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.errors import ApplianceError, DigestError, MalformedError
from appliance.rekor.request import HashedRekordRequest
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.rekor.two_step_proof import note_digest, verify_upstream, with_upstream
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.publisher_key import make_publisher_key
from appliance.tlog.tlog_proof import TlogProof, parse_tlog_proof, verify_tlog_proof
from appliance.value import replaced
from tests.pki.logs import V2Log

FIRST = V2Log("private.example", b"\x01" * 32)
SECOND = V2Log("public.example", b"\x02" * 32)
KEY = make_publisher_key("publisher.example", b"\x03" * 48)
BODY = b'{"apiVersion":"0.0.2","kind":"x","spec":{}}'


def upstream_of(note: bytes, log: V2Log = SECOND) -> TransparencyLogEntry:
    """Log the digest of a checkpoint, as a publisher does."""
    digest = note_digest(note).value
    details = "PKIX_ECDSA_P256_SHA_256"
    verifier = VerifierMaterial(KEY.spki, is_certificate=False, key_details=details)
    request = HashedRekordRequest(digest, KEY.sign_digest(digest), verifier)
    return log.add(request.canonical_body)


def two_step() -> TlogProof:
    step = FIRST.add(BODY).inclusion_proof
    assert step is not None
    note = step.checkpoint.encode()
    return with_upstream(TlogProof(step.entry_index, step.hashes, note), upstream_of(note))


def spelled(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def keys_of(origin: str) -> Any:
    return [SECOND.key.verifier] if origin == SECOND.origin else []


def test_both_steps_verify_and_survive_the_file() -> None:
    proof = parse_tlog_proof(bytes(two_step()))
    verify_tlog_proof(proof, leaf_hash(BODY), [FIRST.key.verifier], FIRST.origin)
    step = verify_upstream(proof, keys_of)
    assert step is not None and step.origin == SECOND.origin


@pytest.mark.parametrize("extra", [b"", b"{}", b"something else"])
def test_a_proof_of_one_step_has_no_second(extra: bytes) -> None:
    assert verify_upstream(replaced(two_step(), extra=extra), keys_of) is None


def test_the_second_step_has_to_be_of_this_checkpoint() -> None:
    other = upstream_of(b"another note")
    with pytest.raises(DigestError, match="the second step is over sha256:"):
        verify_upstream(with_upstream(two_step(), other), keys_of)
    step = FIRST.add(BODY).inclusion_proof
    assert step is not None
    later = replaced(two_step(), note=step.checkpoint.encode())
    with pytest.raises(DigestError):
        verify_upstream(later, keys_of)


def test_every_part_of_the_second_step_counts() -> None:
    good = two_step()
    step = json.loads(good.extra)
    broken: list[Any] = [{"upstream": {}}, {"upstream": []}, {**step, "more": 1}]
    for member, value in (("logIndex", "0"), ("treeSize", "1"), ("hashes", [])):
        changed = json.loads(good.extra)
        changed["upstream"]["inclusionProof"][member] = value
        broken.append(changed)
    without = json.loads(good.extra)
    del without["upstream"]["inclusionProof"]
    broken.append(without)
    for one in broken:
        with pytest.raises(ApplianceError):
            verify_upstream(replaced(good, extra=spelled(one)), keys_of)
    with pytest.raises(MalformedError):
        verify_upstream(replaced(good, extra=good.extra[:-1]), keys_of)
    stranger = V2Log(SECOND.origin, b"\x09" * 32)
    with pytest.raises(ApplianceError):
        verify_upstream(with_upstream(good, upstream_of(good.note, stranger)), keys_of)


def _members(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [one for key, below in value.items() for one in _members(below, (*path, key))]
    if isinstance(value, list):
        return [one for at, below in enumerate(value) for one in _members(below, (*path, at))]
    return [path]


def _changed(text: str) -> str:
    """Another value of the same form: the next number, or the first letter or byte another."""
    if text.isdecimal():
        return str(int(text) + 1)
    return ("B" if text[0] == "A" else "A") + text[1:]


def test_each_member_of_the_entry_in_turn_is_authenticated() -> None:
    good = two_step()
    value = json.loads(good.extra)
    paths = _members(value)
    assert {path[1] for path in paths} >= {"logIndex", "logId", "kindVersion", "inclusionProof"}
    for path in paths:
        changed = json.loads(good.extra)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = _changed(place[path[-1]])
        with pytest.raises(ApplianceError):
            verify_upstream(replaced(good, extra=spelled(changed)), keys_of)
            pytest.fail(f"changed and believed: {path}")


@pytest.mark.parametrize(
    ("member", "value"),
    [("integratedTime", "1"), ("inclusionPromise", {"signedEntryTimestamp": "AAAA"})],
)
def test_what_no_v2_log_says_is_not_believed_of_one(member: str, value: Any) -> None:
    changed = json.loads(two_step().extra)
    changed["upstream"][member] = value
    with pytest.raises(ApplianceError):
        verify_upstream(replaced(two_step(), extra=spelled(changed)), keys_of)
