"""witness serve: cosign for logs that ask over HTTP, until a signal ends it."""

from __future__ import annotations

from typing import NoReturn

import click

from appliance.cli.members import members
from appliance.cli.output import common_options, error_line, say
from appliance.cli.serving import announce, bind_address, run_until_signal
from appliance.errors import ApplianceError, RestoredError, StoreError
from appliance.runs.session import Session, pass_session
from appliance.runs.witness import RequestTally, Witness
from appliance.serve.http_server import HttpServer
from appliance.serve.witness import WitnessService
from appliance.tlog.witness_request import MAX_REQUEST_BYTES
from appliance.value import replaced

COMMAND = "witness serve"
LOCK_WAIT_SECONDS = 10.0  # for another process that cosigns by this key


@click.command("serve")
@click.option(
    "--bind",
    metavar="HOST:PORT",
    default="127.0.0.1:3001",
    show_default=True,
    help="Where to listen; port 0 takes a free one.",
)
@click.option("--key", "name", metavar="NAME", help="Which witness key, if there are several.")
@common_options
@pass_session
def witness_serve(session: Session, bind: str, name: str | None) -> NoReturn:
    """Answer logs that ask for a cosignature (c2sp.org/tlog-witness), until interrupted.

    Which logs: those pinned here, or of them those that witness.logs names; never a log of
    this home. What was cosigned is durable before it is answered, and nothing is cosigned
    that does not go on from it. There is no TLS here: keep it on loopback, or behind a proxy.

    \b
    Example:
        attestor key generate witness.example --type witness
        attestor witness serve --bind 127.0.0.1:3001
    """
    host, port = bind_address(bind)
    session = replaced(session, lock_wait=max(session.lock_wait, LOCK_WAIT_SECONDS))
    witness, tally = Witness(session, name), RequestTally(session)

    def tell(status: str, error: ApplianceError | None) -> None:
        tally.add(status)
        if isinstance(error, StoreError | RestoredError):
            say(f"Error: {error_line(error)}", err=True)

    service = WitnessService(witness.cosign, witness.cosigned, tell)
    server = HttpServer(service.routes.answer, host, port, MAX_REQUEST_BYTES)
    vkey = witness.verifier.vkey
    data = members(witness=witness.key.name, vkey=vkey, url=server.url, logs=witness.logs)
    text = f"{witness.key.name}: cosigning for {len(witness.logs)} logs at {server.url}"

    def close() -> None:
        server.close()
        tally.write_down()

    number = run_until_signal(
        session, COMMAND, server, lambda: announce(COMMAND, data, text), close
    )
    raise SystemExit(128 + number)
