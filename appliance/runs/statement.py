"""entries search --statement and entries statement: sign what was found, and ask it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appliance.errors import ConfigError
from appliance.jobs.find.search import Found, Hit
from appliance.jobs.find.statement import (
    MAX_BYTES,
    Statement,
    ask_again,
    make_statement,
    open_statement,
)
from appliance.runs.exit_codes import naming
from appliance.runs.find import Query, no_index, reading_index
from appliance.runs.session import Session
from appliance.store.files import read_foreign, written_whole
from appliance.store.home.key_files import has_signing_key, load_signing_key
from appliance.store.home.settings import SITE_NAME, site_fact
from appliance.store.mirror.logs import all_logs
from appliance.tlog.note import SigningKey
from appliance.tlog.note_keys import VerifierKey


def write_statement(session: Session, query: Query, found: Found, path: Path) -> None:
    """Sign what a search found by the site's key, in a new file.

    Raises ConfigError (no-site-key) without a key, LimitError if it is too much for one.
    """
    key = _site_key(session)
    note = make_statement(found, query.criteria, query.vouched_only, key.name, session.now(), key)
    with written_whole(path) as file:
        file.write(note)


def read_statement(session: Session, path: Path, keys: Sequence[VerifierKey]) -> Statement:
    """Open a statement by these keys, or by this site's own; raises as open_statement does."""
    chosen = keys or (_site_key(session).verifier,)
    with naming(path):
        return open_statement(read_foreign(path, MAX_BYTES), chosen)


def rerun_statement(session: Session, statement: Statement, *, rescan: bool) -> tuple[Hit, ...]:
    """Search again what a statement says was looked at; raises as ask_again does."""
    with session.reading() as store, reading_index(session, not rescan) as index:
        if index is None and not rescan:
            raise no_index()
        return ask_again(store, index, all_logs(store), statement)


def _site_key(session: Session) -> SigningKey:
    with session.reading() as store:
        site = site_fact(store, SITE_NAME) or ""
    if not site or not has_signing_key(session.home, site):
        raise ConfigError(
            "this home has no site key",
            reason="no-site-key",
            next_step="make it: attestor init --site NAME; or name a key with --key",
        )
    return load_signing_key(session.home, site, session.passphrases)
