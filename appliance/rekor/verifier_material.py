"""The key or certificate that a log entry, or a request, says signed it.

Rekor v1 writes base64 of PEM, v2 base64 of DER. Both become DER here, so that "our key"
and "the entry's key" compare as bytes. Nothing is verified and no certificate is parsed.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Final

from appliance.errors import MalformedError
from appliance.rekor.protojson import Message
from appliance.tlog.note_keys import same_key
from appliance.tlog.strict_base64 import decode_base64
from appliance.value import frozen

_PEM_LABELS: Final = {"CERTIFICATE": True, "PUBLIC KEY": False}
_BEGIN_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_END_CERTIFICATE: Final = b"-----END CERTIFICATE-----"


@frozen
class VerifierMaterial:
    """What an entry's signature verifies under."""

    der: bytes  # certificate, or SubjectPublicKeyInfo
    is_certificate: bool
    key_details: str = ""  # PublicKeyDetails name; empty in v1 entries

    def same_key(self, der: bytes, *, is_certificate: bool) -> bool:
        """Whether this is exactly that certificate or key."""
        if is_certificate or self.is_certificate:
            return is_certificate and self.is_certificate and self.der == der
        return same_key(self.der, der)


def parse_entry_material(pem: bytes, path: str) -> VerifierMaterial:
    """Parse the PEM inside an entry that a v1 log holds.

    A signer may have sent the issuers too; the first certificate is the signer's. Raises as
    parse_pem_material does.
    """
    first, end, issuers = pem.partition(_END_CERTIFICATE)
    if end and issuers.strip().startswith(_BEGIN_CERTIFICATE):
        pem = first + end
    return parse_pem_material(pem, path)


def parse_pem_material(pem: bytes, path: str) -> VerifierMaterial:
    """Parse the PEM inside a v1 request; raises MalformedError unless it is one block we know."""
    try:
        first, *body, last = pem.decode("ascii").replace("\r\n", "\n").strip("\n").split("\n")
    except ValueError as error:
        raise MalformedError(f"{path}: not PEM: {pem[:40]!r}") from error
    label = first.removeprefix("-----BEGIN ").removesuffix("-----")
    if (
        label not in _PEM_LABELS
        or first != f"-----BEGIN {label}-----"
        or last != f"-----END {label}-----"
    ):
        raise MalformedError(f"{path}: expected one PEM certificate or public key: {first[:80]!r}")
    return VerifierMaterial(decode_base64("".join(body), path), _PEM_LABELS[label])


def parse_v2_material(verifier: Message) -> VerifierMaterial:
    """Parse a v2 Verifier message: a public key or an X.509 certificate, and its keyDetails."""
    member = verifier.only_of("publicKey", "x509Certificate")
    der = verifier.required_message(member).required_binary("rawBytes")
    return VerifierMaterial(der, member == "x509Certificate", verifier.required_text("keyDetails"))


def pem_text(der: bytes, *, is_certificate: bool) -> str:
    """Return a certificate or public key as PEM (RFC 7468)."""
    label = "CERTIFICATE" if is_certificate else "PUBLIC KEY"
    text = b64encode(der).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
