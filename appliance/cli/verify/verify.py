"""verify: is this artifact what its signer signed, and did the log we mirror see it?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.options import seconds_option
from appliance.cli.output import Result, common_options, is_json, stream_json_lines
from appliance.cli.verify.inputs import artifacts_and_bundles, expected_signer
from appliance.cli.verify.verdict_text import verdict_data, verdict_text
from appliance.errors import ApplianceError
from appliance.runs.session import Session, pass_session
from appliance.runs.verify import Answer, Verifier, VerifyOptions, verifying

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("artifacts", nargs=-1, metavar="ARTIFACT|sha256:HEX...")
@click.option("--bundle", "bundles", type=FILE, multiple=True, help="Sigstore bundle, in order.")
@click.option("--from-file", type=FILE, help="Lines of ARTIFACT <tab> BUNDLE.")
@click.option("--certificate-identity", default="", help="Exact e-mail or URI of the signer.")
@click.option("--certificate-identity-regexp", default="", help="The same, as a whole match.")
@click.option("--certificate-oidc-issuer", default="", help="Exact issuer of that identity.")
@click.option("--certificate-oidc-issuer-regexp", default="", help="The same, as a whole match.")
@click.option("--key", type=FILE, help="Public key of the signer (PEM or DER).")
@click.option("--trusted-root", type=FILE, help="Instead of the one from 'trust import'.")
@click.option("--require-mirror", is_flag=True, help="No answer unless our mirror covers it.")
@click.option("--policy", type=FILE, help="tlog-policy: who must have cosigned the checkpoint.")
@click.option("--max-age", metavar="DURATION", help="Refuse on an older view of the log.")
@click.option("--record", is_flag=True, help="Remember the verdicts: 'attestor verdicts'.")
@click.option("--jsonl", is_flag=True, help="Print one JSON object a line for each artifact.")
@common_options
@pass_session
def verify(
    session: Session,
    artifacts: tuple[str, ...],
    bundles: tuple[Path, ...],
    from_file: Path | None,
    certificate_identity: str,
    certificate_identity_regexp: str,
    certificate_oidc_issuer: str,
    certificate_oidc_issuer_regexp: str,
    key: Path | None,
    trusted_root: Path | None,
    require_mirror: bool,
    policy: Path | None,
    max_age: str | None,
    record: bool,
    jsonl: bool,
) -> Result:
    """Verify artifacts against their Sigstore bundles and our own copy of the log.

    No network, no lock, and a read-only store will do. Without --bundle the one beside the
    artifact is taken. Several artifacts: the worst outcome is the exit code.

    \b
    Example:
        attestor verify app.tar.gz --bundle app.sigstore.json --key signer.pem
        attestor verify app.tar.gz --certificate-identity me@example.org \\
            --certificate-oidc-issuer https://accounts.example.org --require-mirror
    """

    if jsonl and is_json():
        raise click.UsageError("--json and --jsonl exclude each other")
    expected = expected_signer(
        certificate_identity,
        certificate_identity_regexp,
        certificate_oidc_issuer,
        certificate_oidc_issuer_regexp,
        key,
    )
    pairs = artifacts_and_bundles(artifacts, bundles, from_file)
    limit = None if max_age is None else seconds_option(max_age, "--max-age", None)
    options = VerifyOptions(expected, trusted_root, policy, require_mirror, limit, record)
    errors: list[ApplianceError] = []
    texts: list[str] = []
    data: list[dict[str, Any]] = []
    with verifying(session, options) as verifier:
        for artifact, bundle in pairs:
            answer = verifier.answer(artifact, bundle)
            described = _data(verifier, answer)
            if answer.error is not None:
                errors.append(answer.error)
            if jsonl:
                stream_json_lines(described)
            data.append(described)
            texts.append(_text(verifier, answer))
    warnings = (*verifier.warnings, *verifier.finish())
    text = "" if jsonl else "\n".join(filter(None, texts))
    return Result({"artifacts": data}, text, warnings, tuple(errors))


def _data(verifier: Verifier, answer: Answer) -> dict[str, Any]:
    # "artifact" becomes the digest, once it is known; "file" stays.
    bundle = str(answer.bundle_path) if answer.bundle_path else None
    asked = {"artifact": answer.artifact, "file": answer.artifact, "bundle": bundle}
    if answer.verdict is not None:
        return asked | verdict_data(answer.verdict, verifier.stored_root, verifier.root_age)
    error = answer.error
    assert error is not None  # noqa: S101 no verdict without a reason
    return asked | {"ok": False, "reason": error.reason, "message": error.message}


def _text(verifier: Verifier, answer: Answer) -> str:
    if answer.verdict is None:
        return ""
    verdict, root = answer.verdict, verifier.stored_root
    return verdict_text(answer.artifact, verdict, root, verifier.root_age)
