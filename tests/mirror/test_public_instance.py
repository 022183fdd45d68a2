"""init --public-good: an instance of Sigstore in one command, then sync; here all on loopback."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.cli.main import run
from appliance.rekor.client_files import log_instance, signing_config, trusted_root
from appliance.runs.session import Session
from tests.fetch.hostile_server import HostileServer, status
from tests.fetch.tuf_repository import Repository
from tests.rig.v1_shards import V1Instance, v1_instance
from tests.simulator import SimulatedLog

START = "2021-01-12T11:53:27Z"
DAY = 86_400


class Public:
    """An instance: TUF repository, a v1 log, shards of a v2 log, and a home that may follow it."""

    def __init__(
        self, path: Path, server: HostileServer, v1: V1Instance, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.home, self.server, self.v1, self.capsys = path / "home", server, v1, capsys
        self.shards: dict[str, SimulatedLog] = {}
        self.instances = [self._v1_instance()]
        self.tuf = Repository(path / "tuf", {})
        server.directory = self.tuf.directory
        self.root = path / "1.root.json"
        self.root.write_bytes(self.tuf.read("1.root.json"))
        self.days = 0.0
        self.add_shard("log2025-1.rekor.example")

    def _v1_instance(self) -> dict[str, Any]:
        spki = self.v1.key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return {
            "baseUrl": f"https://{self.v1.host}",
            "publicKey": {
                "rawBytes": b64encode(spki).decode(),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": START},
            },
            "logId": {"keyId": b64encode(sha256(spki).digest()).decode()},
        }

    def add_shard(self, origin: str) -> SimulatedLog:
        """Begin a shard, which the next publication names."""
        log = self.shards[origin] = SimulatedLog(origin)
        log.grow(300)
        self.instances.append(log_instance(log.key, "2025-09-23T00:00:00Z"))
        self.publish()
        return log

    def publish(self) -> None:
        """Publish the root, the signing config and where each log is read."""
        document = json.loads(trusted_root(next(iter(self.shards.values())).key, START))
        document["tlogs"] = self.instances
        read = [{"readUrl": self.v1.url, "logOrigin": self.v1.host, "majorApiVersion": 1}]
        for origin, log in self.shards.items():
            log.write_static(self.tuf.directory / origin / "api" / "v2")
            url = f"{self.server.url}{origin}"
            read.append({"readUrl": url, "logOrigin": origin, "majorApiVersion": 2})
        config = signing_config(f"https://{self.v1.host}", START, "example")
        self.tuf.files = {
            "trusted_root.json": json.dumps(document).encode(),
            "signing_config.v0.2.json": config.replace(b'Version": 2', b'Version": 1'),
            "monitor_config.v0.1.json": json.dumps({"rekorLogs": read}).encode(),
        }
        self.tuf.publish()

    def run(self, *arguments: str | Path, expect: int = 0) -> dict[str, Any]:
        now = int(time.time() + self.days * DAY)
        session = Session(home=self.home, now=lambda: now, sleep=lambda _: None)
        code = run([*map(str, arguments), "--json"], session)
        answer: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        assert (code, answer["exitCode"]) == (expect, expect), answer.get("error", answer)
        return answer

    def init(self, *options: str | Path, expect: int = 0) -> dict[str, Any]:
        where = ("--repository", self.server.url, "--root", self.root)
        return self.run(
            "init", "--site", "us.example", *(options or ("--public-good",)), *where, expect=expect
        )

    def text(self, *arguments: str) -> str:
        now = int(time.time() + self.days * DAY)
        assert run(list(arguments), Session(home=self.home, now=lambda: now)) == 0
        return self.capsys.readouterr().out


@pytest.fixture
def public(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Public]:
    with HostileServer() as server, v1_instance("rekor.example") as v1:
        v1.grow(5)
        yield Public(tmp_path, server, v1, capsys)


def actions(logs: list[dict[str, Any]]) -> dict[str, str]:
    return {one["origin"]: one["action"] for one in logs}


def test_one_command_and_then_sync(public: Public) -> None:
    made = public.init()["data"]
    assert actions(made["logs"]) == {"rekor.example": "added", "log2025-1.rekor.example": "added"}
    assert made["settings"] == {
        "rekorSync.maxTilesPerSync": 2000,
        "rekorSync.discoverInterval": "1d",
    }
    found = {one["backend"]: one["acceptedSize"] for one in public.run("sync")["data"]["backends"]}
    assert found == {"rekor.example": 5, "log2025-1.rekor.example": 300}
    # Three names: where entries are written, where the log is read, what it is called.
    shown = public.run("backend", "show", "log2025-1.rekor.example")["data"]
    assert shown["origin"] == "log2025-1.rekor.example"
    assert shown["baseUrl"] == "https://log2025-1.rekor.example"
    assert shown["readUrl"] == f"{public.server.url}log2025-1.rekor.example/api/v2"
    public.run("check")


def test_again_is_the_same_and_what_the_operator_changed_stays(public: Public) -> None:
    public.init()
    public.run("config", "set", "rekorSync.maxTilesPerSync", "100")
    public.run("backend", "disable", "rekor.example")
    before = public.run("config", "show")["data"]
    made = public.init()["data"]
    assert set(actions(made["logs"]).values()) == {"unchanged"}
    assert made["settings"] == {}
    assert public.run("config", "show")["data"] == before


def test_a_new_shard_is_added_by_sync_once_a_day(public: Public) -> None:
    public.init()
    public.add_shard("log2026-1.rekor.example")
    data = public.run("sync")["data"]
    assert "discovered" not in data and len(data["backends"]) == 2
    public.days = 1.1
    assert actions(public.run("sync")["data"]["discovered"]) == {
        "rekor.example - 1001": "unchanged",
        "log2025-1.rekor.example": "unchanged",
        "log2026-1.rekor.example": "added",
    }
    assert len(public.run("sync")["data"]["backends"]) == 3


def test_a_repository_that_is_gone_ends_no_sync(public: Public) -> None:
    public.init()
    public.days = 1.1
    public.server.on("/timestamp.json", status(404))
    [warning] = [one for one in public.run("sync")["warnings"] if "root" in one]
    assert warning.startswith("the trusted root was not updated: ")


def test_staging_is_given_more_time_without_growth(public: Public) -> None:
    made = public.init("--staging")["data"]
    key = "rekorSync.backends[log2025-1.rekor.example].staleTreeSizeThreshold"
    assert made["settings"][key] == "48h"


def test_a_home_follows_one_instance(public: Public) -> None:
    public.init()
    error = public.init("--staging", expect=8)["error"]
    assert error["reason"] == "another-instance" and "public good" in error["message"]


def test_another_root_than_the_one_known_here_is_refused(public: Public) -> None:
    error = public.run(*("init", "--public-good", "--repository", public.server.url), expect=3)[
        "error"
    ]
    assert error["reason"] == "tuf-root-digest"
    assert public.run("backend", "list")["data"]["backends"] == []
    public.init()  # what had begun goes on


@pytest.mark.parametrize(
    "words",
    [
        ["--public-good", "--staging"],
        ["--repository", "http://127.0.0.1/"],
        ["--public-good", "--role", "isolated"],
    ],
)
def test_options_that_do_not_go_together(public: Public, words: list[str]) -> None:
    assert public.run("init", *words, expect=2)["error"]["reason"] == "usage"


def test_the_text_names_each_log_and_what_is_next(public: Public) -> None:
    text = public.text(
        *("init", "--site", "us.example", "--public-good", "--repository", public.server.url),
        *("--root", str(public.root)),
    )
    assert "rekor.example: Rekor v1, added, enabled\n" in text
    assert "log2025-1.rekor.example: Rekor v2, added, enabled\n" in text
    assert text.rstrip().endswith("next: attestor sync, and the same every few minutes by cron")
