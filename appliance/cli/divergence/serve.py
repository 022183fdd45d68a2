"""serve: the logs of this home, read only, for other machines, until a signal ends it."""

from __future__ import annotations

from typing import NoReturn

import click

from appliance.cli.members import members
from appliance.cli.output import common_options
from appliance.cli.serving import announce, bind_address, run_until_signal
from appliance.runs.metrics import home_metrics
from appliance.runs.session import Session, pass_session
from appliance.serve.http_server import HttpServer
from appliance.serve.mirrors import MirrorsService
from appliance.store.mirror.logs import all_backends

MAX_BODY_BYTES = 1024  # nobody has anything to send


@click.command("serve")
@click.option(
    "--bind",
    metavar="HOST:PORT",
    default="127.0.0.1:3002",
    show_default=True,
    help="Where to listen; port 0 takes a free one.",
)
@common_options
@pass_session
def serve(session: Session, bind: str) -> NoReturn:
    """Serve the logs of this home to machines that reach no other, until interrupted.

    Each below its backend's ID, as c2sp.org/tlog-tiles and Rekor v2 have them: what mirrors,
    monitors and another attestor ask for. Nothing is written, and what a sync or an import
    brings is there at once. A log in quarantine is not served. There is no TLS here: keep it
    on loopback, or behind a proxy that has it.

    \b
    Example:
        attestor serve --bind 127.0.0.1:3002
        attestor backend add public --origin O --public-key FILE --url http://127.0.0.1:3002/public
    """
    host, port = bind_address(bind)
    with session.reading() as store:  # that there is a store is said before anybody asks
        logs = [
            members(id=backend.name, origin=backend.log.origin) for backend in all_backends(store)
        ]
    service = MirrorsService(
        lambda: session.fresh().reading(), lambda: home_metrics(session.fresh())
    )
    server = HttpServer(service.routes.answer, host, port, MAX_BODY_BYTES)
    data = members(url=server.url, logs=logs)
    text = f"serving {len(logs)} logs at {server.url}"
    number = run_until_signal(
        session, "serve", server, lambda: announce("serve", data, text), server.close
    )
    raise SystemExit(128 + number)
