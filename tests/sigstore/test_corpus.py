"""Bundles that six other clients made, and every CPython release: all valid ones verify."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ApplianceError, RefusedError, VerificationError
from appliance.rekor.x509_certificate import load_certificate
from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.dsse import DsseEnvelope, parse_statement
from appliance.sigstore.identity import CertificateIdentity, read_names
from appliance.sigstore.sigstore_bundle import SigstoreBundle, parse_sigstore_bundle
from appliance.sigstore.trusted_root import TrustedRoot, parse_trusted_root
from appliance.sigstore.verdict import Verification
from appliance.sigstore.verification import verify_bundle
from tests.shared import SHARED, shared

CORPUS = SHARED / "corpus"
PUBLIC_GOOD = Path(__file__).resolve().parents[2] / "appliance/sigstore/public_good.json"
_JAVA = "sigstore-java/sigstore-java/src/test/resources/dev/sigstore/samples/bundles"
_PYTHON = "sigstore-python/test/assets"

VALID = {
    "protobuf-specs/gen/pb-rust/sigstore-protobuf-specs/assets/a.txt.sigstore": "public-good",
    "sigstore-go/examples/bundle-provenance.json": "public-good",
    f"{_JAVA}/PKIX_ECDSA_P256_SHA_256.sigstore.json": "public-good",
    f"{_JAVA}/PKIX_ECDSA_P384_SHA_384.sigstore.json": "public-good",
    f"{_JAVA}/PKIX_RSA_PKCS1V15_2048_SHA256.sigstore.json": "public-good",
    f"{_JAVA}/bundle-with-timestamp.sigstore": "staging",
    f"{_JAVA}/bundle.dsse.rekor-v2.sigstore": "public-good",
    f"{_JAVA}/bundle.dsse.sigstore": "public-good",
    # Only a promise, as bundles 0.1 may be: the verdict says that it rests on that.
    f"{_JAVA}/bundle.v1.no.inclusion.sigstore": "public-good",
    f"{_JAVA}/bundle.v2.sigstore": "public-good",
    "sigstore-js/tests/bundles/bundleV01-dsse-with-proof.sigstore": "public-good",
    "sigstore-js/tests/bundles/bundleV01-intoto-with-proof.sigstore": "public-good",
    "sigstore-js/tests/bundles/bundleV02-dsse.sigstore": "public-good",
    "sigstore-js/tests/bundles/bundleV03-intoto.sigstore": "public-good",
    f"{_PYTHON}/bundle_v3.txt.sigstore": "staging",
    f"{_PYTHON}/staging-rekor-v2.txt.sigstore.json": "staging",
    f"{_PYTHON}/tsa/bundle.txt.sigstore": "tsa",
}
# bundle: (root, reason)
INVALID = {
    "sigstore-go/pkg/testing/data/bundles/dsse-2sigs.sigstore.json": (
        "public-good",
        "signature-count",
    ),
    f"{_JAVA}/bundle-with-mismatched-set.sigstore": ("public-good", "bad-set"),
    f"{_JAVA}/bundle.dsse.bad-signature.sigstore": ("public-good", "bad-signature"),
    f"{_JAVA}/bundle.dsse.rekor-v2.bad-signature.sigstore": ("staging", "bad-signature"),
    f"{_PYTHON}/bundle_invalid_version.txt.sigstore": ("staging", "media-type"),
    f"{_PYTHON}/bundle_no_checkpoint.txt.sigstore": ("staging", "no-checkpoint"),
    f"{_PYTHON}/tsa/bundle.duplicate.sigstore": ("tsa", "duplicate-stamp"),
}
N_CPYTHON = 195


@cache
def root(name: str) -> TrustedRoot:
    if name == "public-good":
        return parse_trusted_root(PUBLIC_GOOD.read_bytes())
    if name == "staging":
        (found,) = shared("corpus/sigstore-python").rglob("trusted_root.json")
        return parse_trusted_root(found.read_bytes())
    config = json.loads(shared(f"corpus/{_PYTHON}/tsa/trust_config.json").read_bytes())
    return parse_trusted_root(json.dumps(config["trustedRoot"]).encode())


def claimed_digests(bundle: SigstoreBundle) -> ArtifactDigests:
    """Take the artifact's digests from the bundle, where no artifact lies beside it."""
    if isinstance(bundle.content, DsseEnvelope):
        subject = parse_statement(bundle.content).subjects[0]
        return ArtifactDigests(
            {name: bytes.fromhex(value) for name, value in subject.digests.items()}
        )
    assert bundle.content.digest is not None
    return ArtifactDigests({bundle.content.digest.algorithm: bundle.content.digest.value})


def claimed_identity(bundle: SigstoreBundle) -> CertificateIdentity:
    """Take the signer from the certificate."""
    assert bundle.certificate is not None
    names = read_names(load_certificate(bundle.certificate, "leaf"))
    return CertificateIdentity(names.identities[0], names.issuers[0])


def verify_file(path: str, root_name: str) -> Verification:
    bundle = parse_sigstore_bundle(shared(f"corpus/{path}").read_bytes())
    return verify_bundle(bundle, claimed_digests(bundle), claimed_identity(bundle), root(root_name))


@pytest.mark.parametrize("path", sorted(VALID))
def test_a_valid_bundle_of_another_client_verifies(path: str) -> None:
    verdict = verify_file(path, VALID[path])
    assert verdict.verified
    assert verdict.signing_times


@pytest.mark.parametrize("path", sorted(INVALID))
def test_an_invalid_bundle_of_another_client_is_rejected(path: str) -> None:
    root_name, reason = INVALID[path]
    with pytest.raises(ApplianceError) as caught:
        verify_file(path, root_name)
    assert caught.value.reason == reason


def test_the_tables_name_every_bundle_of_the_corpus() -> None:
    shared("corpus")
    found = {
        str(file.relative_to(CORPUS))
        for client in ("protobuf-specs", "sigstore-go", "sigstore-java", "sigstore-js", _PYTHON)
        for file in (CORPUS / client).rglob("*")
        if file.suffix == ".sigstore" or file.name.endswith(".sigstore.json")
    }
    named = {*VALID, *INVALID} - {"sigstore-go/examples/bundle-provenance.json"}
    assert found == named


def cpython_releases() -> list[tuple[str, dict[str, Any], CertificateIdentity]]:
    """Return every release file with a bundle: URL, record, who was to sign it."""
    tracker = shared("corpus/cpython-release-tracker")
    managers = {
        one["Release"]: CertificateIdentity(one["Release manager"], one["OIDC Issuer"])
        for one in json.loads((tracker / "signing-identities.json").read_bytes())
    }
    return [
        (record["url"], record, managers[".".join(file.stem.split(".")[:2])])
        for file in sorted((tracker / "versions").glob("*.json"))
        for record in json.loads(file.read_bytes())
        if record.get("sigstore")
    ]


def test_every_cpython_release_verifies_and_only_as_what_it_is() -> None:
    releases = cpython_releases()
    assert len(releases) == N_CPYTHON
    other = ArtifactDigests({"sha256": bytes(32)})
    for url, record, manager in releases:
        bundle = parse_sigstore_bundle(json.dumps(record["sigstore"]).encode())
        digest = ArtifactDigests({"sha256": bytes.fromhex(record["sha256"])})
        verdict = verify_bundle(bundle, digest, manager, root("public-good"))
        assert verdict.signer is not None
        assert verdict.signer.identity == manager.identity, url
        with pytest.raises(VerificationError) as caught:
            verify_bundle(bundle, other, manager, root("public-good"))
        assert caught.value.reason == "artifact-digest", url


def test_the_shipped_root_is_the_public_good_instances() -> None:
    theirs = parse_trusted_root(shared("corpus/root-signing/trusted_root.json").read_bytes())
    ours = root("public-good")
    assert ours.logs == theirs.logs
    assert ours.ct_logs == theirs.ct_logs
    assert ours.certificate_authorities == theirs.certificate_authorities
    assert ours.timestamp_authorities == theirs.timestamp_authorities
    facts = json.loads(PUBLIC_GOOD.read_bytes())
    assert theirs.digest in facts["source"]
    assert facts["date"] == "2026-08-21"


def test_a_trust_configuration_is_not_a_trusted_root() -> None:
    config = shared(f"corpus/{_PYTHON}/tsa/trust_config.json").read_bytes()
    with pytest.raises(RefusedError, match="is a ClientTrustConfig") as caught:
        parse_trusted_root(config)
    assert caught.value.reason == "other-file"
