"""watch: told of every entry that is signed in a name, by a key or for a digest."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import click

from appliance.cli.find.criteria import condition_texts, criteria_options
from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.options import seconds_option
from appliance.cli.output import Result, common_options, delivers_alerts, printable
from appliance.cli.progress import progress_bar
from appliance.cli.table import headings_option, table
from appliance.jobs.find.criteria import Criteria
from appliance.jobs.find.watching import WatchReport
from appliance.runs.session import Session, pass_session
from appliance.runs.watch import (
    WatchOptions,
    WatchStatus,
    add,
    export_configuration,
    import_configuration,
    list_matches,
    list_watches,
    remove,
    scan,
    show_watch,
)
from appliance.store.find.watches import Match, Watch
from appliance.times import utc

_SHOWN = 20  # matches in a text; --json has all
_NAMED = 5  # conditions of a watch on one line; 'watch show' has all


@click.group(cls=LazyGroup)
def watch() -> None:
    """Be told of entries in the mirrored logs: by a name, a key, a digest.

    Each watch is compared with every mirrored entry of every log once, at the end of each
    sync and import; a new watch with all of the past, too. What is found raises an alert.

    \b
    Example:
        attestor watch add releases --identity-exact release@example.com
    """


@watch.command("add")
@click.argument("name")
@criteria_options
@click.option(
    "--severity",
    type=click.Choice(("critical", "warning", "info")),
    help="Of the alert.  [default: as set]",
)
@click.option(
    "--from",
    "begins",
    default="start",
    show_default=True,
    help="start, now, or the index of the first entry.",
)
@click.option(
    "--expectations",
    type=click.Choice(("optional", "required")),
    default="optional",
    show_default=True,
    help="required: only what nobody expected is told.",
)
@click.option(
    "--grace", metavar="DURATION", help="Time for an expectation to come.  [default: as set]"
)
@click.option(
    "--unvouched",
    type=click.Choice(("info", "ignore", "same")),
    help="What a name is that no authority vouched for.  [default: as set]",
)
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@delivers_alerts(local_only=True)
@pass_session
def watch_add(
    session: Session,
    name: str,
    given: Callable[[], Criteria],
    severity: str | None,
    begins: str,
    expectations: str,
    grace: str | None,
    unvouched: str | None,
    dry_run: bool,
) -> Result:
    """Watch for entries, and look for them in all that is mirrored.

    The options of what to watch for are those of 'entries search'. Who has a certificate
    that no authority of the trusted root issued claims the name only: that is at most one
    notice a day, unless --unvouched says otherwise.

    \b
    Example:
        attestor watch add releases --identity '@example[.]com$'
        attestor watch add key --key signer.pem --severity critical
    """

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise click.BadParameter(
            "expected letters, digits, '.', '_' and '-', 64 at most", param_hint="NAME"
        )
    if not re.fullmatch("start|now|[0-9]{1,12}", begins):
        raise click.BadParameter("expected start, now or an index", param_hint="--from")
    seconds = None if grace is None else int(seconds_option(grace, "--grace", None))
    options = WatchOptions(severity, unvouched, expectations, seconds, begins)
    added = add(session, name, given(), options, progress_bar, dry_run=dry_run)
    verb = "would be added" if dry_run else "added"
    lines = [f"watch {name} {verb}", *_report_lines(added.report)]
    data = members(dry_run=dry_run, watch=_watch_data(added.watch), **_report_parts(added.report))
    return Result(data, "\n".join(lines), added.report.said)


@watch.command("list")
@headings_option
@common_options
@pass_session
def watch_list(session: Session) -> Result:
    """List the watches, what each found and how far it is.

    \b
    Example:
        attestor watch list
    """

    found = list_watches(session)
    rows = (
        (one.watch.name, one.watch.severity, one.matches, one.behind, _conditions(one.watch))
        for one in found
    )
    headings = ("Watch", "Severity", "Matches", "Behind", "For")
    lines = table(headings, rows, right=("Matches", "Behind")) or ["no watch"]
    return Result(members(watches=[_status_data(one) for one in found]), "\n".join(lines))


@watch.command("show")
@click.argument("name")
@common_options
@pass_session
def watch_show(session: Session, name: str) -> Result:
    """Show one watch: what it watches for.

    \b
    Example:
        attestor watch show releases
    """

    found = show_watch(session, name)
    one = found.watch
    lines = [
        _status_line(found),
        f"  since        {utc(one.added_at)}, from {one.begins}",
        f"  expectations {one.expectations}, grace {one.grace} s",
        f"  unvouched    {one.unvouched}",
    ]
    lines += [f"  {kind:14} {text}" for kind, text in condition_texts(one.criteria)]
    return Result(_status_data(found), "\n".join(lines))


@watch.command("remove")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def watch_remove(session: Session, name: str, dry_run: bool) -> Result:
    """Remove a watch and what it found; its alerts stay.

    \b
    Example:
        attestor watch remove releases
    """

    remove(session, name, dry_run=dry_run)
    verb = "would be removed" if dry_run else "removed"
    return Result(members(dry_run=dry_run, removed=name), f"watch {name} {verb}")


@watch.command("scan")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--origin", "origins", multiple=True, help="Only this log; repeatable.")
@click.option("--rescan", is_flag=True, help="All entries again, without the index.")
@common_options
@delivers_alerts(local_only=True)
@pass_session
def watch_scan(
    session: Session, names: tuple[str, ...], origins: tuple[str, ...], rescan: bool
) -> Result:
    """Compare what the watches were not compared with yet; sync and import do it by themselves.

    \b
    Example:
        attestor watch scan
        attestor watch scan releases --rescan
    """

    report = scan(session, names, origins, progress_bar, rescan=rescan)
    return Result(members(**_report_parts(report)), "\n".join(_report_lines(report)), report.said)


@watch.command("matches")
@click.argument("name", required=False)
@click.option("--since", metavar="DURATION", help="Found in the last such time.")
@common_options
@pass_session
def watch_matches(session: Session, name: str | None, since: str | None) -> Result:
    """List the entries that met the watches, or one of them.

    \b
    Example:
        attestor watch matches releases --since 7d
    """

    age = seconds_option(since, "--since", None)
    found = list_matches(session, name, session.now() - int(age) if since else 0)
    lines = [_match_line(one) for one in found] or ["no match"]
    return Result(members(matches=[_match_data(one) for one in found]), "\n".join(lines))


@watch.command("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what it would become.")
@common_options
@delivers_alerts(local_only=True)
@pass_session
def watch_import(session: Session, path: Path, dry_run: bool) -> Result:
    """Take the configuration of rekor-monitor as it is: one watch for each monitored value.

    What has no counterpart here is named with the reason. Patterns that are not anchored
    keep their meaning; what they match besides is shown.

    \b
    Example:
        attestor watch import config.yaml
    """

    done = import_configuration(session, path, progress_bar, dry_run=dry_run)
    verb = "would be added" if dry_run else "added"
    lines = [f"watch {one.name} {verb}: {_conditions(one)}" for one in done.added]
    lines += [f"watch {one} is there already" for one in done.known]
    lines += [f"note: {printable(one)}" for one in done.notes]
    lines += _report_lines(done.report)
    data = members(
        done,
        *("known", "notes"),
        dry_run=dry_run,
        watches=[_watch_data(one) for one in done.added],
        **_report_parts(done.report),
    )
    return Result(data, "\n".join(lines), done.report.said)


@watch.command("export")
@common_options
@pass_session
def watch_export(session: Session) -> Result:
    """Print the watches as a configuration that rekor-monitor loads.

    \b
    Example:
        attestor watch export > config.yaml
    """

    done = export_configuration(session)
    data = members(done, "left_out", configuration=done.text)
    return Result(data, done.text.rstrip("\n"), done.left_out)


def _status_line(one: WatchStatus) -> str:
    behind = f", {one.behind:,} entries behind" if one.behind else ""
    found = "1 match" if one.matches == 1 else f"{one.matches:,} matches"
    return f"{one.watch.name}: {one.watch.severity}, {found}{behind}; {_conditions(one.watch)}"


def _conditions(one: Watch) -> str:
    """Say what a watch is for on a line; a list of its conditions may have thousands."""
    named = ", ".join(
        f"{kind} {text}" for kind, text in islice(condition_texts(one.criteria), _NAMED)
    )
    more = sum(map(len, one.criteria.values())) - _NAMED
    return f"{named} and {more:,} more (attestor watch show {one.name})" if more > 0 else named


def _status_data(one: WatchStatus) -> dict[str, Any]:
    return _watch_data(one.watch) | members(one, "behind", "matches")


def _watch_data(one: Watch) -> dict[str, Any]:
    return members(
        one,
        *("name", "criteria", "severity", "expectations", "unvouched", "added_at"),
        grace_seconds=one.grace,
        from_=one.begins,
    )


def _report_lines(report: WatchReport) -> list[str]:
    lines = [f"{report.compared:,} entries compared, {len(report.found):,} found"]
    lines += [f"  {_match_line(one)}" for one in report.found[:_SHOWN]]
    if report.found[_SHOWN:]:
        lines.append(f"  and {len(report.found) - _SHOWN:,} more: attestor watch matches")
    return lines


def _report_parts(report: WatchReport) -> dict[str, Any]:
    return {"compared": report.compared, "matches": [_match_data(one) for one in report.found]}


def _match_line(one: Match) -> str:
    who = one.entry["identity"] or one.entry["keyFingerprint"] or one.entry["leafHash"]
    return f"{one.origin} {one.entry_index}: {one.finding} by {one.watch}, {printable(who)}"


def _match_data(one: Match) -> dict[str, Any]:
    found = members(one, "watch", "origin", "finding", "found_at", alert=one.alert_number)
    return found | one.entry
