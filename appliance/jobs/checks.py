"""What a check found: of doctor, checkpoint-store test, store check and drill."""

from __future__ import annotations

import enum
from collections.abc import Callable

from appliance.errors import ApplianceError
from appliance.value import frozen


class CheckState(enum.Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"  # it needs something that another check did not find


@frozen
class CheckResult:
    """What one check found."""

    name: str
    state: CheckState
    message: str
    error: ApplianceError | None = None  # why it failed, where that is one of ours

    @property
    def failed(self) -> bool:
        """Whether it found something wrong."""
        return self.state is CheckState.FAILED

    @property
    def next_step(self) -> str:
        """What to do about it; may be empty."""
        return self.error.next_step if self.error else ""


def ok(message: str) -> tuple[CheckState, str]:
    """Return what a check says that found nothing wrong."""
    return CheckState.OK, message


def warning(message: str) -> tuple[CheckState, str]:
    """Return what a check says that found something to look at."""
    return CheckState.WARNING, message


def run_check(name: str, check: Callable[[], tuple[CheckState, str]]) -> CheckResult:
    """Run one check; an error of ours is its result, so that the other checks still run."""
    try:
        state, message = check()
    except ApplianceError as error:
        return failed_check(name, error)
    return CheckResult(name, state, message)


def failed_check(name: str, error: ApplianceError) -> CheckResult:
    """Return the result of a check that an error ended."""
    return CheckResult(name, CheckState.FAILED, error.message, error)
