"""Every small damage to a whole transfer bundle."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles.errors import BundleError
from bundles.reader import peek, stage
from bundles.wrap import Wrap
from tests.bundles.samples import FILES, MANIFEST, REFUSALS, bundle_of, contents, open_header, read

# As little manifest as there can be, so that a hundred thousand readings stay quick.
SMALL = {"logs/a": b"hello", "pending/b": b"", "acks/c": bytes(range(256))}
GOOD = bundle_of(SMALL, manifest=replace(MANIFEST, logs=(), have=()))


def accepted(damaged: Iterator[bytes]) -> list[int]:
    """The numbers of those that were not refused."""
    passed = []
    for number, data in enumerate(damaged):
        try:
            read(data)
        except REFUSALS:
            continue
        passed.append(number)
    return passed


def test_the_undamaged_bundle_is_read() -> None:
    assert contents(read(GOOD)) == SMALL
    assert len(GOOD) <= 16 * 1024


def test_every_flipped_bit_is_refused() -> None:
    def flipped() -> Iterator[bytes]:
        damaged = bytearray(GOOD)
        for position in range(len(GOOD)):
            for bit in range(8):
                damaged[position] ^= 1 << bit
                yield bytes(damaged)
                damaged[position] ^= 1 << bit

    assert accepted(flipped()) == []


def test_every_truncation_is_refused() -> None:
    assert accepted(GOOD[:length] for length in range(len(GOOD))) == []


def test_every_deleted_byte_is_refused() -> None:
    assert accepted(GOOD[:at] + GOOD[at + 1 :] for at in range(len(GOOD))) == []


@pytest.mark.parametrize("value", [b"\0", b"0"])
def test_every_inserted_byte_is_refused(value: bytes) -> None:
    assert accepted(GOOD[:at] + value + GOOD[at:] for at in range(len(GOOD) + 1)) == []


@pytest.mark.parametrize("value", [b"\0", b"\xff"])
def test_everything_appended_is_refused(value: bytes) -> None:
    assert accepted(GOOD + value * length for length in range(1, 2049)) == []


def test_5000_shuffles_of_its_blocks_are_refused() -> None:
    seeded = random.Random(20260101)  # noqa: S311 the same shuffles every time
    blocks = [GOOD[at : at + 512] for at in range(0, len(GOOD), 512)]

    def shuffled() -> Iterator[bytes]:
        for _ in range(5000):
            data = b"".join(seeded.sample(blocks, len(blocks)))
            if data != GOOD:  # two zero blocks that changed places are no change
                yield data

    assert accepted(shuffled()) == []


def test_blocks_repeated_swapped_or_left_out_are_refused() -> None:
    blocks = [GOOD[at : at + 512] for at in range(0, len(GOOD), 512)]

    def bent() -> Iterator[bytes]:
        for i in range(len(blocks)):
            yield b"".join(blocks[:i] + blocks[i + 1 :])
            yield b"".join(blocks[: i + 1] + blocks[i:])
            for j in range(i):
                swapped = blocks.copy()
                swapped[i], swapped[j] = blocks[j], blocks[i]
                if blocks[i] != blocks[j]:
                    yield b"".join(swapped)

    assert accepted(bent()) == []


@pytest.mark.parametrize("wrap", [Wrap.GZIP, Wrap.ZSTD])
def test_a_damaged_wrapping_is_refused_or_changes_nothing(wrap: Wrap) -> None:
    """A wrapping is not signed: a gzip header's time, say, may change and nothing comes of it."""
    wrapped = bundle_of(FILES, wrap)
    plain = bundle_of(FILES)
    damaged = bytearray(wrapped)
    for position in range(len(wrapped)):
        for bit in (0, 3, 7):
            damaged[position] ^= 1 << bit
            destination = io.BytesIO()
            try:
                stage(io.BytesIO(damaged), destination, open_header)
            except REFUSALS:
                pass
            else:
                assert destination.getvalue() == plain, (position, bit)
            damaged[position] ^= 1 << bit


@pytest.mark.parametrize("wrap", [Wrap.GZIP, Wrap.ZSTD])
def test_every_truncated_or_lengthened_wrapping_is_refused(wrap: Wrap) -> None:
    wrapped = bundle_of(FILES, wrap)
    cut = [wrapped[:length] for length in range(len(wrapped))]
    longer = [wrapped + bytes(length) for length in range(1, 600)]
    for data in [*cut, *longer, wrapped + wrapped]:
        with pytest.raises(BundleError):
            stage(io.BytesIO(data), io.BytesIO(), open_header)


@given(st.binary(max_size=4096))
def test_any_bytes_are_refused_as_they_must_be(data: bytes) -> None:
    with pytest.raises(BundleError):
        read(data)
    with pytest.raises(BundleError):
        stage(io.BytesIO(data), io.BytesIO(), open_header)
    with pytest.raises(BundleError):
        peek(io.BytesIO(data))


@given(
    st.sampled_from([b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\x28\xb5\x2f\xfd", b"header" + bytes(94)]),
    st.binary(max_size=512),
)
def test_any_bytes_behind_a_good_beginning_are_refused(start: bytes, rest: bytes) -> None:
    with pytest.raises(BundleError):
        stage(io.BytesIO(start + rest), io.BytesIO(), open_header)
    with pytest.raises(BundleError):
        peek(io.BytesIO(start + rest))
