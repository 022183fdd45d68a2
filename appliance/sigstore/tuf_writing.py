"""Making the metadata of a TUF repository (theupdateframework.github.io, specification 1.0).

Two keys sign: the offline one what people decide (root, targets), the online one what a clock
decides (snapshot, timestamp). Canonical JSON and key ids are python-tuf's. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from securesystemslib.signer import Signature, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from appliance.tlog.note import SigningKey
from appliance.tlog.note_keys import load_spki

OFFLINE: Final = "offline"
ONLINE: Final = "online"
KEY_OF: Final = {"root": OFFLINE, "targets": OFFLINE, "snapshot": ONLINE, "timestamp": ONLINE}
DAY_SECONDS: Final = 86_400
LIFE_DAYS: Final = {"root": 365, "targets": 365, "snapshot": 30, "timestamp": 7}


def public_key(key: SigningKey) -> SSlibKey:
    """Return the public half as TUF metadata lists it."""
    return SSlibKey.from_crypto(load_spki(key.verifier.spki))


def make_root(version: int, expires: int, keys: Mapping[str, SigningKey]) -> Root:
    """Make a root: one key a role, consistent snapshots. `keys` are those of OFFLINE and ONLINE."""
    root = Root(version=version, expires=_time(expires), consistent_snapshot=True)
    for role, name in KEY_OF.items():
        root.add_key(public_key(keys[name]), role)
        root.roles[role].threshold = 1
    return root


def make_targets(version: int, expires: int, files: Mapping[str, bytes]) -> Targets:
    """Make targets that vouch for these files, by name."""
    listed = {name: TargetFile.from_data(name, raw, ["sha256"]) for name, raw in files.items()}
    return Targets(version=version, expires=_time(expires), targets=listed)


def make_snapshot(version: int, expires: int, targets_version: int, targets: bytes) -> Snapshot:
    """Make a snapshot of one version of targets, which are given as published."""
    meta = {"targets.json": _listed(targets_version, targets)}
    return Snapshot(version=version, expires=_time(expires), meta=meta)


def make_timestamp(version: int, expires: int, snapshot_version: int, snapshot: bytes) -> Timestamp:
    """Make a timestamp that names one version of the snapshot, which is given as published."""
    listed = _listed(snapshot_version, snapshot)
    return Timestamp(version=version, expires=_time(expires), snapshot_meta=listed)


def signed(payload: Any, keys: Iterable[SigningKey]) -> bytes:
    """Sign a payload with each of these keys, once; returns the metadata file."""
    metadata: Metadata[Any] = Metadata(payload)
    message = metadata.signed_bytes
    for key in keys:
        key_id = public_key(key).keyid
        metadata.signatures[key_id] = Signature(key_id, key.sign_bytes(message).hex())
    return metadata.to_bytes()


def is_due(role: str, expires: int, now: int, life_days: int | None = None) -> bool:
    """Whether metadata that ends at `expires` has half of its life behind it, or ran out."""
    life = (life_days or LIFE_DAYS[role]) * DAY_SECONDS
    return expires - now < life // 2


def target_name(name: str, raw: bytes) -> str:
    """Return the name of a target's file below the repository (consistent snapshots)."""
    return f"targets/{sha256(raw).hexdigest()}.{name}"


def _listed(version: int, raw: bytes) -> MetaFile:
    return MetaFile(version, len(raw), {"sha256": sha256(raw).hexdigest()})


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
