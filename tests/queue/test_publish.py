"""publish: a digest becomes an entry of a log, proven, and a line of the journal tells of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from appliance.store.home.key_files import load_publisher_key, load_signing_key
from appliance.value import replaced
from tests.cli.homes import NOW, Home
from tests.private_log.private_homes import ORIGIN, home_in_memory, make_home
from tests.rig.fault_proxy import (
    HALF_BODY,
    NONE,
    RESET_AFTER,
    TOO_MANY,
    FaultProxy,
    fault_proxy,
)
from tests.rig.independent import verify_entry
from tests.rig.v1_server import v1_server
from tests.serve.running_log import RunningLog, running_log

DIGEST = sha256(b"a chain checkpoint").hexdigest()


@pytest.fixture(scope="module")
def log() -> Iterator[tuple[RunningLog, bytes]]:
    """A log that is somebody else's, and its key."""
    with home_in_memory() as home:
        make_home(home)
        spki = load_signing_key(home, ORIGIN).verifier.spki
        with running_log(home) as server:
            yield server, spki


class Publisher(Home):
    """A home with a publisher key, before a log that a proxy stands in front of."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str], proxy: FaultProxy) -> None:
        super().__init__(path, capsys)
        self.proxy = proxy

    def at(self, seconds: int) -> None:
        """Let it be so many seconds later than the start."""
        self.app = replaced(self.app, now=lambda: NOW + seconds)

    def events(self) -> list[dict[str, Any]]:
        """What the journal tells of publishing."""
        told = self.json("journal", "list", "--event", "transparency.checkpoint")["lines"]
        return [line["details"] for line in told]

    def something_happens(self, minutes: int) -> None:
        self.json("config", "set", "rekorSync.syncInterval", f"{minutes}m")


@pytest.fixture
def home(
    log: tuple[RunningLog, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Publisher]:
    server, spki = log
    record = tmp_path / "record"
    with fault_proxy(server.url, record, seed=5, faults={}, retry_after=1) as proxy:
        made = Publisher(tmp_path / "home", capsys, proxy)
        (tmp_path / "log.key").write_bytes(spki)
        made.json(
            *("backend", "add", "witness", "--origin", ORIGIN, "--url", proxy.url),
            *("--public-key", tmp_path / "log.key"),
        )
        made.json("key", "generate", f"publisher-{tmp_path.name}.example", "--type", "publisher")
        yield made


@pytest.fixture
def configured(home: Publisher) -> Publisher:
    home.json("config", "set", "publish.rekorUrl", home.proxy.url)
    return home


def test_without_a_url_there_is_one_warning_and_nothing_else(home: Publisher) -> None:
    code, out, err = home.run("publish")
    assert (code, out, err.count("\n")) == (0, "", 1)
    assert err.startswith("Warning: nothing is published: set publish.rekorUrl")
    assert home.json("publish", DIGEST) == {"published": [], "configured": False}
    assert home.proxy.writes() == []


def test_nothing_is_published_to_a_quarantined_log(configured: Publisher) -> None:
    database = configured.path / "attestor.db"
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute(
            "INSERT INTO quarantine (log_id, last_common_size, alert_number, since)"
            " SELECT id, 0, 1, 0 FROM log"
        )
    (waits,) = configured.json("publish", DIGEST)["published"]
    assert (waits["state"], waits["reason"]) == ("waiting", "quarantined")
    assert configured.proxy.writes() == []
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("UPDATE quarantine SET lifted_at = 1, lift_reason = 'theirs'")
    done = configured.json("publish", DIGEST)["published"]
    assert {one["state"] for one in done} == {"logged"}


def test_a_digest_is_logged_proven_and_told(
    configured: Publisher, log: tuple[RunningLog, bytes]
) -> None:
    (done,) = configured.json("publish", f"sha256:{DIGEST}")["published"]
    assert (done["state"], done["digest"]) == ("logged", f"sha256:{DIGEST}")
    (event,) = configured.events()
    assert event["digest"] == f"sha256:{DIGEST}"
    assert event["rekor_log_index"] == done["logIndex"]
    assert (event["origin"], event["journal_line"]) == (ORIGIN, None)
    assert event["rekor_server"].rstrip("/") == configured.proxy.url
    # What was recorded proves it, to anybody who has the log's key and the request.
    with_store = configured.app.reading()
    with with_store as store:
        row = store.row("SELECT request, entry FROM publication")
    assert row is not None
    verify_entry(json.loads(row["entry"]), row["request"], ORIGIN, log[1])
    assert event["inclusion_proof"] == json.loads(row["entry"])["inclusionProof"]


def test_only_the_digest_leaves(configured: Publisher, tmp_path: Path) -> None:
    configured.json("publish", DIGEST)
    with configured.app.reading() as store:
        row = store.row("SELECT request FROM publication")
    assert row is not None
    sent = json.loads(row["request"])["hashedRekordRequestV002"]
    assert set(sent) == {"digest", "signature"}
    name = f"publisher-{tmp_path.name}.example"
    key = load_publisher_key(configured.path, name)
    assert name not in row["request"].decode()
    assert sha256(row["request"]).hexdigest() == configured.proxy.writes()[0].request
    assert key.spki.hex()  # the key that verifies it is in the entry


def test_the_journal_is_published_at_the_thresholds(configured: Publisher) -> None:
    configured.json("publish", "--journal")  # a few events, no time
    assert configured.events() == []
    configured.at(300)
    (done,) = configured.json("publish")["published"]
    head = configured.json("journal", "verify")
    assert done["journalLine"] == head["lines"] - 1  # the line that tells of it came after
    digest = done["digest"].removeprefix("sha256:")
    assert (
        configured.json("journal", "verify", "--head", digest)["knownHeadLine"]
        == (done["journalLine"])
    )
    # What tells of publishing does not lead to more of it.
    configured.at(10_000)
    assert configured.json("publish")["published"] == []
    configured.something_happens(6)
    configured.at(10_000)
    assert len(configured.json("publish")["published"]) == 1
    for minutes in (7, 8, 9):
        configured.something_happens(minutes)
    assert configured.json("publish", "--every-events", "4")["published"] == []
    assert len(configured.json("publish", "--every-events", "3")["published"]) == 1
    assert len(configured.events()) == 3


def test_every_events_and_every_seconds_as_set_say_when_the_journal_is_due(
    configured: Publisher,
) -> None:
    configured.at(300)
    assert len(configured.json("publish")["published"]) == 1  # from now on nothing is old
    configured.json("config", "set", "publish.everySeconds", "1000")
    configured.json("config", "set", "publish.everyEvents", "4")
    configured.something_happens(6)
    assert configured.json("publish")["published"] == []  # three events, and no time
    configured.something_happens(7)
    assert len(configured.json("publish")["published"]) == 1
    configured.something_happens(8)
    configured.at(1299)
    assert configured.json("publish")["published"] == []
    configured.at(1300)
    assert len(configured.json("publish")["published"]) == 1


@pytest.mark.parametrize("fault", [TOO_MANY, RESET_AFTER, HALF_BODY])
def test_a_failure_is_a_warning_and_the_same_bytes_go_out_again(
    configured: Publisher, fault: str
) -> None:
    configured.proxy.faults = {fault: 1.0}
    code, out, err = configured.run("publish", DIGEST)
    assert (code, out) == (0, "")
    assert err.startswith(f"Warning: sha256:{DIGEST} is not published yet: ")
    assert configured.events() == []
    configured.proxy.faults = {}
    assert configured.json("publish", "--every-events", "1000")["published"] == []  # too early
    configured.at(300)
    done = configured.json("publish", "--every-events", "1000", "--every-seconds", "300")
    states = {one["digest"]: one["state"] for one in done["published"]}
    assert states[f"sha256:{DIGEST}"] == "logged"
    first, again, *_ = configured.proxy.writes()
    assert first.request == again.request
    assert (first.fault, again.fault) == (fault, NONE)
    assert again.status == (201 if fault == TOO_MANY else 409)
    told = [one for one in configured.events() if one["digest"] == f"sha256:{DIGEST}"]
    assert len(told) == 1


def test_a_log_with_another_key_is_believed_nothing(configured: Publisher, tmp_path: Path) -> None:
    other = configured.json("key", "generate", "other.example")
    with configured.app.writing() as store:
        pinned = load_signing_key(configured.path, other["name"]).verifier
        store.execute("UPDATE log_key SET spki = ?", [pinned.spki])
    error = configured.json("publish", DIGEST, expect=3)
    assert error["reason"] in ("unknown-signer", "bad-signature")
    assert configured.events() == []


def test_the_environment_goes_before_the_settings(
    home: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTESTOR_REKOR_URL", "http://127.0.0.1:1/")
    error = home.json("publish", DIGEST, expect=9)
    assert error["reason"] == "unknown-server"
    assert error["message"].startswith("ATTESTOR_REKOR_URL: expected the base URL of a backend")
    monkeypatch.setenv("ATTESTOR_REKOR_URL", home.proxy.url)
    assert len(home.json("publish", DIGEST)["published"]) == 1


def test_the_variable_of_aevum_publish_is_read_where_ours_is_not_set(
    home: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AEVUM_REKOR_URL", "http://127.0.0.1:1/")
    error = home.json("publish", DIGEST, expect=9)
    assert error["message"].startswith("AEVUM_REKOR_URL: expected the base URL of a backend")
    monkeypatch.setenv("ATTESTOR_REKOR_URL", home.proxy.url)
    assert len(home.json("publish", DIGEST)["published"]) == 1


def test_it_needs_one_key(configured: Publisher, tmp_path: Path) -> None:
    configured.json("key", "generate", "second.example", "--type", "publisher")
    assert configured.json("publish", DIGEST, expect=9)["reason"] == "several-keys"
    assert configured.json("publish", DIGEST, "--key", "second.example")["published"]
    for name in (f"publisher-{tmp_path.name}.example", "second.example"):
        (configured.path / "keys" / f"{name}.pem").unlink()
    error = configured.json("publish", DIGEST, expect=9)
    assert (error["reason"], "key generate" in error["next"]) == ("no-key", True)


@pytest.mark.parametrize("digest", ["", "abc", "sha256:" + "0" * 63, "sha512:" + "0" * 64])
def test_what_is_no_digest_is_refused(configured: Publisher, digest: str) -> None:
    assert configured.json("publish", digest, expect=2)["reason"] == "bad-digest"
    assert configured.run("publish", DIGEST, "--journal")[0] == 2


def test_a_dry_run_sends_and_stores_nothing(configured: Publisher) -> None:
    plan = configured.json("publish", DIGEST, "--dry-run")
    assert (plan["digest"], plan["waiting"]) == (f"sha256:{DIGEST}", 0)
    assert configured.proxy.writes() == []
    with configured.app.reading() as store:
        assert store.rows("SELECT * FROM publication") == []


def test_entries_show_says_that_we_published_it(configured: Publisher) -> None:
    (done,) = configured.json("publish", DIGEST)["published"]
    configured.json("sync", "--entries")
    shown = configured.json("entries", "show", "--origin", ORIGIN, "--index", str(done["logIndex"]))
    assert shown["digest"] == f"sha256:{DIGEST}"
    assert shown["journalLine"] is not None


def test_sync_publishes_when_it_is_due(configured: Publisher) -> None:
    configured.something_happens(6)
    configured.json("sync")
    assert configured.events() == []
    configured.at(301)
    configured.json("sync")
    assert len(configured.events()) == 1
    configured.something_happens(7)
    configured.at(602)
    configured.proxy.faults = {TOO_MANY: 1.0}
    code, out, err = configured.run("sync")
    assert code == 0 and out and "is not published yet" in err


def test_a_v1_log_will_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with v1_server() as server:
        home = Home(tmp_path / "home", capsys)
        (tmp_path / "log.pem").write_bytes(server.public_key)
        home.json(
            *("backend", "add", "old", "--origin", server.log.origin, "--url", server.url),
            *("--public-key", tmp_path / "log.pem", "--api-version", "1"),
        )
        home.json("key", "generate", "p.example", "--type", "publisher")
        home.json("config", "set", "publish.rekorUrl", server.url)
        (done,) = home.json("publish", DIGEST)["published"]
        assert done["logIndex"] == server.entries[0].log_index
        body = json.loads(server.entries[0].canonicalized_body)
        assert body["spec"]["data"]["hash"]["value"] == DIGEST
