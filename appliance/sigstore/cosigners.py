"""Who else saw the log's checkpoint: cosignatures under a tlog-policy (WIRE.md 4.6)."""

from __future__ import annotations

from appliance.errors import RefusedError
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.cosignature import Cosignature, open_cosignatures
from appliance.tlog.tlog_policy import TlogPolicy


def check_policy(signed: SignedCheckpoint, policy: TlogPolicy) -> tuple[Cosignature, ...]:
    """Return the cosignatures of the policy's witnesses, in the order of the note.

    Raises RefusedError: reason log-not-in-policy if the policy names logs but not this
    one, quorum if too few witnesses cosigned; SignatureError (bad-signature) if the line
    of a known witness does not verify.
    """
    signers = {signer.key for signer in signed.signers}
    if policy.logs and not any(key.key in signers for key in policy.log_keys):
        raise RefusedError(
            f"the policy has no log with the key of {signed.origin}", reason="log-not-in-policy"
        )
    cosignatures = open_cosignatures(signed, policy.witness_keys)
    if not policy.quorum_met([one.key for one in cosignatures]):
        got = ", ".join(one.key.name for one in cosignatures) or "none"
        raise RefusedError(
            f"cosignatures on the checkpoint of {signed.origin}: expected the quorum "
            f"{policy.quorum}, got {got}",
            reason="quorum",
        )
    return cosignatures
