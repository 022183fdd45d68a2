"""The wrapping of an archive: none, gzip or zstd (bundles/README.md, section 6).

Told apart by the first bytes. Inflates only as far as it is asked, and at most
128 KiB at a time, so that whoever reads decides how much is ever inflated. A
wrapping is one frame with nothing before, inside or after it but the archive.
"""

from __future__ import annotations

import enum
import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, Protocol

from bundles.errors import FormatError, UnsupportedError

CHUNK_BYTES: Final = 128 * 1024  # also the most a zstd block may hold
MAX_WINDOW_BYTES: Final = 8 * 1024 * 1024  # what a zstd frame may ask us to remember
ZSTD_LEVEL: Final = 3  # hash tiles are random bytes: more gains nothing
GZIP_LEVEL: Final = 6

# A wrapping may be larger than what it wraps by an eighth and this, no more: else
# it is made of tiny or empty blocks, which cost time and give nothing.
_SLACK_BYTES: Final = 256 * 1024
_MAGIC_BYTES: Final = 4
_GZIP_NAME: Final = 0b1000  # a flag: the header has a file's name
_MAX_NAME_BYTES: Final = 255  # as file systems allow
_RUN: Final = 1  # the type of a zstd block that repeats one byte


class Wrap(enum.Enum):
    """How the archive is wrapped; the value is how such a file's name ends."""

    PLAIN = "tar"
    GZIP = "tar.gz"
    ZSTD = "tar.zst"


class Source:
    """The bytes of a file on the medium, counted and hashed as they pass, once."""

    def __init__(self, file: BinaryIO, taken: Callable[[int], object] = int) -> None:
        self._file = file
        self._taken = taken  # told how many bytes came
        self._sha256 = hashlib.sha256()
        self.n_bytes = 0

    @property
    def sha256(self) -> bytes:
        """The digest of all that was read so far."""
        return self._sha256.digest()

    def read(self, n_bytes: int) -> bytes:
        """Read at most `n_bytes`; none means the end of the file."""
        data = self._file.read(n_bytes)
        self._sha256.update(data)
        self.n_bytes += len(data)
        self._taken(len(data))
        return data

    def read_fully(self, n_bytes: int) -> bytes:
        """Read `n_bytes`, or as many as there are."""
        data = self.read(n_bytes)
        while len(data) < n_bytes and (more := self.read(n_bytes - len(data))):
            data += more
        return data

    def take(self, n_bytes: int) -> bytes:
        """Read exactly `n_bytes` of a wrapping. Raises FormatError at the end of the file."""
        data = self.read_fully(n_bytes)
        if len(data) < n_bytes:
            raise _truncated(self)
        return data


class Compressor(Protocol):
    """What zlib and zstandard both offer."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    """No compression at all."""

    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(wrap: Wrap, n_bytes: int) -> Compressor:
    """Return what wraps an archive of exactly `n_bytes`, the same way every time."""
    if wrap is Wrap.GZIP:
        # zlib writes no name and no time into the gzip header.
        return zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    if wrap is Wrap.ZSTD:
        import zstandard

        return zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj(n_bytes)
    return _Plain()


def unwrap(source: Source) -> tuple[Wrap, Iterator[bytes]]:
    """Recognise the wrapping and return it with the chunks of the archive inside.

    Raises FormatError if it is none of the three; the iterator does if the
    wrapping is damaged, cut short, followed by anything, or expands its content.
    """
    first = source.read_fully(_MAGIC_BYTES)
    if first == b"head":  # of "header", the first member's name
        return Wrap.PLAIN, _plain_chunks(source, first)
    if first[:2] == b"\x1f\x8b":
        return Wrap.GZIP, _worthwhile(source, _gzip_chunks(source, first))
    if first == b"\x28\xb5\x2f\xfd":
        return Wrap.ZSTD, _worthwhile(source, _zstd_chunks(source, first))
    if not first:
        raise FormatError(
            "the file is empty",
            reason="truncated",
            next_step="copy it to the medium again, and remove that only when told to",
        )
    raise FormatError(
        f"not a transfer bundle: it begins with {first!r}, "
        "expected a tar file whose first member is header, or one in gzip or zstd",
        next_step="look whether it is the right file",
    )


def _plain_chunks(source: Source, first: bytes) -> Iterator[bytes]:
    yield first
    while chunk := source.read(CHUNK_BYTES):
        yield chunk


def _worthwhile(source: Source, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass on what is not empty, as long as enough comes out for what goes in."""
    produced = 0
    for chunk in chunks:
        produced += len(chunk)
        if source.n_bytes > produced + produced // 8 + _SLACK_BYTES:
            raise FormatError(
                f"compression: {source.n_bytes} bytes hold only {produced}", reason="compression"
            )
        if chunk:
            yield chunk
    if source.read(1):
        raise _trailing(source)


def _gzip_chunks(source: Source, first: bytes) -> Iterator[bytes]:
    data = first + source.take(10 - len(first))
    if data[3] & ~_GZIP_NAME:
        raise UnsupportedError(
            f"gzip: optional fields in its header (flags {data[3]:#04x}), expected a name or none",
            reason="compression",
            next_step="gunzip it, and compress it again with gzip -n",
        )
    if data[3]:
        data += _gzip_name(source)
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    while True:
        try:
            chunk = inflater.decompress(data, CHUNK_BYTES)
        except zlib.error as error:
            raise _damaged(source, error) from error
        yield chunk
        if inflater.eof:
            break
        data = inflater.unconsumed_tail or source.read(CHUNK_BYTES)
        if not (data or chunk):
            raise _truncated(source)
    if inflater.unused_data:
        raise _trailing(source)


def _gzip_name(source: Source) -> bytes:
    """Take a file's name as gzip(1) keeps it (RFC 1952, 2.3.1); nobody is to believe it."""
    name = b""
    while len(name) <= _MAX_NAME_BYTES:
        name += source.take(1)
        if name[-1] == 0:
            return name
    raise FormatError(
        f"gzip: a file name of more than {_MAX_NAME_BYTES} bytes in its header",
        reason="compression",
    )


def _zstd_chunks(source: Source, first: bytes) -> Iterator[bytes]:
    """Walk the blocks of one frame (RFC 8878, 3.1.1) and inflate them one by one.

    The library alone would take a cut frame for a whole one, and give out as much
    at once as a frame says it holds. A block never holds more than 128 KiB.
    """
    import zstandard

    inflater = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
    start = first + source.take(1)
    descriptor = start[4]
    if descriptor & 0b11:
        raise UnsupportedError(
            "zstd: it needs a dictionary, expected none",
            reason="compression",
            next_step="unzstd it with its dictionary, and compress it again without",
        )
    has_window = not descriptor & 0b0010_0000
    content_size_bytes = (0 if has_window else 1, 2, 4, 8)[descriptor >> 6]
    start += source.take(has_window + content_size_bytes)
    try:
        yield inflater.decompress(start)
        last = 0
        while not last:
            block = source.take(3)
            word = int.from_bytes(block, "little")
            last, kind, size = word & 1, word >> 1 & 0b11, word >> 3
            if size > CHUNK_BYTES:
                raise FormatError(
                    f"zstd: a block of {size} bytes before byte {source.n_bytes}, "
                    f"at most {CHUNK_BYTES} allowed",
                    reason="compression",
                )
            yield inflater.decompress(block + source.take(1 if kind == _RUN else size))
        if descriptor & 0b100:
            yield inflater.decompress(source.take(4))  # the checksum
    except zstandard.ZstdError as error:
        raise _damaged(source, error) from error


def _damaged(source: Source, error: Exception) -> FormatError:
    return FormatError(
        f"compression: damaged before byte {source.n_bytes}: {error}", reason="compression"
    )


def _truncated(source: Source) -> FormatError:
    return FormatError(
        f"compression: the file ends at byte {source.n_bytes}, within the compressed data",
        reason="truncated",
        next_step="copy the file to the medium again, and compare its SHA-256",
    )


def _trailing(source: Source) -> FormatError:
    return FormatError(
        f"compression: more follows the compressed data before byte {source.n_bytes}",
        reason="trailing-data",
        next_step="a wrapped transfer bundle is one gzip member or one zstd frame; wrap it again",
    )
