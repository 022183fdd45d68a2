"""A real log in memory: it hashes, signs and serves, and on request it fails, lies or forks.

It implements LogSource, so every job that takes a log's server takes a SimulatedLog, and
nothing has to be patched. A test reads as a story:

    log = SimulatedLog()                    # origin log.example, deterministic Ed25519 key
    log.grow(300)                           # 300 entries, published in a signed checkpoint
    sync(log, ...)
    log.grow([b"one", b"two"])              # these very entries

    twin = log.fork(at=120)                 # the same log, caught lying: another leaf 120
    sync(twin, ...)                         # must raise DivergenceError

    log.roll_back(to=200)                   # a replica that lags behind: an old checkpoint
    log.stall()                             # the checkpoint stands still while grow() adds
    log.resume()                            # publish all there is again
    log.freeze()                            # the freeze line of a Rekor shard that was shut

    log.lie(Tile(0, 0))                     # one bit of this tile is wrong from now on
    log.lie(EntryBundle(1, 44), b"junk")    # or exactly these bytes, for any path it serves
    log.truncate(Tile(1, 0, 1), n_bytes=31) # too short
    log.lose(Tile(0, 0))                    # not found
    log.tell_the_truth()                    # undo the four above

    log.fail_on(3)                          # the third request from now raises RemoteError
    log.requests                            # every path that was asked for, in order

    log.key, log.head, log.head_at(7), log.checkpoint_at(7)     # what an observer pins, sees
    log.inclusion_proof(5), log.consistency_proof(100)          # in the published tree
    log.write_static(directory)             # a tlog-tiles directory for any static server

Things come in reverse order, because a LogSource promises none. One tile, one entry
bundle and one checkpoint are a request each. 100,000 entries take about half a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError, RemoteError
from appliance.tlog.checkpoint import Checkpoint
from appliance.tlog.entries import format_entry_bundle
from appliance.tlog.merkle import HASH_BYTES, Hash, TreeHead, leaf_hash, node_hash
from appliance.tlog.note import SigningKey, sign_note
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.proof import (
    NodeId,
    build_proof,
    consistency_plan,
    inclusion_plan,
    range_root,
)
from appliance.tlog.tile import (
    HEIGHT,
    WIDTH,
    EntryBundle,
    Tile,
    new_entry_bundles,
    parse_entry_bundle_path,
    parse_tile_path,
    tiles_of,
)

FROZEN_AT = "Thu Jan  1 00:00:00 UTC 2026"


class SimulatedLog:
    """One log, honest until told otherwise. See the module's docstring."""

    def __init__(self, origin: str = "log.example", *, salt: str = "") -> None:
        self.origin = origin
        self.salt = salt  # tells the entries of a fork from those of its twin
        self.signer = SigningKey(origin, sha256(f"simulated log {origin}".encode()).digest())
        self.entries: list[bytes] = []
        self.tree_size = 0  # of the published checkpoint; len(entries) may be ahead of it
        self.extensions: tuple[str, ...] = ()  # of the published checkpoint
        self.requests: list[str] = []
        self._nodes = [bytearray()]  # by height: the hashes of all perfect nodes
        self._stalled = False
        self._lies: dict[str, bytes | None] = {}  # by path; None: not found
        self._failures: dict[int, ApplianceError] = {}  # by position in `requests`

    # What an observer knows.

    @property
    def key(self) -> VerifierKey:
        """The key that observers pin."""
        return self.signer.verifier

    @property
    def head(self) -> TreeHead:
        """The published tree head."""
        return self.head_at(self.tree_size)

    def head_at(self, tree_size: int) -> TreeHead:
        """Return the tree head over the first entries, published or not."""
        return TreeHead(tree_size, range_root(range(tree_size), self.node))

    def checkpoint_at(self, tree_size: int, *extensions: str) -> bytes:
        """Return the signed checkpoint of one size."""
        return sign_note(
            str(Checkpoint(self.origin, self.head_at(tree_size), extensions)), [self.signer]
        )

    def leaf(self, entry_index: int) -> Hash:
        """Return the leaf hash of an entry."""
        return self.node(NodeId(0, entry_index))

    def node(self, node: NodeId) -> Hash:
        """Return the hash of a perfect node; raises IndexError if there is none yet."""
        start = node.index * HASH_BYTES
        found = bytes(self._nodes[node.height][start : start + HASH_BYTES])
        if len(found) != HASH_BYTES:
            raise IndexError(f"{self.origin} has no {node} yet")
        return Hash(found)

    def inclusion_proof(self, entry_index: int, tree_size: int | None = None) -> tuple[Hash, ...]:
        """Prove an entry in the published tree, or in the one of `tree_size`."""
        size = self.tree_size if tree_size is None else tree_size
        return build_proof(inclusion_plan(entry_index, size), self.node)

    def consistency_proof(self, old_size: int, new_size: int | None = None) -> tuple[Hash, ...]:
        """Prove a prefix of the published tree, or of the one of `new_size`."""
        size = self.tree_size if new_size is None else new_size
        return build_proof(consistency_plan(old_size, size), self.node)

    # What the log does over time.

    def grow(self, more: int | Iterable[bytes] = 1) -> TreeHead:
        """Append `more` made-up entries, or these; publish, unless stalled."""
        if isinstance(more, int):
            start = len(self.entries)
            more = [self._made_up_entry(index) for index in range(start, start + more)]
        added = list(more)
        self.entries += added
        self._nodes[0] += b"".join(map(leaf_hash, added))
        self._hash_up()
        if not self._stalled:
            self.resume()
        return self.head

    def _made_up_entry(self, entry_index: int) -> bytes:
        return f"entry {entry_index} of {self.origin}{self.salt}\n".encode()

    def _hash_up(self) -> None:
        height = 0
        while len(children := self._nodes[height]) >= 2 * HASH_BYTES:
            height += 1
            if height == len(self._nodes):
                self._nodes.append(bytearray())
            parents = self._nodes[height]
            whole_pairs = len(children) // (2 * HASH_BYTES) * 2 * HASH_BYTES
            for start in range(2 * len(parents), whole_pairs, 2 * HASH_BYTES):
                middle, stop = start + HASH_BYTES, start + 2 * HASH_BYTES
                parents += node_hash(bytes(children[start:middle]), bytes(children[middle:stop]))

    def fork(self, at: int) -> SimulatedLog:
        """Return this log's lying twin: the same key and size, other entries from `at` on.

        Both grow on, each with entries of its own. `at` may be the size: then they part
        only when they grow.
        """
        twin = SimulatedLog(self.origin, salt=f"{self.salt} (forked at {at})")
        twin.grow(self.entries[:at])
        twin.grow(len(self.entries) - at)
        twin.tree_size, twin.extensions = self.tree_size, self.extensions
        twin._stalled = self._stalled
        return twin

    def roll_back(self, to: int) -> None:
        """Publish the checkpoint of an earlier size, until grow() or resume()."""
        if not 0 <= to <= len(self.entries):
            raise ValueError(f"{self.origin} was never {to} entries long")
        self.tree_size = to

    def stall(self) -> None:
        """Let the checkpoint stand still while entries are added, until resume()."""
        self._stalled = True

    def resume(self) -> None:
        """Publish everything there is."""
        self._stalled = False
        self.tree_size = len(self.entries)

    def freeze(self, at: str = FROZEN_AT) -> None:
        """Sign the last checkpoint again with the line of a frozen Rekor shard."""
        self.extensions = (f"Log frozen \N{EM DASH} {at}",)

    # How the log misbehaves.

    def lie(self, about: Tile | EntryBundle | str, data: bytes | None = None) -> None:
        """Serve `data` here from now on; without it, the truth with one bit flipped."""
        path = about if isinstance(about, str) else about.path
        if data is None:
            truth = self._truth(path)
            data = truth[:-1] + bytes([truth[-1] ^ 1])
        self._lies[path] = data

    def truncate(self, what: Tile | EntryBundle | str, n_bytes: int) -> None:
        """Serve only the first `n_bytes` of this from now on."""
        path = what if isinstance(what, str) else what.path
        self._lies[path] = self._truth(path)[:n_bytes]

    def lose(self, what: Tile | EntryBundle | str) -> None:
        """Answer "not found" here from now on."""
        self._lies[what if isinstance(what, str) else what.path] = None

    def tell_the_truth(self) -> None:
        """Forget all lies, truncations, losses and failures still to come."""
        self._lies.clear()
        self._failures.clear()

    def fail_on(self, request: int, error: ApplianceError | None = None) -> None:
        """Raise `error` (else RemoteError) on the n-th request from now, counted from 1."""
        self._failures[len(self.requests) + request - 1] = error or RemoteError(
            f"{self.description}: connection reset", reason="unreachable"
        )

    # LogSource.

    @property
    def description(self) -> str:
        """What messages and evidence call this source."""
        return f"simulated log {self.origin}"

    @property
    def exchange(self) -> Mapping[str, Any]:
        """Nothing: there is no network in between."""
        return {}

    def checkpoint(self) -> bytes:
        """Return the published note."""
        return self.answer("checkpoint")

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Yield each wanted tile, last one first."""
        for tile in reversed(list(wanted)):
            yield tile, self.answer(tile.path)

    def entry_bundles(self, wanted: Iterable[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Yield each wanted entry bundle, last one first."""
        for bundle in reversed(list(wanted)):
            yield bundle, self.answer(bundle.path)

    def answer(self, path: str) -> bytes:
        """Answer one request, as a server of this path would."""
        self.requests.append(path)
        failure = self._failures.pop(len(self.requests) - 1, None)
        if failure is not None:
            raise failure
        data = self._lies[path] if path in self._lies else self._truth(path)
        if data is None:
            raise RemoteError(f"{self.description}: {path}: not found", reason="not-found")
        return data

    def _truth(self, path: str) -> bytes:
        if path == "checkpoint":
            return self.checkpoint_at(self.tree_size, *self.extensions)
        if path.startswith("tile/entries/"):
            bundle = parse_entry_bundle_path(path)
            start = bundle.index * WIDTH
            found = self.entries[start : start + bundle.width]
            complete, data = len(found) == bundle.width, format_entry_bundle(found)
        else:
            tile = parse_tile_path(path)
            height = HEIGHT * tile.level
            hashes = self._nodes[height] if height < len(self._nodes) else bytearray()
            first = tile.index * WIDTH * HASH_BYTES
            data = bytes(hashes[first : first + tile.width * HASH_BYTES])
            complete = len(data) == tile.width * HASH_BYTES
        if not complete:
            raise RemoteError(f"{self.description}: {path}: not found", reason="not-found")
        return data

    # A directory that any static server can serve.

    def write_static(self, directory: Path) -> None:
        """Lay the published log out as a tlog-tiles directory, lies and losses included.

        Call it again after grow(): what an earlier size left behind stays, as on a real
        server.
        """
        bundles = new_entry_bundles(0, self.tree_size)
        for path in [
            *(tile.path for tile in tiles_of(self.tree_size)),
            *(bundle.path for bundle in bundles),
            "checkpoint",
        ]:
            data = self._lies[path] if path in self._lies else self._truth(path)
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if data is None:
                target.unlink(missing_ok=True)
            else:
                target.write_bytes(data)
