"""trust update: the trusted root by TUF, on the connected side."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from re import fullmatch
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.errors import IncompleteError, RefusedError, VerificationError
from appliance.fetch import public_good
from appliance.fetch.http import HttpClient, url_prefix
from appliance.fetch.tuf import MAX_ROOT_BYTES, fetch_root, follow
from appliance.fetch.tuf_metadata import Verified
from appliance.runs.session import Session, pass_session
from appliance.sigstore.trusted_root import TrustedRoot, parse_trusted_root
from appliance.store.database import Store
from appliance.store.files import read_foreign
from appliance.store.verify.trust import (
    StoredRoot,
    TufMetadata,
    TufRepository,
    current_root,
    find_repository,
    last_repository,
    put_repository,
    put_root,
    repository_with_root,
)
from appliance.times import utc
from appliance.value import frozen


@frozen
class Start:
    """Where to update from, and what to trust it by if it was never updated from."""

    url: str | None = None  # None: as last time, or the public-good instance's
    root: bytes | None = None  # a root document
    digest: bytes | None = None  # or SHA-256 of one
    over: bool = False  # forget what was verified before


@frozen
class Update:
    """What an update found, whether stored or not."""

    repository: TufRepository
    before: TufRepository | None
    root: TrustedRoot
    old_root: TrustedRoot | None  # the one that counted until now


@click.command("update")
@click.option("--repository", metavar="URL", help="Where the TUF metadata is.  [default: as last]")
@click.option(
    "--root",
    "root_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="First trust: a root document (N.root.json) that you checked.",
)
@click.option("--root-digest", metavar="SHA256", help="First trust: the digest of one.")
@click.option("--start-over", is_flag=True, help="Forget what was verified; trust --root anew.")
@click.option("--dry-run", is_flag=True, help="Fetch and verify; store nothing.")
@common_options
@pass_session
def trust_update(
    session: Session,
    repository: str | None,
    root_file: Path | None,
    root_digest: str | None,
    start_over: bool,
    dry_run: bool,
) -> Result:
    """Follow a TUF repository to its newest trusted_root.json, and let that count.

    The first time it is trusted by a root document: for the public-good instance this
    program knows one by its digest, for any other give one, or its digest. From then on by
    the newest root that was verified, and nothing older is ever taken. The metadata is kept
    with the root. Whatever fails, nothing is changed.

    Only if a repository lost its root keys and begins anew: --start-over.

    \b
    Example:
        attestor trust update
        attestor trust update --repository https://TUF-HOST --root 1.root.json
    """

    if root_file and root_digest:
        raise click.UsageError("--root and --root-digest exclude each other")
    if start_over and not (root_file or root_digest):
        raise click.UsageError("--start-over needs --root or --root-digest")
    start = Start(
        None if repository is None else url_prefix(repository),
        None if root_file is None else read_foreign(root_file, MAX_ROOT_BYTES),
        None if root_digest is None else _digest(root_digest),
        start_over,
    )
    with session.writing() as store:
        update = fetch_update(session, store, start)
        with store.atomic(dry_run=dry_run):
            store_update(store, update)
    return _result(update, dry_run=dry_run)


def fetch_update(session: Session, store: Store, start: Start) -> Update:
    """Follow the repository, parse what it vouches for; stores nothing."""

    session.clock.require_known()
    before = last_repository(store) if start.url is None else find_repository(store, start.url)
    url = start.url or (before.url if before else public_good.REPOSITORY_URL)
    if before is None and not start.over:
        # The same repository at another URL goes on from what was verified at the first.
        wanted = sha256(start.root).digest() if start.root is not None else start.digest
        if wanted is None and url == public_good.REPOSITORY_URL:
            wanted = public_good.ROOT_DIGEST
        before = None if wanted is None else repository_with_root(store, wanted)
    with session.http() as http:
        if before is None or start.over:
            root = _first_root(http, url, start)
            followed = follow(http, url, root, {})
            anchor = sha256(root).digest()
            older: tuple[TufMetadata, ...] = ()
        else:
            _refuse_other_root(before, start)
            known = {one.role: one.raw for one in before.newest[1:]}
            followed = follow(http, url, before.roots[-1].raw, known)
            anchor, older = before.anchor, before.roots[:-1]
    for one in (followed.timestamp, followed.snapshot, followed.targets):
        if one.expires_at <= session.now():
            raise VerificationError(
                f"{url}{one.role}.json ran out at {utc(one.expires_at)}",
                reason="tuf-expired",
                next_step="try again later; if it stays, ask whoever runs the repository",
            )
    repository = TufRepository(
        url,
        anchor,
        session.now(),
        (*older, *map(_metadata, followed.roots)),
        _metadata(followed.timestamp),
        _metadata(followed.snapshot),
        _metadata(followed.targets),
        followed.files,
    )
    stored = current_root(store)
    return Update(
        repository,
        before,
        parse_trusted_root(repository.trusted_root),
        None if stored is None else parse_trusted_root(stored.raw),
    )


def store_update(store: Store, update: Update) -> None:
    """Keep the metadata, and let the trusted root count. Call it inside store.atomic()."""

    repository = update.repository
    put_repository(store, repository)
    root = StoredRoot(repository.trusted_root, repository.source, repository.updated_at)
    put_root(store, root)


def _metadata(verified: Verified) -> TufMetadata:

    return TufMetadata(verified.role, verified.version, verified.expires_at, verified.raw)


def _first_root(http: HttpClient, url: str, start: Start) -> bytes:

    if start.root is not None:
        return start.root
    if start.digest is not None:
        return fetch_root(http, url, start.digest)
    if url == public_good.REPOSITORY_URL:
        return fetch_root(http, url, public_good.ROOT_DIGEST, public_good.ROOT_VERSION)
    raise IncompleteError(
        f"{url} was never updated from, and no root document says whom to trust there",
        reason="no-tuf-root",
        next_step="give one that you checked with --root FILE, or its digest with --root-digest",
    )


def _refuse_other_root(before: TufRepository, start: Start) -> None:

    wanted = start.digest if start.root is None else sha256(start.root).digest()
    known = {sha256(one.raw).digest() for one in before.roots}
    if wanted is not None and wanted not in known:
        raise RefusedError(
            f"{before.url} is trusted here by root versions {before.roots[0].version} to "
            f"{before.roots[-1].version}, and none of them is the one given",
            reason="tuf-other-root",
            next_step="leave it out; or if the repository began anew, and you are sure of it, "
            "--start-over",
        )


def _digest(text: str) -> bytes:

    if not fullmatch("[0-9a-f]{64}", text.lower()):
        raise click.BadParameter(
            f"expected 64 hex digits, got {text!r}", param_hint="--root-digest"
        )
    return bytes.fromhex(text)


def _result(update: Update, *, dry_run: bool) -> Result:
    repository, root, old = update.repository, update.root, update.old_root
    change = old is None or old.digest != root.digest
    data: dict[str, Any] = members(
        repository=repository.url,
        digest=root.digest,
        old_digest=None if old is None else old.digest,
        change=change,
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
        f"trusted root {root.digest} {verb}{'' if change else ', as before'}",
        f"  from {repository.url}: {versions}",
        f"  fresh until {utc(min(one.expires_at for one in repository.newest))}",
    ]
    if change and not dry_run:
        lines.append("next: attestor backend discover; attestor verdicts recheck")
    return Result(data, "\n".join(lines), tuple(_warnings(update)))


def _warnings(update: Update) -> list[str]:
    warnings = []
    if update.before is None:
        first = update.repository.roots[0]
        warnings.append(
            f"first update from {update.repository.url}, on the word of its root version "
            f"{first.version}, SHA-256 {update.repository.anchor.hex()}"
        )
    kept = {log.log_id for log in update.root.logs}
    warnings += [
        f"{log} was in the root until now and is no longer: what it logged verifies no more"
        for log in (() if update.old_root is None else update.old_root.logs)
        if log.log_id not in kept
    ]
    return warnings
