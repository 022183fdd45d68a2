"""sync: bring the mirrors up to what their logs offer. Made for cron; --watch for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from appliance.cli.members import members
from appliance.cli.mirror.found import found_data, found_line
from appliance.cli.numbers import Whole
from appliance.cli.options import seconds_option
from appliance.cli.output import Result, common_options, delivers_alerts, note
from appliance.cli.progress import progress_bar
from appliance.cli.queue.drain_text import drain_data, drain_line
from appliance.errors import ApplianceError, ConfigError
from appliance.jobs.mirror.absorb import AbsorbReport
from appliance.jobs.mirror.window import WindowReport
from appliance.policy.relate import Relation
from appliance.runs.carried_notes import read_carried
from appliance.runs.exit_codes import exit_code, worst
from appliance.runs.record import record_run
from appliance.runs.session import Session, pass_session
from appliance.runs.sync import MAX_ENTRIES, SyncOptions, SyncRun
from appliance.runs.sync import sync as run_sync
from appliance.runs.tell import deliver_due
from appliance.times import utc

MIN_PAUSE_SECONDS: Final = 1.0  # between runs of --watch: a typo must not hammer a log


@click.command()
@click.option("--backend", "backends", metavar="ID", multiple=True, help="Only this; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Every enabled backend.  [default]")
@click.option("--full", is_flag=True, help="No cap on tiles for this run.")
@click.option("--full-tiles", is_flag=True, help="Every hash tile, whatever the settings.")
@click.option("--max-tiles", type=click.IntRange(0), help="At most so many tiles this run.")
@click.option("--entries/--no-entries", default=None, help="Entry bundles as well.")
@click.option(
    "--for",
    "for_files",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="BUNDLE",
    multiple=True,
    help="Have the checkpoint in this Sigstore bundle proven too; repeatable.",
)
@click.option("--from", "first", type=Whole(0), metavar="INDEX", help="Entries from this on.")
@click.option(
    "--log-index",
    type=Whole(0),
    metavar="INDEX",
    help="The same by index over all trees of a Rekor v1 log, as Sigstore bundles and Rekor count.",
)
@click.option(
    "--count", type=Whole(1), metavar="N", help="So many; at most 100000.  [with --log-index: 1]"
)
@click.option("--dry-run", is_flag=True, help="Only say what there is; evidence is kept even so.")
@click.option("--watch", is_flag=True, help="Go on until interrupted.")
@click.option("--interval", metavar="DURATION", help="Between runs of --watch.")
@click.option("--initial-delay", metavar="DURATION", help="Before the first run of --watch.")
@common_options
@delivers_alerts()
@pass_session
def sync(
    session: Session,
    backends: tuple[str, ...],
    everything: bool,
    full: bool,
    full_tiles: bool,
    max_tiles: int | None,
    entries: bool | None,
    for_files: tuple[Path, ...],
    first: int | None,
    log_index: int | None,
    count: int | None,
    dry_run: bool,
    watch: bool,
    interval: str | None,
    initial_delay: str | None,
) -> Result:
    """Fetch each log's checkpoint, prove it consistent, store its tiles.

    Can be interrupted and run again at any time. A log that contradicts what it said
    before ends this with code 4, both signed notes kept, nothing moved, and the log
    quarantined: until that is lifted, an honest answer is proven but not taken (8).

    A Rekor v1 log has no tiles: its checkpoints are mirrored, each proven by the log. What of
    it is in a Sigstore bundle, --for proves consistent with the tree that we hold; from then
    on 'attestor verify' says offline that our mirror covers it. --from and --count fetch a window
    of its entries, by index within its tree, all proven: 'attestor prove' and 'attestor entries
    show' use them offline. --log-index takes the index over all trees instead, and finds the tree.
    --full-tiles fetches all of a small instance.

    \b
    Example:
        attestor sync
        attestor sync --backend public --full-tiles
        attestor sync --backend old --from 120000 --count 500
        attestor sync --backend old --log-index 771488337
        attestor sync --watch --interval 5m
    """

    if everything and backends:
        raise click.UsageError("--all and --backend exclude each other")
    if full and max_tiles is not None:
        raise click.UsageError("--full and --max-tiles exclude each other")
    if dry_run and watch:
        raise click.UsageError("--dry-run and --watch exclude each other")
    if not watch and (interval is not None or initial_delay is not None):
        raise click.UsageError("--interval and --initial-delay need --watch")
    if for_files and (dry_run or watch):
        raise click.UsageError("--for excludes --dry-run and --watch")
    if log_index is not None:
        if first is not None:
            raise click.UsageError("--from and --log-index exclude each other")
        first, count = log_index, count or 1
    window = _window(backends, first, count, is_run=not (dry_run or watch or full_tiles))
    carried = read_carried(for_files)
    options = SyncOptions(
        *(backends, full, full_tiles, max_tiles, entries, dry_run, carried, window),
        is_over_all_trees=log_index is not None,
    )
    if watch:
        _watch(session, options, interval, initial_delay)
    return _result(run_sync(session, options, progress_bar))


def _window(
    backends: tuple[str, ...], first: int | None, count: int | None, *, is_run: bool
) -> range | None:
    if first is None and count is None:
        return None
    if first is None or count is None or len(backends) != 1:
        raise click.UsageError("--from and --count go together, with one --backend")
    if not is_run:
        raise click.UsageError("--from and --log-index exclude --dry-run, --watch and --full-tiles")
    if count > MAX_ENTRIES:
        raise click.BadParameter(f"expected at most {MAX_ENTRIES:,}", param_hint="--count")
    return range(first, first + count)


def _watch(
    session: Session, options: SyncOptions, interval: str | None, initial_delay: str | None
) -> NoReturn:
    """Sync again and again, each time as a run of its own; print what came of each.

    A run that could not begin, as while another command has the home's lock, ends nothing:
    the next may. Only a configuration that is wrong does.
    """
    settings = session.configuration
    pause = seconds_option(interval, "--interval", settings.seconds("rekorSync.syncInterval"))
    if pause < MIN_PAUSE_SECONDS:
        raise click.BadParameter("expected 1s or more", param_hint="--interval")
    delay = settings.seconds("rekorSync.initialDelay")
    session.close()
    session.sleep(seconds_option(initial_delay, "--initial-delay", delay))
    while True:
        cycle = session.fresh(kept=True)
        try:
            result = _attempt(cycle, options)
            record_run(cycle, "sync", worst(map(exit_code, result.errors)), result.errors)
            for line in filter(None, (result.text, *(error.message for error in result.errors))):
                note(f"{utc(cycle.now())} {line}")
            for warning in (*result.warnings, *deliver_due(cycle, errors=result.errors)):
                note(f"Warning: {warning}")
        finally:
            cycle.close()
        session.sleep(pause)


def _attempt(cycle: Session, options: SyncOptions) -> Result:
    try:
        return _result(run_sync(cycle, options, progress_bar))
    except ConfigError:
        raise
    except ApplianceError as error:
        return Result(members(backends=[]), errors=(error,))


def _result(run: SyncRun) -> Result:
    if not run.enabled:
        off = (
            "sync is switched off here; to switch it on: attestor config set rekorSync.enabled true"
        )
        return Result(members(backends=[]), warnings=(off,))
    lines, data, warnings = [], [], []
    for synced in run.backends:
        report, error = synced.report, synced.error
        if error is not None:
            data.append(members(backend=synced.backend, ok=False, reason=error.reason))
        if report is not None:
            lines.append(f"{synced.backend}: {_line(report)}")
            lines += [_window_line(synced.backend, one) for one in synced.windows]
            windows = members(windows=synced.windows) if synced.windows else {}
            data.append(members(backend=synced.backend, ok=True) | _report_data(report) | windows)
            warnings += [f"{synced.backend}: {warning}" for warning in _warnings(report)]
    found: dict[str, Any] = members(backends=data)
    if run.placed:
        found |= members(bundles=run.placed)
    for placed in run.placed:
        state = "proven" if placed.proven else "not proven yet"
        lines.append(f"{placed.file}: {placed.origin} at {placed.tree_size:,} is {state}")
    for log in run.pruned.logs if run.pruned else ():
        if log.entry_bundles:
            lines.append(
                f"{log.origin}: pruned {log.entry_bundles:,} entry bundles, {log.n_bytes:,} bytes,"
                " as tileCache says"
            )
    if run.pruned is not None:
        found["pruned"] = [
            members(one, "origin", "entry_bundles", "n_bytes") for one in run.pruned.logs
        ]
    logs = run.discovered.logs if run.discovered else ()
    lines += [found_line(one) for one in logs if one.is_change]
    if run.discovered is not None:
        found["discovered"] = [found_data(one) for one in run.discovered.logs]
    if run.drained is not None:
        found["queue"] = drain_data(run.drained.report)
        lines.append(f"queue: {drain_line(run.drained)}")
    return Result(found, "\n".join(lines), (*warnings, *run.warnings), run.errors)


def _warnings(report: AbsorbReport) -> Iterator[str]:
    if report.relation is Relation.BEHIND:
        yield (
            f"a stale replica answered with size {report.tree_size:,},"
            f" which is a proven prefix of our {report.accepted_size:,}"
        )
    yield from report.warnings
    if report.relation is Relation.FIRST:
        yield (
            f"first checkpoint of {report.origin}, taken on the word of"
            " its pinned key; from now on every other must be consistent with it"
        )


def _line(report: AbsorbReport) -> str:
    covered = "none" if report.mirror_size is None else f"{report.mirror_size:,}"
    more = "" if report.complete else ", more to fetch"
    return (
        f"{report.relation.value}, accepted {report.accepted_size:,}, covered {covered}, "
        f"{report.tiles:,} tiles and {report.entry_bundles:,} entry bundles new{more}"
    )


def _window_line(backend: str, window: WindowReport) -> str:
    return (
        f"{backend}: {window.count:,} entries of {window.origin} from {window.first:,} on are here"
        f" and proven, {window.fetched:,} new (over all trees:"
        f" from {window.before + window.first:,} on)"
    )


def _report_data(report: AbsorbReport) -> dict[str, Any]:
    return members(
        report,
        "origin",
        "relation",
        "tree_size",
        "old_size",
        "accepted_size",
        "mirror_size",
        "tiles",
        "entry_bundles",
        "complete",
        change=report.is_change,
    )
