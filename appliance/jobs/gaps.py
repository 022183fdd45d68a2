"""Name a gap exactly: the command that fills it, to be given on the other side."""

from __future__ import annotations

import shlex

GAP_FILE = "gap.tar"


def fill_command(origin: str, held_size: int | None, *, entries: bool) -> str:
    """Return the command that exports what this site, which holds `held_size`, lacks of a log."""
    since = ["--since-size", str(held_size)] if held_size else ["--full"]
    with_entries = ["--include-entries"] if entries else []
    words = ["attestor", "export", "--origin", origin, *since, *with_entries, "--output", GAP_FILE]
    return shlex.join(words)
