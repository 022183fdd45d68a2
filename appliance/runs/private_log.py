"""Let a private log sign: compare it with what is outside of its home first, where it must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from appliance.errors import RemoteError, RestoredError
from appliance.jobs.mirror.directory_source import DirectorySource
from appliance.jobs.mirror.mirror_source import MirrorSource
from appliance.jobs.private_log.recover import (
    Outside,
    Recovered,
    continue_log,
    reachable,
    recover_log,
)
from appliance.jobs.private_log.sequence import mirrors_of, recover_command, seen_this_boot
from appliance.runs.session import Session
from appliance.runs.sources import open_backend, served_log
from appliance.store.database import DATABASE_NAME, Store, open_store
from appliance.store.home.key_files import load_signing_key
from appliance.store.mirror.logs import all_logs
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.memory import boot_id
from appliance.store.private_log.private_logs import (
    PrivateLog,
    find_private_log,
    require_private_log,
)
from appliance.tlog.log_source import LogSource


def ready_to_sign(session: Session, store: Store, private: PrivateLog) -> None:
    """Compare a log with its mirrors if the machine was booted since it signed; else do nothing.

    The caller holds the home's lock. Raises RemoteError if no mirror answers, and as
    recover_log does.
    """
    mirrors = mirrors_of(store, private)
    if not mirrors or not boot_id() or seen_this_boot(private):
        return
    outside = _ask(session, store, private)
    if all(one.note is None for one in outside):
        raise RemoteError(
            f"{private.log.origin} is compared with its mirror before it signs again after a"
            f" boot, and none answers: {'; '.join(one.error for one in outside)}",
            reason="unreachable",
            next_step="try again when it answers; or, if this is the only and newest home:"
            f" {recover_command(private)} --only-copy",
        )
    key = load_signing_key(store.home, private.log.origin)
    recover_log(store, private, key, outside, session.now(), only_copy=False)


def recover(
    session: Session,
    name: str | None,
    sources: Sequence[str],
    progress: Callable[[int], None],
    *,
    only_copy: bool,
) -> tuple[PrivateLog, Recovered]:
    """Compare a log with all that is outside of its home, continue it from `sources`, sign again.

    A source is a URL, a directory with a log's tiles, or another home. Raises as
    recover_log and continue_log do.
    """
    with session.writing() as store:
        private = find_private_log(store, name)
        if private is None and not sources:
            private = require_private_log(store, name)  # which says what is there instead
        told: list[Outside] = []
        for text in sources:
            private = _continue(session, store, private, name, text, told, progress)
        if private is None:
            raise LookupError("neither a log nor a source")
        key = load_signing_key(store.home, private.log.origin)
        told += _ask(session, store, private)
        done = recover_log(store, private, key, told, session.now(), only_copy=only_copy)
        return private, done


def _continue(
    session: Session,
    store: Store,
    private: PrivateLog | None,
    name: str | None,
    text: str,
    told: list[Outside],
    progress: Callable[[int], None],
) -> PrivateLog:
    now = session.now()
    if text.startswith(("http://", "https://")):
        with session.http() as http:
            source = served_log(http, text)
            private = continue_log(store, private, name, source, now, progress)
            told.append(reachable(source))
        return private
    directory = Path(text)
    if not (directory / DATABASE_NAME).exists():
        tree = DirectorySource(directory)
        private = continue_log(store, private, name, tree, now, progress)
        told.append(reachable(tree))
        return private
    other = open_store(directory, write=False)
    try:
        source_of = _in_home(other, private, session)
        private = continue_log(store, private, name, source_of, now, progress)
        told.append(reachable(source_of))
    finally:
        other.close()
    return private


def _in_home(other: Store, private: PrivateLog | None, session: Session) -> LogSource:
    """Return what another home holds of the log: the one we run, or whose key we have."""
    from appliance.store.home.key_files import key_names

    keys = set(key_names(session.home))
    for log in all_logs(other):
        if log.origin == private.log.origin if private else log.origin in keys:
            return MirrorSource(Mirror(other, log))
    raise RestoredError(
        f"{other.home} mirrors no log of this home",
        next_step="name a home that mirrors it, a directory with its tiles, or a URL",
    )


def _ask(session: Session, store: Store, private: PrivateLog) -> list[Outside]:
    mirrors = mirrors_of(store, private)
    if not mirrors:
        return []
    with session.http() as http:
        return [reachable(open_backend(http, one)) for one in mirrors]
