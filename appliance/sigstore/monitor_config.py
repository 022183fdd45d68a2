"""The Sigstore monitor config: where logs are read (protobuf-specs, sigstore_monitor.proto).

It carries no keys. It joins an origin with the URL it is read at, which need be neither the URL
that entries are written to nor the origin itself.
"""

from __future__ import annotations

from typing import Final

from appliance.errors import MalformedError
from appliance.rekor.protojson import Message, top_message
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

MAX_MONITOR_CONFIG_BYTES: Final = 2 * 1024 * 1024
MAX_LOGS: Final = 256


@frozen
class ReadLog:
    """One Rekor log, and where it is read."""

    origin: str
    api_version: int  # of Rekor; 0: it is not released yet
    url: str  # what the paths of that version are appended to


def parse_monitor_config(raw: bytes) -> tuple[ReadLog, ...]:
    """Return the Rekor logs that a monitor config names; raises MalformedError or LimitError.

    The format has no media type: a file that names neither a Rekor nor a CT log is malformed.
    """
    value = parse_json(raw, "monitor config", MAX_MONITOR_CONFIG_BYTES)
    config = top_message(value, "monitorConfig", lenient=True)
    if config.get("rekorLogs") is None and config.get("ctLogs") is None:
        raise MalformedError("monitor config: expected rekorLogs or ctLogs, got neither")
    return tuple(map(_read_log, config.messages("rekorLogs", MAX_LOGS)))


def _read_log(log: Message) -> ReadLog:
    return ReadLog(
        log.required_text("logOrigin"), log.integer("majorApiVersion"), log.required_text("readUrl")
    )
