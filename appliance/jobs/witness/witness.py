"""Be a witness: cosign what a log signed, if it goes on from what was cosigned before.

c2sp.org/tlog-witness. The order of the durable steps is the whole argument, as it is for a
private log (jobs/private_log/sequence.py):

    1. the request is verified against what was cosigned last, under the witness's lock
    2. the machine's memory, then the record beside the key, then the database say what is
       cosigned now
    3. only then does anybody hear of the cosignature

Whatever a kill leaves of 2, the largest tree of the three counts. It was proven consistent with
all before it, so whoever asks again for that tree is answered, and nothing older ever is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.errors import (
    ConfigError,
    DivergenceError,
    IncompleteError,
    MalformedError,
    ProofError,
    RefusedError,
    RestoredError,
    SignatureError,
)
from appliance.jobs.divergence.gossip import compare_note
from appliance.jobs.divergence.incident import Incident, report_incident
from appliance.jobs.home.keys import WITNESS_TYPES, home_key
from appliance.jobs.local_tiles import our_root_at
from appliance.policy.relate import Contradiction, Rule
from appliance.store.database import Store
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.home.counters import count
from appliance.store.home.journal import append_event
from appliance.store.home.key_files import key_names, load_signing_key
from appliance.store.mirror.checkpoints import AcceptedCheckpoint, Arrival
from appliance.store.mirror.logs import Log, all_logs, find_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.last_signed import place_of
from appliance.store.private_log.private_logs import all_private_logs
from appliance.store.witness.cosigned import (
    CosignedRecord,
    CosignedRow,
    cosigned_rows,
    largest,
    put_cosigned,
    read_record,
    recall_heads,
    remember_heads,
    swap_record,
)
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint, parse_checkpoint
from appliance.tlog.cosignature import cosign, cosigner_key, open_cosignatures
from appliance.tlog.merkle import EMPTY_ROOT, TreeHead
from appliance.tlog.note import SigningKey, add_signatures, parse_note
from appliance.tlog.proof import verify_consistency
from appliance.tlog.tile_tree import TileTree
from appliance.tlog.witness_request import WitnessRequest
from appliance.value import frozen

WITNESS: Final = "witness"  # the type of a key that cosigns
COSIGNED: Final = "attestor_witness_cosigned_total"
RECOVERED: Final = "witness.recovered"
ASKED: Final = "a request to cosign"
_EMPTY: Final = TreeHead(0, EMPTY_ROOT)


class OldSizeError(RefusedError):
    """A request goes on from another tree than the one that was cosigned last."""

    default_reason = "old-size"

    def __init__(self, message: str, size: int = 0) -> None:
        super().__init__(
            message, next_step=f"make the request again, with the proof from size {size}"
        )
        self.size = size  # entries, of what was cosigned last


@frozen
class Cosigned:
    """What a witness answers a request with, durable."""

    origin: str
    head: TreeHead
    line: bytes  # the cosignature, as a signature line
    note: bytes  # the checkpoint with it


def require_witness_key(store: Store, name: str | None) -> SigningKey:
    """Return the witness key of that name, or the only one of this home.

    Raises IncompleteError (no-key) if there is none, ConfigError (which-key) if there are
    several and no name, RefusedError (key-role) for a key that signs something else.
    """
    if name is None:
        there = key_names(store.home)
        names = [one for one in there if home_key(store, one).type in WITNESS_TYPES]
        if len(names) != 1:
            raise _no_single_key(names)
        name = names[0]
    key = load_signing_key(store.home, name, store.passphrases)
    key_type = home_key(store, name).type
    if key_type not in WITNESS_TYPES:
        raise RefusedError(
            f"the key {name!r} is of the type {key_type}: it signs other things than a witness",
            reason="key-role",
            next_step=f"make one that does: attestor key generate NAME --type {WITNESS}",
        )
    return key


def _no_single_key(names: Sequence[str]) -> IncompleteError | ConfigError:
    if names:
        return ConfigError(
            f"this home has several witness keys: {', '.join(names)}",
            reason="which-key",
            next_step="name one with --key NAME",
        )
    return IncompleteError(
        "this home has no witness key",
        reason="no-key",
        next_step=f"make one: attestor key generate NAME --type {WITNESS}",
    )


def witnessed_logs(store: Store, origins: Sequence[str]) -> tuple[Log, ...]:
    """List the logs that are cosigned: those of `origins`, or all that are pinned here.

    Never a log of this home: nobody is a witness of himself.
    """
    own = {one.log.id for one in all_private_logs(store)}
    return tuple(
        log
        for log in all_logs(store)
        if log.id not in own and (not origins or log.origin in origins)
    )


def open_request(store: Store, request: WitnessRequest, origins: Sequence[str]) -> SignedCheckpoint:
    """Return the checkpoint of a request, which a pinned key of a witnessed log signed.

    Raises IncompleteError (unknown-log), SignatureError, MalformedError for what is no signed
    checkpoint, and RefusedError for a key that was retired or revoked.
    """
    origin = parse_note(request.note).text.partition("\n")[0]
    log = next((one for one in witnessed_logs(store, origins) if one.origin == origin), None)
    if log is None:
        raise IncompleteError(
            f"no log with the origin {origin[:80]!r} is cosigned here",
            reason="unknown-log",
            next_step="pin its key: attestor backend add ID --origin O --public-key FILE",
        )
    return open_checkpoint(request.note, log.keys, origin)


def cosign_request(
    store: Store, key: SigningKey, request: WitnessRequest, origins: Sequence[str], now: int
) -> Cosigned:
    """Cosign the checkpoint of a request. The caller holds the witness's lock.

    When this returns, it is durable that nothing but what goes on from it is cosigned. Raises
    what open_request raises; MalformedError for an old size above the checkpoint's;
    OldSizeError; ProofError; DivergenceError, evidence stored, if the log signed two trees;
    RefusedError (quarantined) for a log that did before; RestoredError if this home may not
    cosign; StoreError if it cannot be made durable.
    """
    signed = open_request(store, request, origins)
    record, heads = _standing(store, key)
    log = find_log(store, signed.origin)
    if log is None:
        raise LookupError(f"{signed.origin} was pinned a moment ago")
    mirror = Mirror(store, log)
    last = _last_of(mirror, key, heads.get(signed.origin, _EMPTY))
    head = signed.head
    if request.old_size > head.tree_size:
        raise MalformedError(
            f"{signed.origin}: the old size {request.old_size} is above the checkpoint's,"
            f" {head.tree_size}"
        )
    _refuse_quarantined(mirror)
    contradiction = None
    if head.tree_size == last.tree_size and head.root_hash != last.root_hash:
        contradiction = _contradiction(mirror, key, last, signed, now)
    if request.old_size != last.tree_size:
        raise OldSizeError(
            f"{signed.origin}: the request goes on from {request.old_size:,} entries; cosigned"
            f" last were {last.tree_size:,}",
            last.tree_size,
        )
    if contradiction is not None:
        raise contradiction
    if head.tree_size == 0 and head.root_hash != EMPTY_ROOT:
        raise ProofError(f"{signed.origin}: an empty tree has another root")
    verify_consistency(last, head, request.proof)
    _compare_with_mirror(mirror, signed, now)
    line = cosign(signed, key, now)
    note = add_signatures(parse_note(signed.note).text, [*parse_note(signed.note).signatures, line])
    _write_down(store, key, record, largest(heads, {signed.origin: head}))
    # If we die here, this tree counts as cosigned; whoever asks again is answered.
    with store.atomic():
        put_cosigned(store, CosignedRow(signed.origin, key.name, head, note, now))
        count(store, COSIGNED, {"origin": signed.origin})
    return Cosigned(signed.origin, head, line.line.encode(), note)


def cosigned_heads(store: Store, key: SigningKey) -> dict[str, TreeHead]:
    """Return of each log the largest tree that a key cosigned; raises RestoredError."""
    return _standing(store, key)[1]


def recover_witness(store: Store, key: SigningKey, now: int) -> dict[str, TreeHead]:
    """Let a witness cosign here whose home was restored, copied or moved, and return its heads.

    The operator answers for it that the old home is gone and cosigned nothing since. What
    this home holds that the key signed is counted in. The caller holds the witness's lock.
    """
    record = read_record(store.home, key.name)
    heads = largest(record.heads if record else {}, _stored(store, key), recall_heads(key.verifier))
    for log in all_logs(store):
        last = _last_of(Mirror(store, log), key, heads.get(log.origin, _EMPTY))
        if last != _EMPTY:
            heads[log.origin] = last
    here = CosignedRecord(place_of(store.home), heads)
    remember_heads(key.verifier, heads)
    swap_record(store.home, key.name, record, here)
    # If we die here, it may cosign, and the journal lacks a line.
    with store.atomic():
        append_event(store, now, RECOVERED, {"key": key.name, "logs": len(heads)})
    return heads


def _standing(store: Store, key: SigningKey) -> tuple[CosignedRecord | None, dict[str, TreeHead]]:
    """Return the record beside a key, and of each log the largest tree known to be cosigned."""
    record, rows = read_record(store.home, key.name), _stored(store, key)
    remembered = recall_heads(key.verifier)
    if record is None and not rows and not remembered:
        return None, {}
    if record is None or record.place != place_of(store.home):
        what = (
            f"what {key.name} cosigned last is not recorded in keys/{key.name}.cosigned"
            if record is None
            else f"{key.name} last cosigned in another place than {store.home}: this is a copy or"
            " a restored backup, and what was cosigned since nobody here knows"
        )
        raise RestoredError(
            what,
            next_step="go on in the old home; or make a new key: attestor key generate NAME --type"
            f" {WITNESS}; or, if the old home is gone and cosigned nothing since: attestor witness"
            f" recover --key {key.name} --only-copy",
        )
    return record, largest(record.heads, rows, remembered)


def _stored(store: Store, key: SigningKey) -> dict[str, TreeHead]:
    return {one.origin: one.head for one in cosigned_rows(store, key.name)}


def _last_of(mirror: Mirror, key: SigningKey, known: TreeHead) -> TreeHead:
    """Return the largest tree of a log that we cosigned, by our own cosignature if need be.

    A checkpoint that came to this home with it, and is larger than what we know of, was
    cosigned by this key in a past that was put back here.
    """
    accepted = mirror.history.accepted()
    if accepted is None or accepted.head.tree_size <= known.tree_size:
        return known
    own = cosigner_key(key)
    for note in mirror.history.notes(accepted.head.tree_size):
        signed = SignedCheckpoint(parse_checkpoint(parse_note(note).text), note, ())
        try:
            if open_cosignatures(signed, [own]):
                return accepted.head
        except SignatureError:
            continue
    return known


def _refuse_quarantined(mirror: Mirror) -> None:
    held = quarantine_of(mirror.store, mirror.log)
    if held is not None:
        raise RefusedError(
            f"{mirror.log.origin} contradicted itself, and nothing more of it is cosigned",
            reason="quarantined",
            next_step=f"see 'attestor alerts show {held.alert_number}'",
        )


def _contradiction(
    mirror: Mirror, key: SigningKey, last: TreeHead, signed: SignedCheckpoint, now: int
) -> DivergenceError | ProofError:
    """Keep both notes of one size as evidence; without the first there is no proof to keep."""
    origin = signed.origin
    rows = cosigned_rows(mirror.store, key.name)
    row = next((one for one in rows if one.origin == origin and one.head == last), None)
    if row is None:
        return ProofError(
            f"{origin}: at {last.tree_size} entries expected root {last.root_hash.hex()}, which was"
            f" cosigned, got {signed.head.root_hash.hex()}"
        )
    found = Contradiction(Rule.ROOT_MISMATCH, last.tree_size, last.root_hash, signed.head.root_hash)
    ours = AcceptedCheckpoint(last, row.note, row.cosigned_at, "seen", "cosigned here")
    arrival = Arrival("seen", ASKED, now)
    return report_incident(mirror, Incident(found, ours, signed, arrival, {}, None))


def _compare_with_mirror(mirror: Mirror, signed: SignedCheckpoint, now: int) -> None:
    """Raise DivergenceError, evidence stored, if our own copy of the log says otherwise."""
    accepted, size = mirror.history.accepted(), signed.head.tree_size
    if accepted is None or size > accepted.head.tree_size:
        return
    known = mirror.history.at(size)
    try:
        root = known.head.root_hash if known else None
        root = root or our_root_at(mirror, TileTree(accepted.head), size)
    except IncompleteError:
        return  # a home that holds no tiles of it cannot say
    if root != signed.head.root_hash:
        compare_note(mirror.store, signed.note, ASKED, now)
        raise LookupError(f"a contradiction of {signed.origin} that nobody found")


def _write_down(
    store: Store, key: SigningKey, record: CosignedRecord | None, heads: dict[str, TreeHead]
) -> None:
    here = place_of(store.home)
    if record is None:
        # The first: from here on a record that is gone is one that somebody took away.
        record = CosignedRecord(here, {})
        swap_record(store.home, key.name, None, record)
    remember_heads(key.verifier, heads)
    # If we die here, this machine knows, and lets nothing else follow.
    swap_record(store.home, key.name, record, CosignedRecord(here, heads))
