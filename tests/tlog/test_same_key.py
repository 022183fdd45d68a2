"""A key is its public key bytes: counted once under any name, and compared in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import RefusedError
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.cosignature import cosign, cosigner_key
from appliance.tlog.note import SigningKey, has_signed, open_note, parse_note, sign_note
from appliance.tlog.note_keys import (
    KeyType,
    distinct_keys,
    ed25519_key,
    is_among,
    log_key,
    parse_stored_key,
    rekor_v1_key,
    same_key,
)
from appliance.tlog.quorum import quorum_time, verify_quorum
from appliance.tlog.tlog_policy import parse_tlog_policy
from tests.simulator import SimulatedLog

ROOT = Path(__file__).resolve().parents[2]
SEEDS = [bytes([number]) * 32 for number in range(1, 7)]
# Attributes that hold a key or stand for it. Whoever compares them compares keys.
KEY_WORDS = {"spki", "vkey", "key", "verifier", "key_id", "public_key"}
# What looks a line or a log up by the id it names, before its signature says whose it is;
# and `key` where it is not one of these keys: of a setting, a mapping or an operator's file.
LOOKED_UP = {
    ("appliance/tlog/note_keys.py", "parse_vkey"): "the one spelling of a line",
    ("appliance/tlog/note_keys.py", "parse_stored_key"): "the one spelling of a line",
    ("appliance/tlog/note.py", "parse_signing_key"): "the one spelling of a line",
    ("appliance/tlog/note.py", "has_signed"): "which line to verify",
    ("appliance/tlog/newest_note.py", "newest_note"): "which lines no key here is for",
    ("appliance/sigstore/log_inclusion.py", "_open_log_checkpoint"): "which line to verify",
    ("appliance/sigstore/log_inclusion.py", "_v2_keys"): "whether a root lists the id of its key",
    ("appliance/jobs/private_log/cosigning.py", "cosign"): "a mapping by the policy's own keys",
    ("appliance/sigstore/signer_steps.py", "take_managed_key"): "a hint of the entry's",
}

names = st.text("abcdefgh.-", min_size=1, max_size=12)
owners = st.lists(st.tuples(names, st.sampled_from(SEEDS)), min_size=1, max_size=8)


def compared(node: ast.Compare) -> bool:
    """Whether a comparison has a key on one side, or inside a display or comprehension."""
    return any(
        isinstance(part, ast.Attribute) and part.attr in KEY_WORDS and _is_operand(part, node)
        for part in ast.walk(node)
    )


def _is_operand(part: ast.Attribute, node: ast.Compare) -> bool:
    for side in (node.left, *node.comparators):
        if isinstance(side, ast.Constant):
            return False
    # `key.name` and `key.key_type` are not the key: only the last attribute counts.
    inner = {id(one.value) for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    called = {id(arg) for one in ast.walk(node) if isinstance(one, ast.Call) for arg in one.args}
    return id(part) not in inner and id(part) not in called


def test_nothing_but_same_key_compares_keys() -> None:
    found = []
    for path in sorted([*(ROOT / "appliance").rglob("*.py"), *(ROOT / "bundles").rglob("*.py")]):
        name = str(path.relative_to(ROOT))
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and (name, function.name) not in LOOKED_UP:
                found += [
                    f"{name}:{node.lineno} {ast.unparse(node)}"
                    for node in ast.walk(function)
                    if isinstance(node, ast.Compare) and compared(node)
                ]
    assert found == []


def test_the_test_above_finds_a_comparison_of_keys() -> None:
    for text in (
        "one.key == other.key",
        "key.spki in {other.spki for other in known}",
        "gone.vkey != come.vkey",
        "(one.name, one.key_id) == (mine.name, mine.key_id)",
    ):
        [node] = [one for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Compare)]
        assert compared(node), text


@given(owners)
def test_signatures_count_by_key_whatever_the_names_are(signers: list[tuple[str, bytes]]) -> None:
    keys = [SigningKey(name, seed) for name, seed in signers]
    verifiers = [key.verifier for key in keys]
    note = sign_note("text\n", keys)
    counted = open_note(note, verifiers).signers
    assert len(counted) == len({seed for _, seed in signers})
    assert counted == distinct_keys(verifiers)
    parsed = parse_note(note)
    for seed in SEEDS:
        own = ed25519_key("anybody", SigningKey("x", seed).verifier.key)
        assert has_signed(parsed, own) == is_among(own, verifiers)
        assert is_among(own, verifiers) == (seed in {used for _, used in signers})


def test_one_key_in_other_shapes_is_one_key() -> None:
    key = SigningKey("a", SEEDS[0]).verifier
    for other in (
        ed25519_key("b", key.key),
        ed25519_key("a", key.key, KeyType.COSIGNATURE),
        log_key("c", key.spki),
        rekor_v1_key("d", key.spki),
    ):
        assert same_key(key, other) and same_key(other.spki, key)
        assert parse_stored_key(other.vkey) == other
    assert not same_key(key, SigningKey("a", SEEDS[1]).verifier)


@given(
    st.sets(st.integers(0, 5), min_size=1),
    st.sets(st.integers(0, 5)),
    st.sets(st.integers(0, 5)),
    st.integers(0, 5),
    st.integers(1, 6),
    st.lists(names, min_size=6, max_size=6, unique=True),
)
def test_a_quorum_counts_distinct_keys_neither_revoked_nor_the_logs_own(
    members: set[int],
    cosigners: set[int],
    revoked: set[int],
    own: int,
    threshold: int,
    labels: list[str],
) -> None:
    threshold = min(threshold, len(members))
    log = SimulatedLog()
    log.grow(3)
    witnesses = [SigningKey(label, seed) for label, seed in zip(labels, SEEDS, strict=True)]
    lines = [f"witness {n} {cosigner_key(witnesses[n]).vkey}\n" for n in sorted(members)]
    group = " ".join(str(n) for n in sorted(members))
    text = "".join([*lines, f"group all-of-them {threshold} {group}\n", "quorum all-of-them\n"])
    policy = parse_tlog_policy(text.encode())
    policy = policy.without([ed25519_key("other", witnesses[n].verifier.key) for n in revoked])
    checkpoint = open_checkpoint(log.checkpoint(), [log.key], log.origin)
    note = checkpoint.note
    for n in sorted(cosigners):
        note += cosign(checkpoint, witnesses[n], 5).line.encode()
    signed = open_checkpoint(note, [log.key], log.origin)
    own_key = log_key(log.origin, witnesses[own].verifier.spki)
    counts = (members & cosigners) - revoked - {own}
    if len(counts) >= threshold:
        assert len(verify_quorum(signed, policy, [own_key])) == len(counts)
        return
    with pytest.raises(RefusedError) as caught:
        verify_quorum(signed, policy, [own_key])
    assert caught.value.reason == "quorum"


def test_a_log_is_not_its_own_witness() -> None:
    log = SimulatedLog()
    log.grow(3)
    signer = log.signer
    checkpoint = open_checkpoint(log.checkpoint(), [log.key], log.origin)
    note = checkpoint.note + cosign(checkpoint, signer, 5).line.encode()
    signed = open_checkpoint(note, [log.key], log.origin)
    policy = parse_tlog_policy(f"witness w {cosigner_key(signer).vkey}\nquorum w\n".encode())
    with pytest.raises(RefusedError, match="cosigned by nobody"):
        verify_quorum(signed, policy)
    assert quorum_time([signed], policy.without([log.key])) is None
