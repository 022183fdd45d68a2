"""Opening a log's note once for an open store: whoever needs it again has what was verified.

A run meets the accepted note in absorb, in each judgement of health and in its counts. What
is remembered is tied to the bytes of the note and to the keys that were asked, so that a key
that is added, retired or revoked meanwhile has it verified anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from appliance.store.database import Store
from appliance.store.mirror.logs import Log
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.cosignature import Cosignature, open_cosignatures
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.quorum import quorum_time, verify_quorum
from appliance.tlog.tlog_policy import TlogPolicy

_CHECKPOINTS: Final = "opened checkpoints"  # among what an open store remembers
_COSIGNATURES: Final = "opened cosignatures"
_MOST: Final = 256  # of each kind; a store may be open as long as a log is served


def open_note_of(store: Store, log: Log, note: bytes) -> SignedCheckpoint:
    """Open a signed checkpoint of a log; raises what open_checkpoint raises, each time."""
    known = store.remembered.setdefault(_CHECKPOINTS, {})
    key = (note, log.keys, log.origin)
    if key not in known:
        _put(known, key, open_checkpoint(note, log.keys, log.origin))
    found: SignedCheckpoint = known[key]
    return found


def verify_quorum_of(
    store: Store, signed: SignedCheckpoint, policy: TlogPolicy, log_keys: Sequence[VerifierKey]
) -> tuple[Cosignature, ...]:
    """Return the cosignatures of a quorum; raises what verify_quorum raises."""
    return verify_quorum(signed, policy, log_keys, opened=partial(_cosignatures, store))


def quorum_time_of(
    store: Store,
    checkpoints: Sequence[SignedCheckpoint],
    policy: TlogPolicy,
    not_after: int | None = None,
) -> int | None:
    """Return since when a quorum vouches; raises what quorum_time raises."""
    return quorum_time(checkpoints, policy, not_after, opened=partial(_cosignatures, store))


def _cosignatures(
    store: Store, signed: SignedCheckpoint, witnesses: Sequence[VerifierKey]
) -> tuple[Cosignature, ...]:
    known = store.remembered.setdefault(_COSIGNATURES, {})
    key = (signed, tuple(witnesses))
    if key not in known:
        _put(known, key, open_cosignatures(signed, witnesses))
    found: tuple[Cosignature, ...] = known[key]
    return found


def _put(known: dict[Any, Any], key: object, value: object) -> None:
    if len(known) >= _MOST:
        del known[next(iter(known))]  # the oldest
    known[key] = value
