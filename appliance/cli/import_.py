"""import: verify a transfer bundle's every byte, then absorb what each log itself signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.app import App, pass_app
from appliance.cli.output import Result, as_ours, common_options
from appliance.cli.progress import progress_bar
from appliance.cli.senders import delivers_alerts

if TYPE_CHECKING:
    from appliance.errors import ApplianceError
    from appliance.jobs.ingest import IngestedLog, IngestReport

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("import")
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Verify it and say what it would bring.")
@click.option(
    "--insecure-unsigned",
    is_flag=True,
    help="Take it from nobody in particular; recorded, and warned about for ever after.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=1, help="Processes that hash.")
@common_options
@delivers_alerts(local_only=True)
@pass_app
def import_(
    app: App, files: tuple[Path, ...], dry_run: bool, insecure_unsigned: bool, jobs: int
) -> Result:
    """Import transfer bundles: verify every byte, then absorb what each log itself signed.

    Importing one again, or an older one, is harmless, and puts back what rotted here.

    \b
    Example:
        attestor import /media/stick/outside-1.tar
        attestor import --dry-run /media/stick/*.tar
        attestor import --jobs 2 /media/stick/whole-log.tar
    """
    from appliance.cli.exit_codes import EXIT_CODES
    from appliance.cli.settings import read_settings_of
    from appliance.jobs.ingest import Rules, ingest

    reports: list[tuple[Path, IngestReport]] = []
    errors: list[ApplianceError] = []
    with app.writing() as store:
        rules = Rules(read_settings_of(store).threshold, insecure_unsigned, dry_run, jobs)
        for file in files:
            try:
                with progress_bar(f"import {file.name}") as advance:
                    reports.append((file, ingest(store, file, rules, app.now(), advance)))
            except tuple(EXIT_CODES) as error:
                errors.append(_failure(error, file))
    warnings = [
        f"{file.name}: {origin} is not configured here and was skipped"
        for file, report in reports
        for origin in report.skipped
    ]
    if insecure_unsigned:
        warnings.append("nobody's signature was checked (--insecure-unsigned); this is recorded")
    for file, report in reports:
        warnings.extend(_coverage_warnings(file, report))
        for log in report.logs:
            said = log.report.warnings if log.report else ()
            warnings.extend(f"{file.name}: {log.origin}: {one}" for one in said)
        errors.extend(_failure(error, file) for error in report.errors)
    text = "\n".join(_import_text(file, report, dry_run) for file, report in reports)
    data = {"dryRun": dry_run, "imports": [_import_data(*one) for one in reports]}
    return Result(data, text, tuple(warnings), tuple(errors))


def _failure(error: Exception, file: Path) -> ApplianceError:
    """Say which file it is, and what helps if damage explains it."""
    from bundles.errors import BundleError

    ours = as_ours(error, prefix=f"{file}: ")
    damaged = isinstance(error, BundleError) or ours.reason == "bad-signature"
    if damaged and not ours.next_step:
        ours.next_step = "copy the file to the medium again, and compare its SHA-256"
    return ours


def _import_text(file: Path, report: IngestReport, dry_run: bool) -> str:
    signers = ", ".join(report.signers) or "nobody (not checked)"
    head = f"{file.name}: from {report.manifest.site}, signed by {signers}"
    if report.already:
        head += ", already have it"
    return "\n".join([head, *(_ingested_line(log, dry_run) for log in report.logs)])


def _ingested_line(log: IngestedLog, dry_run: bool) -> str:
    old = "nothing" if log.old_size is None else f"{log.old_size:,}"
    if dry_run or log.report is None:
        return f"  {log.origin}: holds {old}, would bring {log.need:,} tiles and entry bundles"
    new = "nothing" if log.report.mirror_size is None else f"{log.report.mirror_size:,}"
    healed = f"; {log.healed:,} damaged here, put back" if log.healed else ""
    if old == new and not log.need:
        return f"  {log.origin}: no change, {new}{healed}"
    return (
        f"  {log.origin}: {old} -> {new} ({log.report.relation.value}; {log.report.tiles:,} tiles,"
        f" {log.report.entry_bundles:,} entry bundles new{healed})"
    )


def _import_data(file: Path, report: IngestReport) -> dict[str, Any]:
    return {
        "file": str(file),
        "bundleId": report.bundle_id,
        "sha256": report.sha256,
        "signers": list(report.signers),
        "already": report.already,
        "total": report.total,
        "skipped": list(report.skipped),
        "volume": [report.manifest.volume.number, report.manifest.volume.of],
        "volumesToCome": list(report.to_come),
        "logs": [
            {
                "origin": log.origin,
                "oldSize": log.old_size,
                "newSize": log.report.mirror_size if log.report else log.old_size,
                "acceptedSize": log.report.accepted_size if log.report else None,
                "relation": log.report.relation.value if log.report else None,
                "need": log.need,
                "healed": log.healed,
                "fill": log.fill,
                "change": bool(log.report and (log.need or log.old_size != log.report.mirror_size)),
            }
            for log in report.logs
        ],
    }


def _coverage_warnings(file: Path, report: IngestReport) -> list[str]:
    """Name what is still to come, or the gap and the command that fills it."""
    if report.to_come:
        volume = report.manifest.volume
        missing = ", ".join(map(str, report.to_come))
        return [
            f"{file.name} is volume {volume.number} of {volume.of}; still to come: {missing}."
            " If one is lost, export again"
        ]
    return [
        f"{file.name}: {log.origin} is proven up to {log.report.accepted_size:,} but not every"
        f" tile is here; the far side fills the gap with: {log.fill}"
        for log in report.logs
        if log.report and log.fill
    ]
