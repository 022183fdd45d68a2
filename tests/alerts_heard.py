"""Real listeners on loopback for what alerts are delivered by: mail and syslog."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mail_server(refuse: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Run a mail server that takes anything, or nothing; yields its URL and the messages."""
    messages: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        timeout = 5

        def handle(self) -> None:
            self._say("220 mail.example")
            for raw in self.rfile:
                word = raw.decode().strip().partition(" ")[0].upper()
                if word == "QUIT":
                    self._say("221 bye")
                    return
                if refuse and word == "RCPT":
                    self._say("550 nobody here")
                elif word == "DATA":
                    self._say("354 go on")
                    messages.append(self._message())
                    self._say("250 taken")
                else:
                    self._say("250 ok")

        def _message(self) -> str:
            lines = []
            for raw in self.rfile:
                if raw == b".\r\n":
                    break
                lines.append(raw.decode())
            return "".join(lines)

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"smtp://127.0.0.1:{server.server_address[1]}", messages
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def datagrams(path: Path | None = None) -> Iterator[tuple[str, socket.socket]]:
    """Listen for datagrams on a socket of the file system, or on UDP; yields where."""
    family = socket.AF_INET if path is None else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as listener:
        listener.settimeout(5)
        listener.bind(("127.0.0.1", 0) if path is None else str(path))
        name = listener.getsockname()
        yield (str(path) if path else f"127.0.0.1:{name[1]}"), listener
