"""What is printed and receipted leads home: all that is missing, and one command that fills it."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from appliance.jobs.mirror.sync import sync
from appliance.store.database import open_store
from appliance.store.mirror.logs import add_log, put_backend, require_backend, require_log
from appliance.store.mirror.mirror import Mirror
from tests.mirror.mirrors import EVERYTHING
from tests.simulator import SimulatedLog
from tests.transfer.sites import INSIDE, OUTSIDE, Sites

SECOND_LOG = "second-log.example"


class TwoLogs(Sites):
    """Two logs on each stick, both mirrored outside with their entries."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(directory, capsys)
        self.other = SimulatedLog(SECOND_LOG)
        self.add_other(OUTSIDE)

    def add_other(self, site: str) -> None:
        with closing(open_store(self.home(site), write=True)) as store, store.atomic():
            known = add_log(store, self.other.origin, 2, self.other.key.spki)
            put_backend(store, "other", known, base_url=None, read_url=None)

    def grow_both(self, first: int, second: int) -> None:
        with closing(open_store(self.home(OUTSIDE), write=True)) as store:
            for log, count in ((self.log, first), (self.other, second)):
                log.grow(count)
                name = "sim" if log is self.log else "other"
                sync(store, require_backend(store, name), log, EVERYTHING, self.now)

    def carry(self, name: str, *words: str, expect: int = 0) -> dict[str, Any]:
        stick = self.stick(name)
        self.json(OUTSIDE, "export", "--output", stick, *words)
        found = self.answer(INSIDE, "import", stick)
        assert found["exitCode"] == expect, found
        return found

    def printed(self, text: str, name: str) -> list[str]:
        """Return the words of the command that a message ends with, for another file."""
        words = shlex.split(text[text.index("attestor export") :])
        assert words[-2] == "--output"
        return words[2:-2]

    def entries_missing(self, origin: str) -> int:
        with closing(open_store(self.home(INSIDE), write=False)) as store:
            mirror = Mirror(store, require_log(store, origin))
            head = mirror.history.mirror_checkpoint()
            return sum(1 for _ in mirror.missing_entry_bundles(head.head.tree_size if head else 0))


@pytest.fixture
def two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> TwoLogs:
    return TwoLogs(tmp_path, capsys)


def test_all_missing_bases_are_named_with_one_command_that_brings_everything(two: TwoLogs) -> None:
    two.add_other(INSIDE)
    two.grow_both(300, 40)
    two.carry("first.tar", "--full", "--include-entries")
    two.grow_both(300, 100)
    two.json(OUTSIDE, "export", "--output", two.stick("lost.tar"), "--include-entries")
    two.grow_both(10, 10)
    error = two.carry("late.tar", "--overlap", "1", "--include-entries", expect=5)["error"]
    assert error["reason"] == "missing-base"
    for origin in (two.log.origin, SECOND_LOG):
        assert origin in error["message"] and error["next"].count(f"--origin {origin}") == 1
    words = two.printed(error["next"], "gap.tar")
    assert "--include-entries" in words and words[words.index("--base") + 1] == "40"
    assert two.carry("gap.tar", *words)["warnings"] == []
    assert two.size(INSIDE) == 610
    assert two.entries_missing(two.log.origin) == two.entries_missing(SECOND_LOG) == 0
    assert two.answer(INSIDE, "import", two.stick("late.tar"))["exitCode"] == 0


def test_a_site_with_one_of_two_logs_gives_a_code_that_is_accepted(two: TwoLogs) -> None:
    two.grow_both(300, 40)
    [done] = two.carry("both.tar", "--full")["data"]["imports"]
    accept = ("receipt", "accept", "--code", done["receiptCode"], "--site")
    accepted = two.json(OUTSIDE, *accept, INSIDE)
    assert accepted["heads"][two.log.origin]["treeSize"] == 300
    assert accepted["heads"][SECOND_LOG] is None


def test_one_sites_code_is_not_taken_for_anothers(two: TwoLogs) -> None:
    two.grow_both(300, 40)
    [done] = two.carry("both.tar", "--full")["data"]["imports"]
    accept = ("receipt", "accept", "--code", done["receiptCode"], "--site", OUTSIDE)
    two.json(OUTSIDE, "exporters", "add", two.keys[OUTSIDE].vkey)
    assert two.json(OUTSIDE, *accept, expect=5)["reason"] == "unknown-code"


def test_a_stick_taken_again_once_its_gap_is_filled_tells_of_all(two: TwoLogs) -> None:
    two.add_other(INSIDE)
    two.grow_both(300, 40)
    two.carry("first.tar", "--full", "--origin", SECOND_LOG)
    two.grow_both(10, 10)
    half = two.carry("half.tar", "--since-size", "40", expect=5)
    two.carry("gap.tar", *two.printed(half["error"]["next"], "gap.tar"))
    [again] = two.answer(INSIDE, "import", two.stick("half.tar"))["data"]["imports"]
    heads = two.json(OUTSIDE, "receipt", "accept", again["receipt"])["heads"]
    assert {origin: head["treeSize"] for origin, head in heads.items()} == {
        two.log.origin: 310,
        SECOND_LOG: 50,
    }


def test_the_printed_command_brings_the_entries_too_even_if_the_stick_had_none_new(
    two: TwoLogs,
) -> None:
    two.grow_both(300, 40)
    error = two.carry(
        *("at-head.tar", "--origin", two.log.origin, "--since-size", "300", "--include-entries"),
        expect=5,
    )["error"]
    words = two.printed(error["next"], "gap.tar")
    assert {"--base", "all", "--include-entries"} <= set(words)
    two.carry("gap.tar", *words)
    assert two.entries_missing(two.log.origin) == 0


def test_a_gap_in_the_entries_is_named_and_filled(two: TwoLogs) -> None:
    two.grow_both(300, 40)
    origin = ("--origin", two.log.origin)
    two.carry("first.tar", *origin, "--full", "--include-entries")
    two.grow_both(600, 0)
    [warning] = two.carry("tiles.tar", *origin, "--since-size", "300")["warnings"]
    assert "of its entries those from 256 on" in warning and "up to 900" in warning
    assert two.entries_missing(two.log.origin) > 0
    assert two.carry("gap.tar", *two.printed(warning, "gap.tar"))["warnings"] == []
    assert two.entries_missing(two.log.origin) == 0


def test_a_site_that_lost_everything_says_so_by_its_own_stick(two: TwoLogs) -> None:
    two.grow_both(300, 40)
    [done] = two.carry("first.tar", "--full")["data"]["imports"]
    two.json(OUTSIDE, "receipt", "accept", done["receipt"])
    stick = two.stick("inside.tar")
    two.change(
        INSIDE,
        "UPDATE log SET mirror_size = NULL",
        "DELETE FROM tile",
        "DELETE FROM checkpoint_note",
        "DELETE FROM checkpoint",
    )
    two.json(INSIDE, "export", "--output", stick)
    two.json(OUTSIDE, "import", stick)
    planned = two.json(OUTSIDE, "export", "--dry-run", "--output", two.stick("next.tar"))
    bases = {log["origin"]: log["baseSize"] for log in planned["logs"]}
    assert bases[two.log.origin] is None


def test_a_refused_import_is_in_the_journal_and_with_a_handler_in_the_custody_list(
    two: TwoLogs,
) -> None:
    two.grow_both(10, 10)
    stick = two.stick("bad\nname.tar")
    two.json(OUTSIDE, "export", "--output", two.stick("good.tar"))
    raw = two.stick("good.tar").read_bytes()
    stick.write_bytes(raw[:-1] + b"x")
    two.json(INSIDE, "import", "--dry-run", stick, expect=3)
    two.json(INSIDE, "import", stick, expect=3)
    lines = two.json(INSIDE, "journal", "list", "--event", "import.refused")["lines"]
    assert [line["details"]["file"] for line in lines] == ["bad\nname.tar"]
    assert two.json(INSIDE, "custody", "show")["lines"] == []  # nobody said who they are
    two.json(INSIDE, "import", "--handler", "A. Courier", stick, expect=3)
    [line] = two.json(INSIDE, "custody", "show")["lines"]
    assert (line["action"], line["who"]) == ("refused", "A. Courier")
    assert line["remark"].startswith("'bad\\nname.tar': ") and line["bundleId"] in ("", None)
    assert two.json(INSIDE, "store", "check")
    assert two.answer(INSIDE, "journal", "verify")["exitCode"] == 0
