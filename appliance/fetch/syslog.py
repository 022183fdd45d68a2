"""Alerts by syslog: one RFC 5424 message each, to a local socket or by UDP to a host."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime
from typing import Final

from appliance.errors import RemoteError

_FACILITY: Final = 3  # system daemons
_SEVERITIES: Final = {"critical": 2, "warning": 4, "info": 6}
_APP_NAME: Final = "attestor"
_MAX_BYTES: Final = 65_000  # of one datagram


def send_syslog(
    address: str,
    payload: str,
    *,
    severity: str,
    event_type: str,
    site: str,
    now: int,
    seconds: float,
) -> None:
    """Send one alert to /path/of/a/socket or host:port (UDP, so nobody says that it came).

    Raises RemoteError if the system would not send it.
    """
    message = format_message(payload, severity, event_type, site, now)
    ends = time.monotonic() + seconds
    try:
        with _connected(address, ends) as connection:
            connection.settimeout(max(ends - time.monotonic(), 0.001))
            connection.sendall(message[:_MAX_BYTES])
    except OSError as error:
        text = error.strerror or str(error) or type(error).__name__
        raise RemoteError(f"syslog {address}: {text}", reason="syslog") from error


def format_message(payload: str, severity: str, event_type: str, site: str, now: int) -> bytes:
    """Format an alert as RFC 5424: the payload is the message, in UTF-8 with its mark."""
    priority = _FACILITY * 8 + _SEVERITIES[severity]
    at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    head = (
        f"<{priority}>1 {at} {_word(site, 255)} {_APP_NAME} {os.getpid()} {_word(event_type, 32)} -"
    )
    return head.encode() + b" \xef\xbb\xbf" + payload.encode("utf-8", "backslashreplace")


def _word(text: str, most: int) -> str:
    """Return what a header field may hold: printable ASCII without spaces."""
    return "".join(one for one in text if "!" <= one <= "~")[:most] or "-"


def _connected(address: str, ends: float) -> socket.socket:
    if address.startswith("/"):
        try:
            return _open(socket.AF_UNIX, socket.SOCK_DGRAM, address, ends)
        except OSError:  # some daemons listen for streams only
            return _open(socket.AF_UNIX, socket.SOCK_STREAM, address, ends)
    host, _, port = address.rpartition(":")
    family, kind, _, _, resolved = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
    return _open(family, kind, resolved, ends)


def _open(family: int, kind: int, address: object, ends: float) -> socket.socket:
    opened = socket.socket(family, kind)
    try:
        opened.settimeout(max(ends - time.monotonic(), 0.001))
        opened.connect(address)  # type: ignore[arg-type]  # what getaddrinfo gave
    except BaseException:
        opened.close()
        raise
    return opened
