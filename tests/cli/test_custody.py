"""custody: a list that grows, and shows when somebody changed it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from tests.cli.mirrored import MirroredHome

ADD = ("custody", "add", "--who", "A. Courier")


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


def test_lines_are_added_shown_and_chained(home: MirroredHome, tmp_path: Path) -> None:
    first = home.json(*ADD, "--action", "sealed", "--seal", "4711", "--medium", "stick-07")
    home.json(*ADD, "--action", "handed-over", "--dry-run")
    second = home.json(*ADD, "--action", "handed-over", "--remark", "Tür 3")
    assert (first["id"], second["id"]) == (1, 2)
    shown = home.json("custody", "show", "--output", tmp_path / "custody.jsonl")
    assert [one["action"] for one in shown["lines"]] == ["sealed", "handed-over"]
    digest = bytes(32)
    for line in (tmp_path / "custody.jsonl").read_bytes().splitlines():
        assert json.loads(line)["who"] == "A. Courier"
        digest = sha256(digest + line).digest()
    assert shown["head"] == second["digest"] == digest.hex()
    _, text, _ = home.run("custody", "show")
    assert "sealed" in text and "seal 4711" in text and text.endswith(f"head {digest.hex()}\n")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE custody SET who = 'somebody else' WHERE id = 1",
        "DELETE FROM custody WHERE id = 1",
        "UPDATE custody SET digest = zeroblob(32) WHERE id = 2",
    ],
)
def test_a_changed_list_is_a_clear_3(home: MirroredHome, change: str) -> None:
    for action in ("sealed", "handed-over", "received"):
        home.json(*ADD, "--action", action)
    with home.mirror() as mirror:
        mirror.store.execute(change)
    assert home.json("custody", "show", expect=3)["reason"] == "custody-chain"


def test_a_transfer_bundle_is_named_by_its_file(home: MirroredHome, tmp_path: Path) -> None:
    home.sync(20)
    written = home.json("export", "--output", tmp_path / "a.tar")
    added = home.json(*ADD, "--action", "sealed", "--bundle", tmp_path / "a.tar")
    assert added["bundleId"] == written["bundleId"]
    home.json(*ADD, "--action", "wiped", "--medium", "stick-08")
    (only,) = home.json("custody", "show", "--bundle", written["bundleId"])["lines"]
    assert only["action"] == "sealed"


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["--action", "Handed over"], 2, "--action"),
        (["--action", "sealed", "--seal", "a\nb"], 2, "--seal"),
        (["--action", "sealed", "--remark", "x" * 201], 2, "--remark"),
        (["--action", "sealed", "--bundle", "no-such-file"], 5, "no-such-file"),
    ],
)
def test_bad_lines_are_refused_and_nothing_is_added(
    home: MirroredHome, words: list[str], code: int, expected: str
) -> None:
    got, _, err = home.run(*ADD, *words)
    assert (got, expected in err) == (code, True), err
    assert home.json("custody", "show") == {"lines": [], "head": None}
