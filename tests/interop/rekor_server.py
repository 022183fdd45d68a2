"""The real rekor-server on loopback, with its storage directory served beside it (WIRE.md 5.8).

The server itself takes entries and serves no reads: what a mirror reads are the files it
writes, over a plain static file server.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

ORIGIN = "rekor-local"
CHECKPOINT_INTERVAL = "1s"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
ATTEMPTS = 3  # a port that was free may be taken by the time the server wants it


@dataclass(frozen=True, slots=True)
class RekorServer:
    """One running server and what its users are told about it."""

    origin: str
    url: str  # write API
    read_url: str  # tlog-tiles prefix
    public_key: Path  # PEM
    spki: bytes  # the same, DER
    storage: Path


def peer(name: str) -> Path:
    """Return a program built by scripts/peers; skips the running test where there is none."""
    directory = os.environ.get("ATTESTOR_PEERS")
    if not directory:
        pytest.skip(f"{name} is not here: it needs Go, and ATTESTOR_PEERS set by scripts/interop")
    return Path(directory) / name


@contextmanager
def rekor_server(directory: Path) -> Iterator[RekorServer]:
    """Run a new log in `directory` until the block ends."""
    program = peer("rekor-server-posix")
    storage = directory / "storage"
    storage.mkdir(parents=True)
    private_key = Ed25519PrivateKey.generate()
    key_file = directory / "log.key.pem"
    key_file.write_bytes(
        private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    key_file.chmod(0o600)
    public_key = directory / "log.pub.pem"
    public_key.write_bytes(
        private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    spki = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    arguments = [
        *(str(program), "serve", f"--hostname={ORIGIN}", f"--storage-dir={storage}"),
        *(f"--signer-filepath={key_file}", f"--checkpoint-interval={CHECKPOINT_INTERVAL}"),
        *("--http-address=127.0.0.1", "--grpc-address=127.0.0.1"),
    ]
    with ExitStack() as stack:
        url = stack.enter_context(_running(arguments, directory / "server.log"))
        read_url = stack.enter_context(static_file_server(storage))
        yield RekorServer(ORIGIN, url, read_url, public_key, spki, storage)


@contextmanager
def static_file_server(directory: Path) -> Iterator[str]:
    """Serve the files below `directory` on a free loopback port; yields the URL."""
    handler = partial(_QuietHandler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="static file server")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _QuietHandler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds an idle connection is kept

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the test's own output is what matters."""


@contextmanager
def _running(arguments: list[str], log_file: Path) -> Iterator[str]:
    """Start the server on free ports; yields the URL of its HTTP API."""
    for attempt in range(1, ATTEMPTS + 1):
        http_port, grpc_port, metrics_port = _free_ports(3)
        ports = [
            f"--http-port={http_port}",
            f"--grpc-port={grpc_port}",
            f"--http-metrics-port={metrics_port}",
        ]
        with log_file.open("wb") as log:
            process = subprocess.Popen([*arguments, *ports], stdout=log, stderr=log)
        try:
            if _answers(process, http_port):
                yield f"http://127.0.0.1:{http_port}"
                return
        finally:
            _stop(process)
        said = log_file.read_text(errors="replace")[-2000:]
        if attempt == ATTEMPTS or "address already in use" not in said:
            raise AssertionError(f"the Rekor server did not start; it said:\n{said}")


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server is healthy; False if it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        connection = HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return True
        except (OSError, HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    """Find distinct free ports, by holding them all at once."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
