"""What a medium gives back is compared with what was written to it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from appliance.errors import StoreError
from appliance.store.filesystem import is_removable, read_back

DATA = bytes(range(256)) * 8192  # 2 MiB


def test_what_is_as_it_was_written_passes(tmp_path: Path) -> None:
    file = tmp_path / "stick.tar"
    file.write_bytes(DATA)
    read_back(file, sha256(DATA).digest())


@pytest.mark.parametrize("position", [0, len(DATA) // 2, len(DATA) - 1])
def test_one_bit_that_a_medium_lost_is_found(tmp_path: Path, position: int) -> None:
    damaged = bytearray(DATA)
    damaged[position] ^= 1
    file = tmp_path / "stick.tar"
    file.write_bytes(damaged)
    with pytest.raises(StoreError) as caught:
        read_back(file, sha256(DATA).digest())
    assert caught.value.reason == "medium"
    assert sha256(DATA).hexdigest() in caught.value.message
    assert sha256(damaged).hexdigest() in caught.value.message


def test_a_file_that_went_away_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        read_back(tmp_path / "none", bytes(32))


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A directory that is not in memory, where the system has one."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        yield Path(made)


def test_it_really_asks_the_medium(on_disk: Path) -> None:
    """After dropping the pages, the kernel has to read them again."""
    file = on_disk / "stick.tar"
    file.write_bytes(DATA * 8)
    if shutil.which("fincore") is None:
        pytest.skip("fincore (util-linux-extra) is not here to see what the kernel remembers")
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", file], check=True, capture_output=True, text=True
    ).stdout.strip()
    if kind == "tmpfs":
        pytest.skip("this file system is in memory: there is no medium to ask")
    from appliance.store import filesystem as media

    seen: list[int] = []

    class Watched:
        def update(self, data: bytes) -> None:
            if not seen:
                out = subprocess.run(
                    ["fincore", "-b", "-n", "-o", "RES", file],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
                seen.append(int(out))

        def digest(self) -> bytes:
            return bytes(32)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(media, "sha256", Watched)
        read_back(file, bytes(32))
    # The first pages, and what was read ahead, are back; the rest is not.
    assert seen[0] < len(DATA) * 8 / 2


@pytest.mark.parametrize("place", ["/media/op/STICK", "/run/media/op/STICK", "/mnt/stick"])
def test_where_sticks_are_mounted_is_removable(place: str) -> None:
    assert is_removable(Path(place) / "outside-1.tar")


def test_a_home_is_not(tmp_path: Path) -> None:
    assert not is_removable(tmp_path / "outside-1.tar")
