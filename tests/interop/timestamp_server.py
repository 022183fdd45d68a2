"""A real timestamp authority server on loopback: its chain, and stamps of it."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.interop.verification_peers import peer
from tests.pki import der
from tests.pki.openssl_tsa import OpensslAuthority, key_of

_DIGESTS = {
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}


@dataclass(frozen=True)
class TimestampServer:
    """A running server."""

    url: str
    chain: tuple[x509.Certificate, ...]  # the stamping certificate first

    def stamp(
        self,
        signature: bytes,
        digest: str = "sha256",
        *,
        certificates: bool = False,
        nonce: int = 0,
        policy: str = "",
    ) -> bytes:
        """Ask for a stamp over the bytes of a signature (RFC 3161 2.4.1)."""
        algorithm = der.sequence(der.object_identifier(_DIGESTS[digest]), der.null())
        query = der.sequence(
            der.integer(1),
            der.sequence(algorithm, der.octets(hashlib.new(digest, signature).digest())),
            *([der.object_identifier(policy)] if policy else []),
            *([der.integer(nonce)] if nonce else []),
            *([der.tlv(1, b"\xff")] if certificates else []),
        )
        headers = {"Content-Type": "application/timestamp-query"}
        answer = requests.post(f"{self.url}/api/v1/timestamp", query, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer.content


@contextmanager
def timestamp_server(
    directory: Path, authority: OpensslAuthority | None = None, options: Sequence[str] = ()
) -> Iterator[TimestampServer]:
    """Run one: with a chain of ours, or with one that it makes in memory."""
    program = peer("timestamp-server")
    directory.mkdir(parents=True, exist_ok=True)
    signer = ["--timestamp-signer", "memory"]
    if authority is not None:
        key = key_of(authority.plan.keys[0], 0)
        (directory / "key.pem").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        chain = b"".join(one.public_bytes(Encoding.PEM) for one in authority.chain)
        (directory / "chain.pem").write_bytes(chain)
        signer = ["--timestamp-signer", "file"]
        signer += ["--file-signer-key-path", str(directory / "key.pem")]
        signer += ["--certificate-chain-path", str(directory / "chain.pem")]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--disable-ntp-monitoring", *signer, *options]
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        pem = _wait(f"{url}/api/v1/timestamp/certchain", process, directory / "server.log")
        yield TimestampServer(url, tuple(x509.load_pem_x509_certificates(pem)))
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> bytes:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return requests.get(url, timeout=5).content
        except requests.ConnectionError:
            time.sleep(0.2)
    raise RuntimeError(f"timestamp-server did not answer:\n{log.read_text()[-2000:]}")
