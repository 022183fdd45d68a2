"""What is posted to a Rekor v2 log: a digest, a signature over it, a key.

    parse_request   as lenient as Go's protojson, because clients are that varied
    verify_request  as strict as the log has to be before it keeps something for ever
    canonical_body  the bytes that become the leaf; the same for every spelling

No certificate chain, window or identity is checked: a log records, it does not judge.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

from appliance.errors import MalformedError, SignatureError
from appliance.rekor.canonical_json import canonical_json
from appliance.rekor.protojson import Message, top_message
from appliance.rekor.signing_algorithms import (
    BY_KEY_DETAILS,
    BY_NUMBER,
    PROTOBUF_NAMES,
    check_digest_length,
    natural_algorithm,
    verify_digest_signature,
)
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.rekor.x509_certificate import load_certificate
from appliance.tlog.note_keys import load_spki
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
_REQUEST: Final = "hashedRekordRequestV002"
_DSSE_REQUEST: Final = "dsseRequestV002"
# What a request to an identity log of rekor-tiles has; no server answers it so far.
_IDENTITY_REQUEST: Final = ("publicKey", "message")


@frozen
class HashedRekordRequest:
    """One request. Nothing is verified until verify_request says so."""

    digest: bytes
    signature: bytes  # as the key makes it: ECDSA in DER
    verifier: VerifierMaterial  # key_details is a name of the table, or unknown

    @property
    def canonical_body(self) -> bytes:
        """The log entry it becomes; only for a request that verified."""
        algorithm = BY_KEY_DETAILS[self.verifier.key_details].digest
        data = {"algorithm": PROTOBUF_NAMES[algorithm], "digest": _base64(self.digest)}
        spec = {"hashedRekordV002": {"data": data, "signature": self._signature_json()}}
        return canonical_json({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": spec})

    @property
    def json(self) -> bytes:
        """The request in the one spelling we post."""
        request = {"digest": _base64(self.digest), "signature": self._signature_json()}
        return json.dumps({_REQUEST: request}, separators=(",", ":")).encode("ascii")

    def _signature_json(self) -> dict[str, Any]:
        member = "x509Certificate" if self.verifier.is_certificate else "publicKey"
        verifier = {
            member: {"rawBytes": _base64(self.verifier.der)},
            "keyDetails": self.verifier.key_details,
        }
        return {"content": _base64(self.signature), "verifier": verifier}


def parse_request(raw: bytes) -> HashedRekordRequest:
    """Parse the body of a POST; what follows its first JSON value is ignored.

    Raises MalformedError: reason malformed if it is no such message at all, invalid-type
    if it asks for something else than a hashedrekord, invalid-request if a part is
    missing; LimitError if it is over 4 MiB.
    """
    value = parse_json(raw, "request", MAX_REQUEST_BYTES, trailing=True) if raw.strip() else {}
    top = top_message(value, "request", lenient=True)
    if all(top.get(name) is not None for name in _IDENTITY_REQUEST):
        raise MalformedError(
            "request: an identity entry; this log takes hashedrekord alone", reason="invalid-type"
        )
    top.refuse_unknown({_REQUEST, _DSSE_REQUEST})
    request = top.message(_REQUEST)
    if request is not None and top.get(_DSSE_REQUEST) is not None:
        raise MalformedError(f"request: both {_REQUEST} and {_DSSE_REQUEST} are given")
    if request is None:
        raise MalformedError("request: invalid type, must be hashedrekord", reason="invalid-type")
    request.refuse_unknown({"digest", "signature"})
    digest, signature = request.binary("digest"), request.message("signature")
    content = b""
    material = VerifierMaterial(b"", is_certificate=False)
    if signature is not None:
        signature.refuse_unknown({"content", "verifier"})
        content = signature.binary("content")
        verifier = signature.message("verifier")
        if verifier is not None:
            material = _parse_verifier(verifier)
    if not (digest and content and material.der):
        raise MalformedError(
            "request: signature, verifier and digest must all be given", reason="invalid-request"
        )
    return HashedRekordRequest(digest, content, material)


def _parse_verifier(verifier: Message) -> VerifierMaterial:
    verifier.refuse_unknown({"publicKey", "x509Certificate", "keyDetails"})
    key, certificate = verifier.message("publicKey"), verifier.message("x509Certificate")
    if key is not None and certificate is not None:
        raise MalformedError(f"{verifier.path}: both publicKey and x509Certificate are given")
    der = b""
    for material in (key, certificate):
        if material is not None:
            material.refuse_unknown({"rawBytes"})
            der = material.binary("rawBytes")
    return VerifierMaterial(der, certificate is not None, _key_details(verifier))


def _key_details(verifier: Message) -> str:
    value = verifier.get("keyDetails")
    if type(value) is int:
        return BY_NUMBER[value].key_details if value in BY_NUMBER else str(value)
    return verifier.text("keyDetails")


def verify_request(request: HashedRekordRequest) -> None:
    """Check a request as the log must before it becomes an entry.

    Key and certificate parse, keyDetails names exactly what the key is, the digest has
    that algorithm's length, the signature verifies. Raises VerificationError, with reason
    key-details, malformed or bad-signature; RefusedError (unsupported-key) if the key is of
    no supported kind.
    """
    key = load_material_key(request.verifier)
    algorithm = natural_algorithm(key)
    if request.verifier.key_details != algorithm.key_details:
        raise SignatureError(
            f"request: keyDetails: expected {algorithm.key_details} for this key, "
            f"got {request.verifier.key_details[:80]!r}",
            reason="key-details",
        )
    check_digest_length(algorithm.digest, request.digest)
    verify_digest_signature(key, algorithm.digest, request.digest, request.signature)


def build_request(
    digest: bytes, signature: bytes, der: bytes, *, is_certificate: bool = False
) -> HashedRekordRequest:
    """Make and verify a request; `der` is a SubjectPublicKeyInfo or a certificate.

    Raises as verify_request does: what a log would refuse is refused here.
    """
    key = load_material_key(VerifierMaterial(der, is_certificate))
    details = natural_algorithm(key).key_details
    request = HashedRekordRequest(digest, signature, VerifierMaterial(der, is_certificate, details))
    verify_request(request)
    return request


def load_material_key(material: VerifierMaterial) -> PublicKeyTypes:
    """Load the public key of a key or certificate; raises MalformedError if there is none."""
    if not material.is_certificate:
        return load_spki(material.der)
    return load_certificate(
        material.der, "request: x509Certificate", with_extensions=False
    ).public_key()


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")
