"""A whole Sigstore on loopback: Fulcio, a CT log, a timestamp authority, and our log.

As docs/own-sigstore.md says: `attestor log client-config` and `log tuf-repository` tell the
clients, and the repository is served by a plain web server.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.interop.issuers import AUDIENCE, Issuer, issuers
from tests.interop.private_log import PrivateLog, private_log
from tests.interop.service import service
from tests.interop.timestamp_server import timestamp_server
from tests.pki.authorities import new_authority, spki
from tests.pki.bundles import pem
from tests.pki.openssl_tsa import Plan, make_authority

EMAIL = "builder@example.com"
PASSWORD = "of a test"  # noqa: S105
_YEAR = timedelta(days=365)


@dataclass(frozen=True)
class OwnSigstore:
    """What runs, and what its clients are told."""

    directory: Path
    log: PrivateLog
    issuer: Issuer
    clients: Path  # what log client-config wrote
    tuf: Path
    tuf_url: str
    commit: str = ""  # who signs is a job that builds it; empty: a person

    @property
    def trusted_root(self) -> Path:
        """The trusted root of the site."""
        return self.clients / "trusted_root.json"

    @property
    def signing_config(self) -> Path:
        """Its signing config."""
        return self.clients / "signing_config.v0.2.json"

    @property
    def trust_config(self) -> Path:
        """Both in one."""
        return self.clients / "client_trust_config.json"

    def token(self) -> str:
        """Return a fresh identity token."""
        return self.issuer.job_token(self.commit) if self.commit else self.issuer.token(EMAIL)


def site_peer(name: str) -> Path:
    """Return the path of what scripts/site-peers built; skips, with its reason, without it."""
    directory = os.environ.get("ATTESTOR_SITE_PEERS", "")
    if not directory:
        pytest.skip(f"no {name}: scripts/site-peers found no way to build it here")
    found = Path(directory) / name
    if not found.exists():
        pytest.skip(f"no {name} in {directory}: it did not build")
    return found


@contextmanager
def own_sigstore(
    directory: Path,
    *,
    key: Ed25519PrivateKey | None = None,
    log_url: str | None = None,
    jobs: Issuer | None = None,
) -> Iterator[OwnSigstore]:
    """Run all of it, make the client configuration and the TUF repository, and serve that.

    With `log_url` clients sign into that log, which has our log's name and `key`. Fulcio
    certifies who `jobs` says, too: as jobs of a CI.
    """
    site_peer("fulcio")
    with (
        issuers() as issuer,
        timestamp_server(
            directory / "tsa", make_authority(Plan()), ["--enforce-intermediate-eku=false"]
        ) as tsa,
        fulcio(directory / "fulcio", issuer, jobs) as fulcio_url,
        private_log(directory / "log", key) as log,
    ):
        (directory / "ct.pem").write_bytes(pem("PUBLIC KEY", spki(issuer.ct_log.key)))
        stamping = b"".join(one.public_bytes(Encoding.PEM) for one in tsa.chain)
        (directory / "tsa.pem").write_bytes(stamping)
        clients, tuf = directory / "clients", directory / "tuf"
        log.site.run(
            *("log", "client-config", "--url", log_url or log.url, "--output", clients),
            *("--fulcio-root", directory / "fulcio" / "chain.pem", "--fulcio-url", fulcio_url),
            *("--ct-key", directory / "ct.pem", "--tsa", directory / "tsa.pem"),
            *("--tsa-url", f"{tsa.url}/api/v1/timestamp", "--oidc-issuer", issuer.url),
        )
        log.site.run("log", "tuf-repository", tuf, "--client-config", clients)
        with web_server(tuf) as tuf_url:
            yield OwnSigstore(directory, log, issuer, clients, tuf, tuf_url)


@contextmanager
def fulcio(directory: Path, issuer: Issuer, jobs: Issuer | None = None) -> Iterator[str]:
    """Run the real Fulcio with a CA in files; its chain lies beside them.

    It takes mail addresses from `issuer`, and jobs of a CI from `jobs`.
    """
    program = site_peer("fulcio")
    directory.mkdir(parents=True)
    now = datetime.now(UTC).replace(microsecond=0)
    start, end = now - timedelta(hours=1), now + _YEAR
    root = new_authority("test Fulcio root", start=start, end=end)
    issuing = new_authority(
        "test Fulcio",
        root,
        usage=ExtendedKeyUsageOID.CODE_SIGNING,
        critical_usage=False,
        path_length=0,
        start=start,
        end=end,
    )
    chain = (issuing.certificate, root.certificate)
    (directory / "chain.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
    key = issuing.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.encode())
    )
    (directory / "key.pem").write_bytes(key)
    kinds = {issuer.url: "email"} | ({} if jobs is None else {jobs.url: "github-workflow"})
    known = {
        url: {"IssuerURL": url, "ClientID": AUDIENCE, "Type": kind} for url, kind in kinds.items()
    }
    (directory / "config.json").write_text(json.dumps({"OIDCIssuers": known}))

    def command(ports: Sequence[int]) -> list[str | Path]:
        http, grpc, metrics = map(str, ports)
        return [
            *(program, "serve", "--host", "127.0.0.1", "--port", http),
            *("--grpc-host", "127.0.0.1", "--grpc-port", grpc, "--metrics-port", metrics),
            *("--legacy-unix-domain-socket", str(directory / "legacy")),
            *("--config-path", directory / "config.json", "--ct-log-url", f"{issuer.url}/ct"),
            *("--ca", "fileca", "--fileca-cert", directory / "chain.pem"),
            *("--fileca-key", directory / "key.pem", "--fileca-key-passwd", PASSWORD),
            *("--fileca-watch=false", "--log_type", "prod"),
        ]

    with service(command, 3, directory / "server.log") as url:
        yield url


@contextmanager
def web_server(directory: Path) -> Iterator[str]:
    """Serve a directory as any web server would."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(directory))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ran(
    command: Sequence[str | Path], home: Path, *, expect: bool = True, password: str = ""
) -> str:
    """Run a client with a home of its own; return what it said. It must succeed, or must not."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=home,
        env={**kept, "HOME": str(home), "COSIGN_PASSWORD": password},
    )
    said = done.stdout + done.stderr
    assert (done.returncode == 0) is expect, f"{command}: {done.returncode}: {said[-3000:]}"
    return said
