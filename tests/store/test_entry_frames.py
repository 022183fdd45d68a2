"""Entry bundles at rest: one zstd frame that says its size, within bounds, or a no."""

from __future__ import annotations

import contextlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import InflationError, MalformedError, VerificationError
from appliance.store.mirror.entry_frames import compress_bundle, decompress_bundle
from appliance.tlog.entries import MAX_BUNDLE_BYTES

DATA = b"an entry bundle, of sorts " * 40


@given(st.binary(min_size=1, max_size=2000))
def test_what_was_compressed_comes_back(data: bytes) -> None:
    assert decompress_bundle(compress_bundle(data)) == data


@given(st.binary(max_size=300))
def test_any_bytes_are_a_value_or_a_no(data: bytes) -> None:
    with contextlib.suppress(VerificationError):
        decompress_bundle(data)


def test_every_cut_and_every_flipped_byte_is_found() -> None:
    frame = compress_bundle(DATA)
    for length in range(len(frame)):
        with pytest.raises(VerificationError):
            decompress_bundle(frame[:length])
    for position in range(len(frame)):
        damaged = bytearray(frame)
        damaged[position] ^= 1
        try:
            assert decompress_bundle(bytes(damaged)) == DATA, position  # an unused bit
        except VerificationError:
            continue


def test_what_follows_the_frame_is_refused() -> None:
    frame = compress_bundle(DATA)
    for extra in (b"\0", frame, b"\x50\x2a\x4d\x18\x04\0\0\0skip"):
        with pytest.raises(MalformedError):
            decompress_bundle(frame + extra)


def test_a_bomb_is_refused_by_what_it_declares() -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=True).compress(bytes(MAX_BUNDLE_BYTES + 1))
    with pytest.raises(InflationError, match=str(MAX_BUNDLE_BYTES + 1)):
        decompress_bundle(bomb)
    silent = zstandard.ZstdCompressor(write_content_size=False)
    with pytest.raises(VerificationError):
        decompress_bundle(silent.compress(bytes(MAX_BUNDLE_BYTES + 1)))


def test_a_declared_size_that_is_not_true_is_refused() -> None:
    frame = bytearray(zstandard.ZstdCompressor(write_content_size=True).compress(bytes(100)))
    position = frame.index(100, 4)
    for wrong in (0, 99, 101, 255):
        frame[position] = wrong
        with pytest.raises(VerificationError):
            decompress_bundle(bytes(frame))
