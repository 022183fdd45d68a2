"""tiles: what is stored of each log's tree, and making room."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.mirror.status import coverage_data
from appliance.cli.output import Result, common_options
from appliance.config.durations import parse_milliseconds
from appliance.config.sizes import parse_size
from appliance.errors import ConfigError
from appliance.jobs.coverage import TileStats, tile_stats
from appliance.jobs.mirror.prune import (
    Limits,
    PrunedLog,
    cache_limits,
    clear,
    prune,
    prune_as_set,
    too_large,
)
from appliance.policy.coverage import Coverage
from appliance.runs.session import Session, pass_session
from appliance.store.database import Store
from appliance.store.mirror.logs import Backend, all_backends, require_backend
from appliance.store.mirror.mirror import Mirror
from appliance.times import utc
from appliance.value import replaced


@click.group(
    cls=LazyGroup,
    lazy={
        "verify": "mirror.tiles_repair:tiles_verify",
        "fetch": "mirror.tiles_repair:tiles_fetch",
        "publish": "mirror.tiles_publish:tiles_publish",
    },
)
def tiles() -> None:
    """The stored tiles of each log.

    \b
    Example:
        attestor tiles stats
    """


@tiles.command("stats")
@click.option("--backend", "backends", metavar="ID", multiple=True, help="Only this; repeatable.")
@common_options
@pass_session
def tiles_stats(session: Session, backends: tuple[str, ...]) -> Result:
    """Count the stored tiles of each log, and how much of its tree they cover.

    \b
    Example:
        attestor tiles stats --backend public
    """

    with session.reading() as store:
        chosen = _backends(store, backends)
        found = [(one, tile_stats(Mirror(store, one.log))) for one in chosen]
    data = [_stats_data(one, stats) for one, stats in found]
    text = "\n\n".join(_stats_text(one, stats) for one, stats in found) or "no backend yet"
    return Result(members(backends=data), text)


@tiles.command("prune")
@click.option("--backend", "backends", metavar="ID", multiple=True, help="Only this; repeatable.")
@click.option("--older-than", metavar="DURATION", help="What was stored longer ago, e.g. 720h.")
@click.option("--max-size", metavar="SIZE", help="Until at most so much is left, e.g. 10GiB.")
@click.option("--entries-only", is_flag=True, help="Spare hash tiles: no proof is lost.")
@click.option("--allow-coverage-loss", is_flag=True, help="Lose the proofs of what is pruned.")
@click.option("--dry-run", is_flag=True, help="Only say what would go and what would remain.")
@common_options
@pass_session
def tiles_prune(
    session: Session,
    backends: tuple[str, ...],
    older_than: str | None,
    max_size: str | None,
    entries_only: bool,
    allow_coverage_loss: bool,
    dry_run: bool,
) -> Result:
    """Make room: entry bundles go first, then hash tiles, the oldest of each first.

    Without a hash tile the entries under it cannot be proven: so tiles stay however old they
    are, and a --max-size that needs them is refused (8), unless the loss is allowed. What
    consistency proofs need stays in any case; so do private logs. The next sync fetches
    again what it is configured to fetch.

    Without limits those of the configuration count (tileCache), as they do after each sync:
    entry bundles go, of each log from the first on, and sync does not fetch them again.

    \b
    Example:
        attestor tiles prune --older-than 720h --entries-only
        attestor tiles prune --max-size 10GiB --allow-coverage-loss --dry-run
    """

    as_set = older_than is None and max_size is None
    with session.writing() as store:
        limits = _limits(session, older_than, max_size, entries_only=entries_only)
        logs = list({one.log.id: one.log for one in _backends(store, backends)}.values())
        if as_set and not allow_coverage_loss:
            report = prune_as_set(store, logs, limits, session.now(), dry_run=dry_run)
        else:
            report = prune(
                store,
                logs,
                limits,
                session.now(),
                allow_coverage_loss=allow_coverage_loss,
                dry_run=dry_run,
            )
    verb = "would prune" if dry_run else "pruned"
    lines = [f"{one.origin}: {verb} {_pruned_text(one)}" for one in report.logs]
    lines.append(f"{report.n_bytes:,} bytes {'would remain' if dry_run else 'remain'}")
    data = members(
        dry_run=dry_run,
        remaining_bytes=report.n_bytes,
        logs=[_pruned_data(one) for one in report.logs],
    )
    return Result(data, "\n".join(lines), too_large(report, limits) if as_set else ())


@tiles.command("clear")
@click.option("--backend", "name", metavar="ID", required=True, help="Whose tiles.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@common_options
@pass_session
def tiles_clear(session: Session, name: str, dry_run: bool) -> Result:
    """Remove the tiles and entry bundles of a log; its checkpoints and its right edge stay.

    Nothing of it can be proven until a sync or an import has brought them again. The right
    edge, a handful of tiles, is what the next sync starts from.

    \b
    Example:
        attestor tiles clear --backend public --dry-run
    """

    with session.writing() as store:
        cleared = clear(store, require_backend(store, name).log, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    data = members(dry_run=dry_run) | _pruned_data(cleared)
    return Result(data, f"{name}: {verb} {_pruned_text(cleared)}")


def _backends(store: Store, names: tuple[str, ...]) -> tuple[Backend, ...]:

    return tuple(require_backend(store, name) for name in names) or all_backends(store)


def _limits(
    session: Session, older_than: str | None, max_size: str | None, *, entries_only: bool
) -> Limits:

    if older_than is None and max_size is None:
        limits = cache_limits(session.configuration)
        if limits is None:
            raise click.UsageError("nothing limits the tiles: give --older-than or --max-size")
        return replaced(limits, entries_only=entries_only)
    try:
        seconds = None if older_than is None else parse_milliseconds(older_than) // 1000
        n_bytes = None if max_size is None else parse_size(max_size)
    except ConfigError as error:
        raise click.UsageError(f"{error.message}; {error.next_step}") from error
    return Limits(seconds, n_bytes, entries_only)


def _stats_data(one: Backend, stats: TileStats) -> dict[str, Any]:
    return members(
        stats.totals,
        "tiles",
        "entry_bundles",
        "n_bytes",
        backend=one.name,
        origin=one.log.origin,
        coverage=coverage_data(stats.tiles),
        entry_coverage=coverage_data(stats.entries),
        oldest=stats.oldest,
        newest=stats.newest,
    )


def _size(n_bytes: int) -> str:
    """Write a size as people read it, in powers of 1,000."""
    size, unit = float(n_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{n_bytes} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def _coverage(coverage: Coverage | None) -> str:
    if coverage is None:
        return "none"
    return f"{coverage.percent:.1f}".removesuffix(".0") + f"% (tree size {coverage.tree_size:,})"


def _time(at: int | None) -> str:
    return "none" if at is None else utc(at).replace("T", " ").removesuffix("Z")


def _stats_text(one: Backend, stats: TileStats) -> str:
    totals = stats.totals
    rows = {
        "Origin": one.log.origin,
        "Total Tiles": f"{totals.tiles:,} and {totals.entry_bundles:,} entry bundles",
        "Cache Size": _size(totals.n_bytes),
        "Coverage": _coverage(stats.tiles),
        "Oldest Tile": _time(stats.oldest),
        "Newest Tile": _time(stats.newest),
    }
    return "\n".join(f"{heading + ':':13}{text}" for heading, text in rows.items())


def _pruned_text(one: PrunedLog) -> str:
    spared = f"; {one.spared:,} tiles as old stay, proofs rest on them" if one.spared else ""
    return (
        f"{one.tiles:,} tiles and {one.entry_bundles:,} entry bundles, {one.n_bytes:,} bytes;"
        f" coverage {one.coverage or 'none'}{spared}"
    )


def _pruned_data(one: PrunedLog) -> dict[str, Any]:
    return members(
        one,
        "origin",
        "tiles",
        "entry_bundles",
        "n_bytes",
        coverage=coverage_data(one.coverage),
        spared_tiles=one.spared,
    )
