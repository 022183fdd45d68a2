"""What an entry's body says, read for finding: digests, signers, identities.

The bodies of Rekor v1 and v2 that `parse_entry` knows. A fast reader takes the fields from
where they always stand; on any surprise the strict parser decides. What neither reads is
`unread`, with the reason, so that nobody takes it for searched. Nothing here is verified.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from appliance.errors import LimitError, MalformedError
from appliance.rekor.certificate_facts import CertificateFacts, key_digests, read_certificate
from appliance.rekor.entry import MAX_SIGNATURES, Dsse, HashedRekord, parse_entry
from appliance.rekor.signing_algorithms import DIGEST_BYTES, PROTOBUF_DIGESTS
from appliance.rekor.verifier_material import parse_pem_material

NO_ENTRY: Final = "no Rekor entry"
_BASE64: Final = rb'([A-Za-z0-9+/]*={0,2})"'
_DIGEST: Final = rb'\{"algorithm":"([A-Z0-9_]+)","digest":"' + _BASE64 + rb"\}"
_SIGNATURE: Final = (
    rb'\{"content":"[A-Za-z0-9+/=]*","verifier":\{"keyDetails":"[A-Z0-9_]+",'
    rb'"(publicKey|x509Certificate)":\{"rawBytes":"([^"]*)"\}\}\}'  # base64, as is seen then
)
_BODY: Final = rb'\{"apiVersion":"0\.0\.2","kind":"%b","spec":%b\}'
# How a log of Rekor v2 writes them (RFC 8785, every name once), with one signature.
_CANONICAL: Final = tuple(
    (f"{kind} 0.0.2", re.compile(_BODY % (kind.encode(), spec)))
    for kind, spec in (
        (
            "hashedrekord",
            rb'\{"hashedRekordV002":\{"data":%b,"signature":%b\}\}' % (_DIGEST, _SIGNATURE),
        ),
        (
            "dsse",
            rb'\{"dsseV002":\{"payloadHash":%b,"signatures":\[%b\]\}\}' % (_DIGEST, _SIGNATURE),
        ),
    )
)


class SignerFacts(NamedTuple):
    """One signature's key or certificate."""

    fingerprint: bytes  # SHA-256 of the DER that stands in the entry
    keys: tuple[bytes, ...]  # SHA-256 of the public key's DER, in each of its spellings
    certificate: CertificateFacts | None  # None: a bare key, or a certificate nobody can read
    is_certificate: bool
    der: bytes  # of the key or certificate, as it stands in the entry


class EntryFacts(NamedTuple):
    """What one entry says."""

    kind: str  # with its version: "hashedrekord 0.0.2"
    digests: tuple[tuple[str, bytes], ...]  # algorithm and value: of the artifact or the payload
    signers: tuple[SignerFacts, ...]
    unread: tuple[str, ...] = ()  # what of it could not be read; empty: all was


class _SurpriseError(Exception):
    """The body is not as bodies of its kind always are."""


def read_entry(body: bytes) -> EntryFacts:
    """Read a log entry's body. Never raises: a log can hold anything."""
    try:
        kind, digest, materials = _fast(body)
    except (_SurpriseError, ValueError, KeyError, TypeError, RecursionError, MalformedError):
        return _strict(body)
    return _facts(kind, (digest,), materials)


def _facts(
    kind: str, digests: tuple[tuple[str, bytes], ...], materials: Sequence[tuple[bytes, bool]]
) -> EntryFacts:
    signers, unread = [], []
    for number, (der, is_certificate) in enumerate(materials, 1):
        fingerprint = sha256(der).digest()
        if not is_certificate:
            signers.append(SignerFacts(fingerprint, key_digests(der), None, False, der))
            continue
        try:
            facts = read_certificate(der)
        except MalformedError as error:
            signers.append(SignerFacts(fingerprint, (), None, True, der))
            unread.append(f"signer {number}: {error.message}")
        else:
            signers.append(SignerFacts(fingerprint, facts.keys, facts, True, der))
    return EntryFacts(kind, digests, tuple(signers), tuple(unread))


def _strict(body: bytes) -> EntryFacts:
    try:
        entry = parse_entry(body)
    except (MalformedError, LimitError) as error:
        return EntryFacts(NO_ENTRY, (), (), (error.message,))
    kind = f"{entry.kind} {entry.version}"
    if not isinstance(entry, HashedRekord | Dsse):
        return EntryFacts(kind, (), (), ("entries of this kind are not read",))
    digest = entry.data if isinstance(entry, HashedRekord) else entry.payload
    materials = [
        (signature.verifier.der, signature.verifier.is_certificate)
        for signature in entry.signatures
    ]
    return _facts(kind, ((digest.algorithm, digest.value),), materials)


def _fast(body: bytes) -> tuple[str, tuple[str, bytes], list[tuple[bytes, bool]]]:
    for kind, canonical in _CANONICAL:
        found = canonical.fullmatch(body)
        if found is not None:
            algorithm, digest, material, raw = found.groups()
            value = _whole(
                PROTOBUF_DIGESTS[algorithm.decode()], a2b_base64(digest, strict_mode=True)
            )
            return (
                kind,
                value,
                [(a2b_base64(raw, strict_mode=True), material == b"x509Certificate")],
            )
    entry = _DECODER.decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    kind, spec = f"{entry['kind']} {entry['apiVersion']}", entry["spec"]
    if kind == "hashedrekord 0.0.2":
        spec = spec["hashedRekordV002"]
        return kind, _digest(spec["data"]), [_verifier(spec["signature"])]
    if kind == "dsse 0.0.2":
        spec = spec["dsseV002"]
        return kind, _digest(spec["payloadHash"]), _several(spec["signatures"], _verifier)
    if kind == "hashedrekord 0.0.1":
        signer = _pem(spec["signature"]["publicKey"]["content"])
        return kind, _hex_digest(spec["data"]["hash"]), [signer]
    if kind == "dsse 0.0.1":
        signers = _several(spec["signatures"], lambda one: _pem(one["verifier"]))
        return kind, _hex_digest(spec["payloadHash"]), signers
    if kind == "intoto 0.0.2":
        content = spec["content"]
        found = content["envelope"]["signatures"]
        signers = _several(found, lambda one: _pem(one["publicKey"]))
        return kind, _hex_digest(content["payloadHash"]), signers
    raise _SurpriseError


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its fields: with one of them twice, two readers would differ."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _SurpriseError
    return found


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_once)


def _several(signatures: Any, read: Any) -> list[tuple[bytes, bool]]:
    if type(signatures) is not list or not 1 <= len(signatures) <= MAX_SIGNATURES:
        raise _SurpriseError
    return [read(signature) for signature in signatures]


def _verifier(signature: Any) -> tuple[bytes, bool]:
    verifier = signature["verifier"]
    certificate, key = verifier.get("x509Certificate"), verifier.get("publicKey")
    if (certificate is None) == (key is None):
        raise _SurpriseError
    return _base64((certificate or key)["rawBytes"]), certificate is not None


def _pem(encoded: Any) -> tuple[bytes, bool]:
    material = parse_pem_material(_base64(encoded), "signer")
    return material.der, material.is_certificate


def _digest(message: Any) -> tuple[str, bytes]:
    algorithm = PROTOBUF_DIGESTS[message["algorithm"]]
    return _whole(algorithm, _base64(message["digest"]))


def _hex_digest(message: Any) -> tuple[str, bytes]:
    return _whole(message["algorithm"], bytes.fromhex(message["value"]))


def _whole(algorithm: str, value: bytes) -> tuple[str, bytes]:
    if len(value) != DIGEST_BYTES[algorithm]:
        raise _SurpriseError
    return algorithm, value


def _base64(text: Any) -> bytes:
    if type(text) is not str:
        raise _SurpriseError
    try:
        return b64decode(text, validate=True)
    except Base64Error as error:
        raise _SurpriseError from error
