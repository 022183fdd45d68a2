"""import: verify a transfer bundle's every byte, then absorb what each log itself signed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options, delivers_alerts
from appliance.cli.progress import progress_bar
from appliance.cli.transfer.export_options import printable
from appliance.jobs.queue.round_trip import Absorbed
from appliance.jobs.transfer.ingest import IngestReport
from appliance.jobs.transfer.ingest_log import IngestedLog
from appliance.jobs.transfer.receipt_text import parse_receipt, volumes_text
from appliance.runs.import_ import ImportedFile, ImportOptions, ImportRun, import_files
from appliance.runs.session import Session, pass_session
from appliance.tlog.note import parse_note

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("import")
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Verify it and say what it would bring.")
@click.option(
    "--insecure-unsigned",
    is_flag=True,
    help="Take it from nobody in particular; recorded, and warned about from then on.",
)
@click.option(
    "--receipt-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where the receipt goes.  [default: receipts/ in the home]",
)
@click.option(
    "--handler",
    default="",
    help="Who imports it: stands on the receipt and in the custody list, also if it is refused.",
)
@click.option("--no-index", is_flag=True, help="Leave indexing to 'attestor index build'.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, help="Processes that hash.")
@common_options
@delivers_alerts(local_only=True)
@pass_session
def import_(
    session: Session,
    files: tuple[Path, ...],
    dry_run: bool,
    insecure_unsigned: bool,
    receipt_dir: Path | None,
    handler: str,
    no_index: bool,
    jobs: int,
) -> Result:
    """Import transfer bundles: verify every byte, then absorb what each log itself signed.

    Importing a bundle again, or an older one, is harmless, and puts back what rotted here. The
    receipt, or its code by phone, lets the other side send only what is new next time.

    \b
    Example:
        attestor import /media/stick/outside-1.tar
        attestor import --receipt-dir /media/stick --handler "A. Courier" /media/stick/*.tar
        attestor import --dry-run /media/stick/*.tar
        attestor import --jobs 2 /media/stick/whole-log.tar
    """

    printable("--handler", handler)
    options = ImportOptions(
        dry_run, insecure_unsigned, receipt_dir, handler, jobs, indexes=not no_index
    )
    run = import_files(session, files, options, progress_bar)
    warnings = [*_skipped(run), *run.warnings]
    for file in run.files:
        warnings += [f"{file.path.name}: {warning}" for warning in _warnings(file.report)]
    text = "\n".join(_import_text(file, dry_run) for file in run.files)
    data = members(dry_run=dry_run, imports=[_import_data(file) for file in run.files])
    return Result(data, text, tuple(warnings), run.errors)


def _skipped(run: ImportRun) -> list[str]:
    return [
        f"{file.path.name}: {origin} is not configured here and was skipped"
        for file in run.files
        for origin in file.report.skipped
    ]


def _warnings(report: IngestReport) -> Iterator[str]:
    yield from report.side.said
    yield from report.side.found.said
    yield from report.warnings
    yield from _rejected(report)
    for id_ in report.side.proofs.refused if report.side.proofs else ():
        yield (
            f"item {id_[:12]} will not be logged by {report.manifest.site}: see 'attestor queue"
            f" show {id_[:12]}'; then queue retry or cancel it"
        )
    yield from _coverage_warnings(report)
    for log in report.logs:
        for warning in log.report.warnings if log.report else ():
            yield f"{log.origin}: {warning}"
        if log.windows.unproven:
            yield (
                f"{log.origin}: {log.windows.unproven:,} entries of windows are not kept: nothing"
                " here proves them in the tree that was accepted; export them again on the other"
                " side: attestor export --base all"
            )


def _rejected(report: IngestReport) -> list[str]:
    """Say which queue items were not taken, and why."""
    found = (report.side.pending, report.side.proofs)
    return [
        f"item {one.id[:12]} is not taken: {one.error.message}"
        for absorbed in found
        if absorbed
        for one in absorbed.untaken
    ]


def _absorbed_data(absorbed: Absorbed | None) -> dict[str, Any] | None:
    if absorbed is None:
        return None
    return members(
        absorbed,
        "taken",
        "known",
        "refused",
        rejected=[members(one.error, "reason", "message", id=one.id) for one in absorbed.rejected],
    )


def _code(report: IngestReport) -> str | None:

    if report.receipt is None:
        return None
    return parse_receipt(parse_note(report.receipt).text).code


def _import_text(imported: ImportedFile, dry_run: bool) -> str:
    file, report, receipt = imported.path, imported.report, imported.receipt
    signers = ", ".join(report.signers) or "nobody (not checked)"
    head = f"{file.name}: from {report.manifest.site}, signed by {signers}"
    if report.already:
        head += ", already have it"
    lines = [head, *(_ingested_line(log, dry_run) for log in report.logs)]
    for what, absorbed in (("queued", report.side.pending), ("proven", report.side.proofs)):
        if absorbed is not None:
            known = f", {len(absorbed.known)} known before" if absorbed.known else ""
            no = f", refused there {len(absorbed.refused)}" if absorbed.refused else ""
            lines.append(f"  items {what}: {len(absorbed.taken)}{known}{no}")
    found = report.side.found
    if found.expected or found.cancelled:
        lines.append(f"  expected: {found.expected} new, {found.cancelled} cancelled over there")
    lines += [f"  watch {one}" for one in found.watches]
    lines += [f"  statement statements/{one.digest}.note" for one in found.statements]
    if receipt is not None:
        lines += [f"  receipt {receipt}", f"  by phone {_code(report)}"]
    return "\n".join(lines)


def _ingested_line(log: IngestedLog, dry_run: bool) -> str:
    old = "nothing" if log.old_size is None else f"{log.old_size:,}"
    if dry_run or log.report is None:
        have = log.offered - log.need
        return (
            f"  {log.origin}: holds {old}; of tiles and entry bundles total {log.offered:,},"
            f" have {have:,}, need {log.need:,}"
        )
    new = "nothing" if log.new_size is None else f"{log.new_size:,}"
    proven = log.report.accepted_size
    ahead = "" if log.new_size == proven else f", proven up to {proven:,}"
    healed = f"; {log.healed:,} damaged here, put back" if log.healed else ""
    windows = f"; {log.windows.new:,} entries of windows new" if log.windows.new else ""
    if old == new and not log.need:
        return f"  {log.origin}: no change, {new}{ahead}{healed}{windows}"
    return (
        f"  {log.origin}: {old} -> {new}{ahead} ({log.report.relation.value};"
        f" {log.report.tiles:,} tiles, {log.report.entry_bundles:,} entry bundles new"
        f"{healed}{windows})"
    )


def _import_data(imported: ImportedFile) -> dict[str, Any]:
    file, report, receipt = imported.path, imported.report, imported.receipt
    return members(
        report,
        "bundle_id",
        "sha256",
        "signers",
        "already",
        "total",
        "skipped",
        file=file,
        volume=[report.manifest.volume.number, report.manifest.volume.of],
        pending=_absorbed_data(report.side.pending),
        proofs=_absorbed_data(report.side.proofs),
        expected=report.side.found.expected,
        watches=report.side.found.watches,
        statements=[one.digest for one in report.side.found.statements],
        receipt=str(receipt) if receipt else None,
        receipt_code=_code(report),
        volumes_to_come=report.to_come,
        logs=[
            members(
                log,
                "origin",
                "old_size",
                "need",
                "healed",
                "fill",
                new_size=log.new_size,
                accepted_size=log.report.accepted_size if log.report else None,
                relation=log.report.relation if log.report else None,
                total=log.offered,
                have=log.offered - log.need,
                change=log.is_change,
                windows=members(log.windows, "offered", "new", "unproven"),
            )
            for log in report.logs
        ],
    )


def _coverage_warnings(report: IngestReport) -> list[str]:
    """Name what is still to come, or the gap and the command that fills it."""
    if report.to_come:
        volume = report.manifest.volume
        missing = volumes_text(report.to_come)
        return [
            f"it is volume {volume.number} of {volume.of}; still to come: {missing}."
            " If one is lost, export again"
        ]
    return [_gap(log) for log in report.logs if log.fill]


def _gap(log: IngestedLog) -> str:
    size, proven = log.new.tree_size if log.new else 0, log.report and log.report.accepted_size
    if log.missing_entries:
        said = (
            f"{log.origin}: of its entries those from {size - log.missing_entries:,} on are not"
            f" all here, up to {size:,}"
        )
    else:
        said = (
            f"{log.origin} is proven up to {proven:,} but not every tile is here, as after"
            " 'export --for', which needs no more"
        )
    return f"{said}; the far side fills the gap with: {log.fill}"
