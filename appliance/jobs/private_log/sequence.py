"""Append a batch of entries to a private log, so that no crash loses or forks it.

The order of the durable steps is the whole argument (DESIGN.md invariant 7):

    1. tiles, entry bundles and the batch itself become blobs, which nothing names yet
    2. the last-signed record is swapped to the new checkpoint and the batch: it is signed
    3. one transaction moves the database to that checkpoint: it is published
    4. only then does anybody hear of it

Before every batch, and at every start, the record and the database are compared. Equal:
nothing to do. The database one batch behind: we died between 2 and 3, and do 3 again from
the staged batch, by the same lines that did it the first time; Ed25519 signs the same note.
Anything else is another past than the one that was signed, and is refused for good.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

from appliance.errors import ConfigError, DivergenceError, RefusedError
from appliance.jobs.divergence.incident import keep_alarming, keys_described
from appliance.policy.alarms import Anomaly, rollback_alarm
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.mirror.checkpoints import Arrival, History
from appliance.store.mirror.entry_frames import compress_bundle, decompress_bundle
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.last_signed import (
    LastSigned,
    place_of,
    read_last_signed,
    swap_last_signed,
)
from appliance.store.private_log.private_logs import (
    SIGNED_HERE,
    PrivateLog,
    logged_index,
    publish,
    put_growth,
)
from appliance.tlog.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    open_checkpoint,
    parse_checkpoint,
)
from appliance.tlog.entries import format_entry_bundle, parse_entry_bundle
from appliance.tlog.growth import Edge, Growth, grow
from appliance.tlog.merkle import EMPTY_ROOT, TreeHead
from appliance.tlog.note import SigningKey, parse_note, sign_note
from appliance.tlog.note_keys import is_among
from appliance.tlog.tile import WIDTH, EntryBundle, edge_tiles
from appliance.tlog.tile_tree import TileTree
from appliance.value import frozen

RESTORED: Final = "restored-store"
COPIED: Final = "copied-home"
FROZEN: Final = "frozen"
MAX_BATCH: Final = WIDTH  # entries: a batch is staged as one entry bundle
_NEVER_AGAIN: Final = (
    "nothing will be signed here again; if another home runs this log, use that one; if not,"
    " start a new log under another origin: what was published stays provable"
)


class Standing(enum.Enum):
    """How what was signed last relates to what is published."""

    PUBLISHED = "published"  # the same
    SIGNED = "signed"  # one batch more was signed, and is still to be published


@frozen
class Placed:
    """Where one body of a batch stands in the log."""

    entry_index: int
    duplicate: bool  # it, or its like in the same batch, was logged before


@frozen
class _Position:
    """Where the log stands: signed and published alike."""

    edge: Edge
    last: LastSigned
    checkpoint: SignedCheckpoint


@frozen
class Sequenced:
    """What one batch did. Everything in it is durable."""

    checkpoint: SignedCheckpoint  # covers every body
    placed: tuple[Placed, ...]  # one a body, in order
    tree: TileTree  # of the checkpoint, with the tiles that prove what is new in it


def sequence(
    store: Store, private: PrivateLog, key: SigningKey, bodies: Sequence[bytes], now: int
) -> Sequenced:
    """Log `bodies`, at most 256, each once. The caller holds the home's lock.

    When this returns, every one is covered by a published checkpoint. Raises
    DivergenceError (reason restored-store or copied-home) if this store must not sign,
    RefusedError (reason frozen) if the log is closed, and StoreError if the disk is full
    or fails: then the batch is published whole by the next run, or not at all.
    """
    mirror = Mirror(store, private.log)
    now_at = _recovered(mirror, private, key, now)
    if bodies and now_at.checkpoint.checkpoint.frozen:
        raise RefusedError(
            f"{private.log.origin} is frozen since {now_at.checkpoint.checkpoint.frozen}",
            reason=FROZEN,
            next_step="log to the one that came after it",
        )
    first = now_at.edge.head.tree_size
    new: dict[bytes, int] = {}
    placed = []
    for body in bodies:
        index = logged_index(store, private, body)
        duplicate = index is not None or body in new
        if index is None:
            index = new.setdefault(body, first + len(new))
        placed.append(Placed(index, duplicate))
    if not new:
        return Sequenced(now_at.checkpoint, tuple(placed), TileTree(now_at.edge.head))
    entries = list(new)
    staged = compress_bundle(format_entry_bundle(entries))
    growth = grow(now_at.edge, entries)
    checkpoint = _signed(private, key, growth.head)
    _append(mirror, private, now_at.last, staged, growth, checkpoint, entries, now)
    return Sequenced(checkpoint, tuple(placed), _tree(now_at.edge, growth))


def recover(store: Store, private: PrivateLog, key: SigningKey, now: int) -> SignedCheckpoint:
    """Finish a batch that was signed but not published; return the published checkpoint.

    The caller holds the home's lock. Raises as `sequence` does.
    """
    return _recovered(Mirror(store, private.log), private, key, now).checkpoint


def standing(store: Store, private: PrivateLog) -> Standing:
    """Compare what was signed last with what is published, changing nothing.

    Raises DivergenceError as `sequence` does, but keeps no evidence.
    """
    return _compare(store, private)[0]


def _compare(
    store: Store, private: PrivateLog
) -> tuple[Standing, LastSigned, SignedCheckpoint, TreeHead]:
    origin = private.log.origin
    last = read_last_signed(store.home, origin)
    if last is None:
        raise DivergenceError(
            f"what {origin} signed last is not recorded in keys/{origin}.last",
            reason=RESTORED,
            next_step=_NEVER_AGAIN,
        )
    if last.place != place_of(store.home):
        raise DivergenceError(
            f"{origin} was last signed for in another place than {store.home}: this is a copy"
            " or a restored backup, and two homes that sign make a fork",
            reason=COPIED,
            next_step="go on in the old home; if it is gone for ever and logged nothing since this"
            f" copy was made: attestor log recover --log {private.name} --only-copy; if it did,"
            " start a new log under another origin",
        )
    signed = open_checkpoint(last.note, private.log.keys, origin)
    accepted = History(store, private.log).accepted()
    head = accepted.head if accepted else TreeHead(0, EMPTY_ROOT)
    if head == signed.head:
        return Standing.PUBLISHED, last, signed, head
    staged = signed.head.tree_size - last.base_size  # entries
    if last.staged and head.tree_size == last.base_size and 1 <= staged <= MAX_BATCH:
        return Standing.SIGNED, last, signed, head
    raise _restored(signed.head, head)


def _recovered(mirror: Mirror, private: PrivateLog, key: SigningKey, now: int) -> _Position:
    """Return the tree that was signed last, publishing it first if that was not done yet."""
    store = mirror.store
    if not is_among(key.verifier, private.log.keys):
        raise ConfigError(
            f"the key of {private.log.origin} is not the one that is pinned for it",
            reason="wrong-key",
            next_step=f"restore keys/{private.log.origin}.key",
        )
    try:
        stands, last, signed, head = _compare(store, private)
        if stands is Standing.PUBLISHED:
            if signed.checkpoint.frozen:
                # The same head again, so nothing had to be staged: just its note.
                _publish_frozen(mirror, private, signed, now)
            return _Position(_edge(mirror, head), last, signed)
        # Signed, not published: the staged batch is all that is missing.
        staged = store.blobs.get(last.staged or b"")
        batch = EntryBundle(0, signed.head.tree_size - head.tree_size)
        entries = parse_entry_bundle(decompress_bundle(staged), batch)
        growth = grow(_edge(mirror, head), entries)
        if growth.head != signed.head:
            raise _restored(signed.head, head)
    except DivergenceError as error:
        if error.reason == RESTORED:
            error.evidence_id = _keep_both_heads(mirror, now)
        raise
    _append(mirror, private, last, staged, growth, signed, entries, now)
    return _Position(_edge(mirror, growth.head), last, signed)


def _publish_frozen(
    mirror: Mirror, private: PrivateLog, signed: SignedCheckpoint, now: int
) -> None:
    with mirror.store.atomic():
        if signed.note not in mirror.history.notes(signed.head.tree_size):
            details = {"name": private.name, "origin": private.log.origin, "since": now}
            details |= {"treeSize": signed.head.tree_size}
            append_event(mirror.store, now, "log.frozen", details)
        mirror.history.insert(signed, Arrival("private", SIGNED_HERE, now))


def _append(
    mirror: Mirror,
    private: PrivateLog,
    last: LastSigned,
    staged: bytes,
    growth: Growth,
    checkpoint: SignedCheckpoint,
    entries: Sequence[bytes],
    now: int,
) -> None:
    """Do the durable steps, those that are done already a second time."""
    store, origin = mirror.store, private.log.origin
    durable = put_growth(store, private, growth, staged)
    # If we die here, nothing was signed, some blobs are unused, and the clients ask again.
    if last.note != checkpoint.note:
        base_size = checkpoint.head.tree_size - len(entries)
        new = LastSigned(last.place, base_size, durable.staged, checkpoint.note)
        swap_last_signed(store.home, origin, expected=last, new=new)
    # If we die here, it is signed: whoever runs next publishes it, and nothing else at
    # this size, before anything else is signed. No client has heard of it.
    publish(store, private, durable, checkpoint, entries, now)
    # If we die here, all is published; clients that were not told ask again and get 409.


def _signed(private: PrivateLog, key: SigningKey, head: TreeHead) -> SignedCheckpoint:
    checkpoint = Checkpoint(private.log.origin, head)
    return SignedCheckpoint(checkpoint, sign_note(str(checkpoint), [key]), (key.verifier,))


def _edge(mirror: Mirror, head: TreeHead) -> Edge:
    """Read what is needed to append; grow() authenticates it."""
    index, width = divmod(head.tree_size, WIDTH)
    entries: tuple[bytes, ...] = ()
    if width:
        bundle = EntryBundle(index, width)
        entries = parse_entry_bundle(mirror.read_entry_bundle(bundle), bundle)
    return Edge(head, mirror.read_tiles(edge_tiles(head.tree_size)), entries)


def _tree(edge: Edge, growth: Growth) -> TileTree:
    """Return the new tree with every tile an inclusion proof of a new entry needs."""
    tree = TileTree(growth.head)
    tree.load(growth.tiles, lambda _: {**edge.tiles, **growth.tiles})
    return tree


def _restored(signed: TreeHead, stored: TreeHead) -> DivergenceError:
    return DivergenceError(
        f"signed last: tree size {signed.tree_size}, root {signed.root_hash.hex()}; but the"
        f" database holds size {stored.tree_size}, root {stored.root_hash.hex()}: it was restored"
        " from a backup or belongs to another home, and what it signed next would be a fork",
        reason=RESTORED,
        next_step=_NEVER_AGAIN,
    )


def _keep_both_heads(mirror: Mirror, now: int) -> int | None:
    """Keep what was signed last and what the database holds as evidence, if there are both."""
    last = read_last_signed(mirror.store.home, mirror.log.origin)
    stored = mirror.history.accepted()
    if last is None or stored is None:
        return None
    alarm = rollback_alarm(
        Anomaly.ROLLBACK,
        origin=mirror.log.origin,
        previous_size=parse_checkpoint(parse_note(last.note).text).head.tree_size,
        attempted_size=stored.head.tree_size,
        backend=mirror.log.origin,
        description="what this log signed last is not what its database holds: it was restored"
        " from a backup, or belongs to another home",
    )
    details = {"source": "the database", "keys": keys_described(mirror.log.keys)}
    notes = (last.note, stored.note)
    return keep_alarming(mirror.store, mirror.log, alarm, notes, details, now)[0]
