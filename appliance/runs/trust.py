"""The trusted root: updated by TUF, and the logs that it names made backends."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.config.changes import Change, ConfigFile, apply_file, diff, set_one
from appliance.config.keys import JsonValue
from appliance.config.rules import Places
from appliance.config.schema import BACKENDS
from appliance.errors import (
    ApplianceError,
    IncompleteError,
    LimitError,
    MalformedError,
    RefusedError,
    VerificationError,
)
from appliance.fetch.public_good import PUBLIC_GOOD, Instance, instance_at
from appliance.fetch.tuf import Followed, Get, fetch_root, follow, over_http
from appliance.fetch.tuf_metadata import Verified
from appliance.jobs.home.configure import read_configuration, write_configuration
from appliance.jobs.mirror.discover import ADDED, Discovery, Named, discover, take_named
from appliance.runs.session import Session
from appliance.runs.trust_files import Local, in_directory, that_arrived
from appliance.sigstore.monitor_config import (
    MAX_MONITOR_CONFIG_BYTES,
    ReadLog,
    parse_monitor_config,
)
from appliance.sigstore.signing_config import MAX_CONFIG_BYTES, LogService, parse_signing_config
from appliance.sigstore.trusted_root import (
    MAX_ROOT_BYTES,
    TrustedRoot,
    parse_trusted_root,
    parse_trusted_roots,
)
from appliance.store.database import Store
from appliance.store.files import read_foreign
from appliance.store.home.settings import SITE_INSTANCE, put_site_fact, site_fact
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

# What an instance with hundreds of millions of entries needs: a backlog that is fetched within
# days (16 MB of tiles at a time), and shards that are found as they come.
_SUITABLE: Final = {"rekorSync.maxTilesPerSync": "2000", "rekorSync.discoverInterval": "24h"}


@frozen
class Start:
    """Where to update from, and what to trust it by if it was never updated from."""

    url: str | None = None  # None: as last time, or the public-good instance's
    root: bytes | None = None  # a root document
    digest: bytes | None = None  # or SHA-256 of one
    over: bool = False  # forget what was verified before
    directory: Path | None = None  # where its files are, on a medium
    arrived: bool = False  # or that transfer bundles brought them


@frozen
class Update:
    """What an update found, whether stored or not."""

    repository: TufRepository
    before: TufRepository | None
    root: TrustedRoot
    old_root: TrustedRoot | None  # the one that counted until now
    passed_over: tuple[str, ...] = ()  # files that arrived and did not verify, in words

    @property
    def is_change(self) -> bool:
        """Whether another root counts from now on."""
        return self.old_root is None or self.old_root.digest != self.root.digest

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was passed over, believed for the first time, and is believed no more."""
        said = list(self.passed_over)
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


@frozen
class Inputs:
    """Where discovery learns of logs: files, TUF, or the root that counts here."""

    trusted_root: Path | None = None  # of one root, or of one a line
    signing_configs: tuple[Path, ...] = ()
    monitor_configs: tuple[Path, ...] = ()
    tuf: bool = False  # update the root first


def discover_logs(
    session: Session, inputs: Inputs, *, dry_run: bool
) -> tuple[tuple[TrustedRoot, ...], Discovery]:
    """Make backends of the logs that trusted roots name; retire those whose window is over."""
    with session.writing() as store:
        roots: tuple[TrustedRoot, ...]
        if inputs.tuf:
            update = fetch_update(session, store, Start())
            roots, files = (update.root,), update.repository.files
            if not dry_run:
                with store.atomic():
                    store_update(store, update)
        else:
            roots, files = _roots(store, inputs.trusted_root)
        named = named_logs(roots, files, inputs.signing_configs, inputs.monitor_configs)
        return roots, discover(store, named, session.now(), dry_run=dry_run)


def named_logs(
    roots: tuple[TrustedRoot, ...],
    files: tuple[tuple[str, bytes], ...],
    signing_configs: tuple[Path, ...] = (),
    monitor_configs: tuple[Path, ...] = (),
) -> Named:
    """Return what roots, the files published beside one, and files given by hand name."""
    return Named(
        tuple(log for root in roots for log in root.logs),
        _services(files, signing_configs),
        _read_logs(files, monitor_configs),
    )


@frozen
class Begun:
    """What it took to follow an instance of Sigstore."""

    update: Update
    discovery: Discovery
    settings: tuple[Change, ...]  # what was set, once


def begin_with(session: Session, instance: Instance, start: Start) -> Begun:
    """Follow an instance: its trusted root by TUF, every log that names, settings that suit.

    All of it is one transaction, and done again it brings what is new. Settings are made the
    first time only: what the operator changes stays. Raises RefusedError (another-instance)
    in a home of another, since one trusted root counts in a home; else as update_trust does.
    """
    with session.writing() as store:
        known = site_fact(store, SITE_INSTANCE)
        if known not in (None, instance.name):
            raise RefusedError(
                f"this home follows Sigstore's {known} instance, and one trusted root counts here",
                reason="another-instance",
                next_step="follow the other one in a home of its own: attestor --home DIR init ...",
            )
        update = fetch_update(session, store, _started(store, instance, start))
        named = named_logs((update.root,), update.repository.files)
        with store.atomic():
            store_update(store, update)
            discovery = take_named(store, named, session.now())
            changes = () if known else _settings_that_suit(session, store, instance, discovery)
            put_site_fact(store, SITE_INSTANCE, instance.name)
    return Begun(update, discovery, changes)


def discover_again(session: Session) -> tuple[Discovery | None, tuple[str, ...]]:
    """Update the root and add what it names; returns what was found, and what is to be said.

    The lock is not held while the repository is asked. Nothing is found if another run was
    faster. Raises as update_trust does.
    """
    with session.reading() as store:
        update = fetch_update(session, store, Start())
    with session.writing() as store:
        if find_repository(store, update.repository.url) != update.before:
            return None, ()
        with store.atomic():
            store_update(store, update)
            named = named_logs((update.root,), update.repository.files)
            found = take_named(store, named, session.now())
    return found, (*update.warnings, *found.warnings)


def _started(store: Store, instance: Instance, start: Start) -> Start:
    """Fill in where an instance is and whom it is trusted by, where that is not known better."""
    url = start.url or instance.repository_url
    if start.root is None and find_repository(store, url) is None:
        return Start(url, digest=instance.root_digest)
    return Start(url, start.root)


def _settings_that_suit(
    session: Session, store: Store, instance: Instance, found: Discovery
) -> tuple[Change, ...]:
    """Set what an instance of this size needs and nobody has set. Inside store.atomic()."""
    before = after = read_configuration(store)
    for name, text in _SUITABLE.items():
        if name not in before.stored:
            after, _ = set_one(after, name, text, str(session.home.absolute()))
    if instance.stale_tree_size is not None:
        own: list[JsonValue] = [
            {"id": name, "staleTreeSizeThreshold": instance.stale_tree_size}
            for one in found.logs
            if one.action == ADDED
            for name in one.backends
        ]
        file = ConfigFile({BACKENDS: own}, Places("init"), ())
        after, _ = apply_file(after, file) if own else (after, ())
    changes = tuple(diff(before, after))
    if changes:
        write_configuration(store, before, after, {}, session.now())
    return changes


def fetch_update(session: Session, store: Store, start: Start) -> Update:
    """Follow the repository, parse what it vouches for; stores nothing."""
    session.clock.require_known()
    before = last_repository(store) if start.url is None else find_repository(store, start.url)
    local = _local(store, start, before)
    if local is not None:
        url, where = local.url, local.where
        before = before or find_repository(store, url)
    else:
        url = where = start.url or (before.url if before else PUBLIC_GOOD.repository_url)
    if before is None and not start.over:
        # The same repository at another URL goes on from what was verified at the first.
        wanted = sha256(start.root).digest() if start.root is not None else start.digest
        if wanted is None and (instance := instance_at(url)) is not None:
            wanted = instance.root_digest
        before = None if wanted is None else repository_with_root(store, wanted)
    with contextlib.ExitStack() as asking:
        # Whoever reads it from a medium needs no network, and has perhaps none.
        get = local.get if local is not None else over_http(asking.enter_context(session.http()))
        if before is None or start.over:
            here = () if local is None else local.roots
            root = _first_root(get, url, start, here)
            followed = _followed(local, get, url, root, {}, where)
            anchor = sha256(root).digest()
            older: tuple[TufMetadata, ...] = ()
        else:
            _refuse_other_root(before, start)
            known = {one.role: one.raw for one in before.newest[1:]}
            followed = _followed(local, get, url, before.roots[-1].raw, known, where)
            anchor, older = before.anchor, before.roots[:-1]
    for one in (followed.timestamp, followed.snapshot, followed.targets):
        if one.expires_at <= session.now():
            raise VerificationError(
                f"{where}: {one.role}.json ran out at {utc(one.expires_at)}",
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
        local.candidates.passed_over if local is not None and local.candidates is not None else (),
    )


def _followed(
    local: Local | None, get: Get, url: str, root: bytes, known: Mapping[str, bytes], where: str
) -> Followed:
    """Follow a repository; of what arrived under one name, by the first file that verifies."""
    first: ApplianceError | None = None
    while True:
        try:
            return follow(get, url, root, known, where)
        except (VerificationError, LimitError, IncompleteError) as error:
            first = first or error
            candidates = None if local is None else local.candidates
            # What is not there is no file's fault: then nothing is left to try.
            if candidates is None or isinstance(error, IncompleteError):
                raise first from None
            if not candidates.refuse(error):
                raise first from None


def store_update(store: Store, update: Update) -> None:
    """Keep the metadata, and let the trusted root count. Call it inside store.atomic()."""
    repository = update.repository
    put_repository(store, repository)
    root = StoredRoot(repository.trusted_root, repository.source, repository.updated_at)
    put_root(store, root)


def _metadata(verified: Verified) -> TufMetadata:
    return TufMetadata(verified.role, verified.version, verified.expires_at, verified.raw)


def _local(store: Store, start: Start, before: TufRepository | None) -> Local | None:
    """Return the repository's files where they are here; None: a server has them."""
    url = start.url or (before.url if before else None)
    if start.directory is not None:
        return in_directory(start.directory, url)
    return that_arrived(store, url) if start.arrived else None


def _first_root(get: Get, url: str, start: Start, here: tuple[bytes, ...]) -> bytes:
    if start.root is not None:
        return start.root
    instance = instance_at(url)
    wanted = start.digest or (instance.root_digest if instance is not None else None)
    for raw in here:  # the first ones may be long gone
        if wanted is not None and sha256(raw).digest() == wanted:
            return raw
    if start.digest is not None:
        return fetch_root(get, url, start.digest)
    if instance is not None:
        return fetch_root(get, url, instance.root_digest, instance.root_version)
    raise IncompleteError(
        f"{url} was never updated from, and no root document says whom to trust there",
        reason="no-tuf-root",
        next_step="give a root that you checked with --root FILE, or its digest with --root-digest",
    )


def _refuse_other_root(before: TufRepository, start: Start) -> None:
    wanted = start.digest if start.root is None else sha256(start.root).digest()
    known = {sha256(one.raw).digest() for one in before.roots}
    if wanted is not None and wanted not in known:
        raise RefusedError(
            f"{before.url} is trusted here by root versions {before.roots[0].version} to "
            f"{before.roots[-1].version}, and none of them is the root given",
            reason="tuf-other-root",
            next_step="leave it out; or if the repository began anew, and you are sure of it, "
            "--start-over",
        )


def _roots(
    store: Store, file: Path | None
) -> tuple[tuple[TrustedRoot, ...], tuple[tuple[str, bytes], ...]]:
    """Return the roots to go by, and what a TUF repository published beside them."""
    if file is not None:
        return parse_trusted_roots(read_foreign(file, MAX_ROOT_BYTES)), ()
    stored = current_root(store)
    if stored is None:
        raise IncompleteError(
            "no trusted root was imported here",
            reason="no-trusted-root",
            next_step="give one with --trusted-root FILE, or on a connected site use --tuf",
        )
    repository = repository_of(store, stored.raw)
    return (parse_trusted_root(stored.raw),), () if repository is None else repository.files


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


def _read_logs(
    files: tuple[tuple[str, bytes], ...], given: tuple[Path, ...]
) -> tuple[ReadLog, ...]:
    """Return where logs are read; what was given by hand goes before what was published."""
    found = [
        one
        for path in given
        for one in parse_monitor_config(read_foreign(path, MAX_MONITOR_CONFIG_BYTES))
    ]
    for name, raw in files:
        if name.startswith("monitor_config"):
            found += parse_monitor_config(raw)
    return tuple(dict.fromkeys(found))
