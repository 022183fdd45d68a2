"""Our own private log, run as its users run it: attestor log serve."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.interop.attestor import COMMAND, Site
from tests.interop.rekor_server import ORIGIN
from tests.interop.service import service
from tests.interop.signed_artifact import note_log_id


@dataclass(frozen=True, slots=True)
class PrivateLog:
    """One running private log and what its users are told about it."""

    origin: str
    url: str
    trusted_root: Path
    site: Site


@contextmanager
def private_log(
    directory: Path, private_key: Ed25519PrivateKey | None = None, digest_key: str | None = None
) -> Iterator[PrivateLog]:
    """Create a log in `directory`, with a new key unless one is given, and serve it.

    With `digest_key` a key of that name is made, which signs digests that come without one.
    """
    directory.mkdir(parents=True)
    site = Site(directory / "home")
    site.run("init", "--site", "interop")
    create: list[str | Path] = ["log", "create", "private", "--origin", ORIGIN]
    if private_key is not None:
        key_file = site.home / "keys" / f"{ORIGIN}.key"
        key_file.write_text(f"{signing_key(ORIGIN, private_key)}\n")
        key_file.chmod(0o600)
        create.append("--use-key")
    site.run(*create)
    trusted_root = directory / "trusted_root.json"
    site.run("log", "trusted-root", "--output", trusted_root)

    options = []
    if digest_key is not None:
        site.run("key", "generate", digest_key, "--type", "digests")
        options = ["--sign-digests", digest_key]

    def command(ports: Sequence[int]) -> list[str | Path]:
        bind = f"127.0.0.1:{ports[0]}"
        return [COMMAND, "--home", site.home, "log", "serve", "--bind", bind, *options]

    with service(command, 1, directory / "server.log") as url:
        yield PrivateLog(ORIGIN, url, trusted_root, site)


def signing_key(name: str, key: Ed25519PrivateKey) -> str:
    """Spell a key as signed notes do: PRIVATE+KEY+name+key id+type and seed."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    key_id = note_log_id(name, spki)[:4].hex()
    seed = b64encode(b"\x01" + key.private_bytes_raw()).decode()
    return f"PRIVATE+KEY+{name}+{key_id}+{seed}"
