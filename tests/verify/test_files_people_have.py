"""Files as tools, registries and shells leave them, each from public reports: read, or named."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from appliance.sigstore.attestation_files import BUNDLE_SUFFIXES
from tests.pki.authorities import new_key, spki
from tests.pki.bundles import ARTIFACT, Instance, pem
from tests.pki.logs import base64
from tests.pki.rsa_keys import rsa_key
from tests.verify.test_verify_inputs import MADE, Desk, desk

__all__ = ["desk"]
BUNDLE = MADE.v2_bundle()
ATTESTED = MADE.v2_bundle(MADE.sign_statement())
OTHERS = MADE.v2_bundle(MADE.sign_statement({"_type": "x", "subject": []}))
DIGEST = hashlib.sha256(ARTIFACT).hexdigest()
PRETTY = json.dumps(BUNDLE, indent=2)
LINE = json.dumps(BUNDLE)


def answer(desk: Desk, *words: str | Path, keyless: bool = True) -> tuple[int, str, str]:
    """Return code, reason, and message with the next step and the warnings."""
    code, out, _ = desk.verify(*words, "--json", keyless=keyless)
    found = json.loads(out)
    error = found.get("error", {"reason": "", "message": "", "next": ""})
    told = "; ".join((error["message"], error["next"], *found["warnings"]))
    return code, error["reason"], told


def of_raw(desk: Desk, raw: bytes) -> tuple[int, str, str]:
    given = desk.directory / "given"
    given.write_bytes(raw)
    return answer(desk, desk.artifact, "--bundle", given)


READ: dict[str, str] = {
    "several objects, as jq prints them": f"{json.dumps(OTHERS, indent=2)}\n{PRETTY}\n",
    "the same with Windows line ends": f"{json.dumps(OTHERS, indent=2)}\n{PRETTY}".replace(
        "\n", "\r\n"
    ),
    "lines with blank ones and Windows line ends": f"\r\n{json.dumps(OTHERS)}\r\n\r\n{LINE}\r\n",
    "a comment before the lines": f"# attestations of app\n{LINE}\n",
    "a line that is an array": f"[]\n{LINE}\n",
    "a line that was cut": f"{LINE}\n{LINE[:200]}\n",
    "a line with a byte order mark between others": f"{LINE}\n\ufeff{LINE}\n",
    "gh attestation verify --format json": json.dumps(
        [{"attestation": {"bundle": ATTESTED, "bundle_url": ""}, "verificationResult": {}}]
    ),
    "npm audit signatures --json": json.dumps(
        {"invalid": [], "verified": [{"name": "a", "attestationBundles": [{"bundle": ATTESTED}]}]}
    ),
    "an answer of GitHub with one bundle elsewhere": json.dumps(
        {"attestations": [{"bundle": None, "bundle_url": "x"}, {"bundle": ATTESTED}]}
    ),
}


@pytest.mark.parametrize("name", list(READ))
def test_a_good_bundle_is_found_in_it(desk: Desk, name: str) -> None:
    code, _, told = of_raw(desk, READ[name].encode())
    assert code == 0, told


def test_what_is_passed_over_is_told(desk: Desk) -> None:
    for name in ("a comment before the lines", "a line that was cut"):
        assert "passed over what could not be read: line" in of_raw(desk, READ[name].encode())[2]
    # What lies beside a damaged bundle makes no yes of it.
    broken = json.dumps({**BUNDLE, "messageSignature": {"signature": "AAAA"}})
    assert of_raw(desk, f"# comment\n{broken}\n".encode())[0] == 3


NAMED: dict[str, tuple[bytes, str, str]] = {
    "UTF-16 without a mark": (LINE.encode("utf-16-le"), "text-encoding", "iconv -f UTF-16LE"),
    "the other UTF-16": (LINE.encode("utf-16-be"), "text-encoding", "iconv -f UTF-16BE"),
    "UTF-32": (LINE.encode("utf-32"), "text-encoding", "iconv -f UTF-32 "),
    "an answer of GitHub without the bundle": (
        b'{"attestations": [{"bundle": null, "bundle_url": "x", "repository_id": 1}]}',
        "other-file",
        "gh attestation download",
    ),
    "an error of GitHub": (
        b'{"message": "Not Found", "documentation_url": "x"}',
        "other-file",
        "an error that GitHub answered",
    ),
    "cosign download signature": (
        b'{"Base64Signature":"MEU=","Payload":"e30=","Cert":null,"Bundle":null}\n',
        "other-file",
        "cosign download signature prints it",
    ),
    "cosign verify": (
        b'[{"critical":{"type":"cosign container image signature"},"optional":null}]',
        "other-file",
        "what cosign says of a signature",
    ),
    "rekor-cli get": (
        b'{"Attestation":"","Body":{},"LogIndex":1,"UUID":"x","LogID":"y"}',
        "other-file",
        "a log's answer about an entry",
    ),
}


@pytest.mark.parametrize("name", list(NAMED))
def test_what_is_no_bundle_is_named_and_nothing_was_judged(desk: Desk, name: str) -> None:
    raw, reason, words = NAMED[name]
    code, got, told = of_raw(desk, raw)
    assert (code, got) == (8, reason)
    assert words in told


def test_a_certificate_in_pem_where_der_is_wanted_is_named(desk: Desk) -> None:
    bundle = json.loads(LINE)
    certificate = bundle["verificationMaterial"]["certificate"]
    certificate["rawBytes"] = base64(pem("CERTIFICATE", b64decode(certificate["rawBytes"])))
    code, reason, told = of_raw(desk, json.dumps(bundle).encode())
    assert (code, reason) == (3, "bad-certificate")
    assert "expected a certificate in DER, got one in PEM; rawBytes is the base64 of DER" in told


@pytest.mark.parametrize("algorithm", [None, 0, "HASH_ALGORITHM_UNSPECIFIED"])
def test_a_message_digest_whose_algorithm_is_the_default(desk: Desk, algorithm: Any) -> None:
    bundle = json.loads(LINE)
    digest = bundle["messageSignature"]["messageDigest"]
    digest["algorithm"] = algorithm
    assert of_raw(desk, json.dumps(bundle).encode())[0] == 0
    digest["digest"] = base64(bytes(32))  # it still has to be the artifact's
    assert of_raw(desk, json.dumps(bundle).encode())[:2] == (3, "artifact-digest")
    bundle["messageSignature"]["messageDigest"] = {}
    assert of_raw(desk, json.dumps(bundle).encode())[0] == 0


def attested(desk: Desk, *subjects: dict[str, Any]) -> tuple[int, str, str]:
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": list(subjects),
        "predicateType": "https://in-toto.io/attestation/release/v0.1",
        "predicate": {},
    }
    return of_raw(desk, json.dumps(MADE.v2_bundle(MADE.sign_statement(statement))).encode())


def test_subjects_of_other_kinds_beside_the_artifact(desk: Desk) -> None:
    ours = {"name": "app", "digest": {"sha256": DIGEST}}
    tag = {"uri": "pkg:github/me/app@v1", "digest": {"sha1": "00" * 20}}
    assert attested(desk, tag, {"uri": "x"}, {"name": "y", "digest": None}, ours)[0] == 0
    assert attested(desk, {"name": "app", "digest": {"gitCommit": "x", "sha256": DIGEST}})[0] == 0
    # Nothing that is compared here: that is no proof of another artifact.
    code, reason, told = attested(desk, tag, {"uri": "x"})
    assert (code, reason) == (8, "digest-algorithm")
    assert "none of the statement's 2 subjects has a digest that is compared here" in told
    other = {"name": "app", "digest": {"sha256": "00" * 32}}
    assert attested(desk, tag, other)[:2] == (3, "subject-mismatch")


def test_names_under_which_nothing_can_be(desk: Desk) -> None:
    for name in ("x" * 300, f"{desk.artifact}/x"):
        code, reason, _ = answer(desk, name, "--bundle", desk.bundle)
        assert (code, reason) == (5, "no-file")
    assert answer(desk, desk.artifact, "--bundle", "x" * 300)[:2] == (5, "no-file")


@pytest.mark.parametrize("key", ["awskms:///alias/x", "k8s://a/b", "https://x/cosign.pub"])
def test_an_address_says_that_nothing_is_fetched(desk: Desk, key: str) -> None:
    words: list[str | Path] = [desk.artifact, "--bundle", desk.bundle, "--key", key]
    code, reason, told = answer(desk, *words, keyless=False)
    assert (code, reason) == (5, "no-file")
    assert "nothing is fetched here" in told
    assert "nothing is fetched here" in answer(desk, desk.artifact, "--bundle", key)[2]


def test_an_image_by_its_digest_is_told_how_it_is_written_here(desk: Desk) -> None:
    code, _, told = answer(desk, f"ghcr.io/me/app@sha256:{DIGEST}", "--bundle", desk.bundle)
    assert code == 2
    assert f"write sha256:{DIGEST}" in told


def private(label: bytes) -> bytes:
    return b"-----BEGIN %b-----\neyJ=\n-----END %b-----\n" % (label, label)


@pytest.mark.parametrize(
    ("label", "step"),
    [
        (b"ENCRYPTED SIGSTORE PRIVATE KEY", "cosign public-key --key"),
        (b"ENCRYPTED COSIGN PRIVATE KEY", "cosign public-key --key"),
        (b"PRIVATE KEY", "openssl pkey -in FILE -pubout"),
        (b"EC PRIVATE KEY", "openssl pkey -in FILE -pubout"),
        (b"OPENSSH PRIVATE KEY", "ssh-keygen -e -m PKCS8"),
    ],
)
def test_a_private_key_is_named(desk: Desk, label: bytes, step: str) -> None:
    key = desk.directory / "key"
    key.write_bytes(private(label))
    words: list[str | Path] = [desk.artifact, "--bundle", desk.bundle, "--key", key]
    code, reason, told = answer(desk, *words, keyless=False)
    assert (code, reason) == (8, "other-file")
    assert step in told


def test_a_key_that_is_made_to_be_slow_is_not_verified_with(desk: Desk) -> None:
    key = desk.directory / "key"
    for bits, expected in ((31, (0, "")), (3070, (8, "unsupported-key"))):
        secret = rsa_key(bits)
        desk.write(MADE.v2_bundle(MADE.sign_artifact(secret, managed=True)))
        key.write_bytes(pem("PUBLIC KEY", spki(secret)))
        words: list[str | Path] = [desk.artifact, "--key", key, "--trusted-root", desk.root]
        code, reason, told = answer(desk, *words, keyless=False)
        assert (code, reason) == expected, told
    assert "signer key is RSA with a public exponent of 3,070 bits (at most 31)" in told


def test_a_key_beside_other_blocks_and_several_keys(desk: Desk) -> None:
    secret = new_key()
    desk.write(MADE.v2_bundle(MADE.sign_artifact(secret, managed=True)))
    key = desk.directory / "key"
    ours, other = pem("PUBLIC KEY", spki(secret)), pem("PUBLIC KEY", spki(new_key()))
    assert isinstance(secret, ec.EllipticCurvePrivateKey)
    whole = secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    words: list[str | Path] = [desk.artifact, "--key", key, "--trusted-root", desk.root]
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    for good in (parameters + ours, ours + ours, whole + ours):
        key.write_bytes(good)
        assert answer(desk, *words, keyless=False)[0] == 0
    for several in (ours + other, other + ours):  # no guess which of them is meant
        key.write_bytes(several)
        code, reason, told = answer(desk, *words, keyless=False)
        assert (code, reason) == (8, "several-keys")
        assert "expected one, got 2" in told


def test_a_class_that_python_does_not_have_is_wrong_usage(desk: Desk) -> None:
    issuer = ["--certificate-oidc-issuer", "x", "--certificate-identity-regexp", "[[:alpha:]]+@.*"]
    code, reason, told = answer(desk, desk.artifact, *issuer, keyless=False)
    assert (code, reason) == (2, "identity")
    assert "is not a class of Python's" in told


@pytest.mark.parametrize("suffix", [one for one in BUNDLE_SUFFIXES if one != ".tlog-proof"])
def test_a_bundle_beside_the_artifact(desk: Desk, suffix: str) -> None:
    desk.bundle.rename(f"{desk.artifact}{suffix}")
    assert answer(desk, desk.artifact)[0] == 0


def test_a_pattern_of_the_shell_names_bundles_too(desk: Desk) -> None:
    code, out, err = desk.verify(*sorted(desk.directory.glob("app-*")))
    assert code == 5
    assert out.count(": VERIFIED") == 1
    assert f"it is named like the bundle of {desk.artifact}: verify that" in err


@pytest.mark.parametrize("name", [f"sha256:{DIGEST}.jsonl", f"sha256-{DIGEST}.jsonl"])
def test_what_gh_attestation_download_calls_its_file(
    desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.bundle.rename(desk.directory / name)
    assert answer(desk, desk.artifact)[0] == 0
    monkeypatch.chdir(desk.directory)
    assert answer(desk, f"sha256:{DIGEST}")[0] == 0
    desk.artifact.write_bytes(b"another")  # whose file would have another name
    assert answer(desk, desk.artifact)[:2] == (5, "no-bundle")


def changed_root(desk: Desk, change: Callable[[dict[str, Any]], object]) -> tuple[int, str, str]:
    root = json.loads(desk.root.read_bytes())
    change(root)
    desk.root.write_text(json.dumps(root), "utf-8")
    return answer(desk, desk.artifact)


def test_a_log_key_of_a_kind_that_is_not_known_spoils_only_itself(desk: Desk) -> None:
    def add(root: dict[str, Any]) -> None:
        for details, raw in (("PKIX_OF_LATER", "AAAA"), ("PKIX_ED25519", "AAAA")):
            key = {**root["tlogs"][0]["publicKey"], "keyDetails": details, "rawBytes": raw}
            log_id = {"keyId": base64(hashlib.sha256(details.encode()).digest())}
            root["tlogs"].insert(0, {**root["tlogs"][0], "publicKey": key, "logId": log_id})

    desk.run("init")
    for imported in (False, True):
        if imported:
            assert desk.run("trust", "import", desk.root)[0] == 0
        assert changed_root(desk, add if not imported else dict)[0] == 0
    code, out, _ = desk.run("verify", desk.artifact, *desk.keyless, "--json")
    assert code == 0, out


def test_several_roots_as_jq_prints_them(desk: Desk) -> None:
    ours, other = json.loads(desk.root.read_bytes()), Instance().root()
    for roots in ((ours, other), (other, ours)):
        desk.root.write_text("\n".join(json.dumps(one, indent=2) for one in roots), "utf-8")
        assert answer(desk, desk.artifact)[0] == 0
    desk.root.write_bytes(b"\n")
    code, _, told = answer(desk, desk.artifact)
    assert code == 3 and "trusted root: the file is empty" in told


def test_an_issuer_that_is_not_there_is_said_in_words(desk: Desk) -> None:
    def drop(root: dict[str, Any]) -> None:
        chain = root["certificateAuthorities"][0]["certChain"]
        chain["certificates"] = chain["certificates"][1:]

    code, reason, told = changed_root(desk, drop)
    assert (code, reason) == (3, "certificate-path")
    assert "none of its certificates issued it" in told
