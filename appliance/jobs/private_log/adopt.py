"""Take a log over from the storage of rekor-server-posix: the way back of a move (log adopt).

That server may have signed whatever it appended, so what its tree state says is what was
signed last. The order of the durable steps:

    1. under the storage's locks its whole tree is hashed, and compared with what is held here
    2. our record says that the log is elsewhere, if it does not yet
    3. the storage is sealed: no server appends or publishes there any more
    4. our record says which head was signed last; still, nothing is signed here
    5. tiles, entries and the head come into our store, and where each entry stands
    6. our record says that the log is here: from now on this home signs

Killed anywhere, the same command goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from appliance.errors import (
    ConfigError,
    ProofError,
    RefusedError,
    RestoredError,
    VerificationError,
)
from appliance.jobs.mirror.absorb import absorb, preview
from appliance.jobs.mirror.directory_source import DirectorySource
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.private_log.cosigning import Cosign, uncosigned
from appliance.jobs.private_log.move import mark_move, read_storage, told_event
from appliance.jobs.private_log.recover import Outside, agrees, index_entries, take_up
from appliance.jobs.private_log.sequence import move_of, recover, sign_off
from appliance.jobs.private_log.whole_tree import root_of, verify_whole_tree
from appliance.jobs.progress import SILENT, Progress
from appliance.store.database import Store
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.logs import find_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.last_signed import (
    LastSigned,
    Move,
    place_of,
    read_last_signed,
)
from appliance.store.private_log.memory import recall
from appliance.store.private_log.posix_storage import ADOPTED, CHECKPOINT, PosixStorage, Seal
from appliance.store.private_log.private_logs import PrivateLog, indexed_size
from appliance.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from appliance.tlog.merkle import TreeHead
from appliance.tlog.note import SigningKey, sign_note
from appliance.tlog.note_keys import is_among
from appliance.tlog.tlog_policy import NO_QUORUM, parse_tlog_policy
from appliance.value import frozen

ADOPTED_EVENT: Final = "log.adopted"


@frozen
class Adopted:
    """A log that is signed for here again."""

    private: PrivateLog
    checkpoint: SignedCheckpoint
    old_size: int | None  # entries held here before; None: the log was never here
    compared: tuple[str, ...]  # what else agreed, in words
    not_compared: tuple[str, ...]  # what did not answer


def adopt_log(
    store: Store,
    private: PrivateLog | None,
    name: str,
    key: SigningKey,
    storage: PosixStorage,
    outside: Sequence[Outside],
    now: int,
    progress: Progress = SILENT,
    cosign: Cosign = uncosigned,
) -> Adopted:
    """Take over the log in `storage`; the caller holds the home's lock and the storage's.

    Without `private` the log was never here, and is called `name`. Raises SignatureError,
    ProofError or MalformedError if the storage is not a tree that `key` signed; RestoredError
    if it holds less than was signed elsewhere; RefusedError (sealed) if it is not the other
    server's to give; DivergenceError, evidence stored, if it signed another tree than ours.
    """
    last = read_last_signed(store.home, key.name)
    move = None if private is None else move_of(store, private)
    if private is not None:
        if not is_among(key.verifier, private.log.keys):
            raise ConfigError(
                f"the key of {private.log.origin} is not the key that is pinned for it",
                reason="wrong-key",
                next_step=f"restore keys/{private.log.origin}.key",
            )
        if move is None and last is not None and last.place == place_of(store.home):
            recover(
                store, private, key, now, cosign
            )  # a batch in flight is part of what was signed
            last = read_last_signed(store.home, key.name)
    is_sealed = _require_ours_to_take(store, storage, key.name)
    if is_sealed and (last is None or last.place != place_of(store.home)):
        raise RestoredError(
            f"this home took the log out of {storage.directory} before it was put back to a backup:"
            " what it signed since is not there",
            next_step=f"run: attestor log recover --log {name} --source URL|DIRECTORY",
        )
    _require_where_it_is(storage, move, is_sealed=is_sealed)
    published = published_checkpoint(storage, key)
    head = _appended(storage, published.head)
    verify_whole_tree(lambda place: read_storage(storage, place), head, progress)
    _require_prefix(storage, head, published.head, "the checkpoint that was published there")
    source = _Storage(storage, published.note)
    arrival = Arrival("mirror", source.description, now)
    old_size = None
    known = find_log(store, key.name)  # as ours, or as one that is mirrored
    if known is not None:
        mirror = Mirror(store, known)
        if known.policy is not None and head != published.head:
            _refuse_uncosigned(storage, known.policy)
        preview(mirror, source, arrival)  # which keeps the evidence of another tree
        held = mirror.history.accepted()
        old_size = held.head.tree_size if held else 0
        if held is not None:
            _require_prefix(storage, head, held.head, "what this home holds")
    memory = recall(key.verifier)
    for one in (last, memory.record if memory else None):
        if one is not None:
            signed = open_checkpoint(one.note, [key.verifier], key.name).head
            _require_prefix(storage, head, signed, "what was signed last")

    here, directory = place_of(store.home), Move(str(storage.directory), is_done=True)
    if is_sealed and private is not None and move is None:
        return Adopted(private, recover(store, private, key, now), old_size, (), ())
    if private is None or move != directory or last is None or last.place != here:
        before = last.note if last is not None else published.note
        moved = LastSigned(here, head.tree_size, None, before, directory)
        sign_off(store, key.verifier, last, moved)
        last = moved
    # If we die here, this home signs nothing, and the other server may go on.
    if not is_sealed:
        storage.close(Seal(ADOPTED, key.name, here))
    # If we die here, nobody signs until this is run again.
    newest = _signed(key, published, head)
    if newest.note != last.note:
        moved = LastSigned(here, head.tree_size, None, newest.note, directory)
        sign_off(store, key.verifier, last, moved)
    if private is None:
        private = take_up(store, name, newest.note, now)
    mirror = Mirror(store, private.log)
    mirror.forget_absent()
    taken = _Storage(storage, newest.note)
    absorb(mirror, taken, arrival, Wanted(entries=True, from_older=True), progress)
    index_entries(store, private, mirror, indexed_size(store, private))
    compared = [
        agrees(store, private, one.name, one.note, now) for one in outside if one.note is not None
    ]
    details = {"directory": directory.directory}
    told_event(store, private, ADOPTED_EVENT, details, head, now)
    mark_move(store, private, key, None)
    silent = [f"{one.name} did not answer: {one.error}" for one in outside if one.note is None]
    checkpoint = recover(store, private, key, now)
    return Adopted(private, checkpoint, old_size, tuple(compared), tuple(silent))


def published_checkpoint(storage: PosixStorage, key: SigningKey) -> SignedCheckpoint:
    """Open what a storage published; raises SignatureError unless `key` signed it, or Malformed."""
    try:
        return open_checkpoint(storage.checkpoint(), [key.verifier], key.name)
    except VerificationError as error:
        error.message = f"{storage.directory / CHECKPOINT}: {error.message}"
        raise


class _Storage(DirectorySource):
    """The tiles of a storage under a checkpoint that may be newer than the published one."""

    def __init__(self, storage: PosixStorage, note: bytes) -> None:
        super().__init__(storage.directory)
        self._note = note

    def checkpoint(self) -> bytes:
        return self._note


def finished_seal(storage: PosixStorage) -> Seal | None:
    """Return the seal of a storage; raises RefusedError (sealed) if a move into it is not done."""
    seal = storage.seal()
    if seal is not None and seal.doing != ADOPTED:
        raise RefusedError(
            f"a move of {seal.origin} into {storage.directory} was not finished: no server ran"
            " there",
            reason="sealed",
            next_step="in the home it comes from: attestor log move --cancel, or the same move"
            " again",
        )
    return seal


def _require_ours_to_take(store: Store, storage: PosixStorage, origin: str) -> bool:
    """Return whether an earlier run sealed the storage; raises RefusedError for other seals."""
    seal = finished_seal(storage)
    if seal not in (None, Seal(ADOPTED, origin, place_of(store.home))):
        raise RefusedError(
            f"{storage.directory} was taken over by another home already, which signs for"
            f" {origin} now",
            reason="sealed",
            next_step="go on in that home",
        )
    return seal is not None


def _require_where_it_is(storage: PosixStorage, move: Move | None, *, is_sealed: bool) -> None:
    """Raise RefusedError (other-storage) if the log went somewhere else than to `storage`.

    A storage may have been renamed since, and its disk mounted elsewhere. But one that this home
    took the log out of before has nothing of it, and one without a seal where the log went does.
    """
    if move is None or move.directory == str(storage.directory):
        return
    there = PosixStorage(Path(move.directory))
    if is_sealed or (there.has(CHECKPOINT) and there.seal() is None):
        raise RefusedError(
            f"the log was moved to {move.directory}, and {storage.directory} is another storage",
            reason="other-storage",
            next_step=f"adopt that storage: attestor log adopt {move.directory}",
        )


def _appended(storage: PosixStorage, published: TreeHead) -> TreeHead:
    """Return the largest tree that the other server can have signed."""
    state = storage.tree_state()
    if state.tree_size == published.tree_size and state != published:
        raise ProofError(
            f"{storage.directory}: its tree state and its checkpoint have other roots for size"
            f" {state.tree_size}",
            reason="root",
        )
    return state if state.tree_size >= published.tree_size else published


def _require_prefix(storage: PosixStorage, head: TreeHead, old: TreeHead, what: str) -> None:
    if old == head:
        return
    if old.tree_size > head.tree_size:
        raise RestoredError(
            f"{storage.directory} holds {head.tree_size:,} entries, and {what} has"
            f" {old.tree_size:,}: it is an older copy of that storage",
            next_step="name the storage that the server used last",
        )
    root = root_of(lambda place: read_storage(storage, place), head, old.tree_size)
    if root != old.root_hash:
        raise ProofError(
            f"{storage.directory}: the first {old.tree_size:,} entries have root {root.hex()},"
            f" expected {old.root_hash.hex()}, {what}",
            reason="root",
        )


def _refuse_uncosigned(storage: PosixStorage, policy: bytes) -> None:
    """Raise RefusedError if what was not published yet needs witnesses: that server asks them."""
    if parse_tlog_policy(policy).quorum != NO_QUORUM:
        raise RefusedError(
            f"{storage.directory} holds entries that were appended and not published, and the log's"
            " policy wants witnesses for them",
            reason="unpublished",
            next_step="start the server there until it has published them, stop it, and run this"
            " again; or take the quorum out of the policy: attestor log witnesses FILE",
        )


def _signed(key: SigningKey, published: SignedCheckpoint, head: TreeHead) -> SignedCheckpoint:
    """Return the checkpoint of all that was appended: as published, or as it would have been."""
    if head == published.head:
        return published
    checkpoint = Checkpoint(key.name, head)
    return SignedCheckpoint(checkpoint, sign_note(str(checkpoint), [key]), (key.verifier,))
