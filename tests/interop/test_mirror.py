"""The real server's log, mirrored, audited, proven and verified with the attestor command."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.store.database import open_store
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.tile import new_entry_bundles, tiles_of
from tests.interop.attestor import Site
from tests.interop.conftest import FIRST_ENTRIES, RealLog
from tests.interop.proof_oracle import ask_go
from tests.interop.signed_artifact import note_log_id, trusted_root
from tests.tlog import reference

pytestmark = pytest.mark.interop

MORE_ENTRIES = 320  # beyond the first; together 650: two full tiles and a partial one
PROOFS = 20


@dataclass(frozen=True, slots=True)
class MirroredLog:
    """The real log, and a site that has all of it."""

    log: RealLog
    site: Site
    trusted_root: Path

    @property
    def head(self) -> TreeHead:
        """The head of everything the server answered, by the recursion of RFC 6962."""
        entries = self.log.entries
        return TreeHead(len(entries), Hash(reference.tree_hash(entries)))


@pytest.fixture(scope="module")
def mirrored(real_log: RealLog, tmp_path_factory: pytest.TempPathFactory) -> MirroredLog:
    """Sync twice with growth between, so that the second sync has to prove consistency."""
    directory = tmp_path_factory.mktemp("site")
    server = real_log.server
    root = directory / "trusted_root.json"
    log_id = note_log_id(server.origin, server.spki)
    root.write_bytes(trusted_root(server.origin, server.spki, log_id))
    site = Site(directory / "home")
    site.run("init", "--site", "interop")
    site.run(
        *("backend", "add", "real", "--origin", server.origin, "--public-key", server.public_key),
        *("--url", server.url, "--read-url", server.read_url),
    )
    site.run("sync", "--entries")
    real_log.grow(MORE_ENTRIES)
    site.run("sync", "--entries")
    return MirroredLog(real_log, site, root)


@pytest.fixture
def mirror(mirrored: MirroredLog) -> Iterator[Mirror]:
    store = open_store(mirrored.site.home, write=False)
    yield Mirror(store, require_log(store, mirrored.log.server.origin))
    store.close()


def test_the_mirror_checkpoint_is_the_one_the_server_signed(
    mirrored: MirroredLog, mirror: Mirror
) -> None:
    checkpoint = mirror.history.mirror_checkpoint()
    assert checkpoint is not None
    assert checkpoint.head == mirrored.head
    assert checkpoint.note == (mirrored.log.server.storage / "checkpoint").read_bytes()


def test_every_tile_is_the_server_s_byte_for_byte(mirrored: MirroredLog, mirror: Mirror) -> None:
    storage = mirrored.log.server.storage
    for tile in tiles_of(mirrored.head.tree_size):
        assert mirror.read_tiles([tile])[tile] == (storage / tile.path).read_bytes()
    for bundle in new_entry_bundles(0, mirrored.head.tree_size):
        assert mirror.read_entry_bundle(bundle) == (storage / bundle.path).read_bytes()


def test_tiles_stats_says_everything_is_here(mirrored: MirroredLog) -> None:
    stats = mirrored.site.run("tiles", "stats", "--backend", "real")
    assert json.dumps(stats).count("100") >= 1


def test_tiles_verify_rebuilds_the_signed_root(mirrored: MirroredLog) -> None:
    audit = mirrored.site.run("tiles", "verify", "--backend", "real")
    assert mirrored.head.root_hash.hex() in json.dumps(audit)


def test_inclusion_proofs_are_those_of_independent_implementations(mirrored: MirroredLog) -> None:
    size = mirrored.head.tree_size
    chosen = random.SystemRandom().sample(range(size), PROOFS)
    ours = [prove(mirrored, "--index", index) for index in chosen]
    entries = mirrored.log.entries
    assert ours == [reference.path(index, entries) for index in chosen]
    assert ours == ask_go(entries, [(index, size) for index in chosen], []).inclusion


def test_consistency_proofs_are_those_of_independent_implementations(
    mirrored: MirroredLog,
) -> None:
    size = mirrored.head.tree_size
    chosen = random.SystemRandom().sample(range(1, size + 1), PROOFS)
    ours = [prove(mirrored, "--from-size", old) for old in chosen]
    entries = mirrored.log.entries
    assert ours == [reference.proof(old, entries) for old in chosen]
    assert ours == ask_go(entries, [], [(old, size) for old in chosen]).consistency


def test_a_proof_file_proves_the_entry_with_nothing_but_the_key(
    mirrored: MirroredLog, tmp_path: Path
) -> None:
    index = FIRST_ENTRIES  # the first that came after the first sync
    proof, entry = tmp_path / "entry.tlog-proof", tmp_path / "entry"
    entry.write_bytes(mirrored.log.entries[index])
    origin = mirrored.log.server.origin
    mirrored.site.run("prove", "--origin", origin, "--index", str(index), "--output", proof)
    mirrored.site.run("proof", "verify", proof, "--entry", entry)
    entry.write_bytes(mirrored.log.entries[index - 1])
    mirrored.site.run("proof", "verify", proof, "--entry", entry, expect=3)


@pytest.mark.parametrize("index", [0, 255, 329, 330, 649])
def test_verify_accepts_what_was_logged(mirrored: MirroredLog, tmp_path: Path, index: int) -> None:
    verdict = mirrored.site.run("verify", *files(mirrored, tmp_path, index), "--require-mirror")
    assert verdict


def test_verify_refuses_another_artifact(mirrored: MirroredLog, tmp_path: Path) -> None:
    arguments = files(mirrored, tmp_path, 7)
    (tmp_path / "artifact").write_bytes(b"not what was signed\n")
    mirrored.site.run("verify", *arguments, expect=3)


def prove(mirrored: MirroredLog, option: str, value: int) -> list[bytes]:
    """Return the hashes of one proof, as the command gives them."""
    origin = mirrored.log.server.origin
    proof = mirrored.site.run("prove", "--origin", origin, option, str(value))
    return [bytes.fromhex(one) for one in proof["hashes"]]


def files(mirrored: MirroredLog, directory: Path, index: int) -> list[str | Path]:
    """Write one logged artifact, its bundle and its key; return the arguments of verify."""
    artifact = mirrored.log.artifacts[index]
    content = directory / "artifact"
    content.write_bytes(artifact.content)
    bundle = directory / "artifact.sigstore.json"
    bundle.write_bytes(artifact.sigstore_bundle(mirrored.log.answers[index]))
    key = directory / "signer.pub.pem"
    public_key = mirrored.log.signer.public_key()
    key.write_bytes(public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    options: list[str | Path] = ["--bundle", bundle, "--key", key]
    return [content, *options, "--trusted-root", mirrored.trusted_root]
