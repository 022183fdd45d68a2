"""publish: have a log elsewhere witness a digest, above all the end of this home's journal."""

from __future__ import annotations

from re import fullmatch
from typing import Final

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.errors import ArgumentError
from appliance.runs.publish import PublishRun, describe, unpublished
from appliance.runs.publish import publish as run_publish
from appliance.runs.session import Session, pass_session
from appliance.runs.sources import URL_VARIABLES
from appliance.tlog.merkle import Hash

_NO_URL: Final = (
    "nothing is published: set publish.rekorUrl, or " + URL_VARIABLES[0] + ", to the base URL of a"
    " backend"
)


@click.command()
@click.argument("digest", required=False)
@click.option("--journal", is_flag=True, help="The end of this home's journal.  [default]")
@click.option(
    "--key", "key_name", metavar="NAME", help="Which publisher key, if there are several."
)
@click.option("--every-events", type=click.IntRange(1), help="Journal: after so many events,")
@click.option("--every-seconds", type=click.IntRange(0), help="or after so many seconds.")
@click.option("--dry-run", is_flag=True, help="Only say what would be published.")
@common_options
@pass_session
def publish(
    session: Session,
    digest: str | None,
    journal: bool,
    key_name: str | None,
    every_events: int | None,
    every_seconds: int | None,
    dry_run: bool,
) -> Result:
    """Sign a digest and log it in the Rekor log that publish.rekorUrl names.

    Without DIGEST (SHA-256, hex) it is the end of the journal, and only once 100 events or
    300 seconds have passed since the last time (publish.everyEvents, publish.everySeconds):
    made for cron. Only digests leave. Without a URL there is a warning and nothing else; a
    failure is a warning, and the same bytes go out again at the next threshold.

    \b
    Example:
        attestor key generate publisher.example --type publisher
        attestor publish
        attestor publish sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """

    if digest is not None and journal:
        raise click.UsageError("DIGEST and --journal exclude each other")
    run = run_publish(
        session,
        digest=None if digest is None else _parse_digest(digest),
        key_name=key_name,
        every_events=every_events,
        every_seconds=every_seconds,
        dry_run=dry_run,
    )
    if not run.configured:
        return Result(members(published=[], configured=False), "", (_NO_URL,))
    if dry_run:
        return _plan(run)
    return _result(run)


def _parse_digest(text: str) -> Hash:

    digits = text.removeprefix("sha256:")
    if not fullmatch("[0-9a-fA-F]{64}", digits):
        raise ArgumentError(
            f"not a SHA-256 digest: expected 64 hex digits, got {digits[:80]!r} ({len(digits)})",
            reason="bad-digest",
            next_step="give what sha256sum prints",
        )
    return Hash(bytes.fromhex(digits))


def _plan(run: PublishRun) -> Result:
    digest = None if run.due is None else f"sha256:{run.due.hex()}"
    data = members(dry_run=True, digest=digest, waiting=run.waiting)
    text = "nothing is due" if digest is None else f"{digest} would be published"
    return Result(data, text)


def _result(run: PublishRun) -> Result:
    if not run.done:
        return Result(members(published=[], configured=True), "nothing is due")
    lines, warnings, data = [], [], []
    for one in run.done:
        index = None if one.entry is None else one.entry.log_index
        state = "refused" if one.for_good else "waiting" if one.entry is None else "logged"
        data.append(
            members(
                digest=f"sha256:{one.publication.digest.hex()}",
                journal_line=one.publication.journal_line,
                state=state,
                origin=run.origin,
                log_index=index,
                reason="" if one.error is None else one.error.reason,
            )
        )
        if one.entry is not None:
            lines.append(f"{describe(one)}: entry {index} of {run.origin}, proven")
        elif one.error is not None and not one.is_final:
            warnings.append(unpublished(one))
    found = members(published=data, configured=True)
    return Result(found, "\n".join(lines), tuple(warnings), run.failures)
