"""entries search: who signed, what is in the logs, and what provably is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.find.criteria import criteria_options
from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.cli.options import verifier_key
from appliance.cli.output import Result, common_options, printable
from appliance.cli.progress import progress_bar
from appliance.cli.table import table, table_time
from appliance.jobs.find.criteria import Criteria
from appliance.jobs.find.search import Hit, Scanned
from appliance.rekor.entry_facts import SignerFacts
from appliance.runs.find import Query, SearchRun, not_logged, search_entries
from appliance.runs.session import Session, pass_session
from appliance.runs.statement import read_statement, rerun_statement, write_statement
from appliance.sigstore.identity import CLAIMS
from appliance.times import utc
from appliance.tlog.note_keys import VerifierKey
from appliance.value import replaced

_CLAIM_NAMES = {int(oid.rpartition(".")[2]): name for name, oid in CLAIMS.items()}
_VOUCHED = {True: "yes", False: "no", None: "unknown"}


@click.command("search")
@click.option("--origin", "origins", multiple=True, help="Only this log; repeatable.")
@criteria_options
@click.option("--vouched", is_flag=True, help="Only what the trusted root vouches for.")
@click.option("--limit", type=Whole(1), default=1000, show_default=True, help="Most hits.")
@click.option("--rescan", is_flag=True, help="Read every entry, without the index.")
@click.option("--expect", type=click.Choice(("found", "none")), help="Anything else is code 3.")
@click.option(
    "--statement",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what was found and looked at, signed by this site, into a new file.",
)
@common_options
@pass_session
def entries_search(
    session: Session,
    origins: tuple[str, ...],
    criteria: Criteria,
    vouched: bool,
    limit: int,
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
    nothing but the proven tree. An attestation is logged with the digest of its payload, so
    it is not found by the artifact it is about.

    \b
    Example:
        attestor entries search --artifact app.tar.gz --expect found
        attestor entries search --identity '@example[.]com$' --vouched
        attestor entries search --oid source-repository-ref=refs/heads/main
    """

    if not criteria.is_indexed and not rescan:
        raise click.UsageError("the index does not have this: add a condition, or --rescan")
    query = Query(criteria, origins, rescan, limit, expect, vouched)
    run = search_entries(session, query, progress_bar)
    if statement is not None:
        write_statement(session, query, run.found, statement)
    return _result(run)


@click.command("list")
@click.option("--origin", "origins", multiple=True, help="Only this log; repeatable.")
@criteria_options
@click.option("--limit", type=Whole(1), default=1000, show_default=True, help="Most hits.")
@click.option("--rescan", is_flag=True, help="Read every entry, without the index.")
@common_options
@pass_session
def entries_list(
    session: Session, origins: tuple[str, ...], criteria: Criteria, limit: int, rescan: bool
) -> Result:
    """List the entries that 'entries search' finds, one line each, by log and index.

    The codes are those of 'entries search': 5 if nothing was found and not everything was
    looked at.

    \b
    Example:
        attestor entries list --identity-exact release@example.com
    """

    if not criteria.is_indexed and not rescan:
        raise click.UsageError("the index does not have this: add a condition, or --rescan")
    run = search_entries(session, Query(criteria, origins, rescan, limit), progress_bar)
    result = _result(run)
    if not run.found.hits:
        return result
    headings = ("Origin", "Index", "Kind", "Signer", "Logged Before (UTC)")
    lines = table(headings, map(_row, run.found.hits), right=("Index",))
    return replaced(result, text="\n".join(lines))


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
    lines += [f"  looked for {kind} {printable(t)}" for kind, a in text["query"].items() for t in a]
    for one in text["coverage"]:
        gaps = f", {len(one['gaps'])} gaps" if one["gaps"] else ""
        lines.append(f"  {one['origin']} below size {one['treeSize']}{gaps}, {one['basis']}")
    lines += [f"  found {one['origin']} {one['index']}" for one in text["hits"]]
    if not text["hits"]:
        lines.append("  not logged" if text["complete"] else "  nothing, but not all was looked at")
    if rerun:
        again = rerun_statement(session, found, rescan=rescan)
        lines.append(f"  our own copy says the same: {len(again):,} found")
    return Result(members(found, "signer", statement=text, rerun=rerun), "\n".join(lines))


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
        lines = [not_logged(found)]
    return Result(data, "\n".join(lines), run.warnings, run.errors)


def _hit_lines(hit: Hit) -> list[str]:
    lines = [
        f"{hit.origin} {hit.entry_index}: {printable(hit.facts.kind)}, proven in the tree of"
        f" {hit.head.tree_size:,}"
    ]
    lines += [f"  digest   {name}:{value.hex()}" for name, value in hit.facts.digests]
    times = [f"after {utc(at)}" for at in (hit.logged_after,) if at is not None]
    times += [f"before {utc(at)}" for at in (hit.logged_before,) if at is not None]
    if times:
        lines.append(f"  logged   {', '.join(times)}, by our checkpoints")
    for signer, is_vouched in zip(hit.facts.signers, hit.vouched, strict=True):
        kind = "certificate" if signer.is_certificate else "key"
        lines.append(f"  signer   {kind} {signer.fingerprint.hex()}")
        certificate = signer.certificate
        if signer.is_certificate:
            lines.append(f"    vouched  {_VOUCHED[is_vouched]}")
        if certificate is not None:
            lines += [f"    identity {printable(name)}" for _, name in certificate.identities]
            lines += [f"    issuer   {printable(name)}" for name in certificate.issuers]
    return lines


def _hit_data(hit: Hit) -> dict[str, Any]:
    return members(
        hit,
        "origin",
        "entry_index",
        kind=hit.facts.kind,
        digests=[f"{name}:{value.hex()}" for name, value in hit.facts.digests],
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


def signer_data(signer: SignerFacts, is_vouched: bool | None) -> dict[str, Any]:
    """Say all that an entry says of one of its signers."""
    certificate = signer.certificate
    at = None if certificate is None else certificate.signed_at
    return members(
        type="certificate" if signer.is_certificate else "key",
        sha256=signer.fingerprint,
        key_sha256=[key.hex() for key in signer.keys],
        identities=[name for _, name in certificate.identities] if certificate else [],
        issuers=list(certificate.issuers) if certificate else [],
        claims={
            _CLAIM_NAMES[number]: text
            for number, text in (certificate.claims if certificate else ())
            if number in _CLAIM_NAMES
        },
        signed_at=at,
        vouched=is_vouched,
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
