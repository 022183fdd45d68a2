"""verdicts: what verify --record remembered, and judging all of it again."""

from __future__ import annotations

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.table import table, table_time
from appliance.runs.session import Session, pass_session
from appliance.runs.verdicts import recheck
from appliance.store.verify.verdicts import recorded_verdicts


@click.group(cls=LazyGroup)
def verdicts() -> None:
    """Verdicts that 'verify --record' remembered.

    \b
    Example:
        attestor verdicts list
    """


@verdicts.command("list")
@click.option("--failed", is_flag=True, help="Only those that did not verify.")
@common_options
@pass_session
def verdicts_list(session: Session, failed: bool) -> Result:
    """List the recorded verdicts, oldest first.

    \b
    Example:
        attestor verdicts list --failed
    """

    with session.reading() as store:
        found = [one for one in recorded_verdicts(store) if one.code or not failed]
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
    return Result(
        members(verdicts=data), "\n".join(lines) or "none: 'attestor verify --record' keeps them"
    )


@verdicts.command("recheck")
@common_options
@pass_session
def verdicts_recheck(session: Session) -> Result:
    """Judge every recorded verdict again, with today's trusted root and mirror.

    Ends with the worst code among those that changed for the worse; 0 if none did.

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
    lines.append(f"{done.judged} verdicts judged again, {len(changes)} changed")
    return Result(members(judged=done.judged, changed=changes), "\n".join(lines), (), done.worse)
