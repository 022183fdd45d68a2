"""What follows once the mirrors stand: queue, journal, index, ledger. Nothing of it fails a run.

Nine of ten syncs find nothing to do here, and each is a process of its own. So each step asks
with a query or a setting whether there is anything, and imports what does it only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.errors import ApplianceError, LockedError
from appliance.jobs.find.remembered import Remembered
from appliance.jobs.queue.settings import QueueSettings, find_server, queue_settings
from appliance.runs.session import Session
from appliance.runs.sources import publish_target
from appliance.store.database import Store
from appliance.store.find.expectations import has_ledger
from appliance.store.find.index import index_size
from appliance.store.find.watches import all_watches
from appliance.store.home.settings import SITE_ROLE, site_fact
from appliance.store.queue.queue import held_count
from appliance.store.verify.trust import last_update

if TYPE_CHECKING:
    from appliance.jobs.mirror.discover import Discovery
    from appliance.runs.drain import DrainRun


def discover_after_sync(session: Session) -> tuple[Discovery | None, tuple[str, ...]]:
    """Update the trusted root and add the logs it names, if rekorSync.discoverInterval has passed.

    That it failed is a warning: the age of the trusted root is watched for itself.
    """
    interval = session.configuration.optional_seconds("rekorSync.discoverInterval")
    if interval is None:
        return None, ()
    try:
        with session.reading() as store:
            updated_at = last_update(store)
        if updated_at is not None and 0 <= session.now() - updated_at < interval:
            return None, ()
        from appliance.runs.trust import discover_again

        return discover_again(session)
    except ApplianceError as error:
        return None, (f"the trusted root was not updated: {error.message}",)


def drain_after_sync(session: Session) -> tuple[DrainRun | None, tuple[str, ...]]:
    """Send what waits after a sync that reached a log; what fails is a warning."""
    try:
        settings = queue_settings(session.configuration)
        with session.reading() as store:
            wanted = settings.enabled and settings.drain_on_connect and held_count(store)
            if not wanted or find_server(store, settings) is None:
                return None, nowhere_to_send(store, settings)
        from appliance.runs.drain import drain_queue

        done = drain_queue(session)
    except ApplianceError as error:
        return None, (f"the queue was not sent: {error.message}",)
    if done is None:
        return None, ()
    said = [f"the queue: {error.message}" for error in done.errors if error not in done.serious]
    return done, (*said, *done.warnings)


def nowhere_to_send(store: Store, settings: QueueSettings) -> tuple[str, ...]:
    """Say that items wait for a log and none is set to send them to; nothing if one is."""
    waiting = held_count(store)
    is_isolated = site_fact(store, SITE_ROLE) == "isolated"
    if not waiting or is_isolated or not settings.enabled or settings.server_url is not None:
        return ()
    return (
        f"there is no log to send to what waits to be logged ({waiting:,} in the queue): attestor"
        " config set rekor.serverUrl URL, the base URL of a backend; then 'attestor queue drain',"
        " or the next sync, sends it",
    )


def publish_after_sync(session: Session) -> tuple[str, ...]:
    """Publish the journal if that is configured; whatever goes wrong is a warning."""
    try:
        if publish_target(session)[0] is None:
            return ()
        from appliance.runs.publish import publish, unpublished

        run = publish(session)
    except ApplianceError as error:
        return (f"publish: {error.message}",)
    failed = [one for one in run.done if one.error is not None and one.is_final]
    waiting = [one for one in run.done if one.error is not None and not one.is_final]
    return (
        *(f"publish: {unpublished(one)}" for one in waiting),
        *(f"publish: {one.error.message}" for one in failed if one.error),
    )


def find_after(session: Session, *, indexes: bool = True) -> tuple[str, ...]:
    """Index what a sync or an import brought, and compare it with the ledger and the watches.

    Each entry is read once for all three, each of which has its own locks and transactions and
    none of which needs another to have done anything. Returns what is to be said.
    """
    remembered = Remembered()
    said = _index(session, remembered) if indexes else ()
    return (*said, *ledger_after(session, remembered), *_watch(session, remembered))


def _index(session: Session, remembered: Remembered) -> tuple[str, ...]:
    """Index what came, if an index is wanted here; returns warnings."""
    try:
        wanted = session.configuration.optional_flag("entryIndex.enabled")
        if wanted is False or (wanted is None and index_size(session.home) is None):
            return ()
        from appliance.runs.find import index_what_came

        with session.reading() as store:
            is_wanted = has_ledger(store) or bool(all_watches(store))
        index_what_came(session, remembered if is_wanted else None)
    except ApplianceError as error:
        step = f"; {error.next_step}" if error.next_step else ""
        return (f"the index of entries is behind: {error.message}{step}",)
    return ()


def ledger_after(session: Session, remembered: Remembered | None = None) -> tuple[str, ...]:
    """Compare the ledger with what a sync or an import brought; returns what is to be said."""
    try:
        with session.reading() as store:
            if not has_ledger(store):
                return ()
        from appliance.runs.expected import compare_ledger

        return compare_ledger(session, remembered)
    except ApplianceError as error:
        step = f"; {error.next_step}" if error.next_step else ""
        return (f"what is expected was not compared with the logs: {error.message}{step}",)


def _watch(session: Session, remembered: Remembered) -> tuple[str, ...]:
    """Compare the watches with what came; returns what is to be said, and never fails."""
    try:
        with session.reading() as store:
            if not all_watches(store):
                return ()
        from appliance.runs.watch import compare_watches

        return compare_watches(session, remembered)
    except LockedError:
        return ()  # who holds it compares these entries, or the next run does
    except ApplianceError as error:
        step = f"; {error.next_step}" if error.next_step else ""
        return (f"the watches are behind: {error.message}{step}",)
