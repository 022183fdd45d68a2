"""What a home stands on: found in the kernel's table, however it is spelled there."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import StoreError
from appliance.store import filesystem
from appliance.store.filesystem import (
    access_of,
    filesystem_type,
    is_network,
    keeps_modes,
    refuse_network_filesystem,
    room_at,
)

TABLE = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /mnt/nas rw,relatime shared:2 - nfs4 nas:/export rw,vers=4.2
31 22 0:26 / /mnt/two\\040words rw - cifs //nas/x rw
32 22 0:27 / /mnt/stick rw - exfat /dev/sda1 rw
33 22 0:28 / /mnt/over rw - nfs nas:/over rw
34 22 0:29 / /mnt/over rw - ext4 /dev/vdb rw
broken line
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(TABLE)
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/attestor", "ext4"),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/deep/home", "nfs4"),
        ("/mnt/nasty", "ext4"),
        ("/mnt/two words/home", "cifs"),
        ("/mnt/stick/home", "exfat"),
        ("/mnt/over/home", "ext4"),  # mounted over an NFS
    ],
)
def test_the_deepest_and_latest_mount_counts(table: Path, path: str, kind: str) -> None:
    assert filesystem_type(Path(path), table) == kind


def test_without_a_table_the_type_is_not_known(tmp_path: Path) -> None:
    assert filesystem_type(tmp_path, tmp_path / "none") == ""
    assert filesystem_type(tmp_path) != ""


def test_a_network_filesystem_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refuse_network_filesystem(tmp_path)
    for kind in ("nfs", "nfs4", "cifs", "smb3"):
        assert is_network(kind)
        monkeypatch.setattr(filesystem, "filesystem_type", lambda _, kind=kind: kind)
        with pytest.raises(StoreError, match=kind) as caught:
            refuse_network_filesystem(tmp_path)
        assert caught.value.reason == "network-filesystem"


def test_sticks_keep_no_modes() -> None:
    assert keeps_modes("ext4")
    assert not keeps_modes("vfat")
    assert not keeps_modes("exfat")


def test_room_and_access_are_told(tmp_path: Path) -> None:
    room = room_at(tmp_path)
    assert room.free_bytes > 0
    with pytest.raises(StoreError):
        room_at(tmp_path / "none")
    assert access_of(tmp_path / "none") is None
    file = tmp_path / "file"
    file.write_text("")
    for mode, read, write in ((0o600, False, False), (0o644, True, False), (0o620, False, True)):
        file.chmod(mode)
        access = access_of(file)
        assert access is not None and access.is_ours
        assert (access.others_read, access.others_write) == (read, write)
