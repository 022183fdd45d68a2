"""What answers in a log's place is named, with its URL; it is the network's fault, not a no."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import RemoteError
from appliance.fetch.http import HttpClient, HttpSettings
from appliance.fetch.rekor_v2 import RekorV2Log
from tests.cli.homes import Home
from tests.rig.uniform_log import served
from tests.simulator import SimulatedLog

PORTAL = b"<!DOCTYPE html>\n<html><head><title>Guest network</title>"
V1_LOG = b'{"treeID": "1", "treeSize": 7, "rootHash": "00", "signedTreeHead": ""}'


def added(home: Home, url: str) -> None:
    log = SimulatedLog()
    key = home.path.parent / "log.vkey"
    key.write_text(log.key.vkey + "\n")
    home.json("backend", "add", "sim", "--origin", log.origin, "--public-key", key, "--url", url)


def test_a_page_with_status_200_is_no_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home", capsys)
    with served(lambda _: PORTAL) as url:
        added(home, url)
        code, _, error = home.run("sync")
    assert code == 7
    for part in (f"{url}api/v2/checkpoint", "200", "Content-Type", "<!DOCTYPE html> <html>"):
        assert part in error, error


@pytest.mark.parametrize("is_v1", [True, False])
def test_a_v1_log_is_recognised_by_its_own_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_v1: bool
) -> None:
    home = Home(tmp_path / "home", capsys)
    answers = {"api/v1/log": V1_LOG} if is_v1 else {}
    with served(answers.__getitem__) as url:
        added(home, url)
        code, _, error = home.run("sync")
        with HttpClient(HttpSettings()) as http, pytest.raises(RemoteError) as raised:
            RekorV2Log(http, "", url).checkpoint()
    # A v1 log is followed by itself, and its head is not signed by the key that is pinned.
    assert code == (3 if is_v1 else 7), error
    assert ("this looks like a Rekor v1 log" in raised.value.message) is is_v1
