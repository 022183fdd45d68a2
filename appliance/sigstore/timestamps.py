"""RFC 3161 stamps: a timestamp authority saw the signature (docs/verification.md).

A stamp is judged under one authority of the trusted root at a time: whose stamp it says it
is, what it is over, windows of the root and of every certificate, the path, the signature.
A root lists the stamping certificate, or only its issuers; then the stamp has to bring it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from appliance.errors import ApplianceError, MalformedError, RefusedError, SignatureError
from appliance.rekor.x509_certificate import load_certificate
from appliance.sigstore.certificates import (
    load_chain,
    not_valid_at,
    own_window,
    path_to,
    unknown_critical,
)
from appliance.sigstore.cms_signature import DIGESTS, verify_token
from appliance.sigstore.der import SEQUENCE, context_tag, encode, only_element
from appliance.sigstore.time_stamp_token import (
    GRANTED,
    SignerName,
    TimeStampToken,
    certificate_name,
    comparable_name,
    parse_response,
)
from appliance.sigstore.trusted_root import Authority
from appliance.sigstore.validity import format_time
from appliance.value import frozen

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# Embedded certificates that all claim to be the signer: each costs a path validation.
_MAX_NAMESAKES: Final = 4


@frozen
class VerifiedStamp:
    """A stamp that verified."""

    time: datetime
    authority: Authority


@frozen
class _Signer:
    """A certificate that may have signed, and the authority of the root it belongs to."""

    certificate: Certificate
    der: bytes
    authority: Authority
    is_listed: bool  # in the trusted root; else the stamp brought it

    def not_valid_at(self, time: datetime) -> str:
        """Say why it was not in use then; empty if it was."""
        if not self.authority.valid.contains(time):
            return f"is outside the window of {self.authority}: {self.authority.valid}"
        why = not_valid_at(self.authority, time)
        own = own_window(self.certificate)
        if not why and not own.contains(time):
            why = f"its certificate {_subject(self.certificate)} is valid from {own}"
        return f"was not made by {self.authority}: {why}" if why else ""


def verify_stamp(raw: bytes, signature: bytes, authorities: Sequence[Authority]) -> VerifiedStamp:
    """Verify one stamp over the bytes of a signature.

    Raises MalformedError (bad-stamp-form), RefusedError (unsupported-stamp), or
    SignatureError with reason stamp-not-granted, stamp-of-something-else,
    unknown-timestamp-authority, timestamp-authority-window or bad-stamp.
    """
    token = _open_stamp(raw, signature)
    known = [signer for authority in authorities for signer in _signers(token, authority)]
    if not known:
        raise SignatureError(
            "timestamp by an authority that is not in the trusted root",
            reason="unknown-timestamp-authority",
        )
    outside = [one.not_valid_at(token.time) for one in known]
    if "" not in outside:
        raise SignatureError(
            f"timestamp of {format_time(token.time)} {outside[0]}",
            reason="timestamp-authority-window",
        )
    failures: list[ApplianceError] = []
    for signer in (one for one, why in zip(known, outside, strict=True) if not why):
        try:
            _verify_under(signer, token)
        except (SignatureError, MalformedError, RefusedError) as error:
            failures.append(error)
        else:
            return VerifiedStamp(token.time, signer.authority)
    raise failures[0]


def check_stamp(raw: bytes, signature: bytes) -> datetime:
    """Check that a stamp is one over these bytes, by whomever; return the time it says.

    Raises MalformedError (bad-stamp-form), or SignatureError with reason stamp-not-granted
    or stamp-of-something-else.
    """
    return _open_stamp(raw, signature).time


def _open_stamp(raw: bytes, signature: bytes) -> TimeStampToken:
    status, token = parse_response(raw)
    if token is None:
        raise SignatureError(
            f"timestamp: status {status}, expected {GRANTED} (granted)",
            reason="stamp-not-granted",
        )
    algorithm = DIGESTS.get(token.imprint_algorithm.oid)
    if algorithm is None or not token.imprint_algorithm.has_none:
        raise SignatureError(
            f"timestamp: imprint by {token.imprint_algorithm.oid}, "
            f"expected {', '.join(DIGESTS.values())}",
            reason="stamp-of-something-else",
        )
    expected = hashlib.new(algorithm, signature).digest()
    if token.imprint != expected:
        raise SignatureError(
            f"timestamp is not over the bundle's signature: expected imprint "
            f"{algorithm}:{expected.hex()}, got {token.imprint[:64].hex()}",
            reason="stamp-of-something-else",
        )
    return token


def _signers(token: TimeStampToken, authority: Authority) -> Iterator[_Signer]:
    """Find the certificate that the one signature names, with this authority."""
    if len(token.signer_infos) != 1:
        return
    name = token.signer_infos[0].signer
    try:
        chain = load_chain(authority)
        if _is_named(name, authority.chain[0], chain[0]):
            yield _Signer(chain[0], authority.chain[0], authority, is_listed=True)
            return
        if not _is_authority(chain[0]):
            return
    except MalformedError:  # a broken authority spoils only itself
        return
    issuers = {one.subject for one in chain}
    n_named = 0
    for der in token.certificates:
        try:
            embedded = load_certificate(der, "timestamp: embedded certificate")
            if embedded.issuer in issuers and _is_named(name, der, embedded):
                n_named += 1
                if n_named > _MAX_NAMESAKES:
                    return
                yield _Signer(embedded, der, authority, is_listed=False)
        except MalformedError:  # whatever else the authority sends along
            continue


def _is_named(name: SignerName, der: bytes, certificate: Certificate) -> bool:
    if name.issuer:
        return certificate_name(der) == (name.issuer, name.serial)
    from cryptography import x509

    return any(
        isinstance(extension.value, x509.SubjectKeyIdentifier)
        and extension.value.digest == name.key_identifier
        for extension in certificate.extensions
    )


def _verify_under(signer: _Signer, token: TimeStampToken) -> None:
    from cryptography.x509.oid import ExtendedKeyUsageOID

    if why := _unfit(signer.certificate):
        raise SignatureError(f"timestamp: {signer.authority}: {why}", reason="bad-stamp")
    (info,) = token.signer_infos
    if token.authority_name and not _is_name_of(token.authority_name, signer):
        raise SignatureError(
            f"timestamp: {signer.authority}: it says it is by another authority than the one whose"
            " certificate signed it",
            reason="bad-stamp",
        )
    for der in token.certificates if signer.is_listed else ():
        if der != signer.der and _looks_like(der, signer):
            raise SignatureError(
                f"timestamp: {signer.authority}: the embedded certificate only looks like the"
                " authority's",
                reason="bad-stamp",
            )
    issuers = _issuers(signer.authority) if signer.is_listed else signer.authority
    if issuers is not None:
        try:
            path_to(signer.certificate, issuers, token.time, ExtendedKeyUsageOID.TIME_STAMPING)
        except SignatureError as error:
            raise SignatureError(f"timestamp: {error.message}", reason="bad-stamp") from error
    verify_token(token, info, signer.certificate, signer.der)


def _is_name_of(name: bytes, signer: _Signer) -> bool:
    """Whether a general name is a certificate's subject or alternative name (RFC 3161 2.4.2)."""
    from cryptography import x509

    subject = encode(context_tag(4), signer.certificate.subject.public_bytes())
    if comparable_name(name) == comparable_name(subject):
        return True
    for extension in signer.certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = only_element(extension.value.public_bytes(), SEQUENCE, "names").children(
                "names"
            )
            return any(one.encoded == name for one in names.rest())
    return False


def _looks_like(der: bytes, signer: _Signer) -> bool:
    try:
        return certificate_name(der) == certificate_name(signer.der)
    except MalformedError:
        return False


@lru_cache(maxsize=64)
def _issuers(authority: Authority) -> Authority | None:
    """Return what is above a listed stamping certificate; None if it is its own anchor."""
    above = authority.chain[1:]
    return Authority(str(authority), above, authority.valid) if above else None


@lru_cache(maxsize=64)
def _unfit(leaf: Certificate) -> str:
    """Say why a certificate cannot stamp (RFC 3161 2.3), or return an empty string."""
    from cryptography import x509

    found = {extension.value.__class__: extension for extension in leaf.extensions}
    extended = found.get(x509.ExtendedKeyUsage)
    usage = found.get(x509.KeyUsage)
    if _is_authority(leaf):
        return "the stamping certificate is an authority's"
    if (
        extended is None
        or not extended.critical
        or list(extended.value) != [x509.oid.ExtendedKeyUsageOID.TIME_STAMPING]
    ):
        return "critical extended key usage is not time stamping alone"
    if usage is not None and not (usage.value.digital_signature or usage.value.content_commitment):
        return "key usage of the stamping certificate lacks digital signature"
    if oid := unknown_critical(leaf):
        return f"the stamping certificate has a critical extension {oid}, which is not known here"
    return ""


def _is_authority(certificate: Certificate) -> bool:
    from cryptography import x509

    return any(
        isinstance(extension.value, x509.BasicConstraints) and extension.value.ca
        for extension in certificate.extensions
    )


def _subject(certificate: Certificate) -> str:
    return certificate.subject.rfc4514_string()[:120]
