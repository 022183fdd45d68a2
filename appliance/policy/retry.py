"""When to try again what failed: doubling pauses, a ceiling, jitter. Pure."""

from __future__ import annotations

import math
from typing import Final

from appliance.value import frozen


@frozen
class Backoff:
    """How pauses grow. Seconds."""

    first: float
    longest: float
    factor: float = 2.0
    fixed: float = 0.5  # the share of a pause that is not drawn

    def __post_init__(self) -> None:
        if not 0 <= self.fixed <= 1:
            raise ValueError(f"fixed share of a pause: expected 0 to 1, got {self.fixed}")

    def pause(self, failures: int, draw: float, asked: float | None = None) -> float:
        """Return the pause after this many failures in a row, from 1.

        `draw`, from 0 to 1, is the jitter: what is not fixed is drawn, so that many sites do
        not come back together. `asked` is what the other side wants (Retry-After); nothing
        shorter is returned.
        """
        # Beyond 64 doublings the ceiling has long been reached, and floats overflow.
        full = min(self.longest, self.first * self.factor ** min(failures - 1, 64))
        return max(full * (self.fixed + (1 - self.fixed) * draw), asked or 0.0)

    def next_try(self, now: int, failures: int, draw: float, asked: float | None = None) -> int:
        """Return when to try again, in whole Unix seconds; as pause() otherwise."""
        return now + math.ceil(self.pause(failures, draw, asked))


def steady(seconds: float) -> Backoff:
    """Return the back-off that always pauses so long, without jitter."""
    return Backoff(first=seconds, longest=seconds, fixed=1.0)


SLICE_OVER: Final = "slice-over"  # reason of an error: others wait; to be called again
DELIVERY: Final = Backoff(first=30.0, longest=3600.0)
