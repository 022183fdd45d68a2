"""Take in what a transfer bundle brings besides logs (TRANSFER.md 1, 6).

Trust material is kept to be looked at, and trusted by nobody for having arrived. Receipts
and what the far side has decide where the next delta for it starts. Checkpoints that were
seen over there are compared with our own tree. Each is taken by itself: what is wrong with
one is said, and stops no other.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.errors import ApplianceError, DivergenceError
from appliance.jobs.accept_receipt import accept_receipt
from appliance.jobs.gossip import compare_note
from appliance.jobs.transfer_source import seen_directory
from appliance.store.arrived_trust import ArrivedFile, put_arrived
from appliance.store.database import Store
from appliance.store.far_heads import FarHead, put_far_head
from appliance.store.logs import Log
from appliance.store.trust import current_root
from appliance.tlog.merkle import Hash
from bundles.manifest import log_directory
from bundles.reader import TransferBundle

TRUST: str = "trust/"
ROOT_MEMBER: str = "trusted_root.json"  # below TRUST
ACKS: str = "acks/"


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


def unload(
    store: Store, bundle: TransferBundle, signers: Sequence[str], now: int
) -> tuple[str, ...]:
    """Take in trust material, receipts and what the far side has; return what is to be said."""
    said = _arrived_trust(store, bundle, now)
    if bundle.manifest.site not in signers:
        return said  # nobody speaks for that site
    for path in _below(bundle, ACKS):
        try:
            accepted = accept_receipt(store, bundle.read(path), now)
        except ApplianceError as error:
            said += (f"{path} is not accepted: {error.message}",)
        else:
            said += accepted.warnings
    with store.atomic():
        for one in bundle.manifest.have:
            put_far_head(
                store,
                FarHead(
                    bundle.manifest.site,
                    one.origin,
                    one.tree_size,
                    Hash(one.root_hash),
                    bundle.manifest.created_at,
                    "have",
                ),
            )
    return said


def _arrived_trust(store: Store, bundle: TransferBundle, now: int) -> tuple[str, ...]:
    said: tuple[str, ...] = ()
    ours = current_root(store)
    files = [
        ArrivedFile(path.removeprefix(TRUST), bundle.read(path), bundle.header.bundle_id, now)
        for path in _below(bundle, TRUST)
    ]
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
    return said


def _below(bundle: TransferBundle, prefix: str) -> list[str]:
    return [path for path in bundle.members if path.startswith(prefix)]
