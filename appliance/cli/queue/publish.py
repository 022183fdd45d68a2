"""publish: have a log elsewhere witness a digest, above all the end of this home's journal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from appliance.cli.output import Result, common_options
from appliance.runs.app import App, pass_app

if TYPE_CHECKING:
    from appliance.jobs.queue.publish import Published, Thresholds
    from appliance.store.database import Store
    from appliance.tlog.merkle import Hash

URL_VARIABLE: Final = "ATTESTOR_REKOR_URL"
_NO_URL: Final = (
    "nothing is published: set publish.rekorUrl, or " + URL_VARIABLE + ", to the base URL of a"
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
@pass_app
def publish(
    app: App,
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
    from appliance.jobs.queue.publish import Thresholds

    if digest is not None and journal:
        raise click.UsageError("DIGEST and --journal exclude each other")
    wanted = None if digest is None else _parse_digest(digest)
    with app.queueing() as store:
        url, setting, events, seconds = _settings(store)
        if url is None:
            return Result({"published": [], "configured": False}, "", (_NO_URL,))
        thresholds = Thresholds(
            events if every_events is None else every_events,
            seconds if every_seconds is None else every_seconds,
        )
        return _publish(app, store, (url, setting), wanted, thresholds, key_name, dry_run=dry_run)


def _publish(
    app: App,
    store: Store,
    target: tuple[str, str],
    wanted: Hash | None,
    thresholds: Thresholds,
    key_name: str | None,
    *,
    dry_run: bool,
) -> Result:
    from appliance.fetch.http import HttpClient
    from appliance.jobs.queue import publish as job
    from appliance.jobs.queue.settings import require_server
    from appliance.runs.publisher import require_publisher_key
    from appliance.runs.settings import read_settings_of
    from appliance.runs.sources import open_server

    backend = require_server(store, *target)
    due = None if wanted is not None else job.journal_due(store, thresholds, app.now())
    is_due = wanted is not None or due is not None
    waiting = job.to_retry(store, backend.log, thresholds, app.now(), is_due=is_due)
    if dry_run:
        return _plan(wanted, due.digest if due else None, len(waiting))
    if not waiting and not is_due:
        return Result({"published": [], "configured": True}, "nothing is due")
    if is_due:
        key = require_publisher_key(app, key_name)
        digest, line = (wanted, None) if due is None else (due.digest, due.id)
        if digest is not None:
            waiting.append(
                job.prepare_publication(store, backend.log, key, digest, line, app.now())
            )
    settings = read_settings_of(store)
    with HttpClient(settings.http, clock=app.monotonic, sleep=app.sleep) as http:
        server = open_server(http, backend)
        done = [job.publish(store, server, one, app.now()) for one in waiting]
    return _result(done, backend.log.origin)


def publish_if_due(app: App) -> tuple[str, ...]:
    """Publish the journal after another command, if that is configured; return its warnings.

    Whatever goes wrong is a warning: what the command itself did stands.
    """
    from appliance.errors import ApplianceError
    from appliance.jobs.queue.publish import Thresholds

    try:
        with app.queueing() as store:
            url, setting, events, seconds = _settings(store)
            if url is None:
                return ()
            thresholds = Thresholds(events, seconds)
            result = _publish(app, store, (url, setting), None, thresholds, None, dry_run=False)
    except ApplianceError as error:
        return (f"publish: {error.message}",)
    return (*result.warnings, *(f"publish: {error.message}" for error in result.errors))


def _settings(store: Store) -> tuple[str | None, str, int, float]:
    """Return URL, what set it, and the thresholds: the environment goes before the store."""
    from appliance.config.durations import parse_duration
    from appliance.store.home.settings import read_settings

    stored = read_settings(store)
    given = os.environ.get(URL_VARIABLE)
    url, setting = (given, URL_VARIABLE) if given else (stored.get(_URL), _URL)
    seconds = stored.get("publish.everySeconds", 300)
    if isinstance(seconds, str):
        seconds = float(parse_duration(seconds))
    return url, setting, int(stored.get("publish.everyEvents", 100)), seconds


_URL: Final = "publish.rekorUrl"


def _parse_digest(text: str) -> Hash:
    from re import fullmatch

    from appliance.errors import MalformedError
    from appliance.tlog.merkle import Hash

    digits = text.removeprefix("sha256:")
    if not fullmatch("[0-9a-fA-F]{64}", digits):
        raise MalformedError(
            f"not a SHA-256 digest: expected 64 hex digits, got {digits[:80]!r} ({len(digits)})",
            reason="bad-digest",
        )
    return Hash(bytes.fromhex(digits))


def _plan(wanted: Hash | None, due: Hash | None, waiting: int) -> Result:
    digest = wanted or due
    data = {
        "dryRun": True,
        "digest": None if digest is None else f"sha256:{digest.hex()}",
        "waiting": waiting,
    }
    text = "nothing is due" if digest is None else f"sha256:{digest.hex()} would be published"
    return Result(data, text)


def _result(done: list[Published], origin: str) -> Result:
    from appliance.errors import VerificationError

    lines, warnings, errors, data = [], [], [], []
    for one in done:
        digest = f"sha256:{one.publication.digest.hex()}"
        line = one.publication.journal_line
        what = digest if line is None else f"{digest} (journal, line {line})"
        index = None if one.entry is None else one.entry.log_index
        state = "refused" if one.for_good else "waiting" if one.entry is None else "logged"
        data.append(
            {
                "digest": digest,
                "journalLine": line,
                "state": state,
                "origin": origin,
                "logIndex": index,
                "reason": "" if one.error is None else one.error.reason,
            }
        )
        if one.entry is not None:
            lines.append(f"{what}: entry {index} of {origin}, proven")
        elif isinstance(one.error, VerificationError) or (one.error and one.for_good):
            errors.append(one.error)
        elif one.error is not None:
            warnings.append(f"{what} is not published yet: {one.error.message}")
    text = "\n".join(lines)
    return Result({"published": data, "configured": True}, text, tuple(warnings), tuple(errors))
