"""What discovery did about a log, for machines and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from appliance.cli.members import members

if TYPE_CHECKING:  # most syncs discover nothing
    from appliance.jobs.mirror.discover import FoundLog


def found_data(one: FoundLog) -> dict[str, Any]:
    """Describe a log that was found for machines."""
    return members(one, "origin", "api_version", "backends", "action", "enabled", "notes")


def found_line(one: FoundLog, *, dry_run: bool = False) -> str:
    """Say in one line what was done about a log."""
    names = ", ".join(one.backends)
    origin = "" if names == one.origin else f"{one.origin}, "
    verb = f"would be {one.action}" if dry_run and one.is_change else one.action
    state = "enabled" if one.enabled else "disabled"
    notes = "".join(f"; {note}" for note in one.notes)
    return f"{names}: {origin}Rekor v{one.api_version}, {verb}, {state}{notes}"
