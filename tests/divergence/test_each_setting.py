"""Each setting of the mirror, of HTTP and of alerts changes what a command does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import ConfigError, RemoteError
from appliance.fetch.http import HttpClient
from appliance.rekor.client_files import trusted_root
from appliance.runs.network import http_settings
from appliance.runs.session import Session
from appliance.store.database import open_store
from appliance.store.mirror.logs import put_backend, require_backend
from tests.divergence.world import DAY, HOUR, MINUTE, World
from tests.fetch.hostile_server import HostileServer, status
from tests.fetch.tuf_repository import Repository
from tests.rig.network import Authority, connect_proxy, tls_front
from tests.rig.uniform_log import served
from tests.simulator import SimulatedLog


def sink(world: World) -> Path:
    """Let alerts go to a file; return it."""
    path = world.directory / "alerts.jsonl"
    world.set("alerts.sinks", json.dumps([{"type": "file", "path": str(path)}]))
    return path


def heard(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def fork(world: World) -> None:
    world.log.grow(30)
    world.sync()
    world.serve("primary", world.log.fork(at=10))
    world.sync(expect=4)


def stored(world: World, of: str) -> int:
    statuses = world.cli("sync-status")["data"]["backends"]
    return int(next(one for one in statuses if one["backend"] == "primary")[of] or 0)


def slept(world: World, *words: str) -> list[float]:
    """Run sync --watch until it sleeps for the second time; return how long it slept."""
    naps: list[float] = []

    class Enough(BaseException):
        pass

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            raise Enough

    from appliance.cli.main import run

    session = Session(home=world.home, now=lambda: world.now, sleep=sleep)
    with pytest.raises(Enough):
        run(["sync", "--watch", *words], session)
    world.capsys.readouterr()
    return naps


def test_setting_rekorSync_enabled(world: World) -> None:
    world.log.grow(3)
    world.set("rekorSync.enabled", "false")
    assert world.sync()["data"]["backends"] == []
    assert world.log.requests == []


def test_setting_rekorSync_syncInterval(world: World) -> None:
    said = world.cli("config", "set", "rekorSync.syncInterval", "7m")["warnings"]
    assert any("has its own schedule" in one for one in said), said
    assert slept(world)[1] == 7 * MINUTE


def test_setting_rekorSync_initialDelay(world: World) -> None:
    world.set("rekorSync.initialDelay", "3s")
    assert slept(world)[0] == 3


def test_a_watch_goes_on_while_another_command_has_the_home(world: World) -> None:
    world.log.grow(3)
    with Session(home=world.home).locked():
        assert len(slept(world)) == 2
    assert stored(world, "treeSize") == 0
    slept(world)
    assert stored(world, "treeSize") == 3


def test_setting_rekorSync_enableTileSync(world: World) -> None:
    world.set("rekorSync.enableTileSync", "false")
    world.log.grow(600)
    [done] = world.sync()["data"]["backends"]
    assert (done["acceptedSize"], done["mirrorSize"]) == (600, None)


def test_setting_rekorSync_enableEntrySync(world: World) -> None:
    world.set("rekorSync.enableEntrySync", "true")
    world.log.grow(3)
    [done] = world.sync()["data"]["backends"]
    assert done["entryBundles"] == 1


def test_setting_rekorSync_maxTilesPerSync(world: World) -> None:
    world.set("rekorSync.maxTilesPerSync", "2")
    world.log.grow(2000)
    [done] = world.sync()["data"]["backends"]
    assert not done["complete"]
    assert done["tiles"] < 8


def test_setting_rekorSync_backendTimeout(world: World) -> None:
    world.set("rekorSync.backendTimeout", "1s")
    world.log.grow(3)
    over = threading.Event()

    def stuck(path: str) -> bytes:
        over.wait(20)
        return world.log.answer(path)

    with served(stuck) as url:
        with closing(open_store(world.home, write=True)) as store, store.atomic():
            log = require_backend(store, "primary").log
            put_backend(store, "primary", log, base_url=None, read_url=url)
        began = time.monotonic()
        error = world.sync(expect=7)["error"]
        assert time.monotonic() - began < 10
        over.set()
    assert "the time for this whole run is over" in error["message"]


def test_setting_rekorSync_discoverInterval(world: World, tmp_path: Path) -> None:
    world.log.grow(3)
    root = trusted_root(SimulatedLog("found.example").key, "2025-01-01T00:00:00Z")
    with HostileServer() as server:
        tuf = Repository(tmp_path / "tuf", {"trusted_root.json": root})
        server.directory = tuf.directory
        first = tmp_path / "1.root.json"
        first.write_bytes(tuf.read("1.root.json"))
        world.cli("trust", "update", "--repository", server.url, "--root", first)
        world.now += 7200
        assert "discovered" not in world.sync()["data"], "off until it is set"
        world.set("rekorSync.discoverInterval", "3h")
        assert "discovered" not in world.sync()["data"], "not due yet"
        world.now += 7200
        [found] = world.sync()["data"]["discovered"]
    assert (found["origin"], found["action"]) == ("found.example", "added")


def test_setting_rekorSync_backends(world: World, tmp_path: Path) -> None:
    key = tmp_path / "second.key"
    second = SimulatedLog("second.example")
    key.write_bytes(second.key.spki)
    backend = {"id": "second", "origin": "second.example", "publicKeyPath": str(key)}
    file = tmp_path / "site.yaml"
    file.write_text(json.dumps({"attestor": {"rekorSync": {"backends": [backend]}}}))
    world.cli("config", "apply", file)
    names = [one["backend"] for one in world.cli("sync-status")["data"]["backends"]]
    assert "second" in names


def asked(world: World, server: HostileServer, times: int = 1) -> tuple[HttpClient, list[float]]:
    """Ask a server as the world's settings say; return the client and its pauses."""
    naps: list[float] = []
    server.on("/x", status(200))
    session = Session(home=world.home, sleep=naps.append)
    with HttpClient(http_settings(session.configuration), sleep=naps.append) as client:
        for _ in range(times):
            client.get(f"{server.url}x", 100)
    return client, naps


def test_setting_http_connections(world: World) -> None:
    world.set("http.connections", "3")
    session = Session(home=world.home)
    with session.http() as client:
        assert client.settings.connections == 3


@pytest.fixture
def hostile() -> Iterator[HostileServer]:
    with HostileServer() as started:
        yield started


def test_setting_http_maxRequestsPerSecond(world: World, hostile: HostileServer) -> None:
    world.set("http.maxRequestsPerSecond", "1")
    _, naps = asked(world, hostile, times=3)
    assert sum(naps) > 1


def test_setting_http_contact(world: World, hostile: HostileServer) -> None:
    world.set("http.contact", "ops@example.org")
    asked(world, hostile)
    assert "ops@example.org" in hostile.requests[0].headers["user-agent"]


def test_setting_http_proxy(world: World, hostile: HostileServer) -> None:
    hostile.on("http://log.invalid/x", status(200))
    world.set("http.proxy", hostile.url.rstrip("/"))
    session = Session(home=world.home)
    with session.http() as client:
        client.get("http://log.invalid/x", 100)
    assert hostile.targets == ["http://log.invalid/x"]


def test_setting_http_noProxy(world: World, hostile: HostileServer) -> None:
    world.set("http.proxy", "http://proxy.invalid:3128")
    world.set("http.noProxy", '["127.0.0.1"]')
    assert asked(world, hostile)
    assert hostile.targets == ["/x"]


def test_setting_http_proxyCredentialsFile(world: World) -> None:
    credentials = world.directory / "credentials"
    credentials.write_text("me:secret\n")
    credentials.chmod(0o600)
    with connect_proxy({"log.invalid": 1}, credentials="me:secret") as proxy:
        world.set("http.proxy", proxy.url)
        session = Session(home=world.home, sleep=lambda _: None)
        for given, refused in (("null", 1), (str(credentials), 1)):
            world.set("http.proxyCredentialsFile", given)
            with session.http() as client, pytest.raises(RemoteError):
                client.get("https://log.invalid/x", 100)
            assert proxy.refused == refused


def test_setting_http_caFile(world: World, hostile: HostileServer) -> None:
    authority = Authority(world.directory)
    world.set("http.caFile", str(authority.file))
    assert over_tls(world, hostile, authority) == 200


def test_setting_http_clientCertificateFile(world: World, hostile: HostileServer) -> None:
    authority = Authority(world.directory)
    certificate, key = authority.issue("us.example")
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    world.set("http.caFile", str(authority.file))
    world.set("http.clientCertificateFile", str(certificate))
    assert over_tls(world, hostile, authority, clients=authority) == 200


def test_setting_http_clientKeyFile(world: World, hostile: HostileServer) -> None:
    authority = Authority(world.directory)
    certificate, key = authority.issue("us.example")
    world.set("http.caFile", str(authority.file))
    world.set("http.clientCertificateFile", str(certificate))
    with pytest.raises(ConfigError):
        over_tls(world, hostile, authority, clients=authority)
    world.set("http.clientKeyFile", str(key))
    assert over_tls(world, hostile, authority, clients=authority) == 200


def over_tls(
    world: World,
    server: HostileServer,
    authority: Authority,
    clients: Authority | None = None,
) -> int:
    """Ask a server over TLS as the world's settings say; return the status."""
    server.on("/x", status(200))
    context = authority.server("127.0.0.1", clients)
    session = Session(home=world.home, sleep=lambda _: None)
    with tls_front(server.port, context) as port, session.http() as client:
        return client.get(f"https://127.0.0.1:{port}/x", 100).status


def test_setting_checkpointStore_connectionString(world: World) -> None:
    # There is one file, and it is here: any other value is refused, and says so.
    error = world.cli("config", "set", "checkpointStore.connectionString", "x.db", expect=9)
    assert "attestor.db" in error["error"]["message"]


def test_setting_checkpointStore_schema(world: World) -> None:
    # There is one file and one schema: a configuration that names one is told so.
    said = world.cli("config", "set", "checkpointStore.schema", "attestor")
    assert any("checkpointStore.schema" in warning for warning in said["warnings"]), said


def test_setting_checkpointStore_autoInitializeSchema(world: World) -> None:
    world.set("checkpointStore.autoInitializeSchema", "false")
    with closing(open_store(world.home, write=True)) as store, store.atomic():
        last = store.rows("SELECT max(name) AS name FROM _sqlite_migrations")[0]["name"]
        store.execute("DELETE FROM _sqlite_migrations WHERE name = ?", [last])
    assert world.cli("sync", expect=6)["error"]["reason"] == "schema-older"


def test_setting_tileCache_basePath(world: World) -> None:
    place = world.directory / "elsewhere"
    world.set("tileCache.basePath", str(place))  # nothing is stored yet
    world.log.grow(300)
    world.sync()
    assert len(list((place / "sha256").glob("*/*"))) > 1
    error = world.cli("config", "set", "tileCache.basePath", "blobs", expect=9)
    assert "store move-blobs blobs" in error["error"]["next"]


def entries_held(world: World) -> tuple[int, int]:
    """Return how many entry bundles are here, and how many were fetched until now."""
    [stats] = world.cli("tiles", "stats")["data"]["backends"]
    fetched = sum("/entries/" in path for path in world.log.requests)
    return stats["entryBundles"], fetched


def test_setting_tileCache_maxCacheSizeBytes(world: World) -> None:
    """Sync keeps the cache below it, losing no proof, and fetches nothing a second time."""
    world.set("rekorSync.enableEntrySync", "true")
    world.log.grow(2000)
    world.sync()
    assert entries_held(world) == (8, 8)
    [stats] = world.cli("tiles", "stats")["data"]["backends"]
    world.set("tileCache.maxCacheSizeBytes", str(stats["bytes"] - 1))
    [pruned] = world.sync()["data"]["pruned"]
    assert pruned["entryBundles"] == 1
    assert entries_held(world) == (7, 8)
    world.cli("prove", "--origin", "log.example", "--index", "5")
    world.log.grow(20)
    world.sync()
    assert entries_held(world)[1] == 9  # the last one, which grew
    world.set("tileCache.maxCacheSizeBytes", "1")
    said = world.sync()
    assert entries_held(world)[0] == 1
    assert any("--allow-coverage-loss" in one for one in said["warnings"]), said["warnings"]
    world.cli("prove", "--origin", "log.example", "--index", "5")
    world.sync("--entries")  # who asks for all of them gets them, for that run
    assert entries_held(world) == (1, 16)


def test_setting_tileCache_autoPruneAfter(world: World) -> None:
    world.now = int(time.time())  # blobs have the times of the machine's clock
    world.set("rekorSync.enableEntrySync", "true")
    world.set("tileCache.autoPruneAfter", "720h")
    world.log.grow(1000)
    assert world.sync()["data"]["pruned"][0]["entryBundles"] == 0
    assert world.sync(after=31 * DAY)["data"]["pruned"][0]["entryBundles"] == 3
    assert entries_held(world) == (1, 4)
    world.sync()
    assert entries_held(world) == (1, 4)
    world.cli("prove", "--origin", "log.example", "--index", "5")


def test_setting_divergenceDetection_enabled(world: World) -> None:
    world.set("divergenceDetection.enabled", "false")
    fork(world)
    assert world.cli("alerts", "list")["data"]["alerts"] == []


def test_setting_divergenceDetection_staleCheckpointThreshold(world: World) -> None:
    world.set("divergenceDetection.staleCheckpointThreshold", "10d")
    world.log.grow(3)
    world.sync()
    world.serve("primary", None)
    world.sync(after=3 * HOUR, expect=7)
    types = {one["type"] for one in world.cli("alerts", "list")["data"]["alerts"]}
    assert "StaleCheckpoint" not in types
    world.sync(after=11 * DAY, expect=7)
    types = {one["type"] for one in world.cli("alerts", "list")["data"]["alerts"]}
    assert "StaleCheckpoint" in types


def test_setting_divergenceDetection_staleTreeSizeThreshold(world: World) -> None:
    world.set("divergenceDetection.staleTreeSizeThreshold", "2d")
    world.log.grow(3)
    world.sync()
    types: list[set[str]] = []
    for _ in range(2):
        world.sync(after=DAY + HOUR)
        types.append({one["type"] for one in world.cli("alerts", "list")["data"]["alerts"]})
    assert ["StaleTreeSize" in found for found in types] == [False, True]


def health_after(world: World, age: int) -> str:
    world.log.grow(3)
    world.sync()
    world.now += age
    [status] = world.cli("sync-status")["data"]["backends"]
    return str(status["health"])


def test_setting_divergenceDetection_degradedCheckpointAgeThreshold(world: World) -> None:
    world.set("divergenceDetection.degradedCheckpointAgeThreshold", "10m")
    assert health_after(world, 11 * MINUTE) == "DEGRADED"


def test_setting_divergenceDetection_unhealthyCheckpointAgeThreshold(world: World) -> None:
    world.set("divergenceDetection.unhealthyCheckpointAgeThreshold", "40m")
    assert health_after(world, 41 * MINUTE) == "UNHEALTHY"


def test_setting_divergenceDetection_enableCrossLogChecks(world: World) -> None:
    assert cross_log_alerts(world, checks="true") != []


def test_setting_divergenceDetection_enableCrossLogChecks_off(world: World) -> None:
    assert cross_log_alerts(world, checks="false") == []


def cross_log_alerts(world: World, checks: str, origins: str = "[mirror.example]") -> list[str]:
    """Mirror a log whose mirror log says something else; return the types of alerts."""
    twin = SimulatedLog("mirror.example", salt="other")
    world.set("divergenceDetection.enableCrossLogChecks", checks)
    world.set("divergenceDetection.mirrorOrigins", origins)
    world.add("mirror", twin)
    world.log.grow(5)
    twin.grow(5)
    world.now += 5 * MINUTE
    from appliance.cli.main import run

    session = Session(home=world.home, now=lambda: world.now, sleep=lambda _: None)
    run(["sync"], session)
    world.capsys.readouterr()
    return [one["type"] for one in world.cli("alerts", "list")["data"]["alerts"]]


def test_setting_divergenceDetection_mirrorOrigins(world: World) -> None:
    assert cross_log_alerts(world, checks="true", origins="[]") == []


def test_setting_alerts_enabled(world: World) -> None:
    path = sink(world)
    world.set("alerts.enabled", "false")
    fork(world)
    assert world.cli("alerts", "list")["data"]["alerts"] != []
    assert heard(path) == []


def test_setting_alerts_defaultTenant(world: World) -> None:
    path = sink(world)
    world.set("alerts.defaultTenant", "night-shift")
    fork(world)
    assert {one["tenant"] for one in heard(path)} == {"night-shift"}


def test_setting_alerts_alertOnHighSeverity(world: World) -> None:
    path = sink(world)
    world.set("alerts.alertOnHighSeverity", "false")
    fork(world)
    assert "critical" not in {one["severity"] for one in heard(path)}


def test_setting_alerts_alertOnWarning(world: World) -> None:
    path = sink(world)
    world.set("alerts.alertOnWarning", "false")
    world.log.grow(3)
    world.sync()
    world.serve("primary", None)
    world.sync(after=3 * HOUR, expect=7)
    assert "warning" not in {one["severity"] for one in heard(path)}
    assert world.cli("alerts", "list")["data"]["alerts"] != []


@pytest.mark.parametrize("on", ["true", "false"])
def test_setting_alerts_alertOnInfo(world: World, on: str) -> None:
    """A replica that was stale once is a notice; from the second time it is a warning."""
    path = sink(world)
    world.set("alerts.alertOnInfo", on)
    world.log.grow(30)
    world.sync()
    world.log.roll_back(to=20)
    world.sync()
    told = [(one["eventType"], one["severity"]) for one in heard(path)]
    assert told == [("rekor.checkpoint.stale_replica", "info")] * (on == "true")
    world.sync()
    assert [one["severity"] for one in heard(path)][len(told) :] == ["warning"]
    world.ends(
        head=30,
        alerts=["StaleReplica info x1 over"] * (on == "true") + ["StaleReplica warning x1"],
        health="DEGRADED",
        counts={"anomalies_detected_total info StaleReplica": 2},
    )


def test_setting_alerts_stream(world: World) -> None:
    path = sink(world)
    world.set("alerts.stream", "pager")
    fork(world)
    assert {one["stream"] for one in heard(path)} == {"pager"}


def test_setting_alerts_sinks(world: World) -> None:
    path = sink(world)
    fork(world)
    assert heard(path) != []
