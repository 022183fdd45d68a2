"""From configured sinks to what sends to them, and the delivery at the end of a run.

Commands that must work without a network (import, verify) deliver to programs and files only;
for the rest their site runs `alerts send`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.config.configuration import Sink, hiding_url, shown_sink
from appliance.errors import ApplianceError, RemoteError, StoreError
from appliance.fetch.http import HttpClient
from appliance.jobs.divergence.alarm import read_alerting
from appliance.jobs.divergence.deliver import Clocks, Send, Sender, Sent, deliver, run_hook
from appliance.jobs.divergence.judge import apply_site, judge_site
from appliance.policy.alarms import Severity, home_alarm, payload
from appliance.policy.health import DAY, Problem, ProblemKind
from appliance.policy.watch import CLAIM_SECONDS
from appliance.runs.session import Session
from appliance.store.divergence.alerts import ID_DIGITS
from appliance.store.divergence.outbox import Delivery, has_due, undelivered
from appliance.store.files import append_line
from appliance.store.filesystem import access_of
from appliance.store.find.watches import has_untold
from appliance.store.home.key_files import MAX_SECRET_BYTES
from appliance.store.home.settings import SITE_NAME, site_fact
from appliance.store.secret_files import read_secret
from appliance.value import frozen, replaced

LOCK_SECONDS: Final = 10.0  # for another run to get out of the way of the outbox


def deliver_due(
    session: Session, *, local_only: bool = False, errors: Sequence[ApplianceError] = ()
) -> Iterator[str]:
    """Judge this site, deliver what is due; yield a warning for each sink that did not take it.

    For the end of a run that may have raised alerts, or ended with `errors`: it changes no
    exit code, and a sink delays it by no more than its own timeout.
    """

    yield from _tell_of_entries(session)
    yield from tell_of_site(session, local_only=local_only, errors=errors)
    try:
        with session.reading() as store:
            if not has_due(store, session.now()):
                return
    except ApplianceError:
        return  # there is no store, or it is broken: the command itself has said so
    try:
        for sent in deliver_alerts(session, early=False, local_only=local_only):
            if sent.error is not None:
                yield f"an alert waits for {shown_sink(sent.delivery.sink)}: {sent.error}"
    except ApplianceError as error:
        yield f"alerts wait to be delivered: {error.message}"


@frozen
class SendRun:
    """What came of sending alerts."""

    arrived: tuple[Delivery, ...]
    waiting: tuple[Delivery, ...]  # still
    warnings: tuple[str, ...]
    errors: tuple[ApplianceError, ...]


def send_alerts(session: Session, *, early: bool, dry_run: bool) -> SendRun:
    """Judge this site and deliver what is due, or all that waits; or only say what waits."""
    said = () if dry_run else (*_tell_of_entries(session), *tell_of_site(session))
    sent = () if dry_run else deliver_alerts(session, early=early)
    with session.reading() as store:
        waiting = undelivered(store)
    known = {sink.name for sink in session.configuration.sinks}
    orphans = sorted({one.sink for one in waiting} - known)
    return SendRun(
        tuple(one.delivery for one in sent if one.error is None),
        waiting,
        (*said, *map(_nobody_takes, orphans)),
        tuple(_not_delivered(one) for one in sent if one.error is not None),
    )


def _nobody_takes(sink: str) -> str:
    return (
        f"alerts wait for {shown_sink(sink)}, which is no longer configured: add it again, or"
        " read them with 'attestor alerts list' and acknowledge them: attestor alerts ack ID"
    )


def _not_delivered(one: Sent) -> RemoteError:
    return RemoteError(
        f"{shown_sink(one.delivery.sink)} did not take alert {one.delivery.alert_number}:"
        f" {one.error}",
        reason="not-delivered",
        next_step="it is tried again by itself; to try at once: attestor alerts send --all",
    )


def _tell_of_entries(session: Session) -> Iterator[str]:
    """Tell what time alone decides of entries, however quiet the logs are: a grace that is over."""
    now = session.now()
    try:
        with session.reading() as store:
            if not has_untold(store, now, CLAIM_SECONDS):
                return
        from appliance.jobs.find.watching import tell

        with session.writing_unlocked() as store:
            said = tell(store, now)
        yield from said
    except ApplianceError:
        return  # there is no store, or it is broken: the command itself has said so


def tell_of_site(
    session: Session, *, local_only: bool = False, errors: Sequence[ApplianceError] = ()
) -> Iterator[str]:
    """Raise the alerts about this site itself, and end those that are over.

    Where the store takes no alert (the disk is full, a file is somebody else's), sinks are
    told at once, and again at each run until the store can be written.
    """
    now = session.now()
    try:
        with session.reading() as store:
            changes = judge_site(store, now, session.clock.behind)
    except ApplianceError:
        return  # there is no store, or it is broken: the command itself has said so
    broken = [one for one in errors if isinstance(one, StoreError)]
    try:
        if changes.begun or changes.over:
            with session.writing_unlocked() as store:
                said = apply_site(store, changes, now)
            yield from said
    except ApplianceError as error:
        broken.append(error if isinstance(error, StoreError) else StoreError(error.message))
    if broken:
        problems = [one for one in changes.begun if one.is_critical]
        problems.append(
            Problem(ProblemKind.STORE, True, broken[0].message, broken[0].next_step or "see doctor")
        )
        yield from _tell_directly(session, problems, now, local_only=local_only)


def _tell_directly(
    session: Session, problems: Sequence[Problem], now: int, *, local_only: bool
) -> Iterator[str]:
    """Hand problems to every sink without the store; yield a warning for each that failed."""
    access = access_of(session.home)
    if access is None or not access.is_ours:
        return  # whose home it is decides which programs run
    try:
        with session.reading() as store:
            alerting = read_alerting(store)
            site = site_fact(store, SITE_NAME) or "attestor"
    except ApplianceError:
        return
    if not alerting.enabled or Severity.CRITICAL not in alerting.delivered:
        return
    with contextlib.ExitStack() as stack:
        http = None if local_only else stack.enter_context(session.http())
        for problem in problems:
            alarm = home_alarm(problem)
            name = f"{site}\n{alarm.condition}\n{now // DAY}"
            alert_id = sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:ID_DIGITS]
            said = {"id": alert_id, **payload(alarm, now, alerting.tenant, alerting.stream)}
            text, severity = json.dumps(said, ensure_ascii=False), alarm.severity.value
            for sink in session.configuration.sinks:
                send = _local(sink, site)
                if send is None and http is not None:
                    send = _remote(session, sink, site, http)
                if send is None:
                    continue
                try:
                    send(
                        Delivery(
                            0, alert_id, alarm.event_type, severity, text, sink.name, 0, now, None
                        )
                    )
                except ApplianceError as error:
                    yield f"{shown_sink(sink.name)} was not told: {error.message}"


def deliver_alerts(session: Session, *, early: bool, local_only: bool = False) -> tuple[Sent, ...]:
    """Deliver what is due, or with `early` all that waits; raises what jobs.deliver raises."""

    configuration = session.configuration
    with session.reading() as store:
        site = site_fact(store, SITE_NAME) or "attestor"
    examined = replaced(session, lock_wait=max(session.lock_wait, LOCK_SECONDS))
    clocks = Clocks(session.now, session.monotonic, session.chance)
    with contextlib.ExitStack() as stack:
        http = None if local_only else stack.enter_context(session.http())
        senders = {}
        for sink in configuration.sinks:
            send = _local(sink, site)
            if send is None and http is not None:
                send = _remote(session, sink, site, http)
            if send is not None:
                senders[sink.name] = Sender(send, sink.timeout_seconds)
        return deliver(examined.writing, senders, clocks, early=early)


def _local(sink: Sink, site: str) -> Send | None:
    """Return what hands an alert to a program or a file; None for other sinks."""

    def command(one: Delivery) -> None:

        environment = {
            "ATTESTOR_ALERT_ID": one.alert_id,
            "ATTESTOR_EVENT_TYPE": one.event_type,
            "ATTESTOR_SEVERITY": one.severity,
            "ATTESTOR_SITE": site,
            **_about_entries(one.payload),
        }
        seconds = sink.timeout_seconds
        run_hook(sink.argv, one.payload.encode(), environment=environment, seconds=seconds)

    def file(one: Delivery) -> None:

        append_line(Path(sink.path or ""), one.payload.encode())

    return {"command": command, "file": file}.get(sink.type)


def _about_entries(payload: str) -> dict[str, str]:
    """Return what a program is told of the first entry that an alert is about."""
    said = json.loads(payload)
    if not said.get("entries"):
        return {}
    first = said["entries"][0]
    told = {
        "ATTESTOR_WATCH": said.get("watch"),
        "ATTESTOR_ORIGIN": said.get("origin") or first.get("origin"),
        "ATTESTOR_INDEX": first.get("index"),
        "ATTESTOR_DIGEST": first.get("digest"),
        "ATTESTOR_IDENTITY": first.get("identity"),
    }
    # A name in a certificate can hold anything; an environment holds no NUL.
    return {name: str(one).replace("\0", "") for name, one in told.items() if one is not None}


def _remote(session: Session, sink: Sink, site: str, http: HttpClient) -> Send | None:
    """Return what sends an alert to another host or to the system's log."""
    seconds = sink.timeout_seconds

    # Imported by who has such a sink: most runs deliver nothing.
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
            now=session.now(),
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
            now=session.now(),
            seconds=seconds,
            tls=http.settings.tls,
        )

    send = {"webhook": webhook, "syslog": syslog, "smtp": smtp}.get(sink.type)
    return None if send is None else _without_its_secrets(send, sink)


def _without_its_secrets(send: Send, sink: Sink) -> Send:
    """Let no failure repeat the URL of a sink: its path and user are as good as a password."""

    def careful(one: Delivery) -> None:
        try:
            send(one)
        except ApplianceError as error:
            error.message = hiding_url(error.message, sink.url)
            error.next_step = hiding_url(error.next_step, sink.url)
            raise

    return careful


def _secret(sink: Sink) -> bytes | None:
    """Read the secret of a sink, without a line end; raises ConfigError if others could."""
    if sink.secret_file is None:
        return None

    return read_secret(Path(sink.secret_file), MAX_SECRET_BYTES).rstrip(b"\r\n")
