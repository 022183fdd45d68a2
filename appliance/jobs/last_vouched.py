"""Since when something vouches for a log: its witnesses, its answers, or this home itself."""

from __future__ import annotations

from appliance.jobs.opened_notes import open_note_of, quorum_time_of
from appliance.store.mirror.checkpoints import AcceptedCheckpoint
from appliance.store.mirror.logs import Log
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.sync_times import last_answer
from appliance.store.private_log.private_logs import all_private_logs
from appliance.store.revoked_keys import revoked_keys
from appliance.tlog.tlog_policy import parse_tlog_policy


def last_vouched(mirror: Mirror, accepted: AcceptedCheckpoint, now: int) -> tuple[int | None, bool]:
    """Return the newest time that vouches for a log, and whether the log is frozen.

    With a policy that is the newest time of a whole quorum of witnesses; None: no quorum did
    at a time that has come. Else when the log last answered, us or whom we import from.
    """
    log: Log = mirror.log
    notes = [
        open_note_of(mirror.store, log, note)
        for note in mirror.history.notes(accepted.head.tree_size)
    ]
    is_frozen = any(one.checkpoint.frozen for one in notes)
    policy = None
    if log.policy is not None:
        policy = parse_tlog_policy(log.policy).without((*log.keys, *revoked_keys(mirror.store)))
    if policy is not None and not policy.quorum_met([]):
        return quorum_time_of(mirror.store, notes, policy, not_after=now), is_frozen
    if any(one.log == log for one in all_private_logs(mirror.store)):
        return now, is_frozen  # it is this home that answers
    answered_at = last_answer(mirror.store, log)
    if answered_at is None:
        answered_at = accepted.first_seen_at
    return min(answered_at, now), is_frozen
