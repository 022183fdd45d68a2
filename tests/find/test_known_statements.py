"""An attestation is found by the artifact it is about, once this home has seen the attestation."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from appliance.store.database import open_store
from appliance.store.find.known_statements import logged_about
from tests.cli.mirrored import MirroredHome
from tests.find.logged import instance, leaf
from tests.find.test_each_setting import told
from tests.find.test_search import find, indices, logged
from tests.find.test_watch import trust
from tests.pki.authorities import IDENTITY, ISSUER
from tests.pki.bundles import ARTIFACT, dsse_v2, hashedrekord_v2, pem, statement

DIGEST = hashlib.sha256(ARTIFACT).hexdigest()
SIGNER = ("--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER)


class Attested(MirroredHome):
    """A home whose log has an attestation about an artifact, and its bundle in a file."""

    def __init__(
        self, directory: Path, capsys: pytest.CaptureFixture[str], about: dict[str, Any]
    ) -> None:
        super().__init__(directory / "home", capsys, "connected")
        self.signed = instance().sign_statement(about)
        bundle = instance().v2_bundle(self.signed)
        self.file = directory / "app.sigstore.json"
        self.file.write_text(json.dumps(bundle))
        self.artifact = directory / "app"
        self.artifact.write_bytes(ARTIFACT)
        [entry] = bundle["verificationMaterial"]["tlogEntries"]
        logged(self, leaf("other@example.com", b"other"), b64decode(entry["canonicalizedBody"]))
        self.json("index", "build")

    def found(self, *words: str | Path) -> list[int]:
        """Search for the artifact by the index and by reading everything."""
        by_index = find(self, "--artifact", self.artifact, *words)
        assert by_index["complete"]
        assert find(self, "--artifact", self.artifact, "--rescan")["hits"] == by_index["hits"]
        return indices(by_index)


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Attested:
    return Attested(tmp_path, capsys, statement())


def verdict(home: Attested) -> None:
    trust(home, home.file.parent)
    home.json("verify", home.artifact, "--bundle", home.file, *SIGNER, "--record")


def expectation(home: Attested) -> None:
    home.json("expected", "add", "--bundle", home.file)


def queue(home: Attested) -> None:
    home.json("queue", "add", "--sigstore-bundle", home.file)


@pytest.mark.parametrize("seen", [verdict, expectation, queue])
def test_an_attestation_that_was_seen_is_found_by_its_artifact(home: Attested, seen: Any) -> None:
    assert home.found() == []
    seen(home)
    assert home.found() == [1]
    [hit] = find(home, "--digest", DIGEST)["hits"]
    assert hit["knownStatement"] == [f"sha256:{DIGEST}"]
    assert DIGEST not in hit["digests"][0], "the entry has a digest of what was signed"
    _, text, _ = home.run("entries", "search", "--digest", DIGEST)
    assert f"about    sha256:{DIGEST}" in text
    shown = home.json("entries", "show", "--origin", home.log.origin, "--index", "1")
    assert shown["knownStatement"] == [f"sha256:{DIGEST}"]
    other = find(home, "--digest", hashlib.sha256(b"other").hexdigest())["hits"]
    assert [one["knownStatement"] for one in other] == [[]]


@pytest.mark.parametrize("body", [dsse_v2, lambda one: hashedrekord_v2(one, encoded_digest(one))])
def test_both_digests_that_a_log_may_have_of_it_are_known(home: Attested, body: Any) -> None:
    expectation(home)
    logged(home, json.dumps(body(home.signed)).encode())
    home.json("index", "build")
    assert 2 in home.found()


def encoded_digest(signed: Any) -> bytes:
    kind, payload = "application/vnd.in-toto+json", signed.payload
    text = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    return hashlib.sha256(text).digest()


def test_a_verdict_of_before_is_known_once_it_is_judged_again(home: Attested) -> None:
    verdict(home)
    store = open_store(home.path, write=True)
    store.execute("DELETE FROM known_statement")
    store.close()
    assert home.found() == []
    home.json("verdicts", "recheck")
    assert home.found() == [1]


def test_a_signed_statement_says_all_that_was_searched(home: Attested, tmp_path: Path) -> None:
    expectation(home)
    note = tmp_path / "found.note"
    assert home.found("--statement", note) == [1]
    store = open_store(home.path, write=True)
    store.execute("DELETE FROM known_statement")  # as at a site that has not seen it
    store.close()
    said = home.json("entries", "statement", "verify", note, "--rerun")
    assert len(said["statement"]["query"]["digest"]) > 3 and len(said["statement"]["hits"]) == 1


def test_a_page_shows_it_as_found(home: Attested, tmp_path: Path) -> None:
    expectation(home)
    page = tmp_path / "found.html"
    assert home.found("--html", page) == [1]
    home.json("report", "verify", page)


def test_an_alert_names_the_artifacts(home: Attested) -> None:
    expectation(home)
    home.json("watch", "add", "us", "--identity-exact", IDENTITY)
    [alert] = told(home)
    assert [one["knownStatement"] for one in alert["entries"]] == [[f"sha256:{DIGEST}"]]


@pytest.mark.parametrize(
    "about",
    [
        {"_type": "https://in-toto.io/Statement/v9"},
        statement() | {"subject": [{"name": "x", "digest": {"sha256": "no hex"}}]},
        statement() | {"subject": [{"name": "x", "digest": {"sha256": "00"}}]},
        statement() | {"subject": [{"name": "x", "digest": {"sha256": "00 " * 32}}]},
        statement() | {"subject": [{"name": "x"}]},
    ],
)
def test_what_is_about_nothing_that_can_be_read_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], about: dict[str, Any]
) -> None:
    home = Attested(tmp_path, capsys, about)
    expectation(home)
    store = open_store(home.path, write=False)
    assert store.rows("SELECT * FROM known_statement") == []
    store.close()


def test_an_envelope_that_is_queued_is_known_and_a_dry_run_leaves_nothing(
    home: Attested, tmp_path: Path
) -> None:
    signed = instance().sign_statement(statement(b"later"), managed=True)
    envelope = {
        "payload": b64encode(signed.payload or b"").decode(),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"sig": b64encode(signed.signature).decode()}],
    }
    (tmp_path / "dsse.json").write_text(json.dumps(envelope))
    (tmp_path / "key.pem").write_bytes(pem("PUBLIC KEY", signed.der))
    words = ("queue", "add", "--dsse", tmp_path / "dsse.json", "--key", tmp_path / "key.pem")
    wanted = [hashlib.sha256(b"later").digest()]
    for more, known in ((("--dry-run",), 0), ((), 4)):
        home.json(*words, *more)
        store = open_store(home.path, write=False)
        assert len(logged_about(store, wanted)) == known
        store.close()
