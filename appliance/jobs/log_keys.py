"""A log's keys: another is pinned only if that was said, and an end is one for good."""

from __future__ import annotations

from appliance.errors import RefusedError
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.mirror.logs import Log, key_lives, put_retirement
from appliance.tlog.note_keys import VerifierKey, is_among, same_key


def refuse_retired(store: Store, log: Log | None, key: VerifierKey) -> None:
    """Raise RefusedError (retired-key) if a key of a log was retired here."""
    for life in key_lives(store, log) if log else ():
        if same_key(life.key, key) and life.retired_at is not None:
            raise RefusedError(
                f"key id {key.key_id.hex()} of {key.name} was retired here: {life.retired_reason}",
                reason="retired-key",
                next_step="pin the log's new key; what the old key signed until then stays good",
            )


def refuse_another(log: Log | None, key: VerifierKey) -> None:
    """Raise RefusedError (another-key) if a log is known here, by other keys in force.

    A wrong file would otherwise let a stranger's key sign for the log, beside its own.
    """
    in_force = [one for one in log.keys if one.max_size is None] if log else []
    if log and in_force and not is_among(key, log.keys):
        pinned = ", ".join(one.key_id.hex() for one in in_force)
        raise RefusedError(
            f"another key: {log.origin} is pinned here with key id {pinned},"
            f" and this key has {key.key_id.hex()}",
            reason="another-key",
            next_step="is it the right file? If the log has this key as well, as its operator says"
            " over another channel: --another-key",
        )


def retire_others(store: Store, log: Log, key: VerifierKey, now: int) -> None:
    """Retire every key of a log but one, where nothing else says which of them are in force."""
    for other in log.keys:
        if not same_key(other, key) and other.max_size is None:
            retire_key(store, log, other, now, f"{log.origin} was added again with another key")


def retire_key(store: Store, log: Log, key: VerifierKey, now: int, reason: str) -> int:
    """Let a key sign nothing from here on; return the size it is retired at. In store.atomic()."""
    size = put_retirement(store, log, key.spki, now, reason)
    details = {
        "origin": log.origin,
        "keyId": key.key_id.hex(),
        "treeSize": size,
        "reason": reason,
    }
    append_event(store, now, "backend.key-retired", details)
    return size
