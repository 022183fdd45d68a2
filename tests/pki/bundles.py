"""Bundles of a throwaway instance, as JSON objects that a test may change before verifying."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from appliance.errors import RefusedError
from appliance.rekor.canonical_json import canonical_json
from appliance.rekor.signing_algorithms import PROTOBUF_NAMES, natural_algorithm
from appliance.rekor.transparency_log_entry import TransparencyLogEntry, format_log_entry
from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.identity import CertificateIdentity, ExpectedSigner, ManagedKey
from appliance.sigstore.sigstore_bundle import parse_sigstore_bundle
from appliance.sigstore.trusted_root import parse_trusted_root
from appliance.sigstore.verdict import Verification
from appliance.sigstore.verification import verify_bundle
from tests.pki.authorities import (
    IDENTITY,
    ISSUER,
    NOON,
    CtLog,
    Issuer,
    LeafPlan,
    SigningKey,
    TimestampAuthority,
    certificate_der,
    issue,
    new_authority,
    new_key,
    new_timestamp_authority,
    spki,
)
from tests.pki.logs import V2_ORIGIN, V1Log, V2Log, base64, log_json

ARTIFACT = b"an artifact\n"
START = "2025-01-01T00:00:00Z"
V2_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
V1_TYPE = "application/vnd.dev.sigstore.bundle+json;version=0.1"
CHAIN_TYPE = "application/vnd.dev.sigstore.bundle+json;version=0.2"
ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
IN_TOTO = "application/vnd.in-toto+json"
EXPECTED = CertificateIdentity(IDENTITY, ISSUER)
_HASHES: dict[str, Any] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def digests(artifact: bytes = ARTIFACT) -> ArtifactDigests:
    """Return every digest of an artifact."""
    algorithms = ("sha256", "sha384", "sha512")
    return ArtifactDigests({name: hashlib.new(name, artifact).digest() for name in algorithms})


def sign(key: SigningKey, message: bytes, algorithm: str) -> bytes:
    """Sign as Sigstore clients do."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(_HASHES[algorithm]()))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), _HASHES[algorithm]())
    return key.sign(message)


def statement(
    artifact: bytes = ARTIFACT, *algorithms: str, kind: str = "https://in-toto.io/Statement/v1"
) -> dict[str, Any]:
    """Return an in-toto statement about an artifact."""
    named = algorithms or ("sha256",)
    digest = {name: hashlib.new(name, artifact).hexdigest() for name in named}
    return {
        "_type": kind,
        "subject": [{"name": "artifact", "digest": digest}],
        "predicateType": "https://example.com/predicate",
        "predicate": {},
    }


def encoded(payload: bytes, payload_type: str = IN_TOTO) -> bytes:
    """Return DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (
        len(payload_type),
        payload_type.encode(),
        len(payload),
        payload,
    )


def pem(label: str, der: bytes) -> bytes:
    """Wrap DER in PEM."""
    text = b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


@dataclass
class Signed:
    """One signature with everything around it, before it becomes a bundle."""

    key: SigningKey
    signature: bytes
    algorithm: str  # of the digest that was signed
    certificate: x509.Certificate | None
    payload: bytes | None  # of a DSSE envelope, else the artifact was signed

    @property
    def der(self) -> bytes:
        """Certificate or key."""
        return spki(self.key) if self.certificate is None else certificate_der(self.certificate)

    @property
    def label(self) -> str:
        """What its PEM is called."""
        return "PUBLIC KEY" if self.certificate is None else "CERTIFICATE"

    @property
    def verifier(self) -> dict[str, Any]:
        """The Verifier message of v2 bodies."""
        member = "publicKey" if self.certificate is None else "x509Certificate"
        try:
            details = natural_algorithm(load_der_public_key(spki(self.key))).key_details
        except RefusedError:
            details = "PKIX_ECDSA_P256_SHA_256"
        return {member: {"rawBytes": base64(self.der)}, "keyDetails": details}


def hashedrekord_v1(signed: Signed, digest: bytes) -> dict[str, Any]:
    """Return a hashedrekord 0.0.1 body."""
    return {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": signed.algorithm, "value": digest.hex()}},
            "signature": {
                "content": base64(signed.signature),
                "publicKey": {"content": base64(pem(signed.label, signed.der))},
            },
        },
    }


def hashedrekord_v2(signed: Signed, digest: bytes) -> dict[str, Any]:
    """Return a hashedrekord 0.0.2 body."""
    algorithm = PROTOBUF_NAMES[signed.algorithm]
    spec = {
        "data": {"algorithm": algorithm, "digest": base64(digest)},
        "signature": {"content": base64(signed.signature), "verifier": signed.verifier},
    }
    return {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": spec}}


def dsse_v1(signed: Signed) -> dict[str, Any]:
    """Return a dsse 0.0.1 body."""
    payload = {"algorithm": "sha256", "value": hashlib.sha256(signed.payload or b"").hexdigest()}
    verifier = base64(pem(signed.label, signed.der))
    return {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": payload,
            "payloadHash": payload,
            "signatures": [{"signature": base64(signed.signature), "verifier": verifier}],
        },
    }


def dsse_v2(signed: Signed) -> dict[str, Any]:
    """Return a dsse 0.0.2 body, as servers up to v2.2.1 wrote."""
    digest = hashlib.sha256(signed.payload or b"").digest()
    spec = {
        "payloadHash": {"algorithm": "SHA2_256", "digest": base64(digest)},
        "signatures": [{"content": base64(signed.signature), "verifier": signed.verifier}],
    }
    return {"apiVersion": "0.0.2", "kind": "dsse", "spec": {"dsseV002": spec}}


def intoto(signed: Signed) -> dict[str, Any]:
    """Return an intoto 0.0.2 body, with its base64 of base64."""
    payload = {"algorithm": "sha256", "value": hashlib.sha256(signed.payload or b"").hexdigest()}
    line = {
        "publicKey": base64(pem(signed.label, signed.der)),
        "sig": base64(base64(signed.signature).encode()),
    }
    envelope = {"payloadType": IN_TOTO, "signatures": [line]}
    content = {"envelope": envelope, "hash": payload, "payloadHash": payload}
    return {"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": content}}


@dataclass
class Instance:
    """One Sigstore instance: everything a bundle needs, and the root that trusts it."""

    root_authority: Issuer = field(default_factory=lambda: new_authority("test root"))
    ct_log: CtLog = field(default_factory=CtLog)
    timestamp_authority: TimestampAuthority = field(default_factory=new_timestamp_authority)
    v2_log: V2Log = field(default_factory=V2Log)
    v1_log: V1Log = field(default_factory=V1Log)
    authority: Issuer = field(init=False)

    def __post_init__(self) -> None:
        self.authority = new_authority("test intermediate", self.root_authority)

    def certify(self, key: SigningKey, plan: LeafPlan | None = None) -> x509.Certificate:
        """Issue a signer's certificate."""
        return issue(plan or LeafPlan(), key, self.authority, self.ct_log)

    def sign_artifact(
        self,
        key: SigningKey | None = None,
        plan: LeafPlan | None = None,
        *,
        algorithm: str = "sha256",
        managed: bool = False,
        artifact: bytes = ARTIFACT,
    ) -> Signed:
        """Sign an artifact, with a fresh certificate unless the key is managed."""
        key = key or new_key()
        certificate = None if managed else self.certify(key, plan)
        return Signed(key, sign(key, artifact, algorithm), algorithm, certificate, None)

    def sign_statement(
        self,
        content: dict[str, Any] | None = None,
        key: SigningKey | None = None,
        *,
        algorithm: str = "sha256",
        managed: bool = False,
        payload_type: str = IN_TOTO,
        payload: bytes | None = None,
    ) -> Signed:
        """Sign a statement in an envelope."""
        key = key or new_key()
        if payload is None:
            payload = json.dumps(statement() if content is None else content).encode()
        certificate = None if managed else self.certify(key)
        signature = sign(key, encoded(payload, payload_type), algorithm)
        return Signed(key, signature, algorithm, certificate, payload)

    def bundle(
        self,
        signed: Signed,
        entry: TransparencyLogEntry | None,
        *,
        media_type: str = V2_TYPE,
        stamps: list[bytes] | None = None,
    ) -> dict[str, Any]:
        """Join a signature and its log entry; stamped unless `stamps` says otherwise."""
        material: dict[str, Any] = {}
        if signed.certificate is None:
            material["publicKey"] = {"hint": base64(hashlib.sha256(signed.der).digest())}
        elif media_type == V2_TYPE:
            material["certificate"] = {"rawBytes": base64(signed.der)}
        else:
            chain = [{"rawBytes": base64(signed.der)}]
            material["x509CertificateChain"] = {"certificates": chain}
        material["tlogEntries"] = [] if entry is None else [format_log_entry(entry)]
        if stamps is None:
            stamps = [self.timestamp_authority.stamp(signed.signature)]
        if stamps:
            listed = [{"signedTimestamp": base64(stamp)} for stamp in stamps]
            material["timestampVerificationData"] = {"rfc3161Timestamps": listed}
        bundle: dict[str, Any] = {"mediaType": media_type, "verificationMaterial": material}
        if signed.payload is not None:
            bundle["dsseEnvelope"] = {
                "payload": base64(signed.payload),
                "payloadType": IN_TOTO,
                "signatures": [{"sig": base64(signed.signature)}],
            }
            return bundle
        digest = hashlib.new(signed.algorithm, ARTIFACT).digest()
        bundle["messageSignature"] = {
            "messageDigest": {
                "algorithm": PROTOBUF_NAMES[signed.algorithm],
                "digest": base64(digest),
            },
            "signature": base64(signed.signature),
        }
        return bundle

    def v2_bundle(self, signed: Signed | None = None) -> dict[str, Any]:
        """Return a stamped v0.3 bundle of a Rekor v2 log."""
        signed = signed or self.sign_artifact()
        message = ARTIFACT if signed.payload is None else encoded(signed.payload)
        body = hashedrekord_v2(signed, hashlib.new(signed.algorithm, message).digest())
        return self.bundle(signed, self.v2_log.add(canonical_json(body)))

    def v1_bundle(
        self, signed: Signed | None = None, *, media_type: str = V1_TYPE, time: datetime = NOON
    ) -> dict[str, Any]:
        """Return a bundle of a Rekor v1 log, whose promise is its time."""
        signed = signed or self.sign_artifact()
        if signed.payload is None:
            digest = hashlib.new(signed.algorithm, ARTIFACT).digest()
            body = hashedrekord_v1(signed, digest)
        else:
            body = dsse_v1(signed)
        entry = self.v1_log.add(canonical_json(body), time)
        return self.bundle(signed, entry, media_type=media_type, stamps=[])

    def root(self) -> dict[str, Any]:
        """Return the trusted root as a JSON object."""
        chain = [self.authority.certificate, self.root_authority.certificate]
        v1_key, ct_key = spki(self.v1_log.key), spki(self.ct_log.key)
        return {
            "mediaType": ROOT_TYPE,
            "tlogs": [
                log_json(
                    f"https://{V2_ORIGIN}",
                    self.v2_log.log_id,
                    self.v2_log.key.verifier.spki,
                    "PKIX_ED25519",
                    START,
                ),
                log_json(
                    "https://rekor.example",
                    self.v1_log.log_id,
                    v1_key,
                    "PKIX_ECDSA_P256_SHA_256",
                    START,
                ),
            ],
            "ctlogs": [
                log_json(
                    "https://ct.example",
                    self.ct_log.log_id,
                    ct_key,
                    "PKIX_ECDSA_P256_SHA_256",
                    START,
                )
            ],
            "certificateAuthorities": [_authority_json("https://ca.example", chain)],
            "timestampAuthorities": [
                _authority_json("https://tsa.example", self.timestamp_authority.chain)
            ],
        }


def _authority_json(uri: str, chain: Any) -> dict[str, Any]:
    certificates = [{"rawBytes": base64(certificate_der(one))} for one in chain]
    return {
        "subject": {"organization": "example", "commonName": uri},
        "uri": uri,
        "certChain": {"certificates": certificates},
        "validFor": {"start": START},
    }


def verify(
    bundle: dict[str, Any],
    root: dict[str, Any] | None,
    expected: ExpectedSigner = EXPECTED,
    artifact: ArtifactDigests | None = None,
) -> Verification:
    """Verify JSON objects as the appliance verifies files; raises as it does."""
    return verify_bundle(
        parse_sigstore_bundle(json.dumps(bundle).encode()),
        artifact or digests(),
        expected,
        None if root is None else parse_trusted_root(json.dumps(root).encode()),
    )


def managed(signed: Signed) -> ManagedKey:
    """Expect the key that signed."""
    return ManagedKey(spki(signed.key))
