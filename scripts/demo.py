"""The demo that scripts/demo runs: real files, real commands, real exit codes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ATTESTOR = ROOT / ".venv" / "bin" / "attestor"
ORIGIN = "log.demo.example"
REFUSED = 3  # the bytes are wrong
START_SECONDS = 20


class Demo:
    """One run in one directory: three homes, a stick, and commands between them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stick = directory / "stick"
        self.stick.mkdir()
        self.no_network = no_network_prefix()
        self.step_number = 0

    def step(self, text: str) -> None:
        self.step_number += 1
        print(f"\n{self.step_number:2}. {text}", flush=True)

    def run(self, home: str, *words: str | Path, expect: int = 0, offline: bool = False) -> str:
        """Run attestor on one of the homes; show the command; insist on the exit code."""
        arguments = [str(word) for word in words]
        shown = " ".join(shlex.quote(word.replace(f"{self.directory}/", "")) for word in arguments)
        print(f"    {home}$ attestor {shown}", flush=True)
        prefix = self.no_network if offline else []
        command = [*prefix, str(ATTESTOR), "--home", str(self.directory / home), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for line in (done.stdout + done.stderr).splitlines():
            print(f"      {line.replace(f'{self.directory}/', '')}", flush=True)
        if done.returncode != expect:
            raise SystemExit(f"demo: expected exit code {expect}, got {done.returncode}")
        return done.stdout


def no_network_prefix() -> list[str]:
    """Return the command that runs another without any network, where the kernel allows it."""
    for prefix in (["unshare", "-n"], ["unshare", "-rn"]):
        with contextlib.suppress(OSError):
            if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
                return prefix
    print("    (this kernel allows no network namespace: the inner site runs without one)")
    return []


def sign(demo: Demo, name: str, content: bytes) -> tuple[Path, Path]:
    """Write an artifact and sign it with the demo's key; returns artifact and signature."""
    artifact = demo.directory / name
    artifact.write_bytes(content)
    signature = demo.directory / f"{name}.sig"
    if shutil.which("openssl"):
        key = str(demo.directory / "signer.key")
        run_quietly(
            "openssl", "dgst", "-sha256", "-sign", key, "-out", str(signature), str(artifact)
        )
    else:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        private = load_pem_private_key((demo.directory / "signer.key").read_bytes(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        signature.write_bytes(private.sign(content, ec.ECDSA(hashes.SHA256())))
    return artifact, signature


def make_signer(demo: Demo) -> Path:
    """Make the release engineer's P-256 key, with openssl where it is; returns the public key."""
    private, public = demo.directory / "signer.key", demo.directory / "signer.pem"
    if shutil.which("openssl"):
        run_quietly(
            *("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-out", str(private)),
        )
        run_quietly("openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public))
        return public
    print("    (no openssl here: the key is made with Python's cryptography)")
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return public


def run_quietly(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def served_log(demo: Demo) -> Iterator[str]:
    """Serve the private log on a free loopback port; yields its URL."""
    command = [
        *(str(ATTESTOR), "--home", str(demo.directory / "log")),
        *("log", "serve", "--bind", "127.0.0.1:0", "--json"),
    ]
    print("    log$ attestor log serve --bind 127.0.0.1:0 &", flush=True)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["data"]["url"]
    finally:
        server.terminate()
        server.wait(START_SECONDS)


def flip_a_bit(path: Path, copy: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)


def private_log_demo(demo: Demo) -> None:
    demo.step("A private Rekor v2 log, kept in one SQLite file and tile blobs, served on loopback.")
    demo.run("log", "init", "--site", "demo-log")
    demo.run("log", "log", "create", "demo", "--origin", ORIGIN)
    log_key = demo.directory / "log.pem"
    log_key.write_text(demo.run("log", "key", "show", ORIGIN, "--pem"))

    demo.step("A release engineer signs 3 artifacts with an openssl-made key and logs them.")
    signer = make_signer(demo)
    for number in range(3):
        log_artifact(demo, signer, number)

    with served_log(demo) as url:
        demo.step("Outside: mirror the log. Every tile is proven under its signed checkpoint.")
        demo.run("outside", "init", "--site", "outside.example", "--role", "connected")
        demo.run(
            *("outside", "backend", "add", "demo", "--origin", ORIGIN),
            *("--public-key", log_key, "--url", url),
        )
        demo.run("outside", "sync", "--full-tiles", "--entries")
        demo.run("outside", "tiles", "verify", "--backend", "demo")

        demo.step("Outside: write a signed transfer bundle to the stick.")
        first = demo.stick / "first.tar"
        demo.run("outside", "export", "--base", "all", "--include-entries", "--output", first)
        exporter = demo.run("outside", "key", "show", "outside.example").strip()

        demo.step(
            "Inside: a second site without any network. It pins the log's key and the exporter's."
        )
        demo.run("inside", "init", "--site", "inside.example", "--role", "isolated")
        demo.run("inside", "backend", "add", "demo", "--origin", ORIGIN, "--public-key", log_key)
        demo.run("inside", "exporters", "add", exporter)

        demo.step(
            "Inside, no network: import the stick; verify an artifact against our own copy of it."
        )
        demo.run("inside", "import", first, offline=True)
        verify(demo, signer, 1)

        demo.step(
            "Inside: one flipped bit on the stick is refused with code 3, and nothing changes."
        )
        flip_a_bit(first, demo.stick / "flipped.tar")
        demo.run("inside", "import", demo.stick / "flipped.tar", expect=REFUSED, offline=True)

        demo.step("Inside: so is an artifact that is not the one that was signed.")
        forged = demo.directory / "forged.bin"
        forged.write_bytes(b"not what was signed\n")
        demo.run(
            *("inside", "verify", forged, "--key", signer),
            *("--bundle", demo.directory / "app-1.bin.sigstore.json"),
            expect=REFUSED,
            offline=True,
        )

        demo.step("Outside: the log grows; a delta from size 3 brings the inside up to date.")
        for number in range(3, 6):
            log_artifact(demo, signer, number)
        demo.run("outside", "sync", "--full-tiles", "--entries")
        delta = demo.stick / "delta.tar"
        demo.run(*("outside", "export", "--base", "3", "--include-entries", "--output", delta))
        demo.run("inside", "import", delta, offline=True)
        verify(demo, signer, 5)


def log_artifact(demo: Demo, signer: Path, number: int) -> None:
    artifact, signature = sign(demo, f"app-{number}.bin", f"release {number}\n".encode())
    demo.run(
        *("log", "log", "add", "--artifact", artifact, "--signature", signature),
        *("--key", signer, "--bundle", demo.directory / f"{artifact.name}.sigstore.json"),
    )


def verify(demo: Demo, signer: Path, number: int) -> None:
    demo.run(
        *("inside", "verify", demo.directory / f"app-{number}.bin", "--key", signer),
        "--require-mirror",
        offline=True,
    )


def upstream_demo(demo: Demo, url: str, origin: str, key: Path | None) -> None:
    demo.step(f"Outside: mirror {origin} from {url}, read-only, at most 200 tiles.")
    demo.run("outside", "init", "--site", "outside.example", "--role", "connected")
    pinned = key or public_good_key(demo, origin)
    demo.run(
        *("outside", "backend", "add", "upstream", "--origin", origin),
        *("--public-key", pinned, "--url", url),
    )
    demo.run("outside", "sync", "--max-tiles", "200")

    demo.step("Outside: write a signed transfer bundle.")
    first = demo.stick / "first.tar"
    demo.run("outside", "export", "--base", "all", "--output", first)
    exporter = demo.run("outside", "key", "show", "outside.example").strip()

    demo.step("Inside, no network: import it; every tile is proven again.")
    demo.run("inside", "init", "--site", "inside.example", "--role", "isolated")
    demo.run("inside", "backend", "add", "upstream", "--origin", origin, "--public-key", pinned)
    demo.run("inside", "exporters", "add", exporter)
    demo.run("inside", "import", first, offline=True)
    demo.run("inside", "checkpoints", "list", "--backend", "upstream")

    demo.step("Inside: one flipped bit is refused with code 3.")
    flip_a_bit(first, demo.stick / "flipped.tar")
    demo.run("inside", "import", demo.stick / "flipped.tar", expect=REFUSED, offline=True)


def public_good_key(demo: Demo, origin: str) -> Path:
    """Write the public-good key of a log, from the facts we ship, to a file."""
    facts = json.loads((ROOT / "appliance" / "sigstore" / "public_good.json").read_text())
    for log in facts["tlogs"]:
        if log["baseUrl"].partition("://")[2] == origin:
            path = demo.directory / "upstream.pem"
            body = log["publicKey"]["rawBytes"]
            path.write_text(f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
            return path
    raise SystemExit(f"demo: no key known for {origin}: give --public-key FILE")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--upstream", metavar="URL", help="a public log to mirror, read-only")
    parser.add_argument("--origin", help="its origin  [default: the host of URL]")
    parser.add_argument("--public-key", type=Path, help="its key, if it is not a public-good log")
    options = parser.parse_args()
    started = time.monotonic()
    os.environ.pop("ATTESTOR_HOME", None)
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=ROOT) as directory:
        demo = Demo(Path(directory))
        if options.upstream:
            host = options.upstream.partition("://")[2].partition("/")[0]
            upstream_demo(demo, options.upstream, options.origin or host, options.public_key)
        else:
            private_log_demo(demo)
    print(f"\nDone in {time.monotonic() - started:.0f} s; everything it made is gone again.")


if __name__ == "__main__":
    sys.exit(main())
