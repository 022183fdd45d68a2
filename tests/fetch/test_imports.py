"""What fetching imports: a sync with nothing new takes hardly longer than its start."""

from __future__ import annotations

import subprocess
import sys

SLOW = {
    "urllib3",
    "requests",
    "http.client",
    "email",
    "dataclasses",
    "asyncio",
    "concurrent.futures",
}


def test_a_client_is_made_without_the_packages_that_others_need_for_it() -> None:
    code = (
        "import sys; from appliance.fetch.http import HttpClient, HttpSettings\n"
        "HttpClient(HttpSettings()).close(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "appliance.fetch.connections" in imported
    assert imported & SLOW == set()
