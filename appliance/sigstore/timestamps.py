"""RFC 3161 stamps: a timestamp authority saw the signature (docs/verification.md).

rfc3161-client decodes the DER and verifies the CMS signature; it is handed one authority of
the trusted root at a time, and everything else is checked here: whose stamp it says it is,
what it is over, windows of the root and of every certificate. Imported only by bundles
that carry stamps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from appliance.errors import MalformedError, SignatureError
from appliance.rekor.x509_certificate import BROKEN_DER, load_certificate
from appliance.sigstore.certificates import chain_valid_at, load_chain
from appliance.sigstore.trusted_root import Authority
from appliance.sigstore.validity import format_time
from appliance.value import frozen

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

_GRANTED: Final = 0
_HASHES: Final = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}


@frozen
class VerifiedStamp:
    """A stamp that verified."""

    time: datetime
    authority: Authority


def verify_stamp(raw: bytes, signature: bytes, authorities: Sequence[Authority]) -> VerifiedStamp:
    """Verify one stamp over the bytes of a signature.

    Raises MalformedError (bad-stamp-form), or SignatureError with reason stamp-not-granted,
    stamp-of-something-else, unknown-timestamp-authority, timestamp-authority-window or
    bad-stamp.
    """
    response = _open_stamp(raw, signature)
    time = response.tst_info.gen_time
    known = [one for one in authorities if _is_signer(response, one)]
    if not known:
        raise SignatureError(
            "timestamp by an authority that is not in the trusted root",
            reason="unknown-timestamp-authority",
        )
    covering = [one for one in known if one.valid.contains(time) and chain_valid_at(one, time)]
    if not covering:
        raise SignatureError(
            f"timestamp of {format_time(time)} is outside the window of {known[0]}: "
            f"{known[0].valid}",
            reason="timestamp-authority-window",
        )
    failures = [_failure(response, signature, one) for one in covering]
    if "" not in failures:
        raise SignatureError(f"timestamp: {'; '.join(failures)}", reason="bad-stamp")
    return VerifiedStamp(time, covering[failures.index("")])


def check_stamp(raw: bytes, signature: bytes) -> datetime:
    """Check that a stamp is one over these bytes, by whomever; return the time it says.

    Raises MalformedError (bad-stamp-form), or SignatureError with reason stamp-not-granted
    or stamp-of-something-else.
    """
    return _open_stamp(raw, signature).tst_info.gen_time


def _open_stamp(raw: bytes, signature: bytes) -> TimeStampResponse:
    response = _decode(raw)
    if response.status != _GRANTED:
        raise SignatureError(
            f"timestamp: status {response.status}, expected {_GRANTED} (granted)",
            reason="stamp-not-granted",
        )
    _check_imprint(response, signature)
    return response


def _decode(raw: bytes) -> TimeStampResponse:
    from rfc3161_client import decode_timestamp_response

    try:
        response = decode_timestamp_response(raw)
        # Decoded lazily: ask for every part now, where a broken one is expected.
        if response.status == _GRANTED:
            _ = (response.tst_info.gen_time, response.tst_info.message_imprint.message)
            _ = response.signed_data.certificates
            _ = [(one.issuer, one.serial_number) for one in response.signed_data.signer_infos]
    except BROKEN_DER as error:
        raise MalformedError(
            f"timestamp: not an RFC 3161 response: {error}", reason="bad-stamp-form"
        ) from error
    return response


def _check_imprint(response: TimeStampResponse, signature: bytes) -> None:
    imprint = response.tst_info.message_imprint
    algorithm = _HASHES.get(imprint.hash_algorithm.dotted_string)
    if algorithm is None:
        raise SignatureError(
            f"timestamp: imprint by {imprint.hash_algorithm.dotted_string}, "
            f"expected {', '.join(_HASHES.values())}",
            reason="stamp-of-something-else",
        )
    expected = hashlib.new(algorithm, signature).digest()
    if imprint.message != expected:
        raise SignatureError(
            f"timestamp is not over the bundle's signature: expected imprint "
            f"{algorithm}:{expected.hex()}, got {imprint.message.hex()}",
            reason="stamp-of-something-else",
        )


def _is_signer(response: TimeStampResponse, authority: Authority) -> bool:
    """Whether the one SignerInfo names this authority's stamping certificate."""
    try:
        leaf = load_chain(authority)[0]
    except MalformedError:  # a broken authority spoils only itself
        return False
    signers = [(one.issuer, one.serial_number) for one in response.signed_data.signer_infos]
    return signers == [(leaf.issuer, leaf.serial_number)]


def _failure(response: TimeStampResponse, signature: bytes, authority: Authority) -> str:
    """Verify under one authority; return why it failed, or an empty string."""
    from rfc3161_client import VerificationError, VerifierBuilder

    if why := _unfit(authority):
        return why
    leaf, *rest = load_chain(authority)
    for der in response.signed_data.certificates:
        embedded = load_certificate(der, "timestamp: embedded certificate", with_extensions=False)
        same = (embedded.issuer, embedded.serial_number) == (leaf.issuer, leaf.serial_number)
        if same and embedded != leaf:
            return f"{authority}: the embedded certificate only looks like the authority's"
    verifier = VerifierBuilder(
        tsa_certificate=leaf, intermediates=rest[:-1], roots=rest[-1:] or [leaf]
    ).build()
    try:
        verifier.verify_message(response, signature)
    except (VerificationError, ValueError) as error:
        return f"{authority}: {error}"
    return ""


@lru_cache(maxsize=64)
def _unfit(authority: Authority) -> str:
    """Say why an authority of the root cannot stamp, or return an empty string."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    chain = load_chain(authority)
    found = {one.value.__class__: one for one in chain[0].extensions}
    constraints = found.get(x509.BasicConstraints)
    extended = found.get(x509.ExtendedKeyUsage)
    if constraints is not None and constraints.value.ca:
        return f"{authority}: the stamping certificate is an authority's"
    if (
        extended is None
        or not extended.critical
        or list(extended.value) != [x509.oid.ExtendedKeyUsageOID.TIME_STAMPING]
    ):
        return f"{authority}: critical extended key usage is not time stamping alone"
    try:
        for certificate, issuer in pairwise(chain):
            certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError) as error:
        return f"{authority}: its chain does not verify: {error}"
    return ""
