"""A second look at TUF metadata that was followed: signatures counted by key, not by key id.

A root may list one key under two ids, and then one signer would make two signatures
where two were demanded. Pure: it takes bytes and returns values.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from tuf.api.metadata import Key, Metadata, Root, TargetFile, Targets

from appliance.errors import MalformedError, SignatureError
from appliance.tlog.note_keys import load_public_key_file
from appliance.value import frozen

MAX_VERSION: Final = 2**53  # what every JSON reader holds exactly


@frozen
class Verified:
    """One verified metadata file."""

    role: str  # root, timestamp, snapshot, targets
    version: int  # from 1
    expires_at: int  # Unix seconds
    raw: bytes


def verify_chain(
    roots: tuple[bytes, ...], others: Mapping[str, bytes]
) -> tuple[tuple[Verified, ...], tuple[Verified, Verified, Verified]]:
    """Describe roots (in order) and the other three, each signed by enough different keys.

    Each root must be signed as the one before it and as itself demands, the others as the
    last root demands. Raises SignatureError (tuf-signature), MalformedError for a version
    beyond all reason, and DeserializationError for what is no metadata.
    """
    parsed = [Metadata[Root].from_bytes(raw) for raw in roots]
    _count_signers(parsed[0].signed, "root", parsed[0])
    for before, after in pairwise(parsed):
        _count_signers(before.signed, "root", after)
        _count_signers(after.signed, "root", after)
    timestamp, snapshot, targets = (
        _verify_other(parsed[-1].signed, role, raw) for role, raw in others.items()
    )
    described = tuple(_describe("root", raw, one) for raw, one in zip(roots, parsed, strict=True))
    return described, (timestamp, snapshot, targets)


def parse_targets(raw: bytes) -> Mapping[str, TargetFile]:
    """Return the files a targets metadata file lists itself, by name."""
    return Metadata[Targets].from_bytes(raw).signed.targets


def _verify_other(root: Root, role: str, raw: bytes) -> Verified:
    parsed: Metadata[Any] = Metadata.from_bytes(raw)
    _count_signers(root, role, parsed)
    return _describe(role, raw, parsed)


def _count_signers(root: Root, role: str, metadata: Metadata[Any]) -> None:
    result = root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    signers = {_key_bytes(key) for key in result.signed.values()}
    if len(signers) < result.threshold:
        raise SignatureError(
            f"TUF {role} version {metadata.signed.version}: expected signatures by "
            f"{result.threshold} different keys of root version {root.version}, "
            f"got {len(signers)}",
            reason="tuf-signature",
        )


def _key_bytes(key: Key) -> bytes:
    """Return the key itself, as python-tuf reads it: no spelling of it is another signer."""
    public = str(key.keyval.get("public", key.keyval))
    try:
        return bytes.fromhex(public)  # which passes over white space, and takes capitals
    except ValueError:
        return load_public_key_file(public.encode())


def _describe(role: str, raw: bytes, metadata: Metadata[Any]) -> Verified:
    version = metadata.signed.version
    if type(version) is not int or version > MAX_VERSION:  # `true` counts as 1 in Python
        raise MalformedError(
            f"TUF {role}: expected a version up to {MAX_VERSION}, got {version}",
            reason="tuf-malformed",
        )
    return Verified(role, version, int(metadata.signed.expires.timestamp()), raw)
