"""Logs of any size in an instant: all entries are alike, and so are all tiles of a level.

They are real: each tile hashes to its parents, the head is signed, and every proof verifies.
Only the blobs are few, so a home as large as the public log takes as many rows and no disk.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from appliance.jobs.mirror.prove import logged_entry, sigstore_bundle
from appliance.rekor.request import HashedRekordRequest
from appliance.store.database import open_store
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import Checkpoint, open_checkpoint
from appliance.tlog.merkle import Hash, TreeHead, fold_peaks, leaf_hash, node_hash
from appliance.tlog.note import SigningKey, sign_note
from appliance.tlog.tile import Tile, edge_tiles, new_tiles
from appliance.tlog.tile_tree import TileTree
from scripts.measures.shape import attestor, run

ORIGIN = "bulk.example/log"
KEY = SigningKey(ORIGIN, bytes(range(32)))
ROWS = 20_000  # of a transaction


class MadeLog:
    """A log of equal entries."""

    def __init__(self, tree_size: int, entry: bytes = b"the same again") -> None:
        self.tree_size = tree_size
        self.entry = entry
        self.roots = [leaf_hash(entry)]  # of whole trees of 1, 2, 4, 8 leaves and so on
        while len(self.roots) < 64:
            self.roots.append(node_hash(self.roots[-1], self.roots[-1]))

    @property
    def head(self) -> TreeHead:
        """The signed size and its root."""
        bits = reversed(range(self.tree_size.bit_length()))
        peaks = [Hash(self.roots[bit]) for bit in bits if self.tree_size >> bit & 1]
        return TreeHead(self.tree_size, fold_peaks(peaks))

    @property
    def note(self) -> bytes:
        """The checkpoint."""
        return sign_note(str(Checkpoint(ORIGIN, self.head)), [KEY])

    def tile(self, tile: Tile) -> bytes:
        """Return a tile's hashes."""
        return self.roots[8 * tile.level] * tile.width

    def entry_bundle(self, width: int) -> bytes:
        """Return an entry bundle (c2sp.org/tlog-tiles)."""
        return (len(self.entry).to_bytes(2) + self.entry) * width

    def sigstore_bundle(self, entry_index: int, request: HashedRekordRequest) -> bytes:
        """Make the Sigstore bundle of its entry, which is that request's, at an index."""
        tree = TileTree(self.head)
        proof = tree.prove_inclusion(
            entry_index, lambda wanted: {tile: self.tile(tile) for tile in wanted}
        )
        checkpoint = open_checkpoint(self.note, [KEY.verifier], ORIGIN)
        return sigstore_bundle(logged_entry(entry_index, self.entry, checkpoint, proof), request)

    def answer(self, path: str) -> bytes | None:
        """Return what a server of this log answers for a path below its read prefix."""
        if path == "checkpoint":
            return self.note
        kind, level, *rest = path.split("/")
        width = 256
        if kind == "tile" and len(rest) > 1 and rest[-2].endswith(".p"):
            width = int(rest[-1])
        if level == "entries":
            return self.entry_bundle(width)
        return self.tile(Tile(int(level), 0, width))

    def store(self, home: Path, url: str = "http://127.0.0.1:1/") -> None:
        """Make a home that mirrors it, as a sync leaves it."""
        run(attestor("--home", home, "init", "--site", "bench.example"))
        self.add_backend(home, url)
        self.fill(home, 0)

    @staticmethod
    def add_backend(home: Path, url: str | None = None) -> None:
        """Have a home know it; without a URL only by its key."""
        (home / "bulk.pub").write_text(KEY.verifier.vkey + "\n")
        read = () if url is None else ("--read-url", url)
        named = ("--origin", ORIGIN, "--public-key", home / "bulk.pub", *read)
        run(attestor("--home", home, "backend", "add", "bulk", *named))

    def fill(self, home: Path, old_size: int) -> None:
        """Store what is new since a size, and accept the head."""
        with closing(open_store(home, write=True)) as store:
            log = require_log(store, ORIGIN)
            mirror = Mirror(store, log)
            signed = open_checkpoint(self.note, log.keys, ORIGIN)
            mirror.accept(signed, Arrival("direct", "made up", int(time.time())), {})
            edge = {tile: self.tile(tile) for tile in edge_tiles(self.tree_size)}
            levels = range((self.tree_size.bit_length() + 7) // 8)
            full = {Tile(level, 0): self.roots[8 * level] * 256 for level in levels}
            digests = dict(zip(full, store.blobs.put(list(full.values())), strict=True))
            new = (tile for tile in new_tiles(old_size, self.tree_size) if tile.is_full)
            while batch := list(islice(new, ROWS)):
                rows = [
                    (log.id, one.level, one.index, 256, digests[Tile(one.level, 0)])
                    for one in batch
                ]
                with store.atomic():
                    mirror.put_rows(rows, [])
            mirror.add(edge, {})


class GrowingLog(MadeLog):
    """The same, as large as a file says at the moment."""

    def __init__(self, size_file: str) -> None:
        self.size_file = Path(size_file)
        super().__init__(int(self.size_file.read_text()))

    def answer(self, path: str) -> bytes | None:
        """Return what it answers now."""
        self.tree_size = int(self.size_file.read_text())
        return super().answer(path)


SERVER = """
import heapq, select, socket, sys, time
sys.path.insert(0, {root!r})
from scripts.measures.{module} import {name}
log = {name}({arguments})
listening = socket.create_server(("127.0.0.1", 0), backlog=256)
print(listening.getsockname()[1], flush=True)
poll, open_ones, due, cache = select.poll(), {{}}, [], {{}}
poll.register(listening, select.POLLIN)
while True:
    left = max(0, (due[0][0] - time.monotonic()) * 1000) if due else None
    for number, _ in poll.poll(left):
        if number == listening.fileno():
            client, _ = listening.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.settimeout(60)
            open_ones[client.fileno()] = [client, b""]
            poll.register(client, select.POLLIN)
            continue
        client, pending = open_ones[number]
        try:
            got = client.recv(65536)
        except OSError:
            got = b""
        if not got:
            poll.unregister(number)
            client.close()
            del open_ones[number]
            continue
        pending += got
        while b"\\r\\n\\r\\n" in pending:
            head, pending = pending.split(b"\\r\\n\\r\\n", 1)
            path = head.split(b" ", 2)[1].decode().lstrip("/")
            heapq.heappush(due, (time.monotonic() + {latency}, number, path))
        open_ones[number][1] = pending
    now = time.monotonic()
    while due and due[0][0] <= now:
        _, number, path = heapq.heappop(due)
        if number in open_ones:
            body = log.answer(path)
            head = b"HTTP/1.1 %s\\r\\nContent-Length: %d\\r\\n\\r\\n" % (
                b"404 No" if body is None else b"200 OK", len(body or b""))
            try:
                open_ones[number][0].sendall(head + (body or b""))
            except OSError:
                pass
"""


@contextmanager
def served(
    arguments: str, *, latency: float = 0.0, module: str = "made_log", name: str = "MadeLog"
) -> Iterator[str]:
    """Serve a log over HTTP in a process of its own, which makes it; yields the URL.

    `latency`: seconds before each answer.
    """
    root = str(Path(__file__).resolve().parents[2])
    code = SERVER.format(root=root, module=module, name=name, arguments=arguments, latency=latency)
    with listening([sys.executable, "-c", code]) as url:
        yield url


@contextmanager
def listening(command: Sequence[str]) -> Iterator[str]:
    """Run a server that prints its port once it listens; yields the URL."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{int(child.stdout.readline())}/"
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
