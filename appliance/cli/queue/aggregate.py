"""queue aggregate, queue proof: one submission for many items, and what each has of it."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.queue.drain_text import aggregate_line
from appliance.jobs.queue.aggregate import (
    short_of_budget,
    two_step_proof,
)
from appliance.jobs.queue.settings import read_queue_settings
from appliance.rekor.request import parse_request
from appliance.runs.drain import aggregate_queue
from appliance.runs.session import Session, pass_session
from appliance.store.files import written_whole
from appliance.store.queue.queue import require_item

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("aggregate")
@click.option("--min-items", type=click.IntRange(2), help="Fewer are left alone.")
@click.option("--dry-run", is_flag=True, help="Only say what would be aggregated.")
@common_options
@pass_session
def queue_aggregate(session: Session, min_items: int | None, dry_run: bool) -> Result:
    """Put what the budget has no slot for under one root in this home's own log.

    Only that root is submitted. Once it is logged, each item has a proof in two steps:
    'attestor queue proof'. 'attestor queue drain' does this by itself when
    rekor.aggregate.enabled is true. Needs a private log and a publisher key.

    \b
    Example:
        attestor log create build --origin log.example
        attestor key generate publisher.example --type publisher
        attestor queue aggregate
    """

    with session.draining() as store:
        if dry_run:
            settings = read_queue_settings(store)
            least = min_items or settings.min_aggregate
            count = len(short_of_budget(store, settings, session.moment(), least))
            return Result(members(dry_run=True, items=count), f"{count} items would be aggregated")
        done, settled = aggregate_queue(session, min_items)
    data = members(done, "items", "roots", dry_run=False, logged=settled)
    return Result(data, aggregate_line(done, settled) or "nothing to aggregate")


@click.command("proof")
@click.argument("id_", metavar="ID")
@click.option("--output", type=FILE, required=True, help="Where to write it (.tlog-proof).")
@click.option("--entry", type=FILE, help="Write the entry's bytes here, for 'proof verify'.")
@common_options
@pass_session
def queue_proof(session: Session, id_: str, output: Path, entry: Path | None) -> Result:
    """Write the two-step proof of an item that was aggregated.

    It is a C2SP tlog-proof of this home's own log, whose extra data proves that the other
    log holds that log's checkpoint. 'attestor proof verify' accepts it.

    \b
    Example:
        attestor queue proof 3f2a91 --output app.tlog-proof --entry app.entry
        attestor proof verify app.tlog-proof --entry app.entry
    """

    with session.reading() as store:
        item = require_item(store, id_)
        proof = two_step_proof(store, item)
    with written_whole(output) as file:
        file.write(bytes(proof))
    if entry is not None:
        with written_whole(entry) as file:
            file.write(parse_request(item.what.request).canonical_body)
    data = members(id=item.id, output=output, entry=entry, index=proof.entry_index)
    return Result(data, f"wrote {output}")
