"""trust update without a server: from a stick, and by what transfer bundles brought."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import LimitError
from appliance.jobs.home.init import init_home
from appliance.jobs.transfer.side_members import REPOSITORY_FILE, repository_place
from appliance.runs.trust_files import that_arrived
from appliance.store.database import create_store, open_store
from appliance.store.verify.trust import (
    MAX_FILES,
    ArrivedFile,
    arrived_files,
    forget_oldest,
    put_arrived,
)
from appliance.value import replaced
from tests.fetch.hostile_server import HostileServer, Request
from tests.serve.signed_requests import signed_request
from tests.verify.test_trust import (
    NEW_ROOT,
    OLD_ROOT,
    World,
    forge_timestamp,
    lose_a_file,
    lose_a_signer,
    roll_back,
    run_out,
    tamper,
)

INSIDE = "inside.example"


class Gap:
    """The world outside, which follows a repository, and a home that reaches no server."""

    def __init__(
        self, directory: Path, server: HostileServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.world = World(directory, server, capsys)
        self.outside, self.inside = self.world.home, directory / "inside"
        init_home(self.inside, INSIDE, "isolated", lambda n: b"\x02" * n)
        self.directory = directory
        self.digest = sha256(self.world.tuf.read("1.root.json")).hexdigest()
        self.sticks = 0

    def run(self, *words: str | Path, expect: int = 0) -> dict[str, Any]:
        """Run a command inside."""
        self.world.home = self.inside
        try:
            answer = self.world.run(*words, expect=expect)
        finally:
            self.world.home = self.outside
        self.warnings: list[str] = answer["warnings"]
        found: dict[str, Any] = answer["error"] if expect else answer["data"]
        return found

    def by_stick(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """Carry the repository in as it is, always on another stick, and update from it."""
        self.sticks += 1
        stick = self.directory / f"stick {self.sticks}" / "tuf"
        shutil.copytree(self.world.tuf.directory, stick)
        self.asked()
        done = self.run("trust", "update", "--directory", stick, *words, expect=expect)
        assert self.asked() == []  # nobody is asked
        return done

    def by_bundle(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """Let the outside update, export, import that inside, and update from what arrived."""
        self.sticks += 1
        bundle = self.directory / f"{self.sticks}.tar"
        if self.sticks == 1:
            self.world.first_update()
            vkey = self.world.run("key", "show", "site.example")["data"]["vkey"]
            self.run("exporters", "add", vkey)
            self._log_something()
        else:
            self.world.update()
        self.world.run("export", "--output", bundle)
        self.run("import", bundle)
        self.asked()
        done = self.run("trust", "update", "--arrived", *words, expect=expect)
        assert self.asked() == []
        return done

    def _log_something(self) -> None:
        """Give the exports a log, without which there is none, and have it pinned inside."""
        request, key = self.directory / "request.json", self.directory / "log.pem"
        request.write_bytes(signed_request(b"an artifact"))
        self.world.run("log", "create", "build", "--origin", "own.example")
        self.world.run("log", "add", request)
        key.write_text(self.world.run("key", "show", "own.example")["data"]["pem"])
        where = ("--origin", "own.example", "--url", "http://127.0.0.1:1")
        self.run("backend", "add", "build", *where, "--public-key", key)

    def asked(self) -> list[Request]:
        """Return what the server was asked since the last time."""
        seen = list(self.world.server.requests)
        self.world.server.requests.clear()
        return seen

    def current(self) -> bytes | None:
        self.world.home = self.inside
        try:
            return self.world.current()
        finally:
            self.world.home = self.outside


@pytest.fixture
def gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Gap]:
    with HostileServer() as server:
        yield Gap(tmp_path, server, capsys)


WAYS = {"stick": Gap.by_stick, "bundle": Gap.by_bundle}


@pytest.mark.parametrize("way", WAYS)
def test_a_repository_is_followed_over_rotations(gap: Gap, way: str) -> None:
    carry, tuf = WAYS[way], gap.world.tuf
    error = carry(gap, expect=5)
    assert error["reason"] == "no-tuf-root"
    first = carry(gap, "--root-digest", gap.digest)
    assert gap.current() == OLD_ROOT and first["metadata"]["root"]["version"] == 1
    tuf.rotate("root", "timestamp")
    tuf.rotate("root", "targets")
    tuf.files["trusted_root.json"] = NEW_ROOT
    tuf.publish()
    second = carry(gap)
    assert gap.current() == NEW_ROOT and second["metadata"]["root"]["version"] == 3
    assert second["repository"] == first["repository"]  # whatever the stick is called
    assert second["firstRoot"] == gap.digest
    assert not carry(gap)["change"]


REFUSED: dict[str, tuple[Callable[[World], None], int]] = {
    "tuf-rollback": (roll_back, 3),
    "tuf-expired": (run_out, 3),
    "tuf-signature": (forge_timestamp, 3),
    "tuf-signature ": (lose_a_signer, 3),
    "tuf-digest": (tamper, 3),
    "no-file": (lose_a_file, 5),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_stick_is_believed_no_more_than_a_server(gap: Gap, reason: str) -> None:
    gap.world.tuf.publish()
    gap.by_stick("--root-digest", gap.digest)
    spoil, code = REFUSED[reason]
    spoil(gap.world)
    error = gap.by_stick(expect=code)
    assert error["reason"] == reason.strip()
    assert f"stick {gap.sticks}" in error["message"], "it says what was read"
    assert gap.current() == OLD_ROOT


def test_metadata_that_ran_out_on_the_way_is_refused(gap: Gap) -> None:
    gap.by_stick("--root-digest", gap.digest)
    gap.world.tuf.publish()
    gap.world.days = 8
    assert gap.by_stick(expect=3)["reason"] == "tuf-expired"
    gap.world.days = 0


def test_an_older_bundle_that_comes_later_takes_nothing_back(gap: Gap) -> None:
    gap.by_bundle("--root-digest", gap.digest)
    older = gap.directory / "1.tar"
    gap.world.tuf.files["trusted_root.json"] = NEW_ROOT
    gap.world.tuf.publish()
    gap.by_bundle()
    gap.run("import", older)
    assert not gap.run("trust", "update", "--arrived")["change"]
    assert not any("passed over" in one for one in gap.warnings)
    assert gap.current() == NEW_ROOT


JUNK: dict[str, tuple[str, bytes]] = {
    "a timestamp of the newest version": (
        "timestamp.json",
        b'{"signed": {"_type": "timestamp", "version": 4000}, "signatures": []}',
    ),
    "no JSON": ("snapshot.json", b"junk"),
    "another's targets": ("targets.json", b'{"signed": {"version": 2}, "signatures": []}'),
    "a root that nobody signed": ("2.root.json", b'{"signed": {"version": 2}, "signatures": []}'),
    "a root too large": ("2.root.json", b" " * 600_000),
    "junk in place of a file": ("targets/trusted_root.json", b"junk"),
}


@pytest.mark.parametrize("what", JUNK)
def test_junk_that_arrived_is_passed_over_and_named(gap: Gap, what: str) -> None:
    """Whoever may send one bundle could else keep a site from the repository for ever."""
    gap.by_bundle("--root-digest", gap.digest)
    name, raw = JUNK[what]
    url = gap.run("trust", "update", "--arrived")["repository"]
    store = open_store(gap.inside, write=True)
    with store.atomic():
        path = f"{repository_place(url)}/{name}"
        put_arrived(store, ArrivedFile(path, raw, "ab" * 32, 2**40))  # the newest of all
    store.close()
    gap.world.tuf.files["trusted_root.json"] = NEW_ROOT
    gap.world.tuf.rotate("root", "timestamp")
    gap.world.tuf.publish()
    done = gap.by_bundle()
    assert done["change"] and gap.current() == NEW_ROOT
    if raw != b"junk":  # which is of no version and no digest, and not looked at first
        [warning] = [one for one in gap.warnings if "passed over" in one]
        assert sha256(raw).hexdigest() in warning and "abababababab" in warning


def test_all_junk_is_refused_for_what_the_newest_is(gap: Gap) -> None:
    gap.by_bundle("--root-digest", gap.digest)
    store = open_store(gap.inside, write=True)
    with store.atomic():
        store.execute(
            "UPDATE arrived_trust SET raw = x'6a756e6b' WHERE path LIKE '%timestamp.json'"
        )
    store.close()
    assert gap.run("trust", "update", "--arrived", expect=3)["reason"] == "tuf-malformed"
    assert gap.current() == OLD_ROOT


def test_what_arrives_again_is_the_newest_again(tmp_path: Path) -> None:
    """Else junk that comes later pushes out what an honest exporter sends each time."""
    store = create_store(tmp_path / "home")
    honest = ArrivedFile("trusted_root.json", b"honest", "aa", 10)
    with store.atomic():
        assert put_arrived(store, honest)
        for number in range(MAX_FILES - 1):
            put_arrived(store, ArrivedFile("trusted_root.json", b"%d" % number, "bb", 20))
        assert not put_arrived(store, replaced(honest, bundle_id="cc", arrived_at=30))
        put_arrived(store, ArrivedFile("trusted_root.json", b"one more", "bb", 31))
        forget_oldest(store)
        assert not put_arrived(store, replaced(honest, bundle_id="dd", arrived_at=29))
    [kept] = [one for one in arrived_files(store) if one.raw == b"honest"]
    assert (kept.bundle_id, kept.arrived_at) == ("cc", 30)
    store.close()


def test_another_repository_on_a_stick_is_another_repository(gap: Gap, tmp_path: Path) -> None:
    gap.by_stick("--root-digest", gap.digest)
    with HostileServer() as server:
        (tmp_path / "other").mkdir()
        other = World(tmp_path / "other", server, gap.world.capsys)
    words = ("trust", "update", "--directory", other.tuf.directory)
    assert gap.run(*words, expect=3)["reason"] == "tuf-signature"
    digest = sha256(other.tuf.read("1.root.json")).hexdigest()
    assert gap.run(*words, "--root-digest", digest, expect=8)["reason"] == "tuf-other-root"


def test_what_is_not_there_is_said(gap: Gap, tmp_path: Path) -> None:
    words = ("trust", "update", "--root-digest", gap.digest)
    error = gap.run(*words, "--directory", tmp_path / "nothing", expect=5)
    assert error["reason"] == "no-file" and "1.root.json" in error["message"]
    assert gap.run(*words, "--arrived", expect=5)["reason"] == "not-arrived"
    assert gap.run(*words, "--arrived", "--directory", tmp_path, expect=2)["reason"] == "usage"


def test_a_link_on_a_stick_leads_nowhere(gap: Gap) -> None:
    tuf = gap.world.tuf.directory
    (tuf / "timestamp.json").rename(tuf.parent / "elsewhere")
    (tuf / "timestamp.json").symlink_to(tuf.parent / "elsewhere")
    gap.run("trust", "update", "--directory", tuf, "--root-digest", gap.digest, expect=8)


def test_a_place_is_the_repositorys_whose_url_it_follows_from(tmp_path: Path) -> None:
    """Else whoever sends a bundle had another repository read for the one that is followed."""
    store = create_store(tmp_path / "home")
    url = "https://tuf.example/"
    lies = (f"https://liar{number}.example/" for number in range(100))
    lie = next(one for one in lies if repository_place(one) > repository_place(url))  # read last
    with store.atomic():
        for place, said in ((repository_place(lie), url), (repository_place(url), url)):
            for name, raw in ((REPOSITORY_FILE, said.encode()), ("timestamp.json", place.encode())):
                put_arrived(store, ArrivedFile(f"{place}/{name}", raw, "00", 1))
    found = that_arrived(store, None)
    assert found.url == url
    assert found.get(f"{url}timestamp.json", 1000).decode() == repository_place(url)
    for name in ("../timestamp.json", "a//b", ".hidden", "https://elsewhere/timestamp.json"):
        with pytest.raises(LimitError):
            found.get(f"{url}{name}" if "elsewhere" not in name else name, 1000)
    with pytest.raises(LimitError, match="larger"):
        found.get(f"{url}timestamp.json", 1)
    store.close()
