"""A hostile server and a client for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appliance.fetch.http import HttpClient, HttpSettings
from appliance.fetch.proxies import choose_proxies
from appliance.fetch.tls import TlsSettings
from tests.fetch.hostile_server import HostileServer

OpenClient = Callable[..., HttpClient]


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running


@pytest.fixture
def naps() -> list[float]:
    """Every pause a client made, in seconds. None of them takes any time."""
    return []


@pytest.fixture
def open_client(naps: list[float]) -> Iterator[OpenClient]:
    """Opens clients with the given settings; each is closed after the test."""
    clients: list[HttpClient] = []

    def open_one(run_seconds: float = 20.0, **settings: Any) -> HttpClient:
        settings = {"request_seconds": 5.0, **settings}
        if ca_file := settings.pop("ca_file", None):
            settings["tls"] = TlsSettings(ca_file)
        if proxy := settings.pop("proxy", None):
            settings["proxies"] = choose_proxies(proxy, (), None, {})
        clients.append(
            HttpClient(HttpSettings(**settings), run_seconds=run_seconds, sleep=naps.append)
        )
        return clients[-1]

    yield open_one
    for client in clients:
        client.close()


@pytest.fixture
def client(open_client: OpenClient) -> HttpClient:
    """Five seconds a request, one attempt."""
    return open_client(attempts=1)
