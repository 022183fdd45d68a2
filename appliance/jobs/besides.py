"""What an export carries besides logs (TRANSFER.md 1): trust material, receipts, gossip.

Each goes along a few times, for sticks get lost, and then no more: what is small once is
not small in every delta.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from appliance.jobs.export_plan import in_memory
from appliance.jobs.round_trip import (
    mark_exported,
    mark_returned,
    outbound_pending,
    outbound_receipts,
)
from appliance.jobs.transfer_source import seen_directory
from appliance.store.carried import is_due
from appliance.store.database import Store
from appliance.store.logs import Log
from appliance.store.receipts import carries, receipts_to_carry
from appliance.store.seen import gossip_notes
from appliance.store.trust import current_root
from appliance.store.tuf import repository_of
from appliance.value import field, frozen
from bundles.manifest import Contains, log_directory
from bundles.writer import Member

MAX_SEEN: Final = 16  # checkpoints of one log, newest first
TRUST: Final = "trust/"
ROOT_MEMBER: Final = "trusted_root.json"  # below it
PENDING: Final = "pending/"
PROOFS: Final = "receipts/"
ACKS: Final = "acks/"
_CONTAINS_NOTHING: Final = Contains(0, 0, 0, 0)


@frozen
class Besides:
    """Members of no log, and how they are remembered once they left."""

    before: tuple[Member, ...] = ()  # the logs, in the archive
    after: tuple[Member, ...] = ()
    seen: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)  # by origin
    carried: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()  # ids of queue items that have to be logged over there
    proofs: tuple[str, ...] = ()  # ids, over there, of items that were logged here
    contains: Contains = _CONTAINS_NOTHING

    @property
    def members(self) -> tuple[Member, ...]:
        """All of them."""
        return (*self.before, *self.after, *(one for seen in self.seen.values() for one in seen))


NOTHING_BESIDES: Final = Besides()


@frozen
class Invited:
    """What may go along."""

    trust: bool = False  # in any case, however often it went before
    pending: bool = False  # queue items that cannot be logged from here
    only_proven: bool = False  # of checkpoints seen elsewhere, those that are prefixes of ours


def travel_besides(
    store: Store, logs: Sequence[Log], now: int, invited: Invited, volume_set: str
) -> Besides:
    """Return what goes along with `logs`. `volume_set` is one that is made again, or empty."""
    before: list[Member] = []
    carried: list[str] = []
    root = current_root(store)
    if root is not None:
        what = f"trust:{root.digest}"
        if invited.trust or is_due(store, what, volume_set):
            before = _trust_members(store, root.raw)
            carried.append(what)
    acks = receipts_to_carry(store, besides=volume_set)
    carried += map(carries, acks)
    waiting = outbound_pending(store, now) if invited.pending else {}
    proofs = outbound_receipts(store, now)
    after = [
        *(in_memory(f"{PENDING}{id_}.json", raw) for id_, raw in sorted(waiting.items())),
        *(in_memory(f"{PROOFS}{id_}.json", raw) for id_, raw in sorted(proofs.items())),
        *(in_memory(f"{ACKS}{bundle_id}", note) for bundle_id, note in acks.items()),
    ]
    seen = {log.origin: _seen_members(store, log, invited, volume_set) for log in logs}
    carried += [f"seen:{one.sha256.hex()}" for members in seen.values() for one in members]
    n_seen = sum(map(len, seen.values()))
    return Besides(
        tuple(before),
        tuple(after),
        seen,
        tuple(carried),
        tuple(waiting),
        tuple(proofs),
        Contains(len(waiting), len(proofs), len(acks), n_seen),
    )


def have_left(store: Store, besides: Besides, bundle_id: str, now: int) -> None:
    """Say of queue items that they left, once the file is durable and recorded."""
    if besides.pending:
        mark_exported(store, besides.pending, bundle_id, now)
    if besides.proofs:
        mark_returned(store, besides.proofs, now)


def _seen_members(store: Store, log: Log, invited: Invited, volume_set: str) -> tuple[Member, ...]:
    directory = seen_directory(log_directory(log.origin))
    due = [
        note
        for note in gossip_notes(store, log, MAX_SEEN, only_proven=invited.only_proven)
        if is_due(store, f"seen:{sha256(note).hexdigest()}", volume_set)
    ]
    return tuple(in_memory(f"{directory}/{number}", note) for number, note in enumerate(due))


def _trust_members(store: Store, trusted_root: bytes) -> list[Member]:
    members = {f"{TRUST}{ROOT_MEMBER}": trusted_root}
    repository = repository_of(store, trusted_root)
    if repository is not None:
        # One directory for each repository, so that two never mix.
        place = f"{TRUST}tuf/{sha256(repository.url.encode()).hexdigest()[:16]}"
        members[f"{place}/repository.txt"] = f"{repository.url}\n".encode()
        for root in repository.roots:
            members[f"{place}/{root.version}.root.json"] = root.raw
        for one in repository.newest[1:]:
            members[f"{place}/{one.role}.json"] = one.raw
    return [in_memory(path, data) for path, data in sorted(members.items())]
