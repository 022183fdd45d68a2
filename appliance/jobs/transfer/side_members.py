"""What travels besides logs: collected for an export, taken in by an import.

Trust material is kept to be looked at, and trusted by nobody for having arrived. Receipts
and what the far side has decide where the next delta for it starts. Checkpoints that were
seen over there are compared with our own tree. Each is taken by itself: what is wrong with
one is said, and stops no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from appliance.errors import ApplianceError, DivergenceError
from appliance.jobs.divergence.gossip import compare_note
from appliance.jobs.queue.round_trip import (
    Absorbed,
    absorb_pending,
    absorb_receipts,
    mark_exported,
    mark_returned,
    outbound_pending,
    outbound_receipts,
    outbound_withdrawn,
)
from appliance.jobs.transfer.find_members import (
    Brought,
    outbound_expected,
    outbound_statements,
    outbound_watches,
    required,
    take_in,
)
from appliance.jobs.transfer.item_members import in_memory
from appliance.jobs.transfer.receipts import accept_receipt
from appliance.jobs.transfer.source import seen_directory
from appliance.store.database import Store
from appliance.store.divergence.seen import gossip_notes
from appliance.store.mirror.checkpoints import History
from appliance.store.mirror.logs import Log
from appliance.store.transfer.receipts import (
    carries,
    carries_item,
    carries_withdrawal,
    is_due,
    receipts_to_carry,
)
from appliance.store.transfer.transfers import FarHead, put_far_head
from appliance.store.verify.trust import (
    ArrivedFile,
    current_root,
    forget_oldest,
    put_arrived,
    repository_of,
)
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.merkle import Hash
from appliance.value import field, frozen
from bundles.manifest import Contains, log_directory
from bundles.reader import TransferBundle
from bundles.writer import Member

MAX_SEEN: Final = 16  # checkpoints of one log, newest first
TRUST: Final = "trust/"
TUF: Final = "tuf/"  # below it, a directory for each TUF repository
REPOSITORY_FILE: Final = "repository.txt"  # there: the URL
ROOT_MEMBER: Final = "trusted_root.json"  # below it
PENDING: Final = "pending/"
PROOFS: Final = "receipts/"  # of queued items, from the site that logged them
ACKS: Final = "acks/"  # the receipts of imports
_CONTAINS_NOTHING: Final = Contains(0, 0, 0, 0)


@frozen
class SideMembers:
    """Members of no log, and how they are remembered once they left."""

    before: tuple[Member, ...] = ()  # the logs, in the archive
    after: tuple[Member, ...] = ()
    seen: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)  # by origin
    carried: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()  # ids of queue items that have to be logged over there
    proofs: tuple[str, ...] = ()  # ids, over there, of items that were logged here
    contains: Contains = _CONTAINS_NOTHING
    requires: tuple[str, ...] = ()  # capabilities of whoever reads it

    @property
    def members(self) -> tuple[Member, ...]:
        """All of them."""
        return (*self.before, *self.after, *(one for seen in self.seen.values() for one in seen))


NO_SIDE_MEMBERS: Final = SideMembers()


@frozen
class Invited:
    """What may go along."""

    trust: bool = False  # in any case, however often it went before
    pending: bool = False  # queue items that cannot be logged from here
    only_proven: bool = False  # of checkpoints seen elsewhere, those that are prefixes of ours
    expected: bool = False  # what the operator expects to be signed
    watches: bool = False  # what the logs are watched for
    statements: tuple[bytes, ...] = ()  # signed notes of what searches found


def collect_side_members(
    store: Store, logs: Sequence[Log], now: int, invited: Invited, volume_set: str
) -> SideMembers:
    """Return what goes along with `logs`. `volume_set` is one that is made again, or empty."""
    before: list[Member] = []
    carried: list[str] = []
    root = current_root(store)
    if root is not None:
        repository = repository_of(store, root.raw)
        # Fresh metadata for a root that was sent is news: without it nothing there is fresh.
        what = f"trust:{root.digest}"
        what += "" if repository is None else f":{repository.newest[1].version}"
        if invited.trust or is_due(store, what, volume_set):
            before = _trust_members(store, root.raw)
            carried.append(what)
    acks = receipts_to_carry(store, side=volume_set)
    carried += map(carries, acks)
    waiting = outbound_pending(store, now) if invited.pending else {}
    withdrawn = outbound_withdrawn(store, volume_set) if invited.pending else {}
    carried += [carries_item(id_) for id_ in waiting]
    carried += [carries_withdrawal(id_) for id_ in withdrawn]
    proofs = outbound_receipts(store, now)
    after = [
        *(
            in_memory(f"{PENDING}{id_}.json", raw)
            for id_, raw in sorted((waiting | withdrawn).items())
        ),
        *(in_memory(f"{PROOFS}{id_}.json", raw) for id_, raw in sorted(proofs.items())),
        *(in_memory(f"{ACKS}{bundle_id}", note) for bundle_id, note in acks.items()),
    ]
    found = outbound_expected(store) if invited.expected else []
    found += outbound_watches(store) if invited.watches else []
    found += outbound_statements(invited.statements)
    after += found
    seen = {log.origin: _seen_members(store, log, invited, volume_set) for log in logs}
    carried += [f"seen:{one.sha256.hex()}" for members in seen.values() for one in members]
    n_seen = sum(map(len, seen.values()))
    return SideMembers(
        tuple(before),
        tuple(after),
        seen,
        tuple(carried),
        tuple(waiting),
        tuple(proofs),
        Contains(len(waiting) + len(withdrawn), len(proofs), len(acks), n_seen),
        required(found),
    )


def have_left(store: Store, side: SideMembers, bundle_id: str, now: int) -> None:
    """Say of queue items that they left, once the file is durable and recorded."""
    if side.pending:
        mark_exported(store, side.pending, bundle_id, now)
    if side.proofs:
        mark_returned(store, side.proofs, now)


def _seen_members(store: Store, log: Log, invited: Invited, volume_set: str) -> tuple[Member, ...]:
    directory = seen_directory(log_directory(log.origin))
    notes = gossip_notes(store, log, MAX_SEEN, only_proven=invited.only_proven)
    due = [
        note
        for note in (*_freeze_beyond(store, log), *notes)
        if is_due(store, f"seen:{sha256(note).hexdigest()}", volume_set)
    ]
    return tuple(in_memory(f"{directory}/{number}", note) for number, note in enumerate(due))


def _freeze_beyond(store: Store, log: Log) -> tuple[bytes, ...]:
    """Return the note that froze a log at a size that no tile here covers yet, if it is so."""
    history = History(store, log)
    accepted, mirrored = history.accepted(), history.mirror_checkpoint()
    if accepted is None or mirrored is None or accepted.head == mirrored.head:
        return ()
    note = history.newest_note(accepted.head.tree_size)
    return (note,) if open_checkpoint(note, log.keys, log.origin).checkpoint.frozen else ()


def repository_place(url: str) -> str:
    """Return where the files of a TUF repository are, below TRUST."""
    return f"{TUF}{sha256(url.encode()).hexdigest()[:16]}"


def _trust_members(store: Store, trusted_root: bytes) -> list[Member]:
    members = {f"{TRUST}{ROOT_MEMBER}": trusted_root}
    repository = repository_of(store, trusted_root)
    if repository is not None:
        # One directory for each repository, so that two never mix.
        place = f"{TRUST}{repository_place(repository.url)}"
        members[f"{place}/{REPOSITORY_FILE}"] = f"{repository.url}\n".encode()
        for root in repository.roots:
            members[f"{place}/{root.version}.root.json"] = root.raw
        for one in repository.newest[1:]:
            members[f"{place}/{one.role}.json"] = one.raw
        for name, raw in repository.files:
            if name == name.lower():  # no other is a path of a bundle
                members[f"{place}/targets/{name}"] = raw
    return [in_memory(path, data) for path, data in sorted(members.items())]


MAX_TRUST_BYTES: Final = 2 * 1024 * 1024  # of one file; Sigstore's root has ten thousand


@frozen
class Unloaded:
    """What was in it besides logs."""

    said: tuple[str, ...] = ()  # for people
    pending: Absorbed | None = None  # queue items that have to be logged from here
    proofs: Absorbed | None = None  # what became of ours
    found: Brought = Brought()  # what should be signed, and statements

    def told(self) -> str:
        """Say in a clause which items of the queue were taken in; empty: none."""
        counts = (("taken in", self.pending), ("proven", self.proofs))
        told = [
            f"{len(one.taken)} of the queue's items {what}"
            for what, one in counts
            if one and one.taken
        ]
        return f" (even so: {', '.join(told)})" if told else ""


def compare_seen(
    store: Store, bundle: TransferBundle, logs: Sequence[Log], now: int
) -> list[ApplianceError]:
    """Compare the checkpoints that were seen over there; return what is wrong with them."""
    wrong: list[ApplianceError] = []
    for log in logs:
        for path in _below(bundle, f"{seen_directory(log_directory(log.origin))}/"):
            detail = f"{path} in {bundle.header.bundle_id[:12]} of {bundle.manifest.site}"
            try:
                compare_note(store, bundle.read(path), detail, now)
            except DivergenceError as error:
                wrong.append(error)
            except ApplianceError as error:
                error.message = f"{path}: {error.message}"
                wrong.append(error)
    return wrong


def unload(store: Store, bundle: TransferBundle, signers: Sequence[str], now: int) -> Unloaded:
    """Take in trust material, receipts, queue items and what the far side has."""
    said = _arrived_trust(store, bundle, now)
    proofs = _items(bundle, PROOFS)
    site = bundle.manifest.site
    if site not in signers:  # nobody speaks for that site
        # A proof counts under a key pinned here, whoever carried it; a no does not.
        proven = absorb_receipts(store, proofs, now) if proofs else None
        return Unloaded(said, None, proven, take_in(store, bundle, None, now))
    # First what it imported: whoever has not had an item can refuse none.
    for path in _below(bundle, ACKS):
        try:
            accepted = accept_receipt(store, bundle.read(path), now)
        except ApplianceError as error:
            said += (f"{path} is not accepted: {error.message}",)
        else:
            said += accepted.warnings
    told_at = bundle.manifest.created_at
    with store.atomic():
        for one in bundle.manifest.have:
            far = FarHead(site, one.origin, one.tree_size, Hash(one.root_hash), told_at, "have")
            put_far_head(store, far, now)
    proven = absorb_receipts(store, proofs, now, site=site) if proofs else None
    pending = _items(bundle, PENDING)
    taken = absorb_pending(store, pending, site, now) if pending else None
    return Unloaded(said, taken, proven, take_in(store, bundle, site, now))


def _items(bundle: TransferBundle, area: str) -> dict[str, bytes]:
    """Return the members of an area by the id in their name."""
    return {
        path.removeprefix(area).removesuffix(".json"): bundle.read(path)
        for path in _below(bundle, area)
    }


def _arrived_trust(store: Store, bundle: TransferBundle, now: int) -> tuple[str, ...]:
    said: tuple[str, ...] = ()
    ours = current_root(store)
    files = []
    for path in _below(bundle, TRUST):
        if bundle.members[path].size > MAX_TRUST_BYTES:
            said += (f"{path} is not kept: it is larger than {MAX_TRUST_BYTES:,} bytes",)
            continue
        raw = bundle.read(path)
        files.append(ArrivedFile(path.removeprefix(TRUST), raw, bundle.header.bundle_id, now))
    if not files:
        return said
    with store.atomic():
        for file in files:
            is_new = put_arrived(store, file)
            if is_new and file.path == ROOT_MEMBER and (ours is None or ours.raw != file.raw):
                said += (
                    f"a trusted root with SHA-256 {file.digest} came with it and is not trusted;"
                    " see 'attestor trust arrived'",
                )
        forget_oldest(store)
    return said


def _below(bundle: TransferBundle, prefix: str) -> list[str]:
    return list(bundle.members.below(prefix))
