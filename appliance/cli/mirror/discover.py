"""backend discover: the logs of the trusted root become backends, ended logs are retired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.mirror.found import found_data, found_line
from appliance.cli.output import Result, common_options
from appliance.jobs.mirror.discover import Discovery
from appliance.runs.session import Session, pass_session
from appliance.runs.trust import Inputs, discover_logs
from appliance.sigstore.trusted_root import TrustedRoot

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("discover")
@click.option("--trusted-root", type=FILE, help="Take this file, not the imported root.")
@click.option("--signing-config", type=FILE, multiple=True, help="As well; repeatable.")
@click.option("--monitor-config", type=FILE, multiple=True, help="As well; repeatable.")
@click.option("--tuf", is_flag=True, help="Update the trusted root first (trust update).")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@common_options
@pass_session
def discover(
    session: Session,
    trusted_root: Path | None,
    signing_config: tuple[Path, ...],
    monitor_config: tuple[Path, ...],
    tuf: bool,
    dry_run: bool,
) -> Result:
    """Add every log that the trusted root names, with its pinned key and window.

    Where entries are written is the root's URL or a signing config's; where a log is read, a
    monitor config says, else it is the same. A file of one root a line, as GitHub's
    trusted_root.jsonl, is all of its roots. What their TUF repository publishes beside the
    root is taken by itself.

    A log whose window is over is added disabled. A backend that is here already keeps its
    name, its URLs and, if it was disabled, that; once its log has ended, sync asks it until
    all of it is here, then once a week.

    \b
    Example:
        attestor backend discover --dry-run
        attestor backend discover --tuf
    """

    if tuf and trusted_root is not None:
        raise click.UsageError("--tuf and --trusted-root exclude each other")
    inputs = Inputs(trusted_root, signing_config, monitor_config, tuf)
    roots, found = discover_logs(session, inputs, dry_run=dry_run)
    return _result(roots, found, dry_run=dry_run)


def _result(roots: tuple[TrustedRoot, ...], found: Discovery, *, dry_run: bool) -> Result:

    data: dict[str, Any] = members(
        trusted_root=roots[0].digest,
        dry_run=dry_run,
        change=any(log.is_change for log in found.logs),
        logs=[found_data(log) for log in found.logs],
    )
    lines = [found_line(log, dry_run=dry_run) for log in found.logs]
    return Result(data, "\n".join(lines) or "the trusted root names no log", found.warnings)
