"""log get: an entry over the network is in the log, or nothing of it is printed."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from appliance.tlog.checkpoint import Checkpoint
from appliance.tlog.entries import format_entry_bundle
from appliance.tlog.merkle import TreeHead, as_hash, leaf_hash
from appliance.tlog.note import SigningKey, sign_note
from tests.interop.rekor_server import static_file_server
from tests.private_log.private_homes import NOW, ORIGIN, SEED, log_bodies, make_home
from tests.private_log.test_recover import static_tree
from tests.serve.running_log import RunningLog, running_log, verified_index
from tests.tlog.reference import tree_hash

KEY = SigningKey(ORIGIN, SEED)
SIZE = 300
BODIES = [b"entry %d" % number for number in range(SIZE)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("log") / "home"
    make_home(made)
    log_bodies(made, BODIES[:256])
    log_bodies(made, BODIES[256:])
    return made


@pytest.fixture(scope="module")
def log(home: Path) -> Iterator[RunningLog]:
    with running_log(home) as server:
        yield server


@pytest.fixture
def tree(home: Path, tmp_path: Path) -> Path:
    return static_tree(home, tmp_path / "tree")


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """The log's key, as its operator hands it out."""
    file = tmp_path / "log.pub"
    file.write_bytes(KEY.verifier.spki)
    return file


class Client:
    """Somebody who reads logs, with a home or without."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.capsys = capsys

    def get(self, url: str, index: int, *options: str | Path, expect: int = 0) -> Any:
        words = ["log", "get", "--url", url, "--log-index", str(index), *map(str, options)]
        code = run([*words, "--json"], Session(home=self.home, now=lambda: NOW))
        out, err = self.capsys.readouterr()
        assert code == expect, out + err
        answer = json.loads(out)
        return answer["error"] if expect else answer["data"]


@pytest.fixture
def stranger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Client:
    return Client(tmp_path / "no home", capsys)


@pytest.mark.parametrize("index", [0, 255, 256, 299])
def test_an_entry_is_proven_with_nothing_but_the_logs_key(
    log: RunningLog, stranger: Client, pem: Path, index: int
) -> None:
    found = stranger.get(log.url, index, "--key", pem, "--origin", ORIGIN)
    assert found["body"].encode() == BODIES[index]
    assert found["leafHash"] == leaf_hash(BODIES[index]).hex()
    assert (found["treeSize"], found["rootHash"]) == (SIZE, tree_hash(BODIES).hex())
    assert verified_index(found["entry"], KEY.verifier) == index == found["index"]
    assert not stranger.home.exists()


def test_a_verifier_key_names_the_log_too(
    log: RunningLog, stranger: Client, tmp_path: Path
) -> None:
    file = tmp_path / "log.vkey"
    file.write_text(KEY.verifier.vkey + "\n")
    assert stranger.get(log.url, 3, "--key", file)["origin"] == ORIGIN


def test_people_see_the_body_and_what_was_proven(
    log: RunningLog, pem: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["log", "get", "--url", log.url, "--log-index", "7", "--key", str(pem)]
    assert run([*words, "--origin", ORIGIN], Session(home=tmp_path / "none")) == 0
    out, _ = capsys.readouterr()
    assert out.startswith(f"{ORIGIN} 7: no Rekor entry, proven in the tree of 300\n")
    assert "  body     entry 7\n" in out


def test_the_logs_own_home_knows_its_key(
    home: Path, log: RunningLog, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "entry.json"
    found = Client(home, capsys).get(log.url, 299, "--output", output)
    assert found["origin"] == ORIGIN
    assert json.loads(output.read_bytes()) == found["entry"]


def test_of_several_logs_the_backend_at_that_url_says_which(
    log: RunningLog, capsys: pytest.CaptureFixture[str], tmp_path: Path, pem: Path
) -> None:
    mirror = Client(tmp_path / "mirror", capsys)
    session = Session(home=mirror.home, now=lambda: NOW)
    assert run(["init", "--site", "mirror.example"], session) == 0
    for name, origin, url in (
        ("own", ORIGIN, log.url),
        ("other", "other.example", "http://127.0.0.1:1"),
    ):
        add = ["backend", "add", name, "--origin", origin, "--url", url, "--public-key", str(pem)]
        assert run(add, session) == 0
    capsys.readouterr()
    assert mirror.get(log.url + "/", 1)["origin"] == ORIGIN
    error = mirror.get(log.url.replace("127.0.0.1", "localhost"), 1, expect=5)
    assert (error["reason"], "other.example" in error["message"]) == ("no-log-key", True)
    localhost = log.url.replace("127.0.0.1", "localhost")
    assert mirror.get(localhost, 1, "--origin", ORIGIN)["index"] == 1
    # The other log's pin is not this log's word.
    assert mirror.get(log.url, 1, "--origin", "other.example", expect=3)
    # Of a log that contradicted itself nothing rests on the tree it shows now.
    with closing(sqlite3.connect(mirror.home / "attestor.db")) as opened, opened:
        opened.execute(
            "INSERT INTO quarantine (log_id, last_common_size, alert_number, since)"
            " SELECT id, 10, 1, 0 FROM log WHERE origin = ?",
            [ORIGIN],
        )
    assert mirror.get(log.url, 1, expect=8)["reason"] == "quarantined"


@pytest.mark.parametrize("below", ["", "api/v2/"])
def test_any_server_of_its_files_will_do(
    tree: Path, stranger: Client, pem: Path, tmp_path: Path, below: str
) -> None:
    place = tmp_path / "served"
    shutil.copytree(tree, place / below)
    with static_file_server(place) as url:
        found = stranger.get(url, 256, "--key", pem, "--origin", ORIGIN)
    assert found["body"].encode() == BODIES[256]


def _other_bundle(tree: Path) -> None:
    bundle = tree / "tile" / "entries" / "001.p" / "44"
    changed = [b"another", *BODIES[257:]]
    bundle.write_bytes(format_entry_bundle(changed))


def _other_tile(tree: Path) -> None:
    tile = tree / "tile" / "0" / "001.p" / "44"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])


def _other_checkpoint(tree: Path) -> None:
    head = TreeHead(SIZE, as_hash(bytes(32)))
    key = SigningKey(ORIGIN, bytes(32))
    (tree / "checkpoint").write_bytes(sign_note(str(Checkpoint(ORIGIN, head)), [key]))


def _other_root(tree: Path) -> None:
    head = TreeHead(SIZE, as_hash(bytes(32)))
    (tree / "checkpoint").write_bytes(sign_note(str(Checkpoint(ORIGIN, head)), [KEY]))


@pytest.mark.parametrize("lie", [_other_bundle, _other_tile, _other_checkpoint, _other_root])
def test_what_is_not_proven_is_not_printed(
    tree: Path, stranger: Client, pem: Path, lie: Any
) -> None:
    lie(tree)
    with static_file_server(tree) as url:
        error = stranger.get(url, 256, "--key", pem, "--origin", ORIGIN, expect=3)
    assert "another" not in error["message"]


def test_what_is_missing_is_said(
    log: RunningLog, stranger: Client, pem: Path, tmp_path: Path
) -> None:
    key = ("--key", pem, "--origin", ORIGIN)
    beyond = stranger.get(log.url, SIZE, *key, expect=5)
    assert (beyond["reason"], "300 entries" in beyond["message"]) == ("not-covered", True)
    assert stranger.get(log.url, 0, "--key", pem, expect=2)["reason"] == "no-origin"
    assert stranger.get(log.url, 0, expect=6)["reason"] == "no-store"
    other = stranger.get(log.url, 0, "--key", pem, "--origin", "other.example", expect=3)
    assert "other.example" in other["message"]
    (tmp_path / "empty").mkdir()
    with static_file_server(tmp_path / "empty") as url:
        nothing = stranger.get(url, 0, *key, expect=7)
    assert "its checkpoint and tiles are read" in nothing["next"]
    assert stranger.get("http://127.0.0.1:1", 0, *key, expect=7)["reason"] == "unreachable"
