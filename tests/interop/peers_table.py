"""Which programs of others a run was held against, their versions, and what came of it.

scripts/interop ends with this table. The version is what the program in hand says of itself: Go
programs by what was built into them, packages by their metadata.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

ABSENT: Final = "not here"
_RESULTS: Final = ("passed", "failed", "skipped")
Version = Callable[[], str]


@dataclass(frozen=True)
class Peer:
    """A program of others, how its version is found, and which files of tests run it."""

    name: str
    version: Version
    tests: tuple[str, ...]  # files, or file::word for those tests that have the word in their name


def _in(variable: str, program: str) -> Path | None:
    directory = os.environ.get(variable, "")
    found = Path(directory) / program
    return found if directory and found.exists() else None


def _built(variable: str, program: str) -> Version:
    """Read the version of the main module out of a Go program."""

    def version() -> str:
        found = _named(variable) if not program else _in(variable, program)
        if found is None or shutil.which("go") is None:
            return ABSENT
        said = _said("go", "version", "-m", found)
        [module] = re.findall(r"(?m)^\tmod\t\S+\t(\S+)", said) or ["?"]
        revision = re.findall(r"(?m)^\tbuild\tvcs.revision=(\w{12})", said)
        return revision[0] if revision and module in ("?", "(devel)") else str(module)

    return version


def _named(variable: str) -> Path | None:
    named = os.environ.get(variable, "")
    return Path(named) if named else None


def _says(variable: str, program: str, *words: str) -> Version:
    """Ask a program for its version."""

    def version() -> str:
        found = _in(variable, program)
        if found is None:
            return ABSENT
        numbers: list[str] = re.findall(r"v?\d+\.\d+(?:\.\d+)*", _said(found, *words))
        return numbers[0] if numbers else "?"

    return version


def _packaged(name: str) -> Version:
    return lambda: metadata.version(name)


def _node(name: str) -> Version:
    def version() -> str:
        found = _in("ATTESTOR_SITE_PEERS", f"sigstore-js/node_modules/{name}/package.json")
        return ABSENT if found is None else str(json.loads(found.read_text())["version"])

    return version


def _pip(name: str) -> Version:
    def version() -> str:
        python = _in("ATTESTOR_PYTHON_PEERS", "bin/python")
        if python is None:
            return ABSENT
        code = "from importlib.metadata import distributions; print(*(one.version for one in"
        code += f" distributions(name={name!r})))"
        return _said(python, "-c", code).strip() or ABSENT  # it may not install here

    return version


def _said(*command: str | Path) -> str:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout


_SERVER: Final = (
    *("test_rekor_server.py", "test_mirror.py", "test_private_log.py", "test_requests.py"),
    *("test_request_matrix.py", "test_tampered_log.py", "test_growing.py", "test_witnesses.py"),
    *("test_queue.py", "test_queue_logs.py", "test_queue_rig.py", "test_find_real_log.py"),
)
_OWN: Final = "test_own_sigstore.py"
_TUF: Final = "test_tuf_clients.py"
_V1: Final = "test_rekor_v1_server.py"
_FIND: Final = "test_find_real_log.py"
_REFERENCE: Final = "test_reference_clients.py"
_VERIFIERS: Final = "ATTESTOR_VERIFICATION_PEERS"
_MONITORING: Final = "ATTESTOR_MONITORING_PEERS"
PEERS: Final = (
    Peer(
        "cosign",
        _built(_VERIFIERS, "cosign"),
        (_OWN, _TUF, f"{_REFERENCE}::cosign", f"{_FIND}::cosign", f"{_FIND}::identity"),
    ),
    Peer(
        "sigstore-python",
        _packaged("sigstore"),
        (
            *(
                "test_sigstore_client.py",
                _OWN,
                _TUF,
                f"{_FIND}::identity",
                f"{_REFERENCE}::sigstore_python",
            ),
            "test_proxies.py::sigstore_python",
        ),
    ),
    Peer("sigstore-go", _built("ATTESTOR_SITE_PEERS", "conformance"), (_OWN, f"{_FIND}::identity")),
    Peer("sigstore-js sign", _node("@sigstore/sign"), (_OWN, f"{_FIND}::identity")),
    Peer("sigstore-js verify", _node("@sigstore/verify"), (_OWN,)),
    Peer("fulcio", _built("ATTESTOR_SITE_PEERS", "fulcio"), (_OWN, _TUF, f"{_FIND}::identity")),
    Peer(
        "timestamp-server",
        _built(_VERIFIERS, "timestamp-server"),
        ("test_timestamp_server.py", _OWN, _TUF, f"{_FIND}::cosign", f"{_FIND}::identity"),
    ),
    Peer("rekor-server-posix", _built("ATTESTOR_PEERS", "rekor-server-posix"), _SERVER),
    Peer("fsck of tessera", _built("ATTESTOR_PEERS", "fsck"), ("test_published_tree.py",)),
    Peer(
        "proof-oracle (x/mod)",
        lambda: "built here" if _in("ATTESTOR_PEERS", "proof-oracle") else ABSENT,
        ("test_mirror.py",),
    ),
    Peer("rekor-server (v1)", _built("ATTESTOR_V1_PEERS", "rekor-server"), (_V1,)),
    Peer("trillian", _built("ATTESTOR_V1_PEERS", "trillian_log_server"), (_V1,)),
    Peer(
        "rekor_monitor",
        _built("ATTESTOR_REKOR_MONITOR", ""),
        ("test_rekor_monitor.py", "test_rekor_monitor_matches.py"),
    ),
    Peer("aevum-publish", _pip("aevum-publish"), ("test_aevum_publish.py",)),
    Peer("google-re2", _pip("google-re2"), ("test_google_re2.py",)),
    Peer("litewitness", _built("ATTESTOR_WITNESS_PEERS", "litewitness"), ("test_witnesses.py",)),
    Peer("nginx", _says("ATTESTOR_PROXY_PEERS", "nginx", "-v"), ("test_proxies.py::nginx",)),
    Peer("Caddy", _says("ATTESTOR_PROXY_PEERS", "caddy", "version"), ("test_proxies.py::caddy",)),
    Peer("prometheus", _says(_MONITORING, "prometheus", "--version"), ("test_prometheus.py",)),
    Peer("promtool", _says(_MONITORING, "promtool", "--version"), ("test_monitoring.py",)),
    Peer("amtool", _says(_MONITORING, "amtool", "--version"), ("test_monitoring.py",)),
)


def table(results: Mapping[str, Iterable[str]]) -> list[str]:
    """Make the lines of the table; `results` are the ids of tests, by passed, failed, skipped."""
    width = max(len(one.name) for one in PEERS)
    lines = [f"{'peer':<{width}}  {'version':<36}" + "".join(f"{one:>9}" for one in _RESULTS)]
    for peer in PEERS:
        counts = (sum(_runs(peer, one) for one in results.get(kind, ())) for kind in _RESULTS)
        numbers = "".join(f"{count:>9}" for count in counts)
        lines.append(f"{peer.name:<{width}}  {peer.version():<36}{numbers}")
    return lines


def _runs(peer: Peer, test: str) -> bool:
    file, _, name = test.partition("::")
    for one in peer.tests:
        named, _, word = one.partition("::")
        if Path(file).name == named and word in name:
            return True
    return False
