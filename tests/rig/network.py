"""The networks that sites have: a private authority, client certificates, proxies, sign-in pages.

    authority = Authority(tmp_path)
    with tls_front(log_port, authority.server("log.internal.example")) as port: ...
    with connect_proxy({"log.internal.example": port}, credentials="me:secret") as proxy: ...
    with portal() as port: ...

Real sockets and real TLS; nothing here is used by the appliance.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

BLOCK = 64 * 1024


class Authority:
    """A certificate authority of one's own, as small sites have them: no identifiers of keys."""

    def __init__(self, directory: Path, name: str = "Example Internal CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        made = _certificate(self.name, self.name, self.key.public_key(), is_authority=True)
        self.certificate = made.sign(self.key, hashes.SHA256())
        self.file = directory / "ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue(
        self, name: str, password: bytes | None = None, more_names: Sequence[str] = ()
    ) -> tuple[Path, Path]:
        """Issue a certificate for a host or a client; return its file and its key's."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _certificate(_name(name), self.name, key.public_key(), is_authority=False)
        places = [_place(one) for one in (name, *more_names)]
        builder = builder.add_extension(x509.SubjectAlternativeName(places), critical=False)
        file = self.directory / f"{name.replace(':', '_')}.pem"
        secret = file.with_suffix(".key")
        file.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        hiding = NoEncryption() if password is None else BestAvailableEncryption(password)
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hiding))
        secret.chmod(0o600)
        return file, secret

    def server(
        self,
        name: str,
        clients: Authority | None = None,
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> ssl.SSLContext:
        """Return a server's context; with `clients` it demands a certificate issued by them."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = newest
        context.load_cert_chain(*self.issue(name))
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.file)
        return context


def _place(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients go when they do not like what they see."""


class _Server6(_Server):
    address_family = socket.AF_INET6


@contextmanager
def _running(server: ThreadingTCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def tls_front(target: int, context: ssl.SSLContext, host: str = "127.0.0.1") -> Iterator[int]:
    """Terminate TLS on a free port before a plain server on loopback; yield the port."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with self.request.dup() as kept:
                try:
                    client = context.wrap_socket(self.request, server_side=True)
                except OSError:
                    while kept.recv(BLOCK):  # to the end: a reset would overtake the alert
                        pass
                    return
            with client, socket.create_connection(("127.0.0.1", target)) as server:
                _exchange(client, server)

    kind = _Server6 if ":" in host else _Server
    with _running(kind((host, 0), Handler)) as port:
        yield port


@dataclass
class ConnectProxy:
    """A running HTTP proxy and what it was asked."""

    url: str = ""
    asked: list[str] = field(default_factory=list)  # "CONNECT host:port", "GET http://…"
    refused: int = 0


@contextmanager
def connect_proxy(
    routes: Mapping[str, int], credentials: str | None = None, host: str = "127.0.0.1"
) -> Iterator[ConnectProxy]:
    """Run a proxy that knows these host names and the ports on loopback they mean.

    It answers 407 without the credentials, and 403 for a host it does not know.
    """
    proxy = ConnectProxy()
    wanted = credentials and f"basic {b64encode(credentials.encode()).decode()}"

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            head = _head(self.request)
            line, _, rest = head.partition(b"\r\n")
            method, target, _ = line.decode().split(" ")
            proxy.asked.append(f"{method} {target}")
            given = [
                one.decode().partition(":")[2].strip()
                for one in rest.split(b"\r\n")
                if one.lower().startswith(b"proxy-authorization:")
            ]
            if wanted is not None and [one.replace("Basic", "basic") for one in given] != [wanted]:
                proxy.refused += 1
                self.say("407 Proxy Authentication Required", "Proxy-Authenticate: Basic realm=x")
                return
            name = target.partition("://")[2].partition("/")[0] if "://" in target else target
            port = routes.get(name.rpartition(":")[0] if ":" in name else name)
            if port is None:
                self.say("403 Forbidden by the example proxy")
                return
            with socket.create_connection(("127.0.0.1", port)) as server:
                if method == "CONNECT":
                    self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    path = "/" + target.partition("://")[2].partition("/")[2]
                    server.sendall(f"{method} {path} HTTP/1.1\r\n".encode() + rest)
                _exchange(self.request, server)

        def say(self, status: str, *headers: str) -> None:
            lines = (f"HTTP/1.1 {status}", *headers, "Content-Length: 0", "Connection: close")
            self.request.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    kind = _Server6 if ":" in host else _Server
    with _running(kind((host, 0), Handler)) as port:
        proxy.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        yield proxy


@contextmanager
def portal(location: str | None = None) -> Iterator[int]:
    """Answer everything with a sign-in page, or with `location` by sending there; yield the port.

    What a hotel's or an office's guest network does to those who have not signed in.
    """
    page = b"<!DOCTYPE html><html><title>Welcome</title>Sign in to use this network</html>"
    lines = ["HTTP/1.1 302 Found", f"Location: {location}"] if location else ["HTTP/1.1 200 OK"]
    lines += ["Content-Type: text/html", f"Content-Length: {len(page)}", "Connection: close"]

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            head = _head(self.request)
            length = [
                int(one.partition(b":")[2])
                for one in head.split(b"\r\n")
                if one.lower().startswith(b"content-length:")
            ]
            left = (length or [0])[0] - len(head.partition(b"\r\n\r\n")[2])
            while left > 0 and (data := self.request.recv(BLOCK)):
                left -= len(data)
            self.request.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + page)

    with _running(_Server(("127.0.0.1", 0), Handler)) as port:
        yield port


def _head(sock: socket.socket) -> bytes:
    """Read a request to the end of its head, and what came with it."""
    head = b""
    while b"\r\n\r\n" not in head and (data := sock.recv(BLOCK)):
        head += data
    return head


def _exchange(one: socket.socket, other: socket.socket) -> None:
    """Pass everything on in both directions until either side ends."""
    back = threading.Thread(target=_relay, args=(other, one))
    back.start()
    _relay(one, other)
    back.join()


def _relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(BLOCK):
            target.sendall(data)
    for sock in (source, target):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
