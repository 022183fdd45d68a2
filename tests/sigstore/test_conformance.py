"""The official conformance suite, half of it: 12 cases that verify, 23 that must not.

A client that always says no passes 23 of them, so each no is held to its reason. Where the
reason is shallower than the case's author meant, a comment says which and why.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sigstore.conformance import CASES, SCRIPT, command_line, run

POSITIVES = [
    "bundle-with-sct-with-extensions",
    "happy-path-intoto-in-dsse-v3",
    "happy-path-v0.1",
    "happy-path-v0.3-new-mediaType",
    "intoto-with-custom-trust-root",
    "managed-key-happy-path",
    "rekor2-checkpoint-cosigned",
    "rekor2-checkpoint-two-sigs-from-origin",
    "rekor2-dsse-happy-path",
    "rekor2-happy-path",
    "rekor2-timestamp-with-embedded-cert",
    "trust-root-tlog-validity-end-inclusive",
]
# case: (reason, words of the message that show it is the intended one)
NEGATIVES = {
    "bundle-empty-certificate-chain_fail": ("empty-chain", "certificates: missing"),
    "bundle-malformed-json_fail": ("malformed", "not JSON: Unterminated string"),
    "bundle-unknown-version_fail": ("media-type", "version=99.9"),
    "checkpoint-wrong-roothash_fail": ("checkpoint-mismatch", "inclusion proof leads to"),
    "dsse-mismatch-sig_fail": ("entry-signature", "not exactly the bundle's one"),
    "inclusion-proof-corrupted-hash_fail": ("proof", "expected root 1679e3d7"),
    "intoto-expired-certificate_fail": ("certificate-window", "2030-01-01T00:00:00Z"),
    # The entry's signature, made for the test, lacks intoto's second layer of base64.
    "intoto-log-entry-mismatch_fail": ("malformed", "signatures[0].sig: expected base64 of"),
    "invalid-checkpoint-signature_fail": ("bad-signature", "rekor.sigstore.dev+c0d23d6a"),
    "invalid-ct-key_fail": ("unknown-ct-log", "dd3d306ac6c7113263191e1c99673702"),
    # The key given is no key at all.
    "managed-key-wrong-key_fail": ("malformed", "not a PEM public key"),
    # Without the log's line there is none: no note at all.
    "rekor2-checkpoint-missing-log-signature_fail": ("malformed", "note is not text"),
    "rekor2-checkpoint-missing-origin_fail": ("malformed", "not a checkpoint: '736"),
    "rekor2-checkpoint-no-matching-signature_fail": ("wrong-origin", "rekor.github.dev"),
    "rekor2-dsse-mismatch-envelope_fail": ("entry-digest", "log entry is for sha256:57f2135c"),
    "rekor2-no-timestamp_fail": ("no-signing-time", "nothing proves when"),
    "rekor2-timestamp-outside-trust-root-tsa-validity_fail": (
        "timestamp-authority-window",
        "timestamp of 2025-06-12T12:02:20Z is outside the window",
    ),
    "rekor2-timestamp-payload-mismatch_fail": (
        "stamp-of-something-else",
        "timestamp is not over the bundle's signature",
    ),
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail": (
        "unknown-timestamp-authority",
        "not in the trusted root",
    ),
    "signature-mismatch_fail": ("bad-signature", "does not verify over sha256:a0cfc712"),
    "wrong-hashedrekord-artifact_fail": ("entry-digest", "log entry is for sha256:d40ec3ee"),
    "wrong-hashedrekord-entry_fail": ("entry-digest", "log entry is for sha256:9d92fa52"),
    "wrong-material_fail": ("artifact-digest", "bundle is for sha256:a0cfc712"),
}

needs_corpus = pytest.mark.skipif(not CASES.exists(), reason=f"no reference data: {CASES}")


@needs_corpus
def test_the_tables_name_every_case_of_the_corpus() -> None:
    assert sorted([*POSITIVES, *NEGATIVES]) == sorted(one.name for one in CASES.glob("*/"))
    assert all(name.endswith("_fail") for name in NEGATIVES)
    assert (len(POSITIVES), len(NEGATIVES)) == (12, 23)


@needs_corpus
@pytest.mark.parametrize("form", ["file", "digest"])
@pytest.mark.parametrize("name", POSITIVES)
def test_a_positive_case_verifies(name: str, form: str) -> None:
    error = run(command_line(CASES / name, form))
    assert error is None, error


@needs_corpus
@pytest.mark.parametrize("form", ["file", "digest"])
@pytest.mark.parametrize("name", sorted(NEGATIVES))
def test_a_negative_case_is_rejected_for_its_own_reason(name: str, form: str) -> None:
    error = run(command_line(CASES / name, form))
    assert error is not None
    reason, words = NEGATIVES[name]
    assert error.reason == reason, error
    assert words in str(error)


@needs_corpus
def test_another_signer_or_issuer_is_rejected() -> None:
    arguments = command_line(CASES / "happy-path-v0.1", "file")
    for position, reason in ((4, "identity"), (6, "issuer")):
        changed = list(arguments)
        changed[position] += "x"
        error = run(changed)
        assert error is not None
        assert error.reason == reason


@needs_corpus
@pytest.mark.parametrize(
    ("name", "status"), [("rekor2-happy-path", 0), ("signature-mismatch_fail", 3)]
)
def test_the_script_answers_by_its_exit_status(name: str, status: int) -> None:
    command = [sys.executable, str(SCRIPT), *command_line(CASES / name, "digest")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status, done.stderr
    assert bool(done.stderr) == bool(status)


def test_the_script_says_what_it_cannot_read(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "verify-bundle", "--bundle", str(tmp_path / "absent")]
    command += ["--certificate-identity", "a", "--certificate-oidc-issuer", "b", "sha256:00"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "cannot read" in done.stderr
