"""The one renderer from values to JSON."""

from __future__ import annotations

import enum
from pathlib import Path

import pytest

from appliance.cli.members import json_value, members
from appliance.value import frozen


class Word(enum.Enum):
    GOOD = "good"


class Code(enum.IntEnum):
    BAD = 3


@frozen
class Inner:
    tree_size: int
    root_hash: bytes


@frozen
class Report:
    n_bytes: int
    created_at: int | None
    word: Word
    path: Path
    heads: tuple[Inner, ...]
    span: range
    counts: dict[str, int]


REPORT = Report(
    5, 0, Word.GOOD, Path("a/b"), (Inner(7, b"\xab"),), range(2, 9), {"createdAt_at": 1}
)


def test_a_value_is_an_object_of_its_fields() -> None:
    assert members(REPORT) == {
        "bytes": 5,
        "createdAt": "1970-01-01T00:00:00Z",
        "word": "good",
        "path": "a/b",
        "heads": [{"treeSize": 7, "rootHash": "ab"}],
        "span": [2, 9],
        "counts": {"createdAt_at": 1},  # whoever made a mapping has named what is in it
    }


def test_fields_are_chosen_and_others_added_in_order() -> None:
    found = members(REPORT, "path", "n_bytes", from_=1, created=0, at=None, entry_index=4)
    assert list(found.items()) == [
        ("path", "a/b"),
        ("bytes", 5),
        ("from", 1),
        ("created", "1970-01-01T00:00:00Z"),
        ("at", None),
        ("index", 4),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (1.5, 1.5),
        ("at", "at"),
        (Code.BAD, 3),
        ((), []),
        ([{"a": b"\0"}], [{"a": "00"}]),
    ],
)
def test_each_kind_of_value_has_one_form(value: object, expected: object) -> None:
    assert json_value(value) == expected


def test_a_flag_of_a_time_is_no_time() -> None:
    assert members(at=False) == {"at": False}


def test_what_has_no_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="lock: object has no form in JSON"):
        members(lock=object())
