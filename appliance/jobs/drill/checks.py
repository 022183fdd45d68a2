"""What a drill expects and what it found, written down as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from appliance.errors import ApplianceError
from appliance.jobs.checks import CheckResult, CheckState
from bundles.errors import BundleError

REFUSALS = (ApplianceError, BundleError)


class Checks:
    """The list of what was expected. Nothing in here decides what comes next."""

    def __init__(self) -> None:
        self.done: list[CheckResult] = []

    def expect(self, what: str, holds: bool, found: object) -> None:
        """Write down whether something holds, and what was found."""
        state = CheckState.OK if holds else CheckState.FAILED
        self.done.append(CheckResult(what, state, str(found)))

    def same(self, what: str, expected: object, got: object) -> None:
        """Write down whether two things are equal."""
        found = str(got) if got == expected else f"expected {expected}, got {got}"
        self.expect(what, got == expected, found)

    def refused(
        self,
        what: str,
        attempt: Callable[[], Any],
        family: type[Exception] | tuple[type[Exception], ...],
        *reasons: str,
    ) -> None:
        """Make an attempt that must end in an error of this family, and of these reasons."""
        try:
            came_to = attempt()
        except REFUSALS as error:
            reason = str(getattr(error, "reason", ""))
            met = isinstance(error, family) and (not reasons or reason in reasons)
            self.expect(what, met, f"{type(error).__name__} ({reason})")
        else:
            self.expect(what, False, f"it was not refused: {came_to!r}"[:200])

    @contextmanager
    def going_on(self, what: str) -> Iterator[None]:
        """Write an error that nothing here expected down as a failure of `what`."""
        try:
            yield
        except REFUSALS as error:
            self.expect(what, False, f"{type(error).__name__}: {error}")
