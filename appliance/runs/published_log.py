"""What a log of this home has published last, and who cosigned it."""

from __future__ import annotations

from appliance.jobs.private_log.sequence import policy_of
from appliance.store.database import Store
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import PrivateLog
from appliance.tlog.checkpoint import Checkpoint, open_checkpoint
from appliance.tlog.cosignature import Cosignature, open_cosignatures
from appliance.tlog.note_keys import is_among
from appliance.tlog.tlog_policy import NO_QUORUM, Witness
from appliance.value import frozen


@frozen
class PublishedLog:
    """A log of this home with its newest published checkpoint."""

    private: PrivateLog
    note: bytes
    checkpoint: Checkpoint


@frozen
class AskedWitness:
    """A witness that a log asks."""

    witness: Witness
    cosigned_at: int | None  # Unix seconds; None: not the newest checkpoint


@frozen
class WitnessedLog:
    """Who is to cosign a log of this home, and who did."""

    private: PrivateLog
    tree_size: int | None  # published; None: nothing is
    quorum: str  # the policy's word for it
    met: bool  # by those who cosigned; nobody has to: true
    witnesses: tuple[AskedWitness, ...]


def published_log(store: Store, private: PrivateLog) -> PublishedLog:
    """Read what a log published last; raises VerificationError if its own key did not sign it."""
    mirror = Mirror(store, private.log)
    published = mirror.history.mirror_checkpoint()
    note = mirror.history.newest_note(published.head.tree_size if published else 0)
    signed = open_checkpoint(note, private.log.keys, private.log.origin)
    return PublishedLog(private, note, signed.checkpoint)


def witnessed_log(store: Store, private: PrivateLog) -> WitnessedLog:
    """Read whom a log asks, and which of them cosigned what it published last."""
    policy = policy_of(store, private)
    published = Mirror(store, private.log).history.mirror_checkpoint()
    tree_size = published.head.tree_size if published else None
    if policy is None:
        return WitnessedLog(private, tree_size, NO_QUORUM, met=True, witnesses=())
    cosignatures: tuple[Cosignature, ...] = ()
    if published is not None:
        note = Mirror(store, private.log).history.newest_note(published.head.tree_size)
        signed = open_checkpoint(note, private.log.keys, private.log.origin)
        cosignatures = open_cosignatures(signed, policy.witness_keys)

    def cosigned_at(witness: Witness) -> int | None:
        times = (own.timestamp for own in cosignatures if is_among(own.key, [witness.key]))
        return next(times, None)

    return WitnessedLog(
        private,
        tree_size,
        policy.quorum,
        met=policy.quorum_met([cosignature.key for cosignature in cosignatures]),
        witnesses=tuple(AskedWitness(asked, cosigned_at(asked)) for asked in policy.witnesses),
    )
