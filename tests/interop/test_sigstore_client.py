"""The sigstore package's own client and log-entry checks, against the real log and against ours.

It is the client most users of a private log have. Its internals are used on purpose: they
are the code by which `sigstore sign` submits and `sigstore verify` checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from sigstore import dsse
from sigstore._internal.rekor import EntryRequestBody, RekorClientError
from sigstore._internal.rekor.client_v2 import RekorV2Client
from sigstore._internal.trust import KeyringPurpose
from sigstore.errors import VerificationError
from sigstore.hashes import Hashed
from sigstore.models import TransparencyLogEntry, TrustedRoot
from sigstore_models.common.v1 import HashAlgorithm

from tests.interop.private_log import private_log
from tests.interop.rekor_server import rekor_server
from tests.interop.signed_artifact import note_log_id, trusted_root

pytestmark = pytest.mark.interop

CONTENT = b"signed for the sigstore client\n"


@dataclass(frozen=True, slots=True)
class Log:
    """Where a log is written to, and the trusted root that knows it."""

    url: str
    origin: str
    trusted_root: Path


@pytest.fixture(scope="module", params=["theirs", "ours"])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    """Run the real server, and then our private log, for all that follows."""
    directory = tmp_path_factory.mktemp("log")
    if request.param == "theirs":
        with rekor_server(directory / "server") as server:
            root = write_root(directory / "trusted_root.json", server.origin, server.spki)
            yield Log(server.url, server.origin, root)
    else:
        with private_log(directory / "server") as private:
            yield Log(private.url, private.origin, private.trusted_root)


def test_a_signature_is_logged_and_verifies(log: Log) -> None:
    entry = RekorV2Client(log.url).create_entry(artifact_request())
    verify(entry, log.trusted_root)


def test_a_dsse_envelope_is_logged_and_verifies(log: Log) -> None:
    entry = RekorV2Client(log.url).create_entry(envelope_request())
    verify(entry, log.trusted_root)


def test_a_duplicate_is_an_error_to_the_client(log: Log) -> None:
    request = artifact_request()
    RekorV2Client(log.url).create_entry(request)
    with pytest.raises(RekorClientError, match="equivalent entry already exists"):
        RekorV2Client(log.url).create_entry(request)


def test_a_wrong_signature_is_an_error_to_the_client(log: Log) -> None:
    request = artifact_request(signed=b"something else\n")
    with pytest.raises(RekorClientError, match="invalid hashedrekord request"):
        RekorV2Client(log.url).create_entry(request)


def test_an_entry_does_not_verify_under_another_key(log: Log, tmp_path: Path) -> None:
    entry = RekorV2Client(log.url).create_entry(artifact_request())
    other = Ed25519PrivateKey.generate().public_key()
    spki = other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(VerificationError, match="invalid signature"):
        verify(entry, write_root(tmp_path / "other.json", log.origin, spki))


def verify(entry: TransparencyLogEntry, root: Path) -> None:
    """Check proof, checkpoint and signature of an entry, as the client does."""
    entry._verify(TrustedRoot.from_file(str(root)).rekor_keyring(KeyringPurpose.VERIFY))


def write_root(path: Path, origin: str, spki: bytes) -> Path:
    path.write_bytes(trusted_root(origin, spki, note_log_id(origin, spki)))
    return path


def artifact_request(signed: bytes = CONTENT) -> EntryRequestBody:
    """Have the client build the request for CONTENT, with a signature over `signed`."""
    key = ec.generate_private_key(ec.SECP256R1())
    hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=sha256(CONTENT).digest())
    signature = key.sign(signed, ec.ECDSA(SHA256()))
    return RekorV2Client._build_hashed_rekord_request(hashed, signature, self_signed(key))


def envelope_request() -> EntryRequestBody:
    """Have the client build the request for a signed in-toto statement."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = dsse.Subject(
        name="artifact", digest=dsse.DigestSet({"sha256": sha256(CONTENT).hexdigest()})
    )
    statement = (
        dsse.StatementBuilder([subject])
        .predicate_type("https://example.com/predicate")
        .predicate({})
        .build()
    )
    return RekorV2Client._build_dsse_request(dsse._sign(key, statement), self_signed(key))


def self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Certify a key by itself: a log checks signatures, not certificates."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "interop")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(minutes=10))
        .sign(key, SHA256())
    )
