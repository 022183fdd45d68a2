"""What tells Sigstore clients of a whole site: its CA, CT log, timestamp authority and log.

Three documents of the protobuf-specs: a trusted root says whom to believe, a signing config
where to ask, and a ClientTrustConfig is both in one file. They are the same bytes each time,
made of nothing but what was given.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from appliance.errors import MalformedError, RefusedError
from appliance.rekor.client_files import SIGNING_CONFIG_TYPE, TRUSTED_ROOT_TYPE, log_instance
from appliance.rekor.x509_certificate import load_certificate, pem_certificate_der
from appliance.sigstore.trusted_root import MAX_CHAIN
from appliance.sigstore.validity import format_time
from appliance.tlog.foreign_files import CERTIFICATES, foreign_file
from appliance.tlog.note_keys import VerifierKey, load_public_key_file, load_spki
from appliance.tlog.rsa_exponent import long_exponent
from appliance.value import frozen

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CLIENT_TRUST_CONFIG_TYPE: Final = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
MAX_AUTHORITY_BYTES: Final = 256 * 1024  # of a file with an authority's certificates
CODE_SIGNING: Final = "1.3.6.1.5.5.7.3.3"
TIME_STAMPING: Final = "1.3.6.1.5.5.7.3.8"
_ANY_PURPOSE: Final = "2.5.29.37.0"
_NAMES: Final = {CODE_SIGNING: "a certificate authority", TIME_STAMPING: "a timestamp authority"}
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_MIN_RSA_BITS: Final = 2048


@frozen
class SiteAuthority:
    """A certificate or timestamp authority: its chain, and where it answers."""

    chain: tuple[bytes, ...]  # DER, the issuing (or stamping) certificate first, anchor last
    organization: str  # of that certificate's subject
    common_name: str
    start: datetime  # of that certificate


@frozen
class CtKey:
    """The key of a CT log."""

    spki: bytes  # DER
    key_details: str  # PublicKeyDetails name


@frozen
class SiteConfig:
    """Everything that clients of one site are told. Without a URL, nobody is sent there."""

    log_key: VerifierKey  # Ed25519; its name is the log's origin, and the operator's name
    log_start: str  # RFC 3339
    log_url: str
    certificate_authorities: tuple[SiteAuthority, ...] = ()
    ct_keys: tuple[CtKey, ...] = ()
    timestamp_authorities: tuple[SiteAuthority, ...] = ()
    fulcio_url: str = ""
    oidc_issuer: str = ""
    tsa_url: str = ""


@frozen
class ClientFiles:
    """The three documents."""

    trusted_root: bytes
    signing_config: bytes
    client_trust_config: bytes


def parse_authority(raw: bytes, purpose: str) -> SiteAuthority:
    """Read the certificates of one authority, PEM in any order or one in DER, as one chain.

    `purpose` is CODE_SIGNING or TIME_STAMPING. Raises MalformedError for what holds no
    certificate or a broken chain, RefusedError (other-file) for a file or an authority of
    another kind.
    """
    chain = _in_order(
        [load_certificate(certificate, "certificate") for certificate in _certificates(raw)]
    )
    _check_purpose(chain, purpose)
    subject = chain[0].subject
    return SiteAuthority(
        tuple(map(_der, chain)),
        _attribute(subject, "2.5.4.10"),
        _attribute(subject, "2.5.4.3"),
        chain[0].not_valid_before_utc,
    )


def parse_ct_key(raw: bytes) -> CtKey:
    """Read the public key of a CT log, PEM or DER: ECDSA or RSA (RFC 6962 2.1.4).

    Raises MalformedError, and RefusedError for a key of another kind (unsupported-key) or a
    file of another kind (other-file).
    """
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    spki = load_public_key_file(raw)
    key = load_spki(spki)
    details, got = "", type(key).__name__
    if isinstance(key, ec.EllipticCurvePublicKey):
        got = key.curve.name
        details = {
            "secp256r1": "PKIX_ECDSA_P256_SHA_256",
            "secp384r1": "PKIX_ECDSA_P384_SHA_384",
        }.get(got, "")
    elif isinstance(key, rsa.RSAPublicKey):
        got = (slow := long_exponent(key)) or f"RSA of {key.key_size} bits"
        if key.key_size in (_MIN_RSA_BITS, 3072, 4096) and not slow:
            details = f"PKIX_RSA_PKCS1V15_{key.key_size}_SHA256"
    if not details:
        raise RefusedError(
            f"expected a CT log's key, ECDSA P-256 or RSA of 2048, 3072 or 4096 bits, got {got}",
            reason="unsupported-key",
            next_step="look whether it is the CT log's key, and not the transparency log's",
        )
    return CtKey(spki, details)


def client_files(site: SiteConfig) -> ClientFiles:
    """Make the three documents of a site."""
    root, config = _trusted_root(site), _signing_config(site)
    both = {
        "mediaType": CLIENT_TRUST_CONFIG_TYPE,
        "trustedRoot": root,
        "signingConfig": config,
    }
    return ClientFiles(
        *(json.dumps(one, indent=2).encode() + b"\n" for one in (root, config, both))
    )


def _trusted_root(site: SiteConfig) -> dict[str, Any]:
    # A CT log is older than what it logged: the first authority's start is early enough.
    ct_start = min((authority.start for authority in site.certificate_authorities), default=None)
    return {
        "mediaType": TRUSTED_ROOT_TYPE,
        "tlogs": [log_instance(site.log_key, site.log_start)],
        "certificateAuthorities": [
            _authority(authority, site.fulcio_url) for authority in site.certificate_authorities
        ],
        "ctlogs": [
            {
                "baseUrl": "",  # nobody reads it; the key is all that counts
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": _base64(key.spki),
                    "keyDetails": key.key_details,
                    "validFor": _since(ct_start),
                },
                "logId": {"keyId": _base64(sha256(key.spki).digest())},
            }
            for key in site.ct_keys
        ],
        "timestampAuthorities": [
            _authority(authority, site.tsa_url) for authority in site.timestamp_authorities
        ],
    }


def _signing_config(site: SiteConfig) -> dict[str, Any]:
    # All services have one operator: clients ask one service of each operator.
    def service(url: str, version: int, start: str) -> dict[str, Any]:
        return {
            "url": url,
            "majorApiVersion": version,
            "validFor": {"start": start},
            "operator": site.log_key.name,
        }

    def services(url: str, authorities: Sequence[SiteAuthority]) -> list[dict[str, Any]]:
        newest = max((authority.start for authority in authorities), default=None)
        start = site.log_start if newest is None else format_time(newest)
        return [service(url, 1, start)] if url else []

    return {
        "mediaType": SIGNING_CONFIG_TYPE,
        "caUrls": services(site.fulcio_url, site.certificate_authorities),
        "oidcUrls": services(site.oidc_issuer, ()),
        "rekorTlogUrls": [service(site.log_url, 2, site.log_start)],
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": services(site.tsa_url, site.timestamp_authorities),
        "tsaConfig": {"selector": "ANY"},
    }


def _authority(one: SiteAuthority, url: str) -> dict[str, Any]:
    return {
        "subject": {"organization": one.organization, "commonName": one.common_name},
        "uri": url,
        "certChain": {"certificates": [{"rawBytes": _base64(der)} for der in one.chain]},
        "validFor": _since(one.start),
    }


def _since(start: datetime | None) -> dict[str, str]:
    return {} if start is None else {"start": format_time(start)}


def _certificates(raw: bytes) -> list[bytes]:
    """Return the certificates of a file, DER; whatever else stands in its PEM is passed over."""
    blocks = list(_BLOCK.finditer(raw))
    found = []
    for block in blocks:
        if block[1] == b"CERTIFICATE":
            found.append(pem_certificate_der(block[0], "PEM"))
    begun = raw.count(b"-----BEGIN CERTIFICATE-----")
    if begun != len(found):
        raise MalformedError(f"{begun} certificates begin, and {len(found)} are whole")
    if found:
        return found
    if blocks:
        raise RefusedError(
            f"expected certificates (BEGIN CERTIFICATE), got BEGIN {blocks[0][1].decode()}",
            reason="other-file",
            next_step="give the authority's certificates, as it publishes them",
        )
    if raw[:1] != b"\x30":
        other = foreign_file(raw, CERTIFICATES)
        raise other or MalformedError("expected certificates (BEGIN CERTIFICATE), got none")
    return [raw]


def _in_order(certificates: list[Certificate]) -> list[Certificate]:
    """Return the chain, anchor last; raises MalformedError if it is not exactly one, and whole."""
    different = list({_der(certificate): certificate for certificate in certificates}.values())
    if len(different) > MAX_CHAIN:
        raise MalformedError(f"expected at most {MAX_CHAIN} certificates, got {len(different)}")
    first = [
        one
        for one in different
        if not any(other is not one and _issued(one, other) for other in different)
    ]
    if len(first) != 1:
        raise MalformedError(
            f"expected the certificates of one chain, got {len(first)} that issued none of the"
            " others",
            next_step="give each authority a file and an option of its own",
        )
    chain = first
    while not _issued(chain[-1], chain[-1]):
        issuers = [one for one in different if one not in chain and _issued(one, chain[-1])]
        if not issuers:
            raise MalformedError(
                f"the chain ends at {chain[-1].subject.rfc4514_string()[:120]!r}, and its issuer"
                f" {chain[-1].issuer.rfc4514_string()[:120]!r} is missing",
                next_step="add the certificates up to the one that issued itself",
            )
        chain.append(issuers[0])
    if len(chain) != len(different):
        raise MalformedError(
            f"expected the certificates of one chain, got {len(different) - len(chain)} besides it",
            next_step="give each authority a file and an option of its own",
        )
    return chain


def _issued(issuer: Certificate, certificate: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _check_purpose(chain: list[Certificate], purpose: str) -> None:
    """Raise RefusedError unless these certificates are of an authority of this kind."""
    from cryptography import x509

    def extension(one: Certificate, kind: type[x509.ExtensionType]) -> Any:
        return next((each.value for each in one.extensions if isinstance(each.value, kind)), None)

    def wrong(one: Certificate, what: str) -> RefusedError:
        return RefusedError(
            f"expected {_NAMES[purpose]}, got {one.subject.rfc4514_string()[:120]!r}, {what}",
            reason="other-file",
            next_step="look whether another authority's file was given",
        )

    for position, one in enumerate(chain):
        constraints = extension(one, x509.BasicConstraints)
        is_authority = constraints is not None and constraints.ca
        stamps = purpose == TIME_STAMPING and position == 0
        if not is_authority and not stamps:
            raise wrong(one, "which may not issue certificates")
        usages = extension(one, x509.ExtendedKeyUsage)
        allowed = {usage.dotted_string for usage in usages or ()}
        if stamps and TIME_STAMPING not in allowed:
            raise wrong(one, "which is not for time stamping")
        if allowed and not allowed & {purpose, _ANY_PURPOSE}:
            raise wrong(one, f"which is for other purposes ({', '.join(sorted(allowed))})")


def _attribute(name: Any, oid: str) -> str:
    return next((str(one.value) for one in name if one.oid.dotted_string == oid), "")


def _der(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
