"""Damaged inputs by the ten thousand: a parser returns its one spelling or a typed error.

Each input is a good one, mutated a few times: bits, bytes, pieces moved,
doubled and dropped, tokens of the format put in. Seeds are fixed, so a failure repeats;
set FUZZ_INPUTS in the environment for a longer run.
"""

from __future__ import annotations

import os
import random
import time
from base64 import b64encode
from collections.abc import Callable, Sequence

import pytest

from appliance.errors import LimitError, MalformedError, VerificationError
from appliance.tlog.checkpoint import open_checkpoint, parse_checkpoint
from appliance.tlog.cosignature import cosign, cosigner_key, open_cosignatures
from appliance.tlog.entries import format_entry_bundle, parse_entry_bundle
from appliance.tlog.note import SigningKey, add_signatures, parse_note, parse_signing_key
from appliance.tlog.note_keys import parse_vkey
from appliance.tlog.strict_json import parse_json
from appliance.tlog.tile import EntryBundle, parse_entry_bundle_path, parse_tile_path
from appliance.tlog.tlog_policy import parse_tlog_policy
from appliance.tlog.tlog_proof import TlogProof, parse_tlog_proof
from tests.simulator import SimulatedLog

INPUTS = int(os.environ.get("FUZZ_INPUTS", "10000"))
LONGEST_SECONDS = 1.0  # for one input
WITNESS = SigningKey("witness.example", b"w" * 32)
LOG = SimulatedLog()
LOG.grow(20)
NOTE = LOG.checkpoint() + WITNESS.sign("x\n").line.encode()
VKEYS = [LOG.key.vkey, cosigner_key(WITNESS).vkey]
TOKENS = [
    *[b"\n", b"\n\n", b" ", b"\t", b"\r", b"\0", b"+", b"=", b"==", b"0", b"-", b"_", b"x", b"#"],
    *["\u2014 ".encode(), "\u0661".encode(), "\u2028".encode(), b"\xff", b"\x80", b"\xed\xa0\x80"],
    *[b"99999999999999999999", b"18446744073709551616", b"00", b".p/", b"000", b"/", b"entries"],
    *[b"index ", b"extra ", b"quorum none\n", b"group g any ", b"witness ", b"log ", b"none"],
    *[b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\ud800", b"1e999", b"NaN", b"A" * 44],
    *[VKEYS[0].encode(), NOTE],
]


def mutated(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """Return one of the seeds, changed in one to four places."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(data))
        until = min(len(data), at + chance.choice([1, 1, 2, 8, 40]))
        match chance.randrange(7):
            case 0:
                data[at:until] = bytes(byte ^ (1 << chance.randrange(8)) for byte in data[at:until])
            case 1:
                data[at:until] = b""
            case 2:
                data[at:at] = chance.choice(TOKENS)
            case 3:
                data[at:until] = chance.choice(TOKENS)
            case 4:
                data[at:at] = data[at:until] * chance.choice([1, 2, 200])
            case 5:
                data[at:] = b""
            case _:
                other = chance.choice(seeds)
                data[at:] = other[chance.randint(0, len(other)) :]
    return bytes(data)


def text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="surrogateescape")


def spell_note(raw: bytes) -> bytes:
    note = parse_note(raw)
    return add_signatures(note.text, note.signatures)


def spell_policy(raw: bytes) -> bytes:
    policy = parse_tlog_policy(raw)
    policy.quorum_met(policy.witness_keys)
    return raw


def spell_json(raw: bytes) -> bytes:
    parse_json(raw)
    return raw


POLICY = (
    f"# policy\nlog {VKEYS[0]} https://log.example/\nwitness w {VKEYS[1]}\ngroup g 1 w\nquorum g\n"
)
ENTRIES = [b"one", b"", b"three" * 20]
PARSERS: dict[str, tuple[Callable[[bytes], bytes], list[bytes]]] = {
    "note": (spell_note, [NOTE, LOG.checkpoint()]),
    "checkpoint": (
        lambda raw: str(parse_checkpoint(text(raw))).encode("utf-8", errors="surrogateescape"),
        [b"log.example\n7\n" + b64encode(bytes(32)) + b"\n", b"a\n0\n" + b64encode(bytes(32))],
    ),
    "verifier key": (lambda raw: parse_vkey(text(raw)).vkey.encode(), [v.encode() for v in VKEYS]),
    "signing key": (
        lambda raw: parse_signing_key(text(raw)).skey.encode(),
        [WITNESS.skey.encode()],
    ),
    "tile path": (
        lambda raw: parse_tile_path(text(raw)).path.encode(),
        [b"tile/0/000", b"tile/1/x001/234.p/5"],
    ),
    "entry bundle path": (
        lambda raw: parse_entry_bundle_path(text(raw)).path.encode(),
        [b"tile/entries/000", b"tile/entries/x001/234.p/5"],
    ),
    "entry bundle": (
        lambda raw: format_entry_bundle(parse_entry_bundle(raw, EntryBundle(0, 3))),
        [format_entry_bundle(ENTRIES), format_entry_bundle([b"", b"", b""])],
    ),
    "proof file": (
        lambda raw: bytes(parse_tlog_proof(raw)),
        [bytes(TlogProof(5, LOG.inclusion_proof(5), NOTE, extra)) for extra in (b"", b"extra")],
    ),
    "policy": (spell_policy, [POLICY.encode(), b"quorum none\n"]),
    "JSON": (spell_json, [b'{"a":[1,2.5,{"b":null}],"c":"\\u00e9\\ud83c\\udf32"}', b"[]", b'"x"']),
}


@pytest.mark.parametrize("name", PARSERS)
def test_a_damaged_input_is_read_in_its_one_spelling_or_is_a_typed_error(name: str) -> None:
    spell, seeds = PARSERS[name]
    chance = random.Random(name)  # noqa: S311
    parsed = 0
    for _ in range(INPUTS):
        raw = mutated(seeds, chance)
        began = time.process_time()
        try:
            assert spell(raw) == raw
            parsed += 1
        except (MalformedError, LimitError) as error:
            assert len(error.message) < 2000
        assert time.process_time() - began < LONGEST_SECONDS, raw[:200]
    assert parsed < INPUTS


def test_a_damaged_checkpoint_of_a_log_opens_only_to_what_the_log_signed() -> None:
    chance = random.Random("open")  # noqa: S311
    signed = open_checkpoint(LOG.checkpoint(), [LOG.key], LOG.origin)
    line = cosign(signed, WITNESS, 1_700_000_000).line.encode()
    seeds = [LOG.checkpoint() + line, LOG.checkpoint_at(7) + line]
    texts = {str(signed.checkpoint), parse_note(LOG.checkpoint_at(7)).text}
    opened = 0
    for _ in range(INPUTS):
        raw = mutated(seeds, chance)
        try:
            found = open_checkpoint(raw, [LOG.key], LOG.origin)
            cosignatures = open_cosignatures(found, [cosigner_key(WITNESS)])
        except (VerificationError, LimitError):
            continue
        opened += 1
        assert str(found.checkpoint) in texts
        if cosignatures:
            assert found.head == signed.head
            assert cosignatures[0].timestamp == 1_700_000_000
    assert opened
