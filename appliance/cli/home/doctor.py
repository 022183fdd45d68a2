"""doctor: what is wrong with this home and its host."""

from __future__ import annotations

import click

from appliance.cli.checks import checks_result
from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.jobs.home.clock import reset_clock
from appliance.runs.doctor import examine_home
from appliance.runs.session import Session, pass_session
from appliance.times import utc


@click.command()
@click.option(
    "--reset-clock",
    "reset_reason",
    metavar="REASON",
    help="The clock was ahead and is right now: bring what was recorded then back to it.",
)
@click.option(
    "--signed-too",
    is_flag=True,
    help="With --reset-clock: also what somebody else signed, whose clock was ahead.",
)
@common_options
@pass_session
def doctor(session: Session, reset_reason: str | None, signed_too: bool) -> Result:
    """Check Python, SQLite, files, clock, keys, room and the health of all; change nothing.

    The exit code is that of the worst finding; warnings are none.

    No time that is recorded ever decreases, and ages are counted from no earlier time than
    the newest of them. A home whose clock was ahead once therefore waits for that time to
    come; --reset-clock, once the clock is right, is the one way out. It is written into the
    journal. While somebody else's signature is later than the clock, the clock is not right yet,
    and it is refused (8).

    \b
    Example:
        attestor doctor
        attestor doctor --reset-clock "battery replaced, set by radio clock"
    """

    if reset_reason is not None:
        return _reset_clock(session, reset_reason, signed_too=signed_too)
    if signed_too:
        raise click.UsageError("--signed-too goes with --reset-clock REASON")
    return checks_result(examine_home(session))


def _reset_clock(session: Session, reason: str, *, signed_too: bool) -> Result:
    clock = session.clock
    before, now = clock.floor, clock.system()
    with session.writing() as store, store.atomic():
        changed = reset_clock(store, now, reason, signed_too=signed_too)
    was = "nothing" if before is None else f"{utc(before.at)} ({before.source})"
    text = (
        f"the clock counts from {utc(now)} again; until now it was held at {was};"
        f" {changed:,} recorded times were later and are {utc(now)} now"
    )
    data = members(now=now, before=None if before is None else utc(before.at))
    return Result(data | members(changed=changed), text)
