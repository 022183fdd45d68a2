"""What a search found, as a note that a site signs: for whoever has not the log, or has it too.

Two lines: what it is, and canonical JSON of the query, what was looked at of each log under
which size and root, and what was found. Whoever has the log can ask the same again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from appliance.errors import (
    ArgumentError,
    IncompleteError,
    LimitError,
    MalformedError,
    VerificationError,
)
from appliance.jobs.find.criteria import Criteria, criteria_data, criteria_from
from appliance.jobs.find.search import Found, Hit, Scanned, coverage_of, search
from appliance.jobs.local_tiles import told_apart
from appliance.jobs.our_tree import our_tree
from appliance.rekor.canonical_json import canonical_json
from appliance.store.database import Store
from appliance.store.find.index import Index
from appliance.store.find.watches import without_ranges
from appliance.store.mirror.logs import Log
from appliance.store.mirror.mirror import Mirror
from appliance.times import utc
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.note import SigningKey, open_note, sign_note
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.strict_json import parse_json
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
    if wrong := _wrong(text):
        raise MalformedError(f"the statement lacks something: {wrong}", reason="not-a-statement")
    statement = Statement(opened.signers[0].name, text)
    try:
        _ = statement.criteria
    except ValueError as error:
        raise MalformedError(
            f"the statement lacks something: {error}", reason="not-a-statement"
        ) from error
    return statement


def _wrong(text: Any) -> str:
    """Name the first member of a statement that is not there, or not of its type; else nothing."""
    if not isinstance(text, dict):
        return "it is no object"
    types = {"at": str, "query": dict, "complete": bool, "vouchedOnly": bool}
    types |= {"hits": list, "coverage": list}
    for name, wanted in types.items():
        if not isinstance(text.get(name), wanted):
            return name
    if not all(
        isinstance(some, list) and all(isinstance(one, str) for one in some)
        for some in text["query"].values()
    ):
        return "query"
    if not all(map(_is_hit, text["hits"])):
        return "hits"
    return "" if all(map(_is_coverage, text["coverage"])) else "coverage"


def _is_hit(one: Any) -> bool:
    return (
        isinstance(one, dict)
        and isinstance(one.get("origin"), str)
        and _is_number(one.get("index"))
        and _is_hash(one.get("leafHash"))
    )


def _is_coverage(one: Any) -> bool:
    if not isinstance(one, dict):
        return False
    size, scanned = one.get("treeSize"), one.get("scanned")
    return (
        isinstance(one.get("origin"), str)
        and isinstance(one.get("basis"), str)
        and isinstance(one.get("gaps"), list)
        and (size is None or (_is_number(size) and _is_hash(one.get("rootHash"))))
        and isinstance(scanned, list)
        and all(
            isinstance(part, list)
            and len(part) == 2
            and all(map(_is_number, part))
            and part[0] < part[1] <= (size or 0)
            for part in scanned
        )
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def ask_again(
    store: Store, index: Index | None, logs: Sequence[Log], statement: Statement
) -> tuple[Hit, ...]:
    """Search again what was looked at, in our own copy, and compare.

    Returns our hits there. Raises VerificationError (other-root, statement-differs) if ours
    is another tree or holds other hits, or if it says more than it looked at;
    IncompleteError (search-incomplete) for what is not here to be looked at, or nothing at
    all; ArgumentError (not-indexed) for conditions that the index does not have.
    """
    _require_looked_at(statement.text)
    if index is not None and not statement.criteria.is_indexed:
        raise ArgumentError(
            "the index does not have what this statement looked for",
            reason="not-indexed",
            next_step="read everything: give --rescan",
        )
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
        root = _root_at(mirror, here.head, one["treeSize"])
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
            raise _differs(f"{origin}: our copy and the statement differ in entries {differ}")
        hits += ours
    return tuple(hits)


def _root_at(mirror: Mirror, head: TreeHead, tree_size: int) -> Hash:
    tree = our_tree(mirror, head)
    return told_apart(mirror, lambda: tree.root_at(tree_size))


def _require_looked_at(text: dict[str, Any]) -> None:
    """Refuse what a statement says of entries that it did not look at."""
    looked = {one["origin"] for one in text["coverage"] if one["scanned"]}
    for hit in text["hits"]:
        if hit["origin"] not in looked:
            raise _differs(f"{hit['origin']}: a hit in a log of which nothing was looked at")
    for one in text["coverage"] if text["complete"] else ():
        size, ranges = one["treeSize"], [(low, high) for low, high in one["scanned"]]
        if size is None or (size and without_ranges([(0, size)], ranges)):
            raise _differs(f"{one['origin']}: said to be complete, and not all was looked at")
    if not looked:
        raise _not_here("nothing was looked at")


def _differs(what: str) -> VerificationError:
    return VerificationError(
        what,
        reason="statement-differs",
        next_step="ask that site; if it searched by an index, with --rescan",
    )


def _not_here(what: str) -> IncompleteError:
    return IncompleteError(
        f"the search cannot be asked again: {what}",
        reason="search-incomplete",
        next_step="run 'attestor sync --entries' and 'attestor index build', or give --rescan",
    )
