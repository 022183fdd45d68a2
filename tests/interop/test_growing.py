"""A log of ours that outgrows us: moved to the real rekor-server-posix, grown there, and back.

One URL stands before whoever has the log, as a proxy of its operator would; its clients and
mirrors are told of nothing. 600 entries that grow by 60 twice; with ATTESTOR_GROWING=5000 as
many, and a tenth.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.store.database import open_store
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import require_private_log
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.entries import parse_entry_bundle
from appliance.tlog.note_keys import VerifierKey, parse_vkey
from appliance.tlog.tile import new_entry_bundles
from tests.interop.attestor import COMMAND, Site
from tests.interop.rekor_client import log_all, post
from tests.interop.rekor_server import peer, server_on
from tests.interop.service import service
from tests.interop.signed_artifact import SignedArtifact, body_of, sign_artifact
from tests.serve.running_log import verified_index
from tests.tlog import reference

pytestmark = pytest.mark.interop

ORIGIN: Final = "log.example"
FIRST: Final = int(os.environ.get("ATTESTOR_GROWING", "600"))
MORE: Final = FIRST // 10


class Front:
    """One URL for a log, wherever it is: a server below it, or a server for what is posted."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.server = ""  # URL of who takes entries
        self.storage: Path | None = None  # what is read; None: from that server


@contextmanager
def front() -> Iterator[Front]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if it.storage is None:
                self._forward(None)
                return
            file = it.storage / self.path.removeprefix("/api/v2/")
            self._answer(200, file.read_bytes()) if file.is_file() else self._answer(404, b"")

        def do_POST(self) -> None:
            self._forward(self.rfile.read(int(self.headers["Content-Length"])))

        def _forward(self, body: bytes | None) -> None:
            where = urlsplit(it.server)
            connection = HTTPConnection(where.hostname or "", where.port, timeout=60)
            try:
                connection.request(self.command, self.path, body)
                answer = connection.getresponse()
                self._answer(answer.status, answer.read())
            except OSError:
                self._answer(502, b"")
            finally:
                connection.close()

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    with Server(("127.0.0.1", 0), Handler) as server:
        it = Front(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield it
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def served(log: Site, directory: Path, there: Front) -> Iterator[None]:
    def command(ports: Sequence[int]) -> list[str | Path]:
        bind = f"127.0.0.1:{ports[0]}"
        return [COMMAND, "--home", log.home, "log", "serve", "--bind", bind]

    with service(command, 1, directory / "serve.log") as url:
        there.server, there.storage = url, None
        yield


@contextmanager
def served_by_rekor(storage: Path, key_file: Path, directory: Path, there: Front) -> Iterator[None]:
    with server_on(storage, key_file, ORIGIN, directory) as server:
        there.server, there.storage = server.url, storage
        yield


class Story:
    """All that was ever logged, and every proof that was ever given."""

    def __init__(self, there: Front, key: VerifierKey) -> None:
        self.there = there
        self.key = key
        self.signer = ec.generate_private_key(ec.SECP256R1())
        self.artifacts: dict[int, SignedArtifact] = {}
        self.answers: dict[int, dict[str, Any]] = {}

    def grow(self, count: int) -> None:
        start = len(self.artifacts)
        fresh = [sign_artifact(self.signer, b"artifact %d" % (start + n)) for n in range(count)]
        for artifact, answer in zip(fresh, log_all(self.there.url, fresh), strict=True):
            index = verified_index(answer, self.key)
            assert index not in self.artifacts
            self.artifacts[index], self.answers[index] = artifact, answer
        assert sorted(self.artifacts) == [*range(start + count)]

    @property
    def entries(self) -> list[bytes]:
        return [body_of(self.answers[index]) for index in range(len(self.answers))]

    def holds(self) -> None:
        """Check that every proof ever given is of the one tree there is."""
        entries = self.entries
        roots: dict[int, bytes] = {}
        for index, answer in self.answers.items():
            assert verified_index(answer, self.key) == index
            note = answer["inclusionProof"]["checkpoint"]["envelope"].encode()
            head = open_checkpoint(note, [self.key], ORIGIN).head
            assert roots.setdefault(head.tree_size, head.root_hash) == head.root_hash
        for size, root in roots.items():
            assert reference.tree_hash(entries[:size]) == root, size


def fsck(url: str, key: VerifierKey, directory: Path) -> None:
    """Have Tessera's own tool check a whole log."""
    vkey = directory / "log.vkey"
    vkey.write_text(key.vkey)
    words = [f"--storage_url={url}", f"--public_key={vkey}", "--ui=false", "-v=1"]
    done = subprocess.run(
        [peer("fsck"), *words], capture_output=True, text=True, timeout=120, check=False
    )
    # It ends with 0 whatever it found.
    assert done.returncode == 0 and "fsck failed" not in done.stderr, done.stderr
    assert "Completed ranges" in done.stderr, done.stderr


def test_fsck_notices(tmp_path: Path) -> None:
    """What the tests below rest on: it does fail."""
    log = Site(tmp_path / "home")
    log.run("init", "--site", "interop")
    log.run("log", "create", "build", "--origin", ORIGIN)
    key = parse_vkey(log.run("log", "status")["logs"][0]["vkey"])
    with front() as there, served(log, tmp_path, there):
        Story(there, key).grow(3)
    log.run("log", "move", "--to", tmp_path / "storage")
    fsck(f"file://{tmp_path / 'storage'}/", key, tmp_path)
    tile = tmp_path / "storage" / "tile" / "0" / "000.p" / "3"
    tile.write_bytes(bytes(96))
    with pytest.raises(AssertionError, match="fsck failed"):
        fsck(f"file://{tmp_path / 'storage'}/", key, tmp_path)


def test_a_log_grows_beyond_us_and_comes_back_as_one_tree(tmp_path: Path) -> None:
    log = Site(tmp_path / "home")
    log.run("init", "--site", "interop")
    log.run("log", "create", "build", "--origin", ORIGIN)
    key = parse_vkey(log.run("log", "status")["logs"][0]["vkey"])
    root = tmp_path / "trusted_root.json"
    log.run("log", "trusted-root", "--output", root)
    mirrors = [Site(tmp_path / name) for name in ("mirror", "tiles-only")]
    with front() as there:
        story = Story(there, key)

        def everybody_syncs(relation: str) -> None:
            for mirror, option in zip(mirrors, ("--entries", "--full-tiles"), strict=True):
                [done] = mirror.run("sync", option)["backends"]
                assert done["relation"] == relation, done
                assert done["mirrorSize"] == len(story.answers)

        def fsck_all(*urls: str) -> None:
            for url in urls:
                fsck(url, key, tmp_path)

        with served(log, tmp_path, there):
            for mirror in mirrors:
                mirror.run("init", "--site", "interop")
                mirror.run(
                    *("backend", "add", "log", "--origin", ORIGIN, "--url", there.url),
                    *("--public-key", _vkey_file(tmp_path, key)),
                )
            story.grow(FIRST - 1)
            everybody_syncs("first")
            story.grow(1)
            everybody_syncs("ahead")
            fsck_all(f"{there.url}/api/v2/")

        storage, key_file = tmp_path / "storage", tmp_path / "log.key.pem"
        moved = log.run("log", "move", "--to", storage, "--write-key", key_file)
        assert moved["treeSize"] == FIRST
        fsck_all(f"file://{storage}/")
        log.run("log", "add", _request(tmp_path, story.signer), expect=8)

        with served_by_rekor(storage, key_file, tmp_path, there):
            story.grow(MORE)
            everybody_syncs("ahead")
            # Idle, it holds no lock; it is seen all the same.
            log.run("log", "adopt", storage, expect=8)
            story.grow(1)
            everybody_syncs("ahead")
        fsck_all(f"file://{storage}/")
        story.holds()

        back = log.run("log", "adopt", storage)
        assert (back["treeSize"], back["oldSize"]) == (FIRST + MORE + 1, FIRST)
        fsck_all(f"file://{storage}/")
        with served(log, tmp_path, there):
            status, answer = post(there.url, story.artifacts[FIRST + 3].request())
            assert (status, answer["code"]) == (409, 6)  # logged there, known here
            story.grow(MORE)
            everybody_syncs("ahead")
            fsck_all(f"{there.url}/api/v2/")
        story.holds()

        # An adopted storage is nobody's to start on.
        with (
            pytest.raises(AssertionError, match="did not start"),
            served_by_rekor(storage, key_file, tmp_path, there),
        ):
            pass

        # And there again.
        log.run("log", "move", "--to", tmp_path / "second", "--write-key", key_file)
        with served_by_rekor(tmp_path / "second", key_file, tmp_path, there):
            story.grow(3)
            everybody_syncs("ahead")
        fsck_all(f"file://{tmp_path / 'second'}/")
        story.holds()
    assert _entries(log) == story.entries[: FIRST + 2 * MORE + 1]
    for index in (0, FIRST - 1, FIRST, FIRST + MORE, FIRST + 2 * MORE):
        artifact = tmp_path / "artifact"
        artifact.write_bytes(story.artifacts[index].content)
        bundle = tmp_path / "artifact.sigstore.json"
        bundle.write_bytes(story.artifacts[index].sigstore_bundle(story.answers[index]))
        signer = tmp_path / "signer.pem"
        signer.write_bytes(
            story.signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        mirrors[0].run(
            *("verify", artifact, "--bundle", bundle, "--key", signer, "--trusted-root", root),
            "--require-mirror",
        )


def test_a_server_that_runs_through_an_adoption_signs_nothing_more(tmp_path: Path) -> None:
    """Somebody forgets to stop it, and it is nowhere to be seen: in another container, say."""
    log = Site(tmp_path / "home")
    log.run("init", "--site", "interop")
    log.run("log", "create", "build", "--origin", ORIGIN)
    key = parse_vkey(log.run("log", "status")["logs"][0]["vkey"])
    storage, key_file = tmp_path / "storage", tmp_path / "log.key.pem"
    with front() as there:
        story = Story(there, key)
        with served(log, tmp_path, there):
            story.grow(5)
        log.run("log", "move", "--to", storage, "--write-key", key_file)
        with served_by_rekor(storage, key_file, tmp_path, there):
            story.grow(5)
            note = (storage / "checkpoint").read_bytes()
            # What it calls its storage leads nowhere while we look, as from another container.
            elsewhere = tmp_path / "elsewhere"
            storage.rename(elsewhere)
            log.run("log", "adopt", elsewhere)
            elsewhere.rename(storage)
            refused = sign_artifact(story.signer, b"a fork")
            status, _ = post(there.url, refused.request())
            assert status >= 500
            assert (storage / "checkpoint").read_bytes() == note
        with served(log, tmp_path, there):
            story.grow(5)
    story.holds()


def _vkey_file(directory: Path, key: VerifierKey) -> Path:
    file = directory / "pinned.vkey"
    file.write_text(key.vkey)
    return file


def _request(directory: Path, signer: ec.EllipticCurvePrivateKey) -> Path:
    file = directory / "request.json"
    file.write_bytes(sign_artifact(signer, b"not here").request())
    return file


def _entries(log: Site) -> list[bytes]:
    store = open_store(log.home, write=False)
    try:
        mirror = Mirror(store, require_private_log(store, None).log)
        head = mirror.history.mirror_checkpoint()
        assert head is not None
        found: list[bytes] = []
        for bundle in new_entry_bundles(0, head.head.tree_size):
            found += parse_entry_bundle(mirror.read_entry_bundle(bundle), bundle)
        return found
    finally:
        store.close()
