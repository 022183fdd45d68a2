"""sql: read the views of a home, with functions that read and prove entries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError, IncompleteError, RefusedError
from appliance.jobs.find.patterns import matcher
from appliance.jobs.find.search import Hit, read_again
from appliance.jobs.find.vouching import Voucher
from appliance.jobs.local_tiles import told_apart
from appliance.jobs.mirror.prove import show_entry
from appliance.runs.session import Session
from appliance.store.database import Store
from appliance.store.find.views import (
    Rows,
    Views,
    attach_statements,
    export_views,
    lacks_index,
    view_statements,
)
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.times import utc


def run_sql(
    session: Session,
    sql: str,
    parameters: Mapping[str, Any],
    claims: Mapping[str, int],
    *,
    seconds: float,
    max_rows: int,
) -> Rows:
    """Run one SELECT over the views; `claims` are the numbers of a certificate's claims by name.

    Raises as Views.run does, and what a function of ours raises in it.
    """
    failed: list[ApplianceError] = []
    until = session.monotonic() + seconds
    with session.reading() as store:  # first: it heals what a killed writer left
        views = Views(session.home)
        try:
            pattern_seconds = session.configuration.exact_seconds("watch.regexTimeout")
            _add_functions(views, store, claims, failed, pattern_seconds)
            return views.run(
                sql,
                parameters,
                max_rows=max_rows,
                is_over=lambda: session.monotonic() > until,
            )
        except RefusedError:
            if failed:
                raise failed[0] from None
            raise
        finally:
            views.close()


def _add_functions(
    views: Views,
    store: Store,
    claims: Mapping[str, int],
    failed: list[ApplianceError],
    seconds: float,
) -> None:
    def kept(error: ApplianceError) -> ApplianceError:
        failed.append(error)
        return error

    def regexp(pattern: Any, text: Any) -> int | None:
        if not isinstance(text, str) or not isinstance(pattern, str):
            return None
        try:
            return int(matcher(pattern, seconds).search(text))
        except ApplianceError as error:
            raise kept(error) from error

    def place(origin: Any, entry_index: Any) -> tuple[Mirror, int]:
        if not isinstance(entry_index, int):
            raise kept(
                RefusedError(
                    f"expected the index of an entry, got {str(entry_index)[:80]!r}",
                    reason="sql-error",
                    next_step="give a whole number: signed_at(origin, entry_index)",
                )
            )
        return Mirror(store, require_log(store, str(origin))), entry_index

    def entry_body(origin: Any, entry_index: Any) -> str | bytes | None:
        if entry_index is None:
            return None
        try:
            mirror, at = place(origin, entry_index)
            body = told_apart(mirror, lambda: show_entry(mirror, at)).body
        except IncompleteError:
            return None
        except ApplianceError as error:
            raise kept(error) from error
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            return body

    def claim(origin: Any, entry_index: Any, name: Any) -> str | None:
        if name not in claims:
            raise kept(
                RefusedError(
                    f"there is no claim {str(name)[:80]!r}",
                    reason="sql-error",
                    next_step=f"known are {', '.join(sorted(claims))}",
                )
            )
        hit = read(origin, entry_index)
        return None if hit is None else _claimed(hit, claims[name])

    def signed_at(origin: Any, entry_index: Any) -> str | None:
        hit = read(origin, entry_index)
        return None if hit is None else _signed_at(hit)

    def read(origin: Any, entry_index: Any) -> Hit | None:
        if entry_index is None:
            return None
        try:
            return read_again(*place(origin, entry_index), Voucher(store))
        except IncompleteError:
            return None
        except ApplianceError as error:
            raise kept(error) from error

    views.function("regexp", 2, regexp)
    views.function("signed_at", 2, signed_at)
    views.function("entry_body", 2, entry_body)
    views.function("claim", 3, claim)


def _claimed(hit: Hit, number: int) -> str | None:
    for signer in hit.facts.signers:
        for found, text in signer.certificate.claims if signer.certificate else ():
            if found == number:
                return text
    return None


def _signed_at(hit: Hit) -> str | None:
    for signer in hit.facts.signers:
        if signer.certificate is not None and signer.certificate.signed_at is not None:
            return utc(signer.certificate.signed_at)
    return None


def init_script(session: Session) -> str:
    """Return what `sqlite3 -init` reads: both files attached read only, and the views."""
    with session.reading():
        statements = (*attach_statements(session.home), *view_statements())
    return "".join(f"{statement};\n" for statement in statements)


def export_sql(session: Session, output: Path) -> tuple[dict[str, int], bool]:
    """Write the views as tables of a new SQLite file.

    Returns the rows of each, and whether there was no index for those that have theirs from it.
    """
    with session.reading():
        without_index = lacks_index(session.home)
        return export_views(session.home, output), without_index
