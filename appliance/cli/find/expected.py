"""expected: the ledger of what should be signed, and what it has come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from appliance.cli.find.digests import (
    read_digest,
    read_digest_list,
    read_fingerprint,
)
from appliance.cli.find.times import time_option
from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.cli.output import Result, common_options, delivers_alerts, printable
from appliance.cli.table import headings_option, table, table_time
from appliance.errors import ConfigError
from appliance.jobs.find.expected import State, describe_terms
from appliance.jobs.find.ledger import whole
from appliance.policy.expected import Standing
from appliance.policy.re2 import translate
from appliance.rekor.signing_algorithms import digest_text
from appliance.runs.expected import (
    Added,
    LedgerRun,
    add_expected,
    blast_radius,
    cancel_expected,
    check_ledger,
    read_ledger,
    show_expected,
    terms_of_bundle,
)
from appliance.runs.session import Session, pass_session
from appliance.sigstore.sigstore_bundle import SigstoreBundle
from appliance.store.find.expectations import Expectation, Terms
from appliance.times import utc
from appliance.value import replaced

FILE: Final = click.Path(path_type=Path, dir_okay=False)
_MAX_TEXT: Final = 500  # of a note or reason
_SHOWN: Final = {
    "open": (Standing.OPEN,),
    "missing": (Standing.MISSING, Standing.CANNOT_TELL),
    "used": (Standing.USED, Standing.DUPLICATE),
}


@click.group(cls=LazyGroup)
def expected() -> None:
    """What should be signed: a ledger that entries in your name are compared with.

    What this home queues, publishes and logs is in it by itself; the rest the operator says.
    It never learns from what is in a log. After each sync and import the entries are
    compared with it: what is missing, logged twice or too early becomes an alert.

    \b
    Example:
        attestor expected add --from-file SHA256SUMS --identity-exact release@example.com --issuer https://accounts.example.com
    """


@expected.command("add")
@click.option("--bundle", "bundles", type=FILE, multiple=True, help="Exactly its log entries.")
@click.option("--digest", "digests", multiple=True, metavar="HEX", help="Of an artifact.")
@click.option("--from-file", type=FILE, help="Digests, as sha256sum writes them.")
@click.option("--identity-exact", help="Who is to sign, as the certificate says.")
@click.option("--identity", metavar="RE", help="Or a pattern for all of the identity.")
@click.option("--issuer", help="Who is to vouch for that identity, exactly.")
@click.option("--fingerprint", metavar="HEX", help="Or SHA-256 of the key or certificate.")
@click.option("--origin", help="In this log only.")
@click.option("--count", type=Whole(1), default=1, show_default=True, help="Entries of each.")
@click.option("--from", "since", metavar="TIME", help="Not before: 2026-01-31T23:59:59Z.")
@click.option("--until", metavar="TIME", help="Missing if it is not logged by then.")
@click.option("--note", default="", help="Why, for people.")
@common_options
@pass_session
def add(
    session: Session,
    bundles: tuple[Path, ...],
    digests: tuple[str, ...],
    from_file: Path | None,
    identity_exact: str | None,
    identity: str | None,
    issuer: str | None,
    fingerprint: str | None,
    origin: str | None,
    count: int,
    since: str | None,
    until: str | None,
    note: str,
) -> Result:
    """Say what is going to be signed, or was: an entry, digests by somebody, or somebody's.

    With --bundle exactly the entries in a Sigstore bundle. With --digest or --from-file one
    entry of each digest, by a certificate for --identity-exact or --identity that
    --issuer vouched for, or by the key or certificate of --fingerprint. With neither, --count entries by that signer
    between --from and --until. An identity alone is never enough: anybody can write it into
    a certificate, so an entry counts only if an authority of the trusted root issued it.
    The same again changes nothing.

    \b
    Example:
        attestor expected add --bundle app.sigstore.json
        attestor expected add --digest 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --identity-exact release@example.com --issuer https://accounts.example.com --until 2026-12-31T00:00:00Z
    """  # noqa: E501 one line, to be copied

    times = [time_option("--from", since), time_option("--until", until)]
    if times[0] is not None and times[1] is not None and times[0] > times[1]:
        raise click.UsageError("--from is after --until")
    for option, text in (
        ("--note", note),
        ("--identity-exact", identity_exact),
        ("--issuer", issuer),
    ):
        _require_printable(option, text or "")
    common = Terms(origin=origin, count=count, valid_from=times[0], valid_until=times[1], note=note)
    wanted: list[Terms] = []
    given: list[SigstoreBundle] = []
    if bundles:
        others = (digests, from_file, identity_exact, identity, issuer, fingerprint, since)
        if any(others) or count > 1:
            raise click.UsageError("--bundle says all of it: only --origin, --until and --note go")
        for path in bundles:
            terms, read = terms_of_bundle(path)
            wanted += [
                replaced(one, origin=origin, valid_until=times[1], note=note) for one in terms
            ]
            given += read
    else:
        common = _signed_by(common, identity_exact, identity, issuer, fingerprint)
        listed = [read_digest(one, "--digest") for one in digests]
        listed += read_digest_list(from_file) if from_file else []
        if not listed and None in times:
            raise click.UsageError(
                "say what: --bundle, --digest or --from-file; or how long: --from and --until"
            )
        wanted = [replaced(common, digest=one) for one in dict.fromkeys(listed)] or [common]
    return _added(add_expected(session, wanted, given))


def _signed_by(
    terms: Terms,
    identity: str | None,
    pattern: str | None,
    issuer: str | None,
    fingerprint: str | None,
) -> Terms:
    """Say who is to sign: an identity with its issuer, or a key."""
    if fingerprint is not None and not (identity or pattern or issuer):
        return replaced(terms, signer=read_fingerprint(fingerprint))
    if fingerprint is not None or not issuer or bool(identity) == bool(pattern):
        raise click.UsageError(
            "say who is to sign: --identity-exact or --identity, with --issuer; or --fingerprint"
        )
    if pattern:
        try:
            translate(whole(pattern))
        except ConfigError as error:
            raise click.BadParameter(error.message, param_hint="--identity") from error
    return replaced(terms, identity=identity, pattern=pattern, issuer=issuer)


def _require_printable(option: str, text: str) -> None:
    if len(text) > _MAX_TEXT or not text.isprintable():
        raise click.UsageError(
            f"{option}: expected printable text of at most {_MAX_TEXT} characters"
        )


def _added(found: tuple[Added, ...]) -> Result:
    lines = [
        f"expectation {one.expectation.id}: {describe_terms(one.expectation.terms)}"
        + ("" if one.is_new else " (was there already)")
        for one in found
    ]
    data = [_expectation_data(one.expectation) | members(new=one.is_new) for one in found]
    return Result(members(expectations=data), printable_lines(lines))


@expected.command("list")
@click.option("--open", "shown", flag_value="open", help="Only what is still to come.")
@click.option("--missing", "shown", flag_value="missing", help="Only what did not come in time.")
@click.option("--used", "shown", flag_value="used", help="Only what was logged.")
@headings_option
@common_options
@pass_session
def list_(session: Session, shown: str | None) -> Result:
    """List the ledger and what each row has come to.

    open: still to come; used: logged; duplicate: logged more often than expected; missing:
    its time is over, and every log was looked at after it; cannot-tell: its time is over,
    and not everything was looked at, with the reason; cancelled.

    \b
    Example:
        attestor expected list --missing
    """

    states = [
        one for one in read_ledger(session).states if shown is None or one.standing in _SHOWN[shown]
    ]
    return _ledger(LedgerRun(tuple(states)))


@expected.command("check")
@common_options
@delivers_alerts(local_only=True)
@pass_session
def check(session: Session) -> Result:
    """Compare the ledger with the mirrored logs now, as sync and import do when they end.

    Ends with 3 if something is missing, logged twice, or logged before it was queued; with 5
    if that cannot be told.

    \b
    Example:
        attestor expected check
    """

    return _ledger(check_ledger(session))


@expected.command("show")
@click.argument("id", type=Whole(1))
@common_options
@pass_session
def show(session: Session, id: int) -> Result:
    """Show one row of the ledger, and the entries that it stands for.

    \b
    Example:
        attestor expected show 7
    """

    state = show_expected(session, id)
    data = _state_data(state)
    lines = [_state_line(state)]
    one = state.expectation
    lines.append(f"  source   {one.source} {one.reference}")
    lines += [f"  {name:<8} {value}" for name, value in _term_lines(one.terms)]
    lines += [
        f"  entry    {met['index']} of {met['origin']}, leaf {met['leafHash']}"
        for met in data["entries"]
    ]
    lines += [f"  unseen   {why}" for why in state.why]
    if one.cancelled_at is not None:
        lines.append(f"  cancelled {utc(one.cancelled_at)}: {one.cancel_reason}")
    return Result(data, printable_lines(lines))


@expected.command("cancel")
@click.argument("id", type=Whole(1))
@click.option("--reason", required=True, help="Why, for the journal.")
@common_options
@pass_session
def cancel(session: Session, id: int, reason: str) -> Result:
    """Say that something is not expected any more; entries it stood for are unexpected then.

    \b
    Example:
        attestor expected cancel 7 --reason "the release was withdrawn"
    """

    _require_printable("--reason", reason)
    if not reason.strip():
        raise click.UsageError("--reason is empty")
    found = cancel_expected(session, id, reason)
    return Result(_expectation_data(found), f"expectation {id} is cancelled")


@expected.command("verdicts")
@common_options
@pass_session
def verdicts(session: Session) -> Result:
    """List the artifacts that were verified here by an entry nobody expected: what to call back.

    Of the verdicts that 'verify --record' remembers, those whose log entry a watch with
    --expectations required found unexpected since. Ends with 3 if there are any.

    \b
    Example:
        attestor expected verdicts
    """

    found = blast_radius(session)
    data = [
        {
            "verdict": one.verdict.id,
            "artifact": one.verdict.artifact,
            "digests": {name: raw.hex() for name, raw in one.verdict.digests.items()},
            "verifiedAt": utc(one.verdict.at),
            "exitCode": one.verdict.code,
            "watch": one.match.watch,
            "origin": one.match.origin,
            "index": one.match.entry_index,
            "alert": one.match.alert_number,
        }
        for one in found.reached
    ]
    lines = [
        f"{one.verdict.artifact}: verdict {one.verdict.id} of {utc(one.verdict.at)}, entry"
        f" {one.match.entry_index} of {one.match.origin}, watch {one.match.watch}"
        for one in found.reached
    ] or ["no recorded verdict rests on an unexpected entry"]
    return Result({"verdicts": data}, printable_lines(lines), (), found.errors)


def _ledger(run: LedgerRun) -> Result:
    data = members(expectations=[_state_data(one) for one in run.states])
    headings = ("Id", "State", "Logged", "Until (UTC)", "What", "Source", "Why")
    lines = table(headings, map(_row, run.states), right=("Id",)) or ["nothing is expected"]
    return Result(data, printable_lines(lines), run.warnings, run.errors)


def _row(state: State) -> tuple[object, ...]:
    one = state.expectation
    early = ["logged before it was queued"] if state.early else []
    return (
        *(str(one.id), state.standing.value, f"{len(state.entries)} of {one.terms.count}"),
        *(table_time(one.terms.valid_until), describe_terms(one.terms), one.source),
        "; ".join([*early, *state.why[:1]]),
    )


def _state_line(state: State) -> str:
    one = state.expectation
    until = "" if one.terms.valid_until is None else f" until {utc(one.terms.valid_until)}"
    early = ", logged before it was queued" if state.early else ""
    why = f" ({state.why[0]})" if state.why else ""
    return (
        f"{one.id:>5} {state.standing.value:<11} {len(state.entries)} of {one.terms.count}{until}"
        f"{early} {describe_terms(one.terms)} [{one.source}]{why}"
    )


def _term_lines(terms: Terms) -> list[tuple[str, str]]:
    found = [
        ("leaf", terms.leaf and terms.leaf.hex()),
        ("digest", terms.digest and digest_text(terms.digest)),
        ("signer", terms.signer and terms.signer.hex()),
        ("identity", terms.identity),
        ("pattern", terms.pattern),
        ("issuer", terms.issuer),
        ("log", terms.origin),
        ("note", terms.note),
    ]
    return [(name, value) for name, value in found if value]


def _expectation_data(one: Expectation) -> dict[str, Any]:
    terms = one.terms
    return members(
        one,
        "id",
        "source",
        "reference",
        "site",
        "created_at",
        "cancelled_at",
        "cancel_reason",
        leaf_hash=terms.leaf if terms.leaf else None,
        digest=digest_text(terms.digest) if terms.digest else None,
        signer=terms.signer if terms.signer else None,
        identity=terms.identity,
        pattern=terms.pattern,
        issuer=terms.issuer,
        origin=terms.origin,
        count=terms.count,
        from_=None if terms.valid_from is None else utc(terms.valid_from),
        until=None if terms.valid_until is None else utc(terms.valid_until),
        note=terms.note,
    )


def _state_data(state: State) -> dict[str, Any]:
    return _expectation_data(state.expectation) | members(
        state,
        "standing",
        "why",
        used=len(state.entries),
        early=bool(state.early),
        entries=[
            members(
                one, "entry_index", "found_at", origin=state.origins[one.log_id], leaf_hash=one.leaf
            )
            for one in state.entries
        ],
    )


def printable_lines(lines: list[str]) -> str:
    """Join lines, whose names may be a stranger's text."""
    return "\n".join(map(printable, lines))
