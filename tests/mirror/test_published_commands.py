"""What is published about the product, typed in its order: settings, then commands, one by one.

Key files are local, and the host names lead to servers on loopback behind a proxy and an
authority of the test's own: the only two settings that the published ones do not have.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from appliance.runs import sync
from appliance.value import replaced
from tests.cli.homes import Home
from tests.mirror.test_rekor_v1 import Signed, forge
from tests.rig.network import Authority, connect_proxy, tls_front
from tests.rig.v1_shards import V1Instance, v1_instance

PRODUCTION, STAGING = "rekor.sigstore.dev", "rekor.sigstage.dev"
SETTINGS = """\
attestor:
  rekorSync:
    enabled: true
    syncInterval: 5m
    initialDelay: 30s
    enableTileSync: true
    maxTilesPerSync: 100
    backends:
      - id: sigstore-prod
        origin: rekor.sigstore.dev
        baseUrl: https://rekor.sigstore.dev
        publicKeyPath: {keys}/rekor.sigstore.dev.pub
      - id: sigstore-staging
        origin: rekor.sigstage.dev
        baseUrl: https://rekor.sigstage.dev
        publicKeyPath: {keys}/rekor.sigstage.dev.pub
  checkpointStore:
    connectionString: {connection}
    schema: attestor
    autoInitializeSchema: true
  tileCache:
    basePath: {keys}/tiles
    maxCacheSizeBytes: 10737418240
    autoPruneAfter: 720h
  divergenceDetection:
    enabled: true
    staleCheckpointThreshold: 1h
    staleTreeSizeThreshold: 2h
    degradedCheckpointAgeThreshold: 30m
    unhealthyCheckpointAgeThreshold: 2h
    enableCrossLogChecks: true
    mirrorOrigins:
      - rekor.mirror.example
  alerts:
    enabled: true
    defaultTenant: system
    alertOnHighSeverity: true
    alertOnWarning: true
    alertOnInfo: false
    stream: attestor.alerts
"""
POSTGRES = "Host=postgres;Database=stella;Username=attestor;Password=hunter2"


class Typist(Home):
    """Somebody who types it as it stands there."""

    def type(self, line: str, expect: int = 0) -> str:
        """Type a line, without the command's name; return all it says."""
        code, out, err = self.run(*line.split())
        assert code == expect, f"{line}\n{out}{err}"
        return out + err


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, V1Instance]]:
    """Three instances behind their host names: production, staging, and a mirror."""
    authority = Authority(tmp_path / "authority")
    with ExitStack() as stack:
        found = {host: stack.enter_context(v1_instance(host)) for host in (PRODUCTION, STAGING)}
        ports = {}
        for host, log in found.items():
            log.grow(20)
            (tmp_path / f"{host}.pub").write_bytes(log.public_key)
            port = int(log.url.rpartition(":")[2])
            ports[host] = stack.enter_context(tls_front(port, authority.server(host)))
        proxy = stack.enter_context(connect_proxy(ports))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        yield found


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], logs: dict[str, V1Instance]) -> Typist:
    home = Typist(tmp_path / "home", capsys)
    home.app = replaced(home.app, now=lambda: int(time.time()), sleep=lambda _: None)
    home.type(f"config set http.caFile {tmp_path}/authority/ca.pem")
    return home


def test_the_published_lines_in_their_order(
    site: Typist, tmp_path: Path, logs: dict[str, V1Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "MAX_ENTRIES", 24)  # of a log of billions it is 100,000
    file = tmp_path / "attestor.yaml"
    file.write_text(SETTINGS.format(keys=tmp_path, connection=f'"{POSTGRES}"'))
    said = site.type(f"config validate {file}", 9)
    assert "checkpointStore.connectionString: this names a database server" in said
    assert "one SQLite file" in said
    assert "write attestor.db" in said
    assert "hunter2" not in said
    assert POSTGRES not in site.type(f"config apply {file}", 9)
    file.write_text(SETTINGS.format(keys=tmp_path, connection="attestor.db"))
    assert "is valid" in site.type(f"config validate {file}")
    assert "sigstore-prod" in site.type(f"config apply {file}")

    assert "one SQLite file" in site.type(f"checkpoint-store init --connection {POSTGRES}", 9)
    site.type("checkpoint-store init --force")
    assert "database ok" in site.type("checkpoint-store test")
    added = site.type(
        "backend add sigstore-prod --origin rekor.sigstore.dev --url https://rekor.sigstore.dev"
        f" --public-key {tmp_path}/rekor.sigstore.dev.pub"
    )
    assert "is pinned" in added
    assert "checkpoint 20 from https://rekor.sigstore.dev/ verifies" in site.type(
        "backend verify-key sigstore-prod"
    )
    assert "first, accepted 20" in site.type("sync --backend sigstore-prod")
    logs[PRODUCTION].grow(5)
    assert "ahead, accepted 25" in site.type("sync --backend sigstore-prod --full")
    assert "sigstore-staging: first, accepted 20" in site.type("sync --all")
    refused = site.type("sync --backend sigstore-prod --full-tiles", 8)
    assert "Rekor v1" in refused
    assert "--from INDEX --count N" in refused
    heads, prod, staging = site.type("sync-status").splitlines()[:3]
    for heading in ("Backend", "Origin", "Tree Size", "Last Sync", "Age"):
        assert heading in heads
    assert "rekor.sigstore.dev - 1001" in prod
    assert "sigstore-staging" in staging
    assert "0.0%" not in prod, "a log without tiles covers no part of them"
    listed = site.type("checkpoints list --backend sigstore-prod --last 10")
    assert listed.count("rekor.sigstore.dev - 1001") == 2
    site.type("checkpoints prune --older-than 720h --keep-latest")
    assert "2 of 2 checkpoints proven" in site.type("checkpoints verify --backend sigstore-prod")
    stats = site.type("tiles stats --backend sigstore-prod")
    for name in ("Origin", "Total Tiles", "Cache Size", "Coverage", "Oldest Tile", "Newest Tile"):
        assert f"{name}:" in stats
    site.type("tiles prune --older-than 720h")
    site.type("tiles clear --backend sigstore-prod")
    out = tmp_path / "checkpoints.tar.zst"
    site.type(f"export --backend sigstore-prod --output {out} --include-tiles")
    both = tmp_path / "verified.tar.zst"
    site.type(
        f"export --backend sigstore-prod --output {both} --include-tiles"
        " --checkpoints-only-verified"
    )
    site.type(f"import {out} --insecure-unsigned")
    site.type("config validate")

    # Divergence: what is looked at every day, and what two stories of the log do.
    assert "signed by the log" in site.type(
        "checkpoint verify --origin rekor.sigstore.dev --tree-size 25"
    )
    compared = site.type(f"checkpoint list --origins {PRODUCTION},{STAGING}")
    assert "rekor.sigstage.dev - 1001" in compared
    rows = site.run("sql", "SELECT origin, tree_size FROM attestor.rekor_checkpoints")
    assert rows[0] == 0, rows
    assert "rekor.sigstore.dev - 1001" in rows[1]
    signed = Signed(tmp_path, logs[PRODUCTION])
    site.type(f"sync --backend sigstore-prod --for {signed.bundle()}")
    verified = f"verify {signed.artifact} --bundle {signed.bundle()} --key {signed.key}"
    assert "covered by our mirror" in site.type(verified)
    forge(logs[PRODUCTION].active, at=3)
    told: Any = site.type("sync --backend sigstore-prod", 4)
    assert "RootHashMismatch at size 26" in told
    assert "rekor.checkpoint.divergence" in site.run("alerts", "list", "--json")[1]
    assert "QUARANTINED" in site.type("sync-status")
    site.type(verified, 8)
    metrics = site.type("metrics")
    for name in (
        *("checkpoints_fetched_total", "checkpoints_stored_total", "tiles_fetched_total"),
        *("tiles_cached_total", "checkpoint_age_seconds", "tiles_cached"),
        *("last_success_seconds", "errors_total"),
    ):
        assert f"attestor_rekor_sync_{name}" in metrics
    assert (
        'attestor_rekor_checkpoint_mismatch_total{backend="sigstore-prod",'
        'origin="rekor.sigstore.dev - 1001"} 1' in metrics
    )
