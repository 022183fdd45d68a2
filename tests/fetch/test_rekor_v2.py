"""A log read over HTTP: complete, in parallel, whatever its partial tiles are doing."""

from __future__ import annotations

import gzip
import signal
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from appliance.errors import ConfigError, LimitError, MalformedError, RemoteError
from appliance.fetch.http import HttpClient
from appliance.fetch.rekor_v2 import MAX_TILE_BYTES, RekorV2Log
from appliance.tlog.checkpoint import parse_checkpoint
from appliance.tlog.entries import format_entry_bundle, leaf_hashes, parse_entry_bundle
from appliance.tlog.log_source import LogSource
from appliance.tlog.note import MAX_NOTE_BYTES, parse_note
from appliance.tlog.tile import EntryBundle, Tile, new_entry_bundles, tiles_of
from appliance.tlog.tile_tree import TileTree
from tests.fetch.conftest import OpenClient
from tests.fetch.hostile_server import HostileServer, drip, ok, stall, status, wait_for
from tests.shared import shared
from tests.simulator import SimulatedLog

FULL = b"h" * 8192
ENTRIES = [b"entry %d" % index for index in range(256)]


@pytest.fixture
def log(server: HostileServer, open_client: OpenClient) -> RekorV2Log:
    return RekorV2Log(open_client(connections=4), server.url, server.url)


def fetch_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fetch")]


# Where it reads.


def test_it_is_a_log_source(log: RekorV2Log, server: HostileServer) -> None:
    source: LogSource = log
    assert source.description == server.url


@pytest.mark.parametrize(
    ("base_url", "read_url", "prefix"),
    [
        ("https://log.example", None, "https://log.example/api/v2/"),
        ("https://log.example/", None, "https://log.example/api/v2/"),
        ("https://log.example/", "https://tiles.example", "https://tiles.example/"),
        ("https://log.example/", "http://tiles.example/x/", "http://tiles.example/x/"),
    ],
)
def test_the_read_prefix_is_the_configured_one_or_that_of_the_specification(
    client: HttpClient, base_url: str, read_url: str | None, prefix: str
) -> None:
    assert RekorV2Log(client, base_url, read_url).description == prefix


def test_a_url_that_is_none_is_refused_before_anything_is_sent(client: HttpClient) -> None:
    with pytest.raises(ConfigError):
        RekorV2Log(client, "log.example")
    with pytest.raises(ConfigError):
        RekorV2Log(client, "https://log.example", "tiles.example")


# Checkpoints.


NOTE = "log.example\n\n\N{EM DASH} log.example AAAA\n".encode()


def test_a_checkpoint_comes_with_the_facts_of_its_response(
    server: HostileServer, log: RekorV2Log
) -> None:
    assert log.checkpoint_facts is None
    assert log.exchange == {}
    url = server.on("/checkpoint", ok(NOTE, "X-Cache: HIT"))
    assert log.checkpoint() == NOTE
    assert log.checkpoint_facts is not None
    assert log.checkpoint_facts.url == url
    assert log.checkpoint_facts.lower_headers["x-cache"] == "HIT"
    assert ["X-Cache", "HIT"] in log.exchange["headers"]
    assert log.exchange["certificate"] is None


def test_a_checkpoint_has_the_size_of_a_note(server: HostileServer, log: RekorV2Log) -> None:
    server.on("/checkpoint", ok(NOTE.ljust(MAX_NOTE_BYTES)), ok(NOTE.ljust(MAX_NOTE_BYTES + 1)))
    assert len(log.checkpoint()) == MAX_NOTE_BYTES
    with pytest.raises(LimitError):
        log.checkpoint()


@pytest.mark.parametrize("code", [404, 501])
def test_a_server_that_only_takes_entries_says_what_to_configure(
    server: HostileServer, log: RekorV2Log, code: int
) -> None:
    server.on("/checkpoint", status(code, b'{"message":"method GetTile not implemented"}'))
    with pytest.raises(RemoteError) as caught:
        log.checkpoint()
    assert "readUrl" in caught.value.next_step


def test_other_trouble_is_reported_as_it_is(server: HostileServer, log: RekorV2Log) -> None:
    server.on("/checkpoint", status(503))
    with pytest.raises(RemoteError) as caught:
        log.checkpoint()
    assert (caught.value.reason, "readUrl" in caught.value.next_step) == ("unavailable", False)


# Whole logs.


@pytest.mark.parametrize("size", [1, 255, 256, 257, 70_000])
def test_a_whole_log_arrives_and_authenticates(
    server: HostileServer, open_client: OpenClient, tmp_path: Path, size: int
) -> None:
    simulated = SimulatedLog()
    simulated.grow(size)
    simulated.write_static(tmp_path)
    server.directory = tmp_path
    log = RekorV2Log(open_client(), server.url, server.url)
    head = parse_checkpoint(parse_note(log.checkpoint()).text).head
    assert head == simulated.head

    tiles = dict(log.tiles(list(tiles_of(size))))
    assert list(tiles) != [] and set(tiles) == set(tiles_of(size))
    tree = TileTree(head)
    tree.add_edge({tile: tiles[tile] for tile in tree.edge})
    for tile in tiles_of(size):
        if tile.is_full:
            tree.add(tile, tiles[tile])

    bundles = dict(log.entry_bundles(list(new_entry_bundles(0, size))))
    assert set(bundles) == set(new_entry_bundles(0, size))
    for bundle, data in bundles.items():
        assert leaf_hashes(parse_entry_bundle(data, bundle)) == tiles[bundle.tile]
    assert fetch_threads() == []
    assert server.n_connections <= 16


def test_a_recorded_log_arrives_at_every_size_it_had(
    server: HostileServer, log: RekorV2Log
) -> None:
    server.directory = shared("corpus/tessera/testdata/log")
    newest = parse_checkpoint(parse_note(log.checkpoint()).text).head
    assert newest.tree_size == 15
    for size in range(1, 16):
        note = (server.directory / f"checkpoint.{size}").read_bytes()
        head = parse_checkpoint(parse_note(note).text).head
        assert head.tree_size == size
        tree = TileTree(head)
        tree.add_edge(dict(log.tiles(tree.edge)))
        bundle = EntryBundle(0, size)
        ((_, data),) = log.entry_bundles([bundle])
        ((_, leaves),) = log.tiles([bundle.tile])
        assert leaf_hashes(parse_entry_bundle(data, bundle)) == leaves


def test_nothing_wanted_is_nothing_asked(server: HostileServer, log: RekorV2Log) -> None:
    assert list(log.tiles([])) == []
    assert list(log.entry_bundles([])) == []
    assert server.requests == []


# Partial tiles and entry bundles.


def test_a_full_tile_stands_in_for_a_deleted_partial_one(
    server: HostileServer, log: RekorV2Log
) -> None:
    server.on("/tile/1/000", ok(bytes(range(256)) * 32))
    ((tile, data),) = log.tiles([Tile(1, 0, 17)])
    assert (tile, data) == (Tile(1, 0, 17), (bytes(range(256)) * 32)[: 17 * 32])
    assert server.targets == ["/tile/1/000.p/17", "/tile/1/000"]


def test_a_full_entry_bundle_stands_in_for_a_deleted_partial_one(
    server: HostileServer, log: RekorV2Log
) -> None:
    whole = format_entry_bundle(ENTRIES)
    server.on("/tile/entries/003", ok(gzip.compress(whole), "Content-Encoding: gzip"))
    ((bundle, data),) = log.entry_bundles([EntryBundle(3, 5)])
    assert (bundle, data) == (EntryBundle(3, 5), format_entry_bundle(ENTRIES[:5]))
    assert server.targets == ["/tile/entries/003.p/5", "/tile/entries/003"]


@pytest.mark.parametrize("wanted", [Tile(0, 5, 7), Tile(0, 5), EntryBundle(5, 7), EntryBundle(5)])
def test_what_is_gone_in_both_widths_asks_for_a_new_checkpoint(
    server: HostileServer, log: RekorV2Log, wanted: Tile | EntryBundle
) -> None:
    with pytest.raises(RemoteError, match="not found") as caught:
        if isinstance(wanted, Tile):
            list(log.tiles([wanted]))
        else:
            list(log.entry_bundles([wanted]))
    assert caught.value.reason == "not-found"
    assert "checkpoint again" in caught.value.next_step
    assert f"{server.url}{wanted.path}" in caught.value.message
    assert len(server.requests) == (1 if wanted.is_full else 2)


def test_only_not_found_is_a_reason_to_fetch_the_full_one(
    server: HostileServer, log: RekorV2Log
) -> None:
    server.on("/tile/0/000.p/7", status(403))
    server.on("/tile/0/000", ok(FULL))
    with pytest.raises(RemoteError) as caught:
        list(log.tiles([Tile(0, 0, 7)]))
    assert caught.value.reason == "http-status"
    assert server.targets == ["/tile/0/000.p/7"]


def test_a_full_tile_that_is_not_full_stands_in_for_nothing(
    server: HostileServer, log: RekorV2Log
) -> None:
    server.on("/tile/0/000", ok(FULL[: 7 * 32]))
    with pytest.raises(MalformedError, match="tile/0/000: expected 8192 bytes, got 224"):
        list(log.tiles([Tile(0, 0, 7)]))


# Wrong shapes.


@pytest.mark.parametrize("n_bytes", [0, 1, 7 * 32 - 1, 7 * 32 + 1, 8 * 32, 8192, MAX_TILE_BYTES])
def test_a_tile_of_the_wrong_length_is_refused(
    server: HostileServer, log: RekorV2Log, n_bytes: int
) -> None:
    server.on("/tile/0/000.p/7", ok(bytes(n_bytes)))
    with pytest.raises(MalformedError, match=f"expected 224 bytes, got {n_bytes}") as caught:
        list(log.tiles([Tile(0, 0, 7)]))
    assert caught.value.reason == "tile-length"


def test_a_tile_without_end_is_refused(server: HostileServer, log: RekorV2Log) -> None:
    server.on("/tile/0/000", ok(bytes(MAX_TILE_BYTES + 1)))
    with pytest.raises(LimitError):
        list(log.tiles([Tile(0, 0)]))


def test_a_compressed_tile_is_refused(server: HostileServer, log: RekorV2Log) -> None:
    server.on("/tile/0/000", ok(gzip.compress(FULL), "Content-Encoding: gzip"))
    with pytest.raises(MalformedError, match="Content-Encoding"):
        list(log.tiles([Tile(0, 0)]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        format_entry_bundle(ENTRIES[:6]),
        format_entry_bundle(ENTRIES[:8]),
        format_entry_bundle(ENTRIES[:7])[:-1],
        format_entry_bundle(ENTRIES[:7]) + b"\0",
    ],
)
def test_an_entry_bundle_of_the_wrong_shape_is_refused(
    server: HostileServer, log: RekorV2Log, data: bytes
) -> None:
    url = server.on("/tile/entries/000.p/7", ok(data))
    with pytest.raises(MalformedError) as caught:
        list(log.entry_bundles([EntryBundle(0, 7)]))
    assert url in caught.value.message


def test_the_largest_entry_bundle_there_can_be_is_accepted(
    server: HostileServer, log: RekorV2Log
) -> None:
    whole = format_entry_bundle([bytes(65_535)] * 256)
    server.on("/tile/entries/000", ok(gzip.compress(whole, 1), "Content-Encoding: gzip"))
    ((_, data),) = log.entry_bundles([EntryBundle(0)])
    assert data == whole


# Stopping.


def test_the_first_failure_stops_everything_outstanding(
    server: HostileServer, log: RekorV2Log
) -> None:
    for index in range(1, 10):
        server.on(f"/{Tile(0, index).path}", stall())
    server.on("/tile/0/000", drip(status(403), 0.002))
    before = time.monotonic()
    with pytest.raises(RemoteError, match="got 403"):
        list(log.tiles([Tile(0, index) for index in range(1000)]))
    assert time.monotonic() - before < 3.0
    assert len(server.requests) <= 8
    assert fetch_threads() == []


def test_closing_the_iterator_cancels(server: HostileServer, log: RekorV2Log) -> None:
    server.on("/tile/0/000", ok(FULL))
    for index in range(1, 10):
        server.on(f"/{Tile(0, index).path}", stall())
    arriving: Iterator[tuple[Tile, bytes]] = log.tiles([Tile(0, n) for n in range(1000)])
    assert next(arriving) == (Tile(0, 0), FULL)
    before = time.monotonic()
    arriving.close()  # type: ignore[attr-defined]
    assert time.monotonic() - before < 3.0
    assert fetch_threads() == []


def test_ctrl_c_leaves_no_thread(server: HostileServer, log: RekorV2Log) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for index in range(10):
        server.on(f"/{Tile(0, index).path}", stall())
    usual = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    before = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(log.tiles([Tile(0, index) for index in range(10)]))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert time.monotonic() - before < 3.0
    assert fetch_threads() == []


def test_as_many_at_a_time_as_configured(server: HostileServer, log: RekorV2Log) -> None:
    go = threading.Event()
    wanted = [Tile(0, index) for index in range(12)]
    for tile in wanted:
        server.on(f"/{tile.path}", wait_for(go, ok(FULL, "Connection: close")))
    threading.Timer(0.3, go.set).start()
    assert len(dict(log.tiles(wanted))) == 12
    assert server.most_open == 4


def test_memory_stays_flat_however_many_are_wanted(server: HostileServer, log: RekorV2Log) -> None:
    wanted = [Tile(0, index) for index in range(100_000)]
    for tile in wanted[:700]:
        server.on(f"/{tile.path}", ok(FULL))
    arriving = log.tiles(wanted)
    for _ in range(100):
        next(arriving)
    asked = len(server.requests)
    tracemalloc.start()
    try:
        for _ in range(400):
            next(arriving)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        arriving.close()  # type: ignore[attr-defined]
    assert asked <= 108
    assert peak < 3 << 20  # 400 tiles alone are 3.1 MiB
