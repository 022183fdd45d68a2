"""A log of any size in a home, as a sync leaves it: its entries are never in memory together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from appliance.jobs.home.init import init_home
from appliance.store.database import Store, open_store
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.entry_frames import compress_bundle
from appliance.store.mirror.logs import add_log, put_backend, require_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import Checkpoint, open_checkpoint
from appliance.tlog.growth import Edge, grow
from appliance.tlog.merkle import EMPTY_ROOT, TreeHead
from appliance.tlog.note import SigningKey, sign_note
from appliance.tlog.tile import edge_tiles

ORIGIN: Final = "bulk.example/log"
LOG_KEY: Final = SigningKey(ORIGIN, bytes(range(32)))
BATCH: Final = 65_536  # entries that are best appended together


class StoredLog:
    """A log that grows in the home that mirrors it."""

    def __init__(self, home: Path) -> None:
        init_home(home, "bench.example", "connected", lambda n: b"\x01" * n)
        self.home = home
        self.edge = Edge(TreeHead(0, EMPTY_ROOT), {}, ())
        with closing(open_store(home, write=True)) as store, store.atomic():
            log = add_log(store, ORIGIN, 2, LOG_KEY.verifier.spki)
            put_backend(store, "bulk", log, base_url=None, read_url=None)

    def append(self, bodies: Sequence[bytes]) -> None:
        """Let the log grow by these entries, and mirror them."""
        with closing(open_store(self.home, write=True)) as store:
            self._append(store, bodies)

    def _append(self, store: Store, bodies: Sequence[bytes]) -> None:
        log = require_log(store, ORIGIN)
        growth = grow(self.edge, bodies)
        packed = [compress_bundle(one) for one in growth.entry_bundles.values()]
        digests = store.blobs.put([*growth.tiles.values(), *packed])
        of_tiles, of_bundles = digests[: len(growth.tiles)], digests[len(growth.tiles) :]
        note = sign_note(str(Checkpoint(ORIGIN, growth.head)), [LOG_KEY])
        signed = open_checkpoint(note, log.keys, ORIGIN)
        with store.atomic():
            Mirror(store, log).put_rows(
                [
                    (log.id, tile.level, tile.index, tile.width, digest)
                    for tile, digest in zip(growth.tiles, of_tiles, strict=True)
                ],
                [
                    (log.id, bundle.index, bundle.width, digest, len(data))
                    for bundle, digest, data in zip(
                        growth.entry_bundles, of_bundles, packed, strict=True
                    )
                ],
            )
            Mirror(store, log).history.insert(
                signed, Arrival("direct", "made up", int(time.time()))
            )
            store.execute(
                "UPDATE log SET mirror_size = ? WHERE id = ?", [growth.head.tree_size, log.id]
            )
        tiles, rest = {**self.edge.tiles, **growth.tiles}, growth.head.tree_size % 256
        last = (*self.edge.entries, *bodies)[-rest:] if rest else ()
        edge = {one: tiles[one] for one in edge_tiles(growth.head.tree_size)}
        self.edge = Edge(growth.head, edge, last)
