"""The real rekor-server on loopback, with its storage directory served beside it.

The server itself takes entries and serves no reads: what a mirror reads are the files it
writes, over a plain static file server.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tests.interop.service import service

ORIGIN = "rekor-local"
CHECKPOINT_INTERVAL = "1s"


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
def rekor_server(
    directory: Path,
    private_key: Ed25519PrivateKey | None = None,
    checkpoint_interval: str = CHECKPOINT_INTERVAL,
    options: Sequence[str] = (),
) -> Iterator[RekorServer]:
    """Run a new log in `directory`, with a new key unless one is given, until the block ends."""
    storage = directory / "storage"
    storage.mkdir(parents=True)
    private_key = private_key or Ed25519PrivateKey.generate()
    key_file = directory / "log.key.pem"
    key_file.write_bytes(
        private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    key_file.chmod(0o600)
    with server_on(storage, key_file, ORIGIN, directory, checkpoint_interval, options) as server:
        yield server


@contextmanager
def server_on(
    storage: Path,
    key_file: Path,
    origin: str,
    directory: Path,
    checkpoint_interval: str = CHECKPOINT_INTERVAL,
    options: Sequence[str] = (),
) -> Iterator[RekorServer]:
    """Run the server on a storage that may hold a log, until the block ends."""
    program = peer("rekor-server-posix")
    private_key = load_pem_private_key(key_file.read_bytes(), None)
    public_key = directory / "log.pub.pem"
    public_key.write_bytes(
        private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    spki = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def command(ports: Sequence[int]) -> list[str | Path]:
        return [
            *(program, "serve", f"--hostname={origin}", f"--storage-dir={storage}"),
            *(f"--signer-filepath={key_file}", f"--checkpoint-interval={checkpoint_interval}"),
            *("--http-address=127.0.0.1", "--grpc-address=127.0.0.1", f"--http-port={ports[0]}"),
            *(f"--grpc-port={ports[1]}", f"--http-metrics-port={ports[2]}", *options),
        ]

    with (
        service(command, 3, directory / "server.log") as url,
        static_file_server(storage) as read_url,
    ):
        yield RekorServer(origin, url, read_url, public_key, spki, storage)


@contextmanager
def static_file_server(directory: Path) -> Iterator[str]:
    """Serve the files below `directory` on a free loopback port; yields the URL."""
    handler = partial(_QuietHandler, directory=str(directory))
    with _QuietServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="static file server")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: some tests kill their clients."""


class _QuietHandler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds an idle connection is kept

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the test's own output is what matters."""
