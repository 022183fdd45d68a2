"""Which entry a command is about: --origin and --index, or --log-index over all trees."""

from __future__ import annotations

from typing import Any, Final

import click

from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.jobs.mirror.tree_places import EntryPlace, by_log_index, log_index_of
from appliance.store.database import Store
from appliance.store.mirror.logs import Log, require_log
from appliance.value import frozen

log_index_option: Final = click.option(
    "--log-index",
    type=Whole(0),
    metavar="INDEX",
    help="Index over all trees of a Rekor v1 log, as Sigstore bundles and Rekor count.",
)


@frozen
class ChosenEntry:
    """An entry of a log that is known here."""

    log: Log
    entry_index: int  # within the log
    place: EntryPlace | None  # None: of a log without trees, or where its tree begins is not known


def chosen_entry(
    store: Store, origin: str | None, entry_index: int | None, log_index: int | None
) -> ChosenEntry:
    """Return the entry that the options name; exactly one index is given."""
    if log_index is not None:
        place = by_log_index(store, log_index, origin)
        return ChosenEntry(place.log, place.entry_index, place)
    if origin is None or entry_index is None:
        raise click.UsageError("--index goes with --origin")
    log = require_log(store, origin)
    return ChosenEntry(log, entry_index, log_index_of(store, log, entry_index))


def place_data(place: EntryPlace | None) -> dict[str, Any]:
    """Describe a place among all trees for machines; nothing where it is not known."""
    if place is None:
        return {}
    return members(log_index=place.log_index, tree_begins_says=place.said_by or None)
