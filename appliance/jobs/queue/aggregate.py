"""Aggregation, by choice: when the budget is short, one root is submitted for many items.

The items' entries go into our own log, and what is submitted is the digest of its
checkpoint: one slot instead of many. Each item's proof then has two steps, its entry in
our own log and that log's checkpoint in the other (rekor/two_step_proof.py). Whoever
verifies it has to trust our own log's key for the order, and for nothing else: what is in
the tree cannot be changed once its root is logged.

    1. the entries are sequenced in our own log (jobs/private_log/sequence.py), each once
    2. one transaction: the signed root is queued, its items wait for it
    3. the root is drained like any other item, and proven
    4. one transaction: each item's entry is kept as its proof, and it is logged

Die between 1 and 2, and the next run finds the entries there. An item whose root is
refused or cancelled is queued again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.errors import IncompleteError, RemoteError
from appliance.jobs.mirror.prove import logged_entry, prove_inclusion
from appliance.jobs.private_log.cosigning import Cosign, uncosigned
from appliance.jobs.private_log.sequence import MAX_BATCH, sequence
from appliance.jobs.queue.log_proof import verify_receipt
from appliance.jobs.queue.quota import read_quota
from appliance.jobs.queue.settings import QueueSettings
from appliance.policy.budget import GRAPH, Moment
from appliance.rekor.request import parse_request
from appliance.rekor.transparency_log_entry import TransparencyLogEntry, parse_log_entry
from appliance.rekor.two_step_proof import note_digest, verify_upstream, with_upstream
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.sigstore.sigstore_bundle import MessageSignature
from appliance.sigstore.submission import REKOR_V2, read_stored_request, submit_message
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.mirror.logs import Log, all_logs, require_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import PrivateLog
from appliance.store.queue.aggregates import (
    Aggregate,
    Member,
    add_aggregate,
    aggregate_of,
    open_aggregates,
    waiting_members,
)
from appliance.store.queue.attempts import put_receipt, receipt_of
from appliance.store.queue.queue import (
    AGGREGATED,
    CANCELLED,
    LOGGED,
    QUEUED,
    REFUSED,
    WAITING,
    NewItem,
    QueueItem,
    insert_item,
    item_by_number,
    list_items,
    move_item,
)
from appliance.store.queue.tenants import all_tenants
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.note import SigningKey
from appliance.tlog.publisher_key import PublisherKey
from appliance.tlog.tlog_proof import TlogProof
from appliance.value import frozen, replaced

ROOT_TENANT: Final = "system"
ROOT_PRIORITY: Final = 1_000_000  # it stands for many


@frozen
class Signers:
    """The keys that aggregation signs with, and the log it fills."""

    private: PrivateLog
    log_key: SigningKey
    publisher: PublisherKey


@frozen
class Aggregated:
    """What one run made of what waits."""

    items: int  # that wait for a root now
    roots: int  # that were queued for them


def short_of_budget(
    store: Store, settings: QueueSettings, moment: Moment, min_items: int
) -> list[QueueItem]:
    """List the items worth aggregating: of tenants without a slot, if they are enough."""
    found: list[QueueItem] = []
    for tenant in all_tenants(store):
        waiting = [
            item
            for item in list_items(store, WAITING, tenant=tenant.name)
            if item.what.tier == GRAPH
            and item.what.api_version == REKOR_V2
            and item.what.priority < ROOT_PRIORITY
        ]
        free = read_quota(store, settings.limits, tenant.name, GRAPH, moment).free
        if free < len(waiting):
            found += sorted(waiting, key=lambda one: (-one.what.priority, one.number))[free:]
    return found if len(found) >= min_items else []


def aggregate(
    store: Store,
    items: Sequence[QueueItem],
    signers: Signers,
    now: int,
    cosign: Cosign = uncosigned,
) -> Aggregated:
    """Put items into our own log and queue its root for them. The caller holds both locks."""
    roots = 0
    for start in range(0, len(items), MAX_BATCH):
        batch = items[start : start + MAX_BATCH]
        bodies = [parse_request(one.what.request).canonical_body for one in batch]
        done = sequence(store, signers.private, signers.log_key, bodies, now, cosign)
        # If we die here, the entries are in our log, and the next run finds them there.
        members = [
            Member(one, placed.entry_index) for one, placed in zip(batch, done.placed, strict=True)
        ]
        note = done.checkpoint.note
        new = _root_item(note, signers.publisher)
        with store.atomic():
            root = insert_item(store, new, now)
            for one in batch:
                move_item(store, one, AGGREGATED, allowed=WAITING, now=now, reason="aggregated")
            head = done.checkpoint.head
            add_aggregate(store, signers.private.log.id, head.tree_size, note, root, members, now)
            details = {"items": len(batch), "root": root.id, "treeSize": head.tree_size}
            append_event(store, now, "queue.aggregated", details)
        roots += 1
    return Aggregated(len(items), roots)


def settle_aggregates(store: Store, now: int) -> int:
    """Finish the items whose root was logged, queue those again whose root will not be.

    Returns how many are logged now. Raises DigestError, ProofError or StoreError if our own
    log is damaged: then they go on waiting.
    """
    logged = 0
    for one in open_aggregates(store):
        root = item_by_number(store, one.root_item)
        if root.state in (REFUSED, CANCELLED):
            with store.atomic():
                for member in waiting_members(store, one):
                    move_item(store, member.item, QUEUED, allowed=[AGGREGATED], now=now)
        elif root.state == LOGGED:
            logged += _finish(store, one, now)
    return logged


def two_step_proof(store: Store, item: QueueItem) -> TlogProof:
    """Return the proof of an aggregated item, both steps verified.

    Raises IncompleteError if it was not aggregated (not-aggregated), RemoteError as long as
    its root waits for the log (root-not-logged), and what is wrong with a step.
    """
    found = aggregate_of(store, item)
    if found is None:
        raise IncompleteError(
            f"item {item.id[:12]} was not aggregated: its proof has one step",
            reason="not-aggregated",
            next_step=f"see 'attestor queue show {item.id[:12]} --json'",
        )
    one, member = found
    return _with_root(store, one, _first_step(store, one, member)[1])


def _finish(store: Store, one: Aggregate, now: int) -> int:
    """Keep each item's entry in our own log as its proof, now that the root is logged."""
    log = _log_of(store, one)
    members = waiting_members(store, one)
    entries: list[tuple[Member, TransparencyLogEntry]] = []
    for member in members:
        entry, proof = _first_step(store, one, member)
        if not entries:
            _with_root(store, one, proof)
        what = member.item.what
        verify_receipt(log, read_stored_request(what.kind, what.api_version, what.request), entry)
        entries.append((member, entry))
    with store.atomic():
        for member, entry in entries:
            put_receipt(store, member.item, log.id, entry.log_index, entry.json, now)
            move_item(store, member.item, LOGGED, allowed=[AGGREGATED], now=now)
    return len(entries)


def _first_step(
    store: Store, one: Aggregate, member: Member
) -> tuple[TransparencyLogEntry, TlogProof]:
    """Prove an item in our own log, under the checkpoint that was submitted."""
    log = _log_of(store, one)
    signed = open_checkpoint(one.note, log.keys, log.origin)
    proof = prove_inclusion(Mirror(store, log), member.entry_index, one.tree_size)
    body = parse_request(member.item.what.request).canonical_body
    entry = logged_entry(member.entry_index, body, signed, proof.hashes)
    return entry, replaced(proof, note=one.note)


def _with_root(store: Store, one: Aggregate, proof: TlogProof) -> TlogProof:
    """Add the second step, verified."""
    root = item_by_number(store, one.root_item)
    receipt = receipt_of(store, root)
    if receipt is None:
        raise RemoteError(
            f"its root, item {root.id[:12]}, is {root.state}, not logged yet",
            reason="root-not-logged",
            next_step="attestor queue drain",
        )
    whole = with_upstream(proof, parse_log_entry(receipt))
    verify_upstream(whole, lambda origin: require_log(store, origin).keys)
    return whole


def _root_item(note: bytes, publisher: PublisherKey) -> NewItem:
    """Sign the digest of a checkpoint, as what is submitted for all that it covers."""
    digest = note_digest(note)
    message = MessageSignature(publisher.sign_digest(digest.value), digest)
    verifier = VerifierMaterial(publisher.spki, is_certificate=False)
    kind, request = submit_message(message, verifier).request(REKOR_V2)
    return NewItem(ROOT_TENANT, GRAPH, None, ROOT_PRIORITY, kind, REKOR_V2, request)


def _log_of(store: Store, one: Aggregate) -> Log:
    return next(log for log in all_logs(store) if log.id == one.log_id)
