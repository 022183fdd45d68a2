"""One line of JSON for each request, to a file that logrotate can take away, or to stderr.

    {"at":"2026-11-29T03:00:00.123Z","log":"build","client":"192.0.2.7","caller":"ci",
     "method":"POST","path":"/api/v2/log/entries","status":201,"bytes":1893,"microseconds":6120}

`log` is null where none was asked for, `caller` where nobody had to say who it is; `bytes` are
those of the body. No header, no query and no body is written: they may hold secrets. All
that is not printable ASCII is escaped as JSON does, so a line is a line whatever was sent.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

from appliance.value import frozen

_MAX_PATH: Final = 1024  # characters of a path


@frozen
class Served:
    """One request, as it was answered."""

    at: float  # Unix seconds
    log: str  # "": none
    client: str
    caller: str  # "": nobody asked
    method: str
    path: str  # as it was asked for, decoded
    status: int
    size: int  # bytes of the body
    microseconds: int

    @property
    def line(self) -> bytes:
        """The line of the access log, with its end."""
        at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        described = {
            "at": at.replace("+00:00", "Z"),
            "log": self.log or None,
            "client": self.client,
            "caller": self.caller or None,
            "method": self.method[:32],
            "path": self.path[:_MAX_PATH],
            "status": self.status,
            "bytes": self.size,
            "microseconds": self.microseconds,
        }
        # DEL is no end of a line, and still nothing for a terminal.
        text = json.dumps(described, separators=(",", ":")).replace("\x7f", "\\u007f")
        return text.encode("ascii") + b"\n"
