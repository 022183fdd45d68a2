"""The default limits, from the first item to the last, in simulated time: 100 an hour of each
tenant, 34 in ten minutes; through a proxy that misbehaves, into our own private log.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.cli.main import run
from appliance.store.home.key_files import load_signing_key
from tests.private_log.private_homes import ORIGIN, home_in_memory, make_home
from tests.rig.fault_proxy import FAULTS, fault_proxy
from tests.rig.queue_rig import QueueHome, Target, judge, served_leaves
from tests.rig.replay import Limit
from tests.rig.simulated_clock import START, SimulatedClock
from tests.serve.running_log import running_log

SOAK = os.environ.get("ATTESTOR_SOAK") == "1"
ITEMS = 10_000 if SOAK else 750
DEFAULTS = [Limit(600, 34), Limit(3600, 100)]


def test_the_default_limits_hold_from_the_first_item_to_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SimulatedClock()
    with home_in_memory() as log_home, home_in_memory() as home:
        make_home(log_home)
        spki = load_signing_key(log_home, ORIGIN).verifier.spki
        with (
            running_log(log_home) as server,
            fault_proxy(
                *(server.url, tmp_path / "record"), seed=31, faults=FAULTS, clock=clock.seconds
            ) as proxy,
        ):
            (tmp_path / "log.key").write_bytes(spki)
            target = Target(ORIGIN, spki, tmp_path / "log.key", f"{server.url}/api/v2")
            app = clock.app(home)
            site = QueueHome(home, target, proxy.url, {})
            site.fill(ITEMS, app)
            drains = 0
            while site.waiting():
                code = run(["queue", "drain", "--json"], app)
                said, err = capsys.readouterr()
                assert code in (0, 7, 8) and not err, said + err
                drains += 1
                clock.sleep(60)  # cron
                assert clock.now() - START < 60 * 3600, f"{site.waiting()} wait after 60 hours"
            leaves = served_leaves(server)
        figures = judge(site, proxy, leaves, DEFAULTS, ITEMS)
    figures.drains, figures.seconds = drains, clock.monotonic()
    # The limits were what it waited for: without them all would have been through at once.
    held_in_ten_minutes, held_in_an_hour = figures.fullest.values()
    assert held_in_an_hour >= 80 and held_in_ten_minutes >= 30
    print(f"\nsimulated: {figures}")  # noqa: T201 what scripts/soak-queue is for
