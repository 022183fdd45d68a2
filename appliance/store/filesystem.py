"""The disk under a home: durable files, who may write, room, and whether a medium kept it.

A stick of fake capacity, or one that is dying, takes every byte and gives back others. So
what was written is read again from the medium itself, not from the kernel's memory of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.errors import StoreError
from appliance.store.failures import file_error
from appliance.value import frozen

# Making files durable: what is written may be lost, what was flushed is not.


_SYNC_FILE_RANGE_WRITE: Final = 2  # of linux/fs.h


def sync_directory(directory: Path) -> None:
    """Make what names a directory holds durable, where its filesystem can; raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some FUSE and 9P filesystems have no such thing; the file itself is durable.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sync_filesystem(directory: Path) -> bool:
    """Flush the filesystem of `directory`; False where the C library cannot."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return syncfs(descriptor)
    finally:
        os.close(descriptor)


def start_flush(descriptor: int) -> None:
    """Have the kernel begin to write out a file, where it can be told to, and do not wait."""
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "sync_file_range"):
        offset = ctypes.c_int64
        libc.sync_file_range(descriptor, offset(0), offset(0), _SYNC_FILE_RANGE_WRITE)


def syncfs(descriptor: int) -> bool:
    """Flush the filesystem that a file is on; False where the C library cannot; raises OSError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        return False
    if libc.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True


# What the home stands on, and who else may write there.


# Without modes of their own: everybody's files, whatever the key says.
_MODELESS: Final = frozenset({"vfat", "msdos", "exfat", "fuseblk", "ntfs", "ntfs3"})
FAT_TYPES: Final = frozenset({"vfat", "msdos"})
MAX_FAT_FILE_BYTES: Final = 2**32 - 1
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "ceph"})


def filesystem_type(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the type of the filesystem that holds `path`, or '' where that is not known."""
    # As text: it is asked before every write, and taking paths apart was most of it.
    below = f"{path.resolve()}/".replace("//", "/")
    best, found = -1, ""
    try:
        lines = mountinfo.read_text(errors="surrogateescape").split("\n")
    except OSError:
        return ""
    for line in lines:
        fields, _, tail = line.partition(" - ")
        if not tail:
            continue
        escaped = fields.split(" ")[4]
        mount = escaped.rstrip("/")
        if "\\" in mount:
            mount = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), mount)
        # Later lines are mounted over earlier ones, so an equal depth wins.
        if len(mount) >= best and below.startswith(f"{mount}/"):
            best, found = len(mount), tail.split(" ")[0]
    return found


def is_network(kind: str) -> bool:
    """Whether a filesystem of this type is on another machine."""
    return kind in _NETWORK


def keeps_modes(kind: str) -> bool:
    """Whether a filesystem of this type keeps who may read a file."""
    return kind not in _MODELESS


def refuse_network_filesystem(home: Path) -> None:
    """Raise StoreError if `home` is on a filesystem where locks and fsync do not hold."""
    kind = filesystem_type(home)
    if is_network(kind):
        raise StoreError(
            f"{home} is on a network filesystem ({kind}), where neither locks nor fsync hold",
            reason="network-filesystem",
            next_step="move the home to a local disk, or use --allow-network-fs at your own risk",
        )


def home_is_ours(home: Path) -> bool:
    """Whether the user we run as owns `home`."""
    return home.stat().st_uid == os.geteuid()


def refuse_foreign_home(home: Path) -> None:
    """Raise StoreError if another user owns `home`: we would neither write nor run for them.

    What we wrote there its owner could not change, and what its settings name (a program, a
    file to append to) would run or be written with our rights.
    """
    if home_is_ours(home):
        return
    owner = home.stat().st_uid
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"  # as sudo takes a number
    quoted = f"'{name}'" if name.startswith("#") else name
    raise StoreError(
        f"{home} belongs to user {name}, and we are user {os.geteuid()}",
        reason="wrong-owner",
        next_step=f"become that user: sudo -u {quoted} attestor --home {home} ...",
    )


def refuse_open_home(home: Path) -> None:
    """Raise StoreError if others may put another database into `home`, for us to believe."""
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o022:
        raise StoreError(
            f"{home} can be written to by others (mode {mode:04o})",
            reason="permissions",
            next_step=f"run: chmod go-w {home}; then see that what is in it is yours",
        )


@frozen
class Room:
    """What a filesystem has left for us."""

    free_bytes: int
    free_files: int | None  # inodes; None: as many as there are bytes for
    total_bytes: int


def room_at(path: Path) -> Room:
    """Return the room on the filesystem of `path`; raises StoreError if it cannot be asked."""
    try:
        found = os.statvfs(path)
    except OSError as error:
        raise file_error(path, error) from error
    return Room(
        found.f_bavail * found.f_frsize,
        found.f_favail if found.f_files else None,
        found.f_blocks * found.f_frsize,
    )


@frozen
class Access:
    """Who may do what with a file."""

    mode: int  # permission bits
    is_ours: bool  # owned by whom we run as

    @property
    def others_write(self) -> bool:
        """Whether somebody but the owner can change it."""
        return bool(self.mode & 0o022)

    @property
    def others_read(self) -> bool:
        """Whether somebody but the owner can read it."""
        return bool(self.mode & 0o055)


def access_of(path: Path) -> Access | None:
    """Return who may do what with `path`; None if it is not there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error(path, error) from error
    return Access(stat.S_IMODE(status.st_mode), status.st_uid == os.geteuid())


def foreign_files(home: Path, paths: Iterable[Path | str]) -> tuple[str, ...]:
    """List those of these paths that belong to another user than `home` does."""
    try:
        owner = home.stat().st_uid
    except OSError as error:
        raise file_error(home, error) from error
    found = []
    for path in paths:
        with contextlib.suppress(OSError):  # what is not there belongs to nobody
            if os.lstat(path).st_uid != owner:
                found.append(str(path))
    return tuple(found)


_BUFFER_BYTES: Final = 1024 * 1024
_MOUNT_POINTS: Final = (Path("/media"), Path("/run/media"), Path("/mnt"))


def is_removable(path: Path) -> bool:
    """Whether `path` looks as if it were on a stick: by where it is mounted, or its filesystem."""
    resolved = path.resolve()
    if any(resolved.is_relative_to(place) for place in _MOUNT_POINTS):
        return True
    return not keeps_modes(filesystem_type(path))


def read_back(path: Path, expected: bytes, passed: Callable[[int], object] = int) -> None:
    """Read a file from its medium again; raises StoreError unless its SHA-256 is `expected`.

    Whatever the medium has not taken yet is flushed first, and what the kernel remembers of
    it dropped, as far as the filesystem lets us. `passed` is told how many bytes were read.
    """
    digest = sha256()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)  # only what is clean can be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            while data := os.read(descriptor, _BUFFER_BYTES):
                digest.update(data)
                passed(len(data))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise file_error(path, error) from error
    if digest.digest() != expected:
        raise StoreError(
            f"{path} does not read back as it was written: expected SHA-256 {expected.hex()},"
            f" got {digest.hexdigest()}",
            reason="medium",
            next_step="use another stick; this stick loses data",
        )
