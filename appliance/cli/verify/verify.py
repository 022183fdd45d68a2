"""verify: its options. What it does is in answering.py, which `verify --help` does not import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.output import Result, common_options
from appliance.runs.session import Session, pass_session

FILE = click.Path(path_type=Path, dir_okay=False)
_WORKFLOW = "--certificate-github-workflow-"  # as cosign names these options


@click.command()
@click.argument("artifacts", nargs=-1, metavar="ARTIFACT|sha256:HEX|-...")
@click.option("--bundle", "bundles", type=FILE, multiple=True, help="Sigstore bundle, in order.")
@click.option(
    "--from-file",
    type=FILE,
    help="Lines of ARTIFACT <tab> BUNDLE (or nothing: the one beside it); - answers each line of"
    " standard input as it comes.",
)
@click.option(
    "--image-layout",
    type=click.Path(path_type=Path, file_okay=False),
    help="Every image in an OCI layout, against the Sigstore bundles that refer to it.",
)
@click.option("--certificate-identity", default="", help="Exact e-mail or URI of the signer.")
@click.option("--certificate-identity-regexp", default="", help="The same, as a whole match.")
@click.option("--certificate-oidc-issuer", default="", help="Exact issuer of that identity.")
@click.option("--certificate-oidc-issuer-regexp", default="", help="The same, as a whole match.")
@click.option("--key", type=FILE, help="Public key of the signer (PEM or DER).")
@click.option(
    "--oid",
    "oids",
    multiple=True,
    metavar="NAME=VALUE",
    help="The certificate has to say this: a claim's name, or its number.",
)
@click.option(
    _WORKFLOW + "trigger", "workflow_trigger", default="", help="Exact trigger of the run."
)
@click.option(_WORKFLOW + "sha", "workflow_sha", default="", help="Exact sha of the run.")
@click.option(_WORKFLOW + "name", "workflow_name", default="", help="Exact name of the run.")
@click.option(
    _WORKFLOW + "repository", "workflow_repository", default="", help="Exact repository of the run."
)
@click.option(_WORKFLOW + "ref", "workflow_ref", default="", help="Exact ref of the run.")
@click.option(
    "--predicate-type", metavar="TYPE", help="It has to be an attestation of exactly this type."
)
@click.option("--trusted-root", type=FILE, help="Instead of the root from 'trust import'.")
@click.option("--require-mirror", is_flag=True, help="No answer unless our mirror covers it.")
@click.option("--require-proof", is_flag=True, help="A log's promise alone is refused.")
@click.option("--policy", type=FILE, help="tlog-policy: who must have cosigned the checkpoint.")
@click.option("--max-age", metavar="DURATION", help="Refuse on an older view of the log.")
@click.option(
    "--allow-unlogged",
    is_flag=True,
    help="A stamp without a log entry will do (private repositories): nobody but the signer "
    "can notice a misuse of the identity.",
)
@click.option(
    "--allow-several-entries",
    is_flag=True,
    help="Of several log entries one good one will do: the others may be anything.",
)
@click.option(
    "--allow-subject",
    is_flag=True,
    help="The certificate may have a subject (private authorities): what it says is not verified.",
)
@click.option("--record", is_flag=True, help="Remember the verdicts: 'attestor verdicts'.")
@click.option("--jsonl", is_flag=True, help="Print one JSON object a line for each artifact.")
@common_options
@pass_session
def verify(session: Session, /, **given: Any) -> Result:
    """Verify artifacts against their Sigstore bundles and our own copy of the log.

    No network, no lock, and a read-only store will do. Without --bundle the one beside the
    artifact is taken. Several artifacts: the worst outcome is the exit code. With --policy
    alone, a tlog-proof in place of a bundle proves that a log holds the file itself.

    \b
    Example:
        attestor verify app.tar.gz --bundle app.sigstore.json --key signer.pem
        attestor verify app.tar.gz --certificate-identity me@example.org \\
            --certificate-oidc-issuer https://accounts.example.org --require-mirror
        attestor verify --image-layout images/ --key signer.pem
    """
    from appliance.cli.verify.answering import answer

    return answer(session, **given)
