"""Which entries of the mirrored logs meet the ledger: each compared once with each row.

An entry meets a row by what it is, read again and proven; a name in a certificate counts only
where an authority of the trusted root vouched for it, and only together with its issuer. What
was compared is kept with what was found, so a run looks at what is new: rows that came, and
entries that came. Under another trusted root all is compared again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.errors import CorruptError
from appliance.jobs.find.criteria import Criteria, Screen, matches, proposed
from appliance.jobs.find.patterns import SECONDS, OverTimeError
from appliance.jobs.find.remembered import Remembered
from appliance.jobs.find.search import (
    Hit,
    Scanned,
    coverage_of,
    read_again,
    reading_around,
    rescan,
    vouched,
)
from appliance.jobs.find.vouching import Voucher
from appliance.jobs.home.configure import read_configuration
from appliance.jobs.progress import SILENT
from appliance.store.database import Store
from appliance.store.find.expectations import (
    Expectation,
    Met,
    Terms,
    UndecidedRow,
    add_met,
    add_undecided,
    compared,
    compared_of_digests,
    compared_ranges,
    compared_without_digest,
    count_compared,
    mark_compared,
    set_compared_ranges,
    uncompared,
)
from appliance.store.find.index import Index
from appliance.store.find.watches import Ranges, is_in, joined_ranges, without_ranges
from appliance.store.mirror.logs import all_logs
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.spans import SPAN_TILES
from appliance.tlog.tile import WIDTH

_TOGETHER: Final = 64 * WIDTH  # entries that are read in one go
_SPANS_AN_ENTRY: Final = 8  # of which the index is asked while an entry is read


def find_met(store: Store, index: Index, now: int, remembered: Remembered | None = None) -> int:
    """Compare what is new, of the ledger or of the logs; returns how many entries meet a row.

    Raises CorruptError for an entry that is damaged here, after all others were looked at; it
    is looked at again next time.
    """
    new = uncompared(store)
    voucher = Voucher(store)
    seconds = read_configuration(store).exact_seconds("watch.regexTimeout")
    found, damage = 0, list[CorruptError]()
    for log in all_logs(store):
        mirror = Mirror(store, log)
        scanned = coverage_of(mirror, index)
        if scanned.head is None:
            continue
        known = compared_ranges(store, log, voucher.digest)
        fresh = without_ranges(scanned.ranges, known)
        if not new and not fresh:
            continue
        comparing = _Comparing(mirror, index, scanned, voucher, now, seconds, remembered)
        if fresh:
            comparing.entries(fresh)
        comparing.rows(new, scanned.ranges)
        # With new rows only what is here now was compared with all of them.
        ranges = scanned.ranges if new else joined_ranges((*known, *fresh))
        with store.atomic():
            found += add_met(store, comparing.met)
            add_undecided(store, comparing.undecided)
            ranges = without_ranges(ranges, map(_tile, comparing.damage))
            set_compared_ranges(store, log, ranges, voucher.digest)
        damage += comparing.damage.values()
    with store.atomic():
        # Last: if we die before, they are compared with all once more.
        mark_compared(store, new)
    if damage:
        raise damage[0]
    return found


class _Comparing:
    """Compares rows of the ledger with entries of one log, each of which is read once."""

    def __init__(
        self,
        mirror: Mirror,
        index: Index,
        scanned: Scanned,
        voucher: Voucher,
        now: int,
        seconds: float,
        remembered: Remembered | None,
    ) -> None:
        self.remembered = remembered
        self.mirror, self.index, self.scanned = mirror, index, scanned
        self.voucher, self.now, self.seconds = voucher, now, seconds
        self.met: list[Met] = []
        self.undecided: list[UndecidedRow] = []
        self.damage: dict[int, CorruptError] = {}  # by the entry
        self._read: dict[int, Hit | None] = {}

    def rows(self, rows: Sequence[Expectation], ranges: Ranges) -> None:
        """Compare rows with what the index proposes for them, within ranges."""
        for one in rows:
            criteria = _narrowest(one.terms, self.seconds)
            for at in sorted(proposed(criteria, self.index, self.mirror.log)):
                if is_in(ranges, at):
                    self._compare(one, at)

    def entries(self, ranges: Ranges) -> None:
        """Compare entries with the rows that were compared with all others before."""
        count = sum(stop - start for start, stop in ranges)
        head, store = self.scanned.head, self.mirror.store
        if head is None or not count_compared(store):
            return
        if count_compared(store) * _a_lookup(head.tree_size) < count:
            self.rows(compared(store), ranges)
            return
        signed = compared_without_digest(store)
        screen = Screen([criteria_of(one.terms, self.seconds) for one in signed])

        def read(start: int, stop: int) -> None:
            part = [(start, stop)]
            for at, facts in rescan(self.mirror, head, part, SILENT, self.remembered):
                if not is_in(ranges, at):
                    continue  # of an entry bundle that grew: compared before
                rows = [signed[place] for place in sorted(screen.candidates(facts))]
                rows += compared_of_digests(store, [value for _, value in facts.digests])
                for one in rows:
                    self._compare(one, at)

        for start, stop in ranges:
            for first in range(start // WIDTH * WIDTH, stop, _TOGETHER):
                self.damage |= reading_around(first, min(first + _TOGETHER, stop), read)

    def _compare(self, row: Expectation, at: int) -> None:
        log = self.mirror.log
        if row.terms.origin not in (None, log.origin):
            return
        if at not in self._read:
            try:
                self._read[at] = read_again(self.mirror, at, self.voucher)
            except CorruptError as error:
                self._read[at], self.damage[at] = None, error
        hit = self._read[at]
        if hit is None:
            return
        try:
            if meets(row.terms, hit, self.seconds):
                self.met.append(Met(row.id, log.id, at, hit.leaf, self.now))
        except OverTimeError as error:
            self.undecided.append(UndecidedRow(row.id, log.id, at, error.message))


def _a_lookup(tree_size: int) -> int:
    """Estimate how many entries are read while the index is asked for one row."""
    return 1 + tree_size // (SPAN_TILES * WIDTH) // _SPANS_AN_ENTRY


def criteria_of(terms: Terms, seconds: float = SECONDS) -> Criteria:
    """Return the conditions on an entry; those on who signed, for one signature of it."""
    return Criteria(
        pattern_seconds=seconds,
        digests=() if terms.digest is None else (terms.digest,),
        fingerprints=() if terms.signer is None else (terms.signer,),
        identities=() if terms.identity is None else (terms.identity,),
        identity_patterns=() if terms.pattern is None else (whole(terms.pattern),),
        issuers=() if terms.issuer is None else (terms.issuer,),
    )


def _narrowest(terms: Terms, seconds: float) -> Criteria:
    """Return what the index is asked for: a digest alone, for a key may have signed everything."""
    return Criteria(digests=(terms.digest,)) if terms.digest else criteria_of(terms, seconds)


def whole(pattern: str) -> str:
    """Return a pattern that matches only whole texts."""
    return rf"\A(?:{pattern})\z"


def meets(terms: Terms, hit: Hit, seconds: float = SECONDS) -> bool:
    """Whether an entry is what is expected.

    Raises OverTimeError if that hangs on a pattern that did not come to an end.
    """
    if terms.leaf is not None and terms.leaf != hit.leaf:
        return False
    # An entry that nobody vouches for cannot keep a row from being decided, either.
    if not _in_time(terms, hit) or (terms.issuer is not None and True not in hit.vouched):
        return False
    criteria = criteria_of(terms, seconds)
    if not matches(criteria, hit.facts):
        return False
    return terms.issuer is None or vouched(criteria, hit) is True


def _in_time(terms: Terms, hit: Hit) -> bool:
    """Whether an entry can have been logged, and its certificate was issued, in the time given.

    What is exact may come late: then its end is only when it is missed.
    """
    first, last = terms.valid_from, None if terms.digest else terms.valid_until
    signed = [
        one.certificate.signed_at
        for one in hit.facts.signers
        if one.certificate and one.certificate.signed_at is not None
    ]
    if first is not None and any(at < first for at in (*signed, hit.logged_before or first)):
        return False
    return last is None or all(at <= last for at in (*signed, hit.logged_after or last))


def _tile(at: int) -> tuple[int, int]:
    return at // WIDTH * WIDTH, at // WIDTH * WIDTH + WIDTH
