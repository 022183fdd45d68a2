"""Telling systemd how a service goes (sd_notify(3)): one datagram to where NOTIFY_SOCKET says."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_SOCKET: Final = "NOTIFY_SOCKET"
_SECONDS: Final = 5.0  # a manager that takes no datagram for so long is not waited for


def notify(*lines: str, environment: Mapping[str, str] | None = None) -> bool:
    """Send lines such as READY to the service manager; return whether it could be told.

    Without a manager that asked nothing happens. None that fails keeps a server from serving.
    """
    address = (os.environ if environment is None else environment).get(_SOCKET, "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    with contextlib.suppress(OSError):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(_SECONDS)
            sender.sendto("\n".join(lines).encode(), address)
        return True
    return False
