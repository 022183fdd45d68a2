"""log tuf-repository: what python-tuf's own client sees at every instant, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import pytest
from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from appliance.cli.main import run
from appliance.runs import tuf_repository as runs
from appliance.runs.session import Session
from appliance.sigstore.tuf_writing import KEY_OF
from tests.private_log.private_homes import NOW, make_home

DAY = 86_400
NAMES = ("trusted_root.json", "signing_config.v0.2.json")


class DirectoryFetcher(FetcherInterface):
    """python-tuf's way to the files: what a web server in front of the directory would serve."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        path = self.directory / url.removeprefix("http://tuf/")
        if not path.is_file():
            raise exceptions.DownloadHTTPError("not there", 404)
        yield BytesIO(path.read_bytes())

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotImplementedError


class Client:
    """A client that keeps what it saw, as cosign and the others do."""

    def __init__(self, directory: Path, root: bytes) -> None:
        self.directory = directory
        directory.mkdir()
        self.root = root

    def update(self, repository: Path, now: int) -> dict[str, bytes]:
        updater = Updater(
            metadata_dir=str(self.directory),
            metadata_base_url="http://tuf/",
            target_base_url="http://tuf/targets/",
            target_dir=str(self.directory),
            fetcher=DirectoryFetcher(repository),
            bootstrap=self.root,
        )
        updater._trusted_set.reference_time = datetime.fromtimestamp(now, UTC)
        updater.refresh()
        found = {}
        for name in NAMES:
            target = updater.get_targetinfo(name)
            assert target is not None
            found[name] = Path(updater.download_target(target)).read_bytes()
        return found


class Site:
    """A home with a log, the repository it keeps, and a clock."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.tuf, self.clients = (directory / one for one in ("home", "tuf", "clients"))
        self.capsys = capsys
        self.now = NOW
        self.random = 0
        make_home(self.home)
        self("client-config", "--output", self.clients)

    def random_bytes(self, n: int) -> bytes:
        self.random += 1
        return bytes([self.random]) * n

    def __call__(self, *arguments: str | Path, expect: int = 0) -> dict[str, Any]:
        session = Session(home=self.home, now=lambda: self.now, random_bytes=self.random_bytes)
        code = run(["log", *map(str, arguments), "--json"], session)
        answer: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        assert (code, answer["exitCode"]) == (expect, expect), answer
        return answer

    def keep(self, *options: str | Path, expect: int = 0) -> dict[str, Any]:
        answer = self("tuf-repository", self.tuf, *options, expect=expect)
        found: dict[str, Any] = answer["error"] if expect else answer["data"]
        return found

    def make(self) -> dict[str, Any]:
        return self.keep("--client-config", self.clients)

    def root(self, version: int = 1) -> bytes:
        return (self.tuf / f"{version}.root.json").read_bytes()

    def another_config(self) -> None:
        self("client-config", "--url", f"http://127.0.0.1:{self.random}", "--output", self.clients)

    def remove_key(self, name: str) -> Path:
        kept = self.home.parent / name
        (self.home / "keys" / f"{name}.key").rename(kept)
        return kept


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path, capsys)


def versions(answer: dict[str, Any]) -> list[int]:
    return [answer["metadata"][role]["version"] for role in KEY_OF]


def test_a_client_of_python_tuf_follows_every_change(site: Site, tmp_path: Path) -> None:
    made = site.make()
    assert (versions(made), made["newKeys"]) == (
        [1, 1, 1, 1],
        ["build.tuf-offline-1", "build.tuf-online-1"],
    )
    client = Client(tmp_path / "client", site.root())
    steps: tuple[tuple[tuple[str, ...], int], ...] = (
        ((), 0),
        (("--refresh",), 5),
        (("--rotate", "online"), 1),
        (("--refresh",), 20),
        (("--rotate", "offline"), 1),
        (("--rotate", "offline", "--rotate", "online"), 1),
        (("--client-config", str(site.clients)), 1),
        ((), 300),
        (("--refresh",), 4),
    )
    for options, days in steps:
        site.now += days * DAY
        site.another_config()
        site.keep(*options)
        late = Client(tmp_path / f"late{site.now}{options}".replace("/", "_"), site.root())
        assert client.update(site.tuf, site.now) == late.update(site.tuf, site.now)
    roots = Metadata[Root].from_bytes(site.root(5))
    assert roots.signed.version == 5 and not (site.tuf / "6.root.json").exists()


def test_nothing_due_writes_nothing_and_half_a_life_is_due(site: Site) -> None:
    site.make()
    before = {path: path.stat().st_mtime_ns for path in site.tuf.rglob("*")}
    assert site.keep("--refresh")["changed"] == []
    assert site.make()["changed"] == []
    assert {path: path.stat().st_mtime_ns for path in site.tuf.rglob("*")} == before
    site.now += 3 * DAY
    assert site.keep("--refresh")["changed"] == []
    site.now += 1 * DAY
    assert site.keep("--refresh")["changed"] == ["timestamp"]
    site.now += 13 * DAY
    assert site.keep("--refresh")["changed"] == ["snapshot", "timestamp"]
    site.now += 200 * DAY
    answer = site.keep()
    assert answer["changed"] == ["root", "snapshot", "targets", "timestamp"]


def test_a_timestamp_promises_no_more_than_the_snapshot_holds(site: Site) -> None:
    site.keep("--client-config", site.clients, "--timestamp-days", "7")
    site.now += 14 * DAY  # the snapshot has 16 days left, more than half of its life
    answer = site.keep("--refresh", "--timestamp-days", "20")
    assert answer["changed"] == ["snapshot", "timestamp"]
    ends = {role: one["expires"] for role, one in answer["metadata"].items()}
    assert ends["timestamp"] <= ends["snapshot"] <= ends["targets"]


def test_refreshing_needs_the_online_key_alone(site: Site) -> None:
    site.make()
    kept = site.remove_key("build.tuf-offline-1")
    site.now += 5 * DAY
    assert site.keep("--refresh")["changed"] == ["timestamp"]
    site.another_config()
    before = {path: path.read_bytes() for path in site.tuf.rglob("*.json")}
    error = site.keep("--client-config", site.clients, expect=5)
    assert error["reason"] == "no-key" and "offline" in error["message"]
    assert site.keep("--rotate", "offline", expect=5)["reason"] == "no-key"
    assert {path: path.read_bytes() for path in site.tuf.rglob("*.json")} == before
    kept.rename(site.home / "keys" / "build.tuf-offline-1.key")
    assert "targets" in site.keep("--client-config", site.clients)["changed"]


def test_a_lost_online_key_is_replaced_by_the_word_of_the_offline_one(
    site: Site, tmp_path: Path
) -> None:
    site.make()
    client = Client(tmp_path / "client", site.root())
    client.update(site.tuf, site.now)
    site.remove_key("build.tuf-online-1")
    site.now += 5 * DAY
    assert site.keep("--refresh", expect=5)["reason"] == "no-key"
    assert site.keep("--rotate", "online")["newKeys"] == ["build.tuf-online-2"]
    client.update(site.tuf, site.now)


def test_a_key_that_was_replaced_signs_nothing_that_counts(site: Site) -> None:
    site.make()
    site.keep("--rotate", "online")
    site.now += 5 * DAY
    site.keep("--refresh")
    root = Metadata[Root].from_bytes(site.root(2)).signed
    timestamp = json.loads((site.tuf / "timestamp.json").read_bytes())
    assert {one["keyid"] for one in timestamp["signatures"]} == set(root.roles["timestamp"].keyids)
    assert not set(root.roles["timestamp"].keyids) & set(root.roles["root"].keyids)


@pytest.mark.parametrize(
    "options", [("--rotate", "online"), ("--rotate", "offline", "--rotate", "online"), ()]
)
def test_a_reader_never_sees_a_mixture_and_a_kill_loses_nothing(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """After each file that appears, old and new clients update; then the run dies there."""
    site.make()
    old = Client(tmp_path / "old", site.root())
    old.update(site.tuf, site.now)
    site.another_config()
    arguments = options or ("--client-config", str(site.clients))
    write = runs._write
    places = 0

    class Died(Exception):
        pass

    for place in range(10):

        def dying(directory: Path, documents: list[tuple[str, bytes]], at: int = place) -> None:
            write(directory, documents[:at])
            if at < len(documents):
                raise Died

        monkeypatch.setattr(runs, "_write", dying)
        try:
            site.keep(*arguments)
        except Died:
            places += 1
        else:
            break
        finally:
            monkeypatch.setattr(runs, "_write", write)
        seen = old.update(site.tuf, site.now)
        assert Client(tmp_path / f"new{place}", site.root()).update(site.tuf, site.now) == seen
        site.capsys.readouterr()
    assert places >= 3
    names = [path.name for path in (site.home / "keys").glob("build.tuf-*")]
    assert len(names) == 2 + len(options) // 2, "a run that died left a key, which the next took"
    old.update(site.tuf, site.now)


def test_a_making_that_died_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    write = runs._write

    class Died(Exception):
        pass

    def dying(directory: Path, documents: list[tuple[str, bytes]]) -> None:
        write(directory, documents[:-1])
        raise Died

    monkeypatch.setattr(runs, "_write", dying)
    with pytest.raises(Died):
        site.make()
    monkeypatch.undo()
    assert not (site.tuf / "1.root.json").exists()
    made = site.make()
    assert versions(made)[0] == 1
    assert len(list((site.home / "keys").glob("build.tuf-*"))) == 2


def test_an_older_copy_is_not_continued(site: Site, tmp_path: Path) -> None:
    site.make()
    shutil.copytree(site.tuf, tmp_path / "old")
    site.now += 5 * DAY
    site.keep("--refresh")
    newest = tmp_path / "newest"
    site.tuf.rename(newest)
    (tmp_path / "old").rename(site.tuf)
    error = site.keep("--refresh", expect=8)
    assert error["reason"] == "tuf-older" and "timestamp is version 1" in error["message"]
    shutil.rmtree(site.tuf)
    assert site.keep("--refresh", expect=8)["reason"] == "tuf-missing"
    assert site.keep("--client-config", site.clients, expect=8)["reason"] == "tuf-missing"
    newest.rename(site.tuf)
    assert site.keep("--start-over", "--client-config", site.clients, expect=8)["reason"] == (
        "not-empty"
    )
    site.keep("--refresh")


def test_starting_over_makes_new_keys(site: Site, tmp_path: Path) -> None:
    site.make()
    first = site.root()
    shutil.rmtree(site.tuf)
    made = site.keep("--start-over", "--client-config", site.clients)
    assert made["newKeys"] == ["build.tuf-offline-2", "build.tuf-online-2"]
    with pytest.raises(exceptions.UnsignedMetadataError):
        Client(tmp_path / "old", first).update(site.tuf, site.now)
    Client(tmp_path / "new", site.root()).update(site.tuf, site.now)


def test_what_no_key_vouches_for_is_not_signed(site: Site) -> None:
    site.make()
    site.now += 5 * DAY
    for name, reason in (
        ("timestamp.json", "tuf-signature"),
        ("1.targets.json", "tuf-digest"),
        (next((site.tuf / "targets").glob("*.trusted_root.json")).relative_to(site.tuf), None),
    ):
        path = site.tuf / name
        raw = path.read_bytes()
        path.write_bytes(raw.replace(b"2025", b"2024").replace(b"2026", b"2027"))
        assert path.read_bytes() != raw
        assert site.keep("--refresh", expect=3)["reason"] == (reason or "tuf-digest")
        path.write_bytes(raw)
    assert site.keep("--refresh")["changed"] == ["timestamp"]


def test_files_of_another_log_or_none_are_refused(site: Site, tmp_path: Path) -> None:
    assert site.keep("--refresh", expect=2)["reason"] == "argument"
    assert site.keep("--refresh", "--rotate", "online", expect=2)["reason"] == "usage"
    assert site.keep("--client-config", tmp_path / "absent", expect=5)["reason"] == "no-file"
    root = site.clients / "trusted_root.json"
    raw = root.read_bytes()
    root.write_bytes(raw[:-9])
    assert str(root) in site.keep("--client-config", site.clients, expect=3)["message"]
    root.write_bytes(raw.replace(b'"keyId": "', b'"keyId": "AAAA', 1).replace(b'="', b'"', 1))
    site.keep("--client-config", site.clients, expect=3)
    document = json.loads(raw)
    document["tlogs"] = []
    root.write_text(json.dumps(document))
    assert site.keep("--client-config", site.clients, expect=8)["reason"] == "other-log"
    root.write_bytes(raw)
    site.tuf.mkdir()
    (site.tuf / "index.html").write_text("mine")
    assert site.keep("--client-config", site.clients, expect=8)["reason"] == "not-empty"
    assert [path.name for path in site.tuf.iterdir()] == ["index.html"]


def test_what_the_offline_key_signs_is_warned_of_in_time(site: Site) -> None:
    site.make()
    site.now += 310 * DAY
    answer = site("tuf-repository", site.tuf, "--refresh")
    assert [one.split()[0] for one in answer["warnings"]] == ["root", "targets"]
    assert site("tuf-repository", site.tuf)["warnings"] == []


def test_a_tuf_key_signs_no_log(site: Site) -> None:
    site.make()
    answer = site("create", "other", "--origin", "build.tuf-online-1", "--use-key", expect=8)
    assert answer["error"]["reason"] == "key-role"
