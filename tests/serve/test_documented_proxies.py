"""The web servers' configurations in docs/tls.md, held against what our server does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.rekor.request import MAX_REQUEST_BYTES
from appliance.serve.http_server import IDLE_SECONDS
from appliance.serve.private_log import ANSWER_SECONDS
from tests.interop.documents import blocks

ROOT = Path(__file__).resolve().parents[2]
SERVERS = {
    "nginx": (r"keepalive_timeout (\d+)s;", r"client_max_body_size (\d+)m;"),
    "caddy": (r"keepalive (\d+)s", r"max_size (\d+)MB"),
}


@pytest.mark.parametrize("name", SERVERS)
def test_the_web_server_closes_first_and_waits_long_enough(name: str) -> None:
    """A request on a connection that we are closing would be lost, and a POST is not sent twice."""
    [text] = blocks("docs/tls.md", name)
    kept, largest = (int(re.findall(pattern, text)[0]) for pattern in SERVERS[name])
    assert kept < IDLE_SECONDS
    assert largest * 1_000_000 > MAX_REQUEST_BYTES, "the log is to refuse it in its own words"
    [waits] = re.findall(r"read_timeout (\d+)s", text)
    assert int(waits) > ANSWER_SECONDS


def test_both_write_the_header_that_the_settings_name() -> None:
    [settings] = blocks("docs/tls.md", "yaml")
    [header] = re.findall(r"clientCertificateHeader: (\S+)", settings)
    assert f"proxy_set_header {header} " in blocks("docs/tls.md", "nginx")[0]
    assert f"header_up {header} " in blocks("docs/tls.md", "caddy")[0]
