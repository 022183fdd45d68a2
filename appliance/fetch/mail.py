"""Alerts by mail: one plain message each, so that the subject alone says what is wrong."""

from __future__ import annotations

import contextlib
import json
import smtplib
import socket
import ssl
import threading
import time
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final, Self
from urllib.parse import urlsplit

from appliance.errors import ConfigError, RemoteError
from appliance.fetch.tls import TlsSettings, client_context

LOCALHOST: Final = "smtp://localhost:25"
_PORTS: Final = {"smtp": 25, "smtps": 465}


def send_mail(
    server: str | None,
    recipient: str,
    payload: str,
    *,
    sender: str,
    message_id: str,
    password: bytes | None,
    now: int,
    seconds: float,
    tls: TlsSettings,
) -> None:
    """Send one alert, whose `payload` is a JSON object, to a person.

    `server` is smtp://[user@]host[:port] or smtps://…; None is this host. With a password
    STARTTLS is demanded before it is said. `message_id` without its angle brackets. All of it
    takes at most `seconds`.
    Raises RemoteError if the server does not take it, ConfigError for a password without user.
    """
    parts = urlsplit(server or LOCALHOST)
    if password is not None and not parts.username:
        raise ConfigError(
            "a mail sink with a secretFile needs a user in its url",
            next_step="write url: smtps://user@host",
        )
    message = _message(payload, sender, recipient, message_id, now)
    host, port = parts.hostname or "localhost", parts.port or _PORTS[parts.scheme]
    with _Deadline(seconds) as deadline:
        try:
            with _Connection(
                client_context(tls) if parts.scheme == "smtps" else None, host, port, deadline
            ) as connection:
                if password is not None:
                    if parts.scheme == "smtp":
                        connection.starttls(context=client_context(tls))
                    connection.login(parts.username or "", password.decode())
                connection.send_message(message)
        except (OSError, smtplib.SMTPException, UnicodeError) as error:
            text = str(error) or type(error).__name__
            if deadline.is_over:
                text = f"did not take it within {seconds:g} s"
            raise RemoteError(f"mail server {host}:{port}: {text}", reason="mail") from error


class _Deadline:
    """Ends a connection when the time for the whole of an exchange is up.

    smtplib knows a timeout for each read only, and a server that sends a byte a second never
    meets that. A second handle on the connection ends it, whatever wraps the first.
    """

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._handle: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._ends

    @property
    def seconds_left(self) -> float:
        """Return what is left, for one operation; more than nothing."""
        return max(self._ends - time.monotonic(), 0.001)

    def watch(self, connection: socket.socket) -> None:
        """End this connection when the time is up."""
        self._handle = connection.dup()
        self._timer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._handle is not None:
            self._handle.close()

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            if self._handle is not None:
                self._handle.shutdown(socket.SHUT_RDWR)


class _Connection(smtplib.SMTP):
    """A connection to a mail server, over TLS from the start with `tls`, within a deadline."""

    def __init__(
        self, tls: ssl.SSLContext | None, host: str, port: int, deadline: _Deadline
    ) -> None:
        self._tls = tls
        self._deadline = deadline
        super().__init__(host, port, timeout=deadline.seconds_left)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        failure = OSError(f"{host} has no address")
        for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                place = (str(address[0]), port)
                connected = socket.create_connection(place, self._deadline.seconds_left)
            except OSError as error:
                failure = error
                continue
            self._deadline.watch(connected)
            if self._tls is None:
                return connected
            return self._tls.wrap_socket(connected, server_hostname=host)
        raise failure


def _message(payload: str, sender: str, recipient: str, message_id: str, now: int) -> EmailMessage:
    alert = json.loads(payload)
    about = alert.get("origin") or alert.get("primaryOrigin") or "attestor"
    message = EmailMessage()
    subject = f"[{alert['severity']}] {alert['eventType']}: {about}"
    # A log's origin is its own choice; a line break would be another header.
    message["Subject"] = " ".join(subject.split())
    message["From"], message["To"] = sender, recipient
    message["Date"], message["Message-ID"] = formatdate(now), f"<{message_id}>"
    lines = [alert.get("description", ""), "", json.dumps(alert, indent=2, ensure_ascii=False)]
    message.set_content("\n".join(lines) + "\n")
    return message
