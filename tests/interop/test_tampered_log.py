"""The real Rekor v2 server, and what an attacker with its storage directory or its key can do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.interop.attestor import Site
from tests.interop.conftest import RealLog
from tests.interop.rekor_server import rekor_server, static_file_server

pytestmark = pytest.mark.interop

HONEST, MORE, LIE = 260, 50, 300  # entries


@dataclass(frozen=True, slots=True)
class Stories:
    """What one real log wrote, early and late, and a second server with the same key."""

    origin: str
    public_key: Path
    early: Path
    late: Path
    lie: Path


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Stories:
    directory = tmp_path_factory.mktemp("stories")
    key, signer = Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    with rekor_server(directory / "honest", key) as server:
        log = RealLog(server, signer)
        log.grow(HONEST)
        shutil.copytree(server.storage, directory / "early")
        log.grow(MORE)
        shutil.copytree(server.storage, directory / "late")
        origin, public_key = server.origin, server.public_key
    with rekor_server(directory / "lying", key) as server:
        RealLog(server, signer).grow(LIE)
        shutil.copytree(server.storage, directory / "lie")
    return Stories(origin, public_key, *(directory / one for one in ("early", "late", "lie")))


class Mirrored:
    """A site that has mirrored the early story from a directory that is about to change."""

    def __init__(self, stories: Stories, directory: Path, url: str, published: Path) -> None:
        self.published = published
        self.site = Site(directory / "home")
        self.site.run("init", "--site", "interop")
        self.show(stories.early)
        self.site.run(
            *("backend", "add", "real", "--origin", stories.origin),
            *("--public-key", stories.public_key, "--read-url", url),
        )
        self.site.run("sync")

    def show(self, story: Path) -> None:
        """Serve another state of the storage directory from now on."""
        shutil.rmtree(self.published, ignore_errors=True)
        shutil.copytree(story, self.published)

    def ends(self, *alerts: str, size: int, quarantines: int) -> None:
        listed = self.site.run("alerts", "list")["alerts"]
        assert [f"{one['type']} {one['severity']}" for one in listed] == list(alerts)
        assert len(self.site.run("quarantine", "list")["quarantines"]) == quarantines
        assert self.site.run("sync-status")["backends"][0]["treeSize"] == size


@pytest.fixture
def mirrored(stories: Stories, tmp_path: Path) -> Iterator[Mirrored]:
    published = tmp_path / "published"
    published.mkdir()
    with static_file_server(published) as url:
        yield Mirrored(stories, tmp_path, url, published)


def test_growth_is_followed(mirrored: Mirrored, stories: Stories) -> None:
    mirrored.show(stories.late)
    mirrored.site.run("sync")
    mirrored.ends(size=HONEST + MORE, quarantines=0)


def test_an_older_storage_directory_is_a_stale_replica(
    mirrored: Mirrored, stories: Stories
) -> None:
    mirrored.show(stories.late)
    mirrored.site.run("sync")
    mirrored.show(stories.early)
    mirrored.site.run("sync")
    mirrored.site.run("sync")
    mirrored.ends("StaleReplica warning", size=HONEST + MORE, quarantines=0)


def test_a_second_server_with_the_log_s_key_is_a_fork(
    mirrored: Mirrored, stories: Stories, tmp_path: Path
) -> None:
    mirrored.show(stories.lie)
    mirrored.site.run("sync", expect=4)
    mirrored.ends("TreeFork critical", size=HONEST, quarantines=1)
    mirrored.site.run("alerts", "export", "1", "--output", tmp_path / "pack")
    facts = json.loads((tmp_path / "pack" / "evidence.json").read_text())
    assert facts["exchange"]["status"] == 200
    kept = (tmp_path / "pack" / "theirs.note").read_bytes()
    assert kept == (stories.lie / "checkpoint").read_bytes()
    mirrored.show(stories.late)
    mirrored.site.run("sync", expect=8)
    mirrored.site.run("quarantine", "lift", "1", "--reason", "the second server is gone")
    mirrored.site.run("sync")
    mirrored.ends("TreeFork critical", size=HONEST + MORE, quarantines=0)


def test_the_lying_checkpoint_alone_is_enough(
    mirrored: Mirrored, stories: Stories, tmp_path: Path
) -> None:
    mirrored.site.run("checkpoint", "add", stories.lie / "checkpoint")
    mirrored.show(stories.late)
    mirrored.site.run("sync", expect=4)
    mirrored.ends("RootHashMismatch critical", size=HONEST + MORE, quarantines=1)


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/001.p/54", "tile/1/000.p/1"])
@pytest.mark.parametrize("how", ["flip", "cut", "lose"])
def test_a_tampered_file_is_a_no_and_no_alert(
    mirrored: Mirrored, stories: Stories, name: str, how: str
) -> None:
    mirrored.show(stories.late)
    file = mirrored.published / name
    data = file.read_bytes()
    if how == "lose":
        file.unlink()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        file.write_bytes(flipped if how == "flip" else data[:middle])
    mirrored.site.run("sync", expect=7 if how == "lose" else 3)
    mirrored.ends(size=HONEST, quarantines=0)
