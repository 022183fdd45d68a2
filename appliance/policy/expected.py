"""What a row of the ledger has come to, and the alarms that follow from it.

Pure: which entries meet a row, and what of the logs was looked at, is the caller's.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final

from appliance.policy.alarms import Alarm, Severity

MAX_ENTRIES: Final = 20  # of one alarm; the rest is a number


class Standing(enum.Enum):
    """How far an expectation got; also how lists name it."""

    OPEN = "open"  # not used up, and there is time
    USED = "used"  # as many entries as were expected
    DUPLICATE = "duplicate"  # more than that
    MISSING = "missing"  # its time is over, everything was looked at, and it is not logged
    CANNOT_TELL = "cannot-tell"  # its time is over, and not everything was looked at
    CANCELLED = "cancelled"


class Finding(enum.Enum):
    """What somebody is told of an expectation."""

    MISSING = "missing"
    DUPLICATE = "duplicate"
    EARLY = "early"


_TYPES: Final = {
    Finding.MISSING: "ExpectedMissing",
    Finding.DUPLICATE: "ExpectedDuplicate",
    Finding.EARLY: "ExpectedEarly",
}
_SEVERITIES: Final = {
    Finding.MISSING: Severity.WARNING,
    Finding.DUPLICATE: Severity.WARNING,
    Finding.EARLY: Severity.CRITICAL,
}
_ACTIONS: Final = {
    Finding.MISSING: "Ask who was to sign; do not release what is not logged",
    Finding.DUPLICATE: "Confirm who signed again; if nobody, revoke the identity and quarantine"
    " artifacts with these digests",
    Finding.EARLY: "Confirm who logged it before it was queued here; if nobody, the key or the"
    " queue's input was known to somebody else",
}
EVENTS: Final = {one: f"rekor.expected.{one.value}" for one in Finding}


def standing(
    *,
    count: int,
    used: int,
    excess: int,
    cancelled: bool,
    valid_until: int | None,
    now: int,
    unseen: bool,
) -> Standing:
    """Judge one row by how many entries meet it, and how many more than all rows stand for.

    `unseen`: something that could hold its entry was not looked at.

    >>> late = {"excess": 0, "cancelled": False, "valid_until": 9, "now": 10}
    >>> standing(count=1, used=0, unseen=True, **late).value
    'cannot-tell'
    """
    if cancelled:
        return Standing.CANCELLED
    if excess:
        return Standing.DUPLICATE
    if used >= count:
        return Standing.USED
    if valid_until is None or now <= valid_until:
        return Standing.OPEN
    return Standing.CANNOT_TELL if unseen else Standing.MISSING


def condition(finding: Finding, expectation: int) -> str:
    """Name what makes two alarms the same one."""
    return f"{_TYPES[finding]} {expectation}"


def expected_alarm(
    finding: Finding,
    *,
    expectation: int,
    origin: str | None,
    tree_size: int | None,
    root_hash: str | None,
    entries: Sequence[Mapping[str, Any]],
    description: str,
) -> Alarm:
    """Make the alarm for a row; `entries` are described as alerts describe entries."""
    return Alarm(
        condition(finding, expectation),
        _TYPES[finding],
        EVENTS[finding],
        _SEVERITIES[finding],
        {
            "watch": None,
            "origin": origin,
            "treeSize": tree_size,
            "rootHash": root_hash,
            "entries": list(entries[:MAX_ENTRIES]),
            "moreEntries": max(len(entries) - MAX_ENTRIES, 0),
            "expectation": expectation,
            "description": description,
            "recommendedAction": _ACTIONS[finding],
        },
    )
