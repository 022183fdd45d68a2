"""From configured sinks to what sends to them, and the delivery at the end of a run.

Commands that must work without a network (import, verify) deliver to programs and files only;
for the rest their site runs `alerts send`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from appliance.cli.output import Result, as_ours
from appliance.runs.app import App
from appliance.runs.exit_codes import EXIT_CODES
from appliance.value import replaced

if TYPE_CHECKING:
    from appliance.config.configuration import Configuration, Sink
    from appliance.fetch.http import HttpClient
    from appliance.jobs.divergence.deliver import Send, Sent
    from appliance.store.divergence.outbox import Delivery

LOCK_SECONDS: Final = 10.0  # for another run to get out of the way of the outbox


def delivers_alerts(*, local_only: bool = False) -> Callable[..., Any]:
    """Deliver what is due when a command ends, however it ends; what waits is a warning.

    Apply it directly above pass_app, below common_options.
    """

    def decorate(command: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(command)
        def run(*args: Any, **kwargs: Any) -> Result:
            try:
                result = command(*args, **kwargs)
            except tuple(EXIT_CODES) as error:  # anything else is a bug: let it show
                result = Result({}, errors=(as_ours(error),))
            app = click.get_current_context().find_object(App)
            warnings = tuple(deliver_due(app, local_only=local_only)) if app else ()
            return replaced(result, warnings=(*result.warnings, *warnings))

        return run

    return decorate


def deliver_due(app: App, *, local_only: bool = False) -> Iterator[str]:
    """Deliver what is due; yield a warning for each sink that did not take it.

    For the end of a run that may have raised alerts: it changes no exit code, and a sink
    delays it by no more than its own timeout.
    """
    from appliance.errors import ApplianceError
    from appliance.store.divergence.outbox import has_due

    try:
        with app.reading() as store:
            if not has_due(store, app.now()):
                return
    except ApplianceError:
        return  # there is no store, or it is broken: the command itself has said so
    try:
        for one in deliver_alerts(app, early=False, local_only=local_only):
            if one.error is not None:
                yield f"an alert waits for {one.delivery.sink}: {one.error}"
    except ApplianceError as error:
        yield f"alerts wait to be delivered: {error.message}"


def deliver_alerts(app: App, *, early: bool, local_only: bool = False) -> tuple[Sent, ...]:
    """Deliver what is due, or with `early` all that waits; raises what jobs.deliver raises."""
    from appliance.jobs.divergence.deliver import Clocks, Sender, deliver
    from appliance.jobs.home.configure import read_configuration
    from appliance.store.home.settings import SITE_NAME, site_fact

    with app.reading() as store:
        configuration = read_configuration(store)
        site = site_fact(store, SITE_NAME) or "attestor"
    patient = replaced(app, lock_wait=max(app.lock_wait, LOCK_SECONDS))
    clocks = Clocks(app.now, app.monotonic, lambda: app.random_bytes(1)[0] / 255)
    with contextlib.ExitStack() as stack:
        http = None if local_only else stack.enter_context(_http(app, configuration))
        senders = {}
        for sink in configuration.sinks:
            send = _local(sink, site)
            if send is None and http is not None:
                send = _remote(app, sink, site, http)
            if send is not None:
                senders[sink.name] = Sender(send, float(sink.timeout_seconds))
        return deliver(patient.writing, senders, clocks, early=early)


def _http(app: App, configuration: Configuration) -> HttpClient:
    from appliance.fetch.http import HttpClient
    from appliance.runs.settings import Settings

    settings = Settings(configuration.stored)
    return HttpClient(settings.http, clock=app.monotonic, sleep=app.sleep)


def _local(sink: Sink, site: str) -> Send | None:
    """Return what hands an alert to a program or a file; None for other sinks."""

    def command(one: Delivery) -> None:
        from appliance.jobs.divergence.deliver import run_hook

        environment = {
            "ATTESTOR_ALERT_ID": one.alert_id,
            "ATTESTOR_EVENT_TYPE": one.event_type,
            "ATTESTOR_SEVERITY": one.severity,
            "ATTESTOR_SITE": site,
        }
        seconds = float(sink.timeout_seconds)
        run_hook(sink.argv, one.payload.encode(), environment=environment, seconds=seconds)

    def file(one: Delivery) -> None:
        from appliance.store.files import append_line

        append_line(Path(sink.path or ""), one.payload.encode())

    return {"command": command, "file": file}.get(sink.type)


def _remote(app: App, sink: Sink, site: str, http: HttpClient) -> Send | None:
    """Return what sends an alert to another host or to the system's log."""
    seconds = float(sink.timeout_seconds)

    def webhook(one: Delivery) -> None:
        from appliance.fetch.webhook import post_webhook

        post_webhook(
            http,
            sink.url or "",
            one.payload.encode(),
            idempotency_id=one.alert_id,
            event_type=one.event_type,
            secret=_secret(sink),
            seconds=seconds,
        )

    def syslog(one: Delivery) -> None:
        from appliance.fetch.syslog import send_syslog

        send_syslog(
            sink.address or "",
            one.payload,
            severity=one.severity,
            event_type=one.event_type,
            site=site,
            now=app.now(),
            seconds=seconds,
        )

    def smtp(one: Delivery) -> None:
        from appliance.fetch.mail import send_mail

        send_mail(
            sink.url,
            sink.address or "",
            one.payload,
            sender=f"attestor@{site}",
            message_id=f"{one.alert_id}@{site}",
            password=_secret(sink),
            now=app.now(),
            seconds=seconds,
        )

    return {"webhook": webhook, "syslog": syslog, "smtp": smtp}.get(sink.type)


def _secret(sink: Sink) -> bytes | None:
    """Read the secret of a sink, without a line end; raises ConfigError if others could."""
    if sink.secret_file is None:
        return None
    from appliance.jobs.home.doctor import MAX_SECRET_BYTES
    from appliance.store.home.key_files import read_secret

    return read_secret(Path(sink.secret_file), MAX_SECRET_BYTES).rstrip(b"\r\n")
