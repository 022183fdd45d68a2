"""custody: who had which medium when."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table, table_time
from appliance.cli.transfer.export_options import MAX_TEXT, printable
from appliance.errors import ApplianceError, DigestError
from appliance.jobs.home.journal import check_custody
from appliance.runs.exit_codes import naming
from appliance.runs.session import Session, pass_session
from appliance.store.files import open_foreign, written_whole
from appliance.store.transfer.custody import (
    CustodyFacts,
    CustodyLine,
    append_custody,
    custody_lines,
)
from appliance.times import utc
from bundles.reader import peek

FILE: Final = click.Path(path_type=Path, dir_okay=False)
_BUNDLE_ID: Final = re.compile("[0-9a-f]{64}")
_ACTION: Final = re.compile("[a-z][a-z-]{0,31}")


@click.group(cls=LazyGroup)
def custody() -> None:
    """Who had which medium when: a list that nobody can change unseen.

    \b
    Example:
        attestor custody show
    """


@custody.command("add")
@click.option("--action", required=True, help="sealed, handed-over, received, stored, wiped, …")
@click.option("--who", required=True, help="The person who answers for it.")
@click.option("--bundle", default="", metavar="ID", help="Which transfer bundle.")
@click.option("--bundle-file", type=FILE, help="The same, by its file.")
@click.option("--medium", default="", help="What it is on: the label of the stick.")
@click.option("--seal", default="", help="Number on the seal.")
@click.option("--ticket", default="", help="What asked for it.")
@click.option("--remark", default="", help="Anything else.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def custody_add(
    session: Session,
    action: str,
    who: str,
    bundle: str,
    bundle_file: Path | None,
    medium: str,
    seal: str,
    ticket: str,
    remark: str,
    dry_run: bool,
) -> Result:
    """Add a line: who did what with which medium.

    It cannot be changed or taken back: a mistake gets another line that says so.

    \b
    Example:
        attestor custody add --action handed-over --who "A. Courier" --medium stick-07 --seal 4711
    """

    if not _ACTION.fullmatch(action):
        raise click.UsageError(
            f"--action: expected a word like handed-over, got {action[:MAX_TEXT]!r}"
        )
    if not who:
        raise click.UsageError("--who: expected a name, got nothing")
    texts = {"--who": who, "--medium": medium, "--seal": seal, "--ticket": ticket}
    for option, text in {**texts, "--remark": remark}.items():
        printable(option, text)
    facts = CustodyFacts(action, who, _bundle_id(bundle, bundle_file), medium, seal, ticket, remark)
    with session.writing() as store, store.atomic(dry_run=dry_run):
        line = append_custody(store, facts, session.now())
    return Result(members(dry_run=dry_run) | _data(line), _line(line))


@custody.command("show")
@click.option("--bundle", default="", metavar="ID", help="Only of this transfer bundle.")
@click.option("--bundle-file", type=FILE, help="The same, by its file.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Export it here.")
@headings_option
@common_options
@pass_session
def custody_show(
    session: Session, bundle: str, bundle_file: Path | None, output: Path | None
) -> Result:
    """Show the list, checked against its chain and the journal.

    With --output write it, a JSON object a line.

    The digest of the last line stands for all of them: noted elsewhere, on paper or in a
    receipt, it shows that nothing was changed since.

    \b
    Example:
        attestor custody show
        attestor custody show --output custody.jsonl
    """

    only = _bundle_id(bundle, bundle_file)
    with session.reading() as store:
        lines = list(custody_lines(store))
        errors: tuple[ApplianceError, ...] = ()
        try:
            check_custody(store)
        except DigestError as error:
            errors = (error,)
    shown = [line for line in lines if only in ("", line.facts.bundle_id)]
    head = lines[-1].digest.hex() if lines else None
    if output is not None:
        with written_whole(output) as file:
            file.write(b"".join(line.text + b"\n" for line in lines))
    headings = (
        *("Line", "Time (UTC)", "Action", "Who", "Bundle", "Medium", "Seal", "Ticket", "Remark"),
    )
    rows = table(headings, map(_row, shown), right=("Line",))
    text = "\n".join([*rows, f"head {head}"]) if shown else "no line"
    return Result(members(lines=[_data(one) for one in shown], head=head), text, errors=errors)


def _bundle_id(bundle: str, file: Path | None) -> str:
    """Return the id that was given, or of the file that was; empty if neither was."""
    if bundle and file is not None:
        raise click.UsageError("--bundle and --bundle-file exclude each other")
    if file is not None:
        with naming(file), open_foreign(file) as medium:
            return peek(medium).header.bundle_id
    if bundle and not _BUNDLE_ID.fullmatch(bundle):
        raise click.UsageError(
            f"--bundle: expected a bundle id (64 hex digits), got {bundle[:MAX_TEXT]!r};"
            " for a file there is --bundle-file, and 'attestor custody show --json' has whole ids"
        )
    return bundle


def _row(one: CustodyLine) -> tuple[object, ...]:
    facts = one.facts
    return (
        *(str(one.id), table_time(one.at), facts.action, facts.who, facts.bundle_id[:12]),
        *(facts.medium, facts.seal, facts.ticket, facts.remark),
    )


def _line(one: CustodyLine) -> str:
    facts = one.facts
    parts = [f"{one.id:>4}  {utc(one.at)}  {facts.action:12}  {facts.who}"]
    parts += [
        f"{name} {value}"
        for name, value in (
            ("bundle", facts.bundle_id[:12]),
            ("medium", facts.medium),
            ("seal", facts.seal),
            ("ticket", facts.ticket),
            ("remark", facts.remark),
        )
        if value
    ]
    return ", ".join(parts)


def _data(one: CustodyLine) -> dict[str, Any]:
    facts = one.facts
    return members(
        facts,
        "action",
        "who",
        "bundle_id",
        "medium",
        "seal",
        "ticket",
        "remark",
        id=one.id,
        at=one.at,
        digest=one.digest,
    )
