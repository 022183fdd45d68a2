"""Verify an artifact: the Sigstore bundle itself, then our own view of its log.

There is no import path from here to the network. The store is only read; keeping evidence
of a contradiction is a second, best-effort step of the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from appliance.errors import (
    ApplianceError,
    DivergenceError,
    IncompleteError,
    RefusedError,
    VerificationError,
)
from appliance.jobs.last_vouched import last_vouched
from appliance.jobs.local_tiles import corrupt
from appliance.jobs.our_tree import is_without_tiles, our_tree
from appliance.policy.own_view import (
    Coverage,
    OwnView,
    compare,
    rests_on_common_ground,
)
from appliance.sigstore.case import NO_OPT_INS, OptIns
from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.identity import ExpectedSigner
from appliance.sigstore.log_trust import LogTrust
from appliance.sigstore.sigstore_bundle import SigstoreBundle
from appliance.sigstore.trusted_root import LogKey, TrustedRoot
from appliance.sigstore.verdict import LogPosition, Verification
from appliance.sigstore.verification import judge_bundle, single_entries
from appliance.store.database import Store
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.mirror.checkpoints import AcceptedCheckpoint
from appliance.store.mirror.logs import Log, all_logs, find_log
from appliance.store.mirror.mirror import Mirror
from appliance.times import age_text
from appliance.tlog.merkle import Hash
from appliance.tlog.tlog_policy import TlogPolicy
from appliance.value import frozen, replaced


@frozen
class Demands:
    """What this site demands beyond a valid signature."""

    require_mirror: bool = False
    require_proof: bool = False  # a log's promise is not enough
    max_age: int | None = None  # seconds since the log last answered, us or whom we import from
    clock_behind: str | None = None  # why no age can be told; None: it can
    policy: TlogPolicy | None = None  # witnesses that must have cosigned the bundle's checkpoint
    opt_ins: OptIns = NO_OPT_INS  # what the operator allows beyond what is usual
    predicate_type: str = ""  # what an attestation has to say it is; empty: any, or none
    now: int = 0  # Unix seconds


@frozen
class Verdict:
    """Everything there is to say about one artifact and one Sigstore bundle."""

    verification: Verification
    own_view: OwnView
    checkpoint: AcceptedCheckpoint | None  # ours of that log
    error: ApplianceError | None  # why the answer is not yes; None if it is


@frozen
class Answer:
    """One artifact, and what came of it: a verdict, or why there can be none."""

    artifact: str
    bundle_path: Path | None  # None: none was there
    verdict: Verdict | None
    error: ApplianceError | None  # why it is not verified
    digests: ArtifactDigests | None = None
    bundle: bytes = b""


def verify_under(
    store: Store | None,
    trusts: Sequence[LogTrust],
    bundles: Sequence[SigstoreBundle],
    artifact: ArtifactDigests,
    expected: ExpectedSigner,
    demands: Demands,
) -> Verdict:
    """Judge an artifact under each trusted root; a root under which it is good suffices.

    If there is none, the answer is the one that got furthest.
    """
    verdicts = []
    for trust in trusts:
        verdict = verify_artifact(
            store, bundles, artifact, expected, trust.root, trust.pins, demands
        )
        if verdict.error is None or isinstance(verdict.error, DivergenceError):
            return verdict
        verdicts.append(verdict)
    return max(verdicts, key=lambda verdict: len(verdict.verification.checks))


def verify_artifact(
    store: Store | None,
    bundles: Sequence[SigstoreBundle],
    artifact: ArtifactDigests,
    expected: ExpectedSigner,
    trusted_root: TrustedRoot | None,
    log_keys: Sequence[LogKey],
    demands: Demands,
) -> Verdict:
    """Judge an artifact by the Sigstore bundles that came in one file; a no is a value.

    A bundle that satisfies everything suffices: registries put attestations by several signers
    into one file. If none does, the answer is about the bundle that got furthest.
    """
    verdicts = []
    if demands.opt_ins.several_entries:
        bundles = [part for bundle in bundles for part in single_entries(bundle)]
    for bundle in bundles:
        found = judge_bundle(
            bundle,
            artifact,
            expected,
            trusted_root,
            log_keys,
            demands.policy,
            demands.opt_ins,
            demands.predicate_type,
        )
        verdict = with_own_view(store, found, demands)
        if verdict.error is None or isinstance(verdict.error, DivergenceError):
            return verdict  # a log that contradicts itself outweighs any good signature
        verdicts.append(verdict)
    return max(verdicts, key=lambda verdict: len(verdict.verification.checks))


def with_own_view(store: Store | None, found: Verification, demands: Demands) -> Verdict:
    """Compare what verified with our own view of its log, and with the demands."""
    if found.error is None and found.log is None:
        view = OwnView(Coverage.NO_CHECKPOINT, "not covered: it was never logged")
        unmet = _unproven(None, demands) or _unmet(view, None, demands)
        return Verdict(found, view, None, unmet)
    if found.error is not None or found.log is None:
        nothing = OwnView(Coverage.NOT_COMPARED, "not looked at: it did not verify")
        return Verdict(found, nothing, None, found.error)
    if store is None:
        view = OwnView(Coverage.NO_STORE, "no mirror here to compare it with")
        unmet = _unproven(found.log, demands) or _unmet(view, None, demands)
        return Verdict(found, view, None, unmet)
    if found.log.checkpoint is None:
        return _verify_promised(store, found, found.log, demands)
    mirror = _mirror(store, found.log)
    accepted = mirror.history.accepted() if mirror else None
    try:
        view = _own_view(mirror, accepted, found.log)
    except VerificationError as error:  # our tiles do not lead to the root they were proven by
        damage = corrupt(mirror, error.message) if mirror else error
        damaged = OwnView(Coverage.TILES_MISSING, f"our mirror cannot say: {damage.message}")
        return Verdict(found, damaged, accepted, damage)
    except ApplianceError as error:  # our store is at fault, not the bundle
        damaged = OwnView(Coverage.TILES_MISSING, f"our mirror cannot say: {error.message}")
        return Verdict(found, damaged, accepted, error)
    heard_at = last_vouched(mirror, accepted, demands.now)[0] if mirror and accepted else None
    unmet = _disputed(mirror, found.log, view) or _unmet(view, heard_at, demands)
    return Verdict(found, view, accepted, unmet)


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
            unmet = _disputed(mirror, log, view) or _unmet(view, heard_at, demands)
            return Verdict(replaced(found, log=log), view, accepted, unmet)
    view = OwnView(
        Coverage.NO_CHECKPOINT,
        "not covered: the bundle has the log's promise only, and no tree here holds the entry",
    )
    disputed = (_disputed(mirror, log, view) for mirror in mirrors)
    unmet = next(filter(None, disputed), None) or _unproven(log, demands)
    return Verdict(found, view, None, unmet or _unmet(view, None, demands))


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


def _unproven(log: LogPosition | None, demands: Demands) -> ApplianceError | None:
    if not demands.require_proof or (log is not None and log.rests_on != "promise"):
        return None
    if log is None:
        return RefusedError(
            "it was never logged, so nothing proves that a log holds it", reason="no-proof"
        )
    return RefusedError(
        "the bundle holds only the log's promise, no checkpoint and inclusion proof",
        reason="promise-only",
        next_step="add today's proof from a mirror of the log: attestor prove --upgrade",
    )


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


def _unmet(view: OwnView, heard_at: int | None, demands: Demands) -> ApplianceError | None:
    if view.coverage is Coverage.CONTRADICTION:
        return DivergenceError(
            f"the log contradicts itself: {view.text}",
            reason="split-view",
            next_step="trust nothing newer from this log until it is explained;"
            " keep this Sigstore bundle, it is evidence",
        )
    if demands.require_mirror and view.coverage is not Coverage.COVERED:
        return IncompleteError(
            f"our mirror does not cover it ({view.text})",
            reason="not-covered",
            next_step="sync, or import a transfer bundle that reaches this entry",
        )
    if demands.max_age is not None:
        age = None if heard_at is None else max(demands.now - heard_at, 0)
        if age is None or age > demands.max_age:
            how_old = "absent" if age is None else f"{age_text(age)} old"
            return RefusedError(
                f"what we last heard of its log is {how_old}, at most"
                f" {age_text(demands.max_age)} allowed",
                reason="stale",
                next_step="sync, or import a newer transfer bundle",
            )
        if demands.clock_behind is not None:
            return IncompleteError(
                demands.clock_behind,
                reason="clock",
                next_step="set the clock; if it was ahead and is right now: attestor doctor"
                " --reset-clock REASON",
            )
    return None
