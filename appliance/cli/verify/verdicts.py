"""verdicts: what verify --record remembered, and judging all of it again."""

from __future__ import annotations

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.options import seconds_option
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table, table_time
from appliance.runs.session import Session, pass_session
from appliance.runs.verdicts import prune_verdicts, recheck
from appliance.store.verify.verdicts import RecordedVerdict, UnreadVerdict, recorded_verdicts


@click.group(cls=LazyGroup)
def verdicts() -> None:
    """Verdicts that 'verify --record' remembered.

    \b
    Example:
        attestor verdicts list
    """


@verdicts.command("list")
@click.option("--failed", is_flag=True, help="Only those that did not verify.")
@headings_option
@common_options
@pass_session
def verdicts_list(session: Session, failed: bool) -> Result:
    """List the recorded verdicts, oldest first; one that is damaged here is an error (6) beside it.

    \b
    Example:
        attestor verdicts list --failed
    """

    with session.reading() as store:
        every = tuple(recorded_verdicts(store))
    unread = [one for one in every if isinstance(one, UnreadVerdict)]
    found = [one for one in every if isinstance(one, RecordedVerdict) and (one.code or not failed)]
    data = [
        members(
            one,
            "id",
            "at",
            "artifact",
            "reason",
            "coverage",
            exit_code=one.code,
            trust_root_digest=one.root_digest or None,
            demands=one.demands,
        )
        for one in found
    ]
    rows = (
        (
            *(str(one.id), table_time(one.at), "yes" if not one.code else f"no: {one.reason}"),
            *(one.coverage, one.artifact),
        )
        for one in found
    )
    lines = table(("Id", "Time (UTC)", "Verified", "Mirror", "Artifact"), rows, right=("Id",))
    none = "" if unread else "none: 'attestor verify --record' keeps them"
    text = "\n".join(lines) or none
    return Result(members(verdicts=data), text, (), tuple(one.error for one in unread))


@verdicts.command("recheck")
@common_options
@pass_session
def verdicts_recheck(session: Session) -> Result:
    """Judge every recorded verdict again, with today's trusted root and mirror.

    Each as it was asked, with its demands; one under a --trusted-root is judged under that.
    Ends with the worst code among those that changed for the worse, or that could not be
    judged since what was recorded with them cannot be read; 0 if there is none.

    \b
    Example:
        attestor verdicts recheck
    """

    done, verified = recheck(session), "verified"
    lines = [
        f"{one.after.artifact}: {one.before.reason or verified} -> {one.after.reason or verified}"
        for one in done.changed
    ]
    changes = [
        members(
            one.before,
            "id",
            "artifact",
            before=one.before.reason or None,
            after=one.after.reason or None,
        )
        for one in done.changed
    ]
    unread = [members(one, "id", "artifact", reason=one.error.reason) for one in done.unread]
    count = f", {len(unread)} could not be" if unread else ""
    lines.append(f"{done.judged} verdicts judged again, {len(changes)} changed{count}")
    data = members(judged=done.judged, changed=changes, not_judged=unread)
    return Result(data, "\n".join(lines), (), done.worse)


@verdicts.command("prune")
@click.option("--older-than", metavar="DURATION", required=True, help="Judged before, e.g. 8760h.")
@click.option("--dry-run", is_flag=True, help="Only say how many would go.")
@common_options
@pass_session
def verdicts_prune(session: Session, older_than: str, dry_run: bool) -> Result:
    """Forget recorded verdicts that were judged last that long ago; the journal keeps their lines.

    Refused (8) while a log is quarantined: what was verified under it has to be known then.

    \b
    Example:
        attestor verdicts prune --older-than 8760h
    """

    seconds = int(seconds_option(older_than, "--older-than", None))
    count = prune_verdicts(session, seconds, dry_run=dry_run)
    verb = "would be forgotten" if dry_run else "forgotten"
    return Result(members(dry_run=dry_run, pruned=count), f"{count:,} verdicts {verb}")
