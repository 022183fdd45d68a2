"""The table that scripts/interop ends with: all files of tests are in it, results are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.peers_table import ABSENT, PEERS, table

INTEROP = Path(__file__).parent / "interop"
# Held against Go's own library or Chromium, which every machine has in its own version, or us.
OTHERS = {"test_re2.py", "test_ed25519.py", "test_report_page.py", "test_bench.py"}


def test_every_file_of_tests_names_whom_it_runs() -> None:
    there = {one.name for one in INTEROP.glob("test_*.py")}
    named = {test.partition("::")[0] for peer in PEERS for test in peer.tests}
    assert named | OTHERS == there
    for test in (test for peer in PEERS for test in peer.tests if "::" in test):
        file, _, word = test.partition("::")
        assert word in (INTEROP / file).read_text(), test


def test_results_are_counted_by_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTESTOR_PROXY_PEERS", "")
    seen = {
        "passed": [
            "tests/interop/test_proxies.py::test_a[nginx]",
            "tests/interop/test_witnesses.py::b",
        ],
        "failed": ["tests/interop/test_proxies.py::test_a[caddy]"],
        "skipped": ["tests/interop/test_proxies.py::test_b[nginx]"],
    }
    lines = {line.split("  ")[0]: line.split() for line in table(seen)}
    assert lines["nginx"][-4:] == [ABSENT.split()[-1], "1", "0", "1"]
    assert lines["Caddy"][-3:] == ["0", "1", "0"]
    assert lines["litewitness"][-3:] == ["1", "0", "0"]
    assert lines["fulcio"][-3:] == ["0", "0", "0"]
