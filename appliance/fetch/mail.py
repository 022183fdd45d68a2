"""Alerts by mail: one plain message each, so that the subject alone says what is wrong."""

from __future__ import annotations

import json
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final
from urllib.parse import urlsplit

from appliance.errors import ConfigError, RemoteError

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
) -> None:
    """Send one alert, whose `payload` is a JSON object, to a person.

    `server` is smtp://[user@]host[:port] or smtps://…; None is this host. With a password
    STARTTLS is demanded before it is said. `message_id` without its angle brackets.
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
    try:
        with _connected(parts.scheme, host, port, seconds) as connection:
            if password is not None:
                if parts.scheme == "smtp":
                    connection.starttls(context=ssl.create_default_context())
                connection.login(parts.username or "", password.decode())
            connection.send_message(message)
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        text = str(error) or type(error).__name__
        raise RemoteError(f"mail server {host}:{port}: {text}", reason="mail") from error


def _connected(scheme: str, host: str, port: int, seconds: float) -> smtplib.SMTP:
    if scheme == "smtps":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, port, timeout=seconds, context=context)
    return smtplib.SMTP(host, port, timeout=seconds)


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
