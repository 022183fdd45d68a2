"""rekor_monitor watches our log by our TUF repository: its consistency and its identity run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import RFC822Name
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.interop.private_log import PrivateLog, private_log
from tests.interop.rekor_monitor import monitor, tuf_repository, watch_once
from tests.pki.authorities import (
    IDENTITY,
    ISSUER,
    CtLog,
    Issuer,
    LeafPlan,
    issue,
    new_authority,
    new_timestamp_authority,
    spki,
)
from tests.pki.bundles import pem

pytestmark = pytest.mark.interop

CONFIGURATION = """
monitoredValues:
  certIdentities:
    - certSubject: {subject}
outputIdentities: found.txt
"""


class Watched:
    """A log, the authority of those who sign into it, and what the monitor is told."""

    def __init__(self, directory: Path, log: PrivateLog) -> None:
        self.directory = directory
        self.log = log
        self.ct_log = CtLog()
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
        self.now = start + timedelta(minutes=59)
        root = new_authority("test root", start=start, end=start + timedelta(days=2))
        self.authority: Issuer = new_authority(
            "test CA",
            root,
            usage=ExtendedKeyUsageOID.CODE_SIGNING,
            critical_usage=False,
            path_length=0,
            start=start,
            end=start + timedelta(days=2),
        )
        for name, chain in (
            ("ca.pem", (self.authority.certificate, root.certificate)),
            ("tsa.pem", new_timestamp_authority().chain),
        ):
            text = b"".join(one.public_bytes(Encoding.PEM) for one in chain)
            (directory / name).write_bytes(text)
        (directory / "ct.pem").write_bytes(pem("PUBLIC KEY", spki(self.ct_log.key)))
        tuf_repository(directory, log)

    def sign(self, content: bytes, who: str) -> int:
        """Log a signature by somebody whom the authority certified; return its index."""
        key = ec.generate_private_key(ec.SECP256R1())
        plan = LeafPlan(
            names=[RFC822Name(who)], start=self.now, end=self.now + timedelta(minutes=10)
        )
        leaf = issue(plan, key, self.authority, self.ct_log)
        for name, data in (
            ("artifact", content),
            ("signature", key.sign(content, ec.ECDSA(SHA256()))),
            ("leaf.pem", leaf.public_bytes(Encoding.PEM)),
        ):
            (self.directory / name).write_bytes(data)
        added = self.log.site.run(
            *("log", "add", "--artifact", self.directory / "artifact"),
            *("--signature", self.directory / "signature"),
            *("--certificate", self.directory / "leaf.pem"),
        )
        return int(added["index"])

    def watch(self, subject: str) -> str:
        """Run the monitor once; return what it said."""
        configuration = CONFIGURATION.format(subject=subject)
        return watch_once(self.directory, self.log.origin, self.log.url, configuration)

    @property
    def sizes(self) -> list[int]:
        """The sizes of the trees that it verified and wrote down."""
        text = (self.directory / "checkpoints.txt").read_text()
        return [int(one.split("\\n")[1]) for one in text.splitlines() if one]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    monitor()
    with private_log(tmp_path / "log") as log:
        yield Watched(tmp_path, log)


def test_it_proves_that_our_log_grew_and_finds_an_identity(watched: Watched) -> None:
    watched.sign(b"before it looked", IDENTITY)
    said = watched.watch(IDENTITY)
    assert "error" not in said, said
    assert watched.sizes[-1] == 1
    index = watched.sign(b"after it looked", IDENTITY)
    watched.sign(b"by another", "stranger@example.com")
    said = watched.watch(IDENTITY)
    assert "error" not in said, said
    assert watched.sizes[-1] == 3
    found = (watched.directory / "found.txt").read_text()
    assert found == f"{IDENTITY} {ISSUER} {index}\n"


def test_it_notices_a_tree_that_does_not_go_on(watched: Watched) -> None:
    """What makes the first test one: the same monitor, told of another past, refuses our log."""
    watched.sign(b"first", IDENTITY)
    watched.watch(IDENTITY)
    file = watched.directory / "checkpoints.txt"
    origin, size, root = file.read_text().strip().split("\\n")[:3]
    file.write_text("\\n".join((origin, size, "A" + root[1:])) + "\\n")
    watched.sign(b"second", IDENTITY)
    assert "consistency" in watched.watch(IDENTITY)
