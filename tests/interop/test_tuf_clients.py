"""Clients that are told of a Sigstore of ours by its TUF repository alone.

`cosign initialize` and sigstore-python's `trust-instance` begin with 1.root.json, and follow the
repository through a refresh, new keys of either kind and a client configuration that changed.
And docs/own-sigstore.md is typed from its first line to its last.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.attestor import COMMAND
from tests.interop.documents import adapted, blocks
from tests.interop.own_sigstore import (
    EMAIL,
    PASSWORD,
    OwnSigstore,
    own_sigstore,
    ran,
    web_server,
)
from tests.interop.private_log import PrivateLog, private_log
from tests.interop.verification_peers import peer

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
    here = {"attestor": COMMAND, "sigstore": SIGSTORE}
    if "cosign" in text:
        here["cosign"] = Path(peer("cosign"))
    for name, program in here.items():
        link = programs / name
        link.unlink(missing_ok=True)
        link.symlink_to(program)
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


class Cosign(Client):
    def begin(self, root: Path, *, expect: bool = True) -> str:
        words = ["initialize", "--mirror", self.own.tuf_url, "--root", str(root)]
        return ran([peer("cosign"), *words], self.home, expect=expect)

    def sign(self) -> None:
        token = self.own.token()
        words = ["sign-blob", "--yes", "--bundle", "bundle", "--identity-token", token, "artifact"]
        ran([peer("cosign"), *words], self.home)

    def verify(self, who: str = EMAIL, *, expect: bool = True) -> None:
        words = [
            *(peer("cosign"), "verify-blob", "--bundle", "bundle", "--use-signed-timestamps"),
            *("--certificate-identity", who, "--certificate-oidc-issuer", self.own.issuer.url),
            "artifact",
        ]
        ran(words, self.home, expect=expect)


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


@pytest.mark.parametrize("kind", [Cosign, SigstorePython])
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


def test_cosign_reads_a_configuration_that_changed(own: OwnSigstore, home: Path) -> None:
    """What it keeps below its home after a second `initialize` is what was published by then."""
    client = Cosign(own, home)
    client.begin(own.tuf / "1.root.json")
    changed = json.loads(own.trusted_root.read_text())
    clients = home / "changed"
    shutil.copytree(own.clients, clients)
    changed["tlogs"].append({**changed["tlogs"][0], "baseUrl": "https://old.log.example"})
    changed["tlogs"][1]["logId"] = {"keyId": "A" * 43 + "="}
    try:
        (clients / "trusted_root.json").write_text(json.dumps(changed))
        own.log.site.run("log", "tuf-repository", own.tuf, "--client-config", clients)
        client.begin(own.tuf / "1.root.json")
        kept = "".join(one.read_text() for one in home.rglob("*trusted_root.json"))
        assert "https://old.log.example" in kept
    finally:
        own.log.site.run("log", "tuf-repository", own.tuf, "--client-config", own.clients)


@pytest.mark.parametrize("kind", [Cosign, SigstorePython])
def test_the_root_of_another_repository_is_refused(
    own: OwnSigstore, home: Path, kind: type[Client]
) -> None:
    root = json.loads((own.tuf / "1.root.json").read_text())
    for one in root["signatures"]:
        one["sig"] = one["sig"][:-4] + ("0000" if one["sig"][-4:] != "0000" else "1111")
    (home / "forged.json").write_text(json.dumps(root))
    assert kind(own, home).begin(home / "forged.json", expect=False)


def test_the_document_is_typed_from_its_first_line_to_its_last(
    own: OwnSigstore, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for name, file in (
        ("fulcio.pem", own.directory / "fulcio" / "chain.pem"),
        ("ct.pem", own.directory / "ct.pem"),
        ("tsa.pem", own.directory / "tsa.pem"),
    ):
        shutil.copy(file, place / name)
    config = json.loads(own.signing_config.read_text())
    (place / "tuf").mkdir()
    with private_log(tmp_path / "log") as log, web_server(place / "tuf") as tuf_url:
        here = {
            "http://127.0.0.1:3000": log.url,
            "http://127.0.0.1:5555": config["caUrls"][0]["url"],
            "http://127.0.0.1:3004/api/v1/timestamp": config["tsaUrls"][0]["url"],
            "http://127.0.0.1:5556": own.issuer.url,
            "/srv/tuf": str(place / "tuf" / "tuf"),
            "http://127.0.0.1:8080": f"{tuf_url}/tuf",
        }
        # What a courier brings is for a site without a network; the rest is typed here.
        every = [one for one in blocks(DOCUMENT, "sh") if "/media/stick" not in one]
        whole = adapted("\n".join(every), here)
        assert "attestor log client-config" in every[0] and len(every) == 5
        script, _, after = whole.partition("cosign initialize")
        said = typed(log, place, script)
        assert re.search(r"[0-9a-f]{64}", said), "the digest of the first root"
        shutil.copy(place / "tuf" / "tuf" / "1.root.json", place / "1.root.json")
        typed(log, place, f"cosign initialize{after}")
        # What was typed is enough: signed and verified by two clients without another option.
        (place / "artifact").write_bytes(ARTIFACT)
        ran(
            [
                *(peer("cosign"), "sign-blob", "--yes", "--bundle", "bundle"),
                *("--identity-token", own.token(), "artifact"),
            ],
            place,
            password=PASSWORD,
        )
        ran(
            [
                *(SIGSTORE, "--instance", f"{tuf_url}/tuf", "verify", "identity"),
                *("--bundle", "bundle", "--cert-identity", EMAIL),
                *("--cert-oidc-issuer", own.issuer.url, "artifact"),
            ],
            place,
        )
        log.site.run(
            *("verify", place / "artifact", "--bundle", place / "bundle", "--require-mirror"),
            *("--certificate-identity", EMAIL, "--certificate-oidc-issuer", own.issuer.url),
        )
