"""trust: the Sigstore trusted root that certificates, stamps and logs are judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.verify.trust_arrived import arrived_root
from appliance.errors import IncompleteError
from appliance.runs.exit_codes import naming
from appliance.runs.session import Session, pass_session
from appliance.sigstore.trusted_root import parse_trusted_root
from appliance.store.files import read_foreign
from appliance.store.verify.trust import (
    StoredRoot,
    TufRepository,
    current_root,
    put_root,
    repository_of,
)
from appliance.times import age_text, utc

MAX_ROOT_BYTES = 2 * 1024 * 1024


@click.group(
    cls=LazyGroup,
    lazy={
        "update": "verify.trust_update:trust_update",
        "arrived": "verify.trust_arrived:trust_arrived",
    },
)
def trust() -> None:
    """The Sigstore trusted root.

    \b
    Example:
        attestor trust show
    """


@trust.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--arrived", metavar="DIGEST", help="Or the root that came in a transfer bundle.")
@click.option("--dry-run", is_flag=True, help="Only say what would be pinned.")
@common_options
@pass_session
def trust_import(session: Session, file: Path | None, arrived: str | None, dry_run: bool) -> Result:
    """Pin the trusted_root.json in FILE. Compare its digest over another channel first.

    One that a transfer bundle brought is named by the whole digest you were told over that
    channel: what arrives is never trusted for having arrived.

    \b
    Example:
        attestor trust import trusted_root.json
        attestor trust import --arrived 7f2b…64 hex digits
    """

    if file is None and arrived is not None:
        raw, source = arrived_root(session, arrived)
    elif file is not None and arrived is None:
        raw, source = read_foreign(file, MAX_ROOT_BYTES), str(file)
    else:
        raise click.UsageError("either FILE or --arrived is needed")
    with naming(source):
        root = parse_trusted_root(raw)
    with session.writing() as store, store.atomic(dry_run=dry_run):
        put_root(store, StoredRoot(raw, source, session.now()))
    data = members(
        digest=root.digest, logs=[str(log) for log in root.logs], source=source, dry_run=dry_run
    )
    verb = "would be pinned" if dry_run else "is pinned"
    return Result(data, f"trusted root {root.digest} with {len(root.logs)} logs {verb}")


@trust.command("show")
@common_options
@pass_session
def trust_show(session: Session) -> Result:
    """Say which trusted root counts here: digest, age, how it came, what it lists.

    If a TUF repository vouches for it, also with which metadata, and until when that is
    fresh. Metadata that ran out since is no fault of an isolated site: the age above counts.

    \b
    Example:
        attestor trust show --json
    """

    with session.reading() as store:
        stored = current_root(store)
        repository = None if stored is None else repository_of(store, stored.raw)
    if stored is None:
        raise IncompleteError(
            "no trusted root was imported here",
            reason="no-trusted-root",
            next_step="'attestor trust import trusted_root.json', or on a connected site "
            "'attestor trust update'",
        )
    root = parse_trusted_root(stored.raw)
    age = max(session.now() - stored.imported_at, 0)
    data = members(
        stored,
        "source",
        "imported_at",
        digest=root.digest,
        age_seconds=age,
        logs=[members(log=str(log), log_id=log.log_id, valid=str(log.valid)) for log in root.logs],
        certificate_authorities=[str(authority) for authority in root.certificate_authorities],
        timestamp_authorities=[str(authority) for authority in root.timestamp_authorities],
        tuf=None if repository is None else _tuf_data(repository, session.now()),
    )
    lines = [
        f"trusted root {root.digest}",
        f"  imported {utc(stored.imported_at)} from {stored.source}",
        f"  age      {session.clock.behind or age_text(age)}",
        *(f"  log      {log} {log.valid}" for log in root.logs),
        *(
            f"  ca       {authority} {authority.valid}"
            for authority in root.certificate_authorities
        ),
        *(f"  tsa      {authority} {authority.valid}" for authority in root.timestamp_authorities),
        *([] if repository is None else _tuf_lines(repository, session.now())),
    ]
    return Result(data, "\n".join(lines))


def _tuf_data(repository: TufRepository, now: int) -> dict[str, Any]:
    return members(
        repository=repository.url,
        updated_at=repository.updated_at,
        first_root=members(version=repository.roots[0].version, digest=repository.anchor),
        metadata={
            one.role: members(
                version=one.version, expires=one.expires_at, expired=one.expires_at <= now
            )
            for one in repository.newest
        },
        files=[name for name, _ in repository.files],
    )


def _tuf_lines(repository: TufRepository, now: int) -> list[str]:
    first = repository.roots[0]
    return [
        f"  tuf      {repository.url} vouched for it at {utc(repository.updated_at)}",
        f"           trusted since root v{first.version}, SHA-256 {repository.anchor.hex()}",
        *(
            f"           {one.role} v{one.version}, "
            f"{'ran out' if one.expires_at <= now else 'fresh until'} {utc(one.expires_at)}"
            for one in repository.newest
        ),
    ]
