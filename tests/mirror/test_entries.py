"""entries show: what was logged, from our own copy, compared with what we say we published."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from appliance.rekor.transparency_log_entry import parse_log_entry
from appliance.store.home.journal import append_event
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.proof import verify_inclusion
from tests.cli.homes import NOW
from tests.cli.mirrored import MirroredHome
from tests.find.logged import instance, leaf
from tests.interop.signed_artifact import sign_artifact
from tests.pki.authorities import ISSUER, new_key, spki

KEY = new_key()


def body(content: bytes) -> bytes:
    """The leaf that a signed artifact becomes."""
    request = json.loads(sign_artifact(KEY, content).request())["hashedRekordRequestV002"]
    data = {"algorithm": "SHA2_256", "digest": request["digest"]}
    spec = {"hashedRekordV002": {"data": data, "signature": request["signature"]}}
    entry = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": spec}
    return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


def logged(home: MirroredHome, *bodies: bytes) -> None:
    home.log.grow(bodies)
    home.sync(0)


def show(home: MirroredHome, index: int, expect: int = 0) -> Any:
    return home.json(
        "entries", "show", "--origin", home.log.origin, "--index", str(index), expect=expect
    )


def test_the_logged_digest_is_printed(home: MirroredHome) -> None:
    first, second = body(b"one"), body(b"two")
    logged(home, first, second)
    shown = show(home, 1)
    assert shown["digest"] == f"sha256:{sha256(b'two').hexdigest()}"
    assert (shown["kind"], shown["leafHash"]) == ("hashedrekord 0.0.2", leaf_hash(second).hex())
    (signer,) = shown["signers"]
    assert (signer["type"], signer["sha256"]) == ("key", sha256(spki(KEY)).hexdigest())
    assert signer["vouched"] is None
    assert shown["loggedAfter"] is None and shown["loggedBefore"].startswith("20")
    assert shown["body"].encode() == second
    code, text, _ = home.run("entry", "show", "--origin", home.log.origin, "--index", "0")
    assert code == 0 and f"digest   sha256:{sha256(b'one').hexdigest()}" in text


def test_the_signer_of_a_certificate_is_named(home: MirroredHome) -> None:
    logged(home, leaf("who@example.com"), leaf("https://a/\x1b[31m"))
    (signer,) = show(home, 0)["signers"]
    assert (signer["identities"], signer["issuers"]) == (["who@example.com"], [ISSUER])
    assert signer["signedAt"].startswith("20")
    _, text, _ = home.run("entries", "show", "--origin", home.log.origin, "--index", "1")
    assert "identity https://a/\\x1b[31m" in text and "\x1b" not in text


def test_keys_certificates_and_proof_are_written_for_other_programs(
    home: MirroredHome, tmp_path: Path
) -> None:
    by_key = body(b"by key")
    logged(home, leaf("who@example.com", key=KEY), by_key)
    where = ("entries", "show", "--origin", home.log.origin, "--index")
    code, text, _ = home.run(*where, "0", "--pem")
    key = x509.load_pem_x509_certificate(text.encode()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert code == 0 and der == spki(KEY)
    code, text, _ = home.run(*where, "1", "--pem")
    der = load_pem_public_key(text.encode()).public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert code == 0 and der == spki(KEY)
    out = tmp_path / "entry.json"
    assert home.json(*where, "1", "--bundle-out", out)["bundleOut"] == str(out)
    entry = parse_log_entry(out.read_bytes())
    proof = entry.inclusion_proof
    assert proof is not None and entry.canonicalized_body == by_key
    head = open_checkpoint(proof.checkpoint.encode(), [home.log.key], home.log.origin).head
    verify_inclusion(1, leaf_hash(entry.canonicalized_body), head, proof.hashes)
    assert home.run(*where, "1", "--bundle-out", out)[0] == 6  # nothing is overwritten


@pytest.mark.parametrize("other", [False, True])
def test_whether_the_trusted_root_vouches_is_shown(
    home: MirroredHome, tmp_path: Path, other: bool
) -> None:
    trusted = tmp_path / "root.json"
    trusted.write_text(json.dumps(instance().root()))
    home.json("trust", "import", trusted)
    logged(home, leaf("who@example.com", other=other))
    (signer,) = show(home, 0)["signers"]
    assert signer["vouched"] is not other
    _, text, _ = home.run("entries", "show", "--origin", home.log.origin, "--index", "0")
    assert f"vouched  {'no' if other else 'yes'}" in text


def test_what_is_no_rekor_entry_is_shown_as_that(home: MirroredHome) -> None:
    logged(home, b"anything")
    shown = show(home, 0)
    assert (shown["kind"], shown["digest"], shown["body"]) == ("no Rekor entry", None, "anything")
    assert len(shown["unread"]) == 1


def test_what_is_not_here_is_a_clear_5(home: MirroredHome) -> None:
    assert show(home, 0, expect=5)["reason"] == "no-checkpoint"
    logged(home, body(b"one"))
    assert show(home, 1, expect=5)["reason"] == "not-covered"


def test_it_is_compared_with_the_journal(home: MirroredHome) -> None:
    logged(home, body(b"one"), body(b"two"))
    for index, digest in enumerate((sha256(b"one"), sha256(b"other"))):
        details = {
            "origin": home.log.origin,
            "rekor_log_index": index,
            "digest": f"sha256:{digest.hexdigest()}",
        }
        with home.mirror() as mirror, mirror.store.atomic():
            append_event(mirror.store, NOW, "transparency.checkpoint", details)
    assert show(home, 0)["journalLine"] == 1
    error = show(home, 1, expect=3)
    assert error["reason"] == "not-published"
    assert sha256(b"other").hexdigest() in error["message"]
    assert sha256(b"two").hexdigest() in error["message"]
