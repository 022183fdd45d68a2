"""An attack at every tree size: a fork at any earlier leaf is found at the next sync.

In memory, and without the command line, which test_scenarios.py goes through: here it is
every leaf of every size that counts.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import DivergenceError
from appliance.store.divergence.evidence import evidence_of
from appliance.store.divergence.quarantine import lift_quarantine, quarantine_of
from appliance.store.mirror.mirror import Mirror
from tests.divergence.conftest import MEMORY
from tests.mirror.mirrors import NOW, make_mirror, sync_from
from tests.simulator import SimulatedLog

SOAK = bool(os.environ.get("ATTESTOR_SOAK"))  # every leaf of the larger sizes too
SIZES = (*range(1, 71), 255, 256, 257, 258, 511, 512, 513)


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        yield Path(directory) / "home"


@pytest.mark.parametrize("size", SIZES)
def test_a_fork_at_any_earlier_leaf_is_found_at_the_next_sync(home: Path, size: int) -> None:
    log = SimulatedLog()
    log.grow(size)
    mirror = make_mirror(home, log)
    # A crash may lose what was not flushed; this store is not to outlive the test.
    mirror.store.execute("PRAGMA synchronous = OFF")
    sync_from(mirror, log)
    some = {*range(0, size, 37), 254, 255, size - 1} & {*range(size)}
    leaves = range(size) if SOAK or size <= 70 else sorted(some)
    for attack, leaf in enumerate(leaves):
        twin = log.fork(at=leaf)
        twin.grow((0, 1, 2, 300)[attack % 4])
        with pytest.raises(DivergenceError) as caught:
            sync_from(mirror, twin)
        _is_caught(mirror, log, twin, leaf, caught.value)
    assert len(evidence_of(mirror.store, mirror.log)) == len(leaves)
    mirror.store.close()


def _is_caught(
    mirror: Mirror, log: SimulatedLog, twin: SimulatedLog, leaf: int, error: DivergenceError
) -> None:
    """Check what is left behind, and let the log be believed again for the next attack."""
    assert mirror.history.accepted_sizes() == [log.tree_size]
    accepted = mirror.history.accepted()
    assert accepted is not None and accepted.head == log.head
    kept = evidence_of(mirror.store, mirror.log)[-1]
    assert (kept.id, kept.ours, kept.theirs) == (
        *(error.evidence_id, log.checkpoint(), twin.checkpoint()),
    )
    held = quarantine_of(mirror.store, mirror.log)
    assert held is not None and held.last_common_size == leaf
    with mirror.store.atomic():
        lift_quarantine(mirror.store, held, NOW, "the next attack")
