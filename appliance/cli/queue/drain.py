"""queue drain, queue forecast: sending what waits, and when that will be through."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.output import Result, common_options, utc
from appliance.runs.app import App, pass_app


@click.command("drain")
@click.option("--limit", type=click.IntRange(1), help="At most so many submissions.")
@click.option("--wait", "until_empty", is_flag=True, help="Go on until nothing waits any more.")
@common_options
@pass_app
def queue_drain(app: App, limit: int | None, until_empty: bool) -> Result:
    """Send what is due, within the budget; each is done only once its proof verified here.

    Made for cron: it can be killed at any time and run again, and a second one beside it
    answers 75. Nothing is wrong if items remain for which there is no slot yet.

    \b
    Example:
        attestor queue drain
        attestor queue drain --wait --json
    """
    from appliance.cli.queue.aggregate import aggregate_if_enabled
    from appliance.errors import ConfigError, LockedError
    from appliance.fetch.http import HttpClient
    from appliance.jobs.queue.quota import forecast
    from appliance.jobs.queue.settings import find_server, read_queue_settings
    from appliance.runs.drain import compare_newest, drain_data, drain_line, run_drain
    from appliance.runs.settings import read_settings_of
    from appliance.store.queue.queue import other_version_count

    run_seconds = {"run_seconds": float("inf")} if until_empty else {}
    with app.draining() as store:
        settings = read_queue_settings(store)
        backend = find_server(store, settings)
        if not settings.enabled:
            return Result({"enabled": False}, "rekor.enabled is false: nothing is sent")
        if backend is None:
            raise ConfigError(
                "there is no log to send to: rekor.serverUrl is not set",
                reason="no-server",
                next_step="attestor config set rekor.serverUrl URL, the base URL of a backend;"
                " on an isolated site: attestor export --output FILE takes along what waits",
            )
        http_settings = read_settings_of(store).http
        with HttpClient(http_settings, clock=app.monotonic, sleep=app.sleep, **run_seconds) as http:
            report = run_drain(
                app, store, http, backend, settings, limit=limit, until_empty=until_empty
            )
        left = forecast(store, settings.limits, app.moment())
        others = other_version_count(store, backend.log.api_version)
    errors = list(report.errors)
    if report.newest_note is not None:
        try:
            with app.writing() as store:
                contradiction = compare_newest(store, backend, report, app.now())
        except LockedError:
            contradiction = None  # the next answer is compared, and it is a newer one
        errors += [contradiction] if contradiction else []
    waiting = sum(one.waiting for one in left)
    slots = [one.first_slot for one in left if one.first_slot is not None]
    data = {
        "server": backend.base_url,
        "origin": backend.log.origin,
        **drain_data(report),
        "waiting": waiting,
        "nextSlotAt": utc(min(slots)) if slots else None,
    }
    warnings = []
    if others:
        warnings.append(
            f"{others} items are for another API version of Rekor than v{backend.log.api_version};"
            " they wait: cancel them and queue them again for this log"
        )
    text = drain_line(report)
    if waiting:
        text += f"; {waiting} wait, see 'attestor queue forecast'"
    aggregated, said = aggregate_if_enabled(app)
    text = "; ".join(filter(None, (text, aggregated)))
    return Result(data, text, (*warnings, *said), tuple(errors))


@click.command("forecast")
@common_options
@pass_app
def queue_forecast(app: App) -> Result:
    """Say when the budget lets the last of what waits now go, for each tenant.

    It supposes that the log answers and that somebody drains: the budget alone decides.

    \b
    Example:
        attestor queue forecast
    """
    from appliance.jobs.queue.quota import forecast
    from appliance.jobs.queue.settings import read_queue_settings

    with app.reading() as store:
        found = forecast(store, read_queue_settings(store).limits, app.moment())
    data: list[dict[str, Any]] = []
    lines = []
    for one in found:
        first = None if one.first_slot is None else utc(one.first_slot)
        last = None if one.last_slot is None else utc(one.last_slot)
        data.append(
            {
                "tenant": one.tenant,
                "tier": one.tier,
                "waiting": one.waiting,
                "firstSlotAt": first,
                "lastSlotAt": last,
            }
        )
        when = f"the first at {first}, the last at {last}" if first else "never: a limit is 0"
        lines.append(f"{one.tenant:<24} {one.tier:<5} {one.waiting:>6} waiting, {when}")
    empty_at = None
    if all(one.last_slot is not None for one in found):
        empty_at = max((one.last_slot or 0 for one in found), default=app.now())
    result = {"queues": data, "emptyAt": None if empty_at is None else utc(empty_at)}
    if found and empty_at is not None:
        lines.append(f"empty at {utc(empty_at)}, in {max(0, empty_at - app.now())} s")
    return Result(result, "\n".join(lines) or "nothing waits")
