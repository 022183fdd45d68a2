"""The network as it is: every command that asks another host works, or says what is in the way."""

from __future__ import annotations

import json
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from appliance.fetch.proxies import choose_proxies
from appliance.jobs.divergence.alarm import raise_alarm
from appliance.policy.alarms import Alarm, Anomaly, stale_alarm
from appliance.runs.network import http_settings
from appliance.store.database import open_store
from appliance.store.home.key_files import load_signing_key
from appliance.store.mirror.logs import require_log
from appliance.value import replaced
from tests.cli.homes import Home
from tests.fetch.hostile_server import HostileServer, status
from tests.fetch.tuf_repository import Repository
from tests.private_log.private_homes import ORIGIN, home_in_memory, make_home
from tests.queue.signed_files import write_artifact
from tests.rig.network import Authority, connect_proxy, portal, tls_front
from tests.serve.running_log import running_log
from tests.verify.test_trust import OLD_ROOT

LOG, TRUST, HOOK = "log.internal.example", "tuf.internal.example", "hook.internal.example"
COMMANDS = ("sync", "drain", "publish", "trust update", "webhook")
VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@dataclass(frozen=True)
class Upstream:
    """A log, a trust repository and a receiver of alerts, each on a plain port of loopback."""

    ports: Mapping[str, int]
    key: bytes
    root: Path


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    directory = tmp_path_factory.mktemp("upstream")
    repository = Repository(directory / "tuf", {"trusted_root.json": OLD_ROOT})
    root = directory / "checked.root.json"
    root.write_bytes(repository.read("1.root.json"))
    with home_in_memory() as home, HostileServer() as tuf, HostileServer() as hook:
        make_home(home)
        key = load_signing_key(home, ORIGIN).verifier.spki
        tuf.directory = repository.directory
        hook.on("/hook", status(200))
        with running_log(home) as log:
            port = urlsplit(log.url).port
            assert port is not None
            yield Upstream({LOG: port, TRUST: tuf.port, HOOK: hook.port}, key, root)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: what is tested here is no disk."""
    memory = Path("/dev/shm")  # noqa: S108 a directory below it is ours alone
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@contextmanager
def fronts(
    upstream: Upstream, authority: Authority, address: str = "", **options: Any
) -> Iterator[dict[str, int]]:
    """Serve each of them over TLS; yield the ports by name."""
    ports: dict[str, int] = {}
    names = {name: address or name for name in upstream.ports}
    with (
        tls_front(upstream.ports[LOG], authority.server(names[LOG], **options)) as ports[LOG],
        tls_front(upstream.ports[TRUST], authority.server(names[TRUST], **options)) as ports[TRUST],
        tls_front(upstream.ports[HOOK], authority.server(names[HOOK], **options)) as ports[HOOK],
    ):
        yield ports


def alarm(number: int) -> Alarm:
    return stale_alarm(
        Anomaly.STALE_CHECKPOINT,
        origin=f"log{number}.example",
        tree_size=7,
        age=4000,
        threshold=3600,
        backend="log",
        description="no checkpoint for an hour",
    )


class Site(Home):
    """A home that knows the log, and does everything that asks another host."""

    def __init__(
        self,
        directory: Path,
        capsys: pytest.CaptureFixture[str],
        upstream: Upstream,
        urls: Mapping[str, str],
    ) -> None:
        super().__init__(directory / "home", capsys)
        self.app = replaced(self.app, now=lambda: int(time.time()), sleep=lambda _: None)
        self.directory, self.upstream, self.urls = directory, upstream, urls
        key = directory / "log.key"
        key.write_bytes(upstream.key)
        self.json(
            *("backend", "add", "log", "--origin", ORIGIN, "--public-key", key),
            *("--url", urls[LOG]),
        )
        self.set("rekor.serverUrl", urls[LOG])
        self.set("publish.rekorUrl", urls[LOG])
        sinks = [{"type": "webhook", "url": f"{urls[HOOK]}/hook", "timeout": "5s"}]
        self.set("alerts.sinks", json.dumps(sinks))
        self.json("key", "generate", "publisher.example", "--type", "publisher")
        store = open_store(self.path, write=True)
        with store.atomic():
            log = require_log(store, ORIGIN)
            for number in range(9):
                raise_alarm(store, alarm(number), int(time.time()), log=log)
        store.close()

    def set(self, name: str, value: str | Path) -> None:
        self.json("config", "set", name, value)

    def do_all(self) -> dict[str, tuple[int, str]]:
        """Run each of COMMANDS; return its exit code and what it said."""
        added = self.json(
            "queue", "add", *write_artifact(self.directory / "in", b"%d" % time.time_ns())
        )
        self.added = added["id"]
        done = {
            "sync": self.run("sync", "--backend", "log"),
            "drain": self.run("queue", "drain"),
            "publish": self.run("publish", sha256(b"%d" % time.time_ns()).hexdigest()),
            "trust update": self.run(
                *("trust", "update", "--repository", f"{self.urls[TRUST]}/"),
                *("--root", self.upstream.root),
            ),
            "webhook": self.run("alerts", "send"),
        }
        return {name: (code, out + err) for name, (code, out, err) in done.items()}


def all_work(site: Site) -> None:
    done = site.do_all()
    assert {name: code for name, (code, _) in done.items()} == dict.fromkeys(COMMANDS, 0), done
    assert "not published" not in done["publish"][1], done["publish"]
    assert site.json("queue", "show", site.added)["state"] == "logged"


def all_say(site: Site, *words: str) -> None:
    done = site.do_all()
    for name, (code, text) in done.items():
        for word in words[: 1 if name == "webhook" else None]:  # which is tried again by itself
            assert word in text, (name, code, text)
        assert "Traceback" not in text
    for name in ("sync", "drain", "trust update"):
        assert done[name][0] == 7, (name, done[name])


def https(ports: Mapping[str, int]) -> dict[str, str]:
    return {name: f"https://127.0.0.1:{port}" for name, port in ports.items()}


def test_a_private_authority(
    upstream: Upstream,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fronts(upstream, authority, "127.0.0.1") as ports:
        site = Site(tmp_path, capsys, upstream, https(ports))
        all_say(site, "certificate does not verify", "http.caFile")
        site.set("http.caFile", authority.file)
        all_work(site)
        site.set("http.caFile", "null")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert site.run("sync", "--backend", "log")[0] == 0
        monkeypatch.delenv("SSL_CERT_FILE")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
        assert site.run("sync", "--backend", "log")[0] == 0


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate(
    upstream: Upstream,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    newest: ssl.TLSVersion,
) -> None:
    clients = Authority(tmp_path / "clients", "Example Clients")
    with fronts(upstream, authority, "127.0.0.1", clients=clients, newest=newest) as ports:
        site = Site(tmp_path, capsys, upstream, https(ports))
        site.set("http.caFile", authority.file)
        all_say(site, "client certificate", "http.clientCertificateFile")
        certificate, key = clients.issue("us.example")
        site.set("http.clientCertificateFile", certificate)
        site.set("http.clientKeyFile", key)
        all_work(site)
        stranger, secret = Authority(tmp_path / "others", "Others").issue("us.example")
        site.set("http.clientCertificateFile", stranger)
        site.set("http.clientKeyFile", secret)
        all_say(site, "client certificate")


@pytest.mark.parametrize("by", ["http.proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy(
    upstream: Upstream,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    urls = {name: f"https://{name}" for name in upstream.ports}
    with fronts(upstream, authority) as ports, connect_proxy(ports) as proxy:
        site = Site(tmp_path, capsys, upstream, urls)
        site.set("http.caFile", authority.file)
        if by == "http.proxy":
            site.set(by, proxy.url)
        else:
            monkeypatch.setenv(by, proxy.url)
        if by == "http.proxy":
            all_work(site)
        else:
            assert site.run("sync", "--backend", "log")[0] == 0
        assert set(proxy.asked) <= {f"CONNECT {name}:443" for name in urls}
        assert f"CONNECT {LOG}:443" in proxy.asked


def test_a_proxy_that_asks_who_we_are(
    upstream: Upstream,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    urls = {name: f"https://{name}" for name in upstream.ports}
    with (
        fronts(upstream, authority) as ports,
        connect_proxy(ports, credentials="me:s/e:cret") as proxy,
    ):
        site = Site(tmp_path, capsys, upstream, urls)
        site.set("http.caFile", authority.file)
        site.set("http.proxy", proxy.url)
        all_say(site, "wants a user name and a password (407)", "http.proxyCredentialsFile")
        credentials = tmp_path / "credentials"
        credentials.write_text("me:s/e:cret\n")
        credentials.chmod(0o644)
        site.set("http.proxyCredentialsFile", credentials)
        assert site.run("sync", "--backend", "log")[0] == 9
        credentials.chmod(0o600)
        all_work(site)
        _, out, err = site.run("doctor")
        assert f"proxy {proxy.url} (http.proxy, with a user name)" in out, out
        assert "s/e:cret" not in out + err
        site.set("http.proxy", "null")
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:s%2Fe:cret@"))
        assert site.run("sync", "--backend", "log")[0] == 0
        _, out, err = site.run("doctor")
        assert f"proxy {proxy.url} (HTTPS_PROXY, with a user name)" in out, out
        assert "cret" not in out + err


def test_a_proxy_that_refuses_and_one_that_is_not_there(
    upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = {name: f"https://{name}" for name in upstream.ports}
    with connect_proxy({}) as proxy:
        site = Site(tmp_path, capsys, upstream, urls)
        site.set("http.proxy", proxy.url)
        all_say(site, f"the proxy {proxy.url}", "403 Forbidden by the example proxy")
    code, _, err = site.run("sync", "--backend", "log")
    assert (code, f"(through the proxy {proxy.url} (http.proxy))" in err) == (7, True), err


@pytest.mark.parametrize("location", [None, "https://portal.example/sign-in"])
def test_a_sign_in_page(
    upstream: Upstream,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    location: str | None,
) -> None:
    with portal(location) as port:
        urls = dict.fromkeys(upstream.ports, f"http://127.0.0.1:{port}")
        site = Site(tmp_path, capsys, upstream, urls)
        all_say(site, "redirects (302)" if location else "beginning '<!DOCTYPE", "sign-in")
        items = site.json("queue", "list")["items"]
        assert [one["state"] for one in items] in (["queued"], ["postponed"]), "nothing is lost"


def test_a_sign_in_page_over_tls(
    upstream: Upstream, authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        portal() as port,
        tls_front(port, authority.server("portal.example")) as front,
    ):
        urls = dict.fromkeys(upstream.ports, f"https://127.0.0.1:{front}")
        site = Site(tmp_path, capsys, upstream, urls)
        all_say(site, "certificate does not verify")


@pytest.mark.parametrize("proxied", [False, True])
def test_addresses_of_version_6(
    upstream: Upstream,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    proxied: bool,
) -> None:
    with (
        tls_front(upstream.ports[LOG], authority.server("::1"), host="::1") as front,
        tls_front(upstream.ports[LOG], authority.server(LOG)) as named,
        connect_proxy({LOG: named}, host="::1") as proxy,
    ):
        url = f"https://{LOG}" if proxied else f"https://[::1]:{front}"
        site = Site(tmp_path, capsys, upstream, {LOG: url, TRUST: url, HOOK: url})
        site.set("http.caFile", authority.file)
        if proxied:
            site.set("http.proxy", proxy.url)
        code, out, err = site.run("sync", "--backend", "log")
        assert code == 0, out + err


def test_the_settings_are_looked_at_before_anything_is_asked(
    upstream: Upstream, authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = dict.fromkeys(upstream.ports, "https://127.0.0.1:1")
    site = Site(tmp_path, capsys, upstream, urls)
    text = tmp_path / "text"
    text.write_text("no certificate\n")
    certificate, key = authority.issue("us.example")
    _, hidden = authority.issue("hidden.example", password=b"x")
    for settings, words in (
        ({"http.caFile": tmp_path / "missing"}, "there is none at"),
        ({"http.caFile": text}, "expected PEM certificates of authorities"),
        ({"http.clientCertificateFile": text}, "not PEM"),
        ({"http.clientCertificateFile": certificate, "http.clientKeyFile": hidden}, "encrypted"),
        (
            {
                "http.clientCertificateFile": certificate,
                "http.clientKeyFile": authority.issue("o")[1],
            },
            "the key is another certificate's",
        ),
    ):
        for name, value in settings.items():
            site.set(name, value)
        error = site.json("sync", "--backend", "log", expect=9)
        assert words in error["message"], error
        for name in settings:
            site.set(name, "null")
    assert key.exists()


def test_what_the_environment_says_is_in_doctor(
    upstream: Upstream,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    urls = {name: f"https://{name}" for name in upstream.ports}
    site = Site(tmp_path, capsys, upstream, urls)
    site.set("http.caFile", "missing.pem")
    assert "network      failed   http.caFile: expected a PEM file" in site.run("doctor")[1]
    site.set("http.caFile", "null")
    assert "no proxy; authorities of " in site.run("doctor")[1]
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", ".internal.example, 10.0.0.0/8")
    text = site.run("doctor")[1]
    assert (
        "proxy http://proxy.example:3128 (HTTPS_PROXY), not for .internal.example 10.0.0.0/8"
        " (NO_PROXY)" in text
    ), text
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:secret@proxy.example:1080")
    code, _, err = site.run("sync", "--backend", "log")
    assert code == 9
    assert "HTTPS_PROXY: expected a proxy like http://host:port" in err
    assert "secret" not in err
    for host in ("proxy..example", f"{'a' * 64}.example"):  # the resolver raises for such a name
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{host}:3128")
        code, _, err = site.run("sync", "--backend", "log")
        assert code == 9
        assert "got a host or port that can be none" in err
        assert "secret" not in err
    site.set("http.proxy", "direct")
    assert "no proxy" in site.run("doctor")[1]


@pytest.mark.parametrize(
    ("exempt", "url", "direct"),
    [
        ("internal.example", "https://log.internal.example/x", True),
        (".internal.example", "https://log.internal.example/x", True),
        ("*.internal.example", "https://log.internal.example/x", True),
        ("internal.example", "https://notinternal.example/x", False),
        ("log.internal.example:443", "https://log.internal.example/x", True),
        ("log.internal.example:8443", "https://log.internal.example/x", False),
        ("*", "https://log.internal.example/x", True),
        ("10.0.0.0/8", "https://10.1.2.3/x", True),
        ("10.0.0.0/8", "https://11.1.2.3/x", False),
        ("2001:db8::/32", "https://[2001:db8::1]/x", True),
        ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443/x", True),
        ("[2001:db8::1]:8443", "https://[2001:db8::1]/x", False),
        ("", "https://127.0.0.1/x", True),
        ("", "https://localhost/x", True),
        ("", "https://log.example/x", False),
    ],
)
def test_no_proxy(exempt: str, url: str, direct: bool) -> None:
    chosen = choose_proxies(
        None, (), None, {"https_proxy": "http://p.example:1", "NO_PROXY": exempt}
    )
    assert (chosen.of(url) is None) is direct
    set_here = choose_proxies("http://p.example:1", exempt.split(), None, {})
    if exempt:
        assert (set_here.of(url) is None) is direct


def test_the_settings_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home(tmp_path / "home", capsys)
    home.json("config", "set", "http.proxy", "http://ours.example:3128")
    home.json("config", "set", "http.noProxy", '["a.example"]')
    environment = {"HTTPS_PROXY": "http://theirs.example:1", "NO_PROXY": "b.example"}
    proxies = http_settings(home.app.configuration, environment).proxies
    chosen = {name: proxies.of(f"https://{name}.example/") for name in "ab"}
    assert chosen["a"] is None
    assert chosen["b"] is not None and chosen["b"].url == "http://ours.example:3128"
