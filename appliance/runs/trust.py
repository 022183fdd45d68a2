"""The trusted root: updated by TUF, and the logs that it names made backends."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from appliance.errors import IncompleteError, MalformedError, RefusedError, VerificationError
from appliance.fetch import public_good
from appliance.fetch.http import HttpClient
from appliance.fetch.tuf import fetch_root, follow
from appliance.fetch.tuf_metadata import Verified
from appliance.jobs.mirror.discover import Discovery, discover
from appliance.runs.session import Session
from appliance.sigstore.signing_config import MAX_CONFIG_BYTES, LogService, parse_signing_config
from appliance.sigstore.trusted_root import MAX_ROOT_BYTES, TrustedRoot, parse_trusted_root
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
    repository_of,
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

    @property
    def is_change(self) -> bool:
        """Whether another root counts from now on."""
        return self.old_root is None or self.old_root.digest != self.root.digest

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was believed for the first time, and what is believed no more."""
        said = []
        if self.before is None:
            first = self.repository.roots[0]
            said.append(
                f"first update from {self.repository.url}, on the word of its root version "
                f"{first.version}, SHA-256 {self.repository.anchor.hex()}"
            )
        kept = {log.log_id for log in self.root.logs}
        said += [
            f"{log} was in the root until now and is no longer: what it logged verifies no more"
            for log in (() if self.old_root is None else self.old_root.logs)
            if log.log_id not in kept
        ]
        return tuple(said)


def update_trust(session: Session, start: Start, *, dry_run: bool) -> Update:
    """Follow a TUF repository to its newest trusted root, and let that count.

    Raises VerificationError for metadata that ran out, IncompleteError if nothing says whom
    to trust at first, RefusedError for another root than the one that was verified.
    """
    with session.writing() as store:
        update = fetch_update(session, store, start)
        with store.atomic(dry_run=dry_run):
            store_update(store, update)
    return update


def discover_logs(
    session: Session,
    file: Path | None,
    signing_configs: tuple[Path, ...],
    *,
    tuf: bool,
    dry_run: bool,
) -> tuple[TrustedRoot, Discovery]:
    """Make backends of the logs that a trusted root names; retire those whose window is over.

    The root is in a file, comes by TUF, or is the one that counts here.
    """
    with session.writing() as store:
        if tuf:
            update = fetch_update(session, store, Start())
            root, files = update.root, update.repository.files
            if not dry_run:
                with store.atomic():
                    store_update(store, update)
        else:
            root, files = _root(store, file)
        services = _services(files, signing_configs)
        return root, discover(store, root.logs, services, session.now(), dry_run=dry_run)


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


def _root(store: Store, file: Path | None) -> tuple[TrustedRoot, tuple[tuple[str, bytes], ...]]:
    """Return the root to go by, and what its TUF repository published beside it."""
    if file is not None:
        return parse_trusted_root(read_foreign(file, MAX_ROOT_BYTES)), ()
    stored = current_root(store)
    if stored is None:
        raise IncompleteError(
            "no trusted root was imported here",
            reason="no-trusted-root",
            next_step="give one with --trusted-root FILE, or on a connected site use --tuf",
        )
    repository = repository_of(store, stored.raw)
    return parse_trusted_root(stored.raw), () if repository is None else repository.files


def _services(
    files: tuple[tuple[str, bytes], ...], given: tuple[Path, ...]
) -> tuple[LogService, ...]:
    services = [
        service
        for path in given
        for service in parse_signing_config(read_foreign(path, MAX_CONFIG_BYTES))
    ]
    for name, raw in files:
        if not name.startswith("signing_config"):
            continue
        try:
            services += parse_signing_config(raw)
        except MalformedError as error:
            if error.reason != "media-type":  # version 0.1 is published beside 0.2
                raise
    return tuple(dict.fromkeys(services))
