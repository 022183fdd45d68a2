"""trust and backend discover against a real TUF repository: what is stored, and when nothing is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from appliance.cli.main import run
from appliance.fetch import public_good
from appliance.jobs.home.init import init_home
from appliance.rekor.client_files import log_instance, signing_config, trusted_root
from appliance.runs import trust
from appliance.runs.session import Session
from appliance.store.database import open_store
from appliance.store.verify.trust import (
    TufRepository,
    current_root,
    find_repository,
    repository_with_root,
)
from appliance.tlog.note_keys import ed25519_key
from appliance.value import replaced
from tests.fetch.hostile_server import HostileServer, stall, status
from tests.fetch.tuf_repository import Repository
from tests.jobs.faults import Faults, PowerCutError, injected

START = "2025-01-01T00:00:00Z"
FIRST = ed25519_key("log1.example", bytes(range(32)))
SECOND = ed25519_key("log2.example", bytes(range(1, 33)))
OLD_ROOT = trusted_root(FIRST, START)


def root_of(*instances: dict[str, Any]) -> bytes:
    document = json.loads(OLD_ROOT)
    document["tlogs"] = list(instances)
    return json.dumps(document).encode()


NEW_ROOT = root_of(log_instance(FIRST, START), log_instance(SECOND, START))


class World:
    """A home, a TUF repository, and a server that serves it."""

    def __init__(
        self, directory: Path, server: HostileServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = signing_config("https://log1.example", START, "example")
        files = {
            "trusted_root.json": OLD_ROOT,
            "signing_config.json": b'{"mediaType": "version 0.1"}',
            "signing_config.v0.2.json": config,
        }
        self.home = directory / "home"
        self.server = server
        self.tuf = Repository(directory / "tuf", files)
        server.directory = self.tuf.directory
        self.capsys = capsys
        self.first_timestamp = self.tuf.read("timestamp.json")
        self.days = 0  # that our clock is ahead of what it was
        init_home(self.home, "site.example", "connected", lambda n: b"\x01" * n)
        self.root = directory / "checked.root.json"
        self.root.write_bytes(self.tuf.read("1.root.json"))

    @property
    def app(self) -> Session:
        now = int(time.time()) + self.days * 86_400
        return Session(home=self.home, now=lambda: now, sleep=lambda _: None)

    def run(self, *arguments: str | Path, expect: int = 0) -> dict[str, Any]:
        code = run([*map(str, arguments), "--json"], self.app)
        out, err = self.capsys.readouterr()
        answer: dict[str, Any] = json.loads(out)
        assert (code, answer["exitCode"], err) == (expect, expect, ""), answer
        return answer

    def update(self, *options: str | Path, expect: int = 0) -> dict[str, Any]:
        return self.run("trust", "update", *options, expect=expect)

    def first_update(self) -> dict[str, Any]:
        return self.update("--repository", self.server.url, "--root", self.root)

    def stored(self) -> TufRepository | None:
        store = open_store(self.home, write=False)
        try:
            return find_repository(store, self.server.url)
        finally:
            store.close()

    def everything(self) -> list[str]:
        """The whole database, as text."""
        store = open_store(self.home, write=False)
        try:
            return list(store.connection.iterdump())
        finally:
            store.close()

    def current(self) -> bytes | None:
        store = open_store(self.home, write=False)
        try:
            found = current_root(store)
            return None if found is None else found.raw
        finally:
            store.close()


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[World]:
    with HostileServer() as server:
        yield World(tmp_path, server, capsys)


def test_the_first_update_says_on_whose_word(world: World) -> None:
    answer = world.first_update()
    data = answer["data"]
    digest = sha256(OLD_ROOT).hexdigest()
    assert (data["digest"], data["oldDigest"], data["change"]) == (digest, None, True)
    versions = {role: one["version"] for role, one in data["metadata"].items()}
    assert versions == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}
    assert data["files"] == ["signing_config.json", "signing_config.v0.2.json", "trusted_root.json"]
    first = sha256(world.root.read_bytes()).hexdigest()
    assert first in answer["warnings"][0] and "root version 1" in answer["warnings"][0]
    assert world.current() == OLD_ROOT


def test_later_updates_start_from_the_newest_stored_root(world: World) -> None:
    world.first_update()
    world.tuf.rotate("root")
    world.tuf.rotate("targets", "timestamp")
    world.tuf.files["trusted_root.json"] = NEW_ROOT
    world.tuf.publish()
    answer = world.update()
    assert answer["data"]["metadata"]["root"]["version"] == 3
    assert answer["data"]["change"] is True
    assert answer["warnings"] == []
    world.tuf.rotate("root")
    world.server.requests.clear()
    world.update()
    assert world.server.targets[:2] == ["/4.root.json", "/5.root.json"]
    stored = world.stored()
    assert stored is not None
    assert [one.version for one in stored.roots] == [1, 2, 3, 4]
    for one in stored.roots:
        assert one.raw == world.tuf.read(f"{one.version}.root.json")
    assert stored.timestamp.raw == world.tuf.read("timestamp.json")
    assert stored.anchor == sha256(world.root.read_bytes()).digest()
    assert world.current() == NEW_ROOT


def test_an_update_that_brings_nothing_new_confirms_the_root(world: World) -> None:
    world.first_update()
    world.days = 3
    assert world.run("trust", "show")["data"]["ageSeconds"] >= 3 * 86_400
    assert world.update()["data"]["change"] is False
    assert world.run("trust", "show")["data"]["ageSeconds"] < 60


def test_show_says_how_the_root_came_and_what_ran_out(world: World) -> None:
    world.first_update()
    world.days = 10
    data = world.run("trust", "show")["data"]
    assert data["source"] == f"tuf {world.server.url} root v1 targets v1"
    tuf = data["tuf"]
    assert tuf["repository"] == world.server.url
    assert tuf["firstRoot"]["digest"] == sha256(world.root.read_bytes()).hexdigest()
    expired = {role: one["expired"] for role, one in tuf["metadata"].items()}
    assert expired == {"root": False, "timestamp": True, "snapshot": False, "targets": False}
    assert run(["trust", "show"], world.app) == 0
    out, _ = world.capsys.readouterr()
    assert "  age      10d" in out
    assert f"tuf      {world.server.url} vouched for it at " in out
    assert "timestamp v1, ran out " in out and "targets v1, fresh until " in out


def test_a_root_imported_from_a_file_has_no_repository(world: World, tmp_path: Path) -> None:
    world.first_update()
    file = tmp_path / "trusted_root.json"
    file.write_bytes(NEW_ROOT)
    world.run("trust", "import", file, "--dry-run")
    assert world.current() == OLD_ROOT
    world.run("trust", "import", file)
    data = world.run("trust", "show")["data"]
    assert (data["source"], data["tuf"]) == (str(file), None)
    assert any("log2.example was in the root" in one for one in world.update()["warnings"])
    assert world.current() == OLD_ROOT


def test_whom_to_trust_first_must_be_said(world: World) -> None:
    error = world.update("--repository", world.server.url, expect=5)["error"]
    assert (error["reason"], "--root FILE" in error["next"]) == ("no-tuf-root", True)
    assert world.server.requests == []
    for options in (
        ("--root", world.root, "--root-digest", "0" * 64),
        ("--start-over",),
        ("--root-digest", "xyz"),
    ):
        assert world.update(*options, expect=2)["error"]["reason"] == "usage"


def test_the_first_root_can_be_pinned_by_its_digest(world: World) -> None:
    world.tuf.rotate("root")
    pin = ("--repository", world.server.url, "--root-digest")
    error = world.update(*pin, "0" * 64, expect=3)["error"]
    assert error["reason"] == "tuf-root-digest"
    assert world.stored() is None
    world.update(*pin, sha256(world.tuf.read("2.root.json")).hexdigest())
    stored = world.stored()
    assert stored is not None and [one.version for one in stored.roots] == [2]


def test_the_shipped_facts_are_used_when_nothing_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:

    def known(**changes: Any) -> None:
        made = replaced(public_good.PUBLIC_GOOD, repository_url=world.server.url, **changes)
        monkeypatch.setattr(public_good, "PUBLIC_GOOD", made)
        monkeypatch.setattr(trust, "PUBLIC_GOOD", made)

    known()
    error = world.update(expect=7)["error"]
    assert error["reason"] == "not-found" and "15.root.json" in error["message"]
    known(root_version=1)
    assert world.update(expect=3)["error"]["reason"] == "tuf-root-digest"
    known(root_version=1, root_digest=sha256(world.root.read_bytes()).digest())
    assert world.update()["data"]["repository"] == world.server.url


def test_another_root_than_the_trusted_ones_is_refused_until_we_start_over(
    world: World, tmp_path: Path
) -> None:
    world.first_update()
    anew = Repository(tmp_path / "anew", {"trusted_root.json": NEW_ROOT})
    world.server.directory = anew.directory
    world.root.write_bytes(anew.read("1.root.json"))
    before = world.everything()
    assert world.update(expect=3)["error"]["reason"] == "tuf-signature"
    assert world.update("--root", world.root, expect=8)["error"]["reason"] == "tuf-other-root"
    assert world.everything() == before
    world.update("--root", world.root, "--start-over")
    stored = world.stored()
    assert stored is not None and stored.anchor == sha256(world.root.read_bytes()).digest()
    assert world.current() == NEW_ROOT


def test_a_dry_run_verifies_and_stores_nothing(world: World) -> None:
    before = world.everything()
    options = ("--repository", world.server.url, "--root", world.root, "--dry-run")
    assert world.update(*options)["data"]["change"] is True
    assert world.everything() == before
    world.tuf.publish(timestamp_days=-1)
    assert world.update(*options, expect=3)["error"]["reason"] == "tuf-expired"


def roll_back(world: World) -> None:
    world.tuf.write("timestamp.json", world.first_timestamp)


def run_out(world: World) -> None:
    world.tuf.publish(timestamp_days=-1)


def forge_timestamp(world: World) -> None:
    world.tuf.signers["timestamp"] = [CryptoSigner.generate_ed25519()]
    world.tuf.publish()


def lose_a_signer(world: World) -> None:
    world.tuf.publish_root(world.tuf.signers["root"][:1])


def tamper(world: World) -> None:
    world.tuf.files["trusted_root.json"] = NEW_ROOT
    world.tuf.publish()
    world.tuf.write(world.tuf.target_path("trusted_root.json"), NEW_ROOT.replace(b"2", b"3"))


def vouch_for_nonsense(world: World) -> None:
    world.tuf.files["trusted_root.json"] = b'{"mediaType": "application/json"}'
    world.tuf.publish()


def lose_a_file(world: World) -> None:
    world.tuf.publish()
    (world.tuf.directory / "3.snapshot.json").unlink()


def be_unavailable(world: World) -> None:
    world.server.on("/timestamp.json", status(503))


FAILURES: dict[str, tuple[Callable[[World], None], int]] = {
    "tuf-rollback": (roll_back, 3),
    "tuf-expired": (run_out, 3),
    "tuf-signature": (forge_timestamp, 3),
    "tuf-signature ": (lose_a_signer, 3),
    "tuf-digest": (tamper, 3),
    "media-type": (vouch_for_nonsense, 3),
    "not-found": (lose_a_file, 7),
    "unavailable": (be_unavailable, 7),
}


@pytest.mark.parametrize("reason", FAILURES)
def test_whatever_fails_nothing_is_changed(world: World, reason: str) -> None:
    world.tuf.publish()
    world.first_update()
    before = world.everything()
    spoil, code = FAILURES[reason]
    spoil(world)
    assert world.update(expect=code)["error"]["reason"] == reason.strip()
    assert world.everything() == before


def test_power_cuts_leave_the_old_or_the_new_and_never_half(world: World) -> None:
    world.first_update()
    old = world.everything()
    world.tuf.files["trusted_root.json"] = NEW_ROOT
    world.tuf.publish()
    with injected(Faults()) as counted:
        world.update("--dry-run")
    assert "commit" not in counted.calls
    for after in (False, True):
        with injected(Faults(1, after=after)) as faults, pytest.raises(PowerCutError):
            run(["trust", "update"], world.app)
        assert faults.calls == ["commit"]
        assert world.current() == (NEW_ROOT if after else OLD_ROOT)
        assert (world.everything() == old) is not after
    world.update()


def test_what_was_verified_counts_for_the_repository_at_another_url_too(world: World) -> None:
    """A mirror of the same repository that serves old metadata is no way back."""
    world.first_update()
    known = world.stored()
    assert known is not None
    store = open_store(world.home, write=False)
    try:
        assert repository_with_root(store, known.anchor) == known
        assert repository_with_root(store, bytes(32)) is None
    finally:
        store.close()
    elsewhere = world.server.url.replace("127.0.0.1", "localhost")
    old = dict(world.tuf.files)
    world.tuf.files["trusted_root.json"] = NEW_ROOT
    world.tuf.publish()
    world.update()
    assert world.current() == NEW_ROOT
    before = world.everything()
    del old, before
    again = world.update("--repository", elsewhere, "--root", world.root)
    assert again["data"]["repository"] == elsewhere


def test_killed_while_it_fetches_it_stored_nothing_and_can_be_run_again(
    world: World, tmp_path: Path
) -> None:
    before = world.everything()
    world.server.on("/1.targets.json", stall())
    words = ["--home", str(world.home), "trust", "update", "--repository", world.server.url]
    environment = {"TMPDIR": str(tmp_path), "PATH": ""}
    with subprocess.Popen(
        [sys.executable, "-m", "appliance.cli.main", *words, "--root", str(world.root)],
        env=environment,
        cwd=Path(__file__).parents[2],
    ) as process:
        deadline = time.monotonic() + 60
        while "/1.targets.json" not in world.server.targets:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert world.everything() == before
    world.server.on("/1.targets.json")  # from the directory again
    world.first_update()
    assert world.current() == OLD_ROOT


def test_discover_adds_what_the_root_names_and_tuf_brings_it(world: World) -> None:
    for command in (("backend", "discover"), ("trust", "show")):
        assert world.run(*command, expect=5)["error"]["reason"] == "no-trusted-root"
    world.first_update()
    world.tuf.files["trusted_root.json"] = NEW_ROOT
    world.tuf.publish()
    would = world.run("backend", "discover", "--tuf", "--dry-run")["data"]
    assert [one["action"] for one in would["logs"]] == ["added", "added"]
    assert world.current() == OLD_ROOT
    assert world.run("backend", "list")["data"]["backends"] == []
    done = world.run("backend", "discover", "--tuf")["data"]
    assert done["trustedRoot"] == sha256(NEW_ROOT).hexdigest()
    assert [(one["origin"], one["enabled"]) for one in done["logs"]] == [
        ("log1.example", True),
        ("log2.example", True),
    ]
    assert world.current() == NEW_ROOT
    again = world.run("backend", "discover")["data"]
    assert (again["change"], {one["action"] for one in again["logs"]}) == (False, {"unchanged"})
    listed = world.run("backend", "list")["data"]["backends"]
    assert [(one["id"], one["baseUrl"], one["enabled"]) for one in listed] == [
        ("log1.example", "https://log1.example", True),
        ("log2.example", "https://log2.example", True),
    ]


def test_discover_refuses_a_signing_config_that_is_none(world: World) -> None:
    broken = json.loads(world.tuf.files["signing_config.v0.2.json"]) | {"rekorTlogUrls": [{}]}
    world.tuf.files["signing_config.v0.2.json"] = json.dumps(broken).encode()
    world.tuf.publish()
    world.first_update()
    error = world.run("backend", "discover", expect=3)["error"]
    assert "rekorTlogUrls[0].majorApiVersion" in error["message"]
    assert world.run("backend", "list")["data"]["backends"] == []


def test_discover_takes_files_and_retires_what_ended(world: World, tmp_path: Path) -> None:
    file, config = tmp_path / "root.json", tmp_path / "signing_config.json"
    file.write_bytes(OLD_ROOT)
    config.write_bytes(signing_config("https://shared.example", START, "example"))
    options = ("backend", "discover", "--trusted-root", file)
    answer = world.run(*options, "--signing-config", config)
    assert answer["warnings"] == []  # the one service is the one log's
    shown = world.run("backend", "show", "log1.example")["data"]
    assert shown["baseUrl"].startswith("https://shared.example")
    ended = log_instance(FIRST, START)
    ended["publicKey"]["validFor"]["end"] = "2025-09-01T00:00:00Z"
    file.write_bytes(root_of(ended, log_instance(SECOND, START)))
    logs = {one["origin"]: one for one in world.run(*options)["data"]["logs"]}
    assert (logs["log1.example"]["action"], logs["log1.example"]["enabled"]) == ("retired", True)
    assert logs["log1.example"]["notes"][0] == "its window ended 2025-09-01T00:00:00Z"
    assert logs["log2.example"]["action"] == "added"
    assert run([*map(str, options)], world.app) == 0
    out, _ = world.capsys.readouterr()
    assert out.startswith("log1.example: Rekor v2, unchanged, enabled; its window ended ")
    assert world.run(*options, "--tuf", expect=2)["error"]["reason"] == "usage"
