"""entries search: who signed, what is in the logs, and what provably is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from appliance.cli.csv_text import csv_text
from appliance.cli.entry_place import log_index_option, place_data
from appliance.cli.find.criteria import NoConditionError, condition_texts, criteria_options
from appliance.cli.find.signers import VOUCHED, known_lines, signer_data, signer_lines
from appliance.cli.find.times import time_option
from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.cli.options import verifier_key
from appliance.cli.output import Result, common_options, is_json, printable
from appliance.cli.page_file import FILE, write_page
from appliance.cli.progress import progress_bar
from appliance.cli.table import headings_option, table, table_time
from appliance.jobs.find.criteria import Criteria, criteria_data
from appliance.jobs.find.search import ALWAYS, GROUPS, Hit, Scanned, Window, grouped
from appliance.rekor.signing_algorithms import digest_text
from appliance.runs.find import (
    Query,
    SearchRun,
    list_entries,
    not_logged,
    not_told_by_entries,
    search_entries,
)
from appliance.runs.report import search_data
from appliance.runs.session import Session, pass_session
from appliance.runs.statement import read_statement, rerun_statement, write_statement
from appliance.times import utc
from appliance.tlog.note_keys import VerifierKey
from appliance.value import replaced

_CSV = (
    *("origin", "index", "kind", "digest", "signer", "sha256", "identity", "issuer", "vouched"),
    *("signedAt", "loggedAfter", "loggedBefore"),
)


@click.command("search")
@click.option("--origin", "origins", multiple=True, help="Only this log; repeatable.")
@criteria_options
@click.option("--vouched", is_flag=True, help="Only what the trusted root vouches for.")
@click.option("--since", metavar="TIME", help="Not what was logged before, by our checkpoints.")
@click.option("--until", metavar="TIME", help="Not what was logged after, by our checkpoints.")
@click.option("--signed-since", metavar="TIME", help="By a certificate that began then or later.")
@click.option("--signed-until", metavar="TIME", help="By a certificate that began by then.")
@click.option("--limit", type=Whole(1), default=1000, show_default=True, help="Most hits.")
@click.option("--group-by", type=click.Choice(GROUPS), help="Count the hits by this.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@click.option("--jsonl", is_flag=True, help="Print one JSON object a line for each hit.")
@click.option("--html", type=FILE, help="Write the answer as a page that checks itself.")
@click.option("--rescan", is_flag=True, help="Read every entry, without the index.")
@click.option("--expect", type=click.Choice(("found", "none")), help="Anything else is code 3.")
@click.option(
    "--statement",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what was found and looked at, signed by this site, into a new file.",
)
@headings_option
@common_options
@pass_session
def entries_search(
    session: Session,
    origins: tuple[str, ...],
    given: Callable[[], Criteria],
    vouched: bool,
    since: str | None,
    until: str | None,
    signed_since: str | None,
    signed_until: str | None,
    limit: int,
    group_by: str | None,
    as_csv: bool,
    jsonl: bool,
    html: Path | None,
    rescan: bool,
    expect: str | None,
    statement: Path | None,
) -> Result:
    """Find entries in the mirrored logs, offline, and say what was looked at.

    Options of different kinds must all hold; of one given several times, any will do. A
    pattern is in RE2's syntax and may match anywhere in the text, unless ^ and $ say
    otherwise (verify's patterns match all of it). Each hit is read again from its entry
    bundle and proven in the tree; names are what the certificate says, and "vouched" is
    whether the trusted root leads to it. "not logged" is said only if every entry was looked
    at and read; otherwise nothing found is code 5, with the gaps. The index ('attestor index
    build') can hide an entry if somebody tampered with it, never invent one; --rescan trusts
    nothing but the proven tree. An attestation is logged with a digest of what was signed:
    by the artifact it is about it is found if this home has seen it (verify --record,
    expected add --bundle, queue add). --html writes a page that verifies each hit in the
    browser; 'attestor report verify' checks it without.

    \b
    Example:
        attestor entries search --artifact app.tar.gz --expect found
        attestor entries search --identity '@example[.]com$' --vouched
        attestor entries search --oid source-repository-ref=refs/heads/main
    """

    criteria = given()
    if not criteria.is_indexed and not rescan:
        raise click.UsageError("the index does not have this: add a condition, or --rescan")
    if as_csv + jsonl + is_json() > 1:
        raise click.UsageError("--csv, --jsonl and --json exclude each other")
    if html is not None and (as_csv or jsonl or group_by is not None):
        raise click.UsageError("--html goes with neither --csv nor --jsonl nor --group-by")
    if jsonl and group_by is not None:
        raise click.UsageError("--jsonl prints hits: leave out --group-by")
    window = Window(
        time_option("--since", since),
        time_option("--until", until),
        time_option("--signed-since", signed_since),
        time_option("--signed-until", signed_until),
    )
    if statement is not None and window != ALWAYS:
        raise click.UsageError("a statement is about all times: leave out --since and its like")
    query = Query(criteria, origins, rescan, limit, expect, vouched, window)
    run = search_entries(session, query, progress_bar)
    query = replaced(query, criteria=run.criteria or criteria)
    if statement is not None:
        write_statement(session, query, run.found, statement)
    if group_by is not None:
        return _grouped(run, group_by, as_csv)
    result = _result(run)
    if html is not None:
        return _with_page(session, result, run, query, html)
    if jsonl:
        return replaced(result, text="\n".join(map(json.dumps, result.data["hits"])))
    return replaced(result, text=csv_text(_CSV, _csv_rows(run.found.hits))) if as_csv else result


def _with_page(session: Session, result: Result, run: SearchRun, query: Query, to: Path) -> Result:
    """Write the answer as a page; one that is not whole as well, which the page says."""
    asked: dict[str, list[str]] = {}
    for kind, shown in condition_texts(criteria_data(query.criteria)):
        asked.setdefault(kind, []).append(shown)
    if query.vouched_only:
        asked["vouched"] = ["yes"]
    if query.window != ALWAYS:
        asked["time"] = [str(query.window)]
    data = search_data(session, run.found) | {"search": {"query": asked, **result.data}}
    done = write_page(session, to, data)
    text = "\n".join(filter(None, (result.text, done.line)))
    told = result.data | members(output=str(to), sha256=done.digest)
    return Result(told, text, (*result.warnings, *done.warnings), result.errors)


def _csv_rows(hits: Sequence[Hit]) -> Iterator[tuple[object, ...]]:
    """Yield a row for each signer of an entry and each of its identities."""
    for hit in hits:
        digests = " ".join(f"{name}:{value.hex()}" for name, value in hit.facts.digests)
        entry = (hit.origin, hit.entry_index, hit.facts.kind, digests)
        logged = [_time(hit.logged_after), _time(hit.logged_before)]
        if not hit.facts.signers:
            yield (*entry, *[""] * 6, *logged)
        for signer, is_vouched in zip(hit.facts.signers, hit.vouched, strict=True):
            data = signer_data(signer, is_vouched)
            for identity in data["identities"] or [""]:
                yield (
                    *(*entry, data["type"], data["sha256"], identity, " ".join(data["issuers"])),
                    *(VOUCHED[is_vouched] if signer.is_certificate else "", data["signedAt"] or ""),
                    *logged,
                )


def _time(seconds: int | None) -> str:
    return "" if seconds is None else utc(seconds)


def _grouped(run: SearchRun, group_by: str, as_csv: bool) -> Result:
    groups = grouped(run.found.hits, group_by)
    data = members(
        groups=[members(one) for one in groups],
        more=run.found.more,
        complete=run.found.is_complete,
        coverage=[_coverage_data(one) for one in run.found.coverage],
    )
    rows = [(one.origin, one.name, one.entries, one.first, one.last) for one in groups]
    if as_csv:
        text = csv_text(("origin", group_by, "entries", "first", "last"), rows)
    else:
        headings = ("Origin", group_by.capitalize(), "Entries", "First", "Last")
        shown = [(origin, printable(name), n, str(a), str(b)) for origin, name, n, a, b in rows]
        text = "\n".join(table(headings, shown, right=("Entries", "First", "Last")))
        text = text or _result(run).text
    return Result(data, text, run.warnings, run.errors)


@click.command("list")
@click.option("--origin", "origins", multiple=True, help="Only this log; repeatable.")
@criteria_options
@click.option("--limit", type=Whole(1), default=1000, show_default=True, help="Most hits.")
@click.option("--rescan", is_flag=True, help="Read every entry, without the index.")
@log_index_option
@click.option(
    "--count", type=click.IntRange(1, 1000), metavar="N", help="With --log-index: so many.  [1]"
)
@headings_option
@common_options
@pass_session
def entries_list(
    session: Session,
    origins: tuple[str, ...],
    given: Callable[[], Criteria],
    limit: int,
    rescan: bool,
    log_index: int | None,
    count: int | None,
) -> Result:
    """List the entries that 'entries search' finds, one line each, by log and index.

    The codes are those of 'entries search': 5 if nothing was found and not everything was
    looked at. --log-index lists entries of a Rekor v1 log by their indices over all its trees
    instead; code 5 if one of them is not here.

    \b
    Example:
        attestor entries list --identity-exact release@example.com
        attestor entries list --log-index 771488337 --count 20
    """

    if count is not None and log_index is None:
        raise click.UsageError("--count goes with --log-index")
    try:
        criteria = given()
    except NoConditionError:
        if log_index is None:
            raise
        return _by_log_index(session, range(log_index, log_index + (count or 1)), origins)
    if log_index is not None:
        raise click.UsageError("--log-index says which entries: leave out what to look for")
    if not criteria.is_indexed and not rescan:
        raise click.UsageError("the index does not have this: add a condition, or --rescan")
    run = search_entries(session, Query(criteria, origins, rescan, limit), progress_bar)
    result = _result(run)
    if not run.found.hits:
        return result
    headings = ("Origin", "Index", "Kind", "Signer", "Logged Before (UTC)")
    lines = table(headings, map(_row, run.found.hits), right=("Index",))
    return replaced(result, text="\n".join(lines))


def _by_log_index(session: Session, wanted: range, origins: tuple[str, ...]) -> Result:
    if len(origins) > 1:
        raise click.UsageError("--log-index counts over the trees of one instance: one --origin")
    listed = list_entries(session, wanted, origins[0] if origins else None)
    data = members(
        hits=[_hit_data(hit) for _, hit in listed.hits],
        complete=listed.error is None,
    )
    headings = ("Log Index", "Origin", "Index", "Kind", "Signer", "Logged Before (UTC)")
    rows = [(str(place.log_index), *_row(hit)) for place, hit in listed.hits]
    lines = table(headings, rows, right=("Log Index", "Index")) if rows else []
    errors = () if listed.error is None else (listed.error,)
    return Result(data, "\n".join(lines), errors=errors)


def _row(hit: Hit) -> tuple[object, ...]:
    names = [
        name
        for signer in hit.facts.signers
        for _, name in (signer.certificate.identities if signer.certificate else ())
    ]
    keys = [f"key {signer.fingerprint.hex()[:16]}" for signer in hit.facts.signers]
    who = printable(", ".join(names or keys))
    before = table_time(hit.logged_before)
    return hit.origin, str(hit.entry_index), printable(hit.facts.kind), who, before


@click.group("statement", cls=LazyGroup)
def statement_group() -> None:
    """What a search found and looked at, signed by the site that searched.

    \b
    Example:
        attestor entries search --artifact app.tar.gz --statement app.note
    """


@statement_group.command("verify")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--key", metavar="VKEY", help="Whose key must have signed it.  [default: ours]")
@click.option("--key-file", type=click.Path(path_type=Path), help="The same, from a file.")
@click.option("--rerun", is_flag=True, help="Search again in our own copy, and compare.")
@click.option("--rescan", is_flag=True, help="With --rerun: without the index.")
@common_options
@pass_session
def statement_verify(
    session: Session,
    file: Path,
    key: str | None,
    key_file: Path | None,
    rerun: bool,
    rescan: bool,
) -> Result:
    """Say what a signed statement says, and with --rerun whether our own copy says the same.

    Code 3 if nobody known signed it, if it is about another tree than ours, or if our copy
    holds other entries that match; 5 if what it looked at is not all here.

    \b
    Example:
        attestor entries statement verify app.note --key-file outside.vkey --rerun
    """

    if rescan and not rerun:
        raise click.UsageError("--rescan is for --rerun")
    keys: tuple[VerifierKey, ...] = ()
    if key is not None or key_file is not None:
        keys = (verifier_key(key, key_file, name="--key", option="--key-file"),)
    found = read_statement(session, file, keys)
    text = found.text
    lines = [f"{file}: signed by {found.signer} at {text['at']}"]
    lines += [f"  looked for {kind} {shown}" for kind, shown in condition_texts(text["query"])]
    for one in text["coverage"]:
        gaps = f", {len(one['gaps'])} gaps" if one["gaps"] else ""
        lines.append(f"  {one['origin']} below size {one['treeSize']}{gaps}, {one['basis']}")
    lines += [f"  found {one['origin']} {one['index']}" for one in text["hits"]]
    if not text["hits"]:
        lines.append("  not logged" if text["complete"] else "  nothing, but not all was looked at")
    if rerun:
        again = rerun_statement(session, found, rescan=rescan)
        lines.append(f"  our own copy says the same: {len(again):,} found")
    data = members(found, "signer", statement=text, rerun=rerun)
    warnings = () if text["hits"] else not_told_by_entries(text["query"])
    return Result(data, "\n".join(lines), warnings)


def _result(run: SearchRun) -> Result:
    found = run.found
    data = members(
        hits=[_hit_data(one) for one in found.hits],
        more=found.more,
        complete=found.is_complete,
        coverage=[_coverage_data(one) for one in found.coverage],
    )
    lines = [line for one in found.hits for line in _hit_lines(one)]
    if not lines and not run.errors:
        lines = [not_logged(found, run.window)]
    return Result(data, "\n".join(lines), run.warnings, run.errors)


def _hit_lines(hit: Hit) -> list[str]:
    lines = [
        f"{hit.origin} {hit.entry_index}: {printable(hit.facts.kind)}, proven in the tree of"
        f" {hit.head.tree_size:,}"
    ]
    lines += [f"  {hit.place}"] if hit.place is not None else []
    lines += [f"  digest   {name}:{value.hex()}" for name, value in hit.facts.digests]
    lines += known_lines(hit)
    for signer, is_vouched in zip(hit.facts.signers, hit.vouched, strict=True):
        lines += signer_lines(signer, is_vouched)
    return lines


def _hit_data(hit: Hit) -> dict[str, Any]:
    return members(
        hit,
        "origin",
        "entry_index",
        **place_data(hit.place),
        kind=hit.facts.kind,
        digests=[f"{name}:{value.hex()}" for name, value in hit.facts.digests],
        known_statement=list(map(digest_text, hit.known_statement)),
        expectation=hit.expectation,
        leaf_hash=hit.leaf,
        tree_size=hit.head.tree_size,
        root_hash=hit.head.root_hash,
        logged_after=None if hit.logged_after is None else utc(hit.logged_after),
        logged_before=None if hit.logged_before is None else utc(hit.logged_before),
        signers=[
            signer_data(one, is_vouched)
            for one, is_vouched in zip(hit.facts.signers, hit.vouched, strict=True)
        ],
        unread=hit.facts.unread,
    )


def _coverage_data(one: Scanned) -> dict[str, Any]:
    return members(
        one,
        "origin",
        "first_seen_at",
        "basis",
        tree_size=None if one.head is None else one.head.tree_size,
        root_hash=None if one.head is None else one.head.root_hash,
        scanned=[list(part) for part in one.ranges],
        gaps=[members(from_=gap.start, to=gap.stop, why=gap.why) for gap in one.gaps],
        opaque=[members(index=at, why=why) for at, why in one.opaque],
    )
