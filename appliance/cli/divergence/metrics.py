"""metrics: what a Prometheus scrapes, or node_exporter reads from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from appliance.cli.mirror.status import age_limits
from appliance.cli.output import Result, common_options
from appliance.jobs.divergence.health import log_status
from appliance.jobs.queue.quota import queue_figures
from appliance.jobs.queue.settings import read_queue_settings
from appliance.report.metrics import LogFacts, QueueFacts, metrics_text
from appliance.runs.session import Session, pass_session
from appliance.store.database import Store
from appliance.store.files import written_whole
from appliance.store.mirror.logs import all_backends

ENDING: Final = ".prom"  # other names are not read
_MODE: Final = 0o644  # node_exporter is another user


@click.command()
@click.option(
    "--textfile",
    metavar="PATH",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write them here, whole or not at all; ends in .prom.",
)
@common_options
@pass_session
def metrics(session: Session, textfile: Path | None) -> Result:
    """Print the metrics, or write them where node_exporter's textfile collector reads.

    Counters are kept in the store, so they go on over runs. One file a host: it has every
    backend and tenant of a home. scripts/monitoring has alert rules and a dashboard for them.

    \b
    Example:
        attestor metrics
        attestor metrics --textfile /var/lib/prometheus/node-exporter/attestor.prom
    """

    if textfile is not None and textfile.suffix != ENDING:
        raise click.UsageError(
            f"--textfile: expected a name that ends in {ENDING}, got {textfile.name!r};"
            " node_exporter reads no other"
        )
    with session.reading() as store:
        now = session.now()
        text = metrics_text(store, _logs(store, now), _queue(session, store), now)
    if textfile is None:
        return Result({"text": text.decode()}, text.decode().rstrip("\n"))
    with written_whole(textfile, replace=True, mode=_MODE) as file:
        file.write(text)
    return Result({"textfile": str(textfile), "bytes": len(text)})


def _logs(store: Store, now: int) -> list[LogFacts]:

    limits = age_limits(store)
    found = [log_status(store, one, limits, now) for one in all_backends(store) if one.enabled]
    return [
        LogFacts(one.backend.name, one.backend.log, one.tree_size, one.age, one.health)
        for one in found
    ]


def _queue(session: Session, store: Store) -> QueueFacts:

    found = queue_figures(store, read_queue_settings(store).limits, session.moment())
    return QueueFacts(found.depth, found.remaining, found.utilization)
