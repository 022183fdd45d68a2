"""A shard that grew after its freeze line or its window's end (docs/divergence.md).

Such growth can be perfectly append-only, so it is proven and taken like any other: else
nobody could see what was added. But the log broke its word, and that is told.
"""

from __future__ import annotations

from appliance.errors import DivergenceError, RefusedError
from appliance.jobs.divergence.incident import keep_alarming, keys_described
from appliance.policy.divergence import frozen_growth_alarm
from appliance.store.home.runs import confirmed_at
from appliance.store.mirror.checkpoints import AcceptedCheckpoint, Arrival
from appliance.store.mirror.logs import key_windows, window_end
from appliance.store.mirror.mirror import Mirror
from appliance.times import utc
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.note_keys import same_key


def freeze_note(mirror: Mirror, tree_size: int) -> tuple[str, bytes]:
    """Return the freeze line a stored checkpoint carries, and the note with it; empty: none."""
    for note in mirror.history.notes(tree_size):
        line = open_checkpoint(note, mirror.log.keys, mirror.log.origin).checkpoint.frozen
        if line:
            return line, note
    return "", b""


def refuse_beyond_window(
    mirror: Mirror, accepted: AcceptedCheckpoint, grown: SignedCheckpoint
) -> None:
    """Raise RefusedError (retired-key) if only keys signed growth whose window is over.

    `accepted` was still offered after the last of these windows: so the growth is younger. A
    log all of whose keys have ended is no concern here: its growth is reported.
    """
    windows = key_windows(mirror.store, mirror.log)
    if window_end(mirror.store, mirror.log) is not None:
        return
    ends = [
        next((until for spki, (_, until) in windows.items() if same_key(spki, signer)), None)
        for signer in grown.signers
    ]
    last = max((end for end in ends if end is not None), default=None)
    if last is None or None in ends:
        return
    standing_at = max(accepted.first_seen_at, confirmed_at(mirror.store, mirror.log) or 0)
    if standing_at > last:
        keys = ", ".join(signer.key_id.hex() for signer in grown.signers)
        raise RefusedError(
            f"{mirror.log.origin}: the tree of {grown.head.tree_size:,} entries is signed by key id"
            f" {keys} alone, whose window in the trusted root ended {utc(last)}; ours of"
            f" {accepted.head.tree_size:,} was offered after that",
            reason="retired-key",
            next_step="the log has to sign with a key that is in force: see 'attestor backend key"
            " list'; if it was rotated: attestor trust update, then attestor backend discover",
        )


def report_growth(
    mirror: Mirror, accepted: AcceptedCheckpoint, grown: SignedCheckpoint, arrival: Arrival
) -> DivergenceError | None:
    """Keep evidence and raise an alert if `accepted` was to be the last; return the error."""
    store, log = mirror.store, mirror.log
    line, frozen_note = freeze_note(mirror, accepted.head.tree_size)
    end = window_end(store, log)
    standing_at = max(accepted.first_seen_at, confirmed_at(store, log) or 0)
    backend = arrival.backend or arrival.source
    alarm = frozen_growth_alarm(
        origin=log.origin,
        backend=backend,
        old_size=accepted.head.tree_size,
        new_size=grown.head.tree_size,
        freeze_line=line,
        window_ended=end is not None and standing_at > end,
    )
    if alarm is None:
        return None
    details = {
        "frozen": line,
        "windowEnd": end,
        "source": arrival.detail,
        "backend": arrival.backend,
        "keys": keys_described(log.keys),
    }
    notes = (frozen_note or accepted.note, grown.note)
    evidence_id, number = keep_alarming(
        store, log, alarm, notes, details, arrival.seen_at, once=True
    )
    told = f"alert {number}, " if number is not None else ""
    return DivergenceError(
        f"{alarm.fields['description']} (from {arrival.detail})",
        reason="frozen-shard-grew",
        next_step=f"{told}both signed notes are kept as evidence {evidence_id}; what was added is"
        " proven to continue the tree and was taken: look at it",
        evidence_id=evidence_id,
    )
