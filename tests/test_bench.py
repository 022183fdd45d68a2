"""What scripts/bench says of a value: met, missed, or that it could not be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.tlog.tile import tiles_of
from appliance.tlog.tile_tree import TileTree
from scripts.bench import SLACK, main, report
from scripts.bench_transfer import measurements
from scripts.measures.carrying import SHORT, least
from scripts.measures.made_log import MadeLog
from scripts.measures.shape import Bench, Value, skipped


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [
        (1.0, False, "met"),
        (1.01, False, "missed"),
        (1.0, True, "met"),
        (0.99, True, "missed"),
        (None, False, "skipped"),
    ],
)
def test_a_value_meets_its_target_or_misses_it(
    value: float | None, at_least: bool, verdict: str
) -> None:
    one = Value("a tile", value, "ms", 1.0, at_least)
    assert one.verdict == verdict
    assert verdict in one.line()
    assert Value("a tile", 5.0, "ms").verdict == "-"
    assert skipped("a tile", "no curl").verdict == "skipped"


def test_the_short_form_has_room_for_noise_and_sees_a_third_more() -> None:
    full, short = Bench(Path(), short=False), Bench(Path(), short=True, slack=SLACK)
    assert full.bound(0.6, 0.07) == 0.6
    bound, floor = short.bound(0.6, 0.07), short.floor(200, 90)
    assert bound is not None and 0.07 * 1.2 < bound < 0.07 * 1.3
    assert floor is not None and 90 / 1.3 < floor < 90 / 1.2
    assert short.bound(0.6) is None


def test_what_is_missed_ends_it_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for limit, code in ((2.0, 0), (1.0, 1)):
        value = Value("a tile", 1.5, "ms", limit)
        monkeypatch.setattr("scripts.bench.MEASURES", {"P5": ("sync", (lambda _, v=value: [v],))})
        monkeypatch.setattr(
            "sys.argv", ["bench", "--short", "--json", "--directory", str(tmp_path)]
        )
        assert main() == code
        assert ('"missed"' in capsys.readouterr().out) == bool(code)
    shown = report([("P5", Value("a tile", 1.5, "ms", 1.0))], 0.0, 1.0)["values"]
    assert shown[0].items() >= {"subject": "P5", "verdict": "missed", "bound": "atMost"}.items()


@pytest.mark.parametrize("size", [1, 256, 257, 70_000])
def test_a_made_log_is_a_real_one(size: int) -> None:
    log = MadeLog(size)
    TileTree(log.head).load(tiles_of(size), lambda tiles: {one: log.tile(one) for one in tiles})
    assert log.answer("checkpoint") == log.note
    assert log.answer("tile/0/000.p/7") == log.roots[0] * 7


def test_every_way_to_carry_a_log_has_what_is_wanted_of_it() -> None:
    """In the long form too, which has more of them than the short one has bounds."""
    full, short = Bench(Path(), short=False), Bench(Path(), short=True, slack=SLACK)
    for name, peer, target in measurements([1, 2]):
        if peer:
            assert least(full, name, "wall", target) == target
            assert least(full, name, "cpu", target) is None
    wanted = {name: least(short, name, "cpu", target) for name, _, target in measurements([1])}
    assert {name for name, one in wanted.items() if one is not None} == set(SHORT)
