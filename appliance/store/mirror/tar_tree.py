"""A tar archive of a log's checkpoint and tiles, read in place: nothing of it is extracted."""

from __future__ import annotations

import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, Protocol

from appliance.errors import ApplianceError, InflationError, LimitError, MalformedError
from appliance.store.failures import file_error
from appliance.store.files import open_foreign

SUFFIXES: Final = (".tar", ".tar.gz", ".tar.zst")
MAX_MEMBERS: Final = 4_000_000  # a log of a billion entries, with its entry bundles, has so many
MAX_EMPTY: Final = 1_000_000  # frames, of a second of work together
MAX_NAME_CHARACTERS: Final = 300
MAX_HEADER_BYTES: Final = 4096  # of an extended header: times, owners, a long name
_INFLATES: Final = 64  # times at most: hashes do not shrink, entries to a fifth
_ROOM: Final = 64 * 1024 * 1024  # for small archives, which are mostly headers
_FED: Final = 2048  # compressed bytes at a time: at most 64 MiB come of them
_BLOCK: Final = 1024 * 1024
_NO_FILE: Final = "write it with 'tar -cf FILE -C DIRECTORY .', without links"


class TarTree:
    """The regular files of an archive, by name without a leading `./`, and where they lie.

    A compressed one is inflated once, into a file without a name that goes with the process.
    """

    def __init__(self, path: Path) -> None:
        """Read the headers; raises MalformedError or LimitError for what is no such archive."""
        self._kept = ExitStack()  # what is open goes with this object
        self.path = path
        self._files: dict[str, tuple[int, int]] = {}  # offset and size
        try:
            self._file = self._opened()
            self._index()
        except (
            *(tarfile.TarError, zlib.error, EOFError),
            *(ValueError, RecursionError, OverflowError),  # what tarfile lets through
        ) as error:
            self._kept.close()
            raise MalformedError(f"{path} is no tar archive: {error}", reason="archive") from error
        except OSError as error:
            self._kept.close()
            raise file_error(path, error) from error
        except ApplianceError:
            self._kept.close()
            raise

    def __del__(self) -> None:
        """Close what is open: a source lives as long as its run, and nobody ends it."""
        self._kept.close()

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return name in self._files

    def ends_with(self, name: str) -> list[str]:
        """List the names of files that are `name` or end with it, below whatever directory."""
        return [one for one in self._files if one == name or one.endswith(f"/{name}")]

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a file's bytes; raises LimitError above `max_bytes`, MalformedError if cut off."""
        offset, size = self._files[name]
        if size > max_bytes:
            raise LimitError(f"{self.path}: {name} has {size:,} bytes, at most {max_bytes:,}")
        try:
            self._file.seek(offset)
            data = self._file.read(size)
        except OSError as error:
            raise file_error(self.path, error) from error
        if len(data) != size:
            raise MalformedError(f"{self.path}: {name} is cut short", reason="archive")
        return data

    def _opened(self) -> IO[bytes]:
        if self.path.name.endswith(".tar"):
            return self._kept.enter_context(open_foreign(self.path))
        staged = self._kept.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 kept
        with open_foreign(self.path) as file:
            limit = _ROOM + _INFLATES * file.seek(0, 2)
            file.seek(0)
            n_bytes = 0
            for block in _inflated(file, is_zstd=self.path.name.endswith(".zst")):
                n_bytes += len(block)
                if n_bytes > limit:
                    raise InflationError(f"{self.path} inflates to more than {limit:,} bytes")
                staged.write(block)
        return staged

    def _index(self) -> None:
        self._file.seek(0)
        with tarfile.open(fileobj=self._file, mode="r:", tarinfo=_Header) as archive:
            for number, member in enumerate(_members(archive)):
                if number >= MAX_MEMBERS:
                    raise LimitError(f"{self.path} has more than {MAX_MEMBERS:,} members")
                if member.isdir():
                    continue
                name = member.name.removeprefix("./")
                if member.size < 0:
                    raise MalformedError(
                        f"{self.path}: {name[:MAX_NAME_CHARACTERS]!r} says a size below zero",
                        reason="archive",
                        next_step=_NO_FILE,
                    )
                # No link, no device, no sparse file: their bytes are not where they stand.
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse:
                    raise MalformedError(
                        f"{self.path}: {name[:MAX_NAME_CHARACTERS]!r} is no regular file",
                        reason="archive",
                        next_step=_NO_FILE,
                    )
                if name in self._files or len(name) > MAX_NAME_CHARACTERS:
                    raise MalformedError(
                        f"{self.path}: {name[:MAX_NAME_CHARACTERS]!r} is there twice, or too long",
                        reason="archive",
                        next_step=_NO_FILE,
                    )
                self._files[name] = member.offset_data, member.size
            self._refuse_more(archive.offset)

    def _refuse_more(self, end: int) -> None:
        """Raise MalformedError if another archive, or anything else, follows the end of this."""
        self._file.seek(end)
        while block := self._file.read(_BLOCK):
            if any(block):
                raise MalformedError(
                    f"{self.path}: more follows the end of the archive at byte {end:,}",
                    reason="archive",
                    next_step="join tar archives with 'tar --concatenate', not with cat",
                )


class _Header(tarfile.TarInfo):
    """A header; an extended one is read only if it is short, for its reading is not linear."""

    def _proc_pax(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        self._refuse_long()
        return super()._proc_pax(archive)  # type: ignore[misc,no-any-return]

    def _proc_gnulong(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        self._refuse_long()
        return super()._proc_gnulong(archive)  # type: ignore[misc,no-any-return]

    def _refuse_long(self) -> None:
        if not 0 <= self.size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(
                f"an extended header of {self.size:,} bytes, at most {MAX_HEADER_BYTES:,}"
            )


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # it keeps them all, and there may be millions
        yield member


class _Decoder(Protocol):
    """What zlib and zstandard both offer to inflate one gzip member or one zstd frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _inflated(file: IO[bytes], *, is_zstd: bool) -> Iterator[bytes]:
    """Inflate all members or frames there are, one after the other, as gunzip and zstd -d do.

    A skippable frame (RFC 8878 3.1.2), in which pzstd and others keep an index, holds nothing.
    Zero bytes may follow, which tapes and copies by the block leave. Raises MalformedError for
    anything else, and for a member or frame that is cut short; LimitError for a million that
    hold nothing.
    """
    what, begin = ("zstd frame", _zstd_decoders()) if is_zstd else ("gzip member", _gzip_decoder)
    decoder, rest, n_empty, is_empty = begin(), b"", 0, True
    while block := rest or file.read(_FED):
        if decoder.eof:
            rest = b""
            if not (block := block.lstrip(b"\0")):
                continue
            n_empty += is_empty
            if n_empty > MAX_EMPTY:
                raise LimitError(f"more than {MAX_EMPTY:,} {what}s that hold nothing")
            decoder, is_empty = begin(), True
        try:
            data = decoder.decompress(block)
        except _decoding_errors() as error:
            raise MalformedError(
                f"before its byte {file.tell():,} there is no whole {what}: {error}",
                reason="archive",
                next_step="compress the archive again, with nothing before or behind it",
            ) from error
        is_empty = is_empty and not data
        yield data
        rest = decoder.unused_data if decoder.eof else b""
    if not decoder.eof:
        raise MalformedError(
            f"its last {what} is cut short, at byte {file.tell():,}",
            reason="archive",
            next_step="copy it again, and compare its SHA-256",
        )


def _gzip_decoder() -> _Decoder:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _zstd_decoders() -> Callable[[], _Decoder]:
    """Return what makes a decoder for each frame: of one context, which is most of its cost."""
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj


def _decoding_errors() -> tuple[type[Exception], ...]:
    import zstandard

    return zlib.error, zstandard.ZstdError
