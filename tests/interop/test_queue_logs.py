"""What `queue drain` sends is taken by the real server, by our own log and by a v1 server, and
the entries that come back satisfy sigstore-python's own classes.
"""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore._internal.trust import KeyringPurpose
from sigstore.errors import VerificationError
from sigstore.models import TransparencyLogEntry, TrustedRoot
from sigstore_models.rekor.v1 import TransparencyLogEntry as EntryModel

from tests.interop.attestor import Site
from tests.interop.private_log import private_log
from tests.interop.rekor_server import rekor_server
from tests.interop.signed_artifact import note_log_id, trusted_root
from tests.interop.test_sigstore_client import self_signed
from tests.pki.authorities import spki
from tests.pki.logs import log_json
from tests.rig.v1_server import v1_server

pytestmark = pytest.mark.interop

CONTENT = b"what the queue is for\n"


@dataclass(frozen=True, slots=True)
class Peer:
    """A log, and a trusted root that knows it."""

    origin: str
    url: str
    read_url: str | None
    version: str
    key: bytes  # PEM, or a verifier key line
    root: Path


@contextmanager
def theirs(directory: Path) -> Iterator[Peer]:
    with rekor_server(directory / "server") as server:
        root = directory / "trusted_root.json"
        log_id = note_log_id(server.origin, server.spki)
        root.write_bytes(trusted_root(server.origin, server.spki, log_id))
        key = server.public_key.read_bytes()
        yield Peer(server.origin, server.url, server.read_url, "2", key, root)


@contextmanager
def ours(directory: Path) -> Iterator[Peer]:
    with private_log(directory / "server") as log:
        pem = log.site.run("key", "show", log.origin, "--pem")["pem"]
        yield Peer(log.origin, log.url, None, "2", pem.encode(), log.trusted_root)


@contextmanager
def version_1(directory: Path) -> Iterator[Peer]:
    with v1_server() as server:
        directory.mkdir()
        root = json.loads(trusted_root("x", b"", b""))
        key = spki(server.log.key)
        details = "PKIX_ECDSA_P256_SHA_256"
        start = "2020-01-01T00:00:00Z"
        root["tlogs"] = [log_json("https://rekor.example", server.log.log_id, key, details, start)]
        (directory / "trusted_root.json").write_text(json.dumps(root))
        path = directory / "trusted_root.json"
        yield Peer(server.log.origin, server.url, None, "1", server.public_key, path)


@pytest.fixture(scope="module", params=[theirs, ours, version_1], ids=lambda one: one.__name__)
def peer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    with request.param(tmp_path_factory.mktemp("log") / "log") as running:
        yield running


@pytest.fixture
def site(peer: Peer, tmp_path: Path) -> Site:
    made = Site(tmp_path / "home")
    made.run("init", "--site", "build.example")
    (tmp_path / "log.key").write_bytes(peer.key)
    read = ("--read-url", peer.read_url) if peer.read_url else ()
    made.run(
        *("backend", "add", "log", "--origin", peer.origin, "--url", peer.url, *read),
        *("--public-key", tmp_path / "log.key", "--api-version", peer.version),
    )
    made.run("config", "set", "rekor.serverUrl", peer.url)
    return made


def verify(entry: dict[str, Any], root: Path) -> None:
    """Check proof, checkpoint and promise of an entry, as the client does."""
    model = EntryModel.from_json(json.dumps(entry))
    keyring = TrustedRoot.from_file(str(root)).rekor_keyring(KeyringPurpose.VERIFY)
    TransparencyLogEntry(model)._verify(keyring)


def drained(site: Site, added: dict[str, Any]) -> dict[str, Any]:
    """Send what was added; return it as it is afterwards."""
    site.run("queue", "drain")
    shown = site.run("queue", "show", added["id"])
    assert shown["state"] == "logged", shown
    return shown


def signed_files(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> list[str | Path]:
    (tmp_path / "app").write_bytes(CONTENT)
    (tmp_path / "app.sig").write_bytes(key.sign(CONTENT, ec.ECDSA(SHA256())))
    return ["--artifact", tmp_path / "app", "--signature", tmp_path / "app.sig"]


def key_file(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "signer.pem").write_bytes(pem)
    return tmp_path / "signer.pem"


def test_an_artifact_signed_by_a_key(peer: Peer, site: Site, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    files = signed_files(tmp_path, key)
    added = site.run("queue", "add", *files, "--key", key_file(tmp_path, key))
    shown = drained(site, added)
    verify(shown["entry"], peer.root)
    # The same again is found, not sent: nothing was lost, nothing is there twice.
    again = site.run("queue", "add", *files, "--key", key_file(tmp_path, key))
    assert again["id"] == added["id"] and not again["new"]


def test_an_artifact_signed_by_a_certificate(peer: Peer, site: Site, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = tmp_path / "signer.crt"
    certificate.write_bytes(self_signed(key).public_bytes(Encoding.PEM))
    added = site.run("queue", "add", *signed_files(tmp_path, key), "--certificate", certificate)
    verify(drained(site, added)["entry"], peer.root)


def test_a_dsse_envelope(peer: Peer, site: Site, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    payload = json.dumps({"_type": "https://in-toto.io/Statement/v1", "subject": []}).encode()
    kind = b"application/vnd.in-toto+json"
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = key.sign(encoded, ec.ECDSA(SHA256()))
    envelope = {
        "payload": b64encode(payload).decode(),
        "payloadType": kind.decode(),
        "signatures": [{"sig": b64encode(signature).decode(), "keyid": ""}],
    }
    (tmp_path / "envelope.json").write_text(json.dumps(envelope))
    added = site.run(
        *("queue", "add", "--dsse", tmp_path / "envelope.json"),
        *("--key", key_file(tmp_path, key)),
    )
    shown = drained(site, added)
    verify(shown["entry"], peer.root)
    assert shown["entry"]["kindVersion"]["kind"] == (
        "dsse" if peer.version == "1" else "hashedrekord"
    )


def test_an_entry_that_was_there_is_completed(peer: Peer, site: Site, tmp_path: Path) -> None:
    """The answer to the first time is lost; the second time the log says 409."""
    key = ec.generate_private_key(ec.SECP256R1())
    added = site.run("queue", "add", *signed_files(tmp_path, key), "--key", key_file(tmp_path, key))
    first = drained(site, added)["entry"]
    other = Site(tmp_path / "second" / "home")
    other.run("init", "--site", "again.example")
    read = ("--read-url", peer.read_url) if peer.read_url else ()
    other.run(
        *("backend", "add", "log", "--origin", peer.origin, "--url", peer.url, *read),
        *("--public-key", tmp_path / "log.key", "--api-version", peer.version),
    )
    other.run("config", "set", "rekor.serverUrl", peer.url)
    signature = tmp_path / "first.sig"
    signature.write_text(_signature_in(json.loads(_request_of(site, added["id"]))))
    added = other.run(
        *("queue", "add", "--artifact", tmp_path / "app", "--signature", signature),
        *("--key", tmp_path / "signer.pem"),
    )
    shown = drained(other, added)
    assert shown["entry"]["logIndex"] == first["logIndex"]
    assert shown["entry"]["canonicalizedBody"] == first["canonicalizedBody"]
    assert shown["attempts"][-1]["outcome"] == "duplicate"
    verify(shown["entry"], peer.root)


def test_a_key_that_is_not_the_logs_makes_nothing_done(
    peer: Peer, site: Site, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    added = site.run("queue", "add", *signed_files(tmp_path, key), "--key", key_file(tmp_path, key))
    entry = drained(site, added)["entry"]
    root = json.loads(peer.root.read_bytes())
    other = spki(ec.generate_private_key(ec.SECP256R1()))
    root["tlogs"][0]["publicKey"]["rawBytes"] = b64encode(other).decode()
    root["tlogs"][0]["publicKey"]["keyDetails"] = "PKIX_ECDSA_P256_SHA_256"
    (tmp_path / "other.json").write_text(json.dumps(root))
    with pytest.raises(VerificationError):
        verify(entry, tmp_path / "other.json")


def _request_of(site: Site, id_: str) -> bytes:
    with closing(sqlite3.connect(site.home / "attestor.db")) as base:
        sql = "SELECT request FROM queue_item WHERE id = ?"
        return bytes(base.execute(sql, [id_]).fetchone()[0])


def _signature_in(request: dict[str, Any]) -> str:
    """Return the signature of a stored request, v1 or v2, in base64."""
    if "hashedRekordRequestV002" in request:
        return str(request["hashedRekordRequestV002"]["signature"]["content"])
    assert request["spec"]["data"]["hash"]["value"] == sha256(CONTENT).hexdigest()
    return str(request["spec"]["signature"]["content"])
