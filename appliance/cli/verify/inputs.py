"""What verify is asked about: artifacts, their Sigstore bundles, and who should have signed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import click

from appliance.errors import (
    ApplianceError,
    ArgumentError,
    IncompleteError,
    LimitError,
    RefusedError,
)
from appliance.patterns import pattern
from appliance.runs.exit_codes import naming
from appliance.sigstore.attestation_files import BUNDLE_SUFFIXES
from appliance.sigstore.digests import as_digest_argument, parse_digest_argument
from appliance.sigstore.identity import (
    CLAIMS,
    CertificateIdentity,
    ExpectedSigner,
    ManagedKey,
    is_claim_oid,
)
from appliance.store.files import given_lines, hash_file, read_given
from appliance.tlog.note_keys import load_public_key_file
from appliance.tlog.strict_json import check_encoding
from appliance.value import frozen

MAX_KEY_BYTES: Final = 64 * 1024
MAX_LINE_BYTES: Final = 64 * 1024  # of a list: two paths
STDIN: Final = "-"
_ALGORITHM: Final = pattern(r"sha\d+:")
_HALF: Final = (
    "expected sha256: and 64 hex digits, got {} (sha384: has 96, sha512: 128);"
    " a file of that name is ./sha…"
)
# What `gh attestation download` calls its file, on Windows with a dash.
_BY_DIGEST: Final = ("sha256:{}.jsonl", "sha256-{}.jsonl")
_LINE: Final = "look at what writes the list: a line is ARTIFACT <tab> BUNDLE"


@frozen
class Question:
    """One artifact to verify, or a line of a list that asks about none."""

    artifact: str  # "": the line names none
    bundle: Path | None = None  # None: none lies beside it
    error: ApplianceError | None = None  # what is wrong with the line


def expected_signer(
    identity: str,
    identity_regexp: str,
    issuer: str,
    issuer_regexp: str,
    key: Path | None,
    claims: Mapping[str, str],
    *,
    may_be_nobody: bool,
) -> ExpectedSigner | None:
    """Return who should have signed; raises UsageError unless exactly one way is given.

    None if none is, where that `may_be`: under a policy a tlog-proof needs no signer.
    """
    keyless = identity or identity_regexp or issuer or issuer_regexp or claims
    if key is not None and keyless:
        raise click.UsageError("--key and --certificate-… exclude each other")
    if key is not None:
        with naming(key):
            return ManagedKey(load_public_key_file(read_given(key, MAX_KEY_BYTES)))
    if not keyless and may_be_nobody:
        return None
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
    return CertificateIdentity(identity, issuer, identity_regexp, issuer_regexp, claims)


def claims_of(oids: tuple[str, ...], **workflow: str) -> dict[str, str]:
    """Return the claims that are demanded, by name or number; raises UsageError.

    `workflow` are cosign's names of what GitHub's certificates say; empty names are not asked.
    """
    claims: dict[str, str] = {}
    given = [oid.partition("=") for oid in oids]
    for name, equals, value in given:
        if not equals or not value or not (name in CLAIMS or is_claim_oid(name)):
            raise click.UsageError(
                f"--oid: expected NAME=VALUE with a name of {', '.join(CLAIMS)} or a number"
                f" such as {CLAIMS['build-trigger']}, got {'='.join((name, value))!r}"
            )
        if claims.setdefault(name, value) != value:
            raise click.UsageError(f"--oid {name} is given twice, with two values")
    return claims | {f"github-workflow-{name}": one for name, one in workflow.items() if one}


def artifacts_and_bundles(
    artifacts: tuple[str, ...], bundles: tuple[Path, ...], from_file: Path | None
) -> Iterator[Question]:
    """Yield what to verify, with no bundle where none lies beside the artifact.

    Lines of `from_file` are yielded as they come; what is wrong with one is in its question.
    Raises UsageError, before the first, if they do not go together; IncompleteError for a
    list of none.
    """
    if bundles and len(bundles) != len(artifacts):
        raise click.UsageError(f"{len(artifacts)} artifacts, but {len(bundles)} bundles")
    if not artifacts and from_file is None:
        raise click.UsageError("name an artifact, or --from-file")
    if [*artifacts, *map(str, bundles), str(from_file)].count(STDIN) > 1:
        raise click.UsageError("standard input is there once: give '-' once")
    for artifact in artifacts:
        _check_argument(artifact)
    if STDIN in artifacts and not bundles:
        raise click.UsageError("standard input has no Sigstore bundle beside it: give --bundle")
    named = [
        Question(artifact, bundles[number] if bundles else beside(artifact))
        for number, artifact in enumerate(artifacts)
    ]
    return _all_of(named, from_file)


def _all_of(named: list[Question], from_file: Path | None) -> Iterator[Question]:
    yield from named
    if from_file is None:
        return
    is_empty, number = not named, 0
    try:
        for number, line in enumerate(given_lines(from_file, MAX_LINE_BYTES), 1):
            if line.strip(b" "):
                is_empty = False
                yield _question(line, f"{from_file}:{number}")
    except LimitError as error:  # where the line ends is not known
        is_empty = False
        error.next_step = f"{_LINE}; nothing after line {number} was read"
        yield Question("", error=error)
    if is_empty:  # whoever wrote the list has to know that nothing was looked at
        raise IncompleteError(
            f"{from_file}: it names no artifact: nothing was verified",
            reason="nothing-to-verify",
            next_step=_LINE,
        )


def _question(line: bytes, place: str) -> Question:
    """Read a line of a list that is not blank; without a bundle, it is the one beside."""
    try:
        check_encoding(line, place)
    except RefusedError as error:
        return Question("", error=error)
    text = os.fsdecode(line)
    artifact, tab, bundle = text.partition("\t")
    wrong = ""
    if not artifact or not tab or "\0" in text:
        wrong = f"expected ARTIFACT <tab> BUNDLE, got {text[:80]!r}"
    elif STDIN in (artifact, bundle):  # of several lines only the first would find it full
        wrong = f"a list names files, and '{STDIN}' is none (a file of that name is ./{STDIN})"
    elif is_half_a_digest(artifact):
        wrong = _HALF.format(repr(artifact[:80]))
    if wrong:
        malformed = ArgumentError(f"{place}: {wrong}", reason="malformed", next_step=_LINE)
        return Question("", error=malformed)
    return Question(artifact, Path(bundle) if bundle else beside(artifact))


def _check_argument(artifact: str) -> None:
    if _holds(Path(artifact).is_dir):
        raise click.UsageError(f"{artifact} is a directory: name a file, or --image-layout DIR")
    if is_half_a_digest(artifact):
        raise click.UsageError(_HALF.format(repr(artifact[:80])))
    digest = as_digest_argument(artifact)
    if digest not in ("", artifact) and not _holds(Path(artifact).exists):
        raise click.UsageError(f"{artifact} is not there; if it is a digest, write {digest}")


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a name that is longer than a file's can be
        return False


def is_half_a_digest(artifact: str) -> bool:
    """Whether it begins as a digest does, and is none.

    A digest is one by its spelling alone: what lies in the directory never makes it a file.
    """
    return bool(_ALGORITHM.match(artifact)) and parse_digest_argument(artifact) is None


def beside(artifact: str) -> Path | None:
    """Return the Sigstore bundle that lies beside an artifact under a usual name, if one does.

    Beside a digest lies what is in the directory we are in.
    """
    digest = parse_digest_argument(artifact)
    if digest is not None:
        raw = digest.by_algorithm.get("sha256")
        return _by_digest(Path(), raw.hex()) if raw else None
    for suffix in BUNDLE_SUFFIXES:
        candidate = Path(artifact + suffix)
        if _holds(candidate.is_file):
            return candidate
    path = Path(artifact)
    if not _holds(path.is_file) or not _has_downloads(path.parent, path.parent.stat().st_mtime_ns):
        return None
    return _by_digest(path.parent, hash_file(path, ["sha256"])["sha256"].hex())


@lru_cache(maxsize=16)  # many artifacts of a list lie in one large directory
def _has_downloads(directory: Path, _: int) -> bool:
    """Whether what `gh attestation download` writes is there, at this time of the directory."""
    return any(one for name in _BY_DIGEST for one in directory.glob(name.format("*")))


def _by_digest(directory: Path, sha256: str) -> Path | None:
    candidates = (directory / name.format(sha256) for name in _BY_DIGEST)
    return next((one for one in candidates if _holds(one.is_file)), None)
