"""Hand a private log over to rekor-server-posix, and take it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from appliance.errors import ConfigError, IncompleteError, RefusedError
from appliance.jobs.private_log.adopt import Adopted, adopt_log, finished_seal, published_checkpoint
from appliance.jobs.private_log.cosigning import Cosign, uncosigned
from appliance.jobs.private_log.move import MoveReport, cancel_move, move_log, plan_move
from appliance.jobs.private_log.recover import Outside
from appliance.jobs.private_log.sequence import move_of
from appliance.jobs.progress import Progress
from appliance.runs.private_log import LogWitnesses, ask_mirrors, ready_to_sign
from appliance.runs.session import Session
from appliance.store.database import Store
from appliance.store.files import is_file, read_foreign, written_whole
from appliance.store.home.key_files import (
    MAX_SECRET_BYTES,
    create_signing_key,
    has_signing_key,
    load_signing_key,
    pkcs8_file,
    read_pkcs8_key,
)
from appliance.store.lock import SERVE_LOCK_NAME
from appliance.store.private_log.posix_storage import PosixStorage
from appliance.store.private_log.private_logs import (
    PrivateLog,
    all_private_logs,
    require_private_log,
)
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.note import SigningKey

PAUSE_SECONDS: Final = 2.0  # between two looks: a server that is busy writes several times in it


def move(
    session: Session,
    name: str | None,
    directory: Path,
    key_file: Path | None,
    progress: Progress,
    complain: Callable[[str], None] = lambda _: None,
    *,
    dry_run: bool,
) -> tuple[PrivateLog, MoveReport]:
    """Write a log out for another server, which has it from then on; raises as move_log does.

    With `key_file` the log's key is written there, in PKCS#8; encrypted, by the same passphrase,
    if it is here. A dry run finishes a batch that
    was signed already, and changes nothing else.
    """
    storage = PosixStorage(directory.absolute())
    with session.reading() as store:
        private = require_private_log(store, name)
    # Whoever serves it would refuse every client from now on, and not know why.
    with session.locked(SERVE_LOCK_NAME.format(private.name)), session.writing() as store:
        key = load_signing_key(store.home, private.log.origin, store.passphrases)
        if key_file is not None:
            pkcs8 = pkcs8_file(store.home, key)
            _refuse_other_file(key_file, pkcs8)
        _ready_to_move(session, store, private)
        cosign = LogWitnesses(session, private, complain).cosign_in(store)
        if dry_run:
            return private, plan_move(store, private, key, storage, session.now(), cosign)
        report = move_log(store, private, key, storage, session.now(), progress, cosign)
        if key_file is not None and not is_file(key_file):
            with written_whole(key_file, mode=0o600) as file:
                file.write(pkcs8)
    return private, report


def cancel(session: Session, name: str | None) -> tuple[PrivateLog, SignedCheckpoint]:
    """Let a log stay whose move was not finished; raises as cancel_move does."""
    with session.writing() as store:
        private = require_private_log(store, name)
        key = load_signing_key(store.home, private.log.origin, store.passphrases)
        return private, cancel_move(store, private, key, session.now())


def adopt(
    session: Session,
    name: str | None,
    directory: Path,
    key_file: Path | None,
    progress: Progress,
    complain: Callable[[str], None] = lambda _: None,
) -> Adopted:
    """Take over the log in a storage whose server has stopped; raises as adopt_log does.

    A log that was never here is called `name`, else by its origin; its key is in `key_file`
    (PKCS#8), or among the keys of this home. Raises RefusedError (still-running) or
    LockedError if a server is at work there.
    """
    storage = PosixStorage(directory.absolute())
    with session.writing() as store:
        seal = finished_seal(storage)  # which says if it is no storage at all
        before = storage.looks()
        if seal is None:
            session.sleep(PAUSE_SECONDS)
        with storage.locked():
            _require_still(storage, before)
            private, key = _whose(store, storage, name, key_file)
            outside: list[Outside] = []
            cosign: Cosign = uncosigned
            if private is not None:
                outside = ask_mirrors(session, store, private)
                cosign = LogWitnesses(session, private, complain).cosign_in(store)
            return adopt_log(
                store,
                private,
                name or key.name,
                key,
                storage,
                outside,
                session.now(),
                progress,
                cosign,
            )


def _require_still(storage: PosixStorage, before: tuple[object, ...]) -> None:
    users = storage.users()
    if users:
        raise RefusedError(
            f"the server of {storage.directory} is running: pid {', '.join(map(str, users))}",
            reason="still-running",
            next_step="stop it, then run this again",
        )
    if storage.looks() != before:
        raise RefusedError(
            f"{storage.directory} changed while it was looked at: its server is running",
            reason="still-running",
            next_step="stop it, then run this again",
        )


def _whose(
    store: Store, storage: PosixStorage, name: str | None, key_file: Path | None
) -> tuple[PrivateLog | None, SigningKey]:
    """Return our log that a storage holds, None for one that was never here, and its key."""
    origin = storage.checkpoint().decode("utf-8", "replace").partition("\n")[0]
    ours = {log.log.origin: log for log in all_private_logs(store)}
    private = ours.get(origin)
    if private is not None and name not in (None, private.name):
        raise ConfigError(
            f"{storage.directory} holds {origin}, which is the log {private.name} here, not {name}",
            reason="which-log",
        )
    if private is None and any(one.name == name for one in ours.values()):
        raise ConfigError(
            f"{storage.directory} holds {origin}, and the log {name} here is another",
            reason="log-exists",
            next_step="choose another name with --log",
        )
    is_here = has_signing_key(store.home, origin)
    if key_file is not None and not is_here:
        key = read_pkcs8_key(origin, key_file, store.passphrases)
        published_checkpoint(storage, key)  # before it is kept
        return private, create_signing_key(store.home, origin, key.seed, store.passphrases)
    if not is_here:
        raise IncompleteError(
            f"{storage.directory} holds {origin}, and there is no keys/{origin}.key",
            reason="no-key",
            next_step="give the key that its server signs with: --key FILE (PEM, PKCS#8)",
        )
    return private, load_signing_key(store.home, origin, store.passphrases)


def _ready_to_move(session: Session, store: Store, private: PrivateLog) -> None:
    """Compare a log that is still at home with its mirrors, as before it signs."""
    if move_of(store, private) is None:
        ready_to_sign(session, store, private)


def _refuse_other_file(path: Path, pkcs8: bytes) -> None:
    """Raise ConfigError if there is something else where the key is to be written."""
    if is_file(path) and read_foreign(path, MAX_SECRET_BYTES) != pkcs8:
        raise ConfigError(
            f"{path} exists already, and is another file",
            reason="key-exists",
            next_step="choose another name; a key is never overwritten",
        )
