"""Time windows, closed at both ends, and the timestamps of proto3 JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from appliance.errors import MalformedError
from appliance.patterns import pattern
from appliance.rekor.protojson import Message
from appliance.value import frozen

_TIMESTAMP: Final = pattern(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)


@frozen
class Window:
    """When something is trusted; an open side has no limit."""

    start: datetime | None = None
    end: datetime | None = None

    def contains(self, time: datetime) -> bool:
        """Whether `time` is inside; both ends are."""
        return (self.start is None or self.start <= time) and (self.end is None or time <= self.end)

    def within(self, other: Window) -> Window:
        """Return the time that is in both."""
        starts = [one.start for one in (self, other) if one.start is not None]
        ends = [one.end for one in (self, other) if one.end is not None]
        return Window(max(starts, default=None), min(ends, default=None))

    def __str__(self) -> str:
        start = "the beginning" if self.start is None else format_time(self.start)
        return f"{start} to {'now on' if self.end is None else format_time(self.end)}"


ALWAYS: Final = Window()


def read_window(parent: Message, *, start_required: bool) -> Window:
    """Read a validFor field; raises MalformedError, also for a start that had to be there."""
    valid = parent.message("validFor")
    if valid is None:
        if start_required:
            raise MalformedError(f"{parent.path}.validFor: missing")
        return ALWAYS
    start, end = _read_time(valid, "start"), _read_time(valid, "end")
    if start is None and start_required:
        raise MalformedError(f"{valid.path}.start: missing")
    return Window(start, end)


def _read_time(message: Message, name: str) -> datetime | None:
    text = message.text(name)
    return parse_time(text, f"{message.path}.{name}") if text else None


def parse_time(text: str, path: str) -> datetime:
    """Parse an RFC 3339 timestamp to the microsecond; raises MalformedError."""
    found = _TIMESTAMP.fullmatch(text)
    try:
        if found is None:
            raise ValueError("expected RFC 3339")
        seconds, fraction, zone = found.groups(default="")
        whole = datetime.fromisoformat(seconds + zone.replace("Z", "+00:00"))
        microseconds = int(fraction[:6].ljust(6, "0"))
        return whole.replace(microsecond=microseconds).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedError(f"{path}: not a time ({error}): {text[:80]!r}") from error


def unix_time(seconds: int) -> datetime:
    """Turn Unix seconds into a time; raises MalformedError beyond the year 9999."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise MalformedError(f"{seconds} seconds is no time before the year 10000") from error


def format_time(time: datetime) -> str:
    """Format a time as RFC 3339 in UTC, with a fraction only if it has one."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
