"""log serve: the private logs over HTTP, until a signal ends it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import NoReturn

import click

from appliance.cli.members import members
from appliance.cli.output import common_options, envelope, error_line, is_quiet, say
from appliance.cli.private_log.hosting import (
    Counting,
    HostedLog,
    access_log,
    first_failure,
    open_logs,
    serves_all,
)
from appliance.cli.serving import bind_address, run_until_signal
from appliance.config.private_log_keys import ANYBODY, LOOPBACK
from appliance.errors import ApplianceError, RefusedError
from appliance.rekor.request import MAX_REQUEST_BYTES
from appliance.runs.metrics import home_metrics
from appliance.runs.session import Session, pass_session
from appliance.serve.access_log import Served
from appliance.serve.answers import NOT_FOUND, NOW, Answer, error_answer
from appliance.serve.channel import Refused
from appliance.serve.counts import RequestCounts
from appliance.serve.http_server import HttpServer
from appliance.serve.proxies import is_near, proxies_of
from appliance.serve.requests import Request
from appliance.serve.routes import Routes
from appliance.serve.sites import HEALTH_PATH, Site, Sites
from appliance.store.line_file import LineFile
from appliance.value import replaced

LOCK_WAIT_SECONDS = 10.0  # for another writer of this home, before clients are told to come back
METRICS_PATH = "/metrics"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@click.command("serve")
@click.option(
    "--bind",
    metavar="HOST:PORT",
    default="127.0.0.1:3000",
    show_default=True,
    help="Where to listen; port 0 takes a free one.",
)
@click.option("--log", "name", metavar="NAME", help="This log only, if there are several.")
@click.option(
    "--sign-digests",
    "digest_key",
    metavar="KEY",
    help="Log digests that come without a signature, signed by this key ('--type digests').",
)
@common_options
@pass_session
def serve(session: Session, bind: str, name: str | None, digest_key: str | None) -> NoReturn:
    """Serve the logs to Rekor v2 clients and to mirrors, until interrupted.

    Prints its address once it listens; port 0 takes a free one. Which logs, at which host or
    path, who may write to them and how much, is set in privateLog (docs/private-log.md); a
    home's only log needs no setting and is open to all. There is no TLS here: keep it on
    loopback, or behind a proxy that has it. Every 201 is durable and published before it is
    sent. SIGHUP opens the access log anew.

    With --sign-digests whoever may write can have a digest logged; so a log that is open to all
    stays on loopback then.

    \b
    Example:
        attestor log serve --bind 127.0.0.1:3000
    """

    session = replaced(session, lock_wait=max(session.lock_wait, LOCK_WAIT_SECONDS))
    host, port = bind_address(bind)

    def on_end() -> None:
        # One log that cannot go on leaves the others; the last one ends the process.
        if all(one.has_ended for one in logs):
            server.stop()

    configuration = session.configuration
    lines = access_log(configuration, lambda told: say(f"Error: {told}", err=True))
    opened = open_logs(session, name, digest_key, on_end, _complain)
    if digest_key is not None:
        _refuse_open_digests(host, [site for _, site in opened])
    logs, sites = [log for log, _ in opened], [site for _, site in opened]
    counts = RequestCounts()
    counting = Counting(session, counts)
    front = Sites(
        sites,
        _own_routes(session, logs, counting, configuration.text("privateLog.metrics")),
        proxies=proxies_of(
            configuration.texts("privateLog.trustedProxies"),
            configuration.optional_text("privateLog.clientCertificateHeader"),
        ),
        counts=counts,
        tell=_teller(lines),
    )
    server = HttpServer(
        *(front.answer, host, port, MAX_REQUEST_BYTES),
        on_refused=_refusals(front),
        quick_methods=("POST",),  # an entry is verified; who waits for it to be logged is no thread
    )
    with contextlib.ExitStack() as held:
        for log in logs:
            # Shared by all who serve it; nobody moves it meanwhile.
            held.enter_context(session.locked(log.lock_name, shared=True))
        for log in logs:
            log.batches.start()
        counting.start()

        def close() -> None:
            for log in logs:
                log.batches.close()
            counting.close()
            server.close()
            if lines is not None:
                lines.close()

        number = run_until_signal(
            session,
            "log serve",
            server,
            lambda: _announce(server.url, opened),
            close,
            # Without a file it is the end of a terminal, and ends us.
            {} if lines is None else {signal.SIGHUP: lines.reopen},
        )
    failure = first_failure(logs)
    if failure is not None:
        raise failure
    raise SystemExit(128 + number)


def _refuse_open_digests(host: str, sites: Sequence[Site]) -> None:
    """Raise RefusedError if anybody who reaches us from elsewhere could have a digest signed."""
    try:
        is_local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, and whoever answers for names decides where it leads
        is_local = False
    everybodys = next((site.log for site in sites if site.rule.is_open), None)
    if not is_local and everybodys is not None:
        raise RefusedError(
            f"--sign-digests at {host}: whoever reaches {everybodys} could have anything logged in"
            " its name",
            reason="open-digests",
            next_step="give it a tokensFile in privateLog.hosted, or listen on loopback (--bind"
            " 127.0.0.1:3000)",
        )


def _own_routes(
    session: Session, logs: Sequence[HostedLog], counting: Counting, metrics: str
) -> Routes:
    """Return what the process answers at the root, whatever logs it serves."""

    def health(_: Request) -> Answer:
        if serves_all(logs):
            return Answer(200, b'{"status":"SERVING"}\n', headers=NOW)
        return Answer(503, b'{"status":"NOT_SERVING"}\n', headers=NOW)

    def measured(request: Request) -> Answer:
        if metrics != ANYBODY and not (metrics == LOOPBACK and is_near(request)):
            return error_answer(NOT_FOUND, "Not Found")
        counting.write_down()
        return Answer(200, home_metrics(session.fresh()), METRICS_TYPE, NOW)

    routes = Routes()
    routes.add("GET", HEALTH_PATH, health)
    routes.add("GET", METRICS_PATH, measured)
    return routes


def _teller(lines: LineFile | None) -> Callable[[Served], None] | None:
    if lines is None:
        return None
    return lambda served: lines.write(served.line)


def _refusals(front: Sites) -> Callable[[Refused], None]:
    """Return what counts and tells the requests that the server itself refused."""

    def told(refused: Refused) -> None:
        nothing = Request(refused.method, refused.path, lambda _: "", lambda _: b"", refused.peer)
        request = replaced(nothing, client=refused.peer)
        front.tell(request, "", time.time(), refused.status, refused.size, 0)

    return told


def _announce(url: str, opened: Sequence[tuple[HostedLog, Site]]) -> None:
    """Print the one line that scripts wait for; a line a log, if there are several."""
    if click.get_current_context().params["as_json"]:
        logs = [
            members(
                log=log.private.name,
                origin=log.private.log.origin,
                url=url + site.path,
                host=site.host,
            )
            for log, site in opened
        ]
        only = members(log=logs[0]["log"], origin=logs[0]["origin"]) if len(logs) == 1 else {}
        say(envelope("log serve", code=0, data=only | members(url=url, logs=logs)))
    elif not is_quiet():
        for log, site in opened:
            under = f" under the name {site.host}" if site.host else ""
            say(f"{log.private.name}: serving {log.private.log.origin} at {url}{site.path}{under}")


def _complain(name: str, error: Exception) -> None:
    """Say what is wrong with a log; of a home's only one, without its name."""
    if isinstance(error, ApplianceError):
        say(f"Error: {f'{name}: ' if name else ''}{error_line(error)}", err=True)
