"""metrics: what a Prometheus scrapes, or node_exporter reads from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.jobs.divergence.health import HomeHealth, home_health
from appliance.jobs.divergence.mirror_logs import compared_pairs
from appliance.jobs.queue.quota import queue_figures
from appliance.jobs.queue.settings import read_queue_settings
from appliance.report.metrics import FindFacts, HomeMetrics, LogFacts, QueueFacts, metrics_text
from appliance.runs.session import Session, pass_session
from appliance.runs.watch import finding_figures
from appliance.store.database import Store
from appliance.store.files import written_whole
from appliance.store.queue.queue import oldest_held

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
        found = home_health(store, now, clock_behind=session.clock.behind)
        facts = HomeMetrics(
            found.health,
            [*found.problems, *(one for log in found.logs for one in log.problems)],
            oldest_held(store),
            [(one.primary.origin, one.mirror.origin) for one in compared_pairs(store)],
        )
        text = metrics_text(
            store, _logs(found), facts, _queue(session, store), _find(session, store, now), now
        )
    if textfile is None:
        return Result(members(text=text.decode()), text.decode().rstrip("\n"))
    with written_whole(textfile, replace=True, mode=_MODE) as file:
        file.write(text)
    return Result(members(textfile=textfile, bytes=len(text)))


def _logs(found: HomeHealth) -> list[LogFacts]:

    return [
        LogFacts(
            one.backend.name,
            one.backend.log,
            one.tree_size,
            one.age,
            one.health,
            None if one.coverage is None else one.coverage.percent / 100,
            one.backend.mirror_of,
        )
        for one in found.logs
    ]


def _queue(session: Session, store: Store) -> QueueFacts:

    found = queue_figures(store, read_queue_settings(store).limits, session.moment())
    return QueueFacts(found.depth, found.remaining, found.utilization)


def _find(session: Session, store: Store, now: int) -> FindFacts:

    one = finding_figures(session, store, now)
    return FindFacts(
        one.indexed,
        one.watches_behind,
        one.findings,
        one.expected_open,
        one.expected_missing,
    )
