"""The real Rekor v1 server on loopback, with Trillian and MariaDB; its tree can be rotated.

with rekor_v1(directory) as server:
    server.log(b"some artifact", key)
    server.rotate()          # the tree is closed, and a new one is active
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.interop.service import _free_ports, _stop
from tests.rig.v1_proposals import hashedrekord

HOST = "rekor.example"
START_SECONDS = 90.0  # of each program; the machine may be busy
URI = "t:p@tcp(127.0.0.1:{})/t"
SQL = (
    "CREATE DATABASE t; CREATE USER 't'@'127.0.0.1' IDENTIFIED BY 'p';"
    " CREATE USER 't'@'localhost' IDENTIFIED BY 'p';"
    " GRANT ALL ON t.* TO 't'@'127.0.0.1'; GRANT ALL ON t.* TO 't'@'localhost'; USE t;\n"
)


def v1_peers() -> Path:
    """Return where scripts/v1-peers put the programs; skips the running test where it did not."""
    directory = os.environ.get("ATTESTOR_V1_PEERS")
    if not directory:
        pytest.skip("the real Rekor v1 server is not here: ATTESTOR_V1_PEERS, by scripts/interop")
    return Path(directory)


class RekorV1:
    """A running instance; each rotation starts its server again with one more closed tree."""

    def __init__(self, directory: Path, peers: Path) -> None:
        self._directory, self._peers = directory, peers
        self._stack = ExitStack()
        ports = _free_ports(6)
        self._db, self._rpc, self._port = ports[0], ports[1], ports[2]
        self._http, self._signer = ports[3], ports[4:]
        self.url = f"http://127.0.0.1:{self._port}"
        self.closed: list[tuple[str, int]] = []  # tree id and length
        self.tree_id = ""
        key = ec.generate_private_key(ec.SECP256R1())
        self._key = directory / "server.pem"
        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._key.write_bytes(key.private_bytes(*form))
        self._pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.public_key = directory / "rekor.pub"
        self.public_key.write_bytes(self._pem)
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start all that it needs, and the server on an empty tree."""
        self._start_database()
        storage = ("--storage_system=mysql", f"--mysql_uri={URI.format(self._db)}")
        self._run(
            *("trillian_log_server", *storage, f"--rpc_endpoint=127.0.0.1:{self._rpc}"),
            f"--http_endpoint=127.0.0.1:{self._http}",
        )
        self._run(
            *("trillian_log_signer", *storage, "--force_master", "--sequencer_interval=100ms"),
            *(f"--rpc_endpoint=127.0.0.1:{self._signer[0]}",),
            f"--http_endpoint=127.0.0.1:{self._signer[1]}",
        )
        self.rotate()

    def rotate(self) -> None:
        """Close the active tree, if there is one, and start the server on a new one."""
        if self._server is not None:
            self.closed.append((self.tree_id, self.state()["treeSize"]))
            _stop(self._server)
        self.tree_id = self._new_tree()
        shards = self._directory / "shards.json"
        public_key = b64encode(self._pem).decode()
        signing = {"signingSchemeOrKeyPath": str(self._key)}
        shards.write_text(
            json.dumps(
                [
                    {
                        "treeID": int(tree_id),
                        "treeLength": length,
                        "encodedPublicKey": public_key,
                        "signingConfig": signing,
                    }
                    for tree_id, length in self.closed
                ]
            )
        )
        options = [f"--trillian_log_server.sharding_config={shards}"] if self.closed else []
        self._server = self._run(
            *("rekor-server", "serve", "--trillian_log_server.address=127.0.0.1"),
            *(f"--trillian_log_server.port={self._rpc}", f"--rekor_server.signer={self._key}"),
            *(f"--trillian_log_server.tlog_id={self.tree_id}", "--enable_retrieve_api=false"),
            *("--host=127.0.0.1", f"--port={self._port}", f"--rekor_server.hostname={HOST}"),
            *options,
        )
        self._wait(self._server, lambda: bool(self.state()))

    def state(self) -> Any:
        """Return what it says of its trees."""
        answer = requests.get(f"{self.url}/api/v1/log", timeout=30)
        answer.raise_for_status()
        return answer.json()

    def log(self, content: bytes, key: ec.EllipticCurvePrivateKey) -> Any:
        """Log a signature over an artifact; return the answer's one entry."""
        answer = requests.post(
            f"{self.url}/api/v1/log/entries",
            hashedrekord(key, content),
            headers={"Content-Type": "application/json"},
            timeout=60,
        )
        answer.raise_for_status()
        [entry] = answer.json().values()
        return entry

    def entry(self, log_index: int) -> Any:
        """Return the entry at an index over all trees, as the server answers with it now."""
        answer = requests.get(
            f"{self.url}/api/v1/log/entries", {"logIndex": str(log_index)}, timeout=60
        )
        answer.raise_for_status()
        [entry] = answer.json().values()
        return entry

    def close(self) -> None:
        """End every program."""
        self._stack.close()

    def _start_database(self) -> None:
        root, data = self._peers / "mariadb", self._directory / "database"
        library = {"LD_LIBRARY_PATH": str(root / "usr/lib/x86_64-linux-gnu")}
        plain = ("--no-defaults", f"--datadir={data}", f"--basedir={root}/usr")
        subprocess.run(
            [
                *(root / "usr/bin/mariadb-install-db", *plain, "--skip-test-db"),
                *("--user=root", "--auth-root-authentication-method=normal"),
            ],
            env=os.environ | library,
            check=True,
            capture_output=True,
        )
        socket = self._directory / "s"
        server = self._run(
            *("mariadb/usr/sbin/mariadbd", *plain, "--user=root", f"--socket={socket}"),
            *(f"--port={self._db}", "--bind-address=127.0.0.1"),
            *("--innodb-flush-log-at-trx-commit=0", f"--plugin-dir={root}/usr/lib/mysql/plugin"),
            environment=library,
        )
        client: list[str | Path] = [
            root / "usr/bin/mariadb",
            "--no-defaults",
            "-uroot",
            f"--socket={socket}",
        ]

        def ask(text: str) -> bool:
            done = subprocess.run(
                client, input=text.encode(), env=os.environ | library, capture_output=True
            )
            return done.returncode == 0

        self._wait(server, lambda: ask("SELECT 1"))
        assert ask(SQL + (self._peers / "storage.sql").read_text())

    def _new_tree(self) -> str:
        command: list[str | Path] = [
            self._peers / "createtree",
            f"--admin_server=127.0.0.1:{self._rpc}",
        ]
        deadline = time.monotonic() + START_SECONDS
        while True:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                return done.stdout.strip()
            assert time.monotonic() < deadline, done.stderr
            time.sleep(0.5)

    def _run(
        self, program: str, *options: str, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        file = self._directory / f"{Path(program).name}.log"
        output = self._stack.enter_context(file.open("ab"))
        process = subprocess.Popen(
            [self._peers / program, *options],
            stdout=output,
            stderr=output,
            env=os.environ | (environment or {}),
        )
        self._stack.callback(_stop, process)
        return process

    def _wait(self, process: subprocess.Popen[bytes], is_ready: Any) -> None:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if is_ready():
                    return
            except OSError:
                pass
            time.sleep(0.3)
        said = [one.read_text(errors="replace")[-800:] for one in self._directory.glob("*.log")]
        raise AssertionError(f"a program did not start; the last that all said: {said}")


@contextmanager
def rekor_v1(directory: Path) -> Iterator[RekorV1]:
    """Run a new instance until the block ends."""
    directory.mkdir(parents=True, exist_ok=True)
    server = RekorV1(directory, v1_peers())
    try:
        server.start()
        yield server
    finally:
        server.close()
