"""Files that come from or go to the outside: opened once, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import re
import select
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from appliance.errors import (
    ApplianceError,
    IncompleteError,
    LimitError,
    RefusedError,
    StoreError,
)
from appliance.patterns import pattern
from appliance.store.failures import file_error, output_error
from appliance.store.filesystem import sync_directory

# A file of one JSON object a line, that others read while we append.


def append_line(path: Path, line: bytes) -> None:
    """Append one line; it is durable when this returns.

    Written in one call and never in place, so that a reader sees whole lines. If a crash left
    half a line, the next begins on a line of its own. Raises StoreError.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            whole = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
            data = (b"" if whole else b"\n") + line + b"\n"
            if os.write(descriptor, data) != len(data):
                raise OSError(28, "no space left for the whole line", str(path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise file_error(path, error) from error


# Nothing can be there under such a name: below a file, or longer than a name can be.
_NO_SUCH_NAME: Final = (errno.ENOTDIR, errno.ENAMETOOLONG)
_ADDRESS: Final = pattern(r"[a-z][a-z0-9+.-]+:/|pkcs11:")  # also with the // that paths lose
PIPE_SECONDS: Final = 30  # until something comes through a pipe
HASH_BUFFER_BYTES: Final = 1024 * 1024
_STAGING: Final = "staging"
_BUFFER_BYTES: Final = 1024 * 1024  # written at once: a transfer bundle is thousands of members


@contextlib.contextmanager
def open_foreign(path: Path) -> Iterator[BinaryIO]:
    """Open a file somebody gave us, for one pass from start to end.

    Raises IncompleteError if it is not there, RefusedError if it is a symbolic link,
    a device, a FIFO or a directory, and StoreError if it cannot be read.
    """
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to must not hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise _no_file(str(path)) from error
    except OSError as error:
        if path.is_symlink():
            raise RefusedError(
                f"{path} is a symbolic link",
                reason="not-a-file",
                next_step="name the file itself",
            ) from error
        if error.errno == errno.ENXIO:  # a socket, or a device that nothing is behind
            raise RefusedError(f"{path} is not a regular file", reason="not-a-file") from error
        raise file_error(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RefusedError(f"{path} is not a regular file", reason="not-a-file")
    with os.fdopen(descriptor, "rb") as file:
        try:
            yield file
        except OSError as error:
            raise file_error(path, error) from error


@contextlib.contextmanager
def open_given(path: Path) -> Iterator[BinaryIO]:
    """Open what the operator named, for one pass: a file, a link to one, a pipe, or "-".

    A link is followed: whoever typed the name may read what it leads to. "-" is standard
    input. Raises IncompleteError if it is not there or nothing comes through the pipe for
    half a minute, RefusedError for a directory or a device, StoreError if it cannot be read.
    """
    try:
        if str(path) == "-":
            descriptor = os.dup(0)
        else:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        missing = f"{path} leads to {path.readlink()}, which" if path.is_symlink() else str(path)
        raise _no_file(missing) from error
    except OSError as error:
        if error.errno in _NO_SUCH_NAME:
            raise _no_file(str(path)) from error
        if error.errno == errno.ENXIO:
            raise RefusedError(f"{path} is not a file", reason="not-a-file") from error
        raise file_error(path, error) from error
    try:
        _check_given(path, descriptor)
    except ApplianceError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        try:
            yield file
        except OSError as error:
            raise file_error(path, error) from error


def check_is_there(path: Path) -> None:
    """Raise IncompleteError if nothing is there, StoreError if that cannot be asked."""
    try:
        path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, *_NO_SUCH_NAME):
            raise _no_file(str(path)) from error
        raise file_error(path, error) from error


def _no_file(what: str) -> IncompleteError:
    step = "look at the name, and whether the medium is mounted"
    if _ADDRESS.match(what):
        step = "nothing is fetched here: get the file where there is a network, and name it"
    return IncompleteError(f"{what[:1000]} is not there", reason="no-file", next_step=step)


def _check_given(path: Path, descriptor: int) -> None:
    mode = os.fstat(descriptor).st_mode
    if str(path) == "-":
        return  # whoever writes to us takes the time it takes
    if stat.S_ISFIFO(mode):
        _await_pipe(path, descriptor)
    elif not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "not a file"
        raise RefusedError(f"{path} is {kind}", reason="not-a-file")


def _await_pipe(path: Path, descriptor: int) -> None:
    """Wait until something came through a pipe, or its writer has closed it."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN | select.POLLHUP)
    if not waiting.poll(PIPE_SECONDS * 1000):
        raise IncompleteError(
            f"nothing came through the pipe {path} for {PIPE_SECONDS} s", reason="no-file"
        )
    os.set_blocking(descriptor, True)


def given_lines(path: Path, max_bytes: int) -> Iterator[bytes]:
    """Yield the lines of what the operator named, each as soon as it is complete.

    Without their ends, which may be \\r\\n. Raises LimitError for a line over `max_bytes`.
    """
    with open_given(path) as file:
        while line := file.readline(max_bytes + 1):
            if len(line) > max_bytes:
                raise LimitError(f"{path}: a line is longer than the {max_bytes} bytes allowed")
            yield line.removesuffix(b"\n").removesuffix(b"\r")


@contextlib.contextmanager
def open_alone(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is to be replaced, and keep others who do the same waiting.

    Whoever waited opens what the other one wrote. Raises as open_foreign does.
    """
    while True:
        with open_foreign(path) as file:
            with contextlib.suppress(OSError):  # a medium that knows no locks: as before
                fcntl.flock(file, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat(follow_symlinks=False)):
                    yield file
                    return


def read_foreign(path: Path, max_bytes: int) -> bytes:
    """Read a small file somebody gave us; raises LimitError above `max_bytes`."""
    with open_foreign(path) as file:
        return _read_small(path, file, max_bytes)


def read_given(path: Path, max_bytes: int) -> bytes:
    """Read a small file that the operator named; raises LimitError, and as open_given does."""
    with open_given(path) as file:
        return _read_small(path, file, max_bytes)


def _read_small(path: Path, file: BinaryIO, max_bytes: int) -> bytes:
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise LimitError(f"{path} is larger than the {max_bytes} bytes allowed")
    return data


def is_file(path: Path) -> bool:
    """Whether there is a file of this name that can be read."""
    return path.is_file()


def hash_file(path: Path, algorithms: Collection[str]) -> dict[str, bytes]:
    """Hash what the operator named, once with each algorithm, streaming.

    Returns raw digests by algorithm; raises as open_given does.
    """
    return hash_artifact(path, algorithms, ())[0]


def hash_artifact(
    path: Path,
    algorithms: Collection[str],
    prefixes: Collection[bytes],
    passed: Callable[[int], object] = int,
) -> tuple[dict[str, bytes], dict[bytes, bytes]]:
    """Hash what the operator named, once, also with SHA-512 after each of some prefixes.

    Returns raw digests by algorithm and by prefix; `passed` is told of bytes that were read.
    Raises as open_given does.
    """
    plain = {name: hashlib.new(name) for name in algorithms}
    prefixed = {prefix: hashlib.sha512(prefix) for prefix in prefixes}
    hashers = (*plain.values(), *prefixed.values())
    buffer = bytearray(HASH_BUFFER_BYTES)
    view = memoryview(buffer)
    with open_given(path) as file:
        while n_bytes := file.readinto(buffer):  # type: ignore[attr-defined]
            for hasher in hashers:
                hasher.update(view[:n_bytes])
            passed(n_bytes)
    return (
        {name: hasher.digest() for name, hasher in plain.items()},
        {one: hasher.digest() for one, hasher in prefixed.items()},
    )


def names_in(directory: Path, max_names: int) -> list[str]:
    """Return the names in a directory, sorted; raises LimitError above `max_names`.

    None if it is not there. Raises StoreError if it cannot be read.
    """
    try:
        with os.scandir(directory) as entries:
            found = [entry.name for entry in itertools.islice(entries, max_names + 1)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise file_error(directory, error) from error
    if len(found) > max_names:
        raise LimitError(f"{directory} has more than the {max_names} files allowed")
    return sorted(found)


def size_of(path: Path) -> int:
    """Return how many bytes a file has; raises StoreError if it cannot be asked."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise file_error(path, error) from error


def create_directory(path: Path, mode: int = 0o700) -> None:
    """Create a directory, unless it is there: one that only we can read, or as `mode` says.

    Raises StoreError.
    """
    try:
        path.mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise file_error(path, error) from error


@contextlib.contextmanager
def staging_file(home: Path) -> Iterator[BinaryIO]:
    """Yield an empty private file on the store's filesystem; gone when this ends.

    It has no name, so that whatever kills us leaves nothing behind.
    """
    directory = home / _STAGING
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise file_error(directory, error) from error
    with os.fdopen(descriptor, "w+b") as file:
        try:
            yield file
        except OSError as error:
            raise file_error(directory, error) from error


@contextlib.contextmanager
def written_whole(
    path: Path, *, replace: bool = False, mode: int | None = None
) -> Iterator[BinaryIO]:
    """Yield a file that takes the name `path` once it is complete and durable.

    It gets the permission bits `mode`, or what the umask leaves.

    Raises IncompleteError if its directory is not there, StoreError if the disk is full or
    `path` exists (unless `replace`); then nothing is there under that name that was not
    before. If we die in between, at most a file ending in .tmp is left, until the same is
    written again.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    if not replace and path.exists():
        raise StoreError(
            f"{path} exists already", reason="file-exists", next_step="choose another name"
        )
    try:
        _remove_leftovers(path)
        with temporary.open("xb", buffering=_BUFFER_BYTES) as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        if not replace:
            temporary = path  # what has to go if the next step fails
        # The bytes are durable; the name is, once the directory is.
        sync_directory(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            if error.filename == str(temporary):  # nobody asked for a file of that name
                error.filename = str(path)
            raise output_error(path, error) from error
        raise


def _remove_leftovers(path: Path) -> None:
    """Remove what runs that were killed left of `path`; a run that is alive then fails."""
    temporary = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.tmp")
    for other in path.parent.iterdir():
        if temporary.fullmatch(other.name):
            other.unlink(missing_ok=True)
