"""queue: what waits to be logged, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table, table_time
from appliance.jobs.queue.move import UNFINISHED, cancel_items, retry_items
from appliance.runs.session import Session, pass_session
from appliance.store.queue.attempts import Attempt, attempts_of, receipt_of
from appliance.store.queue.queue import (
    CANCELLED,
    QUEUED,
    STATES,
    QueueItem,
    list_items,
    require_item,
)
from appliance.store.queue.tenants import require_known
from appliance.times import utc

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(
    cls=LazyGroup,
    lazy={
        "add": "queue.add:queue_add",
        "bundle": "queue.bundle:queue_bundle",
        "drain": "queue.drain:queue_drain",
        "forecast": "queue.drain:queue_forecast",
        "aggregate": "queue.aggregate:queue_aggregate",
        "proof": "queue.aggregate:queue_proof",
    },
)
def queue() -> None:
    """What waits to be logged, under a budget, and what became of it.

    \b
    Example:
        attestor queue add --artifact app.tar.gz --signature app.sig --key pub.pem
        attestor queue drain
        attestor queue list
    """


@queue.command("list")
@click.option("--tenant", metavar="NAME", help="Only this tenant's.")
@click.option("--state", "states", metavar="STATE", multiple=True, help="Only these; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Also what is done.")
@click.option("--limit", type=Whole(1), default=1000, show_default=True, help="At most.")
@headings_option
@common_options
@pass_session
def queue_list(
    session: Session, tenant: str | None, states: tuple[str, ...], everything: bool, limit: int
) -> Result:
    """List what is not done yet, in the order of arrival.

    Refused items are listed too: somebody has to look at them.

    \b
    Example:
        attestor queue list
        attestor queue list --state refused --json
    """

    if unknown := [state for state in states if state not in STATES]:
        raise click.BadParameter(
            f"{unknown[0]!r} is none of {', '.join(STATES)}", param_hint="--state"
        )
    wanted = states or (STATES if everything else UNFINISHED)
    with session.reading() as store:
        items = list_items(store, wanted, tenant=tenant, limit=limit + 1)
        if tenant is not None and not items:
            require_known(store, tenant)
    more = len(items) > limit
    items = items[:limit]
    text = "\n".join(_table(items)) or "nothing waits"
    warnings = (f"only the first {limit} are shown",) if more else ()
    return Result(members(items=[item_data(item) for item in items], more=more), text, warnings)


@queue.command("show")
@click.argument("id_", metavar="ID")
@common_options
@pass_session
def queue_show(session: Session, id_: str) -> Result:
    """Show one item, every attempt to send it, and its proof. The beginning of ID will do.

    \b
    Example:
        attestor queue show 3f2a91
    """

    with session.reading() as store:
        item = require_item(store, id_)
        attempts = attempts_of(store, item)
        receipt = receipt_of(store, item)
    lines = [f"{item.id}", *_details(item)]
    lines += [f"  attempt {attempt.attempt}   {_attempt_line(attempt)}" for attempt in attempts]
    data: dict[str, Any] = item_data(item) | members(
        attempts=[_attempt_data(attempt) for attempt in attempts],
        entry=None if receipt is None else json.loads(receipt),
    )
    if receipt is not None:
        proof = data["entry"]["inclusionProof"]
        origin = proof["checkpoint"]["envelope"].partition("\n")[0]
        lines.append(
            f"  proof       entry {data['entry']['logIndex']} of {origin}, under its checkpoint of"
            f" size {proof['treeSize']}, verified"
        )
    return Result(data, "\n".join(lines))


@queue.command("retry")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def queue_retry(session: Session, ids: tuple[str, ...], dry_run: bool) -> Result:
    """Queue items again that were refused, cancelled, postponed or exported: the same bytes.

    \b
    Example:
        attestor queue retry 3f2a91
    """

    with session.writing_unlocked() as store:
        items = retry_items(store, ids, session.now(), dry_run=dry_run)
    return _moved(items, QUEUED, dry_run=dry_run)


@queue.command("cancel")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def queue_cancel(session: Session, ids: tuple[str, ...], dry_run: bool) -> Result:
    """Take items out that wait, left or were refused; they stay on record, can be retried.

    What is being sent cannot be taken back: the log may have it. Of what left in a transfer
    bundle the other side is told by the next exports; if it was logged before, its proof
    still comes back and counts.

    \b
    Example:
        attestor queue cancel 3f2a91
    """

    with session.writing_unlocked() as store:
        items = cancel_items(store, ids, session.now(), dry_run=dry_run)
    return _moved(items, CANCELLED, dry_run=dry_run)


def _moved(items: Sequence[QueueItem], state: str, *, dry_run: bool) -> Result:
    verb = "would be" if dry_run else "is"
    lines = [f"{item.id[:12]}: {verb} {state}, was {item.state}" for item in items]
    data = members(items=[members(id=item.id, from_=item.state, to=state) for item in items])
    return Result(data | members(dry_run=dry_run), "\n".join(lines))


def item_data(item: QueueItem) -> dict[str, Any]:
    """Describe an item for machines."""
    what = item.what
    return members(
        what,
        "tenant",
        "tier",
        "priority",
        "kind",
        "api_version",
        "site",
        "site_id",
        id=item.id,
        trigger=what.edge_trigger,
        request_bytes=len(what.request),
        timestamped=what.stamp is not None,
        state=item.state,
        created=item.created_at,
        changed=utc(item.changed_at),
        not_before=item.next_at,
        attempt_count=item.attempts,
        reason=item.reason or None,
        message=item.message or None,
    )


def _table(items: Sequence[QueueItem]) -> list[str]:
    rows = (
        (
            *(item.id[:12], item.state, item.what.tier, item.what.tenant, item.what.priority),
            *(table_time(item.created_at), item.reason),
        )
        for item in items
    )
    headings = ("Item", "State", "Tier", "Tenant", "Priority", "Queued (UTC)", "Reason")
    return table(headings, rows, right=("Priority",))


def _details(item: QueueItem) -> list[str]:
    what = item.what
    trigger = f", {what.edge_trigger}" if what.edge_trigger else ""
    lines = [
        f"  state       {item.state} since {utc(item.changed_at)}",
        f"  tenant      {what.tenant}, tier {what.tier}{trigger}, priority {what.priority}",
        f"  request     {what.kind} for Rekor v{what.api_version}, {len(what.request):,} bytes"
        + (", with an RFC 3161 stamp" if what.stamp else ""),
        f"  queued      {utc(item.created_at)}",
    ]
    if what.site is not None:
        lines.append(f"  site        {what.site}, there {what.site_id}")
    if item.message:
        lines.append(f"  last said   {item.message}")
    if item.state in ("queued", "postponed") and item.next_at > item.created_at:
        lines.append(f"  not before  {utc(item.next_at)}")
    return lines


def _attempt_line(one: Attempt) -> str:
    ended = "" if one.ended_at is None else f" to {utc(one.ended_at)}"
    said = f": {one.message}" if one.message else ""
    return f"{utc(one.started_at)}{ended} {one.url} {one.outcome or 'under way'}{said}"


def _attempt_data(one: Attempt) -> dict[str, Any]:
    return members(
        one,
        "attempt",
        "url",
        started=one.started_at,
        ended=one.ended_at,
        outcome=one.outcome or None,
        message=one.message or None,
    )
