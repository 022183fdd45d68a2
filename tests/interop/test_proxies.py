"""The real nginx and the real Caddy before our logs, as docs/tls.md and docs/private-log.md print.

Three logs, by host, by path and at the root, with the settings, the tokens file and the
configurations that the documents show. What is answered through TLS is what the log answers, and
who asks is known by what the web server verified alone.
"""

from __future__ import annotations

import json
import ssl
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sigstore._internal.rekor.client_v2 import RekorV2Client

from tests.interop.attestor import COMMAND, Site
from tests.interop.documents import adapted, blocks
from tests.interop.proxies import BUILD, Answered, Front, front, nginx_command, proxy
from tests.interop.rekor_server import rekor_server
from tests.interop.service import service
from tests.interop.signed_artifact import sign_artifact
from tests.interop.test_sigstore_client import artifact_request, verify
from tests.rig.network import Authority

pytestmark = pytest.mark.interop

ENTRIES = "/api/v2/log/entries"
RELEASER = "release.example.org"
LIMIT = 6  # of the log `build`, in an hour
SLOW = 40  # clients of each kind


@dataclass(frozen=True)
class Hosted:
    """What the web servers stand before."""

    url: str
    site: Site
    token: str
    access_log: Path
    trusted_root: Path

    def seen(self) -> list[dict[str, Any]]:
        """Every request that reached us, as the access log has it."""
        return [json.loads(line) for line in self.access_log.read_text().splitlines()]


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def server(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    proxy(name)
    return name


@pytest.fixture(scope="module")
def hosted(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """Set three logs up as docs/private-log.md says, anew for each web server."""
    directory = tmp_path_factory.mktemp("hosted")
    site = Site(directory / "home")
    site.run("init", "--site", "interop")
    for log in ("build", "release", "open"):
        site.run("log", "create", log, "--origin", f"{log}.log.example.org")
    (tokens,) = (one for one in blocks("docs/private-log.md", "sh") if "openssl rand" in one)
    tokens = adapted(tokens, {"/etc/attestor": str(directory)})
    script = f'set -eu\n{tokens}\nprintf %s "$token"'
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    (settings,) = (one for one in blocks("docs/private-log.md", "yaml") if "hosted" in one)
    settings = adapted(
        settings,
        {
            "/etc/attestor": str(directory),
            "/var/log/attestor": str(directory),
            "hourlyLimit: 5000": f"hourlyLimit: {LIMIT}",
            "        reads: restricted\n": "        reads: restricted\n      - log: open\n",
        },
    )
    (directory / "config.yaml").write_text(settings)
    site.run("config", "apply", directory / "config.yaml")
    root = directory / "trusted_root.json"
    site.run("log", "trusted-root", "--log", "open", "--output", root)

    def command(ports: Sequence[int]) -> list[str | Path]:
        return [COMMAND, "--home", site.home, "log", "serve", "--bind", f"127.0.0.1:{ports[0]}"]

    with service(command, 1, directory / "server.log") as url:
        yield Hosted(url, site, said.stdout, directory / "access.log", root)


@pytest.fixture(scope="module")
def web(server: str, hosted: Hosted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(server, tmp_path_factory.mktemp("web") / server, hosted.url) as running:
        yield running


def request_body(content: bytes) -> bytes:
    return sign_artifact(KEY, content).request()


KEY = ec.generate_private_key(ec.SECP256R1())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_reads_are_what_the_log_answers(web: Front, hosted: Hosted) -> None:
    assert web.ask("POST", ENTRIES, request_body(f"read by {web.name}".encode())).status == 201
    for path in ("/checkpoint", "/api/v2/checkpoint", "/api/v2/log", "/tile/0/000", "/nowhere"):
        status, headers, body = plain(hosted, path)
        through = web.ask("GET", path)
        assert (through.status, through.body) == (status, body), path
        for name in ("Content-Type", "Content-Length", "Cache-Control"):
            assert through.headers.get(name) == headers.get(name), (path, name)
        head = web.ask("HEAD", path)
        assert (head.status, head.body) == (status, b"")
        assert head.headers["Content-Length"] == headers["Content-Length"]


def plain(hosted: Hosted, path: str) -> tuple[int, Any, bytes]:
    answer = requests.get(hosted.url + path, timeout=60)
    return answer.status_code, answer.headers, answer.content


def test_a_log_by_host_name_with_token_and_budget(web: Front, hosted: Hosted) -> None:
    def post(body: bytes, headers: dict[str, str]) -> Answered:
        return web.ask("POST", ENTRIES, body, headers, host=BUILD)

    first = request_body(b"by a token")
    for headers in ({}, bearer("nobody's")):
        refused = post(first, headers)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"].startswith('Bearer realm="log"')
        assert refused.json["code"] == 16
    logged = post(first, bearer(hosted.token))
    assert logged.status == 201
    origin = logged.json["inclusionProof"]["checkpoint"]["envelope"].split("\n")[0]
    assert origin == "build.log.example.org"
    again = post(first, bearer(hosted.token))
    assert (again.status, again.headers["X-Log-Index"]) == (409, logged.json["logIndex"])
    statuses = [post(request_body(b"%d" % n), bearer(hosted.token)) for n in range(LIMIT)]
    over = statuses[-1]
    assert (over.status, over.json["code"]) == (429, 8)
    assert 0 < int(over.headers["Retry-After"]) <= 3600
    bad = web.ask("POST", ENTRIES, b"{", bearer(hosted.token), host=BUILD)
    assert (bad.status, bad.json["code"]) == (429, 8), "over budget before it is read"


def test_a_log_by_path_with_a_certificate(web: Front, hosted: Hosted) -> None:
    known, other = web.clients.issue(RELEASER), web.clients.issue("stranger.example.org")
    read = "/release/api/v2/checkpoint"
    assert web.ask("GET", read, certificate=known).body.startswith(b"release.log.example.org\n")
    body = request_body(f"released by {web.name}".encode())
    logged = web.ask("POST", f"/release{ENTRIES}", body, certificate=known)
    assert logged.status == 201
    assert hosted.seen()[-1]["caller"] == f"dns:{RELEASER}"
    for certificate in (None, other):
        assert web.ask("GET", read, certificate=certificate).status == 403
        refused = web.ask("POST", f"/release{ENTRIES}", body, certificate=certificate)
        assert (refused.status, refused.json["code"]) == (403, 7)
    # The holder of another log's token need not hear that there is one.
    assert web.ask("GET", read, headers=bearer(hosted.token)).status == 404
    assert web.ask("GET", "/nowhere/api/v2/checkpoint").status == 404


def test_a_certificate_of_another_authority_gets_nowhere(
    web: Front, hosted: Hosted, tmp_path: Path
) -> None:
    forged = Authority(tmp_path / "other", "Example Internal CA").issue(RELEASER)
    before = len(hosted.seen())
    try:
        answer = web.ask("GET", "/release/checkpoint", certificate=forged)
        assert (web.name, answer.status) == ("nginx", 400)
    except (ssl.SSLError, ConnectionError, HTTPException):
        assert web.name == "caddy"
    assert len(hosted.seen()) == before


@pytest.mark.parametrize(
    "name",
    ["Client-Cert", "client-cert", "CLIENT-CERT", "Client_Cert", "Client-Cert,Client-Cert"],
)
@pytest.mark.parametrize("spelling", ["RFC 9440", "PEM"])
def test_what_a_client_writes_about_itself_is_not_believed(
    web: Front, hosted: Hosted, name: str, spelling: str
) -> None:
    """The certificate is a good one, and public: who shows it in a header has not its key."""
    pem = web.clients.issue(RELEASER)[0].read_bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    value = f":{b64encode(der).decode()}:" if spelling == "RFC 9440" else quote(pem.decode())
    for certificate in (None, web.clients.issue("stranger.example.org")):
        names = name.split(",")
        with web.connect(certificate=certificate) as connection:
            head = "".join(f"{one}: {value}\r\n" for one in names)
            asked = f"GET /release/checkpoint HTTP/1.1\r\nHost: localhost\r\n{head}"
            connection.sendall(f"{asked}Connection: close\r\n\r\n".encode())
            answer = b""
            while data := connection.recv(65536):
                answer += data
        assert answer.split(b" ")[1] == b"403", answer[:300]
        assert hosted.seen()[-1]["caller"] is None


def test_an_address_is_the_web_servers_word(web: Front, hosted: Hosted) -> None:
    claimed = {"X-Forwarded-For": "192.0.2.66", "X_Forwarded_For": "192.0.2.67", "Via": "1.1 me"}
    assert web.ask("GET", "/checkpoint", headers=claimed).status == 200
    assert hosted.seen()[-1]["client"] == "127.0.0.1"
    assert web.ask("GET", "/metrics", headers=claimed).status == 404
    assert web.ask("GET", "/metrics").status == 404
    assert plain(hosted, "/metrics")[0] == 200


def test_another_host_than_that_of_the_connection(web: Front, hosted: Hosted) -> None:
    """One log cannot be asked for under the name of another where certificates count."""
    asked = web.ask("GET", "/checkpoint", headers={"Host": BUILD})
    if web.name == "nginx":
        assert asked.body.startswith(b"build.log.example.org\n")
    else:
        assert asked.status == 421
    unlisted = web.ask("GET", "/release/checkpoint", headers={"Host": "unlisted.example.org"})
    assert unlisted.status == (403 if web.name == "nginx" else 421)


def test_bodies_that_are_too_large(web: Front, hosted: Hosted) -> None:
    large = web.ask("POST", ENTRIES, b'{"x":"' + b"a" * (5 * 1024 * 1024) + b'"}')
    assert (large.status, large.json["message"]) == (400, "http: request body too large")
    try:
        refused = web.ask("POST", ENTRIES, b"a" * (9 * 1024 * 1024)).status
        assert refused in ({413} if web.name == "nginx" else {413, 502})
    except OSError:
        assert web.name == "caddy"  # it closes without reading on, and the client was writing


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
POST = b"POST %s HTTP/1.1\r\nHost: localhost\r\n" % ENTRIES.encode()
FRAMINGS = {
    "both, chunks end": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    % (5 + len(SMUGGLED)),
    "both, no length": b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED),
    "two lengths, other order": b"Content-Length: %d\r\nContent-Length: 0\r\n\r\n" % len(SMUGGLED),
    "lengths in a list": b"Content-Length: 0, %d\r\n\r\n" % len(SMUGGLED),
    "a length with a sign": b"Content-Length: +0\r\n\r\n",
    "a length in hex": b"Content-Length: 0x0\r\n\r\n",
    "a coding that is none": b"Transfer-Encoding: xchunked\r\n\r\n",
    "a coding behind another": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a tab in the coding": b"Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n",
    "a folded line": b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
    "a lone newline": b"Content-Length: 0\nTransfer-Encoding: chunked\n\n0\n\n",
    "an underscore": b"Transfer_Encoding: chunked\r\nContent_Length: 5\r\n"
    b"Content-Length: 0\r\n\r\n",
    "a chunk's size with a tail": b"Transfer-Encoding: chunked\r\n\r\n0;\nx\r\n\r\n",
    "a chunk too long": b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\n\r\n",
    "an upgrade": b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
    "hop by hop": b"Connection: close, Client-Cert, Content-Length\r\nContent-Length: 0\r\n\r\n",
    "expect": b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_nothing_is_smuggled_past_the_web_server(web: Front, hosted: Hosted, framing: str) -> None:
    """What the log is asked is no more than what the client was told, and nobody else is told it.

    Whether a request that stands behind another is one is the web server's to say, once: then it is
    answered to whoever sent it.
    """
    before = len(hosted.seen())
    said = web.say(POST + FRAMINGS[framing] + SMUGGLED + LAST)
    told = said.count(b"HTTP/1.1 ") - said.count(b"HTTP/1.1 100 ")
    honest = [web.ask("GET", "/checkpoint") for _ in range(3)]
    assert all(one.body.startswith(b"open.log.example.org\n") for one in honest)
    lines = hosted.seen()[before:]
    asked = [one for one in lines if one["path"] != "/checkpoint"]
    assert len(lines) == len(asked) + 3
    assert len(asked) <= told, (asked, said)
    smuggled = sum(one["path"] == "/smuggled" for one in asked)
    assert smuggled <= said.count(b"HTTP/1.1 404"), (asked, said)


@pytest.mark.parametrize(
    "path",
    [
        "/x/../release/checkpoint",
        "/release/../release/checkpoint",
        "/%72elease/checkpoint",
        "//release/checkpoint",
        "/release%2fcheckpoint",
        "/./release/checkpoint",
        "/release/checkpoint?x=/open",
        "http://localhost/release/checkpoint",
        f"http://{BUILD}/release/checkpoint",
    ],
)
def test_no_spelling_of_a_path_reads_what_is_restricted(
    web: Front, hosted: Hosted, path: str
) -> None:
    with web.connect() as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b""
        while data := connection.recv(65536):
            answer += data
    assert answer.split(b" ")[1] in (b"400", b"403", b"404", b"421"), answer[:300]
    assert b"release.log.example.org\n" not in answer


def test_slow_clients_keep_nobody_waiting(web: Front, hosted: Hosted) -> None:
    body = request_body(b"never sent whole")
    heads = (
        b"POST %s HTTP/1.1\r\nHost: local" % ENTRIES.encode(),
        POST + b"Content-Length: %d\r\n\r\n" % len(body) + body[:50],
        POST + b"Transfer-Encoding: chunked\r\n\r\n40\r\n" + body[:20],
    )
    with ExitStack() as stack:
        slow = []
        for head in heads:
            for _ in range(SLOW):
                connection = stack.enter_context(web.connect())
                connection.sendall(head)
                slow.append(connection)
        for number in range(10):
            honest = request_body(f"honest {web.name} {number}".encode())
            assert web.ask("POST", ENTRIES, honest).status == 201
            assert web.ask("GET", "/healthz").status == 200
        assert len(slow) == 3 * SLOW  # all this while they were open
    assert hosted.site.run("log", "status")["logs"]


def test_files_that_documents_give_to_nginx(hosted: Hosted, server: str, tmp_path: Path) -> None:
    """The places in docs/serving.md, for a tree that was published as files."""
    if server != "nginx":
        pytest.skip("the document has them for nginx alone")
    hosted.site.run("log", "add", write_request(tmp_path, b"published"), "--log", "open")
    www = tmp_path / "www"
    hosted.site.run("tiles", "publish", www / "log", "--backend", "open")
    [places] = blocks("docs/serving.md", "nginx")
    with web_server(tmp_path, adapted(places, {"/srv/www": str(www)})) as url:
        size = requests.get(f"{url}/log/checkpoint", timeout=60).text.split("\n")[1]
        assert requests.get(f"{url}/log/tile/0/000.p/{size}", timeout=60).status_code == 200
        assert requests.get(f"{url}/log/.attestor-tree", timeout=60).status_code == 404
        (log,) = (one for one in hosted.site.run("log", "status")["logs"] if one["name"] == "open")
        (tmp_path / "key").write_text(log["vkey"] + "\n")
        mirror = Site(tmp_path / "mirror")
        mirror.run("init", "--site", "mirror")
        mirror.run(
            *("backend", "add", "open", "--origin", log["origin"], "--public-key"),
            *(tmp_path / "key", "--url", url, "--read-url", f"{url}/log"),
        )
        [synced] = mirror.run("sync")["backends"]
        assert synced["ok"]


def test_the_places_before_a_log_that_moved(server: str, tmp_path: Path) -> None:
    """docs/growing.md: entries go to rekor-server, what is read are its files."""
    if server != "nginx":
        pytest.skip("the document has them for nginx alone")
    [places] = (one for one in blocks("docs/growing.md", "nginx") if "/srv/rekor" in one)
    with rekor_server(tmp_path / "theirs") as theirs:
        here = {"/srv/rekor": str(theirs.storage), "127.0.0.1:3000": urlsplit(theirs.url).netloc}
        with web_server(tmp_path, adapted(places, here)) as url:
            answer = requests.post(url + ENTRIES, request_body(b"moved"), timeout=60)
            assert answer.status_code == 201
            entry = answer.json()
            checkpoint = requests.get(f"{url}/api/v2/checkpoint", timeout=60)
            assert checkpoint.content.decode() == entry["inclusionProof"]["checkpoint"]["envelope"]
            assert checkpoint.headers["Cache-Control"] == "no-cache"
            bundle = requests.get(f"{url}/api/v2/tile/entries/000.p/1", timeout=60)
            assert bundle.content[2:] == b64decode(entry["canonicalizedBody"])
            assert requests.get(f"{url}/api/v2/.state/treeState", timeout=60).status_code == 404


def write_request(directory: Path, content: bytes) -> Path:
    path = directory / "request.json"
    path.write_bytes(request_body(content))
    return path


@contextmanager
def web_server(directory: Path, places: str) -> Iterator[str]:
    """Run nginx with the places of a document and nothing else, without TLS."""
    servers = f"server {{\n    listen 443;\n{places}}}\n"
    command = nginx_command(proxy("nginx"), directory, servers)
    with service(command, 1, directory / "nginx.log", only_connects=True) as url:
        yield url


def test_sigstore_python_logs_through_it(
    web: Front, hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(web.authority.file))
    entry = RekorV2Client(web.url).create_entry(artifact_request())
    assert int(entry._inner.log_index) > 0
    verify(entry, hosted.trusted_root)


def test_attestor_mirrors_and_gets_through_it(web: Front, hosted: Hosted, tmp_path: Path) -> None:
    """Its own client, by path and with a certificate, to a log whose reads are restricted."""
    mine, key = web.clients.issue(RELEASER)
    body = request_body(f"mirrored through {web.name}".encode())
    posted = web.ask("POST", f"/release{ENTRIES}", body, certificate=(mine, key))
    index = int(posted.json["logIndex"])
    (log,) = (one for one in hosted.site.run("log", "status")["logs"] if one["name"] == "release")
    (tmp_path / "key.vkey").write_text(log["vkey"] + "\n")
    site = Site(tmp_path / "home")
    site.run("init", "--site", "mirror")
    (tmp_path / "config.yaml").write_text(
        f"attestor:\n  http:\n    caFile: {web.authority.file}\n"
        f"    clientCertificateFile: {mine}\n    clientKeyFile: {key}\n"
    )
    site.run("config", "apply", tmp_path / "config.yaml")
    site.run(
        *("backend", "add", "release", "--origin", log["origin"]),
        *("--public-key", tmp_path / "key.vkey", "--url", f"{web.url}/release"),
    )
    site.run("sync")
    assert site.run("log", "get", "--url", f"{web.url}/release", "--log-index", str(index))
