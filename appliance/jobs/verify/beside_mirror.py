"""What verified, beside our own copy of its log.

Imported only where there is a store to look into: the rest of a verify costs less than this.
"""

from __future__ import annotations

from hashlib import sha256

from appliance.errors import (
    ApplianceError,
    IncompleteError,
    RefusedError,
    VerificationError,
)
from appliance.jobs.last_vouched import last_vouched
from appliance.jobs.local_tiles import corrupt
from appliance.jobs.our_tree import is_without_tiles, our_tree
from appliance.jobs.verify.judged import Demands, Verdict, unmet, unproven
from appliance.policy.own_view import Coverage, OwnView, compare, rests_on_common_ground
from appliance.sigstore.verdict import LogPosition, Verification
from appliance.store.database import Store
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.mirror.checkpoints import AcceptedCheckpoint
from appliance.store.mirror.logs import Log, all_logs, find_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.merkle import Hash
from appliance.value import replaced


def beside_mirror(store: Store, found: Verification, log: LogPosition, demands: Demands) -> Verdict:
    """Compare what verified with our copy of its log, and what that says with the demands."""
    if log.checkpoint is None:
        return _verify_promised(store, found, log, demands)
    mirror = _mirror(store, log)
    accepted = mirror.history.accepted() if mirror else None
    try:
        view = _own_view(mirror, accepted, log)
    except VerificationError as error:  # our tiles do not lead to the root they were proven by
        damage = corrupt(mirror, error.message) if mirror else error
        damaged = OwnView(Coverage.TILES_MISSING, f"our mirror cannot say: {damage.message}")
        return Verdict(found, damaged, accepted, damage)
    except ApplianceError as error:  # our store is at fault, not the bundle
        damaged = OwnView(Coverage.TILES_MISSING, f"our mirror cannot say: {error.message}")
        return Verdict(found, damaged, accepted, error)
    heard_at = last_vouched(mirror, accepted, demands.now)[0] if mirror and accepted else None
    lacking = _disputed(mirror, log, view) or unmet(view, heard_at, demands)
    return Verdict(found, view, accepted, lacking)


def _verify_promised(
    store: Store, found: Verification, log: LogPosition, demands: Demands
) -> Verdict:
    """Look in every tree that the key of a promise signs: ours may prove what it only promised.

    A key of a v1 log signs several trees, and the promise names none.
    """
    mirrors = [Mirror(store, one) for one in all_logs(store) if _signs_for(one, log.log_id)]
    for mirror in mirrors:
        accepted = mirror.history.accepted()
        if accepted is None:
            continue
        try:
            entry_index = _find_leaf(mirror, accepted, log)
        except ApplianceError as error:  # a damaged tile: our store is at fault
            damaged = OwnView(Coverage.TILES_MISSING, f"our mirror cannot say: {error.message}")
            return Verdict(found, damaged, accepted, error)
        if entry_index is not None:
            size = accepted.head.tree_size
            view = OwnView(
                Coverage.COVERED,
                f"covered by our mirror up to {size:,}: it holds entry {entry_index:,} of"
                f" {mirror.log.origin}, which takes the place of the promise",
                size,
            )
            log = replaced(log, entry_index=entry_index, log=mirror.log.origin)
            heard_at, _ = last_vouched(mirror, accepted, demands.now)
            lacking = _disputed(mirror, log, view) or unmet(view, heard_at, demands)
            return Verdict(replaced(found, log=log), view, accepted, lacking)
    view = OwnView(
        Coverage.NO_CHECKPOINT,
        "not covered: the bundle has the log's promise only, and no tree here holds the entry",
    )
    disputed = (_disputed(mirror, log, view) for mirror in mirrors)
    lacking = next(filter(None, disputed), None) or unproven(log, demands)
    return Verdict(found, view, None, lacking or unmet(view, None, demands))


def _signs_for(log: Log, log_id: bytes) -> bool:
    # The log id of a promise is the bare hash of the key; the tree may be pinned by another id.
    return any(log_id in (key.log_id, sha256(key.spki).digest()) for key in log.keys)


def _find_leaf(mirror: Mirror, accepted: AcceptedCheckpoint, log: LogPosition) -> int | None:
    """Return where our tree holds an entry, looking where it is said to be; None: not there."""
    tree = our_tree(mirror, accepted.head)
    for index in (log.claimed_index, log.log_index):
        if index is None or not 0 <= index < accepted.head.tree_size:
            continue
        try:
            if tree.leaf(index) == log.leaf_hash:
                return index
        except IncompleteError:  # not in the tiles we hold
            continue
    return None


def _disputed(mirror: Mirror | None, log: LogPosition, view: OwnView) -> ApplianceError | None:
    """Refuse what rests on a size that the stories of a quarantined log do not share."""
    held = quarantine_of(mirror.store, mirror.log) if mirror else None
    if mirror is None or held is None or view.coverage is Coverage.CONTRADICTION:
        return None
    size = log.checkpoint.head.tree_size if log.checkpoint else None
    if rests_on_common_ground(view.coverage, log.entry_index, size, held.last_common_size):
        return None
    return RefusedError(
        f"{mirror.log.origin} contradicted itself (alert {held.alert_number}) and is quarantined"
        f" beyond {held.last_common_size:,} entries, and this rests on more ({view.text})",
        reason="quarantined",
        next_step=f"see 'attestor alerts show {held.alert_number}'; once it is explained: attestor"
        f" quarantine lift {held.id} --reason TEXT",
    )


def _mirror(store: Store, log: LogPosition) -> Mirror | None:
    known = find_log(store, log.origin) if log.origin else None
    return Mirror(store, known) if known else None


def _own_view(
    mirror: Mirror | None, accepted: AcceptedCheckpoint | None, log: LogPosition
) -> OwnView:
    if log.checkpoint is None or log.entry_index is None:
        return OwnView(Coverage.NO_CHECKPOINT, "not covered: the bundle gives no place in a tree")
    if mirror is None or accepted is None:
        return OwnView(
            Coverage.UNKNOWN_LOG, f"not covered: nothing of {log.origin} is mirrored here"
        )
    tree, theirs = our_tree(mirror, accepted.head), log.checkpoint.head
    known = mirror.history.at(theirs.tree_size)

    def our_root(size: int) -> Hash:
        return tree.root_at(size) if known is None else known.head.root_hash

    def our_leaf(index: int) -> Hash:
        try:
            return tree.leaf(index)
        except IncompleteError:
            if not is_without_tiles(mirror):
                raise
            return log.leaf_hash  # proven under their root, which is ours by now

    try:
        return compare(
            log.entry_index,
            log.leaf_hash,
            theirs,
            accepted.head,
            our_leaf,
            our_root,
        )
    except IncompleteError as error:
        if known is not None:  # and its root is theirs, under which the entry is proven
            return OwnView(
                Coverage.COVERED,
                f"covered by our mirror up to {accepted.head.tree_size:,}: the checkpoint that"
                f" proves entry {log.entry_index:,} is one of those we hold, of"
                f" {theirs.tree_size:,} entries",
                accepted.head.tree_size,
            )
        return OwnView(
            Coverage.TILES_MISSING, f"not covered: {error.message}", accepted.head.tree_size
        )
