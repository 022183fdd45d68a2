"""What verify is asked about: artifacts, their Sigstore bundles, and who should have signed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from appliance.errors import MalformedError
from appliance.runs.exit_codes import naming
from appliance.sigstore.digests import parse_digest_argument
from appliance.sigstore.identity import CertificateIdentity, ExpectedSigner, ManagedKey
from appliance.store.files import read_foreign
from appliance.tlog.note_keys import load_public_key_file

MAX_KEY_BYTES: Final = 64 * 1024
MAX_LIST_BYTES: Final = 64 * 1024 * 1024
_ALGORITHM: Final = re.compile(r"sha\d+:")
_HALF: Final = "expected sha256: and 64 hex digits, got {}; a file of that name is ./sha…"
BUNDLE_SUFFIXES: Final = (
    ".sigstore.json",
    ".sigstore",
    ".bundle",
    ".publish.attestation",
    ".jsonl",
)


def expected_signer(
    identity: str, identity_regexp: str, issuer: str, issuer_regexp: str, key: Path | None
) -> ExpectedSigner:
    """Return who should have signed; raises UsageError unless exactly one way is given."""

    keyless = identity or identity_regexp or issuer or issuer_regexp
    if key is not None and keyless:
        raise click.UsageError("--key and --certificate-… exclude each other")
    if key is not None:
        with naming(key):
            return ManagedKey(load_public_key_file(read_foreign(key, MAX_KEY_BYTES)))
    if not keyless:
        raise click.UsageError(
            "who should have signed it? give --key FILE, or --certificate-identity and "
            "--certificate-oidc-issuer"
        )
    for one, regexp, option in (
        (identity, identity_regexp, "--certificate-identity"),
        (issuer, issuer_regexp, "--certificate-oidc-issuer"),
    ):
        if bool(one) == bool(regexp):
            raise click.UsageError(f"give either {option} or {option}-regexp")
    return CertificateIdentity(identity, issuer, identity_regexp, issuer_regexp)


def artifacts_and_bundles(
    artifacts: tuple[str, ...], bundles: tuple[Path, ...], from_file: Path | None
) -> list[tuple[str, Path | None]]:
    """Return what to verify, with no bundle where none lies beside the artifact.

    Raises UsageError if they do not go together, MalformedError for LIST.
    """

    pairs: list[tuple[str, Path | None]] = []
    if bundles and len(bundles) != len(artifacts):
        raise click.UsageError(f"{len(artifacts)} artifacts, but {len(bundles)} bundles")
    for number, artifact in enumerate(artifacts):
        if is_half_a_digest(artifact):
            raise click.UsageError(_HALF.format(repr(artifact[:80])))
        pairs.append((artifact, bundles[number] if bundles else _beside(artifact)))
    if from_file is not None:
        text = read_foreign(from_file, MAX_LIST_BYTES).decode("utf-8", "surrogateescape")
        for number, line in enumerate(text.split("\n"), 1):
            artifact, tab, bundle = line.partition("\t")
            if line and not tab:
                raise MalformedError(f"{from_file}:{number}: expected ARTIFACT <tab> BUNDLE")
            if is_half_a_digest(artifact):
                raise MalformedError(f"{from_file}:{number}: {_HALF.format(repr(artifact[:80]))}")
            if line:
                pairs.append((artifact, Path(bundle)))
    if not pairs:
        raise click.UsageError("name an artifact, or --from-file")
    return pairs


def is_half_a_digest(artifact: str) -> bool:
    """Whether it begins as a digest does, and is none.

    A digest is one by its spelling alone: what lies in the directory never makes it a file.
    """
    return bool(_ALGORITHM.match(artifact)) and parse_digest_argument(artifact) is None


def _beside(artifact: str) -> Path | None:
    if parse_digest_argument(artifact) is not None:
        return None  # a digest lies nowhere
    for suffix in BUNDLE_SUFFIXES:
        candidate = Path(artifact + suffix)
        if candidate.is_file():
            return candidate
    return None
