"""Signed certificate timestamps: a CT log promised to publish the certificate (RFC 6962 3.2).

One valid promise suffices. The log signed the certificate without this extension, and the
hash of its issuer's key; the issuer is taken from the path that was verified, never from
the bundle. Extensions of a timestamp (static CT logs have them) are signed, too. A promise
is made when its certificate is, so its time lies in the certificate's validity: a CT log
key that has retired cannot date back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from appliance.errors import LimitError, SignatureError
from appliance.sigstore.certificates import own_window
from appliance.sigstore.trusted_root import LogKey
from appliance.sigstore.validity import format_time
from appliance.tlog.note_keys import load_spki
from appliance.value import frozen

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from cryptography.x509.certificate_transparency import SignedCertificateTimestamp

MAX_SCTS: Final = 8
_CT_ISSUER: Final = "1.3.6.1.4.1.11129.2.4.4"  # extended key usage of a precertificate signer
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_START: Final = b"\x00\x00"  # version 1, signature of a certificate timestamp
_PRECERTIFICATE: Final = b"\x00\x01"


@frozen
class VerifiedSct:
    """A promise that verified."""

    log: LogKey
    time: datetime


def verify_scts(path: Sequence[Certificate], ct_logs: Sequence[LogKey]) -> VerifiedSct:
    """Return the first valid timestamp of the leaf of a verified path.

    Raises SignatureError: reason no-sct if there is none, unknown-ct-log, ct-log-window,
    sct-time or bad-sct for the first one that failed if none is valid; LimitError above 8.
    """
    scts = _embedded_scts(path[0])
    failures: list[SignatureError] = []
    for sct in scts:
        try:
            return _verify_sct(sct, path, ct_logs)
        except SignatureError as error:
            failures.append(error)
    if not failures:
        raise SignatureError(
            "signer's certificate has no signed certificate timestamp", reason="no-sct"
        )
    raise failures[0]


def _embedded_scts(leaf: Certificate) -> list[SignedCertificateTimestamp]:
    from cryptography.x509 import PrecertificateSignedCertificateTimestamps

    scts = [
        sct
        for extension in leaf.extensions
        if isinstance(extension.value, PrecertificateSignedCertificateTimestamps)
        for sct in extension.value
    ]
    if len(scts) > MAX_SCTS:
        raise LimitError(
            f"signer's certificate: expected at most {MAX_SCTS} timestamps, got {len(scts)}"
        )
    return scts


def _verify_sct(
    sct: SignedCertificateTimestamp, path: Sequence[Certificate], ct_logs: Sequence[LogKey]
) -> VerifiedSct:
    known = [log for log in ct_logs if log.log_id == sct.log_id]
    if not known:
        raise SignatureError(
            f"certificate timestamp by a log that is not in the trusted root: {sct.log_id.hex()}",
            reason="unknown-ct-log",
        )
    time = _time(sct)
    covering = [log for log in known if log.valid.contains(time)]
    if not covering:
        raise SignatureError(
            f"certificate timestamp of {format_time(time)} is outside the window of {known[0]}: "
            f"{known[0].valid}",
            reason="ct-log-window",
        )
    validity = own_window(path[0])
    if not validity.contains(time):
        raise SignatureError(
            f"certificate timestamp of {format_time(time)} is outside its certificate's validity: "
            f"{validity}",
            reason="sct-time",
        )
    message = _signed_struct(sct, time, path)
    for log in covering:
        if _signed(log, message, sct.signature):
            return VerifiedSct(log, time)
    raise SignatureError(
        f"certificate timestamp does not verify under the key of {covering[0]}", reason="bad-sct"
    )


def _time(sct: SignedCertificateTimestamp) -> datetime:
    try:
        return sct.timestamp.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise SignatureError(
            f"certificate timestamp: its time is none before the year 10000: {error}",
            reason="sct-time",
        ) from error


def _signed_struct(
    sct: SignedCertificateTimestamp, time: datetime, path: Sequence[Certificate]
) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    issuer = path[1]
    if len(path) > 2 and _is_ct_issuer(issuer):
        issuer = path[2]
    spki = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    milliseconds = (time - _EPOCH) // timedelta(milliseconds=1)
    certificate = path[0].tbs_precertificate_bytes
    return b"".join(
        (
            _START,
            milliseconds.to_bytes(8),
            _PRECERTIFICATE,
            sha256(spki).digest(),
            len(certificate).to_bytes(3),
            certificate,
            len(sct.extension_bytes).to_bytes(2),
            sct.extension_bytes,
        )
    )


def _is_ct_issuer(certificate: Certificate) -> bool:
    from cryptography.x509 import ExtendedKeyUsage

    return any(
        usage.dotted_string == _CT_ISSUER
        for extension in certificate.extensions
        if isinstance(extension.value, ExtendedKeyUsage)
        for usage in extension.value
    )


def _signed(log: LogKey, message: bytes, signature: bytes) -> bool:
    """Whether the log signed: SHA-256 with ECDSA, or with RSA PKCS#1 v1.5 (RFC 6962 2.1.4)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    key = load_spki(log.key.spki)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            return False
    except InvalidSignature:
        return False
    return True
