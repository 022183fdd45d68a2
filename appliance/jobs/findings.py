"""What a check found: the rows of doctor and of checkpoint-store test."""

from __future__ import annotations

import enum
from collections.abc import Callable

from appliance.errors import ApplianceError
from appliance.value import frozen


class Outcome(enum.Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"  # it needs something that another check did not find


@frozen
class Finding:
    """What one check found."""

    name: str
    outcome: Outcome
    text: str
    error: ApplianceError | None = None  # why it failed


def ok(text: str) -> tuple[Outcome, str]:
    """Return what a check says that found nothing wrong."""
    return Outcome.OK, text


def warning(text: str) -> tuple[Outcome, str]:
    """Return what a check says that found something to look at."""
    return Outcome.WARNING, text


def finding(name: str, check: Callable[[], tuple[Outcome, str]]) -> Finding:
    """Run one check; an error of ours is a finding, so that the other checks still run."""
    try:
        outcome, text = check()
    except ApplianceError as error:
        return Finding(name, Outcome.FAILED, error.message, error)
    return Finding(name, outcome, text)
