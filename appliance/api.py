"""The library: verify an artifact offline from Python, with the answer that the command gives.

    from appliance import verify
    verdict = verify("app.tar.gz", trusted_root="trusted_root.json", key="signer.pem")
    print(verdict.ok, verdict.reason, verdict.message)

What stands here keeps its meaning between versions; everything else in this package may
change. No network is used, and nothing is written but evidence of a log that contradicts
itself, into the home that was named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from appliance.cli.verify.inputs import MAX_KEY_BYTES, beside
from appliance.cli.verify.verdict_text import answer_data
from appliance.errors import ApplianceError, ArgumentError
from appliance.jobs.progress import unseen
from appliance.jobs.verify.judged import Answer
from appliance.runs.exit_codes import exit_code, naming
from appliance.runs.session import Session
from appliance.runs.verify import Verifier, VerifyOptions, verifying
from appliance.sigstore.case import OptIns
from appliance.sigstore.digests import parse_digest_argument
from appliance.sigstore.identity import CertificateIdentity, ExpectedSigner, ManagedKey
from appliance.store.files import read_given
from appliance.tlog.note_keys import load_public_key_file
from appliance.value import frozen

NO_CLAIMS: Final[Mapping[str, str]] = {}


@frozen
class Verdict:
    """The answer about one artifact."""

    ok: bool  # everything that was demanded is proven
    code: int  # the exit code of the command: 0, 3 a proven no, 4 to 8 as documented
    reason: str  # a stable word; empty if ok
    message: str  # for people; empty if ok
    json: Mapping[str, Any]  # what `attestor verify --json` has for this artifact
    warnings: tuple[str, ...]


def verify(
    artifact: str | Path | None = None,
    *,
    digest: str = "",
    bundle: str | Path | None = None,
    trusted_root: str | Path | None = None,
    key: str | Path | None = None,
    identity: str = "",
    issuer: str = "",
    identity_regexp: str = "",
    issuer_regexp: str = "",
    claims: Mapping[str, str] = NO_CLAIMS,
    home: str | Path | None = None,
    policy: str | Path | None = None,
    require_mirror: bool = False,
    require_proof: bool = False,
    max_age: float | None = None,
    allow_unlogged: bool = False,
    allow_several_entries: bool = False,
    allow_subject: bool = False,
    predicate_type: str = "",
) -> Verdict:
    """Verify one artifact against its Sigstore bundle; a no is a value.

    Give a file as `artifact`, or its `digest` (sha256:HEX, sha384:HEX or sha512:HEX). Without
    `bundle` the one beside the file is taken. Who should have signed: a public `key`, or
    `identity` and `issuer` (or regular expressions that match the whole). `home` adds the
    pinned keys, the trusted root and the mirror of a store; without it nothing but the files
    is used. `max_age` is in seconds; the other options are those of the command.

    Raises ArgumentError for a question that is none, or a policy, root or key file that cannot
    be read or used raises its own ApplianceError.
    """
    name = _artifact_name(artifact, digest)
    opt_ins = OptIns(allow_unlogged, allow_several_entries, allow_subject)
    options = VerifyOptions(
        _signer(key, identity, issuer, identity_regexp, issuer_regexp, claims),
        None if trusted_root is None else Path(trusted_root),
        None if policy is None else Path(policy),
        require_mirror=require_mirror,
        require_proof=require_proof,
        max_age=max_age,
        opt_ins=opt_ins,
        predicate_type=predicate_type,
    )
    bundle_path = beside(name) if bundle is None else Path(bundle)
    if home is None:
        return _answered(Verifier(Session(home=Path()), options, None, unseen), name, bundle_path)
    with verifying(Session(home=Path(home)), options) as verifier:
        return _answered(verifier, name, bundle_path)


def _artifact_name(artifact: str | Path | None, digest: str) -> str:
    if (artifact is None) == (not digest):
        raise ArgumentError("give either an artifact or a digest", reason="question")
    if artifact is None:
        if parse_digest_argument(digest) is None:
            raise ArgumentError(f"not a digest: {digest[:140]!r}", reason="question")
        return digest
    # A path is a path, whatever it looks like.
    text = str(artifact)
    return f"./{text}" if parse_digest_argument(text) is not None else text


def _signer(
    key: str | Path | None,
    identity: str,
    issuer: str,
    identity_regexp: str,
    issuer_regexp: str,
    claims: Mapping[str, str],
) -> ExpectedSigner:
    keyless = identity or issuer or identity_regexp or issuer_regexp or claims
    if key is None:
        return CertificateIdentity(identity, issuer, identity_regexp, issuer_regexp, dict(claims))
    if keyless:
        raise ArgumentError("give either a key or an identity and its issuer", reason="identity")
    with naming(Path(key)):
        return ManagedKey(load_public_key_file(read_given(Path(key), MAX_KEY_BYTES)))


def _answered(verifier: Verifier, artifact: str, bundle_path: Path | None) -> Verdict:
    answer: Answer = verifier.answer(artifact, bundle_path)
    error: ApplianceError | None = answer.error
    return Verdict(
        ok=error is None,
        code=0 if error is None else exit_code(error),
        reason="" if error is None else error.reason,
        message="" if error is None else error.message,
        json=answer_data(answer, verifier.stored_root, verifier.root_age),
        warnings=(*verifier.warnings, *verifier.finish()),
    )
