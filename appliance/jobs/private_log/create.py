"""Create a private log; freeze it.

Creating can die anywhere and be run again: the record of what was signed comes first, the
key second, the database last, and nobody hears of the log before.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from appliance.errors import ArgumentError, ConfigError, RefusedError, RestoredError
from appliance.jobs.private_log.cosigning import Cosign, uncosigned
from appliance.jobs.private_log.sequence import recover, sign_off
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.home.key_files import create_signing_key, has_signing_key, load_signing_key
from appliance.store.home.settings import SITE_NAME, key_type_fact, site_fact
from appliance.store.mirror.logs import REKOR_V2, add_log, find_log, put_backend
from appliance.store.private_log.last_signed import (
    LastSigned,
    place_of,
    read_last_signed,
)
from appliance.store.private_log.memory import recall
from appliance.store.private_log.private_logs import PrivateLog, add_private_log, all_private_logs
from appliance.tlog.checkpoint import Checkpoint, SignedCheckpoint
from appliance.tlog.merkle import EMPTY_ROOT, TreeHead
from appliance.tlog.note import SigningKey, sign_note

# What every client accepts: no port, no path, no capitals.
_HOST: Final = re.compile(
    r"(?=.{1,100}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def create_log(
    store: Store, name: str, origin: str, seed: bytes, now: int, *, use_key: bool = False
) -> PrivateLog:
    """Create a log with an empty tree and sign its first checkpoint. The caller holds the lock.

    `seed` is 32 random bytes for its key; with `use_key` the key that is there already is
    taken instead, which must never have signed a checkpoint. Raises ConfigError for a name
    or origin that cannot be had, RefusedError (key-role) for a key of another type,
    DivergenceError (reason restored-store) if this origin signed more than an empty tree before.
    """
    _check_names(store, name, origin)
    home = store.home
    last = read_last_signed(home, origin)
    have_key = has_signing_key(home, origin)
    if have_key and last is None and not use_key:
        raise ConfigError(
            f"there is a key {origin!r} already, and no record of what it signed",
            reason="key-exists",
            next_step="if it never signed a checkpoint, say so with --use-key; otherwise choose"
            " another origin",
        )
    if have_key and last is None:
        _refuse_other_role(store, origin)
    if have_key:
        key = load_signing_key(home, origin, store.passphrases)
    else:
        store.passphrases.find(origin)  # which says now if it cannot be had
        key = SigningKey(origin, seed)
    checkpoint = empty_checkpoint(key)
    if last is not None and (last.base_size or last.staged):
        raise RestoredError(
            f"{origin} has signed more than an empty tree already (keys/{origin}.last)",
            next_step=f"continue it: attestor log recover --log {name} --source URL|DIRECTORY; or"
            " choose another origin",
        )
    memory = recall(key.verifier)
    if memory is not None and memory.record.note != checkpoint.note:
        raise RestoredError(
            f"since this machine was booted, {origin} signed more than an empty tree",
            next_step=f"continue it: attestor log recover --log {name} --source URL|DIRECTORY; or"
            " choose another origin",
        )
    record = LastSigned(place_of(home), 0, None, checkpoint.note)
    sign_off(store, key.verifier, last, record)
    # If we die here, a size 0 checkpoint was signed, and at most by a key that is lost.
    if not have_key:
        create_signing_key(home, origin, seed, store.passphrases)
    # If we die here, the next try finds the key and the record of the empty tree.
    with store.atomic():
        log = add_log(store, origin, REKOR_V2, key.verifier.spki)
        put_backend(store, name, log, base_url=None, read_url=None)
        details = {"name": name, "origin": origin, "vkey": key.verifier.vkey}
        append_event(store, now, "log.created", details)
        return add_private_log(store, name, log, checkpoint, now)


def freeze_log(
    store: Store, private: PrivateLog, now: int, cosign: Cosign = uncosigned
) -> SignedCheckpoint:
    """Sign the last checkpoint again, with the line that says there will be no other.

    The caller holds the lock. Nothing is ever logged after it; freezing again does
    nothing. Raises as `recover` does.
    """
    origin = private.log.origin
    key = load_signing_key(store.home, origin, store.passphrases)
    last_checkpoint = recover(store, private, key, now, cosign)
    if last_checkpoint.checkpoint.frozen:
        return last_checkpoint
    last = read_last_signed(store.home, origin)
    if last is None:
        raise LookupError("a record that was just read is not there")
    head = last_checkpoint.head
    frozen = Checkpoint(origin, head, (freeze_line(now),))
    note = sign_note(str(frozen), [key])
    new = LastSigned(last.place, head.tree_size, None, note)
    sign_off(store, key.verifier, last, new)
    # If we die here, it is frozen: whoever runs next publishes the note.
    return recover(store, private, key, now, cosign)


def freeze_line(now: int) -> str:
    """Return the extension line of a log frozen at `now`, Unix seconds, as Rekor's tool writes it.

    >>> freeze_line(1767225600).partition(" ")[2]
    'frozen — Thu Jan  1 00:00:00 UTC 2026'
    """
    at = datetime.fromtimestamp(now, UTC)
    return f"Log frozen \N{EM DASH} {at:%a %b} {at.day:2} {at:%H:%M:%S} UTC {at.year}"


def empty_checkpoint(key: SigningKey) -> SignedCheckpoint:
    """Sign the checkpoint of the empty tree, the same each time."""
    checkpoint = Checkpoint(key.name, TreeHead(0, EMPTY_ROOT))
    return SignedCheckpoint(checkpoint, sign_note(str(checkpoint), [key]), (key.verifier,))


def _refuse_other_role(store: Store, origin: str) -> None:
    """Raise RefusedError for a key that was made for something else than a log."""
    made_for = site_fact(store, key_type_fact(origin))
    if made_for is None and origin == site_fact(store, SITE_NAME):
        made_for = "bundle"
    if made_for not in (None, "log"):
        raise RefusedError(
            f"the key {origin!r} is of the type {made_for}: it signs other things than a log",
            reason="key-role",
            next_step="choose another origin, or make a key for it: attestor key generate ORIGIN"
            " --type log",
        )


def _check_names(store: Store, name: str, origin: str) -> None:
    if not _NAME.fullmatch(name):
        raise ArgumentError(
            f"not a log name: {name[:80]!r}",
            reason="log-name",
            next_step="use letters, digits, dot, dash and underscore, at most 100",
        )
    if not _HOST.fullmatch(origin):
        raise ArgumentError(
            f"not an origin that all clients accept: {origin[:80]!r}",
            reason="origin",
            next_step="use a bare lower-case host name, without scheme, port and path",
        )
    for other in all_private_logs(store):
        if name == other.name or origin == other.log.origin:
            raise ConfigError(
                f"this home runs the log {other.name} ({other.log.origin}) already",
                reason="log-exists",
            )
    if find_log(store, origin) is not None:
        raise ConfigError(
            f"{origin} is the origin of a log that this home mirrors",
            reason="origin-taken",
            next_step="choose another origin: two logs of one origin look like a fork",
        )
