"""sync: bring the mirrors up to what their logs offer. Made for cron; --watch for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from appliance.cli.output import Result, common_options, note, utc
from appliance.cli.progress import progress_bar
from appliance.errors import ConfigError
from appliance.runs.app import App, pass_app
from appliance.runs.tell import deliver_due, delivers_alerts
from appliance.value import frozen

if TYPE_CHECKING:
    from appliance.errors import ApplianceError
    from appliance.jobs.mirror.absorb import AbsorbReport
    from appliance.jobs.mirror.fill import Wanted
    from appliance.runs.settings import Settings
    from appliance.store.mirror.logs import Backend

MIN_PAUSE_SECONDS: Final = 1.0  # between runs of --watch: a typo must not hammer a log


@frozen
class _Outcome:
    backend: str
    report: AbsorbReport | None
    error: ApplianceError | None


@click.command()
@click.option("--backend", "backends", metavar="ID", multiple=True, help="Only this; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Every enabled backend.  [default]")
@click.option("--full", is_flag=True, help="No cap on tiles for this run.")
@click.option("--full-tiles", is_flag=True, help="Every hash tile, whatever the settings.")
@click.option("--max-tiles", type=click.IntRange(0), help="At most so many tiles this run.")
@click.option("--entries/--no-entries", default=None, help="Entry bundles as well.")
@click.option("--dry-run", is_flag=True, help="Only say what there is; evidence is kept even so.")
@click.option("--watch", is_flag=True, help="Go on until interrupted.")
@click.option("--interval", metavar="DURATION", help="Between runs of --watch.")
@click.option("--initial-delay", metavar="DURATION", help="Before the first run of --watch.")
@common_options
@delivers_alerts()
@pass_app
def sync(
    app: App,
    backends: tuple[str, ...],
    everything: bool,
    full: bool,
    full_tiles: bool,
    max_tiles: int | None,
    entries: bool | None,
    dry_run: bool,
    watch: bool,
    interval: str | None,
    initial_delay: str | None,
) -> Result:
    """Fetch each log's checkpoint, prove it consistent, store its tiles.

    Can be interrupted and run again at any time. A log that contradicts what it said
    before ends this with code 4, both signed notes kept, nothing moved, and the log
    quarantined: until that is lifted, an honest answer is proven but not taken (8).

    \b
    Example:
        attestor sync
        attestor sync --backend public --full-tiles
        attestor sync --watch --interval 5m
    """
    from appliance.runs.settings import read_settings_of, seconds_option

    if everything and backends:
        raise click.UsageError("--all and --backend exclude each other")
    if full and max_tiles is not None:
        raise click.UsageError("--full and --max-tiles exclude each other")
    with app.reading() as store:
        settings = read_settings_of(store)
    if not settings.sync_enabled:
        off = (
            "sync is switched off here; to switch it on: attestor config set rekorSync.enabled true"
        )
        return Result({"backends": []}, warnings=(off,))
    wanted = _wanted(settings, full=full or full_tiles, full_tiles=full_tiles)
    if max_tiles is not None:
        wanted = _with(wanted, limit=max_tiles)
    if entries is not None:
        wanted = _with(wanted, entries=entries)
    if dry_run and watch:
        raise click.UsageError("--dry-run and --watch exclude each other")
    if not watch:
        if interval is not None or initial_delay is not None:
            raise click.UsageError("--interval and --initial-delay need --watch")
        if dry_run:
            return _result(_run(app, settings, backends, None))
        return _synced(app, settings, backends, wanted)
    from appliance.runs.exit_codes import exit_code, worst
    from appliance.runs.record import record_run

    pause = seconds_option(interval, "--interval", settings.sync_interval)
    if pause < MIN_PAUSE_SECONDS:
        raise click.BadParameter("expected 1s or more", param_hint="--interval")
    app.sleep(seconds_option(initial_delay, "--initial-delay", settings.initial_delay))
    while True:
        result = _synced(app, settings, backends, wanted)
        record_run(app, "sync", worst(map(exit_code, result.errors)), result.errors)
        for line in filter(None, (result.text, *(error.message for error in result.errors))):
            note(f"{utc(app.now())} {line}")
        for warning in (*result.warnings, *deliver_due(app)):
            note(f"Warning: {warning}")
        app.sleep(pause)


def _synced(app: App, settings: Settings, names: tuple[str, ...], wanted: Wanted) -> Result:
    """Sync, and if any log was reached, send what the queue has for it, and publish what is due."""
    from appliance.cli.queue.publish import publish_if_due
    from appliance.runs.drain import drain_on_connect
    from appliance.value import replaced

    result = _result(_run(app, settings, names, wanted))
    if not any(one["ok"] for one in result.data["backends"]):
        return result
    result = drain_on_connect(app, result)
    # What goes wrong with it is a warning: the sync stands.
    return replaced(result, warnings=(*result.warnings, *publish_if_due(app)))


def _wanted(settings: Settings, *, full: bool, full_tiles: bool) -> Wanted:
    from appliance.jobs.mirror.fill import Wanted

    return Wanted(
        tiles=settings.enable_tile_sync or full_tiles,
        entries=settings.enable_entry_sync,
        limit=None if full else settings.max_tiles_per_sync,
    )


def _with(wanted: Wanted, **changes: Any) -> Wanted:
    from appliance.value import replaced

    return replaced(wanted, **changes)


def _run(
    app: App, settings: Settings, names: tuple[str, ...], wanted: Wanted | None
) -> Iterator[_Outcome]:
    """Sync each backend, or only look if nothing is `wanted`; a failing one stops no other."""
    from appliance.errors import ApplianceError
    from appliance.fetch.http import HttpClient
    from appliance.jobs.mirror.sync import preview_sync
    from appliance.jobs.mirror.sync import sync as run_sync
    from appliance.runs.sources import open_backend
    from appliance.store.mirror.logs import select_backends

    with (
        app.writing() as store,
        HttpClient(settings.http, clock=app.monotonic, sleep=app.sleep) as http,
    ):
        for backend in _reachable(select_backends(store, names), names):
            try:
                source = open_backend(http, backend)
                if wanted is None:
                    report = preview_sync(store, backend, source, app.now())
                else:
                    with progress_bar(f"sync {backend.name}") as advance:
                        report = run_sync(store, backend, source, wanted, app.now(), advance)
            except ApplianceError as error:
                error.message = f"{backend.name}: {error.message}"
                yield _Outcome(backend.name, None, error)
            else:
                yield _Outcome(backend.name, report, None)


def _reachable(backends: Sequence[Backend], names: tuple[str, ...]) -> Sequence[Backend]:
    """Leave out what has no URL, unless it was asked for: bundles bring it, or it is our own."""
    reachable = [one for one in backends if names or one.read_url or one.base_url]
    if not reachable:
        raise ConfigError(
            "no enabled backend has a URL: this site gets its checkpoints from transfer bundles",
            reason="no-url",
            next_step="'attestor import FILE', or add one: attestor backend add ID --url U"
            " --origin O --public-key FILE",
        )
    return reachable


def _result(outcomes: Iterator[_Outcome]) -> Result:
    from appliance.policy.relate import Relation

    lines, data, warnings, errors = [], [], [], []
    for outcome in outcomes:
        report, error = outcome.report, outcome.error
        if error is not None:
            errors.append(error)
            data.append({"backend": outcome.backend, "ok": False, "reason": error.reason})
        if report is not None:
            lines.append(f"{outcome.backend}: {_line(report)}")
            data.append({"backend": outcome.backend, "ok": True, **_report_data(report)})
            if report.relation is Relation.BEHIND:
                warnings.append(
                    f"{outcome.backend}: a stale replica answered with size {report.tree_size:,},"
                    f" which is a proven prefix of our {report.accepted_size:,}"
                )
            warnings += [f"{outcome.backend}: {said}" for said in report.warnings]
            if report.relation is Relation.FIRST:
                warnings.append(
                    f"{outcome.backend}: first checkpoint of {report.origin}, taken on the word of"
                    " its pinned key; from now on every other must be consistent with it"
                )
    return Result({"backends": data}, "\n".join(lines), tuple(warnings), tuple(errors))


def _line(report: AbsorbReport) -> str:
    covered = "none" if report.mirror_size is None else f"{report.mirror_size:,}"
    more = "" if report.complete else ", more to fetch"
    return (
        f"{report.relation.value}, accepted {report.accepted_size:,}, covered {covered}, "
        f"{report.tiles:,} tiles and {report.entry_bundles:,} entry bundles new{more}"
    )


def _report_data(report: AbsorbReport) -> dict[str, Any]:
    return {
        "origin": report.origin,
        "relation": report.relation.value,
        "treeSize": report.tree_size,
        "oldSize": report.old_size,
        "acceptedSize": report.accepted_size,
        "mirrorSize": report.mirror_size,
        "tiles": report.tiles,
        "entryBundles": report.entry_bundles,
        "complete": report.complete,
        "change": report.old_size != report.accepted_size
        or bool(report.tiles or report.entry_bundles),
    }
