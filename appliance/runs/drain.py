"""Sending the queue from the command line: for queue drain, and after a good sync."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from appliance.cli.output import Result
from appliance.runs.app import App
from appliance.value import replaced

if TYPE_CHECKING:
    from appliance.errors import ApplianceError
    from appliance.fetch.http import HttpClient
    from appliance.jobs.queue.drain import DrainReport
    from appliance.jobs.queue.settings import QueueSettings
    from appliance.store.database import Store
    from appliance.store.mirror.logs import Backend


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
    from appliance.jobs.queue.drain import Drain, Pace
    from appliance.runs.sources import open_server

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


def drain_on_connect(app: App, result: Result) -> Result:
    """After a sync that reached a log, send what waits; the sync's own outcome stays.

    What fails here is a warning. Only a log that contradicts itself is more than that.
    """
    from appliance.errors import ApplianceError, DivergenceError
    from appliance.fetch.http import HttpClient
    from appliance.jobs.queue.settings import find_server, read_queue_settings
    from appliance.runs.settings import read_settings_of
    from appliance.store.queue.queue import held_count

    try:
        with app.reading() as store:
            settings = read_queue_settings(store)
            wanted = settings.enabled and settings.drain_on_connect
            backend = find_server(store, settings) if wanted and held_count(store) else None
            http_settings = read_settings_of(store).http
        if backend is None:
            return replaced(result, warnings=(*result.warnings, *nowhere_to_send(app)))
        with (
            app.draining() as store,
            HttpClient(http_settings, clock=app.monotonic, sleep=app.sleep) as http,
        ):
            report = run_drain(app, store, http, backend, settings)
        errors = list(report.errors)
        if report.newest_note is not None:
            with app.writing() as store:
                contradiction = compare_newest(store, backend, report, app.now())
            errors += [contradiction] if contradiction else []
    except ApplianceError as error:
        warning = f"the queue was not sent: {error.message}"
        return replaced(result, warnings=(*result.warnings, warning))
    serious = [one for one in errors if isinstance(one, DivergenceError)]
    said = [f"the queue: {one.message}" for one in errors if one not in serious]
    return Result(
        {**result.data, "queue": drain_data(report)},
        "\n".join(filter(None, (result.text, f"queue: {drain_line(report)}"))),
        (*result.warnings, *said),
        (*result.errors, *serious),
    )


def nowhere_to_send(app: App) -> tuple[str, ...]:
    """Say that items wait for a log and none is set to send them to; nothing if one is."""
    from appliance.jobs.queue.settings import read_queue_settings
    from appliance.store.home.settings import SITE_ROLE, site_fact
    from appliance.store.queue.queue import held_count

    with app.reading() as store:
        waiting = held_count(store)
        is_isolated = site_fact(store, SITE_ROLE) == "isolated"
        settings = read_queue_settings(store)
    if not waiting or is_isolated or not settings.enabled or settings.server_url is not None:
        return ()
    return (
        f"there is no log to send to what waits to be logged ({waiting:,} in the queue): attestor"
        " config set rekor.serverUrl URL, the base URL of a backend; then 'attestor queue drain',"
        " or the next sync, sends it",
    )


def compare_newest(
    store: Store, backend: Backend, report: DrainReport, now: int
) -> ApplianceError | None:
    """Compare the newest checkpoint the log answered with, with the tree that is mirrored here.

    A log that shows another tree to those who write than to those who read is caught here:
    the contradiction is returned, its evidence stored. Hold the home's lock.
    """
    from appliance.errors import ApplianceError
    from appliance.jobs.divergence.gossip import compare_note
    from appliance.store.mirror.mirror import Mirror

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
