"""The record of what a private log signed last: one spelling, one place, swapped not written."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import MalformedError, StoreError
from appliance.store.database import Store
from appliance.store.private_log.last_signed import (
    LastSigned,
    parse_last_signed,
    place_of,
    read_last_signed,
    staged_blobs,
    swap_last_signed,
)

RECORD = LastSigned("ab" * 32, 300, b"\x07" * 32, b"log.example\n5\nroot\n\n\xe2\x80\x94 x y\n")
ORIGIN = "log.example"


@given(
    st.integers(0, 2**63),
    st.one_of(st.none(), st.binary(min_size=32, max_size=32)),
    st.binary(max_size=200),
)
def test_a_record_comes_back(base: int, staged: bytes | None, note: bytes) -> None:
    record = LastSigned("0" * 64, base, staged, note)
    assert parse_last_signed(bytes(record)) == record


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        assert bytes(parse_last_signed(data)) == data


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"last-signed/1", b"last-signed/2"),
        (b"base 300", b"base +300"),
        (b"base 300", b"base 0300"),
        (b"base 300", b"base"),
        (b"staged 07", b"staged 7"),
        (b"staged 0707", b"staged 07"),
        (b"staged ", b"staged  "),
        (b"place ", b"place"),
        (b"\n\n", b"\n"),
        (b"staged 07", b"staged \xff7"),
    ],
)
def test_another_spelling_is_refused(old: bytes, new: bytes) -> None:
    raw = bytes(RECORD)
    assert old in raw
    with pytest.raises(MalformedError):
        parse_last_signed(raw.replace(old, new, 1))


def test_a_record_is_swapped_only_for_the_expected_one(store: Store, home: Path) -> None:
    assert read_last_signed(home, ORIGIN) is None
    swap_last_signed(home, ORIGIN, expected=None, new=RECORD)
    assert read_last_signed(home, ORIGIN) == RECORD
    newer = LastSigned(RECORD.place, 301, None, b"newer")
    for wrong in (None, newer):
        with pytest.raises(StoreError) as caught:
            swap_last_signed(home, ORIGIN, expected=wrong, new=newer)
        assert caught.value.reason == "last-record"
    swap_last_signed(home, ORIGIN, expected=RECORD, new=newer)
    assert read_last_signed(home, ORIGIN) == newer


def test_staged_blobs_are_those_that_the_records_name(store: Store, home: Path) -> None:
    assert staged_blobs(home) == frozenset()
    swap_last_signed(home, ORIGIN, expected=None, new=RECORD)
    swap_last_signed(home, "b", expected=None, new=LastSigned("ab" * 32, 0, None, b"x"))
    assert staged_blobs(home) == {RECORD.staged}
    (home / "keys" / "b.last").write_bytes(b"damaged")
    with pytest.raises(MalformedError):
        staged_blobs(home)


def test_a_moved_home_is_in_the_same_place_a_copied_one_is_not(
    store: Store, home: Path, memory: Path
) -> None:
    here = place_of(home)
    shutil.copytree(home, memory / "copy")
    assert place_of(memory / "copy") != here
    home.rename(memory / "moved")
    assert place_of(memory / "moved") == here
    with pytest.raises(StoreError):
        place_of(memory / "none")
