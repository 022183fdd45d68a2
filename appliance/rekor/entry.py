"""The bodies that Rekor logs hold, v1 and v2 (docs/rekor.md).

Parsing says what an entry claims: which digest, which signature, which key. It verifies
none of it. A kind or version not listed here, or a spec under another name (servers of
early 2025 wrote hashedRekordV0_0_2), is opaque: the log holds many, and all are mirrored.
"""

from __future__ import annotations

from typing import Final

from appliance.errors import MalformedError
from appliance.rekor.protojson import Message, top_message
from appliance.rekor.signing_algorithms import (
    DIGEST_BYTES,
    PROTOBUF_DIGESTS,
    check_digest_length,
)
from appliance.rekor.verifier_material import (
    VerifierMaterial,
    parse_entry_material,
    parse_v2_material,
)
from appliance.tlog.strict_base64 import decode_base64
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

# What parse_entry reads; anything else is opaque.
READ_KINDS: Final = frozenset(
    {
        ("hashedrekord", "0.0.1"),
        ("hashedrekord", "0.0.2"),
        ("dsse", "0.0.1"),
        ("dsse", "0.0.2"),
        ("intoto", "0.0.2"),
    }
)
MAX_SIGNATURES: Final = 32  # in one entry; the v2 server takes 10


@frozen
class Digest:
    """A digest and what made it."""

    algorithm: str  # sha256, sha384 or sha512
    value: bytes

    def __post_init__(self) -> None:
        check_digest_length(self.algorithm, self.value)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value.hex()}"


@frozen
class EntrySignature:
    """One signature of an entry, with what it verifies under."""

    signature: bytes
    verifier: VerifierMaterial


@frozen
class HashedRekord:
    """hashedrekord 0.0.1 or 0.0.2: somebody signed a digest."""

    kind: str
    version: str
    data: Digest
    signatures: tuple[EntrySignature, ...]  # exactly one


@frozen
class Dsse:
    """dsse 0.0.1 or 0.0.2, or intoto 0.0.2: somebody signed a DSSE envelope.

    The envelope's own hash is not kept: it is over a spelling nobody can recreate.
    """

    kind: str
    version: str
    payload: Digest
    signatures: tuple[EntrySignature, ...]


@frozen
class OpaqueEntry:
    """An entry of a kind this code does not read."""

    kind: str
    version: str


Entry = HashedRekord | Dsse | OpaqueEntry


def parse_entry(body: bytes) -> Entry:
    """Parse a canonicalized body.

    Raises MalformedError or LimitError if it is not a Rekor entry, or is one of a known
    kind without its fields.
    """
    entry = top_message(parse_json(body, "log entry"), "entry")
    kind, version = entry.required_text("kind"), entry.required_text("apiVersion")
    spec = entry.required_message("spec")
    if (kind, version) == ("hashedrekord", "0.0.1"):
        return _hashedrekord_v1(spec)
    if (kind, version) == ("hashedrekord", "0.0.2") and spec.get("hashedRekordV002") is not None:
        return _hashedrekord_v2(spec.required_message("hashedRekordV002"))
    if (kind, version) == ("dsse", "0.0.1"):
        return _dsse_v1(spec)
    if (kind, version) == ("dsse", "0.0.2") and spec.get("dsseV002") is not None:
        return _dsse_v2(spec.required_message("dsseV002"))
    if (kind, version) == ("intoto", "0.0.2"):
        return _intoto(spec.required_message("content"))
    return OpaqueEntry(kind, version)


def _hashedrekord_v1(spec: Message) -> HashedRekord:
    data = _hex_digest(spec.required_message("data").required_message("hash"))
    signature = spec.required_message("signature")
    pem = signature.required_message("publicKey").required_binary("content")
    verifier = parse_entry_material(pem, f"{signature.path}.publicKey.content")
    signed = EntrySignature(signature.required_binary("content"), verifier)
    return HashedRekord("hashedrekord", "0.0.1", data, (signed,))


def _hashedrekord_v2(spec: Message) -> HashedRekord:
    data = _protobuf_digest(spec.required_message("data"))
    signed = _v2_signature(spec.required_message("signature"))
    return HashedRekord("hashedrekord", "0.0.2", data, (signed,))


def _dsse_v1(spec: Message) -> Dsse:
    signatures = tuple(
        EntrySignature(
            message.required_binary("signature"),
            parse_entry_material(message.required_binary("verifier"), f"{message.path}.verifier"),
        )
        for message in spec.messages("signatures", MAX_SIGNATURES)
    )
    payload = _hex_digest(spec.required_message("payloadHash"))
    return Dsse("dsse", "0.0.1", payload, signatures)


def _dsse_v2(spec: Message) -> Dsse:
    signatures = tuple(map(_v2_signature, spec.messages("signatures", MAX_SIGNATURES)))
    payload = _protobuf_digest(spec.required_message("payloadHash"))
    return Dsse("dsse", "0.0.2", payload, signatures)


def _intoto(content: Message) -> Dsse:
    envelope = content.required_message("envelope")
    signatures = tuple(
        EntrySignature(
            _base64_of_base64(message, "sig"),
            parse_entry_material(message.required_binary("publicKey"), f"{message.path}.publicKey"),
        )
        for message in envelope.messages("signatures", MAX_SIGNATURES)
    )
    payload = _hex_digest(content.required_message("payloadHash"))
    return Dsse("intoto", "0.0.2", payload, signatures)


def _base64_of_base64(message: Message, name: str) -> bytes:
    path = f"{message.path}.{name}"
    inner = message.required_binary(name)
    if not inner.isascii():
        raise MalformedError(f"{path}: expected base64 of base64")
    return decode_base64(inner.decode("ascii"), path)


def _v2_signature(message: Message) -> EntrySignature:
    verifier = parse_v2_material(message.required_message("verifier"))
    return EntrySignature(message.required_binary("content"), verifier)


def _hex_digest(message: Message) -> Digest:
    algorithm, value = message.required_text("algorithm"), message.required_text("value")
    try:
        raw = bytes.fromhex(value)
    except ValueError as error:
        raise MalformedError(f"{message.path}.value: not hex: {value[:80]!r}") from error
    if algorithm not in DIGEST_BYTES or raw.hex() != value:
        raise MalformedError(
            f"{message.path}: expected sha256, sha384 or sha512 in lower-case hex, "
            f"got {algorithm[:20]!r} {value[:80]!r}"
        )
    return Digest(algorithm, raw)


def _protobuf_digest(message: Message) -> Digest:
    name = message.required_text("algorithm")
    if name not in PROTOBUF_DIGESTS:
        raise MalformedError(
            f"{message.path}.algorithm: expected {', '.join(PROTOBUF_DIGESTS)}, got {name[:80]!r}"
        )
    return Digest(PROTOBUF_DIGESTS[name], message.required_binary("digest"))
