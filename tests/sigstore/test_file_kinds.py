"""What a file is: every kind by its own maker, and nothing but typed errors for the rest."""

from __future__ import annotations

import json
import random
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from appliance.cli.main import run
from appliance.errors import ApplianceError, MalformedError, RefusedError
from appliance.rekor.x509_certificate import pem_certificate_der
from appliance.runs.session import Session
from appliance.sigstore.file_kinds import describe_file
from appliance.tlog.note import parse_note
from appliance.tlog.tlog_proof import TlogProof
from tests.mirror.mirrors import NOW
from tests.pki.authorities import IDENTITY, certificate_der
from tests.pki.bundles import Instance, Signed, statement

MADE = Instance()


def test_a_certificate_of_no_version_that_exists_is_no_certificate() -> None:
    whole = certificate_der(MADE.authority.certificate)
    strange = whole.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020103"), 1)
    assert strange != whole
    pem = ssl.DER_cert_to_PEM_cert(strange)
    with pytest.raises(MalformedError, match="not a certificate: 3 is not a valid X509 version"):
        describe_file(pem.encode())
    with pytest.raises(MalformedError) as caught:
        pem_certificate_der(pem.encode(), "FILE")
    assert caught.value.reason == "bad-certificate"


def signed_statement() -> Signed:
    return MADE.sign_statement()


def kinds() -> dict[str, tuple[bytes, str, str]]:
    """Return files with the kind they are and a word of what they claim."""
    bundle = MADE.v2_bundle()
    attestation = MADE.v1_bundle(MADE.sign_statement())
    entry = MADE.v2_log.add(b'{"kind":"hashedrekord","apiVersion":"0.0.2"}')
    proof = entry.inclusion_proof
    assert proof is not None
    note = proof.checkpoint.encode()
    tlog_proof = TlogProof(proof.entry_index, proof.hashes, note)
    certificate = MADE.authority.certificate
    key = MADE.v1_log.key.public_key()
    signing_config = {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "rekorTlogUrls": [
            {
                "url": "https://log.example",
                "majorApiVersion": 2,
                "validFor": {"start": "2025-01-01T00:00:00Z"},
            }
        ],
    }
    tuf = {"signatures": [], "signed": {"_type": "root", "version": 7, "expires": "2027"}}
    found: dict[str, tuple[Any, str, str]] = {
        "bundle": (bundle, "a Sigstore bundle 0.3", IDENTITY),
        "attestation": (attestation, "a Sigstore bundle 0.1", "https://example.com/predicate"),
        "several": ([bundle, {"mediaType": "x"}], "2 attestations in one file", "got 'x'"),
        "root": (MADE.root(), "a Sigstore trusted root", "https://rekor.example"),
        "signing config": (signing_config, "a Sigstore signing config", "Rekor v2"),
        "statement": (statement(), "an in-toto statement, unsigned", "artifact sha256:"),
        "envelope": (attestation["dsseEnvelope"], "a DSSE envelope", "predicate"),
        "TUF": (tuf, "TUF metadata", "7"),
        "lines": (
            "\n".join(json.dumps(MADE.root()) for _ in range(2)).encode(),
            "2 Sigstore trusted roots",
            "https://tsa.example",
        ),
        "proof": (bytes(tlog_proof), "a tlog-proof", "log.example"),
        "checkpoint": (note, "a checkpoint", "log.example"),
        "note": (note.replace(note.split(b"\n")[1], b"x"), "a signed note", "log.example"),
        "vkey": (MADE.v2_log.key.verifier.vkey.encode() + b"\n", "a verifier key", "ED25519"),
        "PEM key": (
            key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "a public key",
            "EC",
        ),
        "DER key": (
            key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            "a public key",
            "EC",
        ),
        "certificate": (certificate.public_bytes(Encoding.PEM), "a certificate", "SHA-256"),
        "DER certificate": (certificate_der(certificate), "a certificate", "SHA-256"),
        "stamp": (
            MADE.timestamp_authority.stamp(b"x"),
            "an RFC 3161 timestamp",
            "2026-01-01T12:01:00Z",
        ),
    }
    return {
        name: (raw if isinstance(raw, bytes) else json.dumps(raw).encode(), kind, word)
        for name, (raw, kind, word) in found.items()
    }


KINDS = kinds()


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_named_and_says_what_it_claims(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, kind, word = KINDS[name]
    file = tmp_path / "file"
    file.write_bytes(raw)
    link = tmp_path / "link"
    link.symlink_to(file)
    session = Session(home=tmp_path / "no-home", now=lambda: NOW)
    assert run(["inspect", str(link)], session) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"{link}: {kind}")
    assert "NOT VERIFIED" in out
    assert word in out
    assert run(["inspect", str(file), "--json"], session) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["kind"].startswith(kind), data["verified"]) == (True, False)


def test_what_is_not_known_or_not_to_be_seen_is_an_error() -> None:
    for raw in (b"", b"\x00" * 100, b"hello", b"\x30\x03\x02\x01\x01"):
        with pytest.raises(MalformedError) as caught:
            describe_file(raw)
        assert caught.value.reason == "unknown-file"
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(RefusedError) as refused:
        describe_file(pem)
    assert refused.value.reason == "private-key"
    assert pem.split(b"\n")[1].decode() not in refused.value.message
    with pytest.raises(RefusedError, match="UTF-16"):
        describe_file("{}".encode("utf-16"))
    old = json.dumps({"base64Signature": "x", "cert": "y", "rekorBundle": {}}).encode()
    with pytest.raises(RefusedError, match="cosign 1 and 2"):
        describe_file(old)


def test_flipped_bytes_give_a_description_or_a_typed_error() -> None:
    dice = random.Random(14)  # noqa: S311 - the same flips every time
    for raw, _, _ in KINDS.values():
        for _ in range(60):
            flipped = bytearray(raw)
            for _ in range(dice.randrange(1, 4)):
                flipped[dice.randrange(len(flipped))] = dice.randrange(256)
            try:
                assert describe_file(bytes(flipped)).kind
            except ApplianceError:
                continue


def test_nothing_that_a_terminal_obeys_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = statement()
    content["subject"][0]["name"] = "x\x1b[31m\u202e\nError: y"
    file = tmp_path / "file"
    file.write_text(json.dumps(content), "utf-8")
    assert run(["inspect", str(file)], Session(home=tmp_path / "none")) == 0
    out, _ = capsys.readouterr()
    assert all(line.isprintable() for line in out.splitlines())
    assert not any(line.startswith("Error") for line in out.splitlines())
    assert parse_note(KINDS["checkpoint"][0])
