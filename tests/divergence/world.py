"""A home, and logs served over real HTTP that do as a story says; commands as a script runs them.

world.log.grow(300); world.sync()
world.serve("primary", world.log.fork(at=120)); world.sync(expect=4)
world.ends(head=300, quarantine=120, alerts=["RootHashMismatch critical x1"])
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from appliance.cli.main import run
from appliance.errors import ApplianceError
from appliance.runs.session import Session
from appliance.store.database import Store, open_store
from appliance.store.divergence.evidence import evidence_of
from appliance.store.mirror.logs import require_log
from tests.simulator import SimulatedLog

NOW = 1_760_000_000
ENVELOPE = ("id", "eventType", "severity", "detectedAt", "tenant", "stream")
FIELDS = {  # what receivers of alerts rely on, exactly
    "rekor.checkpoint.divergence": (
        *("origin", "treeSize", "expectedRootHash", "actualRootHash", "backend"),
        *("description", "recommendedAction"),
    ),
    "rekor.checkpoint.rollback": (
        *("origin", "previousTreeSize", "attemptedTreeSize", "backend", "description"),
    ),
    "rekor.checkpoint.stale_replica": (
        *("origin", "previousTreeSize", "attemptedTreeSize", "backend", "description"),
    ),
    "rekor.checkpoint.cross_log_divergence": (
        *("primaryOrigin", "mirrorOrigin", "treeSize", "primaryRootHash", "mirrorRootHash"),
        "description",
    ),
    "rekor.checkpoint.stale": (
        *("origin", "treeSize", "ageSeconds", "thresholdSeconds", "backend", "description"),
    ),
    "rekor.shard.grew": ("origin", "frozenTreeSize", "treeSize", "backend", "description"),
    "attestor.store.corrupt": ("origin", "blobs", "description"),
    "attestor.home.unhealthy": (
        *("problem", "about", "ageSeconds", "thresholdSeconds", "description"),
        "recommendedAction",
    ),
}
MINUTE, HOUR, DAY = 60, 3600, 86_400


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    logs: dict[str, SimulatedLog]

    def do_GET(self) -> None:
        """Answer as the log of this prefix would; 404 for what it does not have."""
        _, name, path = self.path.split("/", 2)
        try:
            status, body = 200, self.logs[name].answer(path)
        except KeyError:
            status, body = 501, b"down"  # a status that is not worth another try
        except ApplianceError:
            status, body = 404, b"not found"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Served-By", name)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class LogServer:
    """One server for all logs of a test run; each has a prefix."""

    def __init__(self) -> None:
        self.logs: dict[str, SimulatedLog] = {}
        handler = type("Handler", (_Handler,), {"logs": self.logs})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class World:
    """One home with the backend `primary`, which serves `log`."""

    def __init__(
        self, directory: Path, server: LogServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.server = server
        self.capsys = capsys
        self.now = NOW
        self.sync_code: int | None = None  # of the last one
        self.log = SimulatedLog()
        server.logs.clear()
        self.cli("init", "--site", "site.example")
        self.add("primary", self.log)

    # What happens.

    def serve(self, name: str, log: SimulatedLog | None) -> None:
        """Let a backend be served by another log from now on; None: it is down."""
        if log is None:
            self.server.logs.pop(name, None)
        else:
            self.server.logs[name] = log

    def add(self, name: str, log: SimulatedLog, *options: str) -> None:
        """Serve a log, pin its key and add it as a backend."""
        self.serve(name, log)
        key = self.directory / f"{name}.vkey"
        key.write_text(log.key.vkey + "\n")
        where = ("--origin", log.origin, "--public-key", key, "--read-url", self.url(name))
        self.cli("backend", "add", name, *where, *options)

    def url(self, name: str) -> str:
        return f"{self.server.url}/{name}/"

    def cli(self, *arguments: str | Path, expect: int = 0) -> dict[str, Any]:
        """Run a command as a script would; return its JSON object."""
        app = Session(
            home=self.home,
            now=lambda: self.now,
            sleep=lambda _: None,
            scheduled=arguments[0] == "sync",
        )
        code = run([*map(str, arguments), "--json"], app)
        out, _ = self.capsys.readouterr()
        answer: dict[str, Any] = json.loads(out)
        assert code == answer["exitCode"] == expect, answer
        return answer

    def sync(self, *arguments: str, expect: int = 0, after: int = 5 * MINUTE) -> dict[str, Any]:
        """Sync some time after the last command."""
        self.now += after
        if "--dry-run" not in arguments:
            self.sync_code = expect
        return self.cli("sync", *arguments, expect=expect)

    def set(self, key: str, value: str) -> None:
        self.cli("config", "set", key, value)

    def lift(self) -> None:
        """Lift the quarantine that holds."""
        [held] = self.cli("quarantine", "list")["data"]["quarantines"]
        self.cli("quarantine", "lift", str(held["id"]), "--reason", "explained")

    def store(self) -> Store:
        return open_store(self.home, write=True)

    # What must be true at the end.

    def ends(
        self,
        *,
        head: int | None,
        alerts: Sequence[str] = (),
        quarantine: int | None = None,
        health: str = "HEALTHY",
        evidence: int = 0,
        counts: Mapping[str, float] | None = None,
        origin: str = "log.example",
    ) -> None:
        """Check everything a scenario leaves behind.

        `alerts` are "type severity xcount", with " over" at the end if it does not last.
        `counts` are by metric, without attestor_rekor_, and the values of its labels by name:
        "checkpoint_mismatch_total primary log.example".
        """
        statuses = self.cli("sync-status")["data"]["backends"]
        status = next(one for one in statuses if one["origin"] == origin)
        listed = self.cli("alerts", "list")["data"]["alerts"]
        found = [
            f"{one['type']} {one['severity']} x{one['count']}" + " over" * bool(one["endedAt"])
            for one in listed
        ]
        for one in listed:
            said = one["payload"]
            assert tuple(said) == ENVELOPE + FIELDS[said["eventType"]]
            assert (said["id"], said["severity"]) == (one["id"], one["severity"])
        held = self.cli("quarantine", "list")["data"]["quarantines"]
        store = self.store()
        try:
            kept = evidence_of(store, require_log(store, origin))
            accepted = self.cli("checkpoint", "list", "--origins", origin)["data"]["checkpoints"]
        finally:
            store.close()
        assert (status["treeSize"], status["health"]) == (head, health), status
        assert bool(status["reasons"]) == (health not in ("HEALTHY", "FROZEN")), status
        assert found == list(alerts), listed
        assert [one["lastCommonSize"] for one in held] == (
            [] if quarantine is None else [quarantine]
        )
        assert len(kept) == evidence, kept
        counted = self.metrics()
        for name, value in (counts or {}).items():
            assert counted.get(name, 0) == value, (name, counted)
        if self.sync_code is not None:
            assert counted["attestor_last_exit_code sync"] == self.sync_code
        # Whatever happened: what we accepted is one chain, and is what the honest log signed.
        for one in accepted:
            assert one["rootHash"] == self.honest(origin).head_at(one["treeSize"]).root_hash.hex()

    def metrics(self) -> dict[str, float]:
        """Return what a Prometheus would see, by short name and label values."""
        text = self.cli("metrics")["data"]["text"]
        return {
            " ".join(
                (
                    sample.name.removeprefix("attestor_rekor_"),
                    *dict(sorted(sample.labels.items())).values(),
                )
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def honest(self, origin: str) -> SimulatedLog:
        """Return the log whose story this home is to believe."""
        return self.log if origin == self.log.origin else self.server.logs["other"]
