"""custody: a list that grows, and shows when somebody changed it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from appliance.store.transfer.custody import CustodyFacts, custody_lines
from appliance.tlog.hash_chain import START, link
from appliance.value import field_names, replaced
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
    assert "sealed" in text and "4711" in text and text.endswith(f"head {digest.hex()}\n")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE custody SET who = 'somebody else' WHERE id = 1",
        "DELETE FROM custody WHERE id = 1",
        "UPDATE custody SET digest = zeroblob(32) WHERE id = 2",
        "DELETE FROM custody WHERE id = 3",
        "DELETE FROM custody WHERE id > 1",
        "DELETE FROM custody",
        "INSERT INTO custody SELECT 4, at, action, who, bundle_id, medium, seal, ticket, remark,"
        " digest FROM custody WHERE id = 3",
    ],
)
def test_a_changed_cut_or_emptied_list_is_found(home: MirroredHome, change: str) -> None:
    for action in ("sealed", "handed-over", "received"):
        home.json(*ADD, "--action", action)
    with home.mirror() as mirror:
        mirror.store.execute(change)
    assert home.json("custody", "show", expect=3)["reason"] == "custody-chain"
    assert "custody list" in home.json("store", "check", expect=6)["message"]
    code, text, err = home.run("doctor")
    assert code == 3 and "custody list" in text + err


def test_a_list_rewritten_with_a_chain_of_its_own_is_found(home: MirroredHome) -> None:
    for who in ("A. Courier", "B. Courier"):
        home.json("custody", "add", "--who", who, "--action", "sealed")
    with home.mirror() as mirror:
        [first, second] = custody_lines(mirror.store)
        other = replaced(first.facts, who="nobody")
        mirror.store.execute("DELETE FROM custody")
        digest = START
        for line, facts in ((first, other), (second, second.facts)):
            digest = link(digest, replaced(line, facts=facts).text)
            values = [getattr(facts, name) for name in field_names(CustodyFacts)]
            mirror.store.execute(
                "INSERT INTO custody VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [line.id, line.at, *values, digest],
            )
    assert home.json("custody", "show", expect=3)["reason"] == "custody-chain"


def test_a_transfer_bundle_is_named_by_its_file(home: MirroredHome, tmp_path: Path) -> None:
    home.sync(20)
    written = home.json("export", "--output", tmp_path / "a.tar")
    added = home.json(*ADD, "--action", "sealed", "--bundle-file", tmp_path / "a.tar")
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
        (["--action", "sealed", "--bundle-file", "no-such-file"], 5, "no-such-file"),
        (["--action", "sealed", "--bundle", "stick.tar"], 2, "--bundle-file"),
    ],
)
def test_bad_lines_are_refused_and_nothing_is_added(
    home: MirroredHome, words: list[str], code: int, expected: str
) -> None:
    got, _, err = home.run(*ADD, *words)
    assert (got, expected in err) == (code, True), err
    assert home.json("custody", "show") == {"lines": [], "head": None}


def test_a_stick_has_its_custody_on_both_sides(
    home: MirroredHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from appliance.store.mirror.logs import add_log, put_backend
    from tests.cli.homes import Home

    home.sync(20)
    stick = tmp_path / "a.tar"
    said = ("--handler", "A. Courier", "--medium", "stick-07", "--seal", "4711", "--ticket", "T1")
    written = home.json("export", "--output", stick, *said)
    (left,) = home.json("custody", "show")["lines"]
    assert (left["action"], left["who"], left["bundleId"]) == (
        "exported",
        "A. Courier",
        written["bundleId"],
    )
    _, seen, _ = home.run("inspect", stick)
    assert "  carried A. Courier, medium stick-07, seal 4711, ticket T1\n" in seen
    inside = Home(tmp_path / "inside", capsys, "isolated")
    with home.mirror() as mirror:
        origin, spki = mirror.log.origin, home.log.key.spki
    from appliance.store.database import open_store

    store = open_store(inside.path, write=True)
    with store.atomic():
        put_backend(store, "sim", add_log(store, origin, 2, spki), base_url=None, read_url=None)
    store.close()
    vkey = home.json("key", "show", "site.example")["vkey"]
    inside.json("exporters", "add", vkey)
    for _ in range(2):
        inside.json("import", stick, "--handler", "B. Inside")
    (came,) = inside.json("custody", "show")["lines"]
    assert {name: came[name] for name in ("action", "who", "medium", "seal", "ticket")} == {
        "action": "imported",
        "who": "B. Inside",
        "medium": "stick-07",
        "seal": "4711",
        "ticket": "T1",
    }


def test_an_export_that_reads_back_other_bytes_is_no_export(
    home: MirroredHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.sync(20)
    stick = tmp_path / "a.tar"
    (volume,) = home.json("export", "--verify-media", "--output", stick)["volumes"]
    assert volume["readBack"] is True
    (volume,) = home.json("export", "--output", tmp_path / "b.tar")["volumes"]
    assert volume["readBack"] is False

    from appliance.store import filesystem as media

    class Losing:  # a stick of fake capacity gives back zeros
        def update(self, data: bytes) -> None:
            pass

        def digest(self) -> bytes:
            return bytes(32)

        def hexdigest(self) -> str:
            return bytes(32).hex()

    monkeypatch.setattr(media, "sha256", Losing)
    error = home.json("export", "--verify-media", "--output", tmp_path / "c.tar", expect=6)
    assert error["reason"] == "medium"
    assert not (tmp_path / "c.tar").exists()


def test_a_purpose_that_cannot_travel_is_wrong_usage(home: MirroredHome, tmp_path: Path) -> None:
    home.sync(20)
    for purpose in ("two\nlines", "x" * 1025):
        words = ("export", "--output", tmp_path / "a.tar", "--purpose", purpose)
        assert home.json(*words, expect=2)["message"].startswith("--purpose: expected printable")
    assert not (tmp_path / "a.tar").exists()


def test_the_short_id_that_the_list_shows_is_told_where_the_whole_one_is(
    home: MirroredHome,
) -> None:
    error = home.json("custody", "show", "--bundle", "92253daff60a", expect=2)
    assert "a bundle id (64 hex digits)" in error["message"]
    assert "custody show --json" in error["message"] and "--bundle-file" in error["message"]


def test_who_names_a_seal_says_who_answers_for_it(home: MirroredHome, tmp_path: Path) -> None:
    code, _, err = home.run("export", "--output", tmp_path / "a.tar", "--seal", "4711")
    assert (code, "--handler" in err) == (2, True)
    assert not (tmp_path / "a.tar").exists()
