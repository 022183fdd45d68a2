"""report: everything on one page that checks itself, and checking such a page."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.page_file import FILE, write_page
from appliance.errors import (
    ApplianceError,
    DigestError,
    IncompleteError,
    MalformedError,
    ProofError,
)
from appliance.report.page import MAX_PAGE_BYTES, data_of, maker_of, page, page_maker
from appliance.report.page_check import page_checks, shaped
from appliance.runs.exit_codes import naming
from appliance.runs.report import REDACTABLE, report_data
from appliance.runs.session import Session, pass_session
from appliance.store.files import read_foreign
from appliance.times import utc
from appliance.version import __version__


@click.group("report", cls=LazyGroup, invoke_without_command=True)
@click.option("--html", type=FILE, help="Write the page here; what is there is replaced.")
@click.option(
    "--redact",
    metavar="LIST",
    default=",".join(REDACTABLE),
    show_default=True,
    help="What to leave out, with commas between; or none.",
)
@common_options
@pass_session
def report(session: Session, html: Path | None, redact: str) -> Result:
    """Say everything about this home on one page, made for a person who has to sign off.

    Logs, health, coverage, what left and arrived, alerts and their evidence, verdicts, queue,
    trusted roots. The page needs no network and no server: it holds the signed notes, keys
    and proofs, and verifies them in the browser. It prints what that shows and what it
    cannot. --json prints the data that the page is made of.

    \b
    Example:
        attestor report --html report.html
        attestor report --html report.html --redact none
        attestor report verify report.html
    """

    data = report_data(session, _redacted(redact))
    lines = [f"{data['site']}: {data['health']}, {utc(data['madeAt'])}"]
    lines += [f"  {one['severity']}: {one['text']}" for one in data["problems"]]
    for log in data["logs"]:
        size = "nothing accepted yet" if log["treeSize"] is None else f"{log['treeSize']:,} entries"
        lines.append(f"  {log['origin']}: {size}")
    if html is None:
        return Result(data, "\n".join([*lines, "for the page: attestor report --html FILE"]))
    done = write_page(session, html, data)
    lines.append(done.line)
    told = data | members(output=str(html), sha256=done.digest)
    return Result(told, "\n".join(lines), done.warnings)


@report.command("verify")
@click.argument("file", type=FILE)
@common_options
@pass_session
def report_verify(session: Session, file: Path) -> Result:
    """Check a page without a browser: every proof in it, and that nothing was put into it.

    The page is made anew from its data and compared byte for byte, so its script and what
    it shows are ours. Compare the keys that are printed with ones that came another way:
    whoever made the page chose them. Needs no home.

    \b
    Example:
        attestor report verify report.html
    """

    with naming(file):
        raw = read_foreign(file, MAX_PAGE_BYTES)
        return verified_page(file, raw)


def verified_page(file: Path, raw: bytes) -> Result:
    """Check a page; raises MalformedError for what is none."""
    data = data_of(raw)
    found = page_checks(data)
    errors: list[ApplianceError] = [
        ProofError(f"{file}: {one.what}: {one.why}", reason="report-check", next_step=_DO_NOT)
        for one in found
        if one.is_good is False
    ]
    if not errors:
        errors += _compare(file, raw, data)
    with shaped():
        keys, made_at = _keys(data), utc(data["madeAt"])
        site = data["site"]
    good = sum(1 for one in found if one.is_good)
    unknown = sum(1 for one in found if one.is_good is None)
    lines = [
        f"{file}: report of {site}, {made_at}",
        f"  {good} of {len(found)} checks are good"
        + (f", {unknown} cannot be told from what is in it" if unknown else ""),
        *(f"  ? {one.what}: {one.why}" for one in found if one.is_good is None),
        *(f"  key of {key['name']}: SHA-256 {key['fingerprint']}" for key in keys),
        f"  SHA-256 of the page {sha256(raw).hexdigest()}",
    ]
    told = members(
        site=site,
        made_at=data["madeAt"],
        checks=[members(one, "what", "why", good=one.is_good) for one in found],
        keys=keys,
        sha256=sha256(raw).hexdigest(),
    )
    return Result(told, "\n".join(lines), errors=tuple(errors))


_DO_NOT = "do not use it; have the page written again, and compare its SHA-256"


def _compare(file: Path, raw: bytes, data: dict[str, Any]) -> list[ApplianceError]:
    """Compare a page with what its data makes here."""
    try:
        # What it says made it is shown to nobody; by that alone it is no other page.
        made = page(data, maker_of(raw))
    except MalformedError as error:
        error.next_step = _DO_NOT
        return [error]
    if made == raw:
        return []
    if not isinstance(data.get("version"), str) or not data["version"]:
        text = f"{file}: not a report: it does not say what version wrote it"
        return [MalformedError(text, reason="not-a-report", next_step=_DO_NOT)]
    if data["version"] != __version__:
        return [
            IncompleteError(
                f"{file}: written by Attestor {data['version']}, this is {__version__}: its"
                " proofs are good, its text and script were not compared",
                reason="other-version",
                next_step="verify it with that version",
            )
        ]
    # Whoever changes a page can change this, too, as he could the version: it is no yes.
    if maker_of(raw) != page_maker():
        return [
            IncompleteError(
                f"{file}: written by another build of Attestor {__version__}: its proofs are"
                " good, its text and script were not compared",
                reason="other-version",
                next_step="verify it with the program that wrote it, or have it written again",
            )
        ]
    text = f"{file}: it is not the page that its data makes: text or script was changed"
    return [DigestError(text, reason="report-changed", next_step=_DO_NOT)]


def _keys(data: dict[str, Any]) -> list[dict[str, Any]]:
    keys = {}
    for of in (*data.get("logs", ()), *(one["proof"] for one in data.get("verdicts", ()))):
        for key in of["keys"] if of else ():
            keys[key["fingerprint"]] = members(name=key["name"], fingerprint=key["fingerprint"])
    return list(keys.values())


def _redacted(text: str) -> tuple[str, ...]:
    wanted = tuple(one for one in text.split(",") if one and one != "none")
    if unknown := [one for one in wanted if one not in REDACTABLE]:
        raise click.BadParameter(
            f"{unknown[0]!r} is none of {', '.join(REDACTABLE)}, none", param_hint="--redact"
        )
    return wanted
