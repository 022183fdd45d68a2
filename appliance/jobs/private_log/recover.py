"""Let a private log sign again after its home was restored, copied or rebuilt (log recover).

Nothing in a home proves that it is the newest. So it is compared with whatever is outside of
it and remembers the log: what this machine remembers since it was booted, the log's mirrors,
and what the operator names. What none of them could tell is said in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from appliance.errors import (
    ApplianceError,
    ConfigError,
    DivergenceError,
    IncompleteError,
    RestoredError,
)
from appliance.jobs.divergence.gossip import Standing as Seen
from appliance.jobs.divergence.gossip import compare_note
from appliance.jobs.mirror.absorb import absorb
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.private_log.cosigning import Cosign, uncosigned
from appliance.jobs.private_log.create import empty_checkpoint
from appliance.jobs.private_log.sequence import move_of, moved_error, recover, recover_command
from appliance.jobs.progress import SILENT, Progress
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.home.key_files import has_signing_key, load_signing_key
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.logs import REKOR_V2, add_log, find_backend, find_log, put_backend
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.last_signed import (
    LastSigned,
    place_of,
    read_last_signed,
    swap_last_signed,
)
from appliance.store.private_log.memory import Memory, boot_id, recall, remember
from appliance.store.private_log.private_logs import (
    PrivateLog,
    adopt_private_log,
    all_private_logs,
    remember_logged,
)
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.entries import parse_entry_bundle
from appliance.tlog.log_source import LogSource
from appliance.tlog.note import SigningKey, parse_note
from appliance.tlog.note_keys import is_among
from appliance.tlog.tile import WIDTH, EntryBundle
from appliance.value import frozen

RECOVERED: Final = "log.recovered"


@frozen
class Outside:
    """Something outside of the home that was asked what the log signed last."""

    name: str  # a URL, a directory, a backend
    note: bytes | None  # None: it did not answer
    error: str = ""  # why


@frozen
class Recovered:
    """A log that may sign again, and on what grounds."""

    checkpoint: SignedCheckpoint
    compared: tuple[str, ...]  # what agreed, in words
    not_compared: tuple[str, ...]  # what could not be, in words


def recover_log(
    store: Store,
    private: PrivateLog,
    key: SigningKey,
    outside: Sequence[Outside],
    now: int,
    cosign: Cosign = uncosigned,
    *,
    only_copy: bool,
) -> Recovered:
    """Compare a log with all that is outside of its home, and let it sign again.

    The caller holds the home's lock. `only_copy`: the operator answers for what nothing
    outside can tell. Raises RestoredError if something signed more than this home holds, or
    nothing could be compared and nobody answers for it; MovedError if another server has the
    log, unless a mirror stands in for it and somebody answers that it is gone; DivergenceError,
    evidence stored, if the log signed another tree; and as `sequence.recover` does.
    """
    if not is_among(key.verifier, private.log.keys):
        return _finish(store, private, key, (), (), now, cosign)  # which says what is wrong with it
    move = move_of(store, private)
    if move is not None and not (only_copy and any(one.note is not None for one in outside)):
        error = moved_error(private, move)
        if move.is_done:
            error.next_step += (
                "; if that server and its storage are gone for ever, continue from a mirror:"
                f" {recover_command(private)} --source URL|DIRECTORY --only-copy"
            )
        raise error
    last, memory = read_last_signed(store.home, private.log.origin), recall(key.verifier)
    here = place_of(store.home)
    last = _adopt(store, private, key, (memory, last), here, now, cosign)
    compared: list[str] = []
    missing: list[str] = []
    for one in outside:
        if one.note is None:
            missing.append(f"{one.name} did not answer: {one.error}")
        else:
            compared.append(agrees(store, private, one.name, one.note, now))
    n_outside = len(compared)
    if memory is not None:
        what = "what this machine remembers since it was booted"
        compared.append(agrees(store, private, what, memory.record.note, now))
    elif boot_id():
        missing.append("this machine remembers nothing of the log since it was booted")
    else:
        missing.append("this machine cannot tell one boot from another")
    if not outside:
        missing.append("no mirror of the log is configured or was named with --source")
    is_here = last is not None and last.place == here
    if not (n_outside or only_copy or (is_here and memory is not None)):
        _ask(private, missing, is_here=is_here)
    head = Mirror(store, private.log).history.accepted()
    if head is None:
        raise LookupError("a private log without a checkpoint")
    missing.append(
        f"whether it signed more than {head.head.tree_size:,} entries that only a home which is"
        " gone knew"
    )
    _take_place(store, private, key, (last, here), now)
    return _finish(store, private, key, compared, missing, now, cosign)


def _ask(private: PrivateLog, missing: Sequence[str], *, is_here: bool) -> None:
    if is_here:
        # Booted since, and nobody to ask: a power cut needs no hand.
        return
    raise RestoredError(
        f"{private.log.origin} cannot be compared with anything outside of this home:"
        f" {'; '.join(missing)}",
        next_step=f"name a mirror: {recover_command(private)} --source URL|DIRECTORY; or, if the"
        " old home is gone for ever and logged nothing since this copy was made, answer for it:"
        f" {recover_command(private)} --only-copy",
    )


def _adopt(
    store: Store,
    private: PrivateLog,
    key: SigningKey,
    known: tuple[Memory | None, LastSigned | None],
    here: str,
    now: int,
    cosign: Cosign,
) -> LastSigned | None:
    """Finish a batch that was signed and whose entries are still here, if it fits our head."""
    memory, last = known
    candidates = [] if memory is None else [memory.record]
    candidates += [] if last is None else [last]
    held = Mirror(store, private.log).history.accepted()
    for record in candidates:
        ahead = open_checkpoint(record.note, private.log.keys, private.log.origin).head.tree_size
        is_staged = record.staged is not None and store.blobs.file(record.staged) is not None
        fits = held is not None and held.head.tree_size == record.base_size < ahead
        if not (is_staged and fits):
            continue
        here_now = LastSigned(here, record.base_size, record.staged, record.note)
        recorded = read_last_signed(store.home, private.log.origin)
        if recorded != here_now:
            remember(key.verifier, None, here_now)
            swap_last_signed(store.home, private.log.origin, expected=recorded, new=here_now)
        # If we die here, the next run publishes it as any batch that was signed.
        recover(store, private, key, now, cosign)
        return here_now
    return last


def agrees(store: Store, private: PrivateLog, name: str, note: bytes, now: int) -> str:
    """Return in words that a note is of our tree; raises RestoredError if it is of a larger."""
    try:
        seen = compare_note(store, note, name, now)
    except DivergenceError as error:
        error.message = f"{name}: {error.message}"
        raise
    size, ours = seen.head.tree_size, seen.accepted_size or 0
    if seen.standing is Seen.PROVEN:
        return f"{name} has {size:,} entries, which are the first of the {ours:,} here"
    if seen.standing is Seen.UNDECIDED:
        raise IncompleteError(
            f"{name} has {size:,} entries, and tiles are missing here to compare them",
            reason="tile-missing",
            next_step=f"fill them: {recover_command(private)} --source URL|DIRECTORY",
        )
    raise RestoredError(
        f"{name} has {size:,} entries that {private.log.origin} signed, this home holds"
        f" {ours:,}: what it signed next would be a fork",
        next_step=f"continue from a mirror that has them: {recover_command(private)} --source"
        " URL|DIRECTORY; without any, restore a newer backup, or start a new log under another"
        " origin: what was published stays provable",
    )


def _take_place(
    store: Store,
    private: PrivateLog,
    key: SigningKey,
    found: tuple[LastSigned | None, str],
    now: int,
) -> None:
    """Record our head, which nothing outside is ahead of, as what was signed last, here."""
    (last, here), origin = found, private.log.origin
    mirror = Mirror(store, private.log)
    if last is not None:
        agrees(store, private, f"keys/{origin}.last", last.note, now)
    head = mirror.history.accepted()
    covered = mirror.history.mirror_checkpoint()
    if head is None or covered is None or covered.head != head.head:
        raise IncompleteError(
            f"{origin}: tiles are missing here up to {head.head.tree_size if head else 0:,}",
            reason="tile-missing",
            next_step=f"fill them: {recover_command(private)} --source URL|DIRECTORY",
        )
    size = head.head.tree_size
    if last is not None:
        at = open_checkpoint(last.note, private.log.keys, origin)
        if at.head == head.head and last.place == here and last.move is None:
            remember(key.verifier, None, last)
            return
        if at.head == head.head and at.checkpoint.frozen:
            _swap(store, key, last, LastSigned(here, size, None, last.note))
            return
    _swap(store, key, last, LastSigned(here, size, None, mirror.history.newest_note(size)))


def _swap(store: Store, key: SigningKey, last: LastSigned | None, new: LastSigned) -> None:
    remember(key.verifier, None, new)
    swap_last_signed(store.home, key.name, expected=last, new=new)


def _finish(
    store: Store,
    private: PrivateLog,
    key: SigningKey,
    compared: Sequence[str],
    missing: Sequence[str],
    now: int,
    cosign: Cosign,
) -> Recovered:
    checkpoint = recover(store, private, key, now, cosign)
    details: dict[str, Any] = {"name": private.name, "origin": private.log.origin}
    details |= {"treeSize": checkpoint.head.tree_size}
    details |= {"compared": list(compared), "notCompared": list(missing)}
    with store.atomic():
        append_event(store, now, RECOVERED, details)
    return Recovered(checkpoint, tuple(compared), tuple(missing))


# Continue a log from the tiles of a mirror of it.


def continue_log(
    store: Store,
    private: PrivateLog | None,
    name: str | None,
    source: LogSource,
    now: int,
    progress: Progress = SILENT,
) -> PrivateLog:
    """Bring a log up to what a mirror of it holds, and return it; nothing is signed.

    Without `private` its store is gone: the log is taken up anew, under `name`, with the key
    of the origin that the mirror's checkpoint names. The caller holds the home's lock.
    Raises IncompleteError (no-key) without that key, and what absorb raises.
    """
    note = source.checkpoint()
    if private is None:
        private = take_up(store, name, note, now)
    mirror = Mirror(store, private.log)
    open_checkpoint(note, private.log.keys, private.log.origin)
    mirror.forget_absent()  # a database that was restored alone names blobs that are gone
    arrival = Arrival("mirror", source.description, now)
    absorb(mirror, source, arrival, Wanted(entries=True, from_older=True), progress)
    index_entries(store, private, mirror)
    return private


def take_up(store: Store, name: str | None, note: bytes, now: int) -> PrivateLog:
    """Record that this home operates the log of a note, whose key is here; no entry comes yet."""
    origin = parse_note(note).text.partition("\n")[0]
    if not has_signing_key(store.home, origin):
        raise IncompleteError(
            f"the mirror is of {origin!r}, and there is no keys/{origin}.key",
            reason="no-key",
            next_step="put the log's key there, or name a mirror of the log you mean",
        )
    key = load_signing_key(store.home, origin, store.passphrases)
    open_checkpoint(note, [key.verifier], origin)
    name = name or origin
    if any(one.name == name for one in all_private_logs(store)):
        raise ConfigError(f"this home runs another log {name!r}", reason="log-exists")
    with store.atomic():
        log = find_log(store, origin) or add_log(store, origin, REKOR_V2, key.verifier.spki)
        if find_backend(store, name) is None:
            put_backend(store, name, log, base_url=None, read_url=None)
        return adopt_private_log(store, name, log, empty_checkpoint(key), now)


def index_entries(store: Store, private: PrivateLog, mirror: Mirror, first: int = 0) -> None:
    """Record where each entry from `first` on stands, so that none is logged twice."""
    head = mirror.history.mirror_checkpoint()
    size = head.head.tree_size if head else 0
    for index in range(first // WIDTH, -(-size // WIDTH)):
        bundle = EntryBundle(index, min(WIDTH, size - index * WIDTH))
        bodies = parse_entry_bundle(mirror.read_entry_bundle(bundle), bundle)
        remember_logged(store, private, index * WIDTH, bodies)


def reachable(source: LogSource) -> Outside:
    """Ask a source what it has of the log, believing nothing."""
    try:
        return Outside(source.description, source.checkpoint())
    except ApplianceError as error:
        return Outside(source.description, None, error.message)
