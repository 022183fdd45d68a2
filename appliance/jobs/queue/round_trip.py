"""The queue across the air gap: pending items go out, proofs come back (docs/queue.md).

Who builds or takes in a transfer bundle calls, never inside store.atomic():

    export   outbound_pending, outbound_receipts      what goes into pending/ and receipts/
             mark_exported, mark_returned             once the file is durable, not before
    import   absorb_pending, absorb_receipts          for the members of a verified bundle

Dying between the file and its mark sends the same items again, which are found on the
other side. An item travels in every such transfer bundle until its proof is back: so a
lost stick loses nothing, and pending items that come again are what asks for a receipt
that was lost on its way.

What comes from a site belongs to the tenant `site:NAME` here, whatever tenant it had
there: budgets here are for those this site knows, and another site's names are its own.
Our pinned key decides whether an item is proven; the bundle's signature only says who
carried it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from appliance.errors import ApplianceError, MalformedError, RefusedError
from appliance.jobs.queue.log_proof import log_of_entry, verify_receipt
from appliance.jobs.queue.settings import QueueSettings, read_queue_settings
from appliance.policy.budget import EDGE, TIERS, TRIGGERS
from appliance.rekor.canonical_json import canonical_json
from appliance.rekor.protojson import Message, top_message
from appliance.rekor.transparency_log_entry import (
    TransparencyLogEntry,
    parse_log_entry,
    read_log_entry,
)
from appliance.sigstore.submission import (
    MAX_STORED_BYTES,
    read_stored_request,
    verify_stored_request,
)
from appliance.store.database import Store
from appliance.store.queue.attempts import put_receipt, receipt_of
from appliance.store.queue.queue import (
    CANCELLED,
    EXPORTED,
    LOGGED,
    POSTPONED,
    PROVEN_INSIDE,
    QUEUED,
    REFUSED,
    WITHDRAWN,
    NewItem,
    QueueItem,
    find_item,
    find_site_item,
    held_count,
    insert_item,
    item_id,
    items_to_return,
    list_items,
    move_item,
    set_returned,
    tenant_held_count,
    withdrawn_items,
)
from appliance.store.queue.tenants import SITE_PREFIX, put_tenant
from appliance.store.transfer.receipts import (
    carries_item,
    carries_withdrawal,
    forget_carried,
    has_taken,
    is_due,
)
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

# What the queue puts into a transfer bundle, as JSON: pending items out, receipts back.


SCHEMA: Final = 1
MAX_MEMBER_BYTES: Final = 2 * MAX_STORED_BYTES
MAX_PRIORITY: Final = 2**31
UNKNOWN_ITEM: Final = "unknown-item"


@frozen
class ReturnedReceipt:
    """What became of an item on the other side."""

    id: str  # here
    state: str  # logged, refused or cancelled
    entry: TransparencyLogEntry | None  # of a logged one; not verified
    raw_entry: bytes  # the same, as JSON; empty for another
    reason: str
    message: str


def format_pending(item: QueueItem) -> bytes:
    """Write an item as it travels to where it can be logged."""
    what = item.what
    request = {
        "kind": what.kind,
        "apiVersion": what.api_version,
        "body": b64encode(what.request).decode(),
    }
    return canonical_json(
        {
            "schema": SCHEMA,
            "id": item.id,
            "tenant": what.tenant,
            "tier": what.tier,
            "trigger": what.edge_trigger,
            "priority": what.priority,
            "request": request,
            "timestamp": None if what.stamp is None else b64encode(what.stamp).decode(),
            "createdAt": _time(item.created_at),
        }
    )


def format_withdrawn(item: QueueItem) -> bytes:
    """Write that an item which left is not wanted any more."""
    return canonical_json({"schema": SCHEMA, "id": item.id, "withdrawn": True})


def is_withdrawn(raw: bytes) -> bool:
    """Whether a pending item says that it is not wanted any more; raises as parse_pending."""
    return _member(raw, "pending item").get("withdrawn") is True


def parse_pending(raw: bytes, tenant: str, site: str) -> NewItem:
    """Read an item that came from `site`, as one of `tenant` here.

    Raises MalformedError or LimitError. Its signature is not verified.
    """
    member = _member(raw, "pending item")
    request = member.required_message("request")
    body = request.required_binary("body")
    tier, trigger = member.required_text("tier"), member.text("trigger") or None
    if tier not in TIERS or (trigger is not None) != (tier == EDGE):
        raise MalformedError(f"pending item: tier {tier[:20]!r} with trigger {trigger!r}")
    if trigger is not None and trigger not in TRIGGERS:
        raise MalformedError(f"pending item: no such trigger {trigger[:40]!r}")
    priority = member.integer("priority")
    if priority > MAX_PRIORITY:
        raise MalformedError(f"pending item: priority {priority}, expected at most {MAX_PRIORITY}")
    expected = item_id(member.required_text("tenant"), body)
    if member.required_text("id") != expected:
        raise MalformedError(
            f"pending item: its id is {expected}, it says {member.text('id')[:80]}"
        )
    stamp = member.binary("timestamp") if member.get("timestamp") is not None else None
    kind, version = request.required_text("kind"), request.integer("apiVersion")
    return NewItem(
        *(tenant, tier, trigger, priority, kind, version, body),
        stamp=stamp,
        site=site,
        site_id=expected,
    )


def format_receipt(item: QueueItem, entry: bytes | None) -> bytes:
    """Write what became of an item of another site; `entry` is its TransparencyLogEntry."""
    fields: dict[str, Any] = {"schema": SCHEMA, "id": item.what.site_id, "state": item.state}
    if entry is not None:
        fields["entry"] = parse_json(entry, "log entry", MAX_MEMBER_BYTES)
    else:
        fields |= {"reason": item.reason, "message": item.message}
    return canonical_json(fields)


def parse_receipt(raw: bytes) -> ReturnedReceipt:
    """Read what became of an item; raises MalformedError or LimitError."""
    member = _member(raw, "receipt")
    id_, state = member.required_text("id"), member.required_text("state")
    if not re.fullmatch("[0-9a-f]{64}", id_) or state not in (LOGGED, REFUSED, CANCELLED):
        raise MalformedError(f"receipt: state {state[:20]!r} of item {id_[:80]!r}")
    if state != LOGGED:
        reason, message = member.text("reason")[:100], member.text("message")[:1000]
        return ReturnedReceipt(id_, state, None, b"", reason or state, message)
    entry = read_log_entry(member.required_message("entry"))
    return ReturnedReceipt(id_, state, entry, entry.json, "", "")


def _member(raw: bytes, what: str) -> Message:
    member = top_message(parse_json(raw, what, MAX_MEMBER_BYTES), what)
    schema = member.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise MalformedError(
            f"{what}: expected schema {SCHEMA}, got {schema!r:.40}",
            reason="schema",
            next_step="a newer version of attestor wrote it: update the version here",
        )
    return member


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


ON_ITS_WAY: Final = (QUEUED, POSTPONED, EXPORTED)


@frozen
class Rejected:
    """A member that was not taken, and why. The others were."""

    id: str  # as the member is named
    error: ApplianceError


@frozen
class Absorbed:
    """What became of the members of one transfer bundle."""

    taken: tuple[str, ...]  # ids, as the members are named
    known: tuple[str, ...]  # were here already
    rejected: tuple[Rejected, ...]
    refused: tuple[str, ...] = ()  # ids of ours that the other side will not log

    @property
    def untaken(self) -> tuple[Rejected, ...]:
        """Those rejected that somebody has to look at.

        A receipt for an item that was never queued here is another site's: what comes back
        is for all.
        """
        return tuple(one for one in self.rejected if one.error.reason != UNKNOWN_ITEM)


def outbound_pending(store: Store, now: int) -> dict[str, bytes]:
    """Return what has to be logged elsewhere, by id: pending/<id>.json.

    Everything that waits here or is on its way, but for what is itself from another site.
    """
    return {
        item.id: format_pending(item)
        for item in list_items(store, ON_ITS_WAY)
        if item.what.site is None and item.created_at <= now
    }


def outbound_withdrawn(store: Store, volume_set: str) -> dict[str, bytes]:
    """Return what left and was cancelled since, by id: told a few times, for sticks get lost."""
    return {
        item.id: format_withdrawn(item)
        for item in withdrawn_items(store)
        if is_due(store, carries_withdrawal(item.id), volume_set)
    }


def mark_exported(store: Store, ids: Iterable[str], bundle_id: str, now: int) -> None:
    """Say that items left in a transfer bundle that is durable. Again changes nothing."""
    with store.atomic():
        for id_ in ids:
            item = find_item(store, id_)
            if item is not None and item.state in ON_ITS_WAY:
                move_item(
                    store,
                    item,
                    EXPORTED,
                    allowed=ON_ITS_WAY,
                    now=now,
                    message=f"left in transfer bundle {bundle_id}",
                )


def absorb_pending(
    store: Store, members: Mapping[str, bytes], site: str, now: int, *, dry_run: bool = False
) -> Absorbed:
    """Queue what a site sent to be logged; each is verified as `queue add` would.

    Nothing here raises for a bad member: it is listed, and stays on the other side's list.
    """
    settings = read_queue_settings(store)
    tenant = f"{SITE_PREFIX}{site}"
    items: dict[str, NewItem] = {}
    rejected: list[Rejected] = []
    withdrawn: list[str] = []
    for id_, raw in members.items():
        try:
            if is_withdrawn(raw):
                withdrawn.append(id_)
                continue
            items[id_] = _verified_item(id_, raw, tenant, site, settings)
        except ApplianceError as error:
            rejected.append(Rejected(id_, error))
    taken: list[str] = []
    known: list[str] = []
    taken_back: list[str] = []
    with store.atomic(dry_run=dry_run):
        put_tenant(store, tenant, now)
        room = settings.max_queue_size - held_count(store)
        # The queue is everybody's: no site fills more than half of it.
        share = max(1, settings.max_queue_size // 2) - tenant_held_count(store, tenant)
        for id_ in withdrawn:
            (taken_back if _withdraw(store, site, id_, now) else known).append(id_)
        for id_, new in items.items():
            found = find_site_item(store, site, id_) or find_item(store, new.id)
            if found is not None:
                known.append(id_)
                set_returned(store, [found.number], None)  # asked for again: the proof was lost
            elif min(room, share) > len(taken):
                insert_item(store, new, now)
                taken.append(id_)
            else:
                rejected.append(Rejected(id_, _full(settings, share=room > len(taken))))
    return Absorbed((*taken, *taken_back), tuple(known), tuple(rejected))


def _withdraw(store: Store, site: str, id_: str, now: int) -> bool:
    """Cancel what a site does not want any more; whether it was still to be sent."""
    item = find_site_item(store, site, id_)
    if item is None or item.state not in (QUEUED, POSTPONED, REFUSED):
        return False
    move_item(
        store,
        item,
        CANCELLED,
        allowed=(QUEUED, POSTPONED, REFUSED),
        now=now,
        reason=WITHDRAWN,
        message=f"cancelled by {site}",
    )
    set_returned(store, [item.number], now)  # it knows
    return True


def outbound_receipts(store: Store, now: int, site: str | None = None) -> dict[str, bytes]:
    """Return what became of other sites' items, by their id there: receipts/<id>.json.

    Only what was not sent back yet, or was asked for again; of one site if it is given.
    """
    return {
        item.what.site_id: format_receipt(item, receipt_of(store, item))
        for item in items_to_return(store, site)
        if item.what.site_id is not None and item.changed_at <= now
    }


def mark_returned(store: Store, ids: Iterable[str], now: int, site: str | None = None) -> None:
    """Say that receipts left in a transfer bundle that is durable; `ids` as they were given."""
    wanted = set(ids)
    with store.atomic():
        numbers = [one.number for one in items_to_return(store, site) if one.what.site_id in wanted]
        set_returned(store, numbers, now)


def absorb_receipts(
    store: Store,
    members: Mapping[str, bytes],
    now: int,
    *,
    site: str | None = None,
    dry_run: bool = False,
) -> Absorbed:
    """Take in what became of our items.

    A proof counts under a key pinned here, whoever brought it. A no cannot be proven: it
    counts from `site`, which signed for it (None: nobody did), if that site has said that it
    imported the item. Even then the operator has the last word: the item is parked.

    Nothing here raises for a bad member: it is listed, and its item stays exported.
    """
    taken: list[str] = []
    known: list[str] = []
    refused: list[str] = []
    rejected: list[Rejected] = []
    with store.atomic(dry_run=dry_run):
        for id_, raw in members.items():
            try:
                became = _absorb_receipt(store, id_, raw, now, site)
                {None: known, PROVEN_INSIDE: taken, REFUSED: refused}[became].append(id_)
            except ApplianceError as error:
                rejected.append(Rejected(id_, error))
    return Absorbed(tuple(taken), tuple(known), tuple(rejected), tuple(refused))


def _verified_item(
    id_: str, raw: bytes, tenant: str, site: str, settings: QueueSettings
) -> NewItem:
    new = parse_pending(raw, tenant, site)
    if new.site_id != id_:
        raise MalformedError(f"pending/{id_[:80]}.json is item {new.site_id}")
    if new.tier == EDGE and not settings.edges:
        raise RefusedError(
            f"item {id_[:12]} is an edge bundle, which are not submitted here",
            reason="edges-disabled",
            next_step="attestor config set rekor.tier with-edges",
        )
    claim = verify_stored_request(new.kind, new.api_version, new.request)
    if new.stamp is not None:
        from appliance.sigstore.timestamps import check_stamp

        check_stamp(new.stamp, claim.signature)
    return new


def _absorb_receipt(store: Store, id_: str, raw: bytes, now: int, site: str | None) -> str | None:
    """Take in one receipt; returns the item's new state, None if it was known.

    Raises ApplianceError for a bad one.
    """
    receipt = parse_receipt(raw)
    if receipt.id != id_:
        raise MalformedError(f"receipts/{id_[:80]}.json is of item {receipt.id}")
    item = find_item(store, id_)
    if item is None:
        raise RefusedError(
            f"a receipt for item {id_[:12]}, which was never queued here", reason=UNKNOWN_ITEM
        )
    if item.state in (LOGGED, PROVEN_INSIDE):
        return None
    if receipt.entry is None:
        if item.state in (REFUSED, CANCELLED):
            return None
        _park(store, item, receipt, site, now)
        return REFUSED
    _prove(store, item, receipt.raw_entry, now)
    return PROVEN_INSIDE


def _park(
    store: Store, item: QueueItem, receipt: ReturnedReceipt, site: str | None, now: int
) -> None:
    """Park an item that the site it went to will not log; raises RefusedError for a stranger."""
    if site is None:
        raise RefusedError(
            f"nobody we know signed that item {item.id[:12]} was {receipt.state}",
            reason="unsigned-refusal",
            next_step="a refusal counts only in a transfer bundle signed by the site that says it",
        )
    if not has_taken(store, site, item.id):
        raise RefusedError(
            f"{site} says that item {item.id[:12]} was {receipt.state}, but never that it"
            " imported it",
            reason="foreign-refusal",
            next_step="its receipt of the export that carried the item comes first:"
            " attestor receipt accept FILE",
        )
    move_item(
        store,
        item,
        REFUSED,
        allowed=ON_ITS_WAY,
        now=now,
        reason=receipt.reason,
        message=f"{receipt.state} by {site}: {receipt.message or receipt.reason}",
    )


def _prove(store: Store, item: QueueItem, raw_entry: bytes, now: int) -> None:
    entry = parse_log_entry(raw_entry)
    log = log_of_entry(store, entry)
    what = item.what
    verify_receipt(log, read_stored_request(what.kind, what.api_version, what.request), entry)
    put_receipt(store, item, log.id, entry.log_index, raw_entry, now)
    # Refused before, by mistake, or cancelled: a proof outweighs what was thought of it.
    allowed = (*ON_ITS_WAY, REFUSED, CANCELLED)
    move_item(store, item, PROVEN_INSIDE, allowed=allowed, now=now)
    forget_carried(store, carries_item(item.id))


def _full(settings: QueueSettings, *, share: bool) -> RefusedError:
    if share:
        return RefusedError(
            "the site has half of the queue already (rekor.offline.maxQueueSize is"
            f" {settings.max_queue_size}); the item stays on the other side's list",
            reason="queue-share",
            next_step="attestor queue drain, then import the same file again",
        )
    return RefusedError(
        f"the queue is full (rekor.offline.maxQueueSize is {settings.max_queue_size}); the item"
        " stays on the other side's list",
        reason="queue-full",
        next_step="attestor queue drain, then import the same file again",
    )
