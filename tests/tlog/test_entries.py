"""Entry bundles: what was joined splits, and nothing else does."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import MalformedError
from appliance.tlog.entries import (
    MAX_BUNDLE_BYTES,
    MAX_ENTRY_BYTES,
    format_entry_bundle,
    leaf_hashes,
    parse_entry_bundle,
    truncate_entry_bundle,
)
from appliance.tlog.tile import EntryBundle
from tests.shared import shared, vectors

ENTRIES = st.lists(st.binary(max_size=60), min_size=1, max_size=20)
FIVE = ["one", "two", "three", "four", "five"]


def test_the_bundle_of_five_is_the_published_one() -> None:
    published = bytes.fromhex(vectors()["tessera_testdata"]["bundle_5_hex"])
    entries = tuple(entry.encode() for entry in FIVE)
    assert format_entry_bundle(entries) == published
    assert parse_entry_bundle(published, EntryBundle(0, 5)) == entries


def test_the_synthetic_bundles_are_the_published_ones() -> None:
    synthetic = vectors()["synthetic"]
    for bundle in (EntryBundle(0), EntryBundle(273, 112)):
        first = bundle.index * 256
        entries = [str(index).encode() for index in range(first, first + bundle.width)]
        data = format_entry_bundle(entries)
        assert sha256(data).hexdigest() == synthetic["bundles_70000"][bundle.path]
        hashes = sha256(leaf_hashes(entries)).hexdigest()
        assert hashes == synthetic["tiles_70000"][bundle.tile.path]["sha256_hex"]


@pytest.mark.parametrize("width", range(1, 16))
def test_the_bundles_of_a_real_log_hash_to_its_tiles(width: int) -> None:
    log = shared("corpus/tessera/testdata/log")
    bundle = EntryBundle(0, width)
    data = (log / bundle.path).read_bytes()
    entries = parse_entry_bundle(data, bundle)
    assert leaf_hashes(entries) == (log / bundle.tile.path).read_bytes()
    assert format_entry_bundle(entries) == data


@given(ENTRIES)
def test_what_was_joined_splits(entries: list[bytes]) -> None:
    data = format_entry_bundle(entries)
    assert parse_entry_bundle(data, EntryBundle(7, len(entries))) == tuple(entries)


@given(st.binary(max_size=300), st.integers(1, 256))
def test_any_bytes_are_a_bundle_in_its_one_spelling_or_malformed(data: bytes, width: int) -> None:
    try:
        entries = parse_entry_bundle(data, EntryBundle(0, width))
    except MalformedError:
        return
    assert len(entries) == width
    assert format_entry_bundle(entries) == data


@given(ENTRIES, st.integers(1, 25))
def test_a_longer_bundle_cut_to_a_width_is_the_bundle_of_that_width(
    entries: list[bytes], width: int
) -> None:
    cut = truncate_entry_bundle(format_entry_bundle(entries), width)
    assert cut == format_entry_bundle(entries[:width])


@given(st.binary(max_size=300), st.integers(1, 256))
def test_cutting_any_bytes_gives_their_beginning(data: bytes, width: int) -> None:
    assert data.startswith(truncate_entry_bundle(data, width))


def test_a_bundle_cut_anywhere_is_malformed() -> None:
    data = format_entry_bundle([entry.encode() for entry in FIVE])
    for length in range(len(data)):
        with pytest.raises(MalformedError):
            parse_entry_bundle(data[:length], EntryBundle(0, 5))


def test_a_flipped_byte_is_malformed_or_another_leaf() -> None:
    entries = [entry.encode() for entry in FIVE]
    data, hashes = format_entry_bundle(entries), leaf_hashes(entries)
    for position in range(len(data)):
        for mask in (1, 0x80, 0xFF):
            flipped = bytearray(data)
            flipped[position] ^= mask
            try:
                parsed = parse_entry_bundle(bytes(flipped), EntryBundle(0, 5))
            except MalformedError:
                continue
            assert leaf_hashes(parsed) != hashes


@pytest.mark.parametrize("extra", [b"\0", b"\0\0", b"\0\1x", bytes(1000)])
def test_trailing_bytes_are_malformed(extra: bytes) -> None:
    data = format_entry_bundle([b"one"]) + extra
    with pytest.raises(MalformedError) as caught:
        parse_entry_bundle(data, EntryBundle(0, 1))
    assert caught.value.message == (
        "tile/entries/000.p/1: expected 1 entries, got 1 entries and more"
    )
    assert caught.value.reason == "entry-bundle-width"


def test_too_few_entries_are_malformed() -> None:
    with pytest.raises(MalformedError) as caught:
        parse_entry_bundle(b"\0\0", EntryBundle(3, 2))
    assert caught.value.message == "tile/entries/003.p/2: expected 2 entries, got 1 entries"
    assert caught.value.reason == "entry-bundle-width"


def test_the_message_says_where_a_bundle_breaks_off() -> None:
    with pytest.raises(MalformedError) as caught:
        parse_entry_bundle(b"\0\1x\0\5abc", EntryBundle(0, 2))
    assert caught.value.message == (
        "tile/entries/000.p/2: entry 1 ends at byte 10, the entry bundle at 8"
    )


def test_a_bundle_of_nothing_but_lengths_is_not_read_to_its_end() -> None:
    with pytest.raises(MalformedError):  # eight million empty entries would be a minute's work
        parse_entry_bundle(bytes(MAX_BUNDLE_BYTES), EntryBundle(0))


def test_an_entry_has_at_most_65535_bytes() -> None:
    largest = bytes(MAX_ENTRY_BYTES)
    data = format_entry_bundle([largest] * 256)
    assert len(data) == MAX_BUNDLE_BYTES == 16_777_472
    assert parse_entry_bundle(data, EntryBundle(0)) == (largest,) * 256
    with pytest.raises(ValueError, match="at most 65535 bytes, this has 65536"):
        format_entry_bundle([bytes(MAX_ENTRY_BYTES + 1)])


def test_an_empty_entry_is_an_entry() -> None:
    assert parse_entry_bundle(b"\0\0\0\0", EntryBundle(0, 2)) == (b"", b"")
