"""What the home stands on, and who else may write there (SPEC.md section 3, THREATS.md T14)."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Final

from appliance.errors import StoreError

_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "ceph"})


def filesystem_type(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the type of the filesystem that holds `path`, or '' where that is not known."""
    resolved = path.resolve()
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
        mount = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), escaped))
        # Later lines are mounted over earlier ones, so an equal depth wins.
        if resolved.is_relative_to(mount) and len(mount.parts) >= best:
            best, found = len(mount.parts), tail.split(" ")[0]
    return found


def refuse_network_filesystem(home: Path) -> None:
    """Raise StoreError if `home` is on a filesystem where locks and fsync do not hold."""
    kind = filesystem_type(home)
    if kind in _NETWORK:
        raise StoreError(
            f"{home} is on a network filesystem ({kind}), where neither locks nor fsync hold",
            reason="network-filesystem",
            next_step="move the home to a local disk, or use --allow-network-fs at your own risk",
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
