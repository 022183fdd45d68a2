"""What a log says last about a size travels: a freeze, and cosignatures that came later."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from appliance.store.database import open_store
from appliance.store.divergence.seen import waiting_seen
from appliance.store.mirror.logs import require_log
from tests.transfer.sites import INSIDE, OUTSIDE, Sites


def carry(sites: Sites, number: int, *options: str) -> None:
    stick = sites.stick(f"{number}.tar")
    sites.json(OUTSIDE, "export", "--output", stick, *options)
    sites.json(INSIDE, "import", stick)


def health(sites: Sites, name: str) -> Any:
    [found] = sites.json(name, "sync-status")["backends"]
    return found["health"]


@pytest.mark.parametrize("options", [(), ("--full",)])
def test_a_freeze_at_the_same_size_arrives(sites: Sites, options: tuple[str, ...]) -> None:
    sites.grow(3)
    carry(sites, 1)
    sites.log.freeze()
    sites.now += 10
    sites.grow(0)
    assert health(sites, OUTSIDE) == "FROZEN"
    carry(sites, 2, *options)
    assert health(sites, INSIDE) == "FROZEN"
    for name in (OUTSIDE, INSIDE):
        assert "Log frozen" in sites.text(name, "checkpoint", "show", "--backend", "sim")
        proof = sites.json(name, "prove", "--origin", sites.log.origin, "--index", "1")
        assert "Log frozen" in proof["checkpoint"]


def test_a_freeze_seen_before_its_plain_twin_is_still_the_last_word(sites: Sites) -> None:
    sites.log.grow(3)
    sites.log.freeze()
    sites.grow(0)
    sites.log.extensions = ()
    sites.now += 10
    sites.grow(0)
    carry(sites, 1)
    assert health(sites, INSIDE) == "FROZEN"


def test_a_freeze_beyond_what_the_tiles_cover_arrives_and_waits(sites: Sites) -> None:
    sites.grow(3)
    carry(sites, 1)
    sites.log.grow(600)
    sites.log.freeze()
    sites.grow(0)
    # As after a run that was capped: accepted, and not covered.
    sites.change(
        OUTSIDE,
        "DELETE FROM tile WHERE level = 0 AND tile_index = 1",
        "UPDATE log SET mirror_size = 3",
    )
    carry(sites, 2)
    assert sites.size(INSIDE) == 3
    with closing(open_store(sites.home(INSIDE), write=False)) as store:
        [waiting] = waiting_seen(store, require_log(store, sites.log.origin))
    assert waiting.tree_size == 603 and b"Log frozen" in waiting.note
