"""nginx and Caddy in front of a log, by the configurations that docs/tls.md prints."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.interop.documents import adapted, blocks
from tests.interop.service import service
from tests.rig.network import Authority

HERE = "localhost"  # in place of log.example.org, so that clients find it
BUILD = "build.log.example.org"
SECONDS = 60.0


def proxy(name: str) -> Path:
    """Return a web server of scripts/proxy-peers; skips, with its reason, where there is none."""
    directory = os.environ.get("ATTESTOR_PROXY_PEERS", "")
    if not directory:
        pytest.skip(f"no {name}: scripts/proxy-peers found no way to get it here")
    found = Path(directory) / name
    if not found.exists():
        pytest.skip(f"no {name} in {directory}: it cannot be had here")
    return found


@dataclass(frozen=True)
class Answered:
    """What a client saw."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Front:
    """A running web server, and the authorities of its clients."""

    name: str
    port: int
    authority: Authority  # of the server's certificate
    clients: Authority  # of those it takes

    @property
    def url(self) -> str:
        """Where the log is reached, by a name that its certificate has."""
        return f"https://{HERE}:{self.port}"

    def connect(
        self, host: str = HERE, certificate: tuple[Path, Path] | None = None
    ) -> ssl.SSLSocket:
        """Open a connection of TLS, as a client that asks for `host`."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)
        try:
            return context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},  # never changed
        *,
        host: str = HERE,
        certificate: tuple[Path, Path] | None = None,
    ) -> Answered:
        """Ask for something on a connection of its own."""
        connection = HTTPConnection(host, self.port, timeout=SECONDS)
        connection.sock = self.connect(host, certificate)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return Answered(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def say(self, raw: bytes, host: str = HERE) -> bytes:
        """Send raw bytes; return all that comes back until the server closes or says no more."""
        answer = b""
        with self.connect(host) as connection:
            connection.settimeout(5)
            with suppress(OSError):
                connection.sendall(raw)
            with suppress(OSError):
                while data := connection.recv(65536):
                    answer += data
        return answer


@contextmanager
def front(name: str, directory: Path, log_url: str) -> Iterator[Front]:
    """Run nginx or Caddy before the log at `log_url`, configured as the document says."""
    program = proxy(name)
    directory.mkdir(parents=True)
    authority, clients = Authority(directory / "ca"), Authority(directory / "clients")
    tls = directory / "tls"
    tls.mkdir()
    file, key = authority.issue(HERE, more_names=(BUILD, "127.0.0.1"))
    (tls / "server.pem").write_bytes(file.read_bytes())
    (tls / "server.key").write_bytes(key.read_bytes())
    (tls / "clients.pem").write_bytes(clients.file.read_bytes())
    [configuration] = blocks("docs/tls.md", name)
    configuration = adapted(
        configuration,
        {
            "/etc/attestor/tls": str(tls),
            "127.0.0.1:3000": urlsplit(log_url).netloc,
            f" {BUILD}": " BUILD",
            "log.example.org": HERE,
            " BUILD": f" {BUILD}",
        },
    )
    command = COMMANDS[name](program, directory, configuration)
    with service(command, 1, directory / "server.log", only_connects=True) as url:
        yield Front(name, int(url.rpartition(":")[2]), authority, clients)


Command = Callable[[Sequence[int]], Sequence[str | Path]]


def nginx_command(program: Path, directory: Path, servers: str) -> Command:
    """Give nginx what Debian's nginx.conf is around conf.d, on a free port instead of 443."""

    def command(ports: Sequence[int]) -> Sequence[str | Path]:
        servers_here = adapted(servers, {"listen 443": f"listen 127.0.0.1:{ports[0]}"})
        (directory / "servers.conf").write_text(servers_here)
        temporary = "".join(
            f"    {kind}_temp_path {directory}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.geteuid() == 0 else ""
        (directory / "nginx.conf").write_text(
            f"{user}worker_processes 1;\ndaemon off;\npid {directory}/nginx.pid;\n"
            "error_log stderr;\nevents { worker_connections 1024; }\n"
            f"http {{\n    access_log off;\n{temporary}    include {directory}/servers.conf;\n}}\n"
        )
        return [program, "-p", directory, "-e", "stderr", "-c", directory / "nginx.conf"]

    return command


def caddy_command(program: Path, directory: Path, configuration: str) -> Command:
    """Let Caddy stay on loopback, on a free port, and write below a directory."""

    def command(ports: Sequence[int]) -> Sequence[str | Path]:
        ours = (
            f"    admin off\n    https_port {ports[0]}\n    default_bind 127.0.0.1\n"
            "    auto_https disable_redirects\n    skip_install_trust\n"
            f"    storage file_system {directory}/storage\n"
        )
        assert configuration.startswith("{\n")
        (directory / "Caddyfile").write_text("{\n" + ours + configuration.removeprefix("{\n"))
        words = ("run", "--adapter", "caddyfile", "--config")
        return ["env", f"HOME={directory}", program, *words, directory / "Caddyfile"]

    return command


COMMANDS: dict[str, Callable[[Path, Path, str], Command]] = {
    "nginx": nginx_command,
    "caddy": caddy_command,
}
