"""Fulcio certificates: the path to an authority of the trusted root, and what a leaf must be.

A path is validated as of a given time (RFC 5280, by `cryptography`), and every certificate
of the authority must have been valid then, too, and may not exclude the purpose. What came
along in the bundle besides the leaf is never part of a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from appliance.errors import MalformedError, RefusedError, SignatureError
from appliance.rekor.x509_certificate import load_certificate
from appliance.sigstore.trusted_root import MAX_INSTANCES, Authority
from appliance.sigstore.validity import Window, format_time

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name, ObjectIdentifier
    from cryptography.x509.extensions import KeyUsage
    from cryptography.x509.verification import Policy, PolicyBuilder

# Extensions that may be critical (RFC 5280 4.2): basic constraints, key usage, extended key
# usage, and the names, which are compared with what is expected.
_ACTED_ON: Final = frozenset(("2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17"))
_MIN_RSA_BITS: Final = 2048
_KEPT: Final = 2 * MAX_INSTANCES  # authorities in memory: all of a trusted root
_NOT_ISSUED: Final = "none of its certificates issued it"
_NO_ISSUER: Final = "candidates exhausted with no interior errors"  # of cryptography's message
# Extended key usages that are asked for, as messages call them.
_PURPOSES: Final = {"1.3.6.1.5.5.7.3.3": "code signing", "1.3.6.1.5.5.7.3.8": "time stamping"}


@lru_cache(maxsize=_KEPT)
def load_chain(authority: Authority) -> tuple[Certificate, ...]:
    """Load the certificates of an authority, issuing first; raises MalformedError."""
    return tuple(
        load_certificate(der, f"trusted root, {authority}, certificate {position}")
        for position, der in enumerate(authority.chain)
    )


def not_valid_at(authority: Authority, time: datetime) -> str:
    """Say which certificate of an authority was not valid at `time`; empty if all were."""
    for subject, window in _chain_windows(authority):
        if not window.contains(time):
            return f"its certificate {subject} is valid from {window}"
    return ""


@lru_cache(maxsize=_KEPT)
def _chain_windows(authority: Authority) -> tuple[tuple[str, Window], ...]:
    chain = load_chain(authority)
    return tuple((one.subject.rfc4514_string()[:120], own_window(one)) for one in chain)


@lru_cache(maxsize=_KEPT)
def _subjects(authority: Authority) -> frozenset[Name]:
    return frozenset(one.subject for one in load_chain(authority))


def own_window(certificate: Certificate) -> Window:
    """Return when a certificate says it is valid."""
    return Window(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def check_leaf(leaf: Certificate, *, may_have_subject: bool = False) -> None:
    """Check that a certificate is what Fulcio issues to signers.

    Version 3, no authority, empty subject with a critical subject alternative name, key
    usage digital signature, extended key usage code signing. Raises SignatureError with
    reason leaf-certificate; RefusedError (the same reason) if all that keeps it from being such
    a certificate is a subject, as private authorities write, unless it `may_have_subject`.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    # Each kind at most once: `cryptography` refuses repeated extensions.
    found = {extension.value.__class__: extension for extension in leaf.extensions}
    constraints = found.get(x509.BasicConstraints)
    usage = found.get(x509.KeyUsage)
    extended = found.get(x509.ExtendedKeyUsage)
    names = found.get(x509.SubjectAlternativeName)
    wrong = ""
    if leaf.version is not x509.Version.v3:
        wrong = f"version {leaf.version.name}, expected v3"
    elif constraints is not None and constraints.value.ca:
        wrong = "it is an authority's"
    elif usage is None or not usage.value.digital_signature:
        wrong = "key usage lacks digital signature"
    elif extended is None or ExtendedKeyUsageOID.CODE_SIGNING not in extended.value:
        wrong = "extended key usage lacks code signing"
    elif names is None:
        wrong = "subject alternative name is missing"
    elif not names.critical and not len(leaf.subject):  # RFC 5280 4.1.2.6
        wrong = "subject is empty, and subject alternative name is not critical"
    if wrong:
        raise SignatureError(f"signer's certificate: {wrong}", reason="leaf-certificate")
    if len(leaf.subject) and not may_have_subject:
        raise RefusedError(
            f"signer's certificate: subject is {leaf.subject.rfc4514_string()[:120]!r}, expected"
            " empty: not a certificate as Fulcio issues",
            reason="leaf-certificate",
            next_step="if a private authority issues such certificates: --allow-subject",
        )


def verify_path(
    leaf: Certificate, authorities: Sequence[Authority], time: datetime
) -> tuple[Certificate, ...]:
    """Return the path from `leaf` to an anchor of the trusted root, valid at `time`.

    Raises SignatureError: reason certificate-window if the leaf was not valid then,
    authority-window if no authority of the root was, certificate-path if none of those
    that were leads to the leaf.
    """
    from cryptography.x509.oid import ExtendedKeyUsageOID

    own = own_window(leaf)
    if not own.contains(time):
        raise SignatureError(
            f"signer's certificate is valid from {own}, "
            f"but the signature was made at {format_time(time)}",
            reason="certificate-window",
        )
    covering = [one for one in authorities if one.valid.contains(time)]
    if not covering:
        raise SignatureError(
            f"the trusted root has no certificate authority for {format_time(time)}",
            reason="authority-window",
        )
    failures = []
    for authority in covering:
        try:
            return path_to(leaf, authority, time, ExtendedKeyUsageOID.CODE_SIGNING)
        except (SignatureError, MalformedError) as error:  # a broken authority spoils only itself
            failures.append(error.message)
    raise SignatureError(
        f"no certificate authority of the trusted root issued the signer's certificate: "
        f"{'; '.join(failures)}",
        reason="certificate-path",
    )


def path_to(
    leaf: Certificate, authority: Authority, time: datetime, purpose: ObjectIdentifier
) -> tuple[Certificate, ...]:
    """Return the path from `leaf` to the anchor of one authority, every part valid at `time`.

    The anchor is the last certificate listed, whether or not it is self-signed. Raises
    SignatureError (certificate-path), also if an issuer's extended key usage excludes
    `purpose`; MalformedError for an authority whose certificates are broken.
    """
    from cryptography.x509.verification import Store, VerificationError

    *intermediates, anchor = chain = load_chain(authority)
    if why := not_valid_at(authority, time):
        raise SignatureError(
            f"{authority}: at {format_time(time)} {why}", reason="certificate-path"
        )
    # Said before anything is built: a root may have hundreds of authorities.
    if leaf.issuer not in _subjects(authority) and leaf != anchor:
        raise SignatureError(f"{authority}: {_NOT_ISSUED}", reason="certificate-path")
    upper_part = _unconditional_issuers(authority)
    if upper_part:
        intermediates, anchor = [], chain[0]
    verifier = _path_policy().store(Store([anchor])).time(time).build_client_verifier()
    try:
        path = verifier.verify(leaf, intermediates).chain
    except (VerificationError, ValueError) as error:
        why = _NOT_ISSUED if _NO_ISSUER in str(error) else str(error)
        raise SignatureError(f"{authority}: {why}", reason="certificate-path") from error
    path = [*path, *upper_part]
    for issuer in path[1:]:
        if not _may_certify_for(issuer, purpose):
            subject = issuer.subject.rfc4514_string()[:120]
            raise SignatureError(
                f"{authority}: extended key usage of its certificate {subject} "
                f"excludes {_PURPOSES[purpose.dotted_string]}",
                reason="certificate-path",
            )
    return tuple(path)


def _may_certify_for(issuer: Certificate, purpose: ObjectIdentifier) -> bool:
    """Whether an issuer's extended key usage, if it has one, lets it certify for a purpose.

    RFC 5280 4.2.1.12 speaks of the certificate's own key; that an issuer's usages bound what
    is below it is how every Sigstore client, and every browser, reads it.
    """
    from cryptography.x509 import ExtendedKeyUsage
    from cryptography.x509.oid import ExtendedKeyUsageOID

    for extension in issuer.extensions:
        if isinstance(extension.value, ExtendedKeyUsage):
            usages = extension.value
            return purpose in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages
    return True


@lru_cache(maxsize=_KEPT)
def _unconditional_issuers(authority: Authority) -> tuple[Certificate, ...]:
    """Return the issuers above the issuing certificate, if they certify it unconditionally.

    That part of a path is the same for every leaf, and the trusted root gives its order. So
    its signatures are verified once, and a batch is spared them. With conditions (name
    constraints, a path length that is too short, a critical extension of another kind) or a
    flaw (a weak key or hash) there is none: every path is then validated whole, and the
    validation says what is wrong.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    chain = load_chain(authority)
    for position, (certificate, issuer) in enumerate(pairwise(chain), 1):
        found = {extension.value.__class__: extension.value for extension in issuer.extensions}
        constraints, usage = found.get(x509.BasicConstraints), found.get(x509.KeyUsage)
        length = None if constraints is None else constraints.path_length
        if (
            constraints is None
            or not constraints.ca
            or (length is not None and length < position)
            or (usage is not None and not usage.key_cert_sign)
            or x509.NameConstraints in found
            or unknown_critical(issuer)
            or not _is_strong(issuer)
        ):
            return ()
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, ValueError, TypeError):
            return ()
    return chain[1:]


def unknown_critical(certificate: Certificate) -> str:
    """Return the OID of a critical extension that nothing here acts on; empty if there is none."""
    return next(
        (
            extension.oid.dotted_string
            for extension in certificate.extensions
            if extension.critical and extension.oid.dotted_string not in _ACTED_ON
        ),
        "",
    )


def _is_strong(certificate: Certificate) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        key, hashed = certificate.public_key(), certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return False
    is_short = isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS
    return not is_short and (hashed is None or hashed.name in ("sha256", "sha384", "sha512"))


def _path_policy() -> PolicyBuilder:
    """Build RFC 5280 rules without those for web servers.

    An authority has to say whether it is one (`cryptography` then holds it to that) and may
    sign certificates; what a signer's certificate has to be, check_leaf says.
    """
    from cryptography import x509
    from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder

    authorities = (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_signs_certificates)
    )
    return PolicyBuilder().extension_policies(
        ca_policy=authorities, ee_policy=ExtensionPolicy.permit_all()
    )


def _check_signs_certificates(_: Policy, __: Certificate, usage: KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer's key usage lacks certificate signing")
