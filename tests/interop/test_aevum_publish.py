"""aevum-publish as it is on PyPI, before our log: what it submits is logged and recorded."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from tests.interop.private_log import PrivateLog, private_log

pytestmark = pytest.mark.interop

SECONDS: Final = 120.0
# Its own words, from its documentation: install, approve, call on_approved; then events.
PROGRAM: Final = """
import json
from importlib.metadata import version
from aevum.core import Engine
from aevum.publish import PublishComplication
from aevum.publish.backends import RekorV2Backend

engine = Engine()
comp = PublishComplication(every_n_events=3, every_seconds=300)
engine.install_complication(comp)
engine.approve_complication("aevum-publish")
comp.on_approved(engine)
for number in range(6):
    engine._ledger.append(event_type="test", payload={"number": number}, actor="test")
    comp.on_event_written()
receipt = RekorV2Backend().submit(b"a receipt") if SUBMIT else None
entries = engine.get_ledger_entries()
print(json.dumps({"version": version("aevum-publish"), "receipt": receipt, "entries": entries}))
"""


def run(url: str, *, submit: bool = True) -> tuple[dict[str, Any], str]:
    """Run it in an environment of its own; return what it recorded, and what it warned of."""
    directory = os.environ.get("ATTESTOR_PYTHON_PEERS")
    if not directory:
        pytest.skip("no aevum-publish: scripts/python-peers could not install it here")
    ran = subprocess.run(
        [Path(directory) / "bin" / "python", "-c", f"SUBMIT = {submit}\n{PROGRAM}"],
        env={"AEVUM_REKOR_URL": url, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    told: dict[str, Any] = json.loads(ran.stdout)
    return told, ran.stderr.decode()


def checkpoints(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        one["payload"] for one in told["entries"] if one["event_type"] == "transparency.checkpoint"
    ]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateLog]:
    directory = tmp_path_factory.mktemp("aevum") / "log"
    with private_log(directory, digest_key="digests.example") as running:
        yield running


def test_its_checkpoints_are_logged_and_recorded_with_their_proofs(log: PrivateLog) -> None:
    told, warned = run(log.url)
    assert told["version"] == "0.9.0"
    assert "submission failed" not in warned
    recorded = checkpoints(told)
    reasons = [one["checkpoint_reason"] for one in recorded]
    assert reasons[0] == "complication.approved" and reasons.count("n_events") == 2
    for one in recorded:
        assert one["rekor_server"] == log.url
        # What it recorded is in the log, as a reader of the log proves it.
        index = one["rekor_log_index"]
        found = log.site.run("log", "get", "--url", log.url, "--log-index", str(index))
        assert found["leafHash"] == one["rekor_entry_hash"]
        assert found["digests"] == [f"sha256:{_digest(told, one)}"]
        proof = one["inclusion_proof"]
        assert (proof["logIndex"], proof["treeSize"]) == (index, index + 1)
        assert _root(found["leafHash"], proof) == proof["rootHash"]
        assert proof["checkpoint"].startswith(f"{log.origin}\n{index + 1}\n")
    found = log.site.run("log", "get", "--url", log.url, "--log-index", str(len(recorded)))
    assert found["leafHash"] == told["receipt"]
    assert found["digests"] == [f"sha256:{sha256(b'a receipt').hexdigest()}"]


def test_without_the_option_it_warns_and_goes_on(tmp_path: Path) -> None:
    with private_log(tmp_path / "log") as plain:
        told, warned = run(plain.url, submit=False)
    assert checkpoints(told) == []
    assert "checkpoint submission failed" in warned and "400" in warned


def _digest(told: dict[str, Any], checkpoint: dict[str, Any]) -> str:
    """Compute again what it says it submitted: the record of the chain's last entry then."""
    [entry] = [one for one in told["entries"] if one["sequence"] == checkpoint["chain_sequence"]]
    names = ("sequence", "prior_hash", "signer_key_id", "system_time")
    record = {name: entry[name] for name in names}
    return sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _root(leaf: str, proof: dict[str, Any]) -> str:
    """Follow a proof of the last entry of a tree: every sibling is on the left (RFC 9162)."""
    found = bytes.fromhex(leaf)
    for one in proof["hashes"]:
        found = sha256(b"\1" + bytes.fromhex(one) + found).digest()
    return found.hex()
