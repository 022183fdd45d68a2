"""A tlog-proof as the evidence for a file: a log holds these very bytes (c2sp.org/tlog-proof).

Nobody's signature over the file is in it: the log's word is, and that of its witnesses. So it
answers only those who ask for no signer.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.errors import IncompleteError, RefusedError, VerificationError
from appliance.sigstore.verdict import Findings, LogPosition, Verification
from appliance.tlog.cosignature import Cosignature
from appliance.tlog.merkle import Hash
from appliance.tlog.note import parse_note
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.quorum import verify_quorum
from appliance.tlog.tlog_policy import TlogPolicy
from appliance.tlog.tlog_proof import TlogProof, verify_tlog_proof

PROOF_START = b"c2sp.org/tlog-proof@"


def judge_logged_file(
    proof: TlogProof,
    leaf: Hash,
    artifact: str,
    pinned: Sequence[VerifierKey],
    policy: TlogPolicy | None,
) -> Verification:
    """Judge whether a log holds `leaf`; a no is a value.

    The log's keys are those of the `policy`, whose quorum has to have cosigned; without one
    they are the `pinned` ones of that name. `artifact` is the file's digest, for the verdict.
    """
    findings = Findings()
    cosigners: tuple[Cosignature, ...] = ()
    error = None
    try:
        with findings.step("log-entry") as texts:
            origin = parse_note(proof.note).text.partition("\n")[0]
            known = pinned if policy is None else policy.log_keys
            keys = [key for key in known if policy is not None or key.name == origin]
            if not keys:
                raise IncompleteError(
                    f"no key for the log {origin[:200]!r}: neither pinned here nor in a policy",
                    reason="no-log-key",
                    next_step="give --policy FILE, or pin it: attestor backend add",
                )
            texts.append(f"{origin}, entry {proof.entry_index}")
        with findings.step("checkpoint-and-inclusion") as texts:
            signed = verify_tlog_proof(proof, leaf, keys, origin)
            texts.append(f"entry {proof.entry_index} of {origin}, {signed.head}")
        findings.log = LogPosition(
            log_id=signed.signers[0].log_id,
            log_index=proof.entry_index,
            kind="the file itself",
            leaf_hash=leaf,
            log=origin,
            entry_index=proof.entry_index,
            checkpoint=signed,
        )
        if policy is not None:
            with findings.step("cosignatures") as texts:
                cosigners = verify_quorum(signed, policy)
                texts.append(
                    ", ".join(cosigner.key.name for cosigner in cosigners) or "none needed"
                )
    except (VerificationError, RefusedError, IncompleteError) as caught:
        error = caught
    return Verification(
        error=error,
        checks=tuple(findings.checks),
        artifact=artifact,
        signing_times=(),
        signer=None,
        log=findings.log,
        cosigners=cosigners,
        predicate_type="",
        trust_root_digest="",
    )
