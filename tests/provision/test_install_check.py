"""install.sh's own check of a kit, against whatever somebody or a bad disk made of it."""

from __future__ import annotations

import os
import platform
import random
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

SCRIPT: Final = Path(__file__).resolve().parents[2] / "scripts" / "kit" / "install.sh"
FILES: Final = {
    "README": b"a kit\n",
    "version": b"9.9.9\n",
    "machine": platform.machine().encode() + b"\n",
    "python": f"{sys.version_info.major}.{sys.version_info.minor}\n".encode(),
    "requirements.txt": b"",
    "share/doc/README": b"documents\n",
}
DAMAGED: Final = "this kit is damaged"


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit that is as it was made, but for its wheels: so it is checked, and installs nothing."""
    made = tmp_path / "kit"
    for name, data in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(data)
    script = SCRIPT.read_text()
    end = script.index("# Whether a place is whole")
    (made / "install.sh").write_text(script[:end] + "echo checked\n")
    (made / "install.sh").chmod(0o755)
    write_sums(made)
    return made


def write_sums(kit: Path) -> None:
    names = sorted(
        str(path.relative_to(kit))
        for path in kit.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    )
    lines = [f"{sha256((kit / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (kit / "SHA256SUMS").write_text("".join(lines))


def checked(kit: Path) -> tuple[int, bytes]:
    """Run the script up to its check; what it says is in the terminal's own characters."""
    directory = Path(sys.executable).resolve().parent
    done = subprocess.run(
        [str(kit / "install.sh"), "--prefix", str(kit.parent / "opt")],
        env={"PATH": f"{directory}:/usr/bin:/bin"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert all(32 <= byte < 127 or byte == 10 for byte in said), said
    assert b"Traceback" not in said
    return done.returncode, said


def test_a_kit_that_is_as_it_was_made_is_taken(kit: Path) -> None:
    assert checked(kit) == (0, b"checked\n")


def replaced(name: str, by: Callable[[Path], object]) -> Callable[[Path], None]:
    def harm(kit: Path) -> None:
        (kit / name).unlink()
        by(kit / name)

    return harm


def is_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


def directory_elsewhere(kit: Path) -> None:
    (kit / "share").rename(kit.parent / "share")
    (kit / "share").symlink_to(kit.parent / "share")


def extra_link(kit: Path) -> None:
    (kit / "wheels").symlink_to(kit.parent)


def listed_twice(kit: Path) -> None:
    sums = (kit / "SHA256SUMS").read_text()
    (kit / "SHA256SUMS").write_text(f"{'0' * 64}  README\n{sums}")


HARM: Final[dict[str, Callable[[Path], object]]] = {
    "changed": lambda kit: (kit / "README").write_bytes(b"another kit\n"),
    "added": lambda kit: (kit / "more.whl").write_bytes(b"x"),
    "added under a name for the terminal": lambda kit: (kit / "\x1b[2J\nError: fine").touch(),
    "added under a name that is no text": lambda kit: Path(
        os.fsdecode(bytes(kit) + b"/\xff")
    ).touch(),
    "added among what is hidden": lambda kit: (kit / ".pth").touch(),
    "missing": lambda kit: (kit / "README").unlink(),
    "a FIFO": replaced("README", os.mkfifo),
    "a link": replaced("README", lambda path: path.symlink_to("/dev/zero")),
    "2^40 bytes": replaced("README", is_sparse),
    "a directory": replaced("README", lambda path: path.mkdir()),
    "a directory that is elsewhere": directory_elsewhere,
    "a directory of somebody else's": extra_link,
    "a version that is a FIFO": replaced("version", os.mkfifo),
    "a machine that is a link": replaced("machine", lambda path: path.symlink_to("/dev/zero")),
    "a python for the terminal": lambda kit: (kit / "python").write_bytes(b"\x1b[2J3"),
    "a python that is a path": lambda kit: (kit / "python").write_bytes(b"/../../evil"),
    "a machine for the terminal": lambda kit: (kit / "machine").write_bytes(b"\x1b]0;x\x07"),
    "no list": lambda kit: (kit / "SHA256SUMS").unlink(),
    "an empty list": lambda kit: (kit / "SHA256SUMS").write_bytes(b""),
    "a list that is a FIFO": replaced("SHA256SUMS", os.mkfifo),
    "a list that is endless": replaced("SHA256SUMS", lambda path: path.symlink_to("/dev/zero")),
    "a list that is no text": lambda kit: (kit / "SHA256SUMS").write_bytes(b"\xff\xfe"),
    "a list of something else": lambda kit: (kit / "SHA256SUMS").write_bytes(b"x\n"),
    "listed twice": listed_twice,
}


@pytest.mark.parametrize("harm", HARM)
def test_a_kit_that_is_not_as_it_was_made_is_refused_in_time(kit: Path, harm: str) -> None:
    HARM[harm](kit)
    code, said = checked(kit)
    assert code == 1
    assert DAMAGED.encode() in said or b"this kit is for" in said
    assert not (kit.parent / "opt").exists()


def test_whatever_byte_of_the_list_is_lost_or_changed_it_is_refused(kit: Path) -> None:
    raw, dice = (kit / "SHA256SUMS").read_bytes(), random.Random(3)  # noqa: S311 the same each time
    for _ in range(6):
        at = dice.randrange(len(raw) - 1)
        (kit / "SHA256SUMS").write_bytes(raw[:at])
        assert checked(kit)[0] == 1, at
        (kit / "SHA256SUMS").write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        assert checked(kit)[0] == 1, at
