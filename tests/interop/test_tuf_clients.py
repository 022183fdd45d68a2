"""A client that is told of a Sigstore of ours by its TUF repository alone.

sigstore-python's `trust-instance` begins with 1.root.json, signs and verifies by what it finds,
and follows the repository through a refresh and new keys of either kind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.attestor import COMMAND
from tests.interop.documents import blocks
from tests.interop.own_sigstore import (
    EMAIL,
    OwnSigstore,
    own_sigstore,
    ran,
)
from tests.interop.private_log import PrivateLog

pytestmark = pytest.mark.interop

ARTIFACT = b"signed by whoever the repository told of us\n"
SIGSTORE = Path(sys.executable).with_name("sigstore")
DOCUMENT = "docs/own-sigstore.md"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSigstore]:
    with own_sigstore(tmp_path_factory.mktemp("own")) as running:
        first_entry(running, tmp_path_factory.mktemp("first"))
        yield running


def first_entry(own: OwnSigstore, directory: Path) -> None:
    """Log the entry that stands before all others, as the document says."""
    [block] = (one for one in blocks(DOCUMENT, "sh") if "first.key" in one)
    typed(own.log, directory, block)


def typed(log: PrivateLog, directory: Path, text: str) -> str:
    """Type lines of the document in a directory; return what was said."""
    programs = directory / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "attestor").symlink_to(COMMAND)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(directory),
        "ATTESTOR_HOME": str(log.site.home),
    }
    done = subprocess.run(
        ["sh", "-euc", text],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give a client a home in which it remembers nothing, and something to sign."""
    (tmp_path / "artifact").write_bytes(ARTIFACT)
    return tmp_path


class Client:
    """One program, its home, and what it was told once: a URL and the first root."""

    def __init__(self, own: OwnSigstore, home: Path) -> None:
        self.own, self.home = own, home

    def begin(self, root: Path, *, expect: bool = True) -> str:
        raise NotImplementedError

    def sign(self) -> None:
        raise NotImplementedError

    def verify(self, who: str = EMAIL, *, expect: bool = True) -> None:
        raise NotImplementedError

    def identity(self, who: str) -> list[str]:
        raise NotImplementedError


class SigstorePython(Client):
    @property
    def command(self) -> list[str | Path]:
        return [SIGSTORE, "--instance", self.own.tuf_url]

    def begin(self, root: Path, *, expect: bool = True) -> str:
        return ran([*self.command, "trust-instance", root], self.home, expect=expect)

    def sign(self) -> None:
        token = self.own.token()
        words = ["sign", "--identity-token", token, "--bundle", "bundle", "--overwrite", "artifact"]
        ran([*self.command, *words], self.home)

    def verify(self, who: str = EMAIL, *, expect: bool = True) -> None:
        words = [
            *("verify", "identity", "--bundle", "bundle", "--cert-identity", who),
            *("--cert-oidc-issuer", self.own.issuer.url, "artifact"),
        ]
        ran([*self.command, *words], self.home, expect=expect)


@pytest.mark.parametrize("kind", [SigstorePython])
def test_a_client_follows_the_repository_through_every_change(
    own: OwnSigstore, home: Path, kind: type[Client], tmp_path: Path
) -> None:
    client, keep = kind(own, home), ("log", "tuf-repository", own.tuf)
    root = shutil.copy(own.tuf / "1.root.json", tmp_path / "first.json")

    def works() -> None:
        client.sign()
        client.verify()
        client.verify("stranger@example.com", expect=False)

    client.begin(Path(root))
    works()
    # Another run of cron, and then every key is replaced; the client knows the first root alone.
    own.log.site.run(*keep, "--refresh")
    works()
    for rotated in ("online", "offline"):
        before = roots(own)
        own.log.site.run(*keep, "--rotate", rotated)
        assert roots(own) > before
        client.begin(Path(root))
        works()
    # A client that begins today is given the newest root as well as the first.
    (home / "new").mkdir()
    (home / "new" / "artifact").write_bytes(ARTIFACT)
    another = kind(own, home / "new")
    another.begin(own.tuf / f"{roots(own)}.root.json")
    another.sign()
    another.verify()


def roots(own: OwnSigstore) -> int:
    """Return the version of the newest root."""
    return max(int(one.name.split(".")[0]) for one in own.tuf.glob("*.root.json"))


@pytest.mark.parametrize("kind", [SigstorePython])
def test_the_root_of_another_repository_is_refused(
    own: OwnSigstore, home: Path, kind: type[Client]
) -> None:
    root = json.loads((own.tuf / "1.root.json").read_text())
    for one in root["signatures"]:
        one["sig"] = one["sig"][:-4] + ("0000" if one["sig"][-4:] != "0000" else "1111")
    (home / "forged.json").write_text(json.dumps(root))
    assert kind(own, home).begin(home / "forged.json", expect=False)
