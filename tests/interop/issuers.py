"""What Fulcio asks: who somebody is (OpenID Connect), and a CT log that saw the certificate.

Both are small servers of our own on loopback, as no program of others is that can be had
without a database: they answer what Fulcio asks by the standards, and sign with real keys.
"""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from tests.pki import der
from tests.pki.authorities import CtLog

AUDIENCE = "sigstore"
REPOSITORY = "org/app"
WORKFLOW = ".github/workflows/release.yml@refs/heads/main"
_POISON = der.object_identifier("1.3.6.1.4.1.11129.2.4.3")


@dataclass
class Issuer:
    """One server for both: an issuer of identity tokens at its URL, a CT log below /ct."""

    url: str = ""
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    ct_log: CtLog = field(default_factory=CtLog)
    logged: int = 0

    def token(self, email: str) -> str:
        """Return an identity token for somebody."""
        return self.signed({"sub": email, "email": email, "email_verified": True})

    def job_token(self, commit: str) -> str:
        """Return an identity token for a job that builds a commit, as GitHub's are."""
        workflow = f"{REPOSITORY}/{WORKFLOW}"
        return self.signed(
            {
                **{"sub": f"repo:{REPOSITORY}:ref:refs/heads/main", "ref": "refs/heads/main"},
                **{"job_workflow_ref": workflow, "workflow_ref": workflow, "workflow": "release"},
                **dict.fromkeys(("sha", "job_workflow_sha", "workflow_sha"), commit),
                **{"event_name": "push", "runner_environment": "github-hosted"},
                **{"repository": REPOSITORY, "repository_id": "1", "repository_owner": "org"},
                **{"repository_owner_id": "2", "repository_visibility": "public"},
                **{"run_id": "3", "run_attempt": "1"},
            }
        )

    def signed(self, claims: Mapping[str, object]) -> str:
        """Return a token with these claims, valid for ten minutes."""
        now = int(time.time())
        common = {"iss": self.url, "aud": AUDIENCE, "iat": now, "exp": now + 600}
        return jwt.encode({**common, **claims}, self.key, algorithm="RS256", headers={"kid": "1"})

    def answer(self, path: str, body: bytes) -> dict[str, Any] | None:
        """Answer one request; None if there is nothing of that name."""
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/auth",
                "token_endpoint": f"{self.url}/token",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        if path == "/keys":
            public = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
            return {"keys": [public | {"kid": "1", "use": "sig", "alg": "RS256"}]}
        if path == "/ct/ct/v1/add-pre-chain":
            return self._add([b64decode(one) for one in json.loads(body)["chain"]])
        return None

    def _add(self, chain: list[bytes]) -> dict[str, Any]:
        """Sign a timestamp for a precertificate (RFC 6962 3.2); the issuer stands behind it."""
        issuer = x509.load_der_x509_certificate(chain[1]).public_key()
        issuer_spki = issuer.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        tbs = x509.load_der_x509_certificate(chain[0]).tbs_certificate_bytes
        self.logged += 1
        now = time.time_ns() // 1_000_000
        sct = self.ct_log.sct(without_poison(tbs), issuer_spki, now)
        return {
            "sct_version": 0,
            "id": b64encode(self.ct_log.log_id).decode(),
            "timestamp": now,
            "extensions": "",
            "signature": b64encode(sct[1 + 32 + 8 + 2 :]).decode(),
        }


def without_poison(tbs: bytes) -> bytes:
    """Return a TBSCertificate without the extension that makes it a precertificate's."""
    fields = list(elements(tbs, *content(tbs, 0)))
    for position, (start, _end) in enumerate(fields):
        if tbs[start] != 0xA3:
            continue
        listed = content(tbs, content(tbs, start)[0])
        kept = [
            tbs[one:stop] for one, stop in elements(tbs, *listed) if _POISON not in tbs[one:stop]
        ]
        extensions = der.tagged(3, der.sequence(*kept))
        before = [tbs[one:stop] for one, stop in fields[:position]]
        after = [tbs[one:stop] for one, stop in fields[position + 1 :]]
        return der.sequence(*before, extensions, *after)
    raise ValueError("no extensions")


def content(data: bytes, start: int) -> tuple[int, int]:
    """Return where the content of the element at `start` begins and ends."""
    length, at = data[start + 1], start + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(data[at : at + size]), at + size
    return at, at + length


def elements(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where each element between two positions begins and ends."""
    while start < end:
        stop = content(data, start)[1]
        yield start, stop
        start = stop


@contextmanager
def issuers() -> Iterator[Issuer]:
    """Run both."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            found = issuer.answer(self.path, body)
            raw = json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
