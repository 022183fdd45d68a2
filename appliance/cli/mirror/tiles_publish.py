"""tiles publish: a log as files, for any web server or object store."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.progress import progress_bar
from appliance.runs.publish_tree import publish
from appliance.runs.session import Session, pass_session


@click.command("publish")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--backend", metavar="ID", help="Its log, if there are several.")
@click.option("--all", "everything", is_flag=True, help="Compare what is there already, too.")
@common_options
@pass_session
def tiles_publish(
    session: Session, directory: Path, backend: str | None, everything: bool
) -> Result:
    """Write a log's checkpoint, tiles and entries as files, or bring the files up to date.

    A web server or an object store gives them to mirrors, witnesses and clients of the log as
    c2sp.org/tlog-tiles names them. Only what is new is written, and the checkpoint last, so
    that readers find one consistent tree at any moment, also after a kill: run it again, from
    cron. Partial tiles stay for ten minutes and a run after they became full.

    A directory that holds another log, a larger tree or another tree of this log is left as it is.

    \b
    Example:
        attestor tiles publish /srv/www/log --backend public
    """

    with progress_bar("publish") as advance:
        log, done = publish(session, directory, backend, advance, everything=everything)
    data = members(
        done,
        "previous_size",
        "tiles",
        "entry_bundles",
        "removed",
        directory=directory,
        origin=log.origin,
        tree_size=done.head.tree_size,
        root_hash=done.head.root_hash,
    )
    before = "" if done.previous_size is None else f" after {done.previous_size:,}"
    text = (
        f"{directory}: {log.origin} at {done.head.tree_size:,}{before}; {done.tiles:,} tiles and"
        f" {done.entry_bundles:,} entry bundles written, {done.removed:,} partial tiles removed"
    )
    return Result(data, text)
