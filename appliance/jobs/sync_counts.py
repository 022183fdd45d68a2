"""What a sync counts, whether it succeeds or fails (SPEC.md section 9).

Counting is no part of mirroring: whatever goes wrong with it, the sync's own answer stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from appliance.errors import ApplianceError
from appliance.jobs.alarm import ANOMALIES
from appliance.jobs.log_status import vouched_at
from appliance.policy.alarms import Anomaly, Severity
from appliance.policy.error_types import error_type
from appliance.store.counters import count, observe
from appliance.store.database import Store
from appliance.store.logs import Backend
from appliance.store.mirror import Mirror
from appliance.store.runs import record_failure, record_success
from appliance.tlog.log_source import LogSource
from appliance.tlog.tile import EntryBundle, Tile

PREFIX: Final = "attestor_rekor_sync"
AGE_BUCKETS: Final = (60, 300, 900, 1800, 3600, 7200, 21_600, 86_400, 604_800)  # seconds


class CountedSource:
    """A LogSource that counts what came through it."""

    def __init__(self, source: LogSource) -> None:
        self._source = source
        self.n_checkpoints = 0
        self.n_tiles = 0

    @property
    def description(self) -> str:
        """The source's own."""
        return self._source.description

    @property
    def exchange(self) -> Mapping[str, Any]:
        """The source's own."""
        return self._source.exchange

    def checkpoint(self) -> bytes:
        """Return the newest signed note it offers."""
        note = self._source.checkpoint()
        self.n_checkpoints += 1
        return note

    def tiles(self, wanted: Sequence[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Yield each wanted tile as it comes."""
        for one in self._source.tiles(wanted):
            self.n_tiles += 1
            yield one

    def entry_bundles(self, wanted: Sequence[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Yield each wanted entry bundle as it comes."""
        return self._source.entry_bundles(wanted)


def count_sync(
    store: Store,
    backend: Backend,
    source: CountedSource,
    now: int,
    *,
    old_size: int | None,
    tiles: int,
    error: ApplianceError | None,
) -> None:
    """Count one sync: what came, what of it was stored, and how old the checkpoint is now."""
    label = {"backend": backend.name}
    mirror = Mirror(store, backend.log)
    with store.atomic():
        count(store, f"{PREFIX}_checkpoints_fetched_total", label, source.n_checkpoints)
        head = mirror.history.accepted()
        new_size = head.head.tree_size if head else None
        count(store, f"{PREFIX}_checkpoints_stored_total", label, new_size != old_size)
        count(store, f"{PREFIX}_tiles_fetched_total", label, source.n_tiles)
        count(store, f"{PREFIX}_tiles_cached_total", label, tiles)
        if head is not None:
            age = max(now - vouched_at(mirror, head)[0], 0)
            observe(store, f"{PREFIX}_checkpoint_age_seconds", label, age, AGE_BUCKETS)
        if error is not None:
            record_failure(store, backend.name, now)
            count_error(store, backend.name, error)


def record_answer(store: Store, backend: Backend, now: int, *, behind: bool) -> None:
    """Record that a backend answered honestly, if perhaps with an older head than ours."""
    with store.atomic():
        record_success(store, backend.name, now, behind=behind)
        if behind:
            # Every stale replica counts, one that is worth an alarm as a warning besides.
            labels = {"type": Anomaly.STALE_REPLICA.value, "severity": Severity.INFO.value}
            count(store, ANOMALIES, labels)


def count_error(store: Store, backend: str, error: ApplianceError) -> None:
    """Count why a sync failed, unless that is no error but an answer. Inside store.atomic()."""
    kind = error_type(error)
    if kind is not None:
        count(store, f"{PREFIX}_errors_total", {"backend": backend, "error_type": kind})
