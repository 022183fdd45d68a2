"""A log whose entries are all the same, so that it can claim any size and prove every tile.

What takes 2^54 tiles to store takes eight hashes to make up: all tiles of a level are alike.
Whoever holds a log's key can sign such a tree for the price of one signature.
"""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from appliance.tlog.checkpoint import Checkpoint
from appliance.tlog.entries import format_entry_bundle
from appliance.tlog.merkle import Hash, TreeHead, leaf_hash, node_hash
from appliance.tlog.note import SigningKey, sign_note
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.proof import NodeId, range_root
from appliance.tlog.tile import (
    HEIGHT,
    EntryBundle,
    Tile,
    parse_entry_bundle_path,
    parse_tile_path,
)

ENTRY = b"the entry\n"


@functools.cache
def _perfect(height: int, leaf: Hash) -> Hash:
    return node_hash(below := _perfect(height - 1, leaf), below) if height else leaf


class UniformLog:
    """One log of any size; implements LogSource."""

    def __init__(
        self, tree_size: int, *, origin: str = "log.example", entry: bytes = ENTRY
    ) -> None:
        self.origin = origin
        self.tree_size = tree_size
        self.entry = entry
        self.signer = SigningKey(origin, sha256(f"simulated log {origin}".encode()).digest())
        self.description = f"uniform log {origin}"

    def _node(self, node: NodeId) -> Hash:
        return _perfect(node.height, leaf_hash(self.entry))

    @property
    def key(self) -> VerifierKey:
        """The key that observers pin."""
        return self.signer.verifier

    @property
    def head(self) -> TreeHead:
        """The published tree head."""
        return TreeHead(self.tree_size, range_root(range(self.tree_size), self._node))

    @property
    def exchange(self) -> Mapping[str, Any]:
        """Nothing: there is no network in between."""
        return {}

    def checkpoint(self) -> bytes:
        """Return the published note."""
        return sign_note(str(Checkpoint(self.origin, self.head, ())), [self.signer])

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Yield each wanted tile."""
        for tile in wanted:
            yield tile, self._node(NodeId(HEIGHT * tile.level, tile.index)) * tile.width

    def entry_bundles(self, wanted: Iterable[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Yield each wanted entry bundle."""
        for bundle in wanted:
            yield bundle, format_entry_bundle([self.entry] * bundle.width)

    def answer(self, path: str) -> bytes:
        """Answer one request; raises MalformedError for a path that is none."""
        if path == "checkpoint":
            return self.checkpoint()
        if path.startswith("tile/entries/"):
            [(_, data)] = self.entry_bundles([parse_entry_bundle_path(path)])
        else:
            [(_, data)] = self.tiles([parse_tile_path(path)])
        return data


@contextmanager
def served(answer: Any) -> Iterator[str]:
    """Serve what `answer` returns for a path, or raises: status 404; yield the URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            try:
                body, status = answer(self.path.lstrip("/")), 200
            except Exception:  # noqa: BLE001 whatever it is, it is not there
                body, status = b"", 404
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:  # else it would spin on a socket that is closed, for as long as the tests run
            server.shutdown()
            thread.join()
