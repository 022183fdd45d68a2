"""index and entries search: build what is searched, search it, and decide what that proves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from appliance.errors import (
    ApplianceError,
    IncompleteError,
    RefusedError,
    StoreError,
    VerificationError,
)
from appliance.jobs.find.criteria import Criteria, criteria_data
from appliance.jobs.find.indexing import Compared, LogIndex, build, compare, log_index
from appliance.jobs.find.remembered import Remembered
from appliance.jobs.find.search import ALWAYS, Found, Gap, Hit, Window, read_again, search
from appliance.jobs.find.vouching import Voucher
from appliance.jobs.mirror.tree_places import EntryPlace, by_log_index
from appliance.jobs.progress import SILENT, Progress, ShowProgress
from appliance.runs.session import Session
from appliance.store.database import Store
from appliance.store.failures import CORRUPT
from appliance.store.find.index import (
    REBUILD,
    Index,
    create_index,
    drop_index,
    index_size,
    open_index,
)
from appliance.store.find.known_statements import logged_about
from appliance.store.lock import INDEX_LOCK_NAME
from appliance.store.mirror.logs import Log, all_logs, require_log
from appliance.store.mirror.mirror import Mirror
from appliance.value import frozen, replaced

_NAMED: Final = 5  # gaps and entries that a message names
_ATTESTED: Final = (
    "an attestation about such a digest is logged under another, and found only if this home has"
    " seen it (verify --record, expected add --bundle)"
)
_CLOSED_BY: Final = {
    "no-entry-bundles": "run 'attestor sync --entries', or import a transfer bundle with entries",
    "checkpoint-only": "run 'attestor sync --backend ID --from INDEX --count N', or import a"
    " transfer bundle of a site that did",
    "not-indexed": "run 'attestor index build', or search with --rescan",
    "beyond-mirror": "run 'attestor sync --entries --full-tiles', or import a transfer bundle",
    "quarantined": "see 'attestor quarantine list'",
}


@frozen
class IndexStatus:
    """The index of a home, and how much of each log is in it."""

    n_bytes: int | None  # None: there is no index
    logs: tuple[LogIndex, ...]


def index_status(session: Session) -> IndexStatus:
    """Compare the index with what is mirrored; raises StoreError if it is damaged."""
    with session.reading() as store, reading_index(session) as index:
        logs = tuple(log_index(store, index, log) for log in all_logs(store))
    return IndexStatus(index_size(session.home), logs)


def build_index(
    session: Session, origins: Sequence[str], limit: int | None, show: ShowProgress
) -> int:
    """Index what is mirrored and not indexed yet; returns how many entries were read."""
    _require_enabled(session)
    with session.reading() as store, _writing_index(session) as index, show("index") as advance:
        return _build(session, store, index, chosen_logs(store, origins), advance, limit)


def rebuild_index(session: Session, show: ShowProgress) -> int:
    """Make the index anew from the entry bundles; returns how many entries were read."""
    _require_enabled(session)
    with (
        session.reading() as store,
        _writing_index(session, anew=True) as index,
        show("index") as advance,
    ):
        return _build(session, store, index, all_logs(store), advance)


def _require_enabled(session: Session) -> None:
    if session.configuration.optional_flag("entryIndex.enabled") is False:
        raise RefusedError(
            "entryIndex.enabled is false: this home makes no index",
            reason="index-disabled",
            next_step="attestor config set entryIndex.enabled true; or search with --rescan",
        )


@contextmanager
def _writing_index(session: Session, *, anew: bool = False) -> Iterator[Index]:
    """Open the index for writing, alone; an empty one if there was none, or `anew`."""
    with session.locked(INDEX_LOCK_NAME):
        if anew:
            drop_index(session.home)
        index = create_index(session.home)
        try:
            yield index
        finally:
            index.close()


def _build(
    session: Session,
    store: Store,
    index: Index,
    logs: Sequence[Log],
    progress: Progress = SILENT,
    limit: int | None = None,
    remembered: Remembered | None = None,
) -> int:
    most = session.configuration.optional_count("entryIndex.maxSizeBytes")
    return build(store, index, logs, progress, limit, most, remembered)


def check_index(session: Session, every: int, show: ShowProgress) -> Compared:
    """Read every n-th indexed entry bundle again and compare.

    Raises IncompleteError if there is no index, StoreError (corrupt) if its file is damaged,
    (index-differs) if it misses something, CorruptError if an entry bundle is damaged.
    """
    with (
        session.reading() as store,
        reading_index(session) as index,
        show("index check") as advance,
    ):
        if index is None:
            raise no_index()
        # What is asked for below reads only the pages that lead to it.
        if problems := index.problems():
            raise StoreError(
                f"{index.path} is damaged: {'; '.join(problems)}",
                reason=CORRUPT,
                next_step=REBUILD,
            )
        compared = compare(store, index, all_logs(store), every, advance)
    if compared.wrong:
        more = f" and {len(compared.wrong) - _NAMED} more" if compared.wrong[_NAMED:] else ""
        raise StoreError(
            "entries cannot be found in the index that says it has them:"
            f" {', '.join(compared.wrong[:_NAMED])}{more}",
            reason="index-differs",
            next_step=REBUILD,
        )
    return compared


def delete_index(session: Session) -> bool:
    """Delete the index; returns whether there was one."""
    with session.locked(INDEX_LOCK_NAME):
        return drop_index(session.home)


def index_what_came(session: Session, remembered: Remembered | None = None) -> None:
    """Bring the index up to what is mirrored; raises as build_index does."""
    with session.reading() as store, _writing_index(session) as index:
        _build(session, store, index, all_logs(store), remembered=remembered)


@frozen
class Query:
    """What is looked for, where and how."""

    criteria: Criteria
    origins: tuple[str, ...] = ()  # none: all logs
    rescan: bool = False  # read all entries, without the index
    limit: int = 1000
    expect: str | None = None  # found or none: anything else is an error
    vouched_only: bool = False  # by an authority of the trusted root
    window: Window = ALWAYS


@frozen
class SearchRun:
    """What a search found, and what that means."""

    found: Found
    warnings: tuple[str, ...]
    errors: tuple[ApplianceError, ...]
    window: Window = ALWAYS  # what was asked for
    criteria: Criteria | None = None  # what was searched: with what is known of attestations


def search_entries(session: Session, query: Query, show: ShowProgress) -> SearchRun:
    """Search the mirrored logs.

    Raises IncompleteError if there is no index, no log or nothing accepted, StoreError if
    the index or an entry bundle is damaged.
    """
    with session.reading() as store, reading_index(session, not query.rescan) as index:
        if index is None and not query.rescan:
            raise no_index()
        logs = chosen_logs(store, query.origins)
        seconds = session.configuration.exact_seconds("watch.regexTimeout")
        with show("rescan") as advance:
            criteria = _with_known_statements(store, query.criteria)
            found = search(
                store,
                index,
                logs,
                replaced(criteria, pattern_seconds=seconds),
                limit=query.limit,
                vouched_only=query.vouched_only,
                window=query.window,
                progress=advance,
            )
    run = judged(found, query.expect, query.window)
    if not found.hits:
        asked = criteria_data(query.criteria)
        run = replaced(run, warnings=(*run.warnings, *not_told_by_entries(asked)))
    return replaced(run, criteria=criteria)


def not_told_by_entries(query: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Warn of what entries may be about and do not say; `query`: as criteria_data has it."""
    may_be = "digest" in query and list(query.get("kind", ())) != ["hashedrekord"]
    return (_ATTESTED,) if may_be else ()


def _with_known_statements(store: Store, criteria: Criteria) -> Criteria:
    """Return conditions that attestations about the digests meet, too, as far as they are known."""
    more = logged_about(store, criteria.digests)
    return replaced(criteria, digests=tuple(dict.fromkeys((*criteria.digests, *more))))


def judged(found: Found, expect: str | None, window: Window = ALWAYS) -> SearchRun:
    """Say what an answer proves: a hit always does, none only if everything was looked at."""
    warnings = []
    if found.hits:
        if not found.is_complete:
            warnings.append(f"not everything was looked at: {_unseen(found)}")
        if found.more:
            warnings.append("there are more hits than --limit")
        if expect == "none":
            first = found.hits[0]
            return SearchRun(
                found,
                tuple(warnings),
                (
                    VerificationError(
                        f"{first.origin} {first.entry_index} is an entry that should not be there",
                        reason="unexpected-entry",
                        next_step="confirm who signed; if nobody of yours, revoke the identity",
                    ),
                ),
            )
        return SearchRun(found, tuple(warnings), ())
    if not found.is_complete:
        whys = dict.fromkeys(gap.why for one in found.coverage for gap in one.gaps)
        steps = [_CLOSED_BY[why] for why in whys]
        if any(one.head is None and not one.gaps for one in found.coverage):
            steps.append("run 'attestor sync --entries', or search only in others with --origin")
        if any(one.opaque for one in found.coverage):
            steps.append("look at what cannot be read yourself: 'attestor entries show'")
        error: ApplianceError = IncompleteError(
            f"nothing found, but not everything was looked at: {_unseen(found)}",
            reason="search-incomplete",
            next_step="; ".join(steps),
        )
        return SearchRun(found, (), (error,))
    if expect == "found":
        error = VerificationError(
            not_logged(found, window),
            reason="not-logged",
            next_step="if it must be logged, ask who signs it; do not use what is not",
        )
        return SearchRun(found, (), (error,))
    return SearchRun(found, (), (), window)


def not_logged(found: Found, window: Window) -> str:
    """Say what is proven by an answer without hits over complete coverage."""
    when = f" ({window})" if str(window) else ""
    sizes = (
        f"no entry below size {one.head.tree_size:,} of {one.origin} matches"
        for one in found.coverage
        if one.head is not None
    )
    return f"not logged: {'; '.join(sizes)}{when}"


def _unseen(found: Found) -> str:
    parts = []
    for one in found.coverage:
        if one.head is None and not one.gaps:
            parts.append(f"{one.origin}: no checkpoint was accepted yet")
        parts += [f"{one.origin} {_gap(gap)}" for gap in one.gaps[:_NAMED]]
        if one.gaps[_NAMED:]:
            parts.append(f"{one.origin}: {len(one.gaps) - _NAMED} more gaps")
        if one.opaque:
            named = ", ".join(str(at) for at, _ in one.opaque[:_NAMED])
            more = f" and {len(one.opaque) - _NAMED} more" if one.opaque[_NAMED:] else ""
            parts.append(f"{one.origin}: entries that cannot be read whole: {named}{more}")
    return "; ".join(parts)


def _gap(gap: Gap) -> str:
    return f"{gap.start:,} to {gap.stop - 1:,} ({gap.why})"


@frozen
class Listed:
    """The entries in a row of indices over all trees of a Rekor v1 instance that are here."""

    hits: tuple[tuple[EntryPlace, Hit], ...]
    error: IncompleteError | None  # what is not here; None: all are


def list_entries(session: Session, wanted: range, origin: str | None) -> Listed:
    """Read entries by their indices over all trees, each proven; name those that are not here."""
    hits: list[tuple[EntryPlace, Hit]] = []
    lacking: list[int] = []
    why: IncompleteError | None = None
    with session.reading() as store:
        voucher = Voucher(store)
        for log_index in wanted:
            try:
                place = by_log_index(store, log_index, origin)
                found = read_again(Mirror(store, place.log), place.entry_index, voucher)
            except IncompleteError as error:
                lacking.append(log_index)
                why = why or error
            else:
                hits.append((place, found))
    if why is not None and len(wanted) > 1:
        why.message = (
            f"{len(lacking):,} of the {len(wanted):,} entries are not here, log index"
            f" {lacking[0]} is the first: {why.message}"
        )
    return Listed(tuple(hits), why)


def chosen_logs(store: Store, origins: Sequence[str]) -> tuple[Log, ...]:
    """Return the logs of these origins, or all; raises IncompleteError (no-log) for none."""
    logs = tuple(require_log(store, one) for one in dict.fromkeys(origins)) or all_logs(store)
    if not logs:
        raise IncompleteError(
            "no log is known here",
            reason="no-log",
            next_step="add one: attestor backend add ID --origin O --public-key FILE --url U",
        )
    return logs


@contextmanager
def reading_index(session: Session, wanted: bool = True) -> Iterator[Index | None]:
    """Open the index for reading; None: there is none, or it is not `wanted`."""
    index = open_index(session.home, write=False) if wanted else None
    try:
        yield index
    finally:
        if index is not None:
            index.close()


def no_index() -> IncompleteError:
    """Return the error that says that there is no index."""
    return IncompleteError(
        "this home has no index of entries",
        reason="no-index",
        next_step="make it: attestor index build; or read everything: --rescan",
    )
