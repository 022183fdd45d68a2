"""What rekor-server-posix does to its storage, by the plain recursions of RFC 6962."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path

from appliance.tlog.checkpoint import Checkpoint
from appliance.tlog.entries import format_entry_bundle, parse_entry_bundle
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.note import SigningKey, sign_note
from appliance.tlog.tile import new_entry_bundles, tiles_of
from tests.tlog import reference


class OtherServer:
    """A server that has just started on a storage."""

    def __init__(self, storage: Path, key: SigningKey) -> None:
        self.storage = storage
        self.key = key
        version = (storage / ".state" / "version").read_text()
        if version != "1":
            raise ValueError(f"it does not start: version {version!r}")

    @property
    def head(self) -> TreeHead:
        """What it appended last; raises ValueError where it would fail as well."""
        state = json.loads((self.storage / ".state" / "treeState").read_text())
        return TreeHead(state["size"], Hash(b64decode(state["root"])))

    @property
    def entries(self) -> list[bytes]:
        found: list[bytes] = []
        for bundle in new_entry_bundles(0, self.head.tree_size):
            found += parse_entry_bundle((self.storage / bundle.path).read_bytes(), bundle)
        assert reference.tree_hash(found) == self.head.root_hash
        return found

    def append(self, bodies: Sequence[bytes]) -> None:
        """Integrate entries, without a checkpoint."""
        self.write([*self.entries, *bodies])

    def write(self, entries: Sequence[bytes]) -> None:
        """Make the storage one of these entries."""
        size = len(entries)
        for bundle in new_entry_bundles(0, size):
            first = 256 * bundle.index
            part = entries[first : first + bundle.width]
            self._put(bundle.path, format_entry_bundle(part))
        for tile in tiles_of(size):
            data = reference.tile_hashes(tile.level, tile.index, tile.width, entries)
            self._put(tile.path, data)
        root = b64encode(reference.tree_hash(entries)).decode()
        self._put(".state/treeState", json.dumps({"size": size, "root": root}).encode())

    def publish(self) -> bytes:
        """Sign what was integrated."""
        note = sign_note(str(Checkpoint(self.key.name, self.head)), [self.key])
        self._put("checkpoint", note)
        return note

    def grow(self, bodies: Sequence[bytes]) -> bytes:
        self.append(bodies)
        return self.publish()

    def _put(self, path: str, data: bytes) -> None:
        file = self.storage / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
