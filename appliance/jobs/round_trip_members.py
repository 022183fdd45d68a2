"""What the queue puts into a transfer bundle, as JSON: pending items out, receipts back.

One object a member, canonical JSON, so that the same item is always the same bytes:

    pending   schema 1, id, tenant, tier, trigger, priority, request {kind, apiVersion, body},
              timestamp, createdAt
    receipt   schema 1, id, state (logged or refused), entry or reason and message

Binary is standard base64. Parsing believes the form alone.
"""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, Final

from appliance.errors import MalformedError
from appliance.policy.budget import EDGE, TIERS
from appliance.rekor.canonical_json import canonical_json
from appliance.rekor.protojson import Message, top_message
from appliance.rekor.transparency_log_entry import TransparencyLogEntry, read_log_entry
from appliance.sigstore.submission import MAX_STORED_BYTES
from appliance.store.queue import LOGGED, REFUSED, NewItem, QueueItem, item_id
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

SCHEMA: Final = 1
MAX_MEMBER_BYTES: Final = 2 * MAX_STORED_BYTES
MAX_PRIORITY: Final = 2**31
_TRIGGERS: Final = ("cvss", "policy-gate", "escalation")


@frozen
class ReturnedReceipt:
    """What became of an item on the other side."""

    id: str  # here
    state: str  # logged or refused
    entry: TransparencyLogEntry | None  # of a logged one; not verified
    raw_entry: bytes  # the same, as JSON; empty for a refused one
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
    if trigger is not None and trigger not in _TRIGGERS:
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
    if not re.fullmatch("[0-9a-f]{64}", id_) or state not in (LOGGED, REFUSED):
        raise MalformedError(f"receipt: state {state[:20]!r} of item {id_[:80]!r}")
    if state == REFUSED:
        reason, message = member.text("reason")[:100], member.text("message")[:1000]
        return ReturnedReceipt(id_, state, None, b"", reason or "refused", message)
    entry = read_log_entry(member.required_message("entry"))
    return ReturnedReceipt(id_, state, entry, entry.json, "", "")


def _member(raw: bytes, what: str) -> Message:
    member = top_message(parse_json(raw, what, MAX_MEMBER_BYTES), what)
    schema = member.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise MalformedError(
            f"{what}: expected schema {SCHEMA}, got {schema!r:.40}",
            reason="schema",
            next_step="a newer version wrote it: update this one",
        )
    return member


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
