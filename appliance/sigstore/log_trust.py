"""Which keys of logs count, where a trusted root, pins and revocations speak of the same key.

revoked here                     counts for nothing, whoever names it
named by the trusted root        the root's windows, for a pin of it as well
named by an earlier root only    the root dropped it: a pin does not bring it back
named by no root ever            the pin, and the verdict says so
retired here                     nothing after that, whoever names it
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from appliance.errors import MalformedError, RefusedError
from appliance.sigstore.trusted_root import DROPPED, REVOKED, LogKey, TrustedRoot
from appliance.sigstore.validity import Window
from appliance.tlog.note_keys import VerifierKey, is_among, same_key
from appliance.value import frozen, replaced

PIN_ALONE: Final = "pin: no trusted root names it"


@frozen
class LogTrust:
    """The keys of logs, each with who speaks for it; those that do not count say why."""

    root: TrustedRoot | None
    pins: tuple[LogKey, ...]


def settle_trust(
    root: TrustedRoot | None,
    earlier: Callable[[], Iterable[LogKey]],
    pins: Sequence[LogKey],
    revoked: Sequence[VerifierKey],
) -> LogTrust:
    """Say which keys count; `earlier` gives those that any trusted root named before."""
    named: tuple[LogKey, ...] = ()
    if root is not None:
        source = f"trusted root {root.digest[:16]}"
        named = tuple(_limited(replaced(key, source=source), pins, revoked) for key in root.logs)
        root = replaced(root, logs=named)
    settled: list[LogKey] = []
    before: list[LogKey] | None = None
    for pin in pins:
        windows = [one for one in named if _is_key_of(one, pin)]
        if is_among(pin.key.spki, revoked):
            settled.append(replaced(pin, state=REVOKED))
        elif windows:
            settled += [
                replaced(
                    pin, valid=pin.valid.within(window.valid), source=f"pin, within {window.source}"
                )
                for window in windows
            ]
        else:
            before = list(earlier()) if before is None else before
            is_dropped = any(_is_key_of(one, pin) for one in before)
            settled.append(
                replaced(pin, state=DROPPED) if is_dropped else replaced(pin, source=PIN_ALONE)
            )
    return LogTrust(root, tuple(settled))


def _spki(key: LogKey) -> bytes | None:
    """Return a root's key; None for a kind that is not known here, which spoils only itself."""
    try:
        return key.key.spki
    except (MalformedError, RefusedError):
        return None


def _is_key_of(key: LogKey, pin: LogKey) -> bool:
    spki = _spki(key)
    return spki is not None and same_key(spki, pin.key.spki)


def _limited(key: LogKey, pins: Sequence[LogKey], revoked: Sequence[VerifierKey]) -> LogKey:
    """Apply what this site decided of a key that a root names: version, retirement, revocation."""
    spki = _spki(key)
    if spki is None:
        return key
    if is_among(spki, revoked):
        return replaced(key, state=REVOKED)
    for pin in pins:
        if not same_key(spki, pin.key.spki):
            continue
        if pin.log_id == key.log_id and pin.api_version:
            key = replaced(key, api_version=pin.api_version)
        if pin.max_size is not None:
            valid = key.valid.within(Window(None, pin.valid.end))
            key = replaced(key, valid=valid, max_size=pin.max_size)
    return key
