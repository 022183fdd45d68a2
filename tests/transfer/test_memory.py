"""What an export and an import keep of each tile: little, for a log may have millions."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

from appliance.jobs.transfer.export import Selection, export
from appliance.jobs.transfer.ingest import Rules, ingest
from appliance.store.home.settings import SITE_NAME, put_site_fact
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.note import sign_note
from tests.mirror.mirrors import NOW, make_mirror, sync_from
from tests.rig.uniform_log import UniformLog
from tests.transfer.test_transfer import SITE_KEY

N_TILES = 1500
MOST_BYTES = 350  # of a tile, with buffers that are filled; members in lists take 900 and more


def most_at_once(run: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def mirror_of(directory: Path, n_tiles: int) -> Mirror:
    log = UniformLog(256 * n_tiles)
    mirror = make_mirror(directory, log)
    sync_from(mirror, log)
    with mirror.store.atomic():
        put_site_fact(mirror.store, SITE_NAME, SITE_KEY.name)
    return mirror


def test_neither_side_keeps_much_of_a_tile(tmp_path: Path) -> None:
    exported, imported = [], []
    for n_tiles in (5, 300, 300 + N_TILES):  # the first loads what is loaded once
        mirror = mirror_of(tmp_path / f"outer-{n_tiles}", n_tiles)
        stick = tmp_path / f"{n_tiles}.tar"

        def leave(mirror: Mirror = mirror, stick: Path = stick) -> None:
            sign = lambda text: sign_note(text, [SITE_KEY])  # noqa: E731
            export(mirror.store, [mirror.log], Selection(), stick, sign, NOW)

        inner = make_mirror(tmp_path / f"inner-{n_tiles}", UniformLog(256 * n_tiles))

        def arrive(inner: Mirror = inner, stick: Path = stick) -> None:
            ingest(inner.store, stick, Rules(unsigned=True), NOW)

        exported.append(most_at_once(leave))
        imported.append(most_at_once(arrive))
        head = inner.history.mirror_checkpoint()
        assert head is not None and head.head.tree_size == 256 * n_tiles
    for peaks in (exported, imported):
        assert (peaks[2] - peaks[1]) / N_TILES < MOST_BYTES, peaks
