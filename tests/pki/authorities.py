"""Authorities: a certificate authority like Fulcio, a CT log, a timestamp authority."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import new as new_hash
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.pki import der

NOON = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
FULCIO = "1.3.6.1.4.1.57264.1."
SCT_LIST = "1.3.6.1.4.1.11129.2.4.2"
IDENTITY = "signer@example.com"
ISSUER = "https://issuer.example"
_HASHES: dict[str, Any] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_HASH_OIDS = {
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def spki(key: SigningKey) -> bytes:
    """Return the public half as SubjectPublicKeyInfo DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def certificate_der(certificate: x509.Certificate) -> bytes:
    """Return a certificate's DER."""
    return certificate.public_bytes(Encoding.DER)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass(frozen=True)
class Issuer:
    """A certificate and the key it certifies."""

    key: Any  # a SigningKey: P-256 unless a test says otherwise
    certificate: x509.Certificate


def new_authority(
    name: str,
    parent: Issuer | None = None,
    *,
    start: datetime = NOON - 365 * DAY,
    end: datetime = NOON + 365 * DAY,
    is_authority: bool = True,
    key_cert_sign: bool = True,
    usage: ObjectIdentifier | None = None,
    critical_usage: bool = True,
    more_usages: Sequence[ObjectIdentifier] = (),
    path_length: int | None = None,
    constraints: x509.ExtensionType | None = None,
    key: SigningKey | None = None,
) -> Issuer:
    """Make an authority, or with is_authority=False and a usage a stamping certificate."""
    key = key or new_key()
    signer = parent.key if parent is not None else key
    issuer_name = parent.certificate.subject if parent is not None else _name(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(is_authority, path_length), critical=True)
        .add_extension(_key_usage(signature=not is_authority, cert_sign=key_cert_sign), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
        )
    )
    if usage is not None:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([usage, *more_usages]), critical=critical_usage
        )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    return Issuer(key, builder.sign(signer, hashes.SHA256()))


def _key_usage(*, signature: bool, cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass
class CtLog:
    """A certificate transparency log: it signs whatever it is shown."""

    key: SigningKey = field(default_factory=new_key)
    extensions: bytes = b""

    @property
    def log_id(self) -> bytes:
        """SHA-256 of the key."""
        return sha256(spki(self.key)).digest()

    def sct(self, precertificate: bytes, issuer_spki: bytes, time: datetime | int) -> bytes:
        """Return one serialized timestamp over a certificate; an int is milliseconds."""
        if isinstance(time, datetime):
            time = int(time.timestamp() * 1000)
        milliseconds = time.to_bytes(8)
        tail = len(self.extensions).to_bytes(2) + self.extensions
        signed = b"".join(
            (
                b"\x00\x00",
                milliseconds,
                b"\x00\x01",
                sha256(issuer_spki).digest(),
                len(precertificate).to_bytes(3),
                precertificate,
                tail,
            )
        )
        signature, algorithms = self._sign(signed)
        body = b"\x00" + self.log_id + milliseconds + tail + algorithms
        return body + len(signature).to_bytes(2) + signature

    def _sign(self, message: bytes) -> tuple[bytes, bytes]:
        from cryptography.hazmat.primitives.asymmetric import padding

        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256()), b"\x04\x01"
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(message), b"\x04\x03"
        return self.key.sign(message, ec.ECDSA(hashes.SHA256())), b"\x04\x03"


@dataclass(frozen=True)
class LeafPlan:
    """What a signer's certificate shall say. Every field can be made wrong."""

    names: Sequence[x509.GeneralName] = (x509.RFC822Name(IDENTITY),)
    issuer_v2: str | None = ISSUER
    issuer_v1: str | None = ISSUER
    claims: Mapping[str, str] = field(default_factory=dict)  # last arc under FULCIO: value
    raw_extensions: Mapping[str, bytes] = field(default_factory=dict)  # OID: DER
    start: datetime = NOON
    end: datetime = NOON + timedelta(minutes=10)
    is_authority: bool = False
    digital_signature: bool = True
    usages: Sequence[ObjectIdentifier] = (ExtendedKeyUsageOID.CODE_SIGNING,)
    subject: str = ""
    critical_names: bool = True
    sct_times: Sequence[datetime | int] = (NOON,)  # an int is milliseconds
    sct_precertificate: bytes | None = None  # sign this instead of the certificate

    def but(self, **changes: Any) -> LeafPlan:
        """Return the plan with some fields changed."""
        return replace(self, **changes)


def other_name(value: str) -> x509.OtherName:
    """Return Fulcio's kind of user name."""
    return x509.OtherName(ObjectIdentifier(FULCIO + "7"), der.utf8_string(value))


def issue(plan: LeafPlan, key: SigningKey, authority: Issuer, ct_log: CtLog) -> x509.Certificate:
    """Issue a certificate with its timestamps embedded, as Fulcio does."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(plan.subject) if plan.subject else x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(plan.start)
        .not_valid_after(plan.end)
        .add_extension(_key_usage(signature=plan.digital_signature, cert_sign=False), True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), False
        )
    )
    if plan.usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(plan.usages), critical=False)
    if plan.is_authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    if plan.names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(plan.names), critical=plan.critical_names
        )
    raw = {FULCIO + arc: der.utf8_string(value) for arc, value in plan.claims.items()}
    if plan.issuer_v2 is not None:
        raw[FULCIO + "8"] = der.utf8_string(plan.issuer_v2)
    if plan.issuer_v1 is not None:
        raw[FULCIO + "1"] = plan.issuer_v1.encode()
    for oid, value in {**raw, **plan.raw_extensions}.items():
        builder = builder.add_extension(
            x509.UnrecognizedExtension(ObjectIdentifier(oid), value), critical=False
        )
    if not plan.sct_times:
        return builder.sign(authority.key, hashes.SHA256())
    precertificate = builder.sign(authority.key, hashes.SHA256()).tbs_certificate_bytes
    signed = plan.sct_precertificate or precertificate
    scts = [ct_log.sct(signed, spki(authority.key), time) for time in plan.sct_times]
    listed = b"".join(len(sct).to_bytes(2) + sct for sct in scts)
    value = der.octets(len(listed).to_bytes(2) + listed)
    return builder.add_extension(
        x509.UnrecognizedExtension(ObjectIdentifier(SCT_LIST), value), critical=False
    ).sign(authority.key, hashes.SHA256())


@dataclass
class TimestampAuthority:
    """Stamps whatever it is shown."""

    leaf: Issuer
    chain: tuple[x509.Certificate, ...]  # the stamping certificate first

    def stamp(
        self,
        signature: bytes,
        time: datetime = NOON + timedelta(minutes=1),
        *,
        algorithm: str = "sha256",
        imprint: bytes | None = None,
        status: int = 0,
        embedded: Sequence[x509.Certificate] = (),
        key: ec.EllipticCurvePrivateKey | None = None,
        signer_infos: int = 1,
        attribute_digest: bytes | None = None,
        more_attributes: Sequence[bytes] = (),
        without_attribute: str = "",
        signer: bytes | None = None,
        sign: Callable[[bytes], bytes] | None = None,
        signature_algorithm: bytes | None = None,
        digest: str = "sha256",
        digests: Sequence[str] | None = None,
        more_info: Sequence[bytes] = (),
        more_status: Sequence[bytes] = (),
        version: bytes | None = None,
    ) -> bytes:
        """Return a TimeStampResp over the bytes of a signature.

        `digest` is of content and attributes, `digests` what the token says it uses; `more_info`
        stands at the end of the TSTInfo.
        """
        hashed = imprint or new_hash(algorithm, signature).digest()
        info = der.sequence(
            version or der.integer(1),
            der.object_identifier("1.3.6.1.4.1.57264.2"),
            der.sequence(_algorithm(_HASH_OIDS[algorithm]), der.octets(hashed)),
            der.integer(int(time.timestamp())),
            der.generalized_time(time),
            *more_info,
        )
        values = {
            "1.2.840.113549.1.9.3": der.object_identifier(_TST_INFO),
            "1.2.840.113549.1.9.4": der.octets(attribute_digest or new_hash(digest, info).digest()),
        }
        values.pop(without_attribute, None)
        attributes = [*(_attribute(oid, one) for oid, one in values.items()), *more_attributes]
        signed = der.set_of(*attributes)
        certificate = self.leaf.certificate
        named = der.sequence(
            certificate.issuer.public_bytes(), der.integer(certificate.serial_number)
        )
        ecdsa = der.sequence(der.object_identifier("1.2.840.10045.4.3.2"))
        signer_info = der.sequence(
            der.integer(1),
            signer or named,
            _algorithm(_HASH_OIDS[digest]),
            der.tagged(0, *sorted(attributes)),
            signature_algorithm or ecdsa,
            der.octets(sign(signed) if sign else _ecdsa(key or self.leaf.key, signed)),
        )
        content = der.sequence(
            der.integer(3),
            der.set_of(*(_algorithm(_HASH_OIDS[one]) for one in digests or [digest])),
            der.sequence(der.object_identifier(_TST_INFO), der.tagged(0, der.octets(info))),
            *([der.tagged(0, *sorted(map(certificate_der, embedded)))] if embedded else []),
            der.set_of(*[signer_info] * signer_infos),
        )
        token = der.sequence(der.object_identifier("1.2.840.113549.1.7.2"), der.tagged(0, content))
        answer = der.sequence(der.integer(status), *more_status)
        return der.sequence(answer, *([] if status > 1 else [token]))


_TST_INFO = "1.2.840.113549.1.9.16.1.4"


def _ecdsa(key: SigningKey, message: bytes) -> bytes:
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"say how to sign with a {type(key).__name__}")
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def _algorithm(oid: str) -> bytes:
    return der.sequence(der.object_identifier(oid), der.null())


def _attribute(oid: str, value: bytes) -> bytes:
    return der.sequence(der.object_identifier(oid), der.set_of(value))


def new_timestamp_authority(**changes: Any) -> TimestampAuthority:
    """Make a timestamp authority: a root, and a stamping certificate under it."""
    root = new_authority("test TSA root")
    plan: dict[str, Any] = {
        "is_authority": False,
        "key_cert_sign": False,
        "usage": ExtendedKeyUsageOID.TIME_STAMPING,
    }
    leaf = new_authority("test TSA", root, **{**plan, **changes})
    return TimestampAuthority(leaf, (leaf.certificate, root.certificate))
