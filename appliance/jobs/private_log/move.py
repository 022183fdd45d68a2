"""Hand a private log over to rekor-server-posix: same key, same origin, same tree (log move).

The order of the durable steps is what keeps two from signing:

    1. a batch that was signed is published; then our record says that the log is being moved
    2. the other server's directory is sealed, written, flushed, and read again from the disk:
       its entries are hashed up to the root that was signed last
    3. our record says that the log was moved
    4. the seal is taken away: only now can a server start there

From 1 on nothing is signed here. Killed anywhere, the same command goes on. Until 3 the log
can stay instead (`cancel_move`), since no server can have started.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from appliance.errors import (
    IncompleteError,
    MalformedError,
    MovedError,
    ProofError,
    RefusedError,
    RestoredError,
    StoreError,
)
from appliance.jobs.private_log.cosigning import Cosign, uncosigned
from appliance.jobs.private_log.sequence import (
    FROZEN,
    move_of,
    moved_error,
    recover,
    recover_step,
    sign_off,
)
from appliance.jobs.private_log.whole_tree import verify_whole_tree
from appliance.jobs.progress import SILENT, Progress
from appliance.store.database import Store
from appliance.store.failures import DISK_FULL
from appliance.store.home.journal import append_event
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.last_signed import Move, place_of, read_last_signed
from appliance.store.private_log.posix_storage import MOVING, PosixStorage, Seal
from appliance.store.private_log.private_logs import PrivateLog
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.entries import MAX_BUNDLE_BYTES
from appliance.tlog.merkle import HASH_BYTES, TreeHead
from appliance.tlog.note import SigningKey
from appliance.tlog.tile import WIDTH, EntryBundle, Tile, new_entry_bundles, tiles_of
from appliance.value import frozen, replaced

MOVED: Final = "log.moved"
CANCELLED: Final = "log.move-cancelled"


@frozen
class MoveReport:
    """What was written for the other server, or would be."""

    head: TreeHead
    files: int  # tiles and entry bundles
    n_bytes: int  # of them
    written: int  # files that were not there already


def move_log(
    store: Store,
    private: PrivateLog,
    key: SigningKey,
    storage: PosixStorage,
    now: int,
    progress: Progress = SILENT,
    cosign: Cosign = uncosigned,
) -> MoveReport:
    """Write a log into `storage` and sign nothing for it any more; the caller holds the lock.

    Can die anywhere and be run again. Raises MovedError if another server has it already,
    RefusedError for a frozen log (frozen) or a directory that holds something else
    (not-empty), IncompleteError for what is not here of the log, StoreError if the disk is
    full, fails, or does not read back what was written, and as `sequence.recover` does.
    """
    seal = _seal(store, private)
    wanted = Move(str(storage.directory), is_done=False)
    done = replaced(wanted, is_done=True)
    move = move_of(store, private)
    if move == done:
        return _release(store, private, storage, seal)
    plan = plan_move(store, private, key, storage, now, cosign)
    if move != wanted:
        mark_move(store, private, key, wanted)
    # If we die here, nothing is signed any more and nothing is there: run again, or cancel.
    storage.begin(seal)
    # If we die from here on, what is there has a seal, and no server starts.
    written = 0
    progress.stage("files", lambda: plan.files)
    for path, data in _files(Mirror(store, private.log), plan.head.tree_size):
        written += storage.put(path, data)
        progress(1)
    storage.flush()
    _verify(storage, plan.head)
    note = Mirror(store, private.log).history.newest_note(plan.head.tree_size)
    storage.finish(note, plan.head, plan.head.tree_size // WIDTH * WIDTH)
    if (storage.checkpoint(), storage.tree_state()) != (note, plan.head):
        raise _not_read_back(storage, "its checkpoint or tree state is another")
    told_event(store, private, MOVED, {"directory": wanted.directory}, plan.head, now)
    mark_move(store, private, key, done)
    # If we die here, no server can start there yet, and the next run lets it.
    storage.release()
    return replaced(plan, written=written)


def plan_move(
    store: Store,
    private: PrivateLog,
    key: SigningKey,
    storage: PosixStorage,
    now: int,
    cosign: Cosign = uncosigned,
) -> MoveReport:
    """Say what a move would write, and that nothing is in its way; a batch in flight is finished.

    Raises as move_log does.
    """
    head = _head(store, private, key, now, cosign).head
    mirror = Mirror(store, private.log)
    mirror.require_all(mirror.missing_tiles(head.tree_size))
    mirror.require_all(mirror.missing_entry_bundles(head.tree_size))
    storage.require_usable(_seal(store, private))
    n_files = n_bytes = n_there = 0
    for path, data in _files(mirror, head.tree_size):
        n_files += 1
        n_bytes += len(data)
        n_there += len(data) if storage.has(path) else 0
    free = storage.room().free_bytes
    if free < n_bytes - n_there:
        raise StoreError(
            f"{storage.directory}: {n_bytes - n_there:,} bytes are to be written, and {free:,} are"
            " free",
            reason=DISK_FULL,
            next_step="make room, or name a directory on another disk",
        )
    return MoveReport(head, n_files, n_bytes, 0)


def cancel_move(store: Store, private: PrivateLog, key: SigningKey, now: int) -> SignedCheckpoint:
    """Let a log stay whose move was not finished. The caller holds the lock.

    Raises RefusedError (not-moving) if there is no such move, MovedError if it was finished or
    a server can have started there, and RestoredError for a copy of the home.
    """
    move = move_of(store, private)
    if move is None:
        raise RefusedError(
            f"{private.log.origin} is not being moved", reason="not-moving", next_step=""
        )
    if move.is_done:
        raise moved_error(private, move)
    _require_here(store, private)
    storage = PosixStorage(Path(move.directory))
    try:
        seal = storage.seal()
    except IncompleteError:
        pass  # it was never begun
    else:
        if seal != _seal(store, private):
            raise moved_error(private, replaced(move, is_done=True))
    details = {"directory": move.directory}
    checkpoint = _head(store, private, key, now)
    told_event(store, private, CANCELLED, details, checkpoint.head, now)
    mark_move(store, private, key, None)
    return recover(store, private, key, now)


def _head(
    store: Store,
    private: PrivateLog,
    key: SigningKey,
    now: int,
    cosign: Cosign = uncosigned,
) -> SignedCheckpoint:
    """Return what was signed last, published as well; raises unless it may be moved from here."""
    move = move_of(store, private)
    if move is None:
        signed = recover(store, private, key, now, cosign)
    elif move.is_done:
        raise moved_error(private, move)
    else:
        last = _require_here(store, private)
        signed = open_checkpoint(last, private.log.keys, private.log.origin)
        held = Mirror(store, private.log).history.accepted()
        if held is None or held.head != signed.head:
            raise RestoredError(
                f"the database does not hold what {private.log.origin} signed last: it was restored"
                " from a backup while the log was being moved",
                next_step=recover_step(private),
            )
    if signed.checkpoint.frozen:
        raise RefusedError(
            f"{private.log.origin} is frozen since {signed.checkpoint.frozen}: it has nowhere to go"
            " on",
            reason=FROZEN,
            next_step="its tiles can be served from here, or from any web server",
        )
    return signed


def _require_here(store: Store, private: PrivateLog) -> bytes:
    """Return the note that was signed last; raises RestoredError in a copy of the home."""
    last = read_last_signed(store.home, private.log.origin)
    if last is None or last.place != place_of(store.home):
        raise RestoredError(
            f"{private.log.origin} is being moved from another home than {store.home}, of which"
            " this is a copy or a restored backup",
            next_step="go on in the old home; if there is none and its server never started:"
            f" {recover_step(private)}",
        )
    return last.note


def _release(store: Store, private: PrivateLog, storage: PosixStorage, seal: Seal) -> MoveReport:
    """Let the other server start, if the run that moved the log died just before that."""
    head = open_checkpoint(_require_here(store, private), private.log.keys, private.log.origin).head
    found = storage.seal()
    if found == seal:
        storage.release()
    elif found is not None:
        raise MovedError(
            f"{storage.directory} is sealed ({found.doing} by another home): the log went on there",
            next_step="find that home, and go on in it",
        )
    return MoveReport(head, 0, 0, 0)


def _seal(store: Store, private: PrivateLog) -> Seal:
    return Seal(MOVING, private.log.origin, place_of(store.home))


def mark_move(store: Store, private: PrivateLog, key: SigningKey, move: Move | None) -> None:
    """Make it durable where the log is, on this machine first, then in the home."""
    last = read_last_signed(store.home, private.log.origin)
    if last is None:
        raise LookupError("a record that was just read is not there")
    sign_off(store, key.verifier, last, replaced(last, move=move))


def _files(mirror: Mirror, tree_size: int) -> Iterator[tuple[str, bytes]]:
    for bundle in new_entry_bundles(0, tree_size):
        yield bundle.path, mirror.read_entry_bundle(bundle)
    for tile in tiles_of(tree_size):
        yield tile.path, mirror.read_tiles([tile])[tile]


def read_storage(storage: PosixStorage, place: Tile | EntryBundle) -> bytes:
    """Read one tile or entry bundle from a storage, as it is there."""
    is_tile = isinstance(place, Tile)
    return storage.read(place.path, 2 * WIDTH * HASH_BYTES if is_tile else MAX_BUNDLE_BYTES)


def _verify(storage: PosixStorage, head: TreeHead) -> None:
    try:
        verify_whole_tree(lambda place: read_storage(storage, place), head)
    except (ProofError, MalformedError) as error:
        raise _not_read_back(storage, error.message) from error


def _not_read_back(storage: PosixStorage, what: str) -> StoreError:
    return StoreError(
        f"{storage.directory} does not read back as what was signed: {what}",
        reason="medium",
        next_step="run 'attestor tiles verify', look at that disk, then run this again",
    )


def told_event(
    store: Store, private: PrivateLog, event: str, details: dict[str, str], head: TreeHead, now: int
) -> None:
    """Tell the journal what became of a log that was at `head`."""
    told = {"name": private.name, "origin": private.log.origin, **details}
    with store.atomic():
        append_event(store, now, event, told | {"treeSize": head.tree_size})
