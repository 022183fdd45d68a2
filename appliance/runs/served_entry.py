"""log get: which key a log's checkpoint has to be by, and the entry that it then proves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from appliance.config.configuration import restore
from appliance.errors import (
    ArgumentError,
    IncompleteError,
    RefusedError,
    RemoteError,
    StoreError,
)
from appliance.fetch.http import HttpClient, url_prefix
from appliance.fetch.rekor_v2 import RekorV2Log
from appliance.jobs.mirror.served_entry import served_entry
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.runs.exit_codes import naming
from appliance.runs.network import http_settings
from appliance.runs.revoked import refuse_keys_revoked_here
from appliance.runs.session import Session
from appliance.runs.sources import served_log
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.files import read_foreign
from appliance.store.mirror.logs import REKOR_V1, Log, all_backends, all_logs, require_log
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.note_keys import VerifierKey, load_public_key_file, log_key, parse_vkey
from appliance.value import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.store.database import Store

MAX_KEY_BYTES: Final = 64 * 1024


@frozen
class LogIdentity:
    """Whose checkpoints are believed."""

    origin: str
    keys: Sequence[VerifierKey]
    believed_size: int | None = None  # of a log that contradicted itself: no tree beyond it


@frozen
class ServedEntry:
    """An entry, and the checkpoint it was proven under."""

    entry: TransparencyLogEntry
    checkpoint: SignedCheckpoint
    source: str  # the prefix it was read from


def get_entry(
    session: Session, url: str, entry_index: int, key_file: Path | None, origin: str | None
) -> ServedEntry:
    """Read an entry of the log at `url` and prove it, by the key in a file or by this home's.

    Raises IncompleteError (no-log-key, not-covered), RefusedError (quarantined, api-version,
    revoked-key), and what opening a checkpoint, proving and fetching raise.
    """
    if key_file is not None:
        identity = _given(session, key_file, origin)
    else:
        with session.reading() as store:
            identity = _known(store, url, origin)
    with _http(session) as http:
        source = served_log(http, url)
        signed = open_checkpoint(_checkpoint(source), identity.keys, identity.origin)
        size = signed.head.tree_size
        if identity.believed_size is not None and size > identity.believed_size:
            raise RefusedError(
                f"{identity.origin} contradicted itself and is quarantined beyond"
                f" {identity.believed_size:,} entries: nothing is proven by its tree of {size:,}",
                reason="quarantined",
                next_step="see 'attestor alerts list'; what is mirrored is proven by: attestor"
                f" entries show --origin {identity.origin} --index {entry_index}",
            )
        if entry_index >= size:
            raise IncompleteError(
                f"{identity.origin} has {size:,} entries by its newest checkpoint: there is no"
                f" entry {entry_index:,}",
                reason="not-covered",
                next_step="the first entry is 0; if it was logged just now, try again",
            )
        return ServedEntry(served_entry(source, signed, entry_index), signed, source.description)


def _checkpoint(source: RekorV2Log) -> bytes:
    try:
        return source.checkpoint()
    except RemoteError as error:
        if error.reason in ("not-found", "http-status"):
            error.next_step = (
                "give the URL below which its checkpoint and tiles are read; a server that only"
                " takes entries, as rekor-server does, has none"
            )
        raise


def _http(session: Session) -> HttpClient:
    """Return what asks other hosts; without a home as the environment alone says."""
    try:
        configuration = session.configuration
    except StoreError as error:
        if error.reason != "no-store":
            raise
        configuration = restore("connected", {})
    settings = http_settings(configuration, passphrases=session.passphrases)
    return HttpClient(settings, clock=session.monotonic, sleep=session.sleep)


def _given(session: Session, key_file: Path, origin: str | None) -> LogIdentity:
    with naming(key_file):
        data = read_foreign(key_file, MAX_KEY_BYTES)
        text = data.decode("utf-8", "replace").strip()
        is_vkey = "+" in text and "\n" not in text and not text.startswith("-----BEGIN")
        if is_vkey:
            key = parse_vkey(text)
        elif origin is None:
            raise ArgumentError(
                f"{key_file}: a public key alone does not say of which log it is",
                reason="no-origin",
                next_step="name the log: --origin HOST, the first line of its checkpoint",
            )
        else:
            key = log_key(origin, load_public_key_file(data))
    refuse_keys_revoked_here(session, (key,))
    return LogIdentity(origin or key.name, (key,))


def _known(store: Store, url: str, origin: str | None) -> LogIdentity:
    """Return the identity of a log that this home pinned or runs."""
    log = require_log(store, origin) if origin is not None else _at(store, url)
    if log.api_version == REKOR_V1:
        raise RefusedError(
            f"{log.origin} is a Rekor v1 log, which serves no tiles to prove an entry by",
            reason="api-version",
            next_step="an entry of it that somebody else fetched is checked by: attestor verify",
        )
    held = quarantine_of(store, log)
    return LogIdentity(log.origin, log.keys, None if held is None else held.last_common_size)


def _at(store: Store, url: str) -> Log:
    """Return the log that a backend has at this URL, or the only one there is."""
    asked = url_prefix(url)
    logs = {
        backend.log.origin: backend.log
        for backend in all_backends(store)
        for place in (backend.base_url, backend.read_url)
        if place is not None and url_prefix(place) == asked
    } or {log.origin: log for log in all_logs(store)}
    if len(logs) != 1:
        raise IncompleteError(
            f"which log answers at {url} is not known here"
            f" (pinned are {', '.join(sorted(logs)) or 'none'})",
            reason="no-log-key",
            next_step="name it with --origin HOST, or give its key: --key FILE --origin HOST",
        )
    return next(iter(logs.values()))
