"""trust update: the trusted root by TUF, from a server, a medium, or a transfer bundle."""

from __future__ import annotations

from pathlib import Path
from re import fullmatch
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.fetch.http import url_prefix
from appliance.fetch.tuf import MAX_ROOT_BYTES
from appliance.runs.session import Session, pass_session
from appliance.runs.trust import Start, Update, update_trust
from appliance.store.files import read_foreign
from appliance.times import utc


@click.command("update")
@click.option("--repository", metavar="URL", help="Where the TUF metadata is.  [default: as last]")
@click.option(
    "--root",
    "root_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="First trust: a root document (N.root.json) that you checked.",
)
@click.option("--root-digest", metavar="SHA256", help="First trust: the digest of one.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Read the repository's files there: on a stick, say. No network is used.",
)
@click.option("--arrived", is_flag=True, help="Or as transfer bundles brought them.")
@click.option("--start-over", is_flag=True, help="Forget what was verified; trust --root anew.")
@click.option("--dry-run", is_flag=True, help="Fetch and verify; store nothing.")
@common_options
@pass_session
def trust_update(
    session: Session,
    repository: str | None,
    root_file: Path | None,
    root_digest: str | None,
    directory: Path | None,
    arrived: bool,
    start_over: bool,
    dry_run: bool,
) -> Result:
    """Follow a TUF repository to its newest trusted_root.json, and let that count.

    The first time it is trusted by a root document: for the public-good instance this
    program knows one by its digest, for any other give one, or its digest. From then on by
    the newest root that was verified, and nothing older is ever taken. The metadata is kept
    with the root. Whatever fails, nothing is changed.

    Across a gap: --directory reads what 'attestor log tuf-repository' made, or a copy of a
    server's files; --arrived what an exporter that follows the repository sent along. Both are
    verified like a server's answer, run-out and older metadata are refused, and it stays the
    repository that it was before.

    Only if a repository lost its root keys and begins anew: --start-over.

    \b
    Example:
        attestor trust update
        attestor trust update --repository https://TUF-HOST --root 1.root.json
        attestor trust update --directory /media/stick/tuf --root-digest 7f2b…64 hex digits
    """

    if root_file and root_digest:
        raise click.UsageError("--root and --root-digest exclude each other")
    if start_over and not (root_file or root_digest):
        raise click.UsageError("--start-over needs --root or --root-digest")
    if directory is not None and arrived:
        raise click.UsageError("--directory and --arrived exclude each other")
    start = Start(
        None if repository is None else url_prefix(repository),
        None if root_file is None else read_foreign(root_file, MAX_ROOT_BYTES),
        None if root_digest is None else _digest(root_digest),
        start_over,
        directory,
        arrived,
    )
    return _result(update_trust(session, start, dry_run=dry_run), dry_run=dry_run)


def _digest(text: str) -> bytes:

    if not fullmatch("[0-9a-f]{64}", text.lower()):
        raise click.BadParameter(
            f"expected 64 hex digits, got {text!r}", param_hint="--root-digest"
        )
    return bytes.fromhex(text)


def _result(update: Update, *, dry_run: bool) -> Result:
    repository, root, old = update.repository, update.root, update.old_root
    data: dict[str, Any] = members(
        repository=repository.url,
        digest=root.digest,
        old_digest=None if old is None else old.digest,
        change=update.is_change,
        dry_run=dry_run,
        first_root=repository.anchor,
        metadata={
            one.role: members(version=one.version, expires=one.expires_at)
            for one in repository.newest
        },
        files=[name for name, _ in repository.files],
    )
    verb = "would count" if dry_run else "counts"
    versions = ", ".join(f"{one.role} v{one.version}" for one in repository.newest)
    lines = [
        f"trusted root {root.digest} {verb}{'' if update.is_change else ', as before'}",
        f"  from {repository.url}: {versions}",
        f"  fresh until {utc(min(one.expires_at for one in repository.newest))}",
    ]
    if update.is_change and not dry_run:
        lines.append("next: attestor backend discover; attestor verdicts recheck")
    return Result(data, "\n".join(lines), update.warnings)
