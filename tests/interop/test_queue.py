"""The queue before the real server, our private log and a v1-shaped one; the client's word.

What each log answered is verified once more by sigstore-python's own log-entry class, out
of the finished Sigstore bundle: its command line has no managed keys.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sigstore._internal.trust import KeyringPurpose
from sigstore.errors import VerificationError
from sigstore.models import TransparencyLogEntry, TrustedRoot
from sigstore_models.rekor.v1 import TransparencyLogEntry as Message

from appliance.value import replaced
from tests.cli.homes import Home
from tests.interop.private_log import private_log
from tests.interop.rekor_server import rekor_server
from tests.interop.signed_artifact import note_log_id, trusted_root
from tests.pki.authorities import spki
from tests.queue.signed_files import envelope, write_artifact, write_envelope
from tests.rig.v1_server import v1_server

pytestmark = pytest.mark.interop


@dataclass(frozen=True, slots=True)
class Log:
    """Where a log is written to, how it is pinned, and the root by which the client knows it."""

    url: str
    read_url: str | None
    origin: str
    api_version: str
    public_key: Path
    root: Path


@pytest.fixture(scope="module", params=["real v2", "private", "v1"])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    directory = tmp_path_factory.mktemp("log")
    root, key = directory / "root.json", directory / "log.pem"
    if request.param == "real v2":
        with rekor_server(directory / "server") as server:
            log_id = note_log_id(server.origin, server.spki)
            root.write_bytes(trusted_root(server.origin, server.spki, log_id))
            yield Log(server.url, server.read_url, server.origin, "2", server.public_key, root)
    elif request.param == "private":
        with private_log(directory / "server") as private:
            key.write_text(private.site.run("log", "status")["logs"][0]["vkey"])
            yield Log(private.url, None, private.origin, "2", key, private.trusted_root)
    else:
        with v1_server() as v1:
            key.write_bytes(v1.public_key)
            der = spki(v1.log.key)
            document = json.loads(trusted_root("rekor.example", der, v1.log.log_id))
            document["tlogs"][0]["publicKey"]["keyDetails"] = "PKIX_ECDSA_P256_SHA_256"
            root.write_text(json.dumps(document))
            yield Log(v1.url, None, v1.log.origin, "1", key, root)


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: Log) -> Home:
    made = Home(tmp_path / "home", capsys)
    made.app = replaced(made.app, now=lambda: int(time.time()))
    made.json(
        *("backend", "add", "log", "--origin", log.origin, "--public-key", log.public_key),
        *("--url", log.url, "--api-version", log.api_version),
        *(["--read-url", log.read_url] if log.read_url else []),
    )
    made.json("config", "set", "rekor.serverUrl", log.url)
    return made


def finished(home: Home, directory: Path, id_: str) -> bytes:
    """Return the log entry in the finished Sigstore bundle of an item."""
    assert home.json("queue", "show", id_)["state"] == "logged"
    file = directory / "finished.sigstore.json"
    home.json("queue", "bundle", id_, "--output", file)
    [entry] = json.loads(file.read_text())["verificationMaterial"]["tlogEntries"]
    return json.dumps(entry).encode()


def verify_with_client(raw: bytes, log: Log) -> None:
    entry = TransparencyLogEntry(Message.from_json(raw))
    entry._verify(TrustedRoot.from_file(str(log.root)).rekor_keyring(KeyringPurpose.VERIFY))


def test_artifacts_and_envelopes_are_taken_and_verify_with_the_client(
    home: Home, tmp_path: Path, log: Log
) -> None:
    artifact = write_artifact(tmp_path / "in", b"queued for a real log")
    ids = [
        home.json("queue", "add", *artifact)["id"],
        home.json("queue", "add", *write_envelope(tmp_path / "in", envelope(b"scan")))["id"],
    ]
    drained = home.json("queue", "drain")
    assert (drained["logged"], drained["postponed"], drained["refused"]) == (2, 0, 0)
    for id_ in ids:
        verify_with_client(finished(home, tmp_path, id_), log)
    home.json("queue", "bundle", ids[0], "--output", tmp_path / "app.json")
    home.json("verify", artifact[1], "--bundle", tmp_path / "app.json", "--key", artifact[5])


def test_what_the_log_had_is_completed_and_verifies_with_the_client(
    home: Home, tmp_path: Path, log: Log
) -> None:
    options = write_artifact(tmp_path / "in", b"logged twice")
    home.json("tenant", "add", "other")
    home.json("queue", "add", *options)
    home.json("queue", "drain")
    second = home.json("queue", "add", *options, "--tenant", "other")["id"]
    assert home.json("queue", "drain")["duplicates"] == 1
    verify_with_client(finished(home, tmp_path, second), log)


def test_the_client_would_notice(home: Home, tmp_path: Path, log: Log) -> None:
    id_ = home.json("queue", "add", *write_artifact(tmp_path / "in", b"tampered with"))["id"]
    home.json("queue", "drain")
    entry = json.loads(finished(home, tmp_path, id_))
    entry["canonicalizedBody"] = entry["canonicalizedBody"][:-8] + "AAAAAAA="
    with pytest.raises((VerificationError, ValueError)):
        verify_with_client(json.dumps(entry).encode(), log)
