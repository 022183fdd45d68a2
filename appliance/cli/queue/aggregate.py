"""queue aggregate, queue proof: one submission for many items, and what each has of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance.cli.output import Result, common_options
from appliance.runs.app import App, pass_app

if TYPE_CHECKING:
    from appliance.jobs.queue.aggregate import Aggregated, Signers
    from appliance.jobs.queue.settings import QueueSettings
    from appliance.store.database import Store

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("aggregate")
@click.option("--min-items", type=click.IntRange(2), help="Fewer are left alone.")
@click.option("--dry-run", is_flag=True, help="Only say what would be aggregated.")
@common_options
@pass_app
def queue_aggregate(app: App, min_items: int | None, dry_run: bool) -> Result:
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
    from appliance.jobs.queue.aggregate import short_of_budget
    from appliance.jobs.queue.settings import read_queue_settings

    with app.draining() as store:
        if dry_run:
            settings = read_queue_settings(store)
            least = min_items or settings.min_aggregate
            count = len(short_of_budget(store, settings, app.moment(), least))
            return Result({"dryRun": True, "items": count}, f"{count} items would be aggregated")
        done, settled = _aggregate(app, min_items)
    data = {"dryRun": False, "items": done.items, "roots": done.roots, "logged": settled}
    return Result(data, aggregate_line(done, settled) or "nothing to aggregate")


@click.command("proof")
@click.argument("id_", metavar="ID")
@click.option("--output", type=FILE, required=True, help="Where to write it (.tlog-proof).")
@click.option("--entry", type=FILE, help="Write the entry's bytes here, for 'proof verify'.")
@common_options
@pass_app
def queue_proof(app: App, id_: str, output: Path, entry: Path | None) -> Result:
    """Write the two-step proof of an item that was aggregated.

    It is a C2SP tlog-proof of this home's own log, whose extra data proves that the other
    log holds that log's checkpoint. 'attestor proof verify' accepts it.

    \b
    Example:
        attestor queue proof 3f2a91 --output app.tlog-proof --entry app.entry
        attestor proof verify app.tlog-proof --entry app.entry
    """
    from appliance.jobs.queue.aggregate import two_step_proof
    from appliance.rekor.request import parse_request
    from appliance.store.files import written_whole
    from appliance.store.queue.queue import require_item

    with app.reading() as store:
        item = require_item(store, id_)
        proof = two_step_proof(store, item)
    with written_whole(output) as file:
        file.write(bytes(proof))
    if entry is not None:
        with written_whole(entry) as file:
            file.write(parse_request(item.what.request).canonical_body)
    data = {
        "id": item.id,
        "output": str(output),
        "entry": None if entry is None else str(entry),
        "index": proof.entry_index,
    }
    return Result(data, f"wrote {output}")


def aggregate_if_enabled(app: App) -> tuple[str, tuple[str, ...]]:
    """Do it after a drain, if that is configured; returns a line and warnings.

    Whatever goes wrong is a warning: the items wait for their slots as before.
    """
    from appliance.errors import ApplianceError
    from appliance.jobs.queue.settings import read_queue_settings

    with app.reading() as store:
        if not read_queue_settings(store).aggregates:
            return "", ()
    try:
        with app.draining():
            done, settled = _aggregate(app, None)
    except ApplianceError as error:
        return "", (f"nothing was aggregated: {error.message}",)
    return aggregate_line(done, settled), ()


def aggregate_line(done: Aggregated, settled: int) -> str:
    """Say what was done; empty if nothing was."""
    lines = []
    if settled:
        lines.append(f"{settled} aggregated items are logged: their root is")
    if done.items:
        lines.append(f"{done.items} items wait for {done.roots} roots, which are queued")
    return "; ".join(lines)


def _aggregate(app: App, min_items: int | None) -> tuple[Aggregated, int]:
    from appliance.jobs.queue.aggregate import (
        Aggregated,
        aggregate,
        settle_aggregates,
        short_of_budget,
    )
    from appliance.jobs.queue.settings import read_queue_settings

    with app.writing() as store:
        settled = settle_aggregates(store, app.now())
        settings = read_queue_settings(store)
        least = min_items or settings.min_aggregate
        items = short_of_budget(store, settings, app.moment(), least)
        if not items:
            return Aggregated(0, 0), settled
        return aggregate(store, items, _signers(app, store, settings), app.now()), settled


def _signers(app: App, store: Store, settings: QueueSettings) -> Signers:
    from appliance.jobs.queue.aggregate import Signers
    from appliance.runs.publisher import require_publisher_key
    from appliance.store.home.key_files import load_signing_key
    from appliance.store.private_log.private_logs import require_private_log

    private = require_private_log(store, settings.aggregate_log)
    key = load_signing_key(store.home, private.log.origin)
    return Signers(private, key, require_publisher_key(app, None))
