"""A real TUF repository in a directory, with real keys, that can go wrong as told.

    repository = Repository(tmp_path / "tuf", {"trusted_root.json": raw})
    repository.publish()                      # timestamp, snapshot, targets: one version on
    repository.rotate("root", "timestamp")    # a new root: new keys for these roles
    repository.publish(timestamp_days=-1)     # born expired

Three keys a role, two must sign, except timestamp and snapshot, which have one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

ROLES: Final = ("root", "timestamp", "snapshot", "targets")
OFFLINE: Final = ("root", "targets")


def days_from_now(days: float) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


class Repository:
    """The keys and the newest state; `directory` is what a server serves."""

    def __init__(self, directory: Path, files: dict[str, bytes]) -> None:
        self.directory = directory
        (directory / "targets").mkdir(parents=True)
        self.files = dict(files)
        self.signers = {role: self._new_signers(role) for role in ROLES}
        self.root: Root | None = None
        self.versions = dict.fromkeys(("timestamp", "snapshot", "targets"), 0)
        self.with_digests = True  # whether timestamp and snapshot name what they list by hash
        self.publish_root(self.signers["root"])
        self.publish()

    def rotate(self, *roles: str, days: float = 365) -> None:
        """Publish the next root, with new keys for `roles`, signed by the old and the new."""
        old = self.signers["root"]
        self.signers |= {role: self._new_signers(role) for role in roles}
        new = [signer for signer in self.signers["root"] if signer not in old]
        self.publish_root([*old, *new], days=days)

    def publish_root(self, signers: list[CryptoSigner], days: float = 365) -> bytes:
        """Publish the next root with the present keys, signed by whom we are told."""
        version = 1 if self.root is None else self.root.version + 1
        root = Root(version=version, expires=days_from_now(days), consistent_snapshot=True)
        for role, own in self.signers.items():
            for signer in own:
                root.add_key(signer.public_key, role)
            root.roles[role].threshold = 2 if role in OFFLINE else 1
        self.root = root
        raw = signed(root, signers)
        self.write(f"{version}.root.json", raw)
        return raw

    def publish(self, *, timestamp_days: float = 7, snapshot_days: float = 30) -> None:
        """Publish the next version of everything below the root."""
        for role in self.versions:
            self.versions[role] += 1
        targets = Targets(version=self.versions["targets"], expires=days_from_now(300))
        for name, raw in self.files.items():
            targets.targets[name] = TargetFile.from_data(name, raw, ["sha256"])
            self.write(f"targets/{sha256(raw).hexdigest()}.{name}", raw)
        targets_raw = signed(targets, self.signers["targets"])
        self.write(f"{targets.version}.targets.json", targets_raw)
        self.publish_snapshot(targets_raw, snapshot_days)
        self.publish_timestamp(timestamp_days)

    def publish_snapshot(self, targets: bytes, days: float = 30) -> None:
        """Publish the present version of the snapshot."""
        snapshot = Snapshot(
            version=self.versions["snapshot"],
            expires=days_from_now(days),
            meta={"targets.json": self._listed("targets", targets)},
        )
        raw = signed(snapshot, self.signers["snapshot"])
        self.write(f"{snapshot.version}.snapshot.json", raw)

    def publish_timestamp(self, days: float = 7) -> None:
        """Publish the present version of the timestamp."""
        snapshot = self.read(f"{self.versions['snapshot']}.snapshot.json")
        timestamp = Timestamp(
            version=self.versions["timestamp"],
            expires=days_from_now(days),
            snapshot_meta=self._listed("snapshot", snapshot),
        )
        self.write("timestamp.json", signed(timestamp, self.signers["timestamp"]))

    def read(self, name: str) -> bytes:
        return (self.directory / name).read_bytes()

    def write(self, name: str, raw: bytes) -> None:
        (self.directory / name).write_bytes(raw)

    def target_path(self, name: str) -> str:
        """Where a target is served."""
        return f"targets/{sha256(self.files[name]).hexdigest()}.{name}"

    def _listed(self, role: str, raw: bytes) -> MetaFile:
        version = self.versions[role]
        if not self.with_digests:
            return MetaFile(version)
        return MetaFile(version, len(raw), {"sha256": sha256(raw).hexdigest()})

    def _new_signers(self, role: str) -> list[CryptoSigner]:
        """As the public-good instance: some keys are PEM, others are bare hex."""
        if role in OFFLINE:
            return [
                CryptoSigner.generate_ed25519(),
                CryptoSigner.generate_ecdsa(),
                CryptoSigner.generate_ecdsa(),
            ]
        return [CryptoSigner.generate_ecdsa()]


def signed(payload: Any, signers: list[CryptoSigner]) -> bytes:
    """Sign a payload with these keys, and no others."""
    metadata: Metadata[Any] = Metadata(payload)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()
