"""What finding sends across the gap: watches, what should be signed, and signed statements.

They stand below find/, and a transfer bundle that has any says so in `requires`: a reader
that does not know them refuses it and names the version that does, instead of dropping what
somebody was to be told. Watches and what is expected count only from a site that signed for
them, are named after that site, and are written into the journal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from appliance.errors import ApplianceError, ConfigError, MalformedError
from appliance.jobs.find.criteria import criteria_from
from appliance.jobs.find.ledger import whole
from appliance.jobs.transfer.item_members import in_memory
from appliance.jobs.transfer.names import fat_safe
from appliance.policy.re2 import translate
from appliance.rekor.canonical_json import canonical_json
from appliance.rekor.protojson import Message, top_message
from appliance.store.database import Store
from appliance.store.find.expectations import (
    OPERATOR,
    Expectation,
    Terms,
    add_expectation,
    cancel_expectation,
    expectations,
)
from appliance.store.find.watches import NewWatch, add_watch, all_watches
from appliance.tlog.merkle import Hash
from appliance.tlog.note import parse_note
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen
from bundles.manifest_json import FIND
from bundles.paths import FIND_AREA
from bundles.reader import TransferBundle
from bundles.writer import Member

SCHEMA: Final = 1
MAX_EXPECTED: Final = 50_000  # rows of one member
MAX_WATCHES: Final = 10_000
FROM_A_SITE: Final = "from."  # what the names of watches begin with that came in a bundle
MAX_STATEMENT_BYTES: Final = 256 * 1024
MAX_MEMBER_BYTES: Final = 32 * 1024 * 1024
_EXPECTED: Final = f"{FIND_AREA}/expected.json"
_WATCHES: Final = f"{FIND_AREA}/watches.json"
_STATEMENTS: Final = f"{FIND_AREA}/statements/"
_DIGEST_BYTES: Final = (32, 48, 64)


@frozen
class Statement:
    """A signed note that says what a search found, as it travels."""

    digest: str  # SHA-256, hex
    note: bytes


@frozen
class Brought:
    """What came of the members of one transfer bundle."""

    said: tuple[str, ...] = ()
    expected: int = 0  # rows that are new here
    cancelled: int = 0
    watches: tuple[str, ...] = ()  # names here of those that are new
    statements: tuple[Statement, ...] = ()


def outbound_expected(store: Store) -> list[Member]:
    """Return what the operator of this site expects, as a member; nothing if it is nothing."""
    own = [
        expectation
        for expectation in expectations(store)
        if expectation.source == OPERATOR and expectation.site is None
    ]
    if not own:
        return []
    rows = [_row(one) for one in own[-MAX_EXPECTED:]]
    return [in_memory(_EXPECTED, canonical_json({"schema": SCHEMA, "expected": rows}))]


def outbound_watches(store: Store) -> list[Member]:
    """Return the watches of this site, as a member; nothing if it has none of its own."""
    rows = [
        {
            "name": watch.name,
            "criteria": watch.criteria,
            "severity": watch.severity,
            "expectations": watch.expectations,
            "grace": watch.grace,
            "unvouched": watch.unvouched,
        }
        for watch in all_watches(store)
        if not watch.name.startswith(FROM_A_SITE)
    ]
    if not rows:
        return []
    return [in_memory(_WATCHES, canonical_json({"schema": SCHEMA, "watches": rows}))]


def outbound_statements(notes: Sequence[bytes]) -> list[Member]:
    """Return signed statements as members; raises MalformedError for what is no signed note."""
    by_digest = {sha256(note).hexdigest(): note for note in notes}
    for note in by_digest.values():
        parse_note(note)
    return [in_memory(f"{_STATEMENTS}{name}.note", by_digest[name]) for name in sorted(by_digest)]


def required(members: Sequence[Member]) -> tuple[str, ...]:
    """Return the capabilities that a reader must have to take members."""
    return (FIND,) if any(member.path.startswith(f"{FIND_AREA}/") for member in members) else ()


def take_in(store: Store, bundle: TransferBundle, site: str | None, now: int) -> Brought:
    """Take in what a transfer bundle brings; `site` signed for it, None: nobody did."""
    said: list[str] = []
    added = cancelled = 0
    if _EXPECTED in bundle.members:
        if site is None:
            said.append(f"{_EXPECTED} is not taken: no site that is believed here signed for it")
        else:
            try:
                rows = _rows(bundle.read(_EXPECTED))
            except ApplianceError as error:
                said.append(f"{_EXPECTED} is not taken: {error.message}")
            else:
                with store.atomic():
                    added, cancelled = _take_rows(store, rows, site, now)
    watches: tuple[str, ...] = ()
    if _WATCHES in bundle.members:
        if site is None:
            said.append(f"{_WATCHES} is not taken: no site that is believed here signed for it")
        else:
            try:
                wanted = _watches(bundle.read(_WATCHES), site)
            except ApplianceError as error:
                said.append(f"{_WATCHES} is not taken: {error.message}")
            else:
                watches = _take_watches(store, wanted, now)
    statements = []
    for path in bundle.members.below(_STATEMENTS):
        if bundle.members[path].size > MAX_STATEMENT_BYTES:
            said.append(f"{path} is not kept: it is larger than {MAX_STATEMENT_BYTES:,} bytes")
            continue
        note = bundle.read(path)
        statements.append(Statement(sha256(note).hexdigest(), note))
    return Brought(tuple(said), added, cancelled, watches, tuple(statements))


@frozen
class _Row:
    reference: str
    terms: Terms
    cancelled: str  # why; empty: it holds


def _take_rows(store: Store, rows: Sequence[_Row], site: str, now: int) -> tuple[int, int]:
    added = cancelled = 0
    for row in rows:
        reference = f"{site}:{row.reference}"
        found, is_new = add_expectation(store, OPERATOR, reference, row.terms, now, site)
        added += is_new
        if row.cancelled and found.cancelled_at is None:
            cancel_expectation(store, found.id, f"by {site}: {row.cancelled}", now)
            cancelled += 1
    return added, cancelled


def _take_watches(store: Store, wanted: Sequence[NewWatch], now: int) -> tuple[str, ...]:
    """Add what is new; what has its name keeps it, whatever it is."""
    known = {watch.name for watch in all_watches(store)}
    new = [one for one in wanted if one.name not in known]
    with store.atomic():
        return tuple(add_watch(store, one, now).name for one in new)


def _watches(raw: bytes, site: str) -> list[NewWatch]:
    """Read watches, named after their site: all of them, or MalformedError or LimitError."""
    member = _member(raw, _WATCHES)
    found = []
    for row in member.messages("watches", MAX_WATCHES):
        name = f"{FROM_A_SITE}{fat_safe(site)}.{row.required_text('name')}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", name):
            raise MalformedError(f"no name of a watch: {name[:80]!r}")
        criteria = row.get("criteria")
        if not isinstance(criteria, dict) or not all(
            isinstance(values, list) and all(isinstance(value, str) for value in values)
            for values in criteria.values()
        ):
            raise MalformedError(f"watch {name}: no conditions")
        try:
            parsed = criteria_from(criteria)
            claims = [text for _, text in parsed.claim_patterns]
            for pattern in (*parsed.identity_patterns, *parsed.issuer_patterns, *claims):
                translate(pattern)
        except (ValueError, ConfigError) as error:
            raise MalformedError(f"watch {name}: {error}") from error
        chosen = [
            _one_of(row, "severity", ("critical", "warning", "info")),
            _one_of(row, "expectations", ("optional", "required")),
            _one_of(row, "unvouched", ("info", "ignore", "same")),
        ]
        if parsed.is_empty:
            raise MalformedError(f"watch {name}: no conditions")
        severity, expectations_, unvouched = chosen
        found.append(
            NewWatch(
                name, criteria, severity, expectations_, row.integer("grace"), unvouched, "start"
            )
        )
    return found


def _one_of(row: Message, name: str, allowed: Sequence[str]) -> str:
    text = row.text(name)
    if text not in allowed:
        raise MalformedError(f"{name}: expected {', '.join(allowed)}, got {text[:40]!r}")
    return text


def _member(raw: bytes, what: str) -> Message:
    member = top_message(parse_json(raw, what, MAX_MEMBER_BYTES), what)
    schema = member.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise MalformedError(f"expected schema {SCHEMA}, got {schema!r:.40}")
    return member


def _row(one: Expectation) -> dict[str, Any]:
    terms = one.terms
    fields = {
        "reference": one.reference,
        "leaf": terms.leaf.hex() if terms.leaf else None,
        "digest": terms.digest.hex() if terms.digest else None,
        "signer": terms.signer.hex() if terms.signer else None,
        "identity": terms.identity,
        "pattern": terms.pattern,
        "issuer": terms.issuer,
        "origin": terms.origin,
        "count": terms.count,
        "from": terms.valid_from,
        "until": terms.valid_until,
        "note": terms.note,
        "cancelled": None if one.cancelled_at is None else one.cancel_reason or "cancelled",
    }
    return {name: value for name, value in fields.items() if value is not None}


def _rows(raw: bytes) -> list[_Row]:
    """Read the rows of a member: all of them, or MalformedError or LimitError."""
    return [
        _parse_row(message)
        for message in _member(raw, _EXPECTED).messages("expected", MAX_EXPECTED)
    ]


def _parse_row(row: Message) -> _Row:
    leaf, digest, signer = (_hex(row, name) for name in ("leaf", "digest", "signer"))
    names = ("identity", "pattern", "issuer")
    identity, pattern, issuer = (row.text(name) or None for name in names)
    times = [None if row.get(name) is None else row.integer(name) for name in ("from", "until")]
    count = row.integer("count")
    is_named = identity is not None or pattern is not None
    fits = (
        (leaf is None or len(leaf) == 32)
        and (digest is None or len(digest) in _DIGEST_BYTES)
        and (signer is None or len(signer) == 32)
        and not (identity and pattern)
        and is_named == (issuer is not None)
        and (signer is not None or is_named)
        and (digest is not None or None not in times)
        and count > 0
    )
    if not fits:
        raise MalformedError(f"a row says too little or too much: {row.text('reference')[:80]!r}")
    if pattern is not None:
        try:
            translate(whole(pattern))
        except ConfigError as error:
            raise MalformedError(f"pattern: {error.message}") from error
    terms = Terms(
        leaf=None if leaf is None else Hash(leaf),
        digest=digest,
        signer=signer,
        identity=identity,
        pattern=pattern,
        issuer=issuer,
        origin=row.text("origin") or None,
        count=count,
        valid_from=times[0],
        valid_until=times[1],
        note=row.text("note")[:500],
    )
    return _Row(row.required_text("reference")[:100], terms, row.text("cancelled")[:500])


def _hex(row: Message, name: str) -> bytes | None:
    text = row.text(name)
    try:
        return bytes.fromhex(text) if text else None
    except ValueError as error:
        raise MalformedError(f"{name}: expected hex digits, got {text[:80]!r}") from error
