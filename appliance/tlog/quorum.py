"""Whether enough witnesses vouch for a checkpoint (c2sp.org/tlog-policy)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from appliance.errors import RefusedError
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.cosignature import Cosignature, open_cosignatures
from appliance.tlog.note_keys import KeyType, VerifierKey, is_among
from appliance.tlog.tlog_policy import TlogPolicy

# open_cosignatures, or what remembers the cosignatures that it verified.
Opened = Callable[[SignedCheckpoint, Sequence[VerifierKey]], tuple[Cosignature, ...]]


def verify_quorum(
    signed: SignedCheckpoint,
    policy: TlogPolicy,
    log_keys: Sequence[VerifierKey] = (),
    *,
    opened: Opened = open_cosignatures,
) -> tuple[Cosignature, ...]:
    """Return the cosignatures of the policy's witnesses, in the order of the note.

    A log is not its own witness: neither the key that signed the checkpoint counts, nor
    another key that the policy, or the caller by `log_keys`, has for this log.

    Raises RefusedError: reason log-not-in-policy if the policy names logs but not this
    one, quorum if too few witnesses cosigned; SignatureError (bad-signature) if the line
    of a known witness does not verify.
    """
    if policy.logs and not any(is_among(key, signed.signers) for key in policy.log_keys):
        raise RefusedError(
            f"the policy has no log with the key of {signed.origin}", reason="log-not-in-policy"
        )
    own = [*log_keys, *(key for key in policy.log_keys if key.name == signed.origin)]
    # A log's own ML-DSA-44 signature is made as a witness's is.
    own += [key for key in signed.signers if key.key_type is KeyType.ML_DSA_44]
    cosignatures = tuple(
        one for one in opened(signed, policy.witness_keys) if not is_among(one.key, own)
    )
    if not policy.quorum_met([cosignature.key for cosignature in cosignatures]):
        got = ", ".join(cosignature.key.name for cosignature in cosignatures) or "nobody"
        raise RefusedError(
            f"checkpoint {signed.head.tree_size} of {signed.origin}: cosigned by {got}, "
            f"which is not the quorum {policy.quorum!r} of the policy",
            reason="quorum",
            next_step="get a newer proof, once more witnesses have cosigned",
        )
    return cosignatures


def quorum_time(
    checkpoints: Sequence[SignedCheckpoint],
    policy: TlogPolicy,
    not_after: int | None = None,
    *,
    opened: Opened = open_cosignatures,
) -> int | None:
    """Return the newest time since which a whole quorum has vouched for a tree head.

    POSIX seconds. `checkpoints` are the notes of one tree head. Of each witness its newest
    time counts, and none after `not_after`: one witness that dates itself 2100 makes nothing
    fresh. None if no quorum vouched, or the policy wants none. Raises SignatureError if the
    line of a known witness does not verify.
    """
    newest: dict[VerifierKey, int] = {}
    for checkpoint in checkpoints:
        for one in opened(checkpoint, policy.witness_keys):
            if not_after is None or one.timestamp <= not_after:
                newest[one.key] = max(one.timestamp, newest.get(one.key, 0))
    if policy.quorum_met([]):
        return None
    for time in sorted(set(newest.values()), reverse=True):
        if policy.quorum_met([key for key, at in newest.items() if at >= time]):
            return time
    return None
