"""Files of other kinds, given for a bundle, a root or a key: named, and what to do with them."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import ApplianceError, MalformedError, RefusedError
from appliance.sigstore.attestation_files import read_attestation_file
from appliance.sigstore.digests import as_digest_argument
from appliance.sigstore.trusted_root import parse_trusted_roots
from appliance.tlog.note_keys import load_public_key_file
from tests.pki.authorities import certificate_der, new_key, spki
from tests.pki.bundles import ARTIFACT, Instance, pem
from tests.verify.test_verify_inputs import Desk, desk

__all__ = ["desk"]
MADE = Instance()
BUNDLE = json.dumps(MADE.v2_bundle()).encode()
ATTESTED = MADE.v2_bundle(MADE.sign_statement())
ROOT = json.dumps(MADE.root()).encode()
KEY = new_key()
CERTIFICATE = pem("CERTIFICATE", certificate_der(MADE.certify(KEY)))
ENVELOPE = json.dumps(ATTESTED["dsseEnvelope"]).encode()
ENTRY = json.dumps({"24296fb24b8ad77a": {"body": "e30=", "logID": "c0d2", "logIndex": 1}}).encode()
CONFIG = b'{"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}'

NOT_A_BUNDLE: dict[str, tuple[bytes, str, str]] = {
    "gzip": (gzip.compress(BUNDLE), "compressed by gzip", "gunzip"),
    "zip": (b"PK\x03\x04" + bytes(40), "a ZIP archive", "unzip"),
    "certificate": (CERTIFICATE, "a certificate in PEM", "cosign bundle create"),
    "OpenPGP": (b"-----BEGIN PGP SIGNATURE-----\n\niQ==\n", "an OpenPGP signature", "gpg"),
    "minisign": (b"untrusted comment: x\nRUQf6LRC\n", "of minisign", "minisign"),
    "SSH": (b"-----BEGIN SSH SIGNATURE-----\nU1NI\n", "an SSH signature", "ssh-keygen"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid x\n", "a Git LFS", "git lfs pull"),
    "web page": (b"<!doctype html><html>404</html>", "a web page", "fetch the file again"),
    "signature": (b64encode(bytes(70)) + b"\n", "a bare signature", "--signature FILE.sig"),
    "base64": (b64encode(BUNDLE), "JSON in base64", "base64 -d"),
    "stamp": (MADE.timestamp_authority.stamp(b"x"), "an RFC 3161 stamp", "attestor inspect"),
    "envelope": (ENVELOPE, "a DSSE envelope without its log entry", "--attestation"),
    "statement": (json.dumps({"_type": "x", "subject": []}).encode(), "nobody signed", "log entry"),
    "entry": (ENTRY, "a log's answer about an entry", "log entry in it"),
    "root": (ROOT, "a Sigstore trusted root", "--trusted-root"),
    "config": (CONFIG, "a Sigstore signing config", "signing wants it"),
    "TUF": (b'{"signed": {}, "signatures": []}', "TUF metadata", "attestor trust import"),
}


@pytest.mark.parametrize("name", list(NOT_A_BUNDLE))
def test_what_is_given_for_a_bundle_is_named(name: str) -> None:
    raw, kind, step = NOT_A_BUNDLE[name]
    with pytest.raises(RefusedError) as caught:
        read_attestation_file(raw)
    assert caught.value.reason == "other-file"
    assert kind in caught.value.message
    assert step in caught.value.next_step


@pytest.mark.parametrize(
    ("raw", "kind", "step"),
    [
        (BUNDLE, "a Sigstore bundle", "--bundle"),
        (CERTIFICATE, "a certificate in PEM", "cosign trusted-root create"),
        (CONFIG, "a Sigstore signing config", "signing wants it"),
        (b'{"signed": {}, "signatures": []}', "TUF metadata", "repository"),
    ],
)
def test_what_is_given_for_a_trusted_root_is_named(raw: bytes, kind: str, step: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_trusted_roots(raw)
    assert caught.value.reason == "other-file"
    assert kind in caught.value.message
    assert step in caught.value.next_step


@pytest.mark.parametrize("raw", [b"", b"junk", b"{}", b'{"mediaType": 5}', b"[]", b"\x30\x03abc"])
def test_what_is_of_no_known_kind_stays_malformed(raw: bytes) -> None:
    for read in (read_attestation_file, parse_trusted_roots, load_public_key_file):
        with pytest.raises(MalformedError):
            read(raw)


@pytest.mark.parametrize(
    ("raw", "kind", "step"),
    [
        (CERTIFICATE, "a certificate in PEM", "openssl x509"),
        (
            KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
            "an OpenSSH key",
            "-m PKCS8",
        ),
        (b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "an SSH key (RFC 4716)", "ssh-keygen -i"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxsB=\n", "an OpenPGP key", "gpg"),
        (b"untrusted comment: minisign public key\nRWQ\n", "of minisign", "minisign"),
        (b'{"kty": "EC"}', "a JSON Web Key", "BEGIN PUBLIC KEY"),
        (b'{"keys": []}', "a list of keys", "npm"),
        (b64encode(spki(KEY)), "a bare signature or key", "END PUBLIC KEY"),
        (ROOT, "a Sigstore trusted root", "--trusted-root"),
    ],
)
def test_what_is_given_for_a_key_is_named(raw: bytes, kind: str, step: str) -> None:
    with pytest.raises(RefusedError) as caught:
        load_public_key_file(raw)
    assert caught.value.reason == "other-file"
    assert kind in caught.value.message
    assert step in caught.value.next_step


def test_public_keys_as_people_save_them() -> None:
    spelled = pem("PUBLIC KEY", spki(KEY))
    for raw in (
        *(spelled, spki(KEY), spelled.replace(b"\n", b"\r\n"), b"\n\n" + spelled),
        *(b"the key of the release\n" + spelled, spelled + b"\n\n"),
    ):
        assert load_public_key_file(raw) == spki(KEY)
    key = rsa.generate_private_key(65537, 2048)
    for encoding in (Encoding.PEM, Encoding.DER):
        assert load_public_key_file(
            key.public_key().public_bytes(encoding, PublicFormat.PKCS1)
        ) == spki(key)
    for mark, encoded in (
        (b"\xef\xbb\xbf", spelled),
        (b"\xff\xfe", spelled.decode().encode("utf-16-le")),
    ):
        with pytest.raises(RefusedError) as caught:
            load_public_key_file(mark + encoded)
        assert caught.value.reason == "text-encoding"


def test_digests_as_other_tools_write_them() -> None:
    digits = "6970ef51f54a3e4f7a5ccd707d95be3077298a0f68b1ebb25c124d38f6a78ad6"
    right = f"sha256:{digits}"
    for other in (digits, f"SHA256:{digits}", right):
        assert as_digest_argument(other) == right
    encoded = b64encode(bytes(64)).decode()
    assert as_digest_argument(f"sha512-{encoded}") == f"sha512:{'00' * 64}"
    for none in ("", "app.tar.gz", "md5:" + "0" * 32, "sha512-", f"sha256-{encoded}", digits[1:]):
        assert as_digest_argument(none) == ""


def test_another_tools_digest_is_told_how_it_is_written_here(desk: Desk) -> None:
    digits = "6970ef51f54a3e4f7a5ccd707d95be3077298a0f68b1ebb25c124d38f6a78ad6"
    code, _, err = desk.verify(digits, "--bundle", desk.bundle)
    assert code == 2
    assert f"write sha256:{digits}" in err
    (desk.directory / digits).write_bytes(ARTIFACT)  # a file of that name is a file
    code, _, _ = desk.verify(desk.directory / digits, "--bundle", desk.bundle)
    assert code == 0


@pytest.mark.parametrize(
    ("suffix", "words"),
    [
        (".sig", "cosign bundle create --signature FILE.sig --certificate FILE.pem"),
        (".att", "cosign bundle create --attestation"),
        (".asc", "another tool's signature"),
        ("", "put it there as app-1.2.tar.gz.sigstore.json"),
    ],
)
def test_a_signature_beside_an_artifact_that_is_no_bundle(
    desk: Desk, suffix: str, words: str
) -> None:
    desk.bundle.unlink()
    if suffix:
        Path(f"{desk.artifact}{suffix}").write_bytes(b"x")
    code, _, err = desk.verify(desk.artifact)
    assert code == 5
    assert words in err


@pytest.mark.parametrize("given", ["--bundle", "--trusted-root", "--key"])
def test_the_command_says_so_with_code_8(desk: Desk, given: str) -> None:
    wrong = desk.directory / "wrong"
    wrong.write_bytes(b"untrusted comment: minisign public key\nRWQf6LRC\n")
    if given == "--bundle":
        code, _, err = desk.verify(desk.artifact, given, wrong)
    else:
        options: list[str | Path] = [given, wrong]
        if given == "--trusted-root":
            options += ["--key", desk.directory / "key"]
            wrong.write_bytes(CERTIFICATE)
            (desk.directory / "key").write_bytes(pem("PUBLIC KEY", spki(KEY)))
        code, _, err = desk.verify(desk.artifact, "--bundle", desk.bundle, *options, keyless=False)
    assert code == 8
    assert err.count("\n") == 1
    assert f"{wrong}: expected" in err


def changed(**fields: Any) -> bytes:
    return json.dumps({**MADE.v2_bundle(), **fields}).encode()


def test_media_types_as_clients_write_them() -> None:
    chain = json.loads(json.dumps(MADE.v1_bundle()))
    chain["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.1+json"
    (bundle,) = read_attestation_file(json.dumps(chain).encode()).bundles
    assert bundle.version == "0.1"
    for media_type, newer in (
        ("application/vnd.dev.sigstore.bundle.v0.4+json", True),
        ("application/vnd.dev.sigstore.bundle.v0.3+json;charset=utf-8", False),
    ):
        with pytest.raises(ApplianceError) as caught:
            read_attestation_file(changed(mediaType=media_type))
        assert caught.value.reason == "media-type"
        assert ("the newer" in caught.value.message) is newer


def test_whole_numbers_with_a_fraction_of_zero_are_whole_numbers() -> None:
    bundle = MADE.v2_bundle()
    entry = bundle["verificationMaterial"]["tlogEntries"][0]
    for value, is_good in ((3.0, True), (3.5, False), (-1.0, False), (2.0**60, False)):
        entry["logIndex"] = value
        raw = json.dumps(bundle).encode()
        if is_good:
            (read,) = read_attestation_file(raw).bundles
            assert read.log_entries[0].log_index == 3
        else:
            with pytest.raises(MalformedError):
                read_attestation_file(raw)


def test_an_elliptic_key_of_another_curve_is_no_reason_to_fail_to_load() -> None:
    key = ec.generate_private_key(ec.SECP256K1())
    assert load_public_key_file(pem("PUBLIC KEY", spki_of(key))) == spki_of(key)


def spki_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
