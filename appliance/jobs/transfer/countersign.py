"""A second person signs a transfer bundle that somebody else made (bundles/README.md, section 10).

What is signed is what was checked: every byte, and that an exporter we know made it.
"""

from __future__ import annotations

from pathlib import Path

from appliance.jobs.transfer.exporters import open_own_note
from appliance.store.database import Store
from appliance.store.files import open_alone, staging_file, written_whole
from appliance.store.revoked_keys import refuse_revoked
from appliance.store.transfer.transfers import record_countersigned
from appliance.tlog.note import SigningKey, add_signatures, has_signed, parse_note
from appliance.value import frozen
from bundles.countersign import countersign
from bundles.manifest import Manifest
from bundles.reader import StagedInfo


@frozen
class Countersigned:
    """What was signed, and by whom it is signed now."""

    bundle_id: str
    sha256: str  # of the file, hex
    manifest: Manifest
    signers: tuple[str, ...]  # names on the note, in order
    already: bool  # it had this signature before


class _AlreadySignedError(Exception):
    """The key signed it before: nothing has to be written."""


def countersign_file(store: Store, path: Path, key: SigningKey, now: int) -> Countersigned:
    """Add the signature of `key` to the transfer bundle at `path`, in its place.

    Raises BundleError for bytes that are not a transfer bundle, RefusedError if no exporter
    known here made it or the key was revoked here, StoreError if it cannot be written: then
    the file is as it was.
    """
    refuse_revoked(store, key.verifier)
    found: list[StagedInfo] = []

    def add(note: bytes, staged: StagedInfo) -> bytes:
        found.append(staged)
        parsed = parse_note(note)
        mine = key.sign(parsed.text)
        if has_signed(parsed, key.verifier):
            raise _AlreadySignedError
        return add_signatures(parsed.text, [*parsed.signatures, mine])

    with open_alone(path) as source, staging_file(store.home) as copy:
        try:
            with written_whole(path, replace=True) as out:
                written = countersign(
                    source, copy, out, lambda note: open_own_note(store, note, key.verifier), add
                )
        except _AlreadySignedError:
            return _result(found[0], found[0].sha256, (), already=True)
    # If we die here the file has both signatures, and our record the digest it had before.
    record_countersigned(store, written.header.bundle_id, written.sha256, key.verifier.vkey, now)
    return _result(found[0], written.sha256, (key.name,), already=False)


def _result(
    staged: StagedInfo, sha256: bytes, added: tuple[str, ...], *, already: bool
) -> Countersigned:
    before = tuple(signature.name for signature in parse_note(staged.bundle.note).signatures)
    bundle = staged.bundle
    return Countersigned(
        bundle.header.bundle_id, sha256.hex(), bundle.manifest, before + added, already
    )
