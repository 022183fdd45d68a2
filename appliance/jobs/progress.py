"""How far a long job is: told to whoever watches, and never decided by."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final


class Progress:
    """Is told what a job does, and of how much; this one tells nobody."""

    def stage(
        self, what: str, total: Callable[[], int | None] | None = None, *, n_bytes: bool = False
    ) -> None:
        """Begin to count something else, from 0: `what` in a word or two, in the plural.

        `total` says of how many, None if nobody knows. Counting can take a while, so it is
        asked only if somebody looks. With `n_bytes` it is bytes that are counted.
        """

    def __call__(self, more: int) -> None:
        """So much more of the stage is done; 0: it is still going on."""


SILENT: Final = Progress()
ShowProgress = Callable[[str], AbstractContextManager[Progress]]  # what somebody may look at


def unseen(_: str) -> AbstractContextManager[Progress]:
    """Show nobody anything, whatever it is called."""
    return nullcontext(SILENT)
