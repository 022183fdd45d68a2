"""Exceptions to exit codes, in one table, which docs/commands.md shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

from appliance import errors
from appliance.errors import ApplianceError, MalformedError, RefusedError, VerificationError
from bundles.errors import BundleError, UnsupportedError

_NO: Final = (
    "no, proven: wrong bytes (signature, proof, digest, malformed), another signer, or an"
    " expectation that is not met"
)

EXIT_CODES: Final[dict[type[Exception], tuple[int, str]]] = {
    errors.ArgumentError: (2, "usage: something typed is not in the form it must have"),
    errors.VerificationError: (3, _NO),
    BundleError: (3, _NO),
    errors.DivergenceError: (4, "a log contradicts itself; evidence was stored"),
    errors.IncompleteError: (5, "cannot decide: something needed is not here; says what"),
    errors.StoreError: (6, "the store cannot be used (full, corrupt, read-only, newer schema)"),
    errors.RemoteError: (7, "a remote could not be reached or asked to wait; try again"),
    errors.RefusedError: (8, "refused by policy"),
    UnsupportedError: (8, "refused by policy"),
    errors.ConfigError: (9, "configuration invalid"),
    errors.LockedError: (75, "another run holds the lock"),
}
OTHER_CODES: Final[dict[int, str]] = {
    0: "done, or nothing to do",
    1: "a bug in the appliance (traceback shown)",
    130: "interrupted (SIGINT)",
    141: "the reader of our output went away",
    143: "terminated (SIGTERM)",
}
BUG: Final = 1
USAGE: Final = 2
STORE: Final = 6  # also for an output that cannot be written
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
TERMINATED: Final = 143

WORST_FIRST: Final = (4, 3, 6, 9, 5, 8, 7, 75)


def exit_code(error: Exception) -> int:
    """Return the code of the most specific family `error` belongs to.

    Raises LookupError for an exception that is in none: that is a bug.
    """
    for family in type(error).__mro__:
        if family in EXIT_CODES:
            return EXIT_CODES[family][0]
    raise LookupError(f"{type(error).__name__} has no exit code")


def worst(codes: Iterable[int]) -> int:
    """Return the code that wins when a run has several outcomes; 0 if there are none."""
    failed = {code for code in codes if code}
    for code in WORST_FIRST:
        if code in failed:
            return code
    return max(failed, default=0)


@contextlib.contextmanager
def naming(file: object) -> Iterator[None]:
    """Put the file's name before whatever is wrong with what it holds.

    What is not in its form at all may be another file: the next step, if there is none, is to
    look.
    """
    try:
        yield
    except tuple(EXIT_CODES) as error:
        ours = as_ours(error, prefix=f"{file}: ")
        if isinstance(ours, MalformedError) and not ours.next_step:
            ours.next_step = "look whether it is the right file, and whole"
        raise ours from error


def as_ours(error: Exception, prefix: str = "") -> ApplianceError:
    """Return an error of the table with a prefix to its message, the bundles package's as ours.

    A message that begins with the same file's name needs no prefix.
    """
    name = prefix.removesuffix(": ")
    if str(error).startswith((f"{name} ", f"{name}: ")):
        prefix = ""
    if isinstance(error, ApplianceError):
        error.message = prefix + error.message
        return error
    message, reason = prefix + str(error), getattr(error, "reason", "bundle")
    family = RefusedError if isinstance(error, UnsupportedError) else VerificationError
    return family(message, reason=reason, next_step=getattr(error, "next_step", ""))
