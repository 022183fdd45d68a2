"""Prune the tile cache, saying first what can no longer be proven (tiles prune, tiles clear).

Without a full level 0 tile, entries under it cannot be proven, and no checkpoint beyond it
is covered. Entry bundles are in no proof. What consistency with the accepted checkpoint
needs, the right edge and the tiles above level 0, always stays; so does all of a private
log, which nobody else has. Rows go first: a blob without a row harms nothing.

What the settings prune (tileCache), after each sync, are entry bundles from the left of each
log on, and never the last of it: so the first that is here says from where on sync fetches.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from appliance.config.configuration import Configuration
from appliance.errors import RefusedError
from appliance.jobs.coverage import coverage_of
from appliance.jobs.home.sweep import sweep_these
from appliance.policy.coverage import Coverage
from appliance.store.database import Store
from appliance.store.mirror.logs import Log
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tile_cache import (
    Cached,
    cache_totals,
    cached_entry_bundles,
    cached_tiles,
    forget,
)
from appliance.store.private_log.private_logs import all_private_logs
from appliance.tlog.tile import Tile, edge_tiles
from appliance.value import frozen, replaced


@frozen
class Limits:
    """What to prune down to. None: no such limit."""

    older_than: int | None = None  # seconds since a blob was stored
    max_bytes: int | None = None  # of the tiles and entry bundles of all chosen logs
    entries_only: bool = False  # spare every hash tile


def cache_limits(configuration: Configuration) -> Limits | None:
    """Return what tileCache says, or None if it sets no limit."""
    seconds = configuration.optional_seconds("tileCache.autoPruneAfter")
    n_bytes = configuration.count("tileCache.maxCacheSizeBytes") or None
    return None if seconds is None and n_bytes is None else Limits(seconds, n_bytes)


@frozen
class PrunedLog:
    """What was, or in a dry run would be, pruned of one log."""

    origin: str
    tiles: int
    entry_bundles: int
    n_bytes: int
    coverage: Coverage | None  # that remains; None: nothing was ever accepted
    spared: int = 0  # tiles that are as old, and stay because proofs rest on them


@frozen
class PruneReport:
    """What a prune did, or in a dry run would do."""

    logs: tuple[PrunedLog, ...]
    n_bytes: int  # that stay


@frozen
class _Candidate:
    log_id: int
    cached: Cached
    stored_at: int  # Unix seconds

    @property
    def is_tile(self) -> bool:
        return isinstance(self.cached.place, Tile)


def prune(
    store: Store,
    logs: Sequence[Log],
    limits: Limits,
    now: int,
    *,
    allow_coverage_loss: bool,
    dry_run: bool,
) -> PruneReport:
    """Prune tiles and entry bundles of `logs`, entry bundles before tiles, the oldest first.

    Without `allow_coverage_loss` tiles stay however old they are. The caller holds the home's
    lock. Raises RefusedError (reason coverage-loss), having changed nothing, if `max_bytes`
    cannot be kept without losing proofs and that is not allowed.
    """
    mirrors = _prunable(store, logs)
    held = sum(cache_totals(store, mirror.log).n_bytes for mirror in mirrors)
    chosen, spared = _choose(mirrors, limits, held, now), []
    if limits.max_bytes is None and not allow_coverage_loss:
        spared = [one for one in chosen if one.is_tile]
        chosen = [one for one in chosen if not one.is_tile]
    report = PruneReport(
        tuple(_outlook(mirror, chosen, spared) for mirror in mirrors),
        held - sum(one.cached.n_bytes for one in chosen),
    )
    if dry_run:
        return report
    losing = [log for log in report.logs if log.tiles]
    if losing and not allow_coverage_loss:
        raise RefusedError(
            "proofs would be lost; coverage that would remain: "
            + ", ".join(f"{log.origin} {log.coverage}" for log in losing),
            reason="coverage-loss",
            next_step="prune entry bundles alone with --entries-only, or accept the loss with"
            " --allow-coverage-loss",
        )
    _forget(store, mirrors, chosen)
    return report


def prune_as_set(
    store: Store, logs: Sequence[Log], limits: Limits, now: int, *, dry_run: bool
) -> PruneReport:
    """Prune entry bundles as tileCache says, those with the smallest indices of a log first.

    The last one of a log stays, and so does every tile: `max_bytes` may not be reached. The
    caller holds the home's lock.
    """
    mirrors = _prunable(store, logs)
    held = sum(cache_totals(store, mirror.log).n_bytes for mirror in mirrors)
    excess = 0 if limits.max_bytes is None else held - limits.max_bytes
    rows = [_from_the_left(mirror) for mirror in mirrors]
    # By log the first that is left, the one that was stored first on top.
    heads = [(one.stored_at, at, one) for at, row in enumerate(rows) if (one := next(row, None))]
    heapq.heapify(heads)
    chosen: list[_Candidate] = []
    while heads:
        stored_at, at, one = heads[0]
        too_old = limits.older_than is not None and now - stored_at > limits.older_than
        if not too_old and excess <= 0:
            break
        chosen.append(one)
        excess -= one.cached.n_bytes
        if (following := next(rows[at], None)) is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following.stored_at, at, following))
    if not dry_run:
        _forget(store, mirrors, chosen)
    return PruneReport(
        tuple(_outlook(mirror, chosen) for mirror in mirrors),
        held - sum(one.cached.n_bytes for one in chosen),
    )


def too_large(report: PruneReport, limits: Limits) -> tuple[str, ...]:
    """Say that more stays than tileCache.maxCacheSizeBytes allows, if it is so."""
    if limits.max_bytes is None or report.n_bytes <= limits.max_bytes:
        return ()
    return (
        f"the tile cache has {report.n_bytes:,} bytes, tileCache.maxCacheSizeBytes is"
        f" {limits.max_bytes:,}; proofs rest on what is left: to lose them, attestor tiles prune"
        f" --max-size {limits.max_bytes} --allow-coverage-loss",
    )


def _prunable(store: Store, logs: Sequence[Log]) -> list[Mirror]:
    private = {one.log.id for one in all_private_logs(store)}
    return [Mirror(store, log) for log in logs if log.id not in private]


def _forget(store: Store, mirrors: Sequence[Mirror], chosen: Sequence[_Candidate]) -> None:
    for mirror in mirrors:
        forget(mirror, [one.cached.place for one in chosen if one.log_id == mirror.log.id])
    # If we die here, the blobs are unused, and 'store gc' sweeps them.
    sweep_these(store, [one.cached.digest for one in chosen])


def _from_the_left(mirror: Mirror) -> Iterator[_Candidate]:
    """Yield the entry bundles of a log, all but the last one, as they are asked for."""
    last = None
    for cached in cached_entry_bundles(mirror.store, mirror.log):
        if last is not None:
            yield _Candidate(mirror.log.id, last, _stored_at(mirror.store, last))
        last = cached


def clear(store: Store, log: Log, *, dry_run: bool) -> PrunedLog:
    """Forget the tiles and entry bundles of a log, keeping its checkpoints and its right edge.

    The caller holds the home's lock. Raises RefusedError for a private log, whose tiles
    nobody else could give back.
    """
    if any(one.log.id == log.id for one in all_private_logs(store)):
        raise RefusedError(
            f"{log.origin} is a log of this home: its tiles are the log", reason="private-log"
        )
    mirror = Mirror(store, log)
    accepted = mirror.history.accepted()
    edge = edge_tiles(accepted.head.tree_size) if accepted else ()
    tiles = [tile for tile in cached_tiles(store, log) if tile.place not in edge]
    bundles = list(cached_entry_bundles(store, log))
    n_bytes = sum(one.n_bytes for one in (*tiles, *bundles))
    coverage = coverage_of(mirror)
    if coverage is not None:
        lost = sum(isinstance(tile.place, Tile) and tile.place.level == 0 for tile in tiles)
        coverage = replaced(coverage, present=coverage.present - lost)
    if not dry_run:
        forget(mirror, [one.place for one in (*tiles, *bundles)])
        # If we die here, the blobs are unused, and 'store gc' sweeps them.
        sweep_these(store, [one.digest for one in (*tiles, *bundles)])
    return PrunedLog(log.origin, len(tiles), len(bundles), n_bytes, coverage)


def _choose(mirrors: Sequence[Mirror], limits: Limits, held: int, now: int) -> list[_Candidate]:
    chosen = []
    excess = 0 if limits.max_bytes is None else held - limits.max_bytes
    candidates = [candidate for mirror in mirrors for candidate in _candidates(mirror, limits)]
    for candidate in sorted(
        candidates, key=lambda candidate: (candidate.is_tile, candidate.stored_at)
    ):
        too_old = limits.older_than is not None and now - candidate.stored_at > limits.older_than
        if too_old or excess > 0:
            chosen.append(candidate)
            excess -= candidate.cached.n_bytes
    return chosen


def _candidates(mirror: Mirror, limits: Limits) -> Iterator[_Candidate]:
    """Yield what may go at all: entry bundles, and tiles that only inclusion proofs need."""
    store, log = mirror.store, mirror.log
    for cached in cached_entry_bundles(store, log):
        yield _Candidate(log.id, cached, _stored_at(store, cached))
    if limits.entries_only:
        return
    for cached in cached_tiles(store, log):
        place = cached.place
        if isinstance(place, Tile) and place.level == 0 and place.is_full:
            yield _Candidate(log.id, cached, _stored_at(store, cached))


def _stored_at(store: Store, cached: Cached) -> int:
    file = store.blobs.file(cached.digest)
    return 0 if file is None else file.modified_at


def _outlook(
    mirror: Mirror, chosen: Sequence[_Candidate], spared: Sequence[_Candidate] = ()
) -> PrunedLog:
    """Say what goes of one log, and what coverage remains."""
    ours = [one for one in chosen if one.log_id == mirror.log.id]
    tiles = sum(one.is_tile for one in ours)
    coverage = coverage_of(mirror)
    if coverage is not None:
        # Each is a full tile of the accepted tree, so each counted.
        coverage = replaced(coverage, present=coverage.present - tiles)
    n_bytes = sum(one.cached.n_bytes for one in ours)
    n_spared = sum(one.log_id == mirror.log.id for one in spared)
    return PrunedLog(mirror.log.origin, tiles, len(ours) - tiles, n_bytes, coverage, n_spared)
