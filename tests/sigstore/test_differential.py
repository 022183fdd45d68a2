"""Against sigstore-python, in this process: every difference is listed, with its reason.

The oracle checks no subject of a statement, knows no managed keys, and takes RSA to raise a
TypeError; so its yes and its no both need a second look. A difference that is not in these
tables fails, and so does one that went away.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.identity import CertificateIdentity
from appliance.sigstore.sigstore_bundle import parse_sigstore_bundle
from tests.shared import SHARED, shared
from tests.sigstore.conformance import CASES, IDENTITY, ISSUER
from tests.sigstore.test_conformance import NEGATIVES, POSITIVES
from tests.sigstore.test_corpus import (
    _PYTHON,
    VALID,
    claimed_digests,
    claimed_identity,
    cpython_releases,
)
from tests.sigstore.test_mutations import (
    MUTATIONS,
    Scene,
    attestation_v1,
    attestation_v2,
    keyless_v1,
    keyless_v2,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

_INTOTO = "intoto 0.0.2 entries are not supported by it"
# Valid, and the oracle says no.
ORACLE_REFUSES = {
    "intoto-with-custom-trust-root": _INTOTO,
    "managed-key-happy-path": "managed keys are not supported by it",
    "sigstore-js/tests/bundles/bundleV01-intoto-with-proof.sigstore": _INTOTO,
    "sigstore-js/tests/bundles/bundleV03-intoto.sigstore": _INTOTO,
    "sigstore-go/examples/bundle-provenance.json": "v0.1 with a promise only, as npm published",
    "bundle.v1.no.inclusion.sigstore": "v0.1 with a promise only, over a blob",
    "PKIX_ECDSA_P384_SHA_384.sigstore.json": "it hashes with SHA-256 whatever the key",
    "PKIX_RSA_PKCS1V15_2048_SHA256.sigstore.json": "RSA signers end in an uncaught TypeError",
}
# Wrong, and the oracle says yes.
ORACLE_ACCEPTS = {
    **dict.fromkeys(
        (
            "a_statement_about_something_else",
            "a_statement_with_one_right_digest_and_one_wrong",
            "a_statement_without_subject",
            "a_statement_by_sha512_and_a_sha256_given",
            "a_statement_of_an_unknown_type",
            "a_statement_with_too_many_subjects",
        ),
        "verify_dsse leaves the statement to its caller",
    ),
    **dict.fromkeys(
        ("the_authority_ended_before", "the_authority_begins_later"),
        "windows of authorities are not compared with the signing time",
    ),
    **dict.fromkeys(
        (
            "an_anchor_that_ended",
            "an_anchor_that_is_no_authority",
            "an_anchor_that_may_not_sign_certificates",
            "an_anchor_whose_path_length_is_too_short",
            "an_anchor_that_did_not_issue_its_issuer",
            "an_anchor_that_excludes_the_name",
        ),
        "its paths end at the first certificate of the root's chain",
    ),
    **dict.fromkeys(
        ("a_timestamp_after_the_ct_log_ended", "a_timestamp_before_the_ct_log_began"),
        "windows of CT logs are not compared with the certificate's timestamp",
    ),
    **dict.fromkeys(
        ("logged_after_the_logs_key_ended", "logged_before_the_logs_key_began"),
        "windows of log keys are not compared with the integrated time",
    ),
    **dict.fromkeys(
        ("a_ct_log_under_another_id", "a_log_under_the_key_id_only"),
        "where no key has the id it tries every key",
    ),
    **dict.fromkeys(
        (
            *("a_timestamp_of_2099", "a_timestamp_a_year_early", "a_timestamp_a_day_late"),
            *("a_timestamp_a_millisecond_early", "a_timestamp_a_millisecond_late"),
        ),
        "the time of a certificate timestamp is not compared with the certificate",
    ),
    **dict.fromkeys(
        ("an_anchor_for_mail_only", "an_issuer_for_mail_only_uncritically"),
        "extended key usage of issuers counts only if it is critical, of anchors never",
    ),
    "a_new_issuer_extension_that_disagrees_with_the_old": "it reads the old extension only",
    "a_promise_on_a_v2_entry": "it does not look at it",
    "a_stamp_with_two_signers": "rfc3161-client counts equal signers once",
    "a_log_known_under_another_address": "origins are not compared with the root",
    "a_proof_to_another_size": "it compares the root only",
    "a_log_index_that_is_not_the_proofs": "the top-level index is not compared",
    "a_v2_entry_with_an_unnatural_digest": "it takes the digest the entry names",
}
# What the oracle is not asked for.
NOT_ASKED = {
    "a_claim_with_another_value",
    "a_claim_the_certificate_lacks",
    "a_regexp_that_matches_only_the_start",
    "a_regexp_that_matches_all_but_a_newline",
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@cache
def oracle_root(raw: bytes, directory: Path) -> Any:
    from sigstore.models import TrustedRoot

    file = directory / f"{hashlib.sha256(raw).hexdigest()}.json"
    file.write_bytes(raw)
    return TrustedRoot.from_file(str(file))


def oracle_accepts(
    bundle: bytes, root: bytes, who: CertificateIdentity, artifact: ArtifactDigests, directory: Path
) -> bool:
    from sigstore.hashes import Hashed
    from sigstore.models import Bundle
    from sigstore.verify import Verifier, policy
    from sigstore_models.common.v1 import HashAlgorithm

    try:
        parsed = Bundle.from_json(bundle)
        verifier = Verifier(trusted_root=oracle_root(root, directory))
        expected = policy.Identity(identity=who.identity, issuer=who.issuer)
        if parsed._dsse_envelope is not None:
            verifier.verify_dsse(parsed, expected)
        else:
            digest = artifact.by_algorithm.get("sha256", bytes(32))
            hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest)
            verifier.verify_artifact(hashed, parsed, expected)
    except Exception:  # noqa: BLE001 - it has no one family of errors
        return False
    return True


@pytest.mark.parametrize("name", [*POSITIVES, *NEGATIVES])
def test_conformance_cases(name: str, tmp_path: Path) -> None:
    case = shared(str((CASES / name).relative_to(SHARED)))
    artifact = case / "artifact" if (case / "artifact").exists() else case.parent / "a.txt"
    root = case / "trusted_root.json"
    if not root.exists():
        root = shared("corpus/root-signing/trusted_root.json")
    accepted = oracle_accepts(
        (case / "bundle.sigstore.json").read_bytes(),
        root.read_bytes(),
        CertificateIdentity(IDENTITY, ISSUER),
        ArtifactDigests({"sha256": hashlib.sha256(artifact.read_bytes()).digest()}),
        tmp_path,
    )
    assert accepted is (name in POSITIVES and name not in ORACLE_REFUSES)


@pytest.mark.parametrize("path", sorted(VALID))
def test_bundles_of_other_clients(path: str, tmp_path: Path) -> None:
    raw = shared(f"corpus/{path}").read_bytes()
    roots = {
        "public-good": "corpus/root-signing/trusted_root.json",
        "tsa": f"corpus/{_PYTHON}/tsa/trust_config.json",
    }
    if VALID[path] == "staging":
        (found,) = shared("corpus/sigstore-python").rglob("trusted_root.json")
        root = found.read_bytes()
    else:
        root = shared(roots[VALID[path]]).read_bytes()
    if VALID[path] == "tsa":
        root = json.dumps(json.loads(root)["trustedRoot"]).encode()
    bundle = parse_sigstore_bundle(raw)
    accepted = oracle_accepts(
        raw, root, claimed_identity(bundle), claimed_digests(bundle), tmp_path
    )
    refuses = path in ORACLE_REFUSES or path.rpartition("/")[2] in ORACLE_REFUSES
    assert accepted is not refuses


def test_cpython_releases(tmp_path: Path) -> None:
    root = shared("corpus/root-signing/trusted_root.json").read_bytes()
    for url, record, manager in cpython_releases():
        digest = ArtifactDigests({"sha256": bytes.fromhex(record["sha256"])})
        bundle = json.dumps(record["sigstore"]).encode()
        assert oracle_accepts(bundle, root, manager, digest, tmp_path), url


def ask(scene: Scene, directory: Path) -> bool:
    assert isinstance(scene.expected, CertificateIdentity)
    bundle, root = json.dumps(scene.bundle).encode(), json.dumps(scene.root).encode()
    return oracle_accepts(bundle, root, scene.expected, scene.artifact, directory)


@pytest.mark.parametrize("make", [keyless_v2, keyless_v1, attestation_v2, attestation_v1])
def test_our_throwaway_instance_is_one_to_the_oracle_too(make: Any, tmp_path: Path) -> None:
    assert ask(make(), tmp_path)


def test_mutations(tmp_path: Path) -> None:
    accepted = set()
    for name, (_, make) in MUTATIONS.items():
        scene = make()
        if name not in NOT_ASKED and isinstance(scene.expected, CertificateIdentity):
            accepted |= {name} if ask(scene, tmp_path) else set()
    assert accepted == set(ORACLE_ACCEPTS)
