"""One real log for the whole run: starting it and filling it is what takes the time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.interop.peers_table import table
from tests.interop.rekor_client import log_all
from tests.interop.rekor_server import RekorServer, rekor_server
from tests.interop.signed_artifact import SignedArtifact, body_of, sign_artifact

FIRST_ENTRIES = 330  # one full tile and a partial one


@dataclass(slots=True)
class RealLog:
    """A running server and all that was ever put into it."""

    server: RekorServer
    signer: ec.EllipticCurvePrivateKey
    artifacts: list[SignedArtifact] = field(default_factory=list)  # by entry index
    answers: list[dict[str, Any]] = field(default_factory=list)  # by entry index

    @property
    def entries(self) -> list[bytes]:
        """Every leaf, as the server answered it."""
        return [body_of(answer) for answer in self.answers]

    def grow(self, count: int) -> None:
        """Log `count` more artifacts; returns when a checkpoint covers them all."""
        start = len(self.artifacts)
        fresh = [
            sign_artifact(self.signer, f"artifact {number}\n".encode())
            for number in range(start, start + count)
        ]
        answers = log_all(self.server.url, fresh)
        pairs = sorted(zip(answers, fresh, strict=True), key=lambda pair: int(pair[0]["logIndex"]))
        assert [int(answer["logIndex"]) for answer, _ in pairs] == list(range(start, start + count))
        self.answers += [answer for answer, _ in pairs]
        self.artifacts += [artifact for _, artifact in pairs]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """End a run of scripts/interop with what it was held against, versions and results."""
    if "interop" not in str(config.getoption("markexpr")):
        return
    kinds = {"passed": ("passed",), "failed": ("failed", "error"), "skipped": ("skipped",)}
    results = {
        kind: [
            one.nodeid
            for name in names
            for one in terminalreporter.stats.get(name, [])
            if name != "passed" or one.when == "call"
        ]
        for kind, names in kinds.items()
    }
    terminalreporter.section("what it was held against")
    for line in table(results):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def real_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLog]:
    """Run the real server, with more entries in it than one tile holds."""
    with rekor_server(tmp_path_factory.mktemp("rekor")) as server:
        log = RealLog(server, ec.generate_private_key(ec.SECP256R1()))
        log.grow(FIRST_ENTRIES)
        yield log
