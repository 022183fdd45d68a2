"""Take in what a transfer bundle brings besides logs (TRANSFER.md 1, 6).

Trust material is kept to be looked at, and trusted by nobody for having arrived. Receipts
and what the far side has decide where the next delta for it starts. Checkpoints that were
seen over there are compared with our own tree. Each is taken by itself: what is wrong with
one is said, and stops no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.errors import ApplianceError, DivergenceError
from appliance.jobs.accept_receipt import accept_receipt
from appliance.jobs.besides import ACKS, PENDING, PROOFS, ROOT_MEMBER, TRUST
from appliance.jobs.gossip import compare_note
from appliance.jobs.round_trip import Absorbed, absorb_pending, absorb_receipts
from appliance.jobs.transfer_source import seen_directory
from appliance.store.arrived_trust import ArrivedFile, forget_oldest, put_arrived
from appliance.store.database import Store
from appliance.store.far_heads import FarHead, put_far_head
from appliance.store.logs import Log
from appliance.store.trust import current_root
from appliance.tlog.merkle import Hash
from appliance.value import frozen
from bundles.manifest import log_directory
from bundles.reader import TransferBundle

MAX_TRUST_BYTES: Final = 2 * 1024 * 1024  # of one file; Sigstore's root has ten thousand


@frozen
class Unloaded:
    """What was in it besides logs."""

    said: tuple[str, ...] = ()  # for people
    pending: Absorbed | None = None  # queue items that have to be logged from here
    proofs: Absorbed | None = None  # what became of ours


def compare_seen(
    store: Store, bundle: TransferBundle, logs: Sequence[Log], now: int
) -> list[ApplianceError]:
    """Compare the checkpoints that were seen over there; return what is wrong with them."""
    wrong: list[ApplianceError] = []
    for log in logs:
        for path in _below(bundle, f"{seen_directory(log_directory(log.origin))}/"):
            detail = f"{path} in {bundle.header.bundle_id[:12]} of {bundle.manifest.site}"
            try:
                compare_note(store, bundle.read(path), detail, now)
            except DivergenceError as error:
                wrong.append(error)
            except ApplianceError as error:
                error.message = f"{path}: {error.message}"
                wrong.append(error)
    return wrong


def unload(store: Store, bundle: TransferBundle, signers: Sequence[str], now: int) -> Unloaded:
    """Take in trust material, receipts, queue items and what the far side has."""
    said = _arrived_trust(store, bundle, now)
    # A proof counts under a key pinned here, whoever carried it.
    proofs = _items(bundle, PROOFS)
    proven = absorb_receipts(store, proofs, now) if proofs else None
    site = bundle.manifest.site
    if site not in signers:
        return Unloaded(said, None, proven)  # nobody speaks for that site
    for path in _below(bundle, ACKS):
        try:
            accepted = accept_receipt(store, bundle.read(path), now)
        except ApplianceError as error:
            said += (f"{path} is not accepted: {error.message}",)
        else:
            said += accepted.warnings
    told_at = bundle.manifest.created_at
    with store.atomic():
        for one in bundle.manifest.have:
            root = Hash(one.root_hash)
            put_far_head(store, FarHead(site, one.origin, one.tree_size, root, told_at, "have"))
    pending = _items(bundle, PENDING)
    return Unloaded(said, absorb_pending(store, pending, site, now) if pending else None, proven)


def _items(bundle: TransferBundle, area: str) -> dict[str, bytes]:
    """Return the members of an area by the id in their name."""
    return {
        path.removeprefix(area).removesuffix(".json"): bundle.read(path)
        for path in _below(bundle, area)
    }


def _arrived_trust(store: Store, bundle: TransferBundle, now: int) -> tuple[str, ...]:
    said: tuple[str, ...] = ()
    ours = current_root(store)
    files = []
    for path in _below(bundle, TRUST):
        if bundle.members[path].size > MAX_TRUST_BYTES:
            said += (f"{path} is not kept: it is larger than {MAX_TRUST_BYTES:,} bytes",)
            continue
        raw = bundle.read(path)
        files.append(ArrivedFile(path.removeprefix(TRUST), raw, bundle.header.bundle_id, now))
    if not files:
        return said
    with store.atomic():
        for file in files:
            is_new = put_arrived(store, file)
            if is_new and file.path == ROOT_MEMBER and (ours is None or ours.raw != file.raw):
                said += (
                    f"a trusted root with SHA-256 {file.digest} came with it and is not trusted;"
                    " see 'attestor trust arrived'",
                )
        forget_oldest(store)
    return said


def _below(bundle: TransferBundle, prefix: str) -> list[str]:
    return [path for path in bundle.members if path.startswith(prefix)]
