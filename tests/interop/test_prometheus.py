"""A real Prometheus and a real node_exporter fire our alerts, all the way from a home's store.

sync -> store -> attestor metrics --textfile -> node_exporter -> Prometheus, on loopback.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from tests.interop.attestor import Site
from tests.interop.monitoring_peers import ask, monitoring_peer
from tests.interop.rekor_server import static_file_server
from tests.interop.service import service
from tests.monitoring import RULES
from tests.simulator import SimulatedLog

pytestmark = pytest.mark.interop

FIRES_WITHIN_SECONDS = 60.0
AGO_SECONDS = 40 * 60  # beyond 900 s, and short of what a log may take to publish


@contextmanager
def watched(directory: Path, textfiles: Path) -> Iterator[str]:
    """Run node_exporter over a directory of textfiles and Prometheus with our rules over that.

    Only how long a condition has to hold is shortened. Yields Prometheus' URL.
    """
    prometheus, exporter = (
        monitoring_peer("prometheus"),
        monitoring_peer("prometheus-node-exporter"),
    )
    shipped = RULES.read_text()
    hurried, changed = re.subn(r"(?m)^(\s+for): \S+$", r"\1: 1s", shipped)
    assert changed > 5
    (directory / "hurried.rules.yml").write_text(hurried)

    def node(ports: Sequence[int]) -> list[str | Path]:
        return [
            *(exporter, "--collector.disable-defaults", "--collector.textfile"),
            *(f"--collector.textfile.directory={textfiles}", "--log.level=error"),
            f"--web.listen-address=127.0.0.1:{ports[0]}",
        ]

    with service(node, 1, directory / "node_exporter.log", "/") as exporter_url:
        target = exporter_url.removeprefix("http://")
        config = directory / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            "rule_files: [hurried.rules.yml]\n"
            "scrape_configs:\n"
            f"  - {{job_name: node, static_configs: [{{targets: ['{target}']}}]}}\n"
        )

        def server(ports: Sequence[int]) -> list[str | Path]:
            return [
                *(prometheus, f"--config.file={config}", "--log.level=warn"),
                *(f"--storage.tsdb.path={directory / 'tsdb'}",),
                f"--web.listen-address=127.0.0.1:{ports[0]}",
            ]

        with service(server, 1, directory / "prometheus.log", "/-/ready") as url:
            yield url


def firing(url: str) -> dict[str, dict[str, Any]]:
    """Return the alerts that fire now, by name."""
    with closing(HTTPConnection(url.removeprefix("http://"), timeout=5)) as connection:
        connection.request("GET", "/api/v1/alerts")
        found = json.load(connection.getresponse())["data"]["alerts"]
    return {one["labels"]["alertname"]: one for one in found if one["state"] == "firing"}


def wait_until(url: str, name: str, *, fires: bool) -> dict[str, dict[str, Any]]:
    """Wait, not for ever, until an alert fires or no longer does."""
    deadline = time.monotonic() + FIRES_WITHIN_SECONDS
    while (name in (found := firing(url))) is not fires:
        assert time.monotonic() < deadline, f"{name} fires: {not fires}; fires now: {list(found)}"
        time.sleep(0.5)
    return found


def test_a_sync_that_stopped_and_a_log_that_lies_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("prometheus", "prometheus-node-exporter"):
        monitoring_peer(name)
    log = SimulatedLog()
    log.grow(300)
    log.write_static(tmp_path / "log")
    (tmp_path / "log.der").write_bytes(log.key.spki)
    textfiles = tmp_path / "textfiles"
    textfiles.mkdir()
    textfile = textfiles / "attestor.prom"
    site = Site(tmp_path / "home")
    with static_file_server(tmp_path / "log") as log_url:
        # All of it in the past: a home never goes back behind what it wrote down itself.
        past = Session(home=site.home, now=lambda: int(time.time()) - AGO_SECONDS)
        add = ["backend", "add", "public", "--origin", log.origin]
        add += ["--public-key", str(tmp_path / "log.der")]
        add += ["--url", log_url, "--read-url", log_url]
        for words in (["init", "--site", "watched.example"], add, ["sync", "--json"]):
            assert run(words, past) == 0, capsys.readouterr().out
        written(site, textfile)
        with watched(tmp_path, textfiles) as url:
            stale = wait_until(url, "RekorSyncStale", fires=True)["RekorSyncStale"]
            assert stale["labels"]["backend"] == "public"
            assert stale["labels"]["severity"] == "warning"
            assert float(stale["value"]) == pytest.approx(AGO_SECONDS, abs=60)
            assert stale["annotations"]["summary"].startswith("public was last synced 40m")

            # The same way back: somebody sees to it.
            site.run("sync")
            written(site, textfile)
            left = wait_until(url, "RekorSyncStale", fires=False)
            assert left == {}

            # And then the log shows another tree.
            log.fork(at=120).write_static(tmp_path / "log")
            site.run("sync", expect=4)
            written(site, textfile)
            wait_until(url, "RekorAnomalyCritical", fires=True)
            lie = wait_until(url, "RekorCheckpointMismatch", fires=True)["RekorCheckpointMismatch"]
            assert lie["labels"]["origin"] == log.origin
            assert lie["labels"]["severity"] == "critical"


def written(site: Site, textfile: Path) -> None:
    """Write the metrics, and have promtool look at them."""
    site.run("metrics", "--textfile", textfile)
    checked = ask("promtool", "check", "metrics", stdin=textfile.read_text())
    assert (checked.returncode, checked.stdout) == (0, "")
