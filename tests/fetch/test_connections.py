"""TLS, proxies and addresses: what lies below HTTP."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import ssl
import threading
import time
from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.errors import LimitError, RemoteError
from appliance.fetch.connections import Connections
from appliance.fetch.exchange import Exchange
from appliance.fetch.pacing import RunPace
from tests.fetch.conftest import OpenClient
from tests.fetch.hostile_server import (
    HostileServer,
    Talk,
    chunked,
    close,
    drip,
    flood,
    ok,
    raw,
    say_goodbye,
    stall,
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate for 127.0.0.1 and log.example that is its own authority."""

    file: str  # PEM
    der: bytes
    server: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    directory: Path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hostile")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("log.example")]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (directory / "both.pem").write_bytes(secret + pem)
    (directory / "certificate.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "both.pem")
    return Certificate(
        file=str(directory / "certificate.pem"),
        der=made.public_bytes(serialization.Encoding.DER),
        server=context,
    )


# TLS.


def test_tls_shows_whose_certificate_it_was(
    certificate: Certificate, open_client: OpenClient
) -> None:
    with HostileServer(certificate.server) as server:
        client = open_client(ca_file=certificate.file)
        url = server.on("/note", ok(b"note"))
        for _ in range(2):
            response = client.get(url, 4)
            assert response.body == b"note"
            assert response.facts.certificate == certificate.der
            # Evidence has all of it, also for a connection that was open already.
            described = json.loads(json.dumps(response.facts.described))
            assert b64decode(described["certificate"]) == certificate.der
            assert described["certificateSha256"] == sha256(certificate.der).hexdigest()
            assert "127.0.0.1" in described["addresses"]
            assert (described["url"], described["status"]) == (url, 200)
        assert server.n_connections == 1
        client.close()


def test_a_certificate_nobody_vouches_for_is_refused_and_not_tried_again(
    certificate: Certificate, open_client: OpenClient, naps: list[float]
) -> None:
    with HostileServer(certificate.server) as server, pytest.raises(RemoteError) as caught:
        open_client().get(server.on("/note", ok(b"note")), 4)
    assert caught.value.reason == "tls"
    assert "certificate does not verify: self" in caught.value.message
    assert naps == []


def test_a_certificate_for_another_host_is_refused(
    certificate: Certificate, open_client: OpenClient
) -> None:
    with HostileServer(certificate.server) as server, pytest.raises(RemoteError) as caught:
        open_client(ca_file=certificate.file).get(f"https://localhost:{server.port}/", 4)
    assert caught.value.reason == "tls"


def test_a_server_without_tls_is_not_spoken_to(open_client: OpenClient) -> None:
    def answer() -> None:
        with listening.accept()[0] as sock:
            sock.recv(65536)
            sock.sendall(raw("HTTP/1.1 400 Bad Request", "Content-Length: 0"))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=answer)
        server.start()
        with pytest.raises(RemoteError, match="TLS failed") as caught:
            open_client(attempts=1).get(f"https://127.0.0.1:{listening.getsockname()[1]}/", 4)
        server.join()
    assert caught.value.reason == "tls"


def test_a_handshake_that_never_ends_is_cut_by_the_clock(open_client: OpenClient) -> None:
    before = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(RemoteError) as caught:
        client = open_client(request_seconds=0.4, attempts=1)
        client.get(f"https://127.0.0.1:{listening.getsockname()[1]}/", 4)
    assert caught.value.reason == "timeout"
    assert time.monotonic() - before < 3.0


@pytest.mark.parametrize("slow", [stall(), drip(ok(b"x" * 100), 0.05)], ids=["stall", "drip"])
def test_a_drip_through_tls_is_cut_by_the_clock(
    certificate: Certificate, open_client: OpenClient, slow: Talk
) -> None:
    before = time.monotonic()
    with HostileServer(certificate.server) as server, pytest.raises(RemoteError) as caught:
        client = open_client(request_seconds=0.4, attempts=1, ca_file=certificate.file)
        client.get(server.on("/slow", slow), 100)
    assert caught.value.reason == "timeout"
    assert time.monotonic() - before < 3.0


NO_LENGTH = raw("HTTP/1.1 200 OK", body=b"note")


def test_over_tls_the_end_of_a_connection_must_be_signed(
    certificate: Certificate, open_client: OpenClient
) -> None:
    with HostileServer(certificate.server) as server:
        client = open_client(attempts=1, ca_file=certificate.file)
        assert client.get(server.on("/", say_goodbye(NO_LENGTH)), 100).body == b"note"
        for cut in (NO_LENGTH, ok(b"note")[:-1], chunked(b"note", end=b"")):
            with pytest.raises(RemoteError) as caught:
                client.get(server.on("/", close(cut)), 100)
            assert caught.value.reason == "cut-body"


def test_over_tls_a_connection_that_ends_before_the_answer_is_tried_again(
    certificate: Certificate, open_client: OpenClient
) -> None:
    with HostileServer(certificate.server) as server:
        url = server.on("/", close(b""), close(b"HTTP/1.1 200 OK\r\n"), ok(b"note"))
        client = open_client(ca_file=certificate.file)
        assert client.get(url, 100).body == b"note"
        client.close()


# Proxies.


def relay(target: socket.socket, sock: socket.socket) -> None:
    while data := sock.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def tunnel(port: int) -> Talk:
    """Connect to this port and pass everything on, as an honest proxy does."""

    def talk(server: HostileServer, sock: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as target:
            sock.sendall(raw("HTTP/1.0 200 Connected", "Via: hostile"))
            there = threading.Thread(target=relay, args=(target, sock))
            there.start()
            relay(sock, target)
            there.join()

    return talk


def test_a_configured_proxy_is_asked_for_everything(
    server: HostileServer, open_client: OpenClient
) -> None:
    server.on("http://log.example/checkpoint", ok(b"note"))
    client = open_client(proxy=server.url)
    response = client.get("http://log.example/checkpoint", 4)
    assert response.body == b"note"
    assert response.facts.peer == f"127.0.0.1 port {server.port}"


def test_tls_goes_through_the_proxy_untouched(
    server: HostileServer, certificate: Certificate, open_client: OpenClient
) -> None:
    with HostileServer(certificate.server) as log:
        server.on(f"127.0.0.1:{log.port}", tunnel(log.port))
        client = open_client(proxy=server.url, ca_file=certificate.file)
        response = client.get(log.on("/note", ok(b"note")), 4)
        assert response.body == b"note"
        assert response.facts.certificate == certificate.der
        assert [request.method for request in server.requests] == ["CONNECT"]
        client.close()


def test_a_dot_behind_a_host_is_no_part_of_the_name_in_its_certificate(
    server: HostileServer, certificate: Certificate, open_client: OpenClient
) -> None:
    with HostileServer(certificate.server) as log:
        log.on("/note", ok(b"note"))
        client = open_client(proxy=server.url, ca_file=certificate.file)
        for host in ("log.example", "log.example.", "LOG.example."):
            server.on(f"{host.lower()}:{log.port}", tunnel(log.port))
            assert client.get(f"https://{host}:{log.port}/note", 4).body == b"note"
        assert {one.headers["host"] for one in log.requests} == {
            f"log.example:{log.port}",
            f"log.example.:{log.port}",
        }
        client.close()


def test_http_1_is_offered_to_servers_that_speak_others_as_well(
    certificate: Certificate, open_client: OpenClient
) -> None:
    agreed: list[str | None] = []

    def answer(listening: socket.socket, context: ssl.SSLContext) -> None:
        accepted, _ = listening.accept()
        with context.wrap_socket(accepted, server_side=True) as there:
            agreed.append(there.selected_alpn_protocol())
            there.recv(65_536)
            there.sendall(raw("HTTP/1.1 200 Fine", "Content-Length: 4") + b"note")

    certificate.server.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=answer, args=(listening, certificate.server))
        serving.start()
        port = listening.getsockname()[1]
        client = open_client(attempts=1, ca_file=certificate.file)
        assert client.get(f"https://127.0.0.1:{port}/", 4).body == b"note"
        serving.join()
    assert agreed == ["http/1.1"]


def test_a_request_is_never_more_lines_than_it_says(
    server: HostileServer, open_client: OpenClient
) -> None:
    for kind in ("text/plain\r\nX-More: 1", "text/plain\n", "text\0plain", "text\x85plain"):
        with pytest.raises(ValueError, match="control characters"):
            open_client().post(server.url, b"", 4, content_type=kind, seconds=1.0)
    assert server.requests == []


def test_no_more_connections_are_kept_than_are_used_at_a_time(server: HostileServer) -> None:
    url = server.on("/note", ok(b"note"))
    clock, run = time.monotonic, RunPace(time.monotonic, time.sleep, 20.0, None)
    with Connections(2, ssl.create_default_context) as connections:
        for n_opened in (3, 4):  # two of them the same
            with contextlib.ExitStack() as at_once:
                for _ in range(3):
                    exchange = Exchange(url, clock, clock() + 5, run, 4, threading.Event())
                    sent = connections.send("GET", {}, None, exchange, None)
                    assert at_once.enter_context(sent).read(4, 4) == b"note"
            assert server.n_connections == n_opened


def test_a_url_with_a_user_is_asked_of_nobody(
    server: HostileServer, open_client: OpenClient
) -> None:
    for user in ("me", "me:secret", "log.example:80"):
        with pytest.raises(RemoteError, match="without user and password"):
            open_client(attempts=1).get(server.url.replace("://", f"://{user}@"), 4)
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (stall(), "timeout"),
        (drip(raw("HTTP/1.0 200 Fine"), 0.05), "timeout"),
        (close(b""), "unreachable"),
        (close(raw("HTTP/1.0 403 No")), "proxy"),
        (close(raw("HTTP/1.0 407 Who")), "proxy"),
        (close(b"garbage\r\n\r\n"), "bad-response"),
        (close(raw("HTTP/1.1 101 Else")), "bad-response"),
    ],
    ids=["stall", "drip", "closed", "refused", "no password", "garbage", "another protocol"],
)
def test_a_proxy_is_trusted_with_nothing(
    server: HostileServer, open_client: OpenClient, answer: Talk, reason: str
) -> None:
    server.on("127.0.0.1:1", answer)
    with pytest.raises(RemoteError) as caught:
        open_client(request_seconds=0.5, attempts=1, proxy=server.url).get(
            "https://127.0.0.1:1/", 4
        )
    assert caught.value.reason == reason
    assert reason == "timeout" or server.url.rstrip("/") in caught.value.message, "who it was"


def test_a_proxy_that_answers_without_end_is_cut_off(
    server: HostileServer, open_client: OpenClient
) -> None:
    server.on("127.0.0.1:1", flood(b"HTTP/1.0 200 Fine\r\n", b"x" * 10_000))
    with pytest.raises(LimitError, match="headers without end"):
        open_client(attempts=1, proxy=server.url).get("https://127.0.0.1:1/", 4)


# Addresses. The resolver is the one thing replaced: its answers are no server's to give.


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    original = socket.getaddrinfo

    def resolve(host: str, port: int, *_: object, **__: object) -> list[object]:
        if host != "log.example":
            return list(original(host, port, type=socket.SOCK_STREAM))
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_the_next_address_is_tried_when_one_refuses(
    server: HostileServer, open_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "127.0.0.2", "127.0.0.1")
    server.on("/note", ok(b"note"))
    client = open_client(attempts=1)
    assert client.get(f"http://log.example:{server.port}/note", 4).body == b"note"


@pytest.mark.parametrize(
    ("addresses", "text"), [(["127.0.0.2"] * 3, "refused"), ([], "log.example has no address")]
)
def test_no_address_answers(
    server: HostileServer,
    open_client: OpenClient,
    monkeypatch: pytest.MonkeyPatch,
    addresses: list[str],
    text: str,
) -> None:
    resolve_to(monkeypatch, *addresses)
    with pytest.raises(RemoteError, match=text) as caught:
        open_client(attempts=1).get(f"http://log.example:{server.port}/note", 4)
    assert caught.value.reason == "unreachable"


def test_a_name_with_endless_addresses_is_cut_by_the_clock(
    server: HostileServer, open_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, *["127.0.0.2"] * 100_000)
    with pytest.raises(RemoteError) as caught:
        open_client(request_seconds=0.3, attempts=1).get(f"http://log.example:{server.port}/", 4)
    assert caught.value.reason == "timeout"
