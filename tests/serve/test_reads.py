"""What a private log answers to those who read: at which paths, with which headers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.fetch.http import HttpClient, HttpSettings
from appliance.fetch.rekor_v2 import RekorV2Log
from appliance.jobs.mirror.audit import audit
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.mirror.sync import sync
from appliance.store.database import create_store
from appliance.store.mirror.logs import add_log, put_backend, require_backend
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.note import SigningKey
from tests.private_log.private_homes import NOW, ORIGIN, SEED, log_bodies, make_home
from tests.serve.running_log import ENTRIES, RunningLog, running_log

KEY = SigningKey(ORIGIN, SEED).verifier
SIZE = 300


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLog]:
    home = tmp_path_factory.mktemp("log") / "home"
    make_home(home)
    bodies = [b"entry %d" % number for number in range(SIZE)]
    log_bodies(home, bodies[:256])
    log_bodies(home, bodies[256:])
    with running_log(home) as server:
        yield server


def test_the_log_says_its_size_root_and_signed_head(log: RunningLog) -> None:
    status, headers, answer = log.ask("GET", "/api/v2/log")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    told = json.loads(answer)
    assert set(told) == {"treeSize", "rootHash", "signedTreeHead"}
    head = open_checkpoint(told["signedTreeHead"].encode(), [KEY], ORIGIN).head
    assert told["treeSize"] == head.tree_size == SIZE
    assert told["rootHash"] == head.root_hash.hex()
    _, _, checkpoint = log.ask("GET", "/checkpoint")
    assert told["signedTreeHead"].encode() == checkpoint


@pytest.mark.parametrize(
    "path", ["checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000"]
)
def test_the_bare_paths_are_those_below_the_prefix(log: RunningLog, path: str) -> None:
    bare, prefixed = log.ask("GET", f"/{path}"), log.ask("GET", f"/api/v2/{path}")
    assert bare[0] == 200
    assert (bare[0], bare[2]) == (prefixed[0], prefixed[2])


@pytest.mark.parametrize(
    ("path", "status", "caching"),
    [
        ("/healthz", 200, "no-cache"),
        ("/api/v2/log", 200, "no-cache"),
        ("/api/v2/checkpoint", 200, "no-cache"),
        ("/checkpoint", 200, "no-cache"),
        ("/tile/0/000", 200, "max-age=604800,immutable"),
        ("/api/v2/tile/0/000", 200, "max-age=604800,immutable"),
        ("/api/v2/tile/entries/000", 200, "max-age=604800,immutable"),
        ("/api/v2/tile/0/001.p/44", 200, "max-age=60"),
        ("/api/v2/tile/0/000.p/7", 200, "max-age=60"),
        ("/api/v2/tile/entries/001.p/44", 200, "max-age=60"),
        ("/api/v2/tile/1/000.p/1", 200, "max-age=60"),
        ("/tile/0/001", 404, "no-cache"),  # full one day
        ("/tile/0/001.p/45", 404, "no-cache"),
    ],
)
def test_head_is_get_without_the_body_and_caches_are_told_how_long(
    log: RunningLog, path: str, status: int, caching: str
) -> None:
    got, headers, body = log.ask("GET", path)
    assert (got, headers["Cache-Control"]) == (status, caching)
    head_status, head_headers, nothing = log.ask("HEAD", path)
    assert (head_status, nothing) == (got, b"")
    names = ("Content-Type", "Content-Length", "Cache-Control")
    assert [head_headers[one] for one in names] == [headers[one] for one in names]
    assert headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/api/v1/log/entries", "attestor log get --url URL --log-index N"),
        ("GET", "/api/v1/log/entries?logIndex=3", "attestor log get --url URL --log-index N"),
        ("GET", "/api/v1/log/entries/24296fb24b8ad77a", "attestor log get"),
        ("GET", "/api/v1/log", "attestor log get"),
        ("POST", "/api/v1/log/entries", "posted to /api/v2/log/entries"),
        ("POST", "/api/v1/log/entries/retrieve", "attestor log get"),
        ("POST", "/api/v1/index/retrieve", "attestor log get"),
    ],
)
def test_a_client_of_version_one_is_told_where_it_is(
    log: RunningLog, method: str, path: str, words: str
) -> None:
    status, _, answer = log.ask(method, path)
    told = json.loads(answer)
    assert (status, told["code"]) == (404, 5)
    assert words in told["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/v2/log", 501),
        ("POST", "/checkpoint", 501),
        ("DELETE", "/tile/0/000", 501),
        ("GET", "/log", 404),
        ("GET", "/api/v2/log/", 404),
        ("GET", "/api/v2//checkpoint", 404),
        ("GET", "/tile/0/../../attestor.db", 404),
        ("HEAD", ENTRIES, 501),
    ],
)
def test_what_is_not_read(log: RunningLog, method: str, path: str, status: int) -> None:
    assert log.ask(method, path)[0] == status


def test_a_mirror_at_the_bare_paths_proves_all_of_it(log: RunningLog, tmp_path: Path) -> None:
    store = create_store(tmp_path / "mirror")
    with store.atomic():
        known = add_log(store, ORIGIN, 2, KEY.spki)
        put_backend(store, "private", known, base_url=None, read_url=log.url)
    with HttpClient(HttpSettings()) as http:
        source = RekorV2Log(http, "", log.url)
        backend = require_backend(store, "private")
        assert sync(store, backend, source, Wanted(entries=True), NOW).complete
    assert audit(Mirror(store, known), full=True).head.tree_size == SIZE
    store.close()
