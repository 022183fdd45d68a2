"""Wrappings, honest ones and bombs."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bundles.errors import BundleError, FormatError
from bundles.reader import peek, stage
from bundles.ustar import format_member_header
from bundles.wrap import CHUNK_BYTES, MAX_WINDOW_BYTES, Source, Wrap, compressor, unwrap
from tests.bundles.samples import FILES, REFUSALS, bundle_of, open_header

GOOD: Final = bundle_of(FILES)
MIB: Final = 1024 * 1024
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"


def inflated(data: bytes) -> bytes:
    _, chunks = unwrap(Source(io.BytesIO(data)))
    whole = b""
    for chunk in chunks:
        assert 0 < len(chunk) <= CHUNK_BYTES
        whole += chunk
    return whole


@given(st.binary(max_size=2000), st.integers(0, 400), st.sampled_from(list(Wrap)))
def test_what_is_wrapped_is_unwrapped(data: bytes, times: int, wrap: Wrap) -> None:
    archive = b"header" + data * times
    wrapping = compressor(wrap, len(archive))
    wrapped = wrapping.compress(archive[:1000]) + wrapping.compress(archive[1000:])
    assert inflated(wrapped + wrapping.flush()) == archive


@pytest.mark.parametrize("level", [-5, 1, 3, 10, 19])
@pytest.mark.parametrize("known_size", [True, False])
@pytest.mark.parametrize("checksum", [True, False])
def test_zstd_made_by_others_is_unwrapped(level: int, known_size: bool, checksum: bool) -> None:
    archive = b"header" + bytes(range(256)) * 3000 + bytes(500_000)
    maker = zstandard.ZstdCompressor(level=level, write_checksum=checksum)
    stream = maker.compressobj(len(archive) if known_size else -1)
    assert inflated(stream.compress(archive) + stream.flush()) == archive


def test_zstd_flushed_in_the_middle_is_unwrapped() -> None:
    stream = zstandard.ZstdCompressor().compressobj()
    parts = [stream.compress(GOOD[:100]), stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
    parts += [stream.compress(GOOD[100:]), stream.flush()]
    assert inflated(b"".join(parts)) == GOOD


def block(data: bytes, *, kind: int = 0, size: int | None = None, last: bool = False) -> bytes:
    """A zstd block: kind 0 is data as it is, 1 one byte repeated, 2 compressed, 3 reserved."""
    n_bytes = len(data) if size is None else size
    return (n_bytes << 3 | kind << 1 | last).to_bytes(3, "little") + data


def frame(*blocks: bytes, descriptor: int = 0, window: bytes = b"\x58", rest: bytes = b"") -> bytes:
    """A zstd frame; without flags its window is 2 MiB and its size is not told."""
    return ZSTD_MAGIC + bytes([descriptor]) + window + rest + b"".join(blocks)


LAST: Final = block(GOOD, last=True)


@pytest.mark.parametrize(
    "data",
    [
        frame(LAST),
        frame(block(GOOD[:99]), block(b""), block(GOOD[99:]), block(b"", last=True)),
        frame(block(GOOD[:-1024]), block(b"\0", kind=1, size=1024, last=True)),
        frame(LAST, window=b"\x68"),  # 8 MiB
        frame(LAST, descriptor=0x40, rest=(len(GOOD) - 256).to_bytes(2, "little")),
        frame(LAST, descriptor=0x60, window=b"", rest=(len(GOOD) - 256).to_bytes(2, "little")),
        frame(LAST, descriptor=0x80, rest=len(GOOD).to_bytes(4, "little")),
        frame(LAST, descriptor=0xE0, window=b"", rest=len(GOOD).to_bytes(8, "little")),
    ],
)
def test_zstd_frames_put_together_by_hand_are_unwrapped(data: bytes) -> None:
    assert inflated(data) == GOOD


BAD: Final[dict[str, tuple[bytes, str]]] = {
    "only the magic": (ZSTD_MAGIC, "truncated"),
    "no window": (frame(window=b""), "truncated"),
    "no block": (frame(), "truncated"),
    "half a block header": (frame(block(GOOD)[:2]), "truncated"),
    "half a block": (frame(block(GOOD)[:-1]), "truncated"),
    "no last block": (frame(block(GOOD)), "truncated"),
    "no checksum": (frame(LAST, descriptor=4), "truncated"),
    "half a checksum": (frame(LAST, descriptor=4) + b"\0\0", "truncated"),
    "wrong checksum": (frame(LAST, descriptor=4) + bytes(4), "compression"),
    "trailing byte": (frame(LAST) + b"\0", "trailing-data"),
    "second frame": (frame(LAST) + frame(LAST), "trailing-data"),
    "empty frame after": (frame(LAST) + frame(block(b"", last=True)), "trailing-data"),
    "skippable frame after": (frame(LAST) + b"\x50\x2a\x4d\x18" + bytes(4), "trailing-data"),
    "skippable frame before": (b"\x50\x2a\x4d\x18" + bytes(4) + frame(LAST), "malformed"),
    "magicless": (frame(LAST)[4:], "malformed"),
    "old format 0.7": (b"\x27" + frame(LAST)[1:], "malformed"),
    "dictionary magic": (b"\x37\xa4\x30\xec" + bytes(100), "malformed"),
    "reserved descriptor bit": (frame(LAST, descriptor=0x08), "compression"),
    "dictionary of 1 byte": (frame(LAST, descriptor=1, rest=b"\x05"), "compression"),
    "dictionary of 2 bytes": (frame(LAST, descriptor=2, rest=b"\x05\x06"), "compression"),
    "dictionary of 4 bytes": (frame(LAST, descriptor=3, rest=b"\x05\x06\x07\x08"), "compression"),
    "window over 8 MiB": (frame(LAST, window=b"\x69"), "compression"),
    "window of 128 MiB": (frame(LAST, window=b"\x88"), "compression"),
    "window of 2 GiB": (frame(LAST, window=b"\xa8"), "compression"),
    "window of 3.75 TiB": (frame(LAST, window=b"\xff"), "compression"),
    "single segment of 9 MiB": (
        frame(LAST, descriptor=0xA0, window=b"", rest=(9 * MIB).to_bytes(4, "little")),
        "compression",
    ),
    "single segment of 2^64 - 1": (
        frame(LAST, descriptor=0xE0, window=b"", rest=b"\xff" * 8),
        "compression",
    ),
    "said size one less": (
        frame(LAST, descriptor=0x80, rest=(len(GOOD) - 1).to_bytes(4, "little")),
        "compression",
    ),
    "said size one more": (
        frame(LAST, descriptor=0x80, rest=(len(GOOD) + 1).to_bytes(4, "little")),
        "compression",
    ),
    "said size 1 TiB": (
        frame(LAST, descriptor=0xC0, rest=(1024**4).to_bytes(8, "little")),
        "compression",
    ),
    "reserved block": (frame(block(GOOD, kind=3, last=True)), "compression"),
    "garbage as a compressed block": (frame(block(b"\xff" * 99, kind=2, last=True)), "compression"),
    "block over 128 KiB": (frame(block(bytes(CHUNK_BYTES + 1))), "compression"),
    "run over 128 KiB": (frame(block(b"h", kind=1, size=2 * MIB - 1)), "compression"),
    "block larger than the window": (frame(block(bytes(2048)), window=b"\0"), "compression"),
    "empty blocks without end": (frame(block(GOOD[:600]), block(b"") * 200_000), "compression"),
    "empty runs without end": (
        frame(block(GOOD[:600]), block(b"x", kind=1, size=0) * 200_000),
        "compression",
    ),
    "empty compressed blocks without end": (
        frame(block(GOOD[:600]), block(b"\0\0", kind=2) * 200_000),
        "compression",
    ),
    "blocks of one byte": (
        frame(block(b"header".ljust(100, b"\0")), block(b"\0") * 200_000),
        "malformed|compression",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_frame_is_refused(name: str) -> None:
    data, reason = BAD[name]
    with pytest.raises(BundleError) as caught:
        stage(io.BytesIO(data), io.BytesIO(), open_header)
    assert caught.value.reason in reason.split("|"), caught.value
    with pytest.raises(FormatError) as caught:
        inflated(data)
    assert caught.value.reason in reason.split("|"), caught.value


@pytest.mark.parametrize("name", ["block over 128 KiB", "run over 128 KiB"])
def test_a_large_block_is_refused_before_it_is_read(name: str) -> None:
    """The library would refuse it as well, but only with all of it in memory."""
    with pytest.raises(FormatError, match=r"a block of [0-9]+ bytes before byte 9, at most"):
        inflated(BAD[name][0])


def test_gzip_blocks_that_hold_nothing_are_refused() -> None:
    maker = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = maker.compress(GOOD[:600]) + maker.flush(zlib.Z_SYNC_FLUSH)
    empty_blocks = b"\0\0\0\xff\xff" * 200_000
    with pytest.raises(FormatError, match="bytes hold only") as caught:
        inflated(data + empty_blocks)
    assert caught.value.reason == "compression"


class Counter(io.BytesIO):
    """A destination that only counts: what was inflated, and never kept."""

    n_bytes = 0

    def write(self, data: object, /) -> int:
        length = len(cast(bytes, data))
        self.n_bytes += length
        return length


def gzip_of(start: bytes, n_zeros: int) -> bytes:
    maker = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = b"".join(maker.compress(bytes(MIB)) for _ in range(n_zeros // MIB))
    return maker.compress(start) + zeros + maker.flush()


def zstd_of(start: bytes, n_zeros: int) -> bytes:
    """Zeros in runs of 128 KiB: four bytes each, a ratio of 32,768."""
    runs = block(b"\0", kind=1, size=CHUNK_BYTES) * (n_zeros // CHUNK_BYTES)
    return frame(block(start), runs, block(b"", last=True))


STARTS: Final[dict[str, tuple[bytes, int]]] = {
    # what stands before the zeros, and how many MiB may be inflated at most
    "nothing but the name": (b"header", 1),
    "a header of 64 KiB": (format_member_header("header", 64 * 1024), 1),
    "a header of 64 MiB": (format_member_header("header", 64 * MIB), 1),
    "a replayed header": (GOOD[:1024], 1),
    "and a manifest of 16 MiB": (GOOD[:1024] + format_member_header("manifest.json", 16 * MIB), 17),
    "and a manifest of 64 MiB": (GOOD[:1024] + format_member_header("manifest.json", 64 * MIB), 1),
    "and SHA256SUMS of 64 MiB": (
        GOOD[:3072] + format_member_header("SHA256SUMS", 64 * MIB),
        1,
    ),
    "all but the last member": (GOOD[: -1024 - 1536 - 512], 1),
    "the whole archive": (GOOD, 1),
}


@pytest.mark.parametrize("bomb", [gzip_of, zstd_of])
@pytest.mark.parametrize("name", STARTS)
def test_a_bomb_is_inflated_no_further_than_it_must(
    name: str, bomb: Callable[[bytes, int], bytes]
) -> None:
    start, most = STARTS[name]
    wrapped = bomb(start, 96 * MIB)
    destination = Counter()
    with pytest.raises(REFUSALS):
        stage(io.BytesIO(wrapped), destination, open_header)
    assert destination.n_bytes <= most * MIB + 2 * CHUNK_BYTES
    with suppress(BundleError):  # if the bomb stands after the manifest, peek never sees it
        peek(io.BytesIO(wrapped))


CHILD: Final = """
import resource, sys
import zstandard, cryptography.hazmat.primitives.asymmetric.ed25519
from pathlib import Path
from bundles.reader import stage
from tests.bundles.samples import REFUSALS, open_header

resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for bomb in sys.argv[1:]:
    try:
        with Path(bomb).open("rb") as source, Path("/dev/null").open("r+b") as destination:
            stage(source, destination, open_header)
    except REFUSALS:
        continue
    raise SystemExit(f"{bomb} was accepted")
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sys.stdout.write(str(after - before))
"""


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """A window of 8 MiB, a manifest of 16 MiB once and once more while it is joined."""
    for name, (start, _) in STARTS.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip_of(start, 64 * MIB))
        (tmp_path / f"{name}.zst").write_bytes(zstd_of(start, 1024 * MIB))
    window = frame(block(GOOD[:1024]), window=b"\x68") + zstd_of(b"", 1024 * MIB)[6:]
    (tmp_path / "window.zst").write_bytes(window)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) < 48 * 1024  # KiB


def test_the_window_is_the_one_that_zstd_19_uses() -> None:
    assert MAX_WINDOW_BYTES == 1 << 23
    data = zstandard.ZstdCompressor(level=19).compress(b"head" + bytes(9 * MIB))
    assert len(inflated(data)) == 9 * MIB + 4
    params = zstandard.ZstdCompressionParameters.from_level(19, window_log=24)
    too_wide = zstandard.ZstdCompressor(compression_params=params).compressobj()
    with pytest.raises(FormatError, match=r"damaged before byte 6: .* too much memory"):
        inflated(too_wide.compress(b"head" + bytes(17 * MIB)) + too_wide.flush())


def test_a_source_counts_and_hashes_what_was_read() -> None:
    source = Source(io.BytesIO(GOOD))
    assert source.take(7) + source.read_fully(10**6) == GOOD
    assert source.n_bytes == len(GOOD)
    with pytest.raises(FormatError, match=f"the file ends at byte {len(GOOD)}"):
        source.take(1)


def test_gzip_needs_no_particular_maker() -> None:
    assert inflated(gzip.compress(GOOD, 1, mtime=1)) == GOOD
