"""A real C2SP witness on loopback: litewitness, with its key in an ssh-agent of its own."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from tests.interop.service import service

NAME = "litewitness.example"
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS log (
        origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS key (
        origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin));
"""


def litewitness_program() -> Path:
    """Return the program that scripts/witness-peers built; skips the running test without it."""
    directory = os.environ.get("ATTESTOR_WITNESS_PEERS")
    if not directory:
        pytest.skip("litewitness is not here: scripts/witness-peers builds it with Go")
    return Path(directory) / "litewitness"


@contextmanager
def litewitness(directory: Path, origin: str, vkey: str) -> Iterator[tuple[str, str]]:
    """Run a witness that cosigns one log; yields its URL and its verifier key."""
    program = litewitness_program()
    directory.mkdir(parents=True)
    key = directory / "witness.pem"
    generate: list[str | Path] = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]
    subprocess.run(generate, check=True)
    told = subprocess.run(["ssh-keygen", "-lf", key], check=True, capture_output=True, text=True)
    fingerprint = told.stdout.split()[1]
    # What witnessctl add-log and add-key write.
    with sqlite3.connect(directory / "witness.db") as database:
        database.executescript(_SCHEMA)
        empty = b64encode(sha256(b"").digest()).decode()
        database.execute("INSERT INTO log VALUES (?, 0, ?)", [origin, empty])
        database.execute("INSERT INTO key VALUES (?, ?)", [origin, vkey])
    database.close()

    with _ssh_agent(key) as socket:

        def command(ports: Sequence[int]) -> list[str | Path]:
            return [
                *(program, "-db", directory / "witness.db", "-name", NAME, "-key", fingerprint),
                *("-ssh-agent", socket, "-listen", f"127.0.0.1:{ports[0]}"),
            ]

        said = directory / "witness.log"
        with service(command, 1, said, "/") as url:
            found = re.search(r"vkey=(\S+)", said.read_text())
            assert found is not None, said.read_text()
            yield url, found[1].strip('"')


@contextmanager
def _ssh_agent(key: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:  # the path of a socket has to be short
        socket = Path(place) / "agent"
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while not socket.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
            subprocess.run(["ssh-add", "-q", key], check=True, env=environment)
            yield socket
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait()
