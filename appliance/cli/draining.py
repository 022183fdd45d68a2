"""Sending the queue from the command line: for queue drain, and after a good sync."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from appliance.cli.app import App

if TYPE_CHECKING:
    from appliance.errors import ApplianceError
    from appliance.fetch.http import HttpClient
    from appliance.jobs.drain import DrainReport
    from appliance.jobs.queue_settings import QueueSettings
    from appliance.store.database import Store
    from appliance.store.logs import Backend


def run_drain(
    app: App,
    store: Store,
    http: HttpClient,
    backend: Backend,
    settings: QueueSettings,
    *,
    limit: int | None = None,
    until_empty: bool = False,
) -> DrainReport:
    """Send what is due to a backend's log; hold the drain lock while this runs."""
    from appliance.cli.sources import open_server
    from appliance.jobs.drain import Drain, Pace

    def chance() -> float:
        return int.from_bytes(app.random_bytes(4)) / 2**32

    return Drain(
        store,
        open_server(http, backend),
        settings,
        Pace(app.moment, app.monotonic, app.sleep, chance),
        threads=http.settings.connections,
        limit=limit,
        until_empty=until_empty,
    ).run()


def compare_newest(
    store: Store, backend: Backend, report: DrainReport, now: int
) -> ApplianceError | None:
    """Compare the newest checkpoint the log answered with, with the tree that is mirrored here.

    A log that shows another tree to those who write than to those who read is caught here:
    the contradiction is returned, its evidence stored. Hold the home's lock.
    """
    from appliance.errors import ApplianceError
    from appliance.jobs.gossip import compare_note
    from appliance.store.mirror import Mirror

    if report.newest_note is None or Mirror(store, backend.log).history.accepted() is None:
        return None
    try:
        compare_note(store, report.newest_note, backend.base_url or backend.name, now)
    except ApplianceError as error:
        return error
    return None


def drain_data(report: DrainReport) -> dict[str, Any]:
    """Describe what a drain did, for machines."""
    return {
        "sent": report.sent,
        "logged": report.logged,
        "duplicates": report.duplicates,
        "refused": report.refused,
        "postponed": report.postponed,
        "interrupted": report.interrupted,
    }


def drain_line(report: DrainReport) -> str:
    """Say what a drain did."""
    parts = [f"{report.logged} logged and proven"]
    parts += [f"{report.duplicates} of them were there already"] if report.duplicates else []
    parts += [f"{report.refused} refused for good"] if report.refused else []
    parts += [f"{report.postponed} postponed"] if report.postponed else []
    return ", ".join(parts)
