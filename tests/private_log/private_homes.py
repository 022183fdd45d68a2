"""Homes that run a private log, for the tests of everything around it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.jobs.mirror.audit import audit
from appliance.jobs.private_log.create import create_log
from appliance.jobs.private_log.sequence import Sequenced, sequence
from appliance.store.database import Store, create_store, open_store
from appliance.store.home.key_files import load_signing_key
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log import memory
from appliance.store.private_log.last_signed import read_last_signed
from appliance.store.private_log.private_logs import require_private_log
from appliance.tlog.checkpoint import Checkpoint, open_checkpoint
from appliance.tlog.entries import parse_entry_bundle
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.proof import verify_inclusion
from appliance.tlog.tile import new_entry_bundles
from tests.tlog.reference import tree_hash

ORIGIN: Final = "log.example"
SEED: Final = sha256(b"the seed of a test").digest()
NOW: Final = 1_760_000_000


@contextmanager
def home_in_memory() -> Iterator[Path]:
    """A home on a filesystem without a disk: what happens at each fsync is injected anyway."""
    memory = Path("/dev/shm")  # noqa: S108 a directory below it is ours alone
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory) / "home"


def reboot() -> None:
    """Let the machine forget what it keeps until it is booted again."""
    for place in memory.runtime_directories():
        shutil.rmtree(place, ignore_errors=True)


def make_home(home: Path, name: str = "build", origin: str = ORIGIN, seed: bytes = SEED) -> None:
    reboot()
    store = create_store(home)
    create_log(store, name, origin, seed, NOW)
    store.close()


@contextmanager
def writing(home: Path) -> Iterator[Store]:
    store = open_store(home, write=True)
    try:
        yield store
    finally:
        store.close()


def log_bodies(home: Path, bodies: Sequence[bytes]) -> Sequenced:
    """Do one batch, as one run of a command would."""
    with writing(home) as store:
        private = require_private_log(store, None)
        key = load_signing_key(home, private.log.origin)
        return sequence(store, private, key, bodies, NOW)


def check_home(home: Path, name: str | None = None) -> tuple[bytes, ...]:
    """Audit the log against nothing but its key; return its entries.

    Every checkpoint that was ever signed, published or not, must be of one tree.
    """
    with writing(home) as store:  # an audit remembers how far it came
        private = require_private_log(store, name)
        mirror = Mirror(store, private.log)
        report = audit(mirror, full=True)
        entries: list[bytes] = []
        for bundle in new_entry_bundles(0, report.head.tree_size):
            entries.extend(parse_entry_bundle(mirror.read_entry_bundle(bundle), bundle))
        last = read_last_signed(home, private.log.origin)
        assert last is not None
        notes = [last.note]
        for size in mirror.history.accepted_sizes():
            notes.extend(mirror.history.notes(size))
        for note in notes:
            head = open_checkpoint(note, private.log.keys, private.log.origin).head
            assert head.root_hash == tree_hash(entries[: head.tree_size]), head
    return tuple(entries)


def check_proofs(done: Sequenced, bodies: Sequence[bytes]) -> None:
    """Verify that each body is where the batch says, by its own proof."""
    for body, placed in zip(bodies, done.placed, strict=True):
        if not placed.duplicate:
            proof = done.tree.prove_inclusion(placed.entry_index, lambda _: {})
            verify_inclusion(placed.entry_index, leaf_hash(body), done.checkpoint.head, proof)


def checkpoint_of(home: Path) -> Checkpoint:
    """What the home says it published."""
    store = open_store(home, write=False)
    try:
        private = require_private_log(store, None)
        accepted = Mirror(store, private.log).history.mirror_checkpoint()
        assert accepted is not None
        return open_checkpoint(accepted.note, private.log.keys, private.log.origin).checkpoint
    finally:
        store.close()
