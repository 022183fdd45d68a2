"""A server that claims 2^40 and 2^62, as a length or as seconds to wait: neither room nor time."""

from __future__ import annotations

import http.server
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from appliance.store.database import open_store
from appliance.store.mirror.logs import add_log, put_backend
from tests.bounds.test_claimed_sizes import HUGE, MORE_BYTES, MORE_SECONDS, peak
from tests.cli.homes import Home
from tests.simulator import SimulatedLog


@pytest.mark.parametrize("claimed", [0, *HUGE])
@pytest.mark.parametrize("header", ["Content-Length", "Retry-After"])
def test_a_sync_from_a_server_that_claims_a_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], header: str, claimed: int
) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if header == "Content-Length" else 429)
            self.send_header(header, str(claimed))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    home, log = Home(tmp_path / "home", capsys), SimulatedLog()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with closing(open_store(home.path, write=True)) as store, store.atomic():
            known = add_log(store, log.origin, 2, log.key.spki)
            url = f"http://127.0.0.1:{server.server_port}/"
            put_backend(store, "sim", known, base_url=None, read_url=url)
        before, began = peak(), time.monotonic()
        code, out, error = home.run("sync")
        took = time.monotonic() - began
        server.shutdown()
    assert code in (7, 8), (code, out + error)
    assert peak() - before < MORE_BYTES
    if claimed:
        assert took < 8 + MORE_SECONDS, took  # four attempts take a few seconds without any claim
