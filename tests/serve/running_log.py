"""attestor log serve as its users run it: a process of its own on a free port."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.merkle import as_hash, leaf_hash
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.proof import verify_inclusion
from appliance.tlog.strict_base64 import decode_base64

ENTRIES: Final = "/api/v2/log/entries"
START_SECONDS: Final = 120.0  # a busy machine is slow, and what hangs is seen all the same
STOP_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 60.0


class RunningLog:
    """One server process."""

    def __init__(self, home: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "appliance.cli.main", "--home", str(home)),
                *("log", "serve", "--bind", "127.0.0.1:0", "--json", *options),
            ],
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A shell's background job, which these tests may run in, ignores interrupts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline() if ready else b""
        if not line or not json.loads(line)["ok"]:
            self.process.kill()
            raise AssertionError(f"it did not start: {line!r} {self.process.communicate()[1]!r}")
        self.url: str = json.loads(line)["data"]["url"]
        self.address = self.url.removeprefix("http://")

    def connect(self) -> HTTPConnection:
        return HTTPConnection(self.address, timeout=ANSWER_SECONDS)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Message, bytes]:
        """Send one request over a connection of its own."""
        connection = self.connect()
        try:
            return exchange(connection, method, path, body, headers)
        finally:
            connection.close()

    def post(self, body: bytes) -> tuple[int, Any]:
        """Post an entry; return the status and the JSON answered."""
        status, _, answer = self.ask("POST", ENTRIES, body)
        return status, json.loads(answer)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self._reap()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to end; return its exit code and what it said on stderr."""
        self.process.send_signal(number)
        return self._reap()

    def _reap(self) -> tuple[int, str]:
        try:
            _, said = self.process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, said.decode()


@contextmanager
def running_log(home: Path, *options: str) -> Iterator[RunningLog]:
    """Serve the logs of `home` until the block ends, and then cleanly stop."""
    server = RunningLog(home, *options)
    try:
        yield server
    except BaseException:
        server.process.kill()
        server.process.communicate()
        raise
    code, said = server.stop()
    assert (code, said) == (143, "")


def exchange(
    connection: HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Message, bytes]:
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def verified_index(answer: Any, key: VerifierKey) -> int:
    """Verify what a log answered with nothing but its key; return the entry's index."""
    proof = answer["inclusionProof"]
    note = proof["checkpoint"]["envelope"].encode()
    head = open_checkpoint(note, [key], key.name).head
    assert decode_base64(answer["logId"]["keyId"]) == key.log_id
    assert proof["logIndex"] == answer["logIndex"]
    assert int(proof["treeSize"]) == head.tree_size
    assert decode_base64(proof["rootHash"]) == head.root_hash
    index = int(answer["logIndex"])
    leaf = leaf_hash(decode_base64(answer["canonicalizedBody"]))
    hashes = [as_hash(decode_base64(one)) for one in proof["hashes"]]
    verify_inclusion(index, leaf, head, hashes)
    return index
