"""Compare the entries of the mirrored logs with the watches, each entry once for each watch.

What a watch was compared with is recorded whatever was found, so that a match never holds
it up. Matches and the range they are in commit together; alerts are raised from the matches
that have none, in one transaction with their being told. So a run that is killed anywhere
neither loses a match nor tells it twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from appliance.errors import CorruptError, IncompleteError, RefusedError
from appliance.jobs.divergence.alarm import Alerting, raise_alarm, read_alerting
from appliance.jobs.find.criteria import (
    Criteria,
    Screen,
    conditions_of,
    matches,
    matching_signers,
    proposed,
)
from appliance.jobs.find.ledger import meets
from appliance.jobs.find.patterns import OverTimeError
from appliance.jobs.find.remembered import READ_AT_MOST, Remembered
from appliance.jobs.find.search import (
    Hit,
    coverage_of,
    read_again,
    reading_around,
    rescan,
    vouched,
    why_unread,
)
from appliance.jobs.find.vouching import Voucher
from appliance.jobs.home.configure import read_configuration
from appliance.jobs.our_tree import readable_checkpoint
from appliance.jobs.progress import SILENT, Progress
from appliance.policy.alarms import root_text
from appliance.policy.watch import (
    CLAIM_SECONDS,
    CLAIMED,
    UNDECIDED,
    entry_alarm,
    finding_of,
)
from appliance.rekor.signing_algorithms import digest_text
from appliance.store.database import Store
from appliance.store.divergence.alerts import Alert, alerts, end_alert
from appliance.store.find.expectations import holding_at, rows_of_digest
from appliance.store.find.index import Index
from appliance.store.find.watches import (
    EXPECTED,
    MATCHED,
    UNEXPECTED,
    WAITING,
    Match,
    Ranges,
    Undecided,
    Watch,
    add_matches,
    add_scanned,
    add_undecided,
    all_watches,
    has_untold,
    is_in,
    joined_ranges,
    last_told,
    matches_of,
    scanned_ranges,
    set_finding,
    set_told,
    set_undecided_told,
    untold_undecided,
    without_ranges,
)
from appliance.store.home.counters import count
from appliance.store.home.journal import append_event
from appliance.store.mirror.logs import Log, all_logs
from appliance.store.mirror.mirror import Mirror
from appliance.times import utc
from appliance.tlog.merkle import TreeHead
from appliance.tlog.tile import WIDTH
from appliance.value import frozen, replaced

MATCHES: Final = "attestor_watch_matches_total"
_TOGETHER: Final = 64 * WIDTH  # entries read in one go, with one transaction


@frozen
class WatchReport:
    """What comparing gave."""

    compared: int  # entries that were read, or that the index was asked for
    found: tuple[Match, ...]  # that met a watch, new
    said: tuple[str, ...]  # of alerts that were raised


@frozen
class _Watching:
    watch: Watch
    criteria: Criteria
    voucher: Voucher
    todo: Ranges  # of one log


def judge_watches(
    store: Store,
    index: Index | None,
    watches: Sequence[Watch],
    now: int,
    *,
    logs: Sequence[Log] | None = None,
    progress: Progress = SILENT,
    remembered: Remembered | None = None,
) -> WatchReport:
    """Compare what is mirrored and was not compared yet, and raise the alerts that follow.

    With an index it is asked where much is to be compared at once, else every entry is
    read, unless it is `remembered`. Each match is read again and proven. Raises CorruptError
    for damage of ours; what was done before stays done.
    """
    compared, new, damage = 0, list[Match](), list[CorruptError]()
    seconds = read_configuration(store).exact_seconds("watch.regexTimeout")
    criteria = {one.id: conditions_of(one, seconds) for one in watches}
    for log in all_logs(store) if logs is None else logs:
        found = _compare(store, index, log, watches, criteria, now, progress, remembered)
        compared += found.compared
        new += found.matches
        damage += found.damage
    said = tell(store, now) if watches else ()
    if damage:
        raise damage[0]
    return WatchReport(compared, tuple(new), said)


class _Compared:
    """What comparing the entries of one log gave."""

    def __init__(self) -> None:
        self.compared = 0
        self.matches: list[Match] = []
        self.damage: list[CorruptError] = []  # of ours; its entries are compared once repaired


def _compare(
    store: Store,
    index: Index | None,
    log: Log,
    watches: Sequence[Watch],
    criteria: Mapping[int, Criteria],
    now: int,
    progress: Progress,
    remembered: Remembered | None,
) -> _Compared:
    mirror, result = Mirror(store, log), _Compared()
    here = coverage_of(mirror, None)
    if here.head is None:
        return result
    named = [(criteria[one.id].ca_roots, criteria[one.id].ca_intermediates) for one in watches]
    vouchers = {some: Voucher(store, *some) for some in named}
    watching = [
        _Watching(
            one,
            criteria[one.id],
            vouchers[some],
            without_ranges(here.ranges, scanned_ranges(store, one, log)),
        )
        for one, some in zip(watches, named, strict=True)
    ]
    if index is not None:
        watching = _ask(mirror, index, watching, now, result)
    comparing = _Comparing(mirror, here.head, watching, now, progress, remembered)
    unread = joined_ranges(part for one in watching for part in one.todo)
    progress.stage("entries", lambda: _count(unread))
    for start, stop in unread:
        for first in range(start // WIDTH * WIDTH, stop, _TOGETHER):
            comparing.read(first, min(first + _TOGETHER, stop), result)
    return result


def _ask(
    mirror: Mirror,
    index: Index,
    watching: Sequence[_Watching],
    now: int,
    result: _Compared,
) -> list[_Watching]:
    """Ask the index where much is to be compared at once; return what is left to be read."""
    indexed, left = coverage_of(mirror, index), []
    for one in watching:
        if _count(one.todo) <= READ_AT_MOST or not one.criteria.is_indexed:
            left.append(one)
            continue
        ranges = _common(one.todo, indexed.ranges)
        found, unsure = [], [Undecided(*at) for at in indexed.opaque if is_in(ranges, at[0])]
        for at in sorted(proposed(one.criteria, index, mirror.log)):
            if not is_in(ranges, at):
                continue
            try:
                hit = read_again(mirror, at, one.voucher)
                if matches(one.criteria, hit.facts):
                    found.append(_match(one, mirror.log, hit, now))
            except OverTimeError as error:
                unsure.append(Undecided(at, error.message))
            except CorruptError as error:
                result.damage.append(error)
                ranges = without_ranges(ranges, [_tile(at)])
        done = [(one.watch, found, ranges)]
        result.matches += _record(mirror.store, mirror.log, done, unsure, now)
        result.compared += _count(ranges)
        # What the index does not have is read, what is damaged is tried again.
        left.append(replaced(one, todo=without_ranges(one.todo, indexed.ranges)))
    return left


class _Comparing:
    """Reads entries of one log and compares each with the watches that it is new to."""

    def __init__(
        self,
        mirror: Mirror,
        head: TreeHead,
        watching: Sequence[_Watching],
        now: int,
        progress: Progress,
        remembered: Remembered | None,
    ) -> None:
        self.mirror, self.head, self.remembered = mirror, head, remembered
        self.watching, self.now, self.progress = watching, now, progress
        self.screen = Screen([one.criteria for one in watching])

    def read(self, start: int, stop: int, result: _Compared) -> None:
        """Compare a range that begins with an entry bundle; damage spoils only its own bundle."""
        damage = reading_around(start, stop, lambda first, last: self._read(first, last, result))
        result.damage += damage.values()

    def _read(self, start: int, stop: int, result: _Compared) -> None:
        found: dict[int, list[Match]] = {}
        unsure: list[Undecided] = []
        log = self.mirror.log
        part = [(start, stop)]
        for at, facts in rescan(self.mirror, self.head, part, self.progress, self.remembered):
            if facts.unread and any(is_in(one.todo, at) for one in self.watching):
                unsure.append(Undecided(at, why_unread(facts)))
            for place in self.screen.candidates(facts):
                one = self.watching[place]
                if not is_in(one.todo, at):
                    continue
                try:
                    if matches(one.criteria, facts):
                        hit = read_again(self.mirror, at, one.voucher)
                        found.setdefault(place, []).append(_match(one, log, hit, self.now))
                except OverTimeError as error:
                    unsure.append(Undecided(at, error.message))
        done = [
            (one.watch, found.get(place, []), _common(part, one.todo))
            for place, one in enumerate(self.watching)
        ]
        result.matches += _record(self.mirror.store, log, done, unsure, self.now)
        result.compared += stop - start


def _record(
    store: Store,
    log: Log,
    done: Iterable[tuple[Watch, Sequence[Match], Ranges]],
    undecided: Sequence[Undecided],
    now: int,
) -> list[Match]:
    """Keep what was found together with the ranges it was found in: both or neither.

    Returns what was not known.
    """
    new: list[Match] = []
    with store.atomic():
        for watch, found, ranges in done:
            new += add_matches(store, watch, log, found)
            # Whatever was found: a match never holds a watch up.
            add_scanned(store, watch, log, ranges)
        add_undecided(store, log, undecided, now)
        for one in new:
            count(store, MATCHES, {"watch": one.watch, "finding": one.finding})
    return new


def _match(one: _Watching, log: Log, hit: Hit, now: int) -> Match:
    finding = finding_of(
        names_somebody=one.criteria.names_somebody,
        vouched=vouched(one.criteria, hit),
        unvouched=one.watch.unvouched,
        expectations=one.watch.expectations,
    )
    entry = describe_hit(hit, one.criteria)
    return Match(
        one.watch.name, log.origin, log.id, hit.entry_index, hit.leaf, now, finding, entry, None
    )


def describe_hit(hit: Hit, criteria: Criteria) -> dict[str, Any]:
    """Describe an entry as alerts do: by the signer that meets the conditions."""
    places = matching_signers(criteria, hit.facts)
    place = places[0] if places else None
    signer = None if place is None else hit.facts.signers[place]
    certificate = None if signer is None else signer.certificate
    names = [name for _, name in certificate.identities] if certificate else []
    digest = hit.facts.digests[0] if hit.facts.digests else None
    at = certificate.signed_at if certificate else None
    return {
        "index": hit.entry_index,
        "leafHash": hit.leaf.hex(),
        "kind": hit.facts.kind,
        "digest": None if digest is None else f"{digest[0]}:{digest[1].hex()}",
        "identity": names[0] if names else None,
        "issuer": certificate.issuers[0] if certificate and certificate.issuers else None,
        "keyFingerprint": signer.keys[0].hex() if signer and signer.keys else None,
        "certificateFingerprint": (
            signer.fingerprint.hex() if signer and signer.is_certificate else None
        ),
        "signedAt": None if at is None else utc(at),
        "loggedAfter": None if hit.logged_after is None else utc(hit.logged_after),
        "loggedBefore": None if hit.logged_before is None else utc(hit.logged_before),
        "vouched": None if place is None else hit.vouched[place],
        "knownStatement": list(map(digest_text, hit.known_statement)),
    }


# --- telling


def tell(store: Store, now: int) -> tuple[str, ...]:
    """Raise one alert for each watch, log and finding that nobody was told of yet.

    Returns what is to be said. Also judges what waits for an expectation.
    """
    said: list[str] = []
    settle(store, now)
    most = read_configuration(store).count("watch.maxEntriesPerAlert")
    alerting, logs = read_alerting(store), all_logs(store)
    with store.atomic():
        for watch in all_watches(store) if has_untold(store, now, CLAIM_SECONDS) else ():
            for finding in _tellable(store, watch, now):
                untold = matches_of(store, watch, finding=finding, untold=True)
                for log in logs:
                    found = [one for one in untold if one.log_id == log.id]
                    if found:
                        number, text = _raise(
                            store, watch, log, finding, found, most, now, alerting
                        )
                        set_told(store, watch, found, number)
                        said.append(text)
        for log in logs:
            unsure = untold_undecided(store, log)
            if unsure:
                entries = [{"index": one.entry_index, "why": one.why} for one in unsure]
                number, text = _raise_of(store, None, log, UNDECIDED, entries, most, now, alerting)
                set_undecided_told(store, log, number)
                said.append(text)
    return tuple(said)


def _tellable(store: Store, watch: Watch, now: int) -> tuple[str, ...]:
    """Return the findings that somebody is told of now: claims at most once a day and watch."""
    told_at = last_told(store, watch, CLAIMED)
    is_early = told_at is not None and now - told_at < CLAIM_SECONDS
    if watch.unvouched == "ignore" or is_early:
        return (MATCHED, UNEXPECTED)
    return (MATCHED, UNEXPECTED, CLAIMED)


def settle(store: Store, now: int) -> None:
    """Judge what waits for an expectation, and what was unexpected, by the ledger.

    What is expected by now is told nobody, and an alert ends with the last of its entries
    explained. What still waits when its grace is over is unexpected.
    """
    lasting = {
        one.number: one
        for one in alerts(store, lasting=True)
        if one.event_type == f"rekor.entry.{UNEXPECTED}"
    }
    voucher, logs = Voucher(store), {log.id: log for log in all_logs(store)}
    seconds = read_configuration(store).exact_seconds("watch.regexTimeout")
    unsettled = matches_of(store, finding=WAITING)
    if lasting:
        unexpected = matches_of(store, finding=UNEXPECTED)
        unsettled += tuple(one for one in unexpected if one.alert_number in lasting)
    for watch in all_watches(store) if unsettled else ():
        judged = [
            (one, _explanation(Mirror(store, logs[one.log_id]), one, voucher, seconds))
            for one in unsettled
            if one.watch == watch.name
        ]
        if not judged:
            continue
        with store.atomic():
            for one, expectation in judged:
                if expectation is not None:
                    _set(store, watch, one, EXPECTED)
                    _explained(store, watch, one, lasting, expectation, now)
                elif one.finding == WAITING and now >= one.found_at + watch.grace:
                    _set(store, watch, one, UNEXPECTED)


def _set(store: Store, watch: Watch, one: Match, finding: str) -> None:
    set_finding(store, watch, one, finding)
    count(store, MATCHES, {"watch": watch.name, "finding": finding})


def _explanation(mirror: Mirror, match: Match, voucher: Voucher, seconds: float) -> int | None:
    """Return the number of an expectation that an entry meets, if there is one."""
    store = mirror.store
    met = holding_at(store, match.log_id, match.entry_index)
    if met:
        return met[0].id
    _, _, digest = (match.entry["digest"] or "").rpartition(":")
    rows = [
        one
        for one in rows_of_digest(store, bytes.fromhex(digest))
        if one.terms.origin in (None, match.origin)
    ]
    if not rows:
        return None
    try:
        hit = read_again(mirror, match.entry_index, voucher)
    except (IncompleteError, CorruptError, RefusedError):
        # Pruned, damaged or disputed: what the ledger found before is all there is.
        return None
    for one in rows:
        # One of which a pattern cannot tell explains nothing.
        with contextlib.suppress(OverTimeError):
            if meets(one.terms, hit, seconds):
                return one.id
    return None


def _explained(
    store: Store,
    watch: Watch,
    match: Match,
    lasting: Mapping[int, Alert],
    expectation: int,
    now: int,
) -> None:
    """End the alert about an entry, if it was the last of it that nobody had expected."""
    alert = None if match.alert_number is None else lasting.get(match.alert_number)
    if alert is None:
        return
    details = {"alert": alert.number, "index": match.entry_index, "expectation": expectation}
    append_event(store, now, "expected.explained", {"origin": match.origin, **details})
    left = matches_of(store, watch, finding=UNEXPECTED)
    if not any(one.alert_number == alert.number for one in left):
        end_alert(store, alert.condition, now)


def _raise(
    store: Store,
    watch: Watch,
    log: Log,
    finding: str,
    found: Sequence[Match],
    most: int,
    now: int,
    alerting: Alerting,
) -> tuple[int, str]:
    entries = [
        {**one.entry, "matched": [watch.name], "expectation": _expected_by(store, one)}
        for one in found
    ]
    return _raise_of(store, watch, log, finding, entries, most, now, alerting)


def _expected_by(store: Store, match: Match) -> int | None:
    return next((row.id for row in holding_at(store, match.log_id, match.entry_index)), None)


def _raise_of(
    store: Store,
    watch: Watch | None,
    log: Log,
    finding: str,
    entries: Sequence[Mapping[str, Any]],
    most: int,
    now: int,
    alerting: Alerting,
) -> tuple[int, str]:
    covered = readable_checkpoint(Mirror(store, log))
    if covered is None:
        raise ValueError(f"a match in {log.origin}, of which nothing is mirrored")
    alarm = entry_alarm(
        finding,
        watch=None if watch is None else watch.name,
        severity="warning" if watch is None else watch.severity,
        origin=log.origin,
        tree_size=covered.head.tree_size,
        root_hash=root_text(covered.head.root_hash),
        entries=entries[:most],
        more=max(len(entries) - most, 0),
        first_index=entries[0]["index"],
    )
    number = raise_alarm(store, alarm, now, log=log, alerting=alerting)
    if finding != UNEXPECTED:  # a fact, and no state that could end: the next is another
        end_alert(store, alarm.condition, now)
    return number, f"alert {number}: {alarm.fields['description']}"


def _count(ranges: Ranges) -> int:
    return sum(stop - start for start, stop in ranges)


def _common(ranges: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> Ranges:
    """Return what is in some ranges and in others."""
    some = joined_ranges(ranges)
    return without_ranges(some, without_ranges(some, others))


def _tile(at: int) -> tuple[int, int]:
    return at // WIDTH * WIDTH, at // WIDTH * WIDTH + WIDTH
