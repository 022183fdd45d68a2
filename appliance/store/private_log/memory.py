"""What this machine remembers since it was booted of what each private log signed last.

It lies in memory-backed runtime directories, where no backup, copy, snapshot or archive of a
home goes, and is worth nothing after a reboot: it names the boot it belongs to. So a home
that was put back in place, while the machine ran on, is behind its own memory, and is seen.
It is written before the record beside the key, so that whatever may have been signed is here.

    attestor memory/1
    boot ID
    before HEX|none         (SHA-256 of the note signed before this one)
                            (an empty line)
    the last-signed record
"""

from __future__ import annotations

import contextlib
import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.errors import MalformedError
from appliance.store.private_log.last_signed import LastSigned, parse_last_signed
from appliance.tlog.checkpoint import parse_checkpoint
from appliance.tlog.note import parse_note
from appliance.tlog.note_keys import VerifierKey
from appliance.value import frozen

_FIRST_LINE: Final = "attestor memory/1"
_NONE: Final = "none"
_MAX_BYTES: Final = 1024 * 1024
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@frozen
class Memory:
    """What a log signed last on this machine, in this boot."""

    before: bytes | None  # SHA-256 of the note before it; None: it was the first
    record: LastSigned

    def follows(self, last: LastSigned) -> bool:
        """Whether it was signed right after `last`."""
        return self.before == sha256(last.note).digest()


def boot_id() -> str:
    """Return what names this boot of the machine; an empty string if nothing does."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def runtime_directories() -> tuple[Path, ...]:
    """List the directories that end with this boot, whoever of them may be there.

    Several, since each can be taken away while the machine runs: a service's by its stop,
    a user's by the last logout. RUNTIME_DIRECTORY, by which systemd names the one of a
    unit, stands for all of them.
    """
    given = os.environ.get("RUNTIME_DIRECTORY")
    if given:
        return tuple(Path(one) for one in given.split(":"))
    found = [Path("/run/attestor"), Path(f"/dev/shm/attestor-{os.geteuid()}")]  # noqa: S108 0700
    own = os.environ.get("XDG_RUNTIME_DIR")
    if own:
        found.append(Path(own) / "attestor")
    return tuple(found)


def remember(key: VerifierKey, before: LastSigned | None, record: LastSigned) -> bool:
    """Remember that `record` is what is signed now, after `before`; return whether it could.

    Where it cannot be written, an older memory is taken away: an old one proves nothing.
    """
    boot = boot_id()
    if not boot:
        return False
    digest = sha256(before.note).hexdigest() if before else _NONE
    head = f"{_FIRST_LINE}\nboot {boot}\nbefore {digest}\n\n"
    return write_memory(_file_name(key), head.encode() + bytes(record))


def recall(key: VerifierKey) -> Memory | None:
    """Return what this boot remembers of the log of `key`; None: nothing.

    Of several that of the largest tree counts, and of one tree the one with most to say.
    """
    boot = boot_id()
    # What every directory holds, as is usual, is read as one memory.
    found = [_parse(raw, boot) for raw in set(read_memories(_file_name(key))) if boot]
    memories = [memory for memory in found if memory is not None]
    return max(memories, key=_extent) if len(memories) > 1 else next(iter(memories), None)


def forget(key: VerifierKey) -> None:
    """Forget a log that will never sign again: a drill's."""
    for place in runtime_directories():
        with contextlib.suppress(OSError):
            (place / _file_name(key)).unlink()


def write_memory(name: str, content: bytes) -> bool:
    """Write a file to every runtime directory there is; return whether it is in any.

    Where it cannot be written, an older one is taken away.
    """
    written = [_write(place, name, content) for place in runtime_directories()]
    return any(written)


def read_memories(name: str) -> list[bytes]:
    """Return what a file holds in each runtime directory where there is one."""
    found = (_read(place, name) for place in runtime_directories())
    return [raw for raw in found if raw is not None]


def _extent(memory: Memory) -> tuple[int, int]:
    note = memory.record.note
    return parse_checkpoint(parse_note(note).text).head.tree_size, len(note)


def _parse(raw: bytes, boot: str) -> Memory | None:
    """Return the memory in a file; None if it is of another boot, or is no memory."""
    head, _, record = raw.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    if lines[:2] != [_FIRST_LINE, f"boot {boot}"] or len(lines) != 3:
        return None
    digest = lines[2].removeprefix("before ")
    try:
        return Memory(None if digest == _NONE else bytes.fromhex(digest), parse_last_signed(record))
    except (MalformedError, ValueError):
        return None


def _file_name(key: VerifierKey) -> str:
    return f"{key.log_id.hex()}.signed"


def _usable(place: Path) -> bool:
    """Whether a directory is there, is ours and is nobody else's to write to."""
    with contextlib.suppress(OSError):
        place.mkdir(mode=0o700)
    try:
        status = place.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & 0o022
    )


def _read(place: Path, name: str) -> bytes | None:
    if not _usable(place):
        return None
    try:
        descriptor = os.open(place / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(_MAX_BYTES)
    except OSError:
        return None


def _write(place: Path, name: str, content: bytes) -> bool:
    if not _usable(place):
        return False
    path = place / name
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a run that was killed; never written into
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(content)
        temporary.replace(path)  # what dies with the machine needs no fsync
    except OSError:
        for leftover in (temporary, path):
            with contextlib.suppress(OSError):
                leftover.unlink()
        return False
    return True
