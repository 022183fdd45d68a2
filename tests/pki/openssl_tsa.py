"""Timestamp authorities whose stamps `openssl ts` makes, as many public authorities do.

Certificates are made here, with any key at any level; the response is OpenSSL's own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import new as new_hash
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from appliance.sigstore.trusted_root import Authority
from appliance.sigstore.validity import Window
from tests.pki.authorities import certificate_der

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_POLICY = "1.3.6.1.4.1.57264.2"
_DAY = timedelta(days=1)


@cache
def key_of(kind: str, number: int) -> Key:
    """Return a key that stays the same for a run: P-256, rsa-2048 and so on."""
    if kind in CURVES:
        return ec.generate_private_key(CURVES[kind])
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa-")))


@dataclass(frozen=True)
class Plan:
    """One authority and the form of its stamps. Every field can be changed."""

    keys: Sequence[str] = ("P-256", "P-256")  # of the stamping certificate, then of each issuer
    order: Sequence[int] = ()  # embedded certificates, by position in the chain; none by default
    imprint: str = "sha256"
    signer_digest: str = "sha256"
    certificate_hash: str = "sha256"  # by which the token names its certificate; sha1 is version 1
    more: str = ""  # lines of OpenSSL's configuration
    nonce: bool = False
    leaf_usages: Sequence[ObjectIdentifier] = (ExtendedKeyUsageOID.TIME_STAMPING,)
    issuer_usages: Sequence[ObjectIdentifier] = ()  # of the issuing certificate
    path_length: int | None = None  # of the anchor


@dataclass(frozen=True)
class OpensslAuthority:
    """A chain, its first key, and OpenSSL to stamp with it."""

    plan: Plan
    chain: tuple[x509.Certificate, ...]  # the stamping certificate first

    def listed(self, start: int = 0, stop: int | None = None) -> Authority:
        """Return it as a trusted root lists it, or only a part of its chain."""
        chain = tuple(map(certificate_der, self.chain[start:stop]))
        return Authority("https://tsa.example", chain, Window())

    def stamp(self, signature: bytes, directory: Path) -> bytes:
        """Return OpenSSL's response for a signature."""
        plan = self.plan
        names = {"key": directory / "key.pem", "leaf": directory / "leaf.pem"}
        names["key"].write_bytes(
            key_of(plan.keys[0], 0).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        names["leaf"].write_bytes(self.chain[0].public_bytes(Encoding.PEM))
        embedded = b"".join(self.chain[one].public_bytes(Encoding.PEM) for one in plan.order)
        (directory / "embedded.pem").write_bytes(embedded)
        serial = directory / "serial"
        if not serial.exists():
            serial.write_text("01\n", "ascii")
        chain = f"certs = {directory}/embedded.pem\n" if plan.order else ""
        (directory / "tsa.cnf").write_text(
            f"[tsa]\ndefault_tsa = it\n[it]\nserial = {serial}\ncrypto_device = builtin\n"
            f"signer_cert = {names['leaf']}\nsigner_key = {names['key']}\n{chain}"
            f"signer_digest = {plan.signer_digest}\ndefault_policy = {_POLICY}\n"
            f"digests = sha256, sha384, sha512\ness_cert_id_alg = {plan.certificate_hash}\n"
            f"{plan.more}\n",
            "ascii",
        )
        digest = new_hash(plan.imprint, signature).hexdigest()
        query, reply = directory / "query.tsq", directory / "reply.tsr"
        options = ["-cert"] if plan.order else []
        options += [] if plan.nonce else ["-no_nonce"]
        _openssl("-query", "-digest", digest, f"-{plan.imprint}", *options, "-out", query)
        _openssl("-reply", "-config", directory / "tsa.cnf", "-queryfile", query, "-out", reply)
        return reply.read_bytes()


@cache
def make_authority(plan: Plan) -> OpensslAuthority:
    """Make the certificates of an authority, valid around now."""
    return OpensslAuthority(plan, tuple(_chain(plan)))


def _chain(plan: Plan) -> list[x509.Certificate]:
    anchor_first: list[x509.Certificate] = []
    last = len(plan.keys) - 1
    for level in range(last, -1, -1):
        key, issuer_level = key_of(plan.keys[level], level), min(level + 1, last)
        usages = plan.leaf_usages if level == 0 else plan.issuer_usages if level == 1 else ()
        issuer_key = key_of(plan.keys[issuer_level], issuer_level)
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(level))
            .issuer_name(_name(issuer_level))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(
                x509.BasicConstraints(level > 0, plan.path_length if level == last else None),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False
            )
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=level == 0)
        hashed = hashes.SHA384() if plan.keys[issuer_level] == "P-384" else hashes.SHA256()
        anchor_first.append(builder.sign(issuer_key, hashed))
    return anchor_first[::-1]


def _name(level: int) -> x509.Name:
    words = "stamping certificate" if level == 0 else f"issuer {level}"
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Zeitstempel-Stelle Ä"),
            x509.NameAttribute(NameOID.COMMON_NAME, words),
        ]
    )


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", "ts", *map(str, arguments)], check=True, capture_output=True)
