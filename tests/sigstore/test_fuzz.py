"""Seeded fuzzing: bytes flipped and structure shuffled, in everything foreign we read.

Nothing but a typed error may come out, and what still verifies must say what it said. The
ordinary run makes 20,000 inputs; ATTESTOR_FUZZ_RUNS=1000000 makes a million.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
import time
import tracemalloc
from base64 import b64decode
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from hashlib import sha256
from typing import Any, Final

import pytest

from appliance.errors import ApplianceError, IncompleteError, RefusedError, VerificationError
from appliance.rekor.entry import HashedRekord, parse_entry
from appliance.rekor.request import build_request, parse_request, verify_request
from appliance.sigstore.attestation_files import parse_attestation_file
from appliance.sigstore.dsse import DsseEnvelope
from appliance.sigstore.file_kinds import describe_file
from appliance.sigstore.sigstore_bundle import (
    MessageSignature,
    SigstoreBundle,
    parse_sigstore_bundle,
)
from appliance.sigstore.timestamps import verify_stamp
from appliance.sigstore.trusted_root import TrustedRoot, parse_trusted_root, parse_trusted_roots
from appliance.sigstore.verification import judge_bundle
from appliance.tlog.checkpoint import open_checkpoint
from appliance.value import replaced
from tests.pki.authorities import NOON, spki
from tests.pki.bundles import ARTIFACT, EXPECTED, Instance, digests, pem
from tests.pki.der import in_ber

RUNS: Final = int(os.environ.get("ATTESTOR_FUZZ_RUNS", "20000"))
SEED: Final = 20260101
SECONDS_EACH: Final = 1.0
BYTES_EACH: Final = 64 * 1024 * 1024
TARGETS: Final = (
    "keyless-v2",
    "keyless-v1",
    "attestation",
    "trusted root",
    "note",
    "stamp",
    "stamp in BER",
    "attestation file",
    "trusted roots",
    "any file",
    "request",
)
LINES: Final = ("attestation file", "trusted roots")
OF_MANY: Final = ("any file", *LINES)
TYPED: Final = (VerificationError, RefusedError, IncompleteError)

MADE = Instance()
STRANGE: Final[tuple[Any, ...]] = (
    *(None, True, 0, -1, 1.5, 2**63, 10**40, "", "x", "0", "-1", "=", "AAAA", "\x00", "\u2028"),
    *([], {}, [None], [[]], {"x": {}}, [0] * 70, "A" * 4096),
)


def bundle_bytes(which: str) -> bytes:
    make: dict[str, Callable[[], dict[str, Any]]] = {
        "keyless-v2": MADE.v2_bundle,
        "keyless-v1": MADE.v1_bundle,
        "attestation": lambda: MADE.v2_bundle(MADE.sign_statement()),
    }
    return json.dumps(make[which]()).encode()


def flipped(raw: bytes, chance: random.Random) -> bytes:
    """Change, insert, drop or repeat a few bytes."""
    data = bytearray(raw)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        position = chance.randrange(len(data))
        length = chance.choice((1, 1, 2, 16))
        kind = chance.randrange(5)
        if kind == 0:
            data[position] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[position] = chance.randrange(256)
        elif kind == 2:
            del data[position : position + length]
        elif kind == 3:
            data[position:position] = data[position : position + length]
        else:
            data[position:position] = chance.randbytes(length)
        if not data:
            break
    return bytes(data)


def nodes(value: Any) -> list[tuple[Any, Any]]:
    """List every place in a JSON value, as (container, key)."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            found += [(value, key), *nodes(value[key])]
    return found


def shuffled(raw: bytes, chance: random.Random) -> bytes:
    """Replace, drop, swap or repeat parts of a JSON value; flip bytes inside its base64."""
    value = json.loads(raw)
    for _ in range(chance.choice((1, 1, 2))):
        places = nodes(value)
        if not places:
            break
        container, key = chance.choice(places)
        kind = chance.randrange(5)
        if kind == 0:
            container[key] = copy.deepcopy(chance.choice(STRANGE))
        elif kind == 1:
            del container[key]
        elif kind == 2:
            other, other_key = chance.choice(places)
            container[key] = copy.deepcopy(other[other_key])
        elif kind == 3 and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        elif isinstance(container[key], str) and container[key]:
            text = container[key]
            position = chance.randrange(len(text))
            container[key] = text[:position] + chance.choice("AZaz09+/=") + text[position + 1 :]
    return json.dumps(value).encode()


def authenticated(bundle: SigstoreBundle, *, with_proof: bool = True) -> SigstoreBundle:
    """Leave out what nobody signed.

    Those are the version, which only says what must be there, hints, a v2 entry's time,
    unsigned parts of stamps, a v1 signature line's name, and, in a bundle 0.1, a proof that
    leads to no checkpoint.
    """
    content = bundle.content
    if isinstance(content, MessageSignature):
        content = replaced(content, digest=None)
    else:
        assert isinstance(content, DsseEnvelope)
        content = replaced(content, key_id="")
    entry = bundle.log_entry
    assert entry is not None
    if entry.inclusion_promise is None:
        entry = replaced(entry, integrated_time=0)
    proof = entry.inclusion_proof
    if proof is not None:
        text = proof.checkpoint.rpartition("\n\n")[0]
        proof = replaced(proof, checkpoint=text) if with_proof else None
    entry = replaced(entry, inclusion_proof=proof)
    return replaced(bundle, version="", content=content, log_entries=(entry,), stamps=())


def respelled(value: Any) -> Any:
    """Write names in snake_case, base64 URL-safe and without padding, as protojson reads them."""
    if isinstance(value, dict):
        return {
            re.sub("[A-Z]", lambda letter: "_" + letter.group().lower(), name): respelled(one)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [respelled(one) for one in value]
    if isinstance(value, str) and len(value) > 60 and re.fullmatch("[A-Za-z0-9+/]+=*", value):
        return value.rstrip("=").replace("+", "-").replace("/", "_")
    return value


def changed_line(raw: bytes, chance: random.Random) -> bytes:
    """Change one of several lines of JSON, or the whole as bytes."""
    if chance.randrange(2):
        return flipped(raw, chance)
    lines = raw.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    lines[at] = shuffled(lines[at], chance) + b"\n"
    return b"".join(lines)


@cache
def kinds_of_files() -> tuple[bytes, ...]:
    """Return one file of every kind that `inspect` knows."""
    signed = MADE.sign_statement()
    stamp = MADE.timestamp_authority.stamp(b"x")
    note = MADE.v2_bundle()["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    text = note["checkpoint"]["envelope"]
    proof = f"c2sp.org/tlog-proof@v1\nindex 0\n{'A' * 43}=\n\n{text}"
    return (
        json.dumps(MADE.v2_bundle(signed)).encode(),
        json.dumps(MADE.v1_bundle()).encode(),
        root_bytes(),
        signed.payload or b"",
        json.dumps(MADE.v2_bundle(signed)["dsseEnvelope"]).encode(),
        text.encode(),
        proof.encode(),
        stamp,
        in_ber(stamp),
        signed.der,
        pem("CERTIFICATE", signed.der),
        pem("PUBLIC KEY", spki(signed.key)),
        spki(signed.key),
        MADE.v2_log.key.verifier.vkey.encode(),
        b'{"signed": {"_type": "root", "version": 1, "expires": "2030"}, "signatures": []}',
        b'{"base64Signature": "AAAA", "cert": "AAAA", "rekorBundle": {}}',
    )


def root_bytes() -> bytes:
    return json.dumps(MADE.root()).encode()


class Target:
    """Something to throw input at: bytes in, True if they were accepted."""

    def __init__(self, which: str) -> None:
        self.which = which
        self.root: TrustedRoot = parse_trusted_root(root_bytes())
        if which == "trusted root":
            self.raw = root_bytes()
            self.bundle = parse_sigstore_bundle(bundle_bytes("keyless-v2"))
        elif which == "note":
            self.raw = MADE.v2_bundle()["verificationMaterial"]["tlogEntries"][0]["inclusionProof"][
                "checkpoint"
            ]["envelope"].encode()
            self.opened = self._open(self.raw)
        elif which == "request":
            signed = MADE.sign_artifact()
            digest = sha256(ARTIFACT).digest()
            request = build_request(digest, signed.signature, signed.der, is_certificate=True)
            self.raw = request.json
        elif which.startswith("stamp"):
            authority = MADE.timestamp_authority
            self.raw = authority.stamp(b"signature", embedded=list(authority.chain))
            if which == "stamp in BER":
                self.raw = in_ber(self.raw, chunk=40)
        elif which == "attestation file":
            bundles = [MADE.v2_bundle(), MADE.v1_bundle(), MADE.v2_bundle(MADE.sign_statement())]
            bundles[0] = respelled(bundles[0])
            self.raw = b"\r\n".join(json.dumps(one).encode() for one in bundles) + b"\n"
            self.known = parse_attestation_file(self.raw)
        elif which == "trusted roots":
            self.raw = json.dumps(respelled(Instance().root())).encode() + b"\n" + root_bytes()
            self.bundle = parse_sigstore_bundle(bundle_bytes("keyless-v2"))
        elif which == "any file":
            self.raw = b""
        else:
            self.raw = bundle_bytes(which)
            self.bundle = parse_sigstore_bundle(self.raw)

    def _open(self, raw: bytes) -> str:
        key = MADE.v2_log.key.verifier
        return str(open_checkpoint(raw, [key], key.name).checkpoint)

    def accepts(self, raw: bytes) -> bool:
        """Read one input; only typed errors may escape, and a wrong yes is a failure."""
        if self.which == "trusted root":
            root = parse_trusted_root(raw)
            judge_bundle(self.bundle, digests(), EXPECTED, root)
        elif self.which == "note":
            assert self._open(raw) == self.opened
        elif self.which == "request":
            request = parse_request(raw)
            verify_request(request)
            assert isinstance(parse_entry(request.canonical_body), HashedRekord)
        elif self.which == "attestation file":
            for bundle in parse_attestation_file(raw):
                # What was not touched is judged in the first call alone.
                if bundle in self.known and raw is not self.raw:
                    continue
                if judge_bundle(bundle, digests(), EXPECTED, self.root).verified:
                    has_proof = bundle.version != "0.1"
                    assert authenticated(bundle, with_proof=has_proof) in [
                        authenticated(one, with_proof=has_proof) for one in self.known
                    ]
        elif self.which == "trusted roots":
            for root in parse_trusted_roots(raw):
                judge_bundle(self.bundle, digests(), EXPECTED, root)
        elif self.which == "any file":
            # The last one is refused by name: an old bundle of cosign.
            for kind in (raw,) if raw else kinds_of_files()[:-1]:
                assert describe_file(kind).kind
        elif self.which.startswith("stamp"):
            stamp = verify_stamp(raw, b"signature", self.root.timestamp_authorities)
            assert stamp.time == NOON + timedelta(minutes=1)
        else:
            bundle = parse_sigstore_bundle(raw)
            if not judge_bundle(bundle, digests(), EXPECTED, self.root).verified:
                return False
            assert bundle.log_entry is not None
            proof = bundle.log_entry.inclusion_proof
            has_proof = bundle.version != "0.1" or (proof is not None and bool(proof.checkpoint))
            assert authenticated(bundle, with_proof=has_proof) == authenticated(
                self.bundle, with_proof=has_proof
            )
        return True


@pytest.mark.slow
@pytest.mark.parametrize("which", TARGETS)
def test_nothing_but_typed_errors_and_no_wrong_yes(which: str) -> None:
    chance = random.Random(f"{SEED} {which}")  # noqa: S311 - repeatable, not secret
    target = Target(which)
    assert target.accepts(target.raw)
    has_structure = which not in ("note", "stamp", "stamp in BER", *OF_MANY)
    slowest = 0.0
    files = kinds_of_files()
    for run in range(RUNS // len(TARGETS)):
        change = shuffled if has_structure and run % 2 else flipped
        if which in LINES:
            raw = changed_line(target.raw, chance)
        else:
            raw = change(files[run % len(files)] if which == "any file" else target.raw, chance)
        started = time.process_time()
        try:
            target.accepts(raw)
        except TYPED:
            pass
        except BaseException as error:
            error.add_note(f"run {run}, input {raw!r}")
            raise
        slowest = max(slowest, time.process_time() - started)
    assert slowest < SECONDS_EACH


DEEP: Final = 100_000
BOMBS: Final[dict[str, bytes]] = {
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "many values": b"[" + b"0," * 1_000_000 + b"0]",
    "many objects": b"[" + b"{}," * 1_000_000 + b"{}]",
    "many keys": b"{" + b",".join(b'"%d":0' % one for one in range(200_000)) + b"}",
    "one key repeated": b"{" + b",".join([b'"a":0'] * 200_000) + b"}",
    "a repeated last key": b"{" + b",".join(b'"%d":0' % one for one in range(200_000)) + b',"1":0}',
    "a long number": b"1" * 1_000_000,
    "a long fraction": b"0." + b"1" * 1_000_000,
    "a long string": b'"' + b"a" * 8_000_000 + b'"',
    "one wide character": b'["' + "\U0001f600".encode() + b"a" * 7_900_000 + b'"]',
    "escapes": b'"' + b"\\u0041" * 1_000_000 + b'"',
    "too large": b" " * 9_000_000,
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_bomb_is_refused_at_once(name: str) -> None:
    for parse in (parse_sigstore_bundle, parse_trusted_root):
        started = time.process_time()
        with pytest.raises(ApplianceError):
            parse(BOMBS[name])
        assert time.process_time() - started < SECONDS_EACH


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_bomb_takes_little_memory(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ApplianceError):
            parse_sigstore_bundle(BOMBS[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < BYTES_EACH


def test_a_statement_may_be_a_bomb_as_well() -> None:
    bundle = MADE.v2_bundle(MADE.sign_statement())
    payload = json.loads(b64decode(bundle["dsseEnvelope"]["payload"]))
    assert payload["predicate"] == {}
    for depth, is_good in ((50, True), (100, False)):
        deep: Any = 0
        for _ in range(depth):
            deep = [deep]
        made = MADE.v2_bundle(MADE.sign_statement({**payload, "predicate": deep}))
        parsed = parse_sigstore_bundle(json.dumps(made).encode())
        root = parse_trusted_root(root_bytes())
        assert judge_bundle(parsed, digests(), EXPECTED, root).verified is is_good
