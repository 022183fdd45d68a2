"""What is missing is fetched while what came is made durable; an interruption costs one batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import pytest

from appliance.errors import CorruptError, MalformedError, ProofError, RemoteError
from appliance.fetch.http import HttpClient, HttpSettings
from appliance.fetch.rekor_v2 import RekorV2Log
from appliance.jobs.mirror.absorb import absorb
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.mirror.sync import CountedSource
from appliance.runs.answers import Answered
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.logs import require_backend
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.log_source import LogSource
from appliance.tlog.tile import WIDTH, EntryBundle, Tile
from tests.mirror.mirrors import make_mirror
from tests.rig.uniform_log import UniformLog, served
from tests.simulator import SimulatedLog

BATCH, AHEAD = 16, 24
N_TILES = 4 * BATCH
HERE = Arrival("direct", "a test", 1_700_000_000)


class Ahead(UniformLog):
    """A log whose server is asked for so many more than came, and that can stop anywhere."""

    def __init__(self, n_leaves: int, ahead: int = AHEAD) -> None:
        super().__init__(n_leaves)
        self.ahead = ahead
        self.asked: list[Tile | EntryBundle] = []
        self.stop: Callable[[int], None] = lambda _: None  # told how many came
        self.is_open = False

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        self.is_open, places = True, iter(wanted)
        try:
            pending: list[Tile] = []
            while True:
                more = list(islice(places, self.ahead - len(pending)))
                pending += more
                self.asked += more
                if not pending:
                    return
                self.stop(len(self.asked) - len(pending))
                yield from super().tiles([pending.pop(0)])
        finally:
            self.is_open = False


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the size of a log of some batches."""
    monkeypatch.setattr("appliance.jobs.mirror.fill.BATCH_TILES", BATCH)
    return N_TILES * WIDTH


def test_the_source_is_asked_for_more_while_a_batch_is_stored(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, asked, real_add = Ahead(size), [], Mirror.add_placed
    mirror = make_mirror(tmp_path / "home", log)

    def add(self: Mirror, digests: Mapping[Tile, bytes]) -> None:
        asked.append((self.tile_count(), len(log.asked)))
        real_add(self, digests)

    monkeypatch.setattr(Mirror, "add_placed", add)
    report = absorb(mirror, log, HERE, Wanted())
    assert report.complete
    # Of level 0, but for the last: as many are on their way as there is room for.
    ahead = [n_asked - n_stored - BATCH for n_stored, n_asked in asked[-4:-2]]
    assert min(ahead) >= AHEAD - 4, asked


@pytest.mark.parametrize("error", [KeyboardInterrupt, RemoteError("gone", reason="unreachable")])
@pytest.mark.parametrize("at", [21, 50])
def test_an_interruption_costs_at_most_what_was_not_durable_yet(
    tmp_path: Path, size: int, error: BaseException | type[BaseException], at: int
) -> None:
    log = Ahead(size)
    mirror = make_mirror(tmp_path / "home", log)

    def stop(came: int) -> None:
        if came == at:
            raise error

    log.stop = stop
    with pytest.raises((KeyboardInterrupt, RemoteError)):
        absorb(mirror, log, HERE, Wanted())
    assert not log.is_open
    lost = len(log.asked) - mirror.tile_count()
    came_is_kept = isinstance(error, RemoteError)
    assert 0 < lost <= AHEAD + (0 if came_is_kept else BATCH)
    log.stop = lambda _: None
    assert absorb(mirror, log, HERE, Wanted()).complete
    assert len(log.asked) - lost == mirror.tile_count()


def test_a_wrong_tile_ends_it_and_leaves_nothing_on_its_way(tmp_path: Path, size: int) -> None:
    class Wrong(Ahead):
        def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
            for tile, data in super().tiles(wanted):
                yield tile, bytes(len(data)) if tile == Tile(0, 5) else data

    log = Wrong(size)
    mirror = make_mirror(tmp_path / "home", log)
    with pytest.raises(ProofError) as caught:
        absorb(mirror, log, HERE, Wanted())
    assert not log.is_open, caught
    assert not mirror.has_tile(Tile(0, 5))


def test_a_parent_here_that_is_wrong_is_damage_and_no_lie_of_the_log(tmp_path: Path) -> None:
    log = UniformLog(257 * WIDTH)
    mirror = make_mirror(tmp_path / "home", log)
    absorb(mirror, log, HERE, Wanted())
    store = mirror.store
    with store.atomic():
        store.execute("DELETE FROM tile WHERE level = 0 AND tile_index = 7")
        store.execute(
            "UPDATE tile SET digest = (SELECT digest FROM tile WHERE level = 0 AND tile_index = 0)"
            " WHERE level = 1 AND tile_index = 0"
        )
    with pytest.raises(CorruptError) as caught:
        absorb(mirror, log, HERE, Wanted())
    assert caught.value.reason == "corrupt"
    assert not mirror.has_tile(Tile(0, 7))


def test_of_a_batch_with_a_wrong_tile_nothing_is_left(tmp_path: Path) -> None:
    log = SimulatedLog()
    log.grow(6 * WIDTH)
    log.lie(Tile(0, 2))  # they come from the last to the first
    mirror = make_mirror(tmp_path / "home", log)
    with pytest.raises(ProofError):
        absorb(mirror, log, HERE, Wanted())
    named = {row["digest"] for row in mirror.store.rows("SELECT DISTINCT digest FROM tile")}
    assert {one.digest for one in mirror.store.blobs.files()} == named
    assert not mirror.has_tile(Tile(0, 5))
    log.tell_the_truth()
    assert absorb(mirror, log, HERE, Wanted()).complete


def test_large_entries_are_durable_before_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.jobs.mirror.fill.BATCH_BYTES", 2 * WIDTH * 302)
    log, stored, real_add = SimulatedLog(), list[int](), Mirror.add_entry_bundles
    log.grow([number.to_bytes(300) for number in range(6 * WIDTH)])

    def add(self: Mirror, coming: Iterable[tuple[EntryBundle, bytes]]) -> int:
        stored.append(real_add(self, coming))
        return stored[-1]

    monkeypatch.setattr(Mirror, "add_entry_bundles", add)
    mirror = make_mirror(tmp_path / "home", log)
    assert absorb(mirror, log, HERE, Wanted(entries=True)).complete
    assert [one for one in stored if one] == [2, 2, 2]


@pytest.mark.parametrize("twice", [True, False])
def test_a_source_that_brings_a_tile_twice_or_not_at_all_is_refused(
    tmp_path: Path, twice: bool
) -> None:
    class Odd(UniformLog):
        def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
            for tile, data in super().tiles(wanted):
                times = 1 if tile != Tile(0, 1) else 2 if twice else 0
                yield from [(tile, data)] * times

    mirror = make_mirror(tmp_path / "home", log := Odd(3 * WIDTH))
    with pytest.raises(
        MalformedError, match=r"tile/0/001 (came, which was not|was asked for, and)"
    ):
        absorb(mirror, log, HERE, Wanted())


def test_no_thread_outlives_a_run_whoever_holds_what_it_was_reading(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    uniform, held = UniformLog(size), []
    mirror = make_mirror(tmp_path / "home", uniform)

    def hold(kind: type[LogSource]) -> None:
        real_tiles = kind.tiles

        def tiles(self: LogSource, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
            held.append(real_tiles(self, wanted))
            return held[-1]

        monkeypatch.setattr(kind, "tiles", tiles)

    for kind in (RekorV2Log, Answered, CountedSource):
        hold(kind)

    def add(self: Mirror, digests: Mapping[Tile, bytes]) -> None:
        assert any(thread.name.startswith("fetch") for thread in threading.enumerate())
        raise KeyboardInterrupt

    monkeypatch.setattr(Mirror, "add_placed", add)
    with served(uniform.answer) as url, HttpClient(HttpSettings()) as http:
        log = RekorV2Log(http, url, url)
        answered = Answered(require_backend(mirror.store, "sim"), http, log, None)
        answered.ask(threading.Event())
        with pytest.raises(KeyboardInterrupt):
            absorb(mirror, CountedSource(answered), HERE, Wanted())
        assert held
        left = [one.name for one in threading.enumerate() if one.name.startswith("fetch")]
    assert left == []
