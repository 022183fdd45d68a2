"""Whose word counts here: exporters by threshold, receipts by role, revoked keys never."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.errors import ConfigError, IncompleteError, RefusedError, SignatureError
from appliance.store.database import Store
from appliance.store.home.key_files import has_signing_key, load_signing_key
from appliance.store.home.settings import SITE_NAME, site_fact
from appliance.store.revoked_keys import Revocation, refuse_revoked, revocations
from appliance.store.transfer.exporters import revoke
from appliance.store.transfer.transfers import EXPORTER, RECEIPT, enrol, exporter_keys
from appliance.tlog.note import Note, has_signed, open_note, parse_note
from appliance.tlog.note_keys import KeyType, VerifierKey, is_among, same_key
from appliance.value import frozen


@frozen
class Signed:
    """A note that keys we believe signed."""

    text: str
    signers: tuple[str, ...]  # names of the keys


def open_header_note(store: Store, note: bytes, threshold: int) -> Signed:
    """Open the header of a transfer bundle; enough known exporters must have signed it.

    Raises SignatureError for a known key's bad signature, RefusedError if too few known ones
    signed, with the reason if a revoked one did.
    """
    signed = _open(store, note, exporter_keys(store), "exporter")
    if len(signed.signers) < threshold:
        raise RefusedError(
            f"of the exporters that this site knows {len(signed.signers)} signed it"
            f" ({', '.join(signed.signers)}), {threshold} must{_and_revoked(store, note)}",
            reason="below-threshold",
            next_step=_how_to_reach_it(store, note, signed.signers),
        )
    return signed


def open_receipt_note(store: Store, note: bytes) -> Signed:
    """Open a far side's receipt: keys of both roles count. Raises as open_header_note does."""
    keys = dict.fromkeys(key for role in (RECEIPT, EXPORTER) for key in exporter_keys(store, role))
    return _open(store, note, tuple(keys), "receipt")


def open_own_note(store: Store, note: bytes, key: VerifierKey) -> str:
    """Open a header that a known exporter signed, or this site itself, or `key`."""
    site = site_fact(store, SITE_NAME)
    own = [key]
    if site is not None and has_signing_key(store.home, site):
        own.append(load_signing_key(store.home, site, store.passphrases).verifier)
    # One key may be here under two names: a note counts it once.
    keys = dict.fromkeys([*exporter_keys(store), *own])
    return _open(store, note, tuple(keys), "exporter").text


def replace_exporter(
    store: Store, old: VerifierKey, new: VerifierKey, reason: str, now: int, *, dry_run: bool
) -> list[str]:
    """Believe `new` in every role that `old` had, and revoke `old`; return the roles.

    Raises IncompleteError if `old` has no role, ConfigError if they are the same key,
    RefusedError for a new key that was revoked.
    """
    roles = [role for role in (EXPORTER, RECEIPT) if is_among(old, exporter_keys(store, role))]
    if not roles:
        raise unknown_exporter(old)
    if same_key(old, new):
        raise ConfigError("OLD and NEW are the same key", reason="same-key")
    refuse_revoked(store, new)
    with store.atomic(dry_run=dry_run):
        revoke(store, Revocation(old, now, reason))
        enrol(store, new, roles, now)
    return roles


def unknown_exporter(key: VerifierKey) -> IncompleteError:
    """What to say of a key that has no role here."""
    return IncompleteError(
        f"{key.name}+{key.key_id.hex()} is no exporter here",
        reason="unknown-exporter",
        next_step="see 'attestor exporters list'",
    )


def _open(store: Store, note: bytes, keys: Sequence[VerifierKey], role: str) -> Signed:
    try:
        opened = open_note(note, keys)
    except SignatureError as error:
        if error.reason != "unknown-signer":
            raise
        parsed = parse_note(note)
        _refuse_revoked_signers(store, parsed)
        claimed = ", ".join(signature.name for signature in parsed.signatures)
        raise RefusedError(
            f"no {role} key that this site knows signed it (it says: {claimed})",
            reason="unknown-exporter",
            next_step="check their key over another channel, then: attestor exporters add VKEY"
            + (" --role receipt" if role == "receipt" else ""),
        ) from error
    return Signed(opened.text, tuple(key.name for key in opened.signers))


def _refuse_revoked_signers(store: Store, note: Note) -> None:
    for signer in _revoked_signers(store, note):
        refuse_revoked(store, signer.key)


def _revoked_signers(store: Store, note: Note) -> list[Revocation]:
    """Return what was revoked of the keys that signed it, under whatever name they did."""
    return [
        revocation
        for revocation in revocations(store)
        if revocation.key.key_type is KeyType.ED25519 and has_signed(note, revocation.key)
    ]


def _how_to_reach_it(store: Store, note: bytes, known: Sequence[str]) -> str:
    parsed = parse_note(note)
    revoked = {signer.key.name for signer in _revoked_signers(store, parsed)}
    others = sorted({signature.name for signature in parsed.signatures} - {*known, *revoked})
    if others:
        return (
            f"{', '.join(others)} signed as well, says the file, and no such key is known here:"
            " compare it over another channel, then: attestor exporters add VKEY"
        )
    return "have another exporter sign it: 'attestor countersign' on the other side"


def _and_revoked(store: Store, note: bytes) -> str:
    found = _revoked_signers(store, parse_note(note))
    return "".join(f"; {one.key.name} does not count, revoked: {one.reason}" for one in found)
