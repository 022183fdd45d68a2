"""Heal a home whose clock was ahead once (doctor --reset-clock)."""

from __future__ import annotations

from appliance.errors import RefusedError
from appliance.store.database import Store
from appliance.store.home.clock import clock_floor, reset_record, signed_floor
from appliance.store.home.journal import append_event
from appliance.times import CLOCKS_AGREE_SECONDS, utc


def reset_clock(store: Store, now: int, reason: str, *, signed_too: bool = False) -> int:
    """Let `now`, Unix seconds, be the time again; how many recorded times were later.

    Call it inside store.atomic(). Raises RefusedError (clock-behind) if somebody else signed a
    later time: then it is this clock that is wrong, unless theirs was (`signed_too`).
    """
    floor, signed = clock_floor(store), signed_floor(store)
    if signed is not None and signed.at > now + CLOCKS_AGREE_SECONDS and not signed_too:
        raise RefusedError(
            f"the clock of this host says {utc(now)}, and {signed.source} says {utc(signed.at)}:"
            " it is behind still",
            reason="clock-behind",
            next_step="set the clock and try again; if it is right, and theirs was ahead:"
            " --signed-too",
        )
    changed = reset_record(store, now, "the reset of the clock")
    details = {
        "reason": reason,
        "heldAt": None if floor is None else floor.at,
        "source": None if floor is None else floor.source,
        "changed": changed,
    }
    append_event(store, now, "clock.reset", details)
    return changed
