"""rekor_monitor, where a copy exists, and one run of it.

Its module is on no proxy that we know, so it is built by hand, `go build ./cmd/rekor_monitor` in
its repository, and found by ATTESTOR_REKOR_MONITOR. It takes what follows https:// in the log's
URL for the log's origin; so it is given the origin as the URL, and our server as the HTTP proxy.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.interop.own_sigstore import web_server
from tests.interop.private_log import PrivateLog

SETTING = "ATTESTOR_REKOR_MONITOR"
SECONDS = 900.0


def monitor() -> Path:
    """Return the program; skips, with its reason, where there is no copy."""
    named = os.environ.get(SETTING, "")
    if not named:
        pytest.skip(f"no rekor_monitor: no proxy serves its module, and {SETTING} names no copy")
    assert Path(named).is_file(), f"{SETTING} names {named}, which is not there"
    return Path(named)


def tuf_repository(directory: Path, log: PrivateLog) -> None:
    """Write what it is told of a site: below `directory` are ca.pem, tsa.pem and ct.pem."""
    clients = directory / "clients"
    log.site.run(
        *("log", "client-config", "--url", f"http://{log.origin}", "--output", clients),
        *("--fulcio-root", directory / "ca.pem", "--fulcio-url", "http://127.0.0.1:1"),
        *("--ct-key", directory / "ct.pem", "--oidc-issuer", "http://127.0.0.1:2"),
        *("--tsa", directory / "tsa.pem", "--tsa-url", "http://127.0.0.1:3/stamp"),
    )
    log.site.run("log", "tuf-repository", directory / "tuf", "--client-config", clients)


def watch_once(directory: Path, origin: str, proxy: str, configuration: str) -> str:
    """Run it once with a configuration; return what it said."""
    with web_server(directory / "tuf") as tuf:
        (directory / "config.yaml").write_text(configuration)
        words = [
            *(monitor(), "--once", "--file", "checkpoints.txt", "--url", f"http://{origin}"),
            *("--tuf-repository", tuf, "--tuf-root-path", "tuf/1.root.json"),
            *("--config-file", "config.yaml"),
        ]
        done = subprocess.run(
            list(map(str, words)),
            cwd=directory,
            env={"HOME": str(directory), "HTTP_PROXY": proxy},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
