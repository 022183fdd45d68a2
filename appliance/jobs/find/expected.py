"""What the ledger of expected signatures comes to: each row judged by what met it, and told.

What meets a row is decided by the entry, read again and proven; a name in a certificate
counts only where an authority of the trusted root vouched for it, and only together with
its issuer. Each step follows from what is stored, so a run that dies repeats it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from appliance.errors import ApplianceError, CorruptError, IncompleteError, RefusedError
from appliance.jobs.divergence.alarm import raise_alarm, read_alerting
from appliance.jobs.find.search import coverage_of, read_again
from appliance.jobs.find.vouching import Voucher
from appliance.jobs.last_vouched import last_vouched
from appliance.jobs.our_tree import readable_checkpoint
from appliance.policy.alarms import root_text
from appliance.policy.expected import (
    EVENTS,
    Finding,
    Standing,
    condition,
    expected_alarm,
    standing,
)
from appliance.rekor.entry_facts import read_entry
from appliance.sigstore.attestation_files import parse_attestation_file
from appliance.sigstore.submission import read_stored_request
from appliance.store.database import Store
from appliance.store.divergence.alerts import alerts, end_alert
from appliance.store.find.expectations import (
    LOG_ADD,
    QUEUE,
    Expectation,
    Met,
    Terms,
    add_expectation,
    all_met,
    compared_ranges,
    expectations,
    mark_ledgered,
    met_by,
    settle,
    uncompared,
    undecided_of,
    unledgered,
    unsettled,
)
from appliance.store.find.index import Index
from appliance.store.find.watches import UNEXPECTED, Match, matches_of, without_ranges
from appliance.store.mirror.logs import Log, all_logs
from appliance.store.mirror.mirror import Mirror
from appliance.store.verify.verdicts import RecordedVerdict, UnreadVerdict, recorded_verdicts
from appliance.times import utc
from appliance.tlog.merkle import leaf_hash
from appliance.value import frozen

_NAMED: Final = 5  # gaps and entries that a text names
# Members of a described entry that only the entry itself tells.
_READ_AGAIN: Final = (
    *("kind", "digest", "identity", "issuer", "keyFingerprint", "certificateFingerprint"),
    *("signedAt", "loggedAfter", "loggedBefore", "vouched"),
)


@frozen
class State:
    """One row of the ledger, and what it has come to."""

    expectation: Expectation
    standing: Standing
    entries: tuple[Met, ...]  # that meet it, in the order of the logs
    excess: int  # of them, more than it and the other rows that they meet stand for
    early: tuple[Met, ...]  # of them, logged before our queue had it, which no other row explains
    why: tuple[str, ...]  # what keeps it from being decided
    origins: Mapping[int, str]  # of the logs, by their number


def join_own(store: Store) -> int:
    """Put what this home has queued and published into the ledger; returns how many were new.

    An item from before this program counted counts too. Killed anywhere, the next run goes on.
    """
    waiting = unledgered(store)
    if not waiting:
        return 0
    with store.atomic():
        for one in waiting:
            mark_ledgered(store, one)
            try:
                claim = read_stored_request(one.kind, one.api_version, one.request)
            except ApplianceError:
                continue  # no log takes it either
            signer = sha256(claim.verifier.der).digest()
            terms = Terms(digest=claim.data.value, signer=signer)
            add_expectation(store, one.source, one.reference, terms, one.created_at)
    return len(waiting)


def expect_logged(store: Store, body: bytes, now: int) -> None:
    """Put an entry into the ledger that is about to be logged here by our own command."""
    facts, leaf = read_entry(body), leaf_hash(body)
    if not facts.digests or not facts.signers:
        return  # nothing that could be in somebody's name
    terms = Terms(leaf=leaf, digest=facts.digests[0][1], signer=facts.signers[0].fingerprint)
    with store.atomic():
        add_expectation(store, LOG_ADD, leaf.hex(), terms, now)


def judge_ledger(
    store: Store,
    index: Index | None,
    now: int,
    chosen: Sequence[Expectation] | None = None,
) -> tuple[State, ...]:
    """Judge every row by the entries that were found to meet it, or the chosen.

    With a chosen row have to be all that share entries with it.

    An entry can meet several rows, and none of them is missing then; it stands for one of
    them, so that what is logged more often than all of them expect is noticed.
    """
    rows = expectations(store) if chosen is None else chosen
    found = all_met(store) if chosen is None else met_by(store, rows)
    assigned = _assigned(rows, found)
    met: dict[int, list[Met]] = {}
    for at in found:
        met.setdefault(at.expectation, []).append(at)
    logs = {log.id: log for log in all_logs(store)}
    seen: _Seen | None = None
    origins = {log.id: log.origin for log in logs.values()}
    states = []
    for one in rows:
        own, entries = assigned.get(one.id, ()), tuple(met.get(one.id, ()))
        excess = max(len(own) - one.terms.count, 0)
        why: tuple[str, ...] = ()
        early: tuple[Met, ...] = ()
        until = one.terms.valid_until
        is_due = until is not None and now > until and len(entries) < one.terms.count
        if until is not None and is_due and one.cancelled_at is None:
            if seen is None:  # what is late needs it, and hardly anything is
                seen = _Seen(store, index, now)
            why = seen.lacks(one, until)
        if one.source == QUEUE:
            early = tuple(at for at in own if _is_early(store, logs[at.log_id], at, one))
        reached = standing(
            count=one.terms.count,
            used=len(entries),
            excess=excess,
            cancelled=one.cancelled_at is not None,
            valid_until=until,
            now=now,
            unseen=bool(why),
        )
        states.append(State(one, reached, entries, excess, early, why, origins))
    return tuple(states)


def _assigned(rows: Sequence[Expectation], found: Iterable[Met]) -> Mapping[int, list[Met]]:
    """Give each entry to the one row that stands for it: the most exact that is not used up."""
    by_id = {one.id: one for one in rows if one.cancelled_at is None}
    candidates: dict[tuple[int, int], list[Met]] = {}
    for met in sorted(found, key=lambda one: (one.found_at, one.log_id, one.entry_index)):
        if met.expectation in by_id:
            candidates.setdefault((met.log_id, met.entry_index), []).append(met)
    assigned: dict[int, list[Met]] = {}
    for several in candidates.values():
        several.sort(key=lambda one: (_rank(by_id[one.expectation].terms), one.expectation))
        free = (
            one
            for one in several
            if len(assigned.get(one.expectation, ())) < by_id[one.expectation].terms.count
        )
        chosen = next(free, several[0])
        assigned.setdefault(chosen.expectation, []).append(chosen)
    return assigned


def _rank(terms: Terms) -> int:
    """Order terms by how exact they are: the entry, what was signed, who signed."""
    if terms.leaf is not None:
        return 0
    return 1 if terms.digest is not None else 2


def _is_early(store: Store, log: Log, met: Met, row: Expectation) -> bool:
    _, before = Mirror(store, log).history.logged_between(met.entry_index)
    return before is not None and before < row.created_at


class _Seen:
    """What of the logs was looked at and compared with the ledger."""

    def __init__(self, store: Store, index: Index | None, now: int) -> None:
        self.store, self.has_index, self.now = store, index is not None, now
        self.mirrors = [Mirror(store, log) for log in all_logs(store)]
        self.scanned = {one.log.id: coverage_of(one, index) for one in self.mirrors}
        self.uncompared = {one.id for one in uncompared(store)}
        self.trust = Voucher(store).digest

    def lacks(self, row: Expectation, until: int) -> tuple[str, ...]:
        """Say what keeps from telling that nothing was logged until a time; empty: nothing."""
        if not self.has_index:
            return ("this home has no index of entries",)
        chosen = [one for one in self.mirrors if row.terms.origin in (None, one.log.origin)]
        if not chosen:
            return ("no log is known here",)
        why = [text for one in chosen for text in self._lacks_of(one, until)]
        if not why and row.id in self.uncompared:
            why = ["it was not compared with the logs yet"]
        origins = {one.log.id: one.log.origin for one in self.mirrors}
        return (
            *why,
            *(
                f"{origins[at.log_id]} {at.entry_index}: {at.why}"
                for at in undecided_of(self.store, row.id)[:_NAMED]
            ),
        )

    def _lacks_of(self, mirror: Mirror, until: int) -> Iterator[str]:
        name, scanned = mirror.log.origin, self.scanned[mirror.log.id]
        accepted = mirror.history.accepted()
        if scanned.head is None or accepted is None:
            yield f"{name}: no checkpoint was accepted yet"
            return
        for gap in scanned.gaps[:_NAMED]:
            yield f"{name}: {gap.start:,} to {gap.stop - 1:,} ({gap.why})"
        # Damaged when it was compared, or of another trusted root.
        known = compared_ranges(self.store, mirror.log, self.trust)
        for start, stop in without_ranges(scanned.ranges, known)[:_NAMED]:
            yield f"{name}: {start:,} to {stop - 1:,} (not compared)"
        if scanned.opaque:
            named = ", ".join(str(at) for at, _ in scanned.opaque[:_NAMED])
            yield f"{name}: entries that cannot be read whole: {named}"
        heard, is_frozen = last_vouched(mirror, accepted, self.now)
        newest = max(scanned.first_seen_at or 0, heard or 0)
        if not is_frozen and newest <= until:
            yield f"{name}: nothing was heard of it after {utc(until)}"


def tell(store: Store, index: Index | None, now: int) -> tuple[str, ...]:
    """Raise the alerts that follow from the ledger, end those that are over; what is to be said.

    Only of rows that changed since they were judged, or that time changes.
    """
    alerting, touched = read_alerting(store), unsettled(store)
    if not alerting.enabled or not touched:
        return ()
    changes = {row.id: n for row, n in touched}
    states = judge_ledger(store, index, now, [row for row, _ in touched])
    found = {
        condition(finding, state.expectation.id): (finding, state)
        for state in states
        for finding in findings_of(state)
    }
    lasting = {
        one.condition
        for one in alerts(store, lasting=True)
        if one.event_type in EVENTS.values() and _row_of(one.condition) in changes
    }
    begun = [one for name, one in found.items() if name not in lasting]
    alarms = [(_alarm(store, *one), one[1]) for one in begun]
    said = []
    with store.atomic():
        for name in sorted(lasting - found.keys()):
            end_alert(store, name, now)
        for alarm, state in alarms:
            log = _log_of(store, state)
            number = raise_alarm(store, alarm, now, log=log, alerting=alerting)
            said.append(f"alert {number}: {alarm.fields['description']}")
        for state in states:
            if not _waits(state):
                settle(store, state.expectation, changes[state.expectation.id])
    return tuple(said)


def _waits(state: State) -> bool:
    """Whether time alone can change what a row has come to, or what was not looked at."""
    return state.expectation.terms.valid_until is not None and state.standing in (
        *(Standing.OPEN, Standing.MISSING, Standing.CANNOT_TELL),
    )


def _row_of(name: str) -> int:
    """Return the number of the row that a condition is about."""
    return int(name.rpartition(" ")[2])


def findings_of(state: State) -> tuple[Finding, ...]:
    """Return what somebody has to be told of a row."""
    found = [Finding.EARLY] if state.early and state.standing is not Standing.CANCELLED else []
    if state.standing is Standing.MISSING:
        found.append(Finding.MISSING)
    if state.standing is Standing.DUPLICATE:
        found.append(Finding.DUPLICATE)
    return tuple(found)


def _alarm(store: Store, finding: Finding, state: State) -> Any:
    one, log = state.expectation, _log_of(store, state)
    mirror = None if log is None else Mirror(store, log)
    covered = None if mirror is None else readable_checkpoint(mirror)
    shown = state.early if finding is Finding.EARLY else state.entries
    return expected_alarm(
        finding,
        expectation=one.id,
        origin=log.origin if log else one.terms.origin,
        tree_size=covered.head.tree_size if covered else None,
        root_hash=root_text(covered.head.root_hash) if covered else None,
        entries=[describe_entry(store, met) for met in shown],
        description=describe_finding(finding, state),
    )


def describe_finding(finding: Finding, state: State) -> str:
    """Say in one line what is wrong with a row."""
    one, n = state.expectation, len(state.entries)
    what = describe_terms(one.terms)
    if finding is Finding.MISSING:
        return (
            f"expectation {one.id} ({what}): {n} of {one.terms.count} expected entries were logged"
            f" until {utc(one.terms.valid_until or 0)}"
        )
    if finding is Finding.DUPLICATE:
        n = one.terms.count + state.excess
        return f"expectation {one.id} ({what}): {n} entries, expected {one.terms.count}"
    return (
        f"expectation {one.id} ({what}): logged before it was put into our queue at"
        f" {utc(one.created_at)}"
    )


def describe_terms(terms: Terms) -> str:
    """Say in a few words what is expected."""
    parts = []
    if terms.leaf is not None:
        parts.append(f"entry {terms.leaf.hex()[:16]}")
    if terms.digest is not None:
        parts.append(f"digest {terms.digest.hex()[:16]}")
    if terms.signer is not None:
        parts.append(f"signer {terms.signer.hex()[:16]}")
    who = terms.identity or terms.pattern
    if who is not None:
        parts.append(f"{who} of {terms.issuer}")
    return ", ".join(parts)


def describe_entry(store: Store, met: Met) -> dict[str, Any]:
    """Describe an entry as alerts do, read again and proven.

    Of one that was pruned, is damaged or disputed by now, only what the ledger kept.
    """
    [log] = [one for one in all_logs(store) if one.id == met.log_id]
    kept: dict[str, Any] = {
        "origin": log.origin,
        "index": met.entry_index,
        "leafHash": met.leaf.hex(),
        **dict.fromkeys(_READ_AGAIN),
        "matched": [],
        "expectation": met.expectation,
    }
    try:
        hit = read_again(Mirror(store, log), met.entry_index, Voucher(store))
    except (IncompleteError, CorruptError, RefusedError):
        return kept
    signer = hit.facts.signers[0] if hit.facts.signers else None
    certificate = signer.certificate if signer else None
    identities = certificate.identities if certificate else ()
    issuers = certificate.issuers if certificate else ()
    digest = hit.facts.digests[0] if hit.facts.digests else None
    signed_at = certificate.signed_at if certificate else None
    times = (signed_at, hit.logged_after, hit.logged_before)
    written = [None if one is None else utc(one) for one in times]
    return kept | {
        "kind": hit.facts.kind,
        "digest": f"{digest[0]}:{digest[1].hex()}" if digest else None,
        "identity": identities[0][1] if identities else None,
        "issuer": issuers[0] if issuers else None,
        "keyFingerprint": signer.keys[0].hex() if signer and signer.keys else None,
        "certificateFingerprint": signer.fingerprint.hex()
        if signer and signer.is_certificate
        else None,
        "signedAt": written[0],
        "loggedAfter": written[1],
        "loggedBefore": written[2],
        "vouched": hit.vouched[0] if hit.vouched else None,
    }


@frozen
class Reached:
    """An artifact whose verdict rests on an entry that nobody expected."""

    verdict: RecordedVerdict
    match: Match


def reached_verdicts(store: Store) -> tuple[tuple[Reached, ...], tuple[UnreadVerdict, ...]]:
    """List the recorded verdicts whose entries are unexpected by now, and the damaged ones.

    Joined by leaf: the very entry that was in the Sigstore bundle when it was judged.
    """
    by_leaf: dict[bytes, list[Match]] = {}
    for match in matches_of(store, finding=UNEXPECTED):
        by_leaf.setdefault(match.leaf, []).append(match)
    found, unread = list[Reached](), list[UnreadVerdict]()
    for verdict in recorded_verdicts(store) if by_leaf else ():
        if isinstance(verdict, UnreadVerdict):
            unread.append(verdict)
            continue
        try:
            bundles = parse_attestation_file(verdict.bundle)
        except ApplianceError:
            continue  # of a version that took what this one does not
        leaves = {leaf_hash(e.canonicalized_body) for one in bundles for e in one.log_entries}
        found += [Reached(verdict, one) for leaf in leaves for one in by_leaf.get(leaf, ())]
    return tuple(found), tuple(unread)


def _log_of(store: Store, state: State) -> Log | None:
    """Return the log that a finding is about, if it is about one."""
    ids = {one.log_id for one in state.entries}
    logs = all_logs(store)
    named = [
        one
        for one in logs
        if one.id in ids or (not ids and one.origin == state.expectation.terms.origin)
    ]
    return named[0] if len(named) == 1 else None
