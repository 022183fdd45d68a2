"""What verify is asked about: artifacts, their Sigstore bundles, and who should have signed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.sigstore.digests import ArtifactDigests
    from appliance.sigstore.identity import ExpectedSigner
    from appliance.sigstore.sigstore_bundle import SigstoreBundle

MAX_KEY_BYTES: Final = 64 * 1024
MAX_LIST_BYTES: Final = 64 * 1024 * 1024
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
    from appliance.cli.output import naming
    from appliance.sigstore.identity import CertificateIdentity, ManagedKey
    from appliance.store.files import read_foreign
    from appliance.tlog.note_keys import load_public_key_file

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
    from appliance.errors import MalformedError
    from appliance.store.files import read_foreign

    pairs: list[tuple[str, Path | None]] = []
    if bundles and len(bundles) != len(artifacts):
        raise click.UsageError(f"{len(artifacts)} artifacts, but {len(bundles)} bundles")
    for number, artifact in enumerate(artifacts):
        _refuse_half_a_digest(artifact)
        pairs.append((artifact, bundles[number] if bundles else _beside(artifact)))
    if from_file is not None:
        text = read_foreign(from_file, MAX_LIST_BYTES).decode("utf-8", "surrogateescape")
        for number, line in enumerate(text.split("\n"), 1):
            artifact, tab, bundle = line.partition("\t")
            if line and not tab:
                raise MalformedError(f"{from_file}:{number}: expected ARTIFACT <tab> BUNDLE")
            if line:
                pairs.append((artifact, Path(bundle)))
    if not pairs:
        raise click.UsageError("name an artifact, or --from-file")
    return pairs


def _refuse_half_a_digest(artifact: str) -> None:
    from appliance.sigstore.digests import parse_digest_argument

    looks_like_one = re.match(r"sha\d+:", artifact) and not Path(artifact).exists()
    if looks_like_one and parse_digest_argument(artifact) is None:
        raise click.UsageError(f"expected sha256: and 64 hex digits, got {artifact!r}")


def _beside(artifact: str) -> Path | None:
    for suffix in BUNDLE_SUFFIXES:
        candidate = Path(artifact + suffix)
        if candidate.is_file():
            return candidate
    return None


def read_bundle(artifact: str, path: Path | None) -> bytes:
    """Read an artifact's Sigstore bundle; raises IncompleteError if there is none."""
    from appliance.errors import IncompleteError
    from appliance.sigstore.attestation_files import MAX_FILE_BYTES
    from appliance.sigstore.digests import parse_digest_argument
    from appliance.store.files import read_foreign

    if path is not None:
        return read_foreign(path, MAX_FILE_BYTES)
    if parse_digest_argument(artifact) is None and not Path(artifact).exists():
        raise IncompleteError(f"{artifact} is not there", reason="no-file")
    raise IncompleteError(
        f"{artifact} has no Sigstore bundle beside it",
        reason="no-bundle",
        next_step=f"name one with --bundle, or put it there as {Path(artifact).name}.sigstore.json",
    )


def digests_of(artifact: str, bundles: Sequence[SigstoreBundle]) -> ArtifactDigests:
    """Hash an artifact once with all its bundles need, or take the digest it was given as."""
    from appliance.sigstore.digests import (
        ArtifactDigests,
        digests_needed,
        parse_digest_argument,
    )
    from appliance.store.files import hash_file

    given = parse_digest_argument(artifact)
    if given is not None and not Path(artifact).exists():
        return given
    needed = frozenset().union(*map(digests_needed, bundles))
    return ArtifactDigests(hash_file(Path(artifact), needed))
