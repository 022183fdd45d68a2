"""Remember how a scheduled run ended: check, alerts and metrics judge by it.

Best effort, after the answer is known: without the home's lock, since what kept the command
from running may be that another one holds it, and never waiting long. Nothing but rows of
statistics is written this way.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from appliance.errors import ApplianceError, LockedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.runs.session import Session
    from appliance.store.database import Store

# Sync is what a schedule runs on every home; typed without options it is the scheduled one.
ALWAYS: Final = frozenset({"sync"})


def record_run(
    session: Session,
    command: str,
    code: int,
    errors: Sequence[ApplianceError],
    *,
    typed: bool = False,
) -> None:
    """Record the exit code of a command, if it is a scheduled run.

    What somebody `typed` by hand, with options, says nothing of the schedule.
    """
    if not session.scheduled and (typed or command not in ALWAYS):
        return
    from appliance.store.home.runs import record_command

    with suppress(ApplianceError), session.recording() as store, store.atomic():
        record_command(store, command, code, session.now())
        if command == "sync":
            _count_locked(store, errors)


def _count_locked(store: Store, errors: Sequence[ApplianceError]) -> None:
    """Count for every enabled backend that it was not even asked."""
    from appliance.jobs.mirror.sync import count_error
    from appliance.store.mirror.logs import all_backends

    for error in errors:
        if isinstance(error, LockedError):
            for backend in all_backends(store):
                if backend.enabled:
                    count_error(store, backend.name, error)
