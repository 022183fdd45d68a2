"""Where entries are written to: what every Rekor log, v1 or v2, can be asked for.

Two implementations are in fetch/: one for each version's API. Nothing they return is
believed; jobs/queue/log_proof.py verifies it.
"""

from __future__ import annotations

from typing import Final, Protocol

from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.value import frozen

FOREIGN_ANSWER: Final = "foreign-answer"  # reason: somebody in between refused, not the log


@frozen
class Written:
    """The log took the entry, or had it already, and says where it is."""

    entry: TransparencyLogEntry
    duplicate: bool = False  # it was there before


@frozen
class WrittenBefore:
    """The log had the entry already, and gave no proof: build one from its tiles."""

    entry_index: int


class LogWriter(Protocol):
    """The write API of one log. Threads may share it."""

    @property
    def description(self) -> str:
        """Its URL, for messages and the attempt history."""

    def write(self, request: bytes) -> Written | WrittenBefore:
        """Post these very bytes, once.

        Raises RefusedError if the log will never take it; only the reason
        `invalid-request` is about this request, and it is given only for a no in the form
        that this kind of log has for it: a proxy or a captive portal refuses everything,
        which is a RemoteError with the reason FOREIGN_ANSWER. Raises RemoteError if it may
        take it later or nobody knows whether it did: post the same bytes again. Raises
        VerificationError for an answer that cannot be one.
        """
