"""watch: what the logs are watched for; compared with every entry, those of the past as well."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from appliance.errors import ConfigError, StoreError
from appliance.jobs.find.criteria import Criteria, conditions_of, criteria_data
from appliance.jobs.find.expected import judge_ledger
from appliance.jobs.find.indexing import log_index
from appliance.jobs.find.patterns import matcher
from appliance.jobs.find.rekor_monitor import (
    Exported,
    Imported,
    read_configuration_file,
    write_configuration,
)
from appliance.jobs.find.remembered import Remembered
from appliance.jobs.find.watching import WatchReport, judge_watches
from appliance.jobs.progress import ShowProgress
from appliance.policy.expected import Standing
from appliance.runs.authorities import read_authorities
from appliance.runs.find import chosen_logs, reading_index
from appliance.runs.session import Session
from appliance.store.database import Store
from appliance.store.files import read_foreign
from appliance.store.find.expectations import count_open, unsettled
from appliance.store.find.index import Index
from appliance.store.find.watches import (
    FINDINGS,
    Match,
    NewWatch,
    Watch,
    add_scanned,
    add_watch,
    all_watches,
    behind,
    forget_scanned,
    matches_of,
    remove_watch,
    require_watch,
)
from appliance.store.lock import WATCH_LOCK_NAME
from appliance.store.mirror.logs import all_logs
from appliance.store.mirror.mirror import Mirror
from appliance.value import frozen, replaced

LOCK_SECONDS: Final = 10.0  # for another run to come to the end of comparing
_MAX_FILE_BYTES: Final = 1024 * 1024
_NEAREST: Final = 2  # identities that an unanchored pattern matches, shown at import


@frozen
class WatchOptions:
    """What of a watch is not its conditions; None: as the settings say."""

    severity: str | None = None
    unvouched: str | None = None
    expectations: str = "optional"
    grace: int | None = None  # seconds
    begins: str = "start"  # start, now, or the index of an entry


@frozen
class Added:
    """A watch that was added, and what the past held."""

    watch: Watch
    report: WatchReport


def add(
    session: Session,
    name: str,
    criteria: Criteria,
    options: WatchOptions,
    show: ShowProgress,
    *,
    dry_run: bool = False,
) -> Added:
    """Add a watch and compare all that is mirrored with it, unless it begins later.

    Raises RefusedError (watch-exists) if there is one of its name.
    """
    with session.writing_unlocked() as store, _alone(session):
        with store.atomic(dry_run=dry_run):
            watch = _add(session, store, name, criteria, options)
        if dry_run:
            return Added(watch, WatchReport(0, (), ()))
        report = _judge(session, store, [watch], show)
    return Added(watch, report)


def _add(
    session: Session, store: Store, name: str, criteria: Criteria, options: WatchOptions
) -> Watch:
    settings, now = session.configuration, session.now()
    new = NewWatch(
        name,
        criteria_data(criteria),
        options.severity or settings.text("watch.defaultSeverity"),
        options.expectations,
        settings.seconds("watch.grace") if options.grace is None else options.grace,
        options.unvouched or settings.text("watch.unvouched"),
        options.begins,
    )
    watch = add_watch(store, new, now)
    for log in all_logs(store):
        accepted = Mirror(store, log).history.accepted()
        size = 0 if accepted is None else accepted.head.tree_size
        if options.begins not in ("start", "now"):
            size = int(options.begins)
        if options.begins != "start" and size:
            add_scanned(store, watch, log, [(0, size)])
    return watch


def _judge(
    session: Session,
    store: Store,
    watches: Sequence[Watch],
    show: ShowProgress,
    *,
    origins: Sequence[str] = (),
    rescan: bool = False,
) -> WatchReport:
    logs = chosen_logs(store, origins) if origins else all_logs(store)
    with reading_index(session, not rescan) as index, show("watch") as advance:
        return judge_watches(store, index, watches, session.now(), logs=logs, progress=advance)


def _alone(session: Session) -> AbstractContextManager[None]:
    """Hold the lock of those who compare entries: two at once would do all of it twice."""
    waiting = replaced(session, lock_wait=max(session.lock_wait, LOCK_SECONDS))
    return waiting.locked(WATCH_LOCK_NAME)


def remove(session: Session, name: str, *, dry_run: bool = False) -> None:
    """Remove a watch with all that it found; its alerts stay."""
    with session.writing_unlocked() as store, _alone(session), store.atomic(dry_run=dry_run):
        remove_watch(store, name, session.now())


@frozen
class WatchStatus:
    """A watch, how far it is, and what it found."""

    watch: Watch
    behind: int  # mirrored entries it was not compared with
    matches: int


def list_watches(session: Session) -> tuple[WatchStatus, ...]:
    """List all watches by name."""
    with session.reading() as store:
        return tuple(_status(store, one) for one in all_watches(store))


def show_watch(session: Session, name: str) -> WatchStatus:
    """Return one watch; raises IncompleteError (unknown-watch) if there is none."""
    with session.reading() as store:
        return _status(store, require_watch(store, name))


def _status(store: Store, watch: Watch) -> WatchStatus:
    late = sum(behind(store, watch, log) for log in all_logs(store))
    return WatchStatus(watch, late, len(matches_of(store, watch)))


def list_matches(session: Session, name: str | None, since: int) -> tuple[Match, ...]:
    """List what was found, by a watch or by all, since a time in Unix seconds."""
    with session.reading() as store:
        watch = None if name is None else require_watch(store, name)
        return matches_of(store, watch, since=since)


def scan(
    session: Session,
    names: Sequence[str],
    origins: Sequence[str],
    show: ShowProgress,
    *,
    rescan: bool = False,
) -> WatchReport:
    """Compare what was not compared yet with these watches, or all.

    With `rescan` everything is compared again, without the index; what is known is not told
    again. Raises CorruptError for damage of ours, after all that is whole was compared.
    """
    with session.writing_unlocked() as store, _alone(session):
        watches = [require_watch(store, one) for one in names] or all_watches(store)
        if rescan:
            with store.atomic():
                for one in watches:
                    forget_scanned(store, one)
        return _judge(session, store, watches, show, origins=origins, rescan=rescan)


def compare_watches(session: Session, remembered: Remembered | None = None) -> tuple[str, ...]:
    """Compare what a sync or an import brought; returns what is to be said.

    Raises LockedError if another run compares already.
    """
    with session.writing_unlocked() as store, _alone(session), _index_if_whole(session) as index:
        watches = all_watches(store)
        return judge_watches(store, index, watches, session.now(), remembered=remembered).said


@contextlib.contextmanager
def _index_if_whole(session: Session) -> Iterator[Index | None]:
    """Open the index if it can be used; a broken one keeps no watch from reading entries."""
    with contextlib.ExitStack() as stack:
        try:
            index = stack.enter_context(reading_index(session))
        except StoreError:
            index = None
        yield index


@frozen
class FindingFigures:
    """The index, the watches and the ledger, in numbers."""

    indexed: Mapping[str, tuple[int, int, int]]  # by origin: indexed, behind, opaque
    watches_behind: Mapping[tuple[str, str], int]  # by watch and origin
    findings: tuple[tuple[str, str], ...]  # each watch, and what can come of its matches
    expected_open: int
    expected_missing: int


def finding_figures(session: Session, store: Store, now: int) -> FindingFigures:
    """Count what metrics say of finding; an index that is damaged has no figures."""
    logs, watches = all_logs(store), all_watches(store)
    indexed = {}
    with _index_if_whole(session) as index:
        if index is not None:
            for log in logs:
                one = log_index(store, index, log)
                indexed[log.origin] = (one.indexed, one.mirrored - one.indexed, one.opaque)
        rows = [row for row, _ in unsettled(store)]
        late = [one.standing for one in judge_ledger(store, index, now, rows)]
    return FindingFigures(
        indexed,
        {(one.name, log.origin): behind(store, one, log) for one in watches for log in logs},
        tuple((one.name, finding) for one in watches for finding in FINDINGS),
        count_open(store, now),
        late.count(Standing.MISSING),
    )


# --- the configuration of rekor-monitor


@frozen
class ImportedWatches:
    """What became of a configuration of rekor-monitor."""

    asked: Imported
    added: tuple[Watch, ...]
    known: tuple[str, ...]  # names of watches that were there already
    notes: tuple[str, ...]
    report: WatchReport


def import_configuration(
    session: Session, path: Path, show: ShowProgress, *, dry_run: bool = False
) -> ImportedWatches:
    """Add a watch for each value that rekor-monitor would monitor.

    Raises ConfigError for a file that cannot be read; then nothing is added.
    """
    raw = read_foreign(path, _MAX_FILE_BYTES)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8", reason="bad-yaml") from error
    asked = read_configuration_file(text, str(path))
    if asked.ca_roots is not None:
        # As there: beside the directory that the program runs in.
        more = [] if asked.ca_intermediates is None else [Path(asked.ca_intermediates)]
        asked = asked.with_authorities(*read_authorities([Path(asked.ca_roots)], more))
    options = WatchOptions(begins=asked.begins)
    with session.writing_unlocked() as store, _alone(session):
        names = {one.name for one in all_watches(store)}
        new = [one for one in asked.watches if one.name not in names]
        with store.atomic(dry_run=dry_run):
            added = [_add(session, store, one.name, one.criteria, options) for one in new]
        report = WatchReport(0, (), ())
        if not dry_run:
            report = _judge(session, store, added, show)
        with _index_if_whole(session) as index:
            nearest = () if index is None else _also_matched(index, asked)
    known = tuple(one.name for one in asked.watches if one.name in names)
    return ImportedWatches(asked, tuple(added), known, (*asked.notes, *nearest), report)


def _also_matched(index: Index, asked: Imported) -> tuple[str, ...]:
    """Name for each pattern the nearest identities that it would not match if it were anchored."""
    notes, names = [], index.identities()
    patterns = dict.fromkeys(
        text for one in asked.watches for text in one.criteria.identity_patterns
    )
    for text in patterns:
        try:
            anchored = matcher(f"^(?:{text})$")
        except ConfigError:
            continue
        found = zip(names, matcher(text).search_all(names), strict=True)
        wide = [name for name, is_found in found if is_found]
        exact = zip(wide, anchored.search_all(wide), strict=True)
        more = sorted((name for name, is_exact in exact if is_exact is False), key=len)
        if more:
            listed = ", ".join(more[:_NEAREST])
            notes.append(f"pattern {text!r} is not anchored and also matches {listed}")
    return tuple(notes)


def export_configuration(session: Session) -> Exported:
    """Write the watches as a configuration that rekor-monitor loads."""
    with session.reading() as store:
        watches = [(one.name, conditions_of(one)) for one in all_watches(store)]
    return write_configuration(watches)
