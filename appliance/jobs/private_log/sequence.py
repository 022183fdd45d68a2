"""Append a batch of entries to a private log, so that no crash loses or forks it.

The order of the durable steps is the whole argument (DESIGN.md invariant 7):

    1. tiles, entry bundles and the batch itself become blobs, which nothing names yet
    2. this machine's memory, outside of the home, says what is signed now and after what;
       then the last-signed record is swapped to the new checkpoint and the batch: it is signed
    3. the log's witnesses, if it has any, are asked to cosign it (cosigning.py)
    4. one transaction moves the database to that checkpoint: it is published
    5. only then does anybody else hear of it

Where the log's policy has a quorum and it was not reached, the batch stays where it is between
2 and 4: signed, not published, and nobody is answered. Whoever comes next asks again.

Before every batch, and at every start, the memory, the record and the database are compared.
Equal: nothing to do. The database one batch behind: we died between 2 and 4, and go on from
the staged batch, by the same lines that did it the first time; Ed25519 signs the same note.
Memory one step ahead of the record: we died within 2, or this is a copy from just before it;
either way that note is the only one that may be signed next. Anything else is another past
than the one that was signed, and is refused until `log recover` has looked outside.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Sequence
from typing import Final

from appliance.errors import (
    ApplianceError,
    ConfigError,
    MovedError,
    RefusedError,
    RemoteError,
    RestoredError,
)
from appliance.jobs.divergence.incident import keep_alarming, keys_described
from appliance.jobs.home.sweep import sweep_superseded
from appliance.jobs.private_log.cosigning import QUORUM, Cosign, uncosigned
from appliance.policy.alarms import rollback_alarm
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.mirror.checkpoints import Arrival, History
from appliance.store.mirror.entry_frames import compress_bundle, decompress_bundle
from appliance.store.mirror.logs import Backend, all_backends, require_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.last_signed import (
    ASK,
    LastSigned,
    Move,
    place_of,
    read_last_signed,
    swap_last_signed,
)
from appliance.store.private_log.memory import Memory, boot_id, recall, remember
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
from appliance.tlog.note_keys import VerifierKey, is_among
from appliance.tlog.quorum import verify_quorum
from appliance.tlog.tile import WIDTH, EntryBundle, Tile, edge_tiles
from appliance.tlog.tile_tree import TileTree
from appliance.tlog.tlog_policy import TlogPolicy, parse_tlog_policy
from appliance.value import frozen

FROZEN: Final = "frozen"
MAX_BATCH: Final = WIDTH  # entries: a batch is staged as one entry bundle
COMPARE_FIRST: Final = "compare-first"


class Standing(enum.Enum):
    """How what was signed last relates to what is published."""

    PUBLISHED = "published"  # the same
    SIGNED = "signed"  # one batch more was signed, and is still to be published
    MOVING = "moving"  # nothing is signed here: it is being written out for another server
    MOVED = "moved"  # nothing is signed here: another server goes on with it


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
class _Compared:
    """What was signed last, as it was found."""

    standing: Standing
    recorded: LastSigned  # beside the key
    memory: Memory | None  # of this machine
    last: LastSigned  # the newer of the two
    signed: SignedCheckpoint  # the note of `last`
    published: TreeHead


@frozen
class Sequenced:
    """What one batch did. Everything in it is durable."""

    checkpoint: SignedCheckpoint  # covers every body
    placed: tuple[Placed, ...]  # one a body, in order
    edge: Edge  # of the checkpoint, for the next batch

    @property
    def tree(self) -> TileTree:
        """The tree of the checkpoint, with the tiles that prove what is new in it."""
        return self.edge.tree or TileTree(self.edge.head)


def sequence(
    store: Store,
    private: PrivateLog,
    key: SigningKey,
    bodies: Sequence[bytes],
    now: int,
    cosign: Cosign = uncosigned,
    edge: Edge | None = None,
) -> Sequenced:
    """Log `bodies`, at most 256, each once. The caller holds the home's lock.

    `edge` is what the batch before left; it is read from the store unless it is the edge of
    what is published.

    When this returns, every one is covered by a published checkpoint. Raises RestoredError
    if this home may not sign, RefusedError if the log is closed (reason frozen) or has to be
    compared with its mirror first (compare-first), and StoreError if the disk is full or
    fails: then the batch is published whole by the next run, or not at all. RemoteError
    (quorum) if too few witnesses cosigned: then it is published by a run to which enough do.
    """
    mirror = Mirror(store, private.log)
    now_at = _recovered(mirror, private, key, now, cosign, edge)
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
        published = _as_published(mirror, now_at.edge.head)
        return Sequenced(published, tuple(placed), now_at.edge)
    entries = list(new)
    staged = compress_bundle(format_entry_bundle(entries))
    growth = grow(now_at.edge, entries)
    checkpoint = _signed(private, key, growth.head)
    checkpoint = _append(
        mirror, private, now_at.last, staged, growth, checkpoint, entries, now, cosign
    )
    if first // WIDTH != growth.head.tree_size // WIDTH:
        with contextlib.suppress(ApplianceError):  # all is published; what stays goes next time
            sweep_superseded(store, now)
    return Sequenced(checkpoint, tuple(placed), growth.edge(now_at.edge, entries))


def recover(
    store: Store, private: PrivateLog, key: SigningKey, now: int, cosign: Cosign = uncosigned
) -> SignedCheckpoint:
    """Finish a batch that was signed but not published; return the published checkpoint.

    The caller holds the home's lock. Raises as `sequence` does.
    """
    mirror = Mirror(store, private.log)
    return _as_published(mirror, _recovered(mirror, private, key, now, cosign).edge.head)


def standing(store: Store, private: PrivateLog) -> Standing:
    """Compare what was signed last with what is published, changing nothing.

    Raises RestoredError as `sequence` does, but keeps no evidence.
    """
    move = move_of(store, private)
    if move is not None:
        return Standing.MOVED if move.is_done else Standing.MOVING
    return _compare(store, private).standing


def move_of(store: Store, private: PrivateLog) -> Move | None:
    """Return where a log went or is going, by the record or this machine's memory.

    None: it is at home. A memory that is older than the record says nothing; else it is the
    newer of the two, as it is written first and is not put back with the home.
    """
    return _move_in(read_last_signed(store.home, private.log.origin), recall(private.log.keys[0]))


def _move_in(last: LastSigned | None, memory: Memory | None) -> Move | None:
    records = [] if last is None else [last]
    if memory is not None and (last is None or _size_of(memory) >= _head_of(last.note).tree_size):
        records.insert(0, memory.record)
    moves = [record.move for record in records if record.move is not None]
    return max(moves, key=lambda move: move.is_done, default=None)


def moved_error(private: PrivateLog, move: Move) -> MovedError:
    """Return what is said to whoever wants a log to sign that is elsewhere."""
    origin, name, directory = private.log.origin, private.name, move.directory
    if move.is_done:
        return MovedError(
            f"{origin} was moved to {directory}: the server there signs for it, and this home"
            " signs nothing",
            next_step="send entries to that server; to bring the log back, stop it and run:"
            f" attestor log adopt {directory} --log {name}",
        )
    return MovedError(
        f"{origin} is being moved to {directory}, and that is not finished: nothing is signed"
        " here meanwhile",
        next_step=f"finish it: attestor log move --log {name} --to {directory}; or stay: attestor"
        f" log move --log {name} --cancel",
    )


def mirrors_of(store: Store, private: PrivateLog) -> tuple[Backend, ...]:
    """List the enabled backends that serve a private log's tree from elsewhere."""
    return tuple(
        backend
        for backend in all_backends(store)
        if backend.log.id == private.log.id
        and backend.enabled
        and (backend.base_url or backend.read_url)
    )


def outside_memory(store: Store, private: PrivateLog) -> str:
    """Return in words what outside of this home would notice that it was put back."""
    mirrors = ", ".join(one.name for one in mirrors_of(store, private))
    asked = f"{mirrors} is asked after each boot" if mirrors else "no mirror is asked after a boot"
    if seen_this_boot(private):
        return f"this machine remembers what it signed last; {asked}"
    cannot = "" if mirrors else ": that the home was put back to an older state cannot be seen"
    return f"this machine remembers nothing of it since it was booted; {asked}{cannot}"


def seen_this_boot(private: PrivateLog) -> bool:
    """Whether this machine remembers, since it was booted, what the log signed last."""
    return recall(private.log.keys[0]) is not None


def _compare(store: Store, private: PrivateLog) -> _Compared:
    origin = private.log.origin
    recorded = read_last_signed(store.home, origin)
    if recorded is None:
        raise RestoredError(
            f"what {origin} signed last is not recorded in keys/{origin}.last",
            next_step=recover_step(private),
        )
    memory = recall(private.log.keys[0])
    move = _move_in(recorded, memory)
    if move is not None:
        raise moved_error(private, move)
    if recorded.place == ASK:
        raise RestoredError(
            f"this home was restored from a backup, and nothing in it can tell what {origin}"
            " signed after the backup was made",
            next_step=recover_step(private),
        )
    if recorded.place != place_of(store.home):
        raise RestoredError(
            f"{origin} was last signed for in another place than {store.home}: this is a copy"
            " or a restored backup, and two homes that sign make a fork",
            next_step=f"go on in the old home; if there is none: {recover_command(private)}",
        )
    last = _remembered(store, private, recorded, memory)
    signed = open_checkpoint(last.note, private.log.keys, origin)
    accepted = History(store, private.log).accepted()
    head = accepted.head if accepted else TreeHead(0, EMPTY_ROOT)
    if head == signed.head:
        return _Compared(Standing.PUBLISHED, recorded, memory, last, signed, head)
    staged = signed.head.tree_size - last.base_size  # entries
    if last.staged and head.tree_size == last.base_size and 1 <= staged <= MAX_BATCH:
        return _Compared(Standing.SIGNED, recorded, memory, last, signed, head)
    raise _restored(private, signed.head, head)


def recover_command(private: PrivateLog) -> str:
    """Return the command that looks outside of the home before the log signs again."""
    return f"attestor log recover --log {private.name}"


def recover_step(private: PrivateLog) -> str:
    """Return what is to be done about a log that may not sign here."""
    return (
        f"run: {recover_command(private)} (with --source URL|DIRECTORY if there is a mirror of"
        " the log); it compares with what is outside of this home, and says what it could not"
    )


def _remembered(
    store: Store, private: PrivateLog, last: LastSigned, memory: Memory | None
) -> LastSigned:
    """Return what was signed last, by the record or by what this machine remembers beyond it.

    Raises RestoredError if it remembers what this home cannot finish.
    """
    if memory is None or memory.record.note == last.note:
        return last
    mine, theirs = _head_of(last.note), _head_of(memory.record.note)
    staged = memory.record.staged
    if memory.follows(last) and (staged is None or store.blobs.file(staged) is not None):
        record = memory.record
        return LastSigned(last.place, record.base_size, record.staged, record.note)
    if theirs.tree_size < mine.tree_size or (theirs == mine and _is_frozen(last.note)):
        return last  # it could not be written down since
    raise RestoredError(
        f"since this machine was booted, {private.log.origin} signed tree size"
        f" {theirs.tree_size}, root {theirs.root_hash.hex()}; this home holds size"
        f" {mine.tree_size}, root {mine.root_hash.hex()}: it was put back to an older state",
        next_step=recover_step(private),
    )


def _head_of(note: bytes) -> TreeHead:
    return parse_checkpoint(parse_note(note).text).head


def _size_of(memory: Memory) -> int:
    return _head_of(memory.record.note).tree_size


def _is_frozen(note: bytes) -> bool:
    return bool(parse_checkpoint(parse_note(note).text).frozen)


def _recovered(
    mirror: Mirror,
    private: PrivateLog,
    key: SigningKey,
    now: int,
    cosign: Cosign,
    edge: Edge | None = None,
) -> _Position:
    """Return the tree that was signed last, publishing it first if that was not done yet."""
    store = mirror.store
    if not is_among(key.verifier, private.log.keys):
        raise ConfigError(
            f"the key of {private.log.origin} is not the key that is pinned for it",
            reason="wrong-key",
            next_step=f"restore keys/{private.log.origin}.key",
        )
    try:
        found = _compare(store, private)
        last, signed, head = found.last, found.signed, found.published
        _require_compared(store, private, found.memory)
        _write_down(store, private, found)
        if found.standing is Standing.PUBLISHED:
            if signed.checkpoint.frozen:
                # The same head again, so nothing had to be staged: just its note.
                _publish_frozen(mirror, private, signed, now, cosign)
            if edge is None or edge.head != head:
                edge = _edge(mirror, head)
            return _Position(edge, last, signed)
        # Signed, not published: the staged batch is all that is missing.
        staged = store.blobs.get(last.staged or b"")
        batch = EntryBundle(0, signed.head.tree_size - head.tree_size)
        entries = parse_entry_bundle(decompress_bundle(staged), batch)
        growth = grow(_edge(mirror, head), entries)
        if growth.head != signed.head:
            raise _restored(private, signed.head, head)
    except MovedError:
        raise  # nothing contradicts anything: it is elsewhere
    except RestoredError as error:
        error.evidence_id = _keep_both_heads(mirror, now)
        raise
    _append(mirror, private, last, staged, growth, signed, entries, now, cosign)
    return _Position(_edge(mirror, growth.head), last, signed)


def _require_compared(store: Store, private: PrivateLog, memory: Memory | None) -> None:
    """Raise RefusedError if the machine was booted since and there is somebody to ask."""
    if memory is not None:  # of this boot
        return
    mirrors = mirrors_of(store, private)
    if not mirrors or not boot_id():
        return
    names = ", ".join(mirror.name for mirror in mirrors)
    raise RefusedError(
        f"nothing on this machine remembers what {private.log.origin} signed last, and {names}"
        " can tell: it is asked first",
        reason=COMPARE_FIRST,
        next_step=f"run: {recover_command(private)}",
    )


def _write_down(store: Store, private: PrivateLog, found: _Compared) -> None:
    """Bring the record and the machine's memory to what was signed last."""
    last = found.last
    if found.recorded != last:
        swap_last_signed(store.home, private.log.origin, expected=found.recorded, new=last)
    if found.memory is None or found.memory.record.note != last.note:
        remember(private.log.keys[0], None, last)


def _publish_frozen(
    mirror: Mirror, private: PrivateLog, signed: SignedCheckpoint, now: int, cosign: Cosign
) -> None:
    text = str(signed.checkpoint)
    notes = mirror.history.notes(signed.head.tree_size)
    if any(parse_note(note).text == text for note in notes):
        return
    tree = TileTree(signed.head)
    cosigned = cosign(signed, lambda size: tree.prove_consistency(size, mirror.read_tiles))
    _require_quorum(mirror.store, private, cosigned)
    with mirror.store.atomic():
        details = {"name": private.name, "origin": private.log.origin, "since": now}
        details |= {"treeSize": signed.head.tree_size}
        append_event(mirror.store, now, "log.frozen", details)
        mirror.history.insert(cosigned, Arrival("private", SIGNED_HERE, now))


def _append(
    mirror: Mirror,
    private: PrivateLog,
    last: LastSigned,
    staged: bytes,
    growth: Growth,
    checkpoint: SignedCheckpoint,
    entries: Sequence[bytes],
    now: int,
    cosign: Cosign,
) -> SignedCheckpoint:
    """Do the durable steps, those that are done already a second time; return what is published."""
    store = mirror.store
    durable = put_growth(store, private, growth, staged)
    # If we die here, nothing was signed, some blobs are unused, and the clients ask again.
    if last.note != checkpoint.note:
        base_size = checkpoint.head.tree_size - len(entries)
        new = LastSigned(last.place, base_size, durable.staged, checkpoint.note)
        sign_off(store, private.log.keys[0], last, new)
    # If we die here, it is signed: whoever runs next publishes it, and nothing else at
    # this size, before anything else is signed. No client has heard of it.
    tree = TileTree(growth.head)

    def read(wanted: Sequence[Tile]) -> dict[Tile, bytes]:
        new = {tile: growth.tiles[tile] for tile in wanted if tile in growth.tiles}
        return new | mirror.read_tiles([tile for tile in wanted if tile not in new])

    cosigned = cosign(checkpoint, lambda size: tree.prove_consistency(size, read))
    _require_quorum(store, private, cosigned)
    # If we die here, witnesses have cosigned it; they do so again for the same tree.
    publish(store, private, durable, cosigned, entries, now, used=last.staged)
    # If we die here, all is published; clients that were not told ask again and get 409.
    return cosigned


def _as_published(mirror: Mirror, head: TreeHead) -> SignedCheckpoint:
    """Return what readers see of a published tree, with its cosignatures."""
    note = mirror.history.newest_note(head.tree_size)
    return open_checkpoint(note, mirror.log.keys, mirror.log.origin)


def _require_quorum(store: Store, private: PrivateLog, checkpoint: SignedCheckpoint) -> None:
    """Raise RemoteError (quorum) if the log's policy wants more witnesses than cosigned."""
    policy = policy_of(store, private)
    if policy is None:
        return
    try:
        verify_quorum(checkpoint, policy, private.log.keys)
    except RefusedError as error:
        raise RemoteError(
            f"{error.message}; the batch is signed and waits for them",
            reason=QUORUM,
            next_step="see that the witnesses can be reached: attestor log witnesses; or name"
            f" others: attestor log witnesses FILE --log {private.name}",
        ) from error


def policy_of(store: Store, private: PrivateLog) -> TlogPolicy | None:
    """Return whom a log asks to cosign, as it is set now; None: nobody."""
    log = require_log(store, private.log.origin)
    return None if log.policy is None else parse_tlog_policy(log.policy)


def sign_off(store: Store, key: VerifierKey, last: LastSigned | None, new: LastSigned) -> None:
    """Make it durable that `new` is what is signed, on the machine first, then in the home."""
    remember(key, last, new)
    # If we die here, the note is known to this machine, which lets no other follow `last`.
    swap_last_signed(store.home, key.name, expected=last, new=new)


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


def _restored(private: PrivateLog, signed: TreeHead, stored: TreeHead) -> RestoredError:
    return RestoredError(
        f"signed last: tree size {signed.tree_size}, root {signed.root_hash.hex()}; but the"
        f" database holds size {stored.tree_size}, root {stored.root_hash.hex()}: it was restored"
        " from a backup or belongs to another home, and what it signed next would be a fork",
        next_step=f"{recover_step(private)}; without a mirror, restore a newer backup, or start a"
        " new log under another origin: what was published stays provable",
    )


def _keep_both_heads(mirror: Mirror, now: int) -> int | None:
    """Keep what was signed last and what the database holds as evidence, if there are both."""
    last = read_last_signed(mirror.store.home, mirror.log.origin)
    stored = mirror.history.accepted()
    if last is None or stored is None or _head_of(last.note) == stored.head:
        return None
    alarm = rollback_alarm(
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
