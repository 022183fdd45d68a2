"""log serve: the private log over HTTP, until a signal ends it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import NoReturn

import click

from appliance.cli.members import members
from appliance.cli.output import common_options, envelope, error_line, is_quiet, say, warn
from appliance.errors import ApplianceError, MovedError, RefusedError, RemoteError
from appliance.jobs.private_log.digest_key import require_digest_key
from appliance.jobs.private_log.sequence import FROZEN, Sequenced, recover, sequence
from appliance.rekor.request import MAX_REQUEST_BYTES
from appliance.runs.private_log import LogWitnesses, ready_to_sign
from appliance.runs.session import Session, pass_session
from appliance.serve.application import Application
from appliance.serve.batches import Batches
from appliance.serve.http_server import HttpServer
from appliance.serve.private_log import PrivateLogService
from appliance.store.failures import is_passing
from appliance.store.home.key_files import load_signing_key
from appliance.store.lock import SERVE_LOCK_NAME
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import require_private_log
from appliance.value import replaced

LOCK_WAIT_SECONDS = 10.0  # for another writer of this home, before clients are told to come back


@click.command("serve")
@click.option(
    "--bind",
    metavar="HOST:PORT",
    default="127.0.0.1:3000",
    show_default=True,
    help="Where to listen; port 0 takes a free one.",
)
@click.option("--log", "name", metavar="NAME", help="Which log, if there are several.")
@click.option(
    "--sign-digests",
    "digest_key",
    metavar="KEY",
    help="Log digests that come without a signature, signed by this key ('--type digests').",
)
@common_options
@pass_session
def serve(session: Session, bind: str, name: str | None, digest_key: str | None) -> NoReturn:
    """Serve the log to Rekor v2 clients and to mirrors, until interrupted.

    Prints its address once it listens; port 0 takes a free one. There is no TLS and no
    access control here: keep it on loopback, or behind a proxy that has both. Every 201
    is durable and published before it is sent.

    With --sign-digests anybody who reaches it can have a digest logged; so it stays on loopback.

    \b
    Example:
        attestor log serve --bind 127.0.0.1:3000
    """

    session = replaced(session, lock_wait=max(session.lock_wait, LOCK_WAIT_SECONDS))
    host, port = _address(bind)
    if digest_key is not None:
        _require_loopback(host)
    with session.writing() as store:
        private = require_private_log(store, name)
        signs_digests = require_digest_key(store, digest_key) if digest_key else None
        key = load_signing_key(store.home, private.log.origin)
        witnesses = LogWitnesses(session, private, warn)
        try:
            ready_to_sign(session, store, private)
        except MovedError as error:
            _complain(error)  # it is read here all the same
        else:
            try:
                recover(store, private, key, session.now(), witnesses.cosign_in(store))
            except RemoteError as error:
                _complain(error)  # what waits for its witnesses is tried again; reads are answered

    def log_batch(bodies: Sequence[bytes]) -> Sequenced:
        # The lock is taken for a batch, not for good: other commands have their turn.
        own = session.fresh()
        with own.writing() as store:
            ready_to_sign(own, store, private)  # a runtime directory may go while we run
            cosign = witnesses.cosign_in(store)
            return sequence(store, private, key, bodies, session.now(), cosign)

    @contextlib.contextmanager
    def reading() -> Iterator[Mirror]:
        with session.fresh().reading() as store:
            yield Mirror(store, private.log)

    def on_failure(error: Exception) -> bool:
        is_frozen = isinstance(error, RefusedError) and error.reason == FROZEN
        if is_frozen or isinstance(error, MovedError):
            return True  # it is still read
        passing = is_passing(error) or isinstance(error, RemoteError)
        _complain(error)
        if not passing:
            server.stop()
        return passing

    batches = Batches(log_batch, on_failure=on_failure)
    service = PrivateLogService(batches, reading, signs_digests)
    server = HttpServer(Application(service.routes.answer), host, port, MAX_REQUEST_BYTES)
    # Shared by all who serve it; nobody moves it meanwhile.
    with session.locked(SERVE_LOCK_NAME.format(private.name), shared=True):
        batches.start()
        try:
            number = _run(server, private.name, private.log.origin)
        finally:
            batches.close()
            server.close()
    if batches.failure is not None:
        raise batches.failure
    raise SystemExit(128 + number)


def _require_loopback(host: str) -> None:
    """Raise RefusedError unless only this machine can reach an address."""
    try:
        is_local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, and whoever answers for names decides where it leads
        is_local = False
    if not is_local:
        raise RefusedError(
            f"--sign-digests at {host}: whoever reaches this log could have anything logged in its"
            " name",
            reason="open-digests",
            next_step="listen on loopback (--bind 127.0.0.1:3000), behind a proxy that asks for a"
            " token",
        )


def _run(server: HttpServer, name: str, origin: str) -> int:
    """Serve until a signal or a failure; return the signal's number."""
    received = [signal.SIGTERM]

    def on_signal(number: int, frame: object) -> None:
        received[0] = signal.Signals(number)
        server.stop()

    before = {one: signal.signal(one, on_signal) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        _announce(server.url, name, origin)
        server.run()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    return received[0]


def _announce(url: str, name: str, origin: str) -> None:
    """Print the one line that scripts wait for."""
    if click.get_current_context().params["as_json"]:
        data = members(log=name, origin=origin, url=url)
        say(envelope("log serve", code=0, data=data))
    elif not is_quiet():
        say(f"{name}: serving {origin} at {url}")


def _complain(error: Exception) -> None:

    if isinstance(error, ApplianceError):
        say(f"Error: {error_line(error)}", err=True)


def _address(bind: str) -> tuple[str, int]:
    host, _, port = bind.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"expected HOST:PORT, got {bind!r}", param_hint="--bind")
    return host.removeprefix("[").removesuffix("]"), int(port)
