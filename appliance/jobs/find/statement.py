"""What a search found, as a note that a site signs: for whoever has not the log, or has it too.

Two lines: what it is, and canonical JSON of the query, what was looked at of each log under
which size and root, and what was found. Whoever has the log can ask the same again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from appliance.errors import IncompleteError, LimitError, MalformedError, VerificationError
from appliance.jobs.find.criteria import Criteria, criteria_data, criteria_from
from appliance.jobs.find.search import Found, Hit, Scanned, coverage_of, search
from appliance.jobs.local_tiles import our_root_at
from appliance.rekor.canonical_json import canonical_json
from appliance.store.database import Store
from appliance.store.find.index import Index
from appliance.store.find.watches import without_ranges
from appliance.store.mirror.logs import Log
from appliance.store.mirror.mirror import Mirror
from appliance.times import utc
from appliance.tlog.note import SigningKey, open_note, sign_note
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.strict_json import parse_json
from appliance.tlog.tile_tree import TileTree
from appliance.value import frozen

MAX_BYTES: Final = 256 * 1024
HEADER: Final = "attestor search statement v1"
_MOST: Final = 1000  # hits, and gaps of a log, that one statement lists
_ALL: Final = 2**31  # hits: as many as there are


@frozen
class Statement:
    """A statement that was opened: who signed it, and what it says."""

    signer: str  # key name
    text: dict[str, Any]

    @property
    def criteria(self) -> Criteria:
        """What was searched."""
        return criteria_from(self.text["query"])


def make_statement(
    found: Found, criteria: Criteria, vouched_only: bool, site: str, now: int, key: SigningKey
) -> bytes:
    """Sign what a search found; raises LimitError if it is too much for one statement."""
    gaps = max((len(one.gaps) for one in found.coverage), default=0)
    if found.more or len(found.hits) > _MOST or gaps > _MOST:
        raise LimitError(
            f"a statement lists at most {_MOST:,} hits, and gaps of a log: there are more",
            reason="statement-too-large",
            next_step="search one log with --origin, or add a condition",
        )
    text = {
        "schema": 1,
        "site": site,
        "at": utc(now),
        "query": criteria_data(criteria),
        "vouchedOnly": vouched_only,
        "complete": found.is_complete,
        "coverage": [_coverage(one) for one in found.coverage],
        "hits": [
            {"origin": one.origin, "index": one.entry_index, "leafHash": one.leaf.hex()}
            for one in found.hits
        ],
    }
    note = sign_note(f"{HEADER}\n{canonical_json(text).decode()}\n", [key])
    if len(note) > MAX_BYTES:
        raise LimitError(
            f"the statement has {len(note):,} bytes, at most {MAX_BYTES:,} are allowed",
            reason="statement-too-large",
            next_step="search one log with --origin, or add a condition",
        )
    return note


def _coverage(one: Scanned) -> dict[str, Any]:
    return {
        "origin": one.origin,
        "treeSize": None if one.head is None else one.head.tree_size,
        "rootHash": None if one.head is None else one.head.root_hash.hex(),
        "basis": one.basis,
        "scanned": [list(part) for part in one.ranges],
        "gaps": [{"from": gap.start, "to": gap.stop, "why": gap.why} for gap in one.gaps],
        "opaque": len(one.opaque),
    }


def open_statement(raw: bytes, keys: Sequence[VerifierKey]) -> Statement:
    """Open a statement by the keys of those who may have signed it.

    Raises SignatureError if none of them did, MalformedError for what is no statement.
    """
    opened = open_note(raw, keys)
    header, _, rest = opened.text.partition("\n")
    if header != HEADER or rest.count("\n") != 1:
        raise MalformedError("the note is no statement of a search", reason="not-a-statement")
    text = parse_json(rest.rstrip("\n").encode(), "statement", max_bytes=MAX_BYTES)
    try:
        statement = Statement(opened.signers[0].name, text)
        _ = (statement.criteria, text["at"], text["complete"], text["vouchedOnly"])
        _ = [(one["origin"], one["index"], one["leafHash"]) for one in text["hits"]]
        _ = [(one["origin"], one["treeSize"], one["scanned"]) for one in text["coverage"]]
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedError(
            f"the statement lacks something: {error}", reason="not-a-statement"
        ) from error
    return statement


def ask_again(
    store: Store, index: Index | None, logs: Sequence[Log], statement: Statement
) -> tuple[Hit, ...]:
    """Search again what was looked at, in our own copy, and compare.

    Returns our hits there. Raises VerificationError (other-root, statement-differs) if ours
    is another tree or holds other hits, IncompleteError (search-incomplete) for what is not
    here to be looked at.
    """
    by_origin = {log.origin: log for log in logs}
    hits: list[Hit] = []
    for one in statement.text["coverage"]:
        ranges = [(low, high) for low, high in one["scanned"]]
        if not ranges:
            continue
        origin, log = one["origin"], by_origin.get(one["origin"])
        if log is None:
            raise _not_here(f"{origin} is not known here")
        mirror = Mirror(store, log)
        here = coverage_of(mirror, index)
        if here.head is None or here.head.tree_size < one["treeSize"]:
            raise _not_here(f"{origin} is not mirrored here up to {one['treeSize']:,}")
        root = our_root_at(mirror, TileTree(here.head), one["treeSize"])
        if root.hex() != one["rootHash"]:
            raise VerificationError(
                f"{origin}: the statement is about another tree of {one['treeSize']:,} entries"
                " than ours",
                reason="other-root",
                next_step="compare checkpoints with that site: one of you is shown another log",
            )
        if missing := without_ranges(ranges, here.ranges):
            low, high = missing[0]
            raise _not_here(f"{origin} {low:,} to {high - 1:,} cannot be looked at here")
        again = search(
            *(store, index, [log], statement.criteria),
            limit=_ALL,
            vouched_only=statement.text["vouchedOnly"],
        )
        ours = [
            hit for hit in again.hits if any(low <= hit.entry_index < high for low, high in ranges)
        ]
        said = {
            (at["index"], at["leafHash"]) for at in statement.text["hits"] if at["origin"] == origin
        }
        found = {(hit.entry_index, hit.leaf.hex()) for hit in ours}
        if said != found:
            differ = ", ".join(str(at) for at, _ in sorted(said ^ found)[:5])
            raise VerificationError(
                f"{origin}: our copy and the statement differ in entries {differ}",
                reason="statement-differs",
                next_step="ask that site; if it searched by an index, with --rescan",
            )
        hits += ours
    return tuple(hits)


def _not_here(what: str) -> IncompleteError:
    return IncompleteError(
        f"the search cannot be asked again: {what}",
        reason="search-incomplete",
        next_step="run 'attestor sync --entries' and 'attestor index build', or give --rescan",
    )
