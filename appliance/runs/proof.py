"""proof verify: whether a log holds an entry, by a tlog-proof, this home's keys or a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from appliance.rekor.two_step_proof import UpstreamStep, verify_upstream
from appliance.runs.exit_codes import naming
from appliance.runs.revoked import revoked_here
from appliance.runs.session import Session
from appliance.store.files import read_foreign
from appliance.store.mirror.logs import require_log
from appliance.tlog.cosignature import Cosignature
from appliance.tlog.merkle import Hash, TreeHead, leaf_hash
from appliance.tlog.note import parse_note
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.quorum import verify_quorum
from appliance.tlog.tlog_policy import MAX_POLICY_BYTES, parse_tlog_policy
from appliance.tlog.tlog_proof import MAX_TLOG_PROOF_BYTES, parse_tlog_proof, verify_tlog_proof
from appliance.value import frozen

MAX_ENTRY_FILE_BYTES: Final = 16 * 1024 * 1024


@frozen
class ProvenEntry:
    """What a tlog-proof proves."""

    origin: str
    entry_index: int
    leaf: Hash
    head: TreeHead
    cosignatures: tuple[Cosignature, ...]  # of the policy's quorum; none without a policy
    upstream: UpstreamStep | None  # the log that holds this log's checkpoint


def verify_proof_file(
    session: Session, file: Path, entry: Path, policy: Path | None
) -> ProvenEntry:
    """Verify a proof for the bytes of an entry; by the pinned keys if there is no policy.

    In two steps both have to verify, and under a policy both checkpoints need the quorum.
    Raises what says that it is not proven.
    """
    with naming(file):
        proof = parse_tlog_proof(read_foreign(file, MAX_TLOG_PROOF_BYTES))
    leaf = leaf_hash(read_foreign(entry, MAX_ENTRY_FILE_BYTES))
    origin = parse_note(proof.note).text.partition("\n")[0]
    cosignatures: tuple[Cosignature, ...] = ()
    if policy is None:
        keys = _pinned_keys(session, origin)
        checkpoint = verify_tlog_proof(proof, leaf, keys, origin)
        upstream = verify_upstream(proof, lambda other: _pinned_keys(session, other))
    else:
        rules = parse_tlog_policy(read_foreign(policy, MAX_POLICY_BYTES))
        rules = rules.without(revoked_here(session))
        checkpoint = verify_tlog_proof(proof, leaf, rules.log_keys, origin)
        cosignatures = verify_quorum(checkpoint, rules)
        upstream = verify_upstream(proof, lambda _: rules.log_keys)
        if upstream is not None:
            verify_quorum(upstream.checkpoint, rules)
    return ProvenEntry(origin, proof.entry_index, leaf, checkpoint.head, cosignatures, upstream)


def _pinned_keys(session: Session, origin: str) -> tuple[VerifierKey, ...]:
    with session.reading() as store:
        return require_log(store, origin).keys
