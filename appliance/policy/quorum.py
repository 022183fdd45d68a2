"""Whether enough witnesses vouch for a checkpoint (c2sp.org/tlog-policy, WIRE.md 4.6)."""

from __future__ import annotations

from appliance.errors import RefusedError
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.cosignature import Cosignature, open_cosignatures
from appliance.tlog.tlog_policy import TlogPolicy


def verify_quorum(checkpoint: SignedCheckpoint, policy: TlogPolicy) -> tuple[Cosignature, ...]:
    """Return the cosignatures of the policy's witnesses on a checkpoint.

    Raises RefusedError (reason no-quorum) if they do not suffice, SignatureError if the
    line of a known witness does not verify.
    """
    cosignatures = open_cosignatures(checkpoint, policy.witness_keys)
    if not policy.quorum_met({one.key for one in cosignatures}):
        got = ", ".join(one.key.name for one in cosignatures) or "nobody"
        raise RefusedError(
            f"checkpoint {checkpoint.head.tree_size} of {checkpoint.origin}: cosigned by {got},"
            f" which is not the quorum {policy.quorum!r} of its policy",
            reason="no-quorum",
            next_step="sync again when more witnesses have cosigned, or from where they do",
        )
    return cosignatures


def newest_cosignature(checkpoint: SignedCheckpoint, policy: TlogPolicy) -> int | None:
    """Return the newest time at which a witness vouched for a checkpoint, POSIX seconds.

    None if none did. Raises SignatureError if the line of a known witness does not verify.
    """
    times = [one.timestamp for one in open_cosignatures(checkpoint, policy.witness_keys)]
    return max(times, default=None)
