"""metrics: what a Prometheus scrapes, or node_exporter reads from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.runs.metrics import home_metrics
from appliance.runs.session import Session, pass_session
from appliance.store.files import written_whole

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
    text = home_metrics(session)
    if textfile is None:
        return Result(members(text=text.decode()), text.decode().rstrip("\n"))
    with written_whole(textfile, replace=True, mode=_MODE) as file:
        file.write(text)
    return Result(members(textfile=textfile, bytes=len(text)))
