"""What anybody can check of a mirrored log without us: keys, signed notes, proofs, entries."""

from __future__ import annotations

import itertools
from base64 import b64encode
from collections.abc import Collection
from hashlib import sha256
from typing import Any, Final

from appliance.errors import ApplianceError
from appliance.jobs.local_tiles import told_apart
from appliance.jobs.our_tree import OurTree, our_tree
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.entries import parse_entry_bundle
from appliance.tlog.merkle import Hash
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.tile import WIDTH, EntryBundle

MAX_HEADS: Final = 16  # signed heads of a log; each has a proof that it is a prefix of the next


def key_described(key: VerifierKey) -> dict[str, Any]:
    """Describe a log's key in JSON's types; the fingerprint is SHA-256 of SubjectPublicKeyInfo."""
    return {
        "name": key.name,
        "keyId": key.key_id.hex(),
        "hash": key.prehash,
        "publicKey": b64encode(key.spki).decode(),
        "fingerprint": sha256(key.spki).hexdigest(),
        "retiredAtSize": key.max_size,
    }


def checkable(mirror: Mirror, found: Collection[tuple[int, int]] | None = None) -> dict[str, Any]:
    """Return a log's keys, up to 16 of its signed heads, proofs between them, and some entries.

    The entries are those that were `found`, each with the size of the tree that it is proven in,
    or (None) a look at three. What cannot be proven from what is here is left out, and
    `unproven` says why. That a log is quarantined hides nothing: what we hold of it is what it
    signed.
    """
    history, unproven = mirror.history, []
    sizes = _spread(history.accepted_sizes())
    mirrored = history.mirror_checkpoint()
    if mirrored is not None:
        size = mirrored.head.tree_size
        sizes.append(size)
        if found is None:
            found = [(at, size) for at in sorted({0, size // 2, size - 1}) if size]
    found = found or ()
    sizes = sorted({*sizes, *(size for _, size in found)})
    heads: list[dict[str, Any]] = []
    trees: dict[int, OurTree] = {}
    for size in sizes:
        note = history.newest_note(size)
        seen = history.at(size)
        try:
            signed = open_checkpoint(note, mirror.log.keys, mirror.log.origin)
        except ApplianceError as error:  # a key was revoked since, say
            unproven.append(f"size {size:,}: {error.message}")
            continue
        trees[size] = our_tree(mirror, signed.head)
        heads.append(
            {
                "treeSize": size,
                "rootHash": signed.head.root_hash.hex(),
                "firstSeenAt": None if seen is None else seen.first_seen_at,
                "note": note.decode(),
            }
        )
    proofs = []
    for old, new in itertools.pairwise(trees):
        try:
            hashes = _consistency(mirror, old, trees[new])
        except ApplianceError as error:
            unproven.append(f"{old:,} to {new:,}: {error.message}")
            continue
        proofs.append({"from": old, "to": new, "hashes": _encoded(hashes)})
    entries = []
    for index, size in found:
        try:
            if size in trees:
                entries.append(_entry(mirror, index, size, trees[size]))
        except ApplianceError as error:
            unproven.append(f"entry {index:,}: {error.message}")
    return {
        "keys": [key_described(key) for key in mirror.log.keys],
        "heads": heads,
        "consistency": proofs,
        "entries": entries,
        "unproven": unproven,
    }


def _consistency(mirror: Mirror, old: int, tree: OurTree) -> tuple[Hash, ...]:
    return told_apart(mirror, lambda: tree.prove_consistency(old))


def _entry(mirror: Mirror, index: int, size: int, tree: OurTree) -> dict[str, Any]:
    place, position = divmod(index, WIDTH)
    bundle = EntryBundle(place, min(WIDTH, size - place * WIDTH))
    body = parse_entry_bundle(mirror.read_entry_bundle(bundle), bundle)[position]
    hashes = told_apart(mirror, lambda: tree.prove_inclusion(index))
    return {
        "index": index,
        "treeSize": size,
        "hashes": _encoded(hashes),
        "body": b64encode(body).decode(),
    }


def _encoded(hashes: tuple[Hash, ...]) -> list[str]:
    return [one.hex() for one in hashes]


def _spread(sizes: list[int]) -> list[int]:
    """Choose sizes evenly; always the first and the last. An empty tree proves nothing."""
    sizes = [size for size in sizes if size]
    if len(sizes) <= MAX_HEADS:
        return sizes
    last = len(sizes) - 1
    return [sizes[place * last // (MAX_HEADS - 1)] for place in range(MAX_HEADS)]
