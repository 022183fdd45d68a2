"""Heal a home whose clock was ahead once (doctor --reset-clock)."""

from __future__ import annotations

from appliance.store.database import Store
from appliance.store.home.clock import clock_floor, reset_record
from appliance.store.home.journal import append_event


def reset_clock(store: Store, now: int, reason: str) -> int:
    """Let `now`, Unix seconds, be the time again; how many recorded times were later.

    Call it inside store.atomic().
    """
    floor = clock_floor(store)
    changed = reset_record(store, now, "the reset of the clock")
    details = {
        "reason": reason,
        "heldAt": None if floor is None else floor.at,
        "source": None if floor is None else floor.source,
        "changed": changed,
    }
    append_event(store, now, "clock.reset", details)
    return changed
