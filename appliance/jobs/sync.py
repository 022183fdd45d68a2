"""Sync one backend: fetch its checkpoint and absorb it into the mirror (DESIGN.md section 3)."""

from __future__ import annotations

from appliance.jobs.absorb import AbsorbReport, Progress, Wanted, absorb
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
    kind = "direct" if backend.mirror_of is None else "mirror"
    arrival = Arrival(kind, source.description, seen_at=now)
    return absorb(Mirror(store, backend.log), source, arrival, wanted, progress)
