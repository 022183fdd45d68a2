"""Sync one backend: fetch its checkpoint and absorb it into the mirror (DESIGN.md section 3)."""

from __future__ import annotations

from appliance.jobs.absorb import AbsorbReport, absorb, preview
from appliance.jobs.fill import Progress, Wanted
from appliance.store.checkpoints import Arrival
from appliance.store.database import Store
from appliance.store.logs import Backend
from appliance.store.mirror import Mirror
from appliance.tlog.log_source import LogSource


def sync(
    store: Store,
    backend: Backend,
    source: LogSource,
    wanted: Wanted,
    now: int,
    progress: Progress = lambda _: None,
) -> AbsorbReport:
    """Bring the mirror of a backend's log up to what the backend offers at `now`.

    Raises what absorb raises.
    """
    arrival = _arrival(backend, source, now)
    return absorb(Mirror(store, backend.log), source, arrival, wanted, progress)


def preview_sync(store: Store, backend: Backend, source: LogSource, now: int) -> AbsorbReport:
    """Say what a sync would find; raises what preview raises."""
    return preview(Mirror(store, backend.log), source, _arrival(backend, source, now))


def _arrival(backend: Backend, source: LogSource, now: int) -> Arrival:
    kind = "direct" if backend.mirror_of is None else "mirror"
    return Arrival(kind, source.description, seen_at=now)
