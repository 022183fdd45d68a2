"""backend discover: the logs of the trusted root become backends, ended ones are retired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.jobs.mirror.discover import UNCHANGED, Discovery, FoundLog
from appliance.runs.session import Session, pass_session
from appliance.runs.trust import discover_logs
from appliance.sigstore.trusted_root import TrustedRoot

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("discover")
@click.option("--trusted-root", type=FILE, help="Take this file, not the imported root.")
@click.option("--signing-config", type=FILE, multiple=True, help="As well; repeatable.")
@click.option("--tuf", is_flag=True, help="Update the trusted root first (trust update).")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@common_options
@pass_session
def discover(
    session: Session,
    trusted_root: Path | None,
    signing_config: tuple[Path, ...],
    tuf: bool,
    dry_run: bool,
) -> Result:
    """Add every log that the trusted root names, with its pinned key; retire ended ones.

    Rekor v2 logs are enabled, v1 logs added but disabled. A backend that is here already
    keeps its name, its URLs and, if it was disabled, that; when the window of its log's keys
    is over it is disabled, and what it brought stays.

    \b
    Example:
        attestor backend discover --dry-run
        attestor backend discover --tuf
    """

    if tuf and trusted_root is not None:
        raise click.UsageError("--tuf and --trusted-root exclude each other")
    root, found = discover_logs(session, trusted_root, signing_config, tuf=tuf, dry_run=dry_run)
    return _result(root, found, dry_run=dry_run)


def _result(root: TrustedRoot, found: Discovery, *, dry_run: bool) -> Result:

    data: dict[str, Any] = members(
        trusted_root=root.digest,
        dry_run=dry_run,
        change=any(one.action != UNCHANGED for one in found.logs),
        logs=[
            members(one, "origin", "api_version", "backends", "action", "enabled", "notes")
            for one in found.logs
        ],
    )
    lines = [_line(one, dry_run=dry_run) for one in found.logs]
    return Result(data, "\n".join(lines) or "the trusted root names no log", found.warnings)


def _line(one: FoundLog, *, dry_run: bool) -> str:

    names = ", ".join(one.backends)
    origin = "" if names == one.origin else f"{one.origin}, "
    verb = f"would be {one.action}" if dry_run and one.action != UNCHANGED else one.action
    state = "enabled" if one.enabled else "disabled"
    notes = "".join(f"; {note}" for note in one.notes)
    return f"{names}: {origin}Rekor v{one.api_version}, {verb}, {state}{notes}"
