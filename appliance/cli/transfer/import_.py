"""import: verify a transfer bundle's every byte, then absorb what each log itself signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.output import Result, as_ours, common_options
from appliance.cli.progress import progress_bar
from appliance.cli.transfer.export import printable
from appliance.runs.app import App, pass_app
from appliance.runs.tell import delivers_alerts

if TYPE_CHECKING:
    from collections.abc import Callable

    from appliance.errors import ApplianceError
    from appliance.jobs.queue.round_trip import Absorbed
    from appliance.jobs.transfer.ingest import IngestReport
    from appliance.jobs.transfer.ingest_log import IngestedLog

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("import")
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Verify it and say what it would bring.")
@click.option(
    "--insecure-unsigned",
    is_flag=True,
    help="Take it from nobody in particular; recorded, and warned about for ever after.",
)
@click.option(
    "--receipt-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where the receipt goes.  [default: receipts/ in the home]",
)
@click.option("--handler", default="", help="Who imports it: stands on the receipt.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, help="Processes that hash.")
@common_options
@delivers_alerts(local_only=True)
@pass_app
def import_(
    app: App,
    files: tuple[Path, ...],
    dry_run: bool,
    insecure_unsigned: bool,
    receipt_dir: Path | None,
    handler: str,
    jobs: int,
) -> Result:
    """Import transfer bundles: verify every byte, then absorb what each log itself signed.

    Importing one again, or an older one, is harmless, and puts back what rotted here. The
    receipt, or its code by phone, lets the other side send only what is new next time.

    \b
    Example:
        attestor import /media/stick/outside-1.tar
        attestor import --receipt-dir /media/stick --handler "A. Courier" /media/stick/*.tar
        attestor import --dry-run /media/stick/*.tar
        attestor import --jobs 2 /media/stick/whole-log.tar
    """
    from appliance.jobs.transfer.ingest import Rules, ingest
    from appliance.runs.drain import nowhere_to_send
    from appliance.runs.exit_codes import EXIT_CODES
    from appliance.runs.settings import read_settings_of
    from appliance.store.home.settings import SITE_NAME, site_fact
    from appliance.store.transfer.unsigned import unsigned_imports

    printable("--handler", handler)
    reports: list[tuple[Path, IngestReport]] = []
    receipts: dict[Path, Path | None] = {}
    failed: dict[Path, ApplianceError] = {}
    errors: list[ApplianceError] = []
    with app.writing() as store:
        site = site_fact(store, SITE_NAME) or ""
        sign = _signer(app, site)
        threshold = read_settings_of(store).threshold
        rules = Rules(threshold, insecure_unsigned, dry_run, jobs, sign, site, handler)
        # What another file has to come before is tried again after it: any order will do.
        waiting = list(files)
        while waiting:
            before = len(reports)
            for file in waiting:
                try:
                    with progress_bar(f"import {file.name}") as advance:
                        reports.append((file, ingest(store, file, rules, app.now(), advance)))
                    failed.pop(file, None)
                    if not dry_run:
                        receipts[file] = _write_receipt(app, reports[-1][1], receipt_dir)
                except tuple(EXIT_CODES) as error:
                    failed[file] = _failure(error, file)
            late = [file for file in waiting if file in failed and _comes_too_early(failed[file])]
            waiting = late if len(reports) > before and not dry_run else []
        errors += failed.values()
        unsigned = unsigned_imports(store)
    warnings = [
        f"{file.name}: {origin} is not configured here and was skipped"
        for file, report in reports
        for origin in report.skipped
    ]
    if insecure_unsigned:
        warnings.append("nobody's signature was checked (--insecure-unsigned); this is recorded")
    elif unsigned:
        warnings.append(str(unsigned))
    if sign is None and not dry_run:
        warnings.append(
            "no receipt: this home has no site key; make one: attestor init --site NAME"
        )
    if not dry_run and any(report.besides.pending for _, report in reports):
        warnings.extend(nowhere_to_send(app))
    for file, report in reports:
        warnings.extend(f"{file.name}: {one}" for one in report.besides.said)
        warnings.extend(f"{file.name}: {one}" for one in _rejected(report))
        warnings.extend(_coverage_warnings(file, report))
        for log in report.logs:
            said = log.report.warnings if log.report else ()
            warnings.extend(f"{file.name}: {log.origin}: {one}" for one in said)
        errors.extend(_failure(error, file) for error in report.errors)
    text = "\n".join(
        _import_text(file, report, dry_run, receipts.get(file)) for file, report in reports
    )
    imports = [_import_data(*one, receipts.get(one[0])) for one in reports]
    data = {"dryRun": dry_run, "imports": imports}
    return Result(data, text, tuple(warnings), tuple(errors))


def _signer(app: App, site: str) -> Callable[[str], bytes] | None:
    from appliance.store.home.key_files import has_signing_key, load_signing_key
    from appliance.tlog.note import sign_note

    if not site or not has_signing_key(app.home, site):
        return None
    key = load_signing_key(app.home, site)
    return lambda text: sign_note(text, [key])


def _write_receipt(app: App, report: IngestReport, directory: Path | None) -> Path | None:
    """Write the receipt; it is in the store already, so importing again writes it again."""
    from appliance.store.files import create_directory, written_whole

    if report.receipt is None:
        return None
    if directory is None:
        directory = app.home / "receipts"
        create_directory(directory)
    path = directory / f"receipt-{report.bundle_id}.note"
    with written_whole(path, replace=True) as file:
        file.write(report.receipt)
    return path


def _rejected(report: IngestReport) -> list[str]:
    """Say which queue items were not taken, and why."""
    found = (report.besides.pending, report.besides.proofs)
    return [
        f"item {one.id[:12]} is not taken: {one.error.message}"
        for absorbed in found
        if absorbed
        for one in absorbed.rejected
        if one.error.reason != "unknown-item"  # of another site: what comes back is for all
    ]


def _absorbed_data(absorbed: Absorbed | None) -> dict[str, Any] | None:
    if absorbed is None:
        return None
    return {
        "taken": list(absorbed.taken),
        "known": list(absorbed.known),
        "rejected": [
            {"id": one.id, "reason": one.error.reason, "message": one.error.message}
            for one in absorbed.rejected
        ],
    }


def _comes_too_early(error: ApplianceError) -> bool:
    return error.reason in ("missing-base", "not-in-bundle")


def _code(report: IngestReport) -> str | None:
    from appliance.jobs.transfer.receipt_text import parse_receipt
    from appliance.tlog.note import parse_note

    if report.receipt is None:
        return None
    return parse_receipt(parse_note(report.receipt).text).code


def _failure(error: Exception, file: Path) -> ApplianceError:
    """Say which file it is, and what helps if damage explains it."""
    from bundles.errors import BundleError

    ours = as_ours(error, prefix=f"{file}: ")
    damaged = isinstance(error, BundleError) or ours.reason == "bad-signature"
    if damaged and not ours.next_step:
        ours.next_step = "copy the file to the medium again, and compare its SHA-256"
    return ours


def _import_text(file: Path, report: IngestReport, dry_run: bool, receipt: Path | None) -> str:
    signers = ", ".join(report.signers) or "nobody (not checked)"
    head = f"{file.name}: from {report.manifest.site}, signed by {signers}"
    if report.already:
        head += ", already have it"
    lines = [head, *(_ingested_line(log, dry_run) for log in report.logs)]
    for what, absorbed in (("queued", report.besides.pending), ("proven", report.besides.proofs)):
        if absorbed is not None:
            known = f", {len(absorbed.known)} known before" if absorbed.known else ""
            lines.append(f"  items {what}: {len(absorbed.taken)}{known}")
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
    new = "nothing" if log.report.mirror_size is None else f"{log.report.mirror_size:,}"
    proven = log.report.accepted_size
    ahead = "" if log.report.mirror_size == proven else f", proven up to {proven:,}"
    healed = f"; {log.healed:,} damaged here, put back" if log.healed else ""
    if old == new and not log.need:
        return f"  {log.origin}: no change, {new}{ahead}{healed}"
    return (
        f"  {log.origin}: {old} -> {new}{ahead} ({log.report.relation.value};"
        f" {log.report.tiles:,} tiles, {log.report.entry_bundles:,} entry bundles new{healed})"
    )


def _import_data(file: Path, report: IngestReport, receipt: Path | None) -> dict[str, Any]:
    return {
        "file": str(file),
        "bundleId": report.bundle_id,
        "sha256": report.sha256,
        "signers": list(report.signers),
        "already": report.already,
        "total": report.total,
        "skipped": list(report.skipped),
        "volume": [report.manifest.volume.number, report.manifest.volume.of],
        "pending": _absorbed_data(report.besides.pending),
        "proofs": _absorbed_data(report.besides.proofs),
        "receipt": str(receipt) if receipt else None,
        "receiptCode": _code(report),
        "volumesToCome": list(report.to_come),
        "logs": [
            {
                "origin": log.origin,
                "oldSize": log.old_size,
                "newSize": log.report.mirror_size if log.report else log.old_size,
                "acceptedSize": log.report.accepted_size if log.report else None,
                "relation": log.report.relation.value if log.report else None,
                "total": log.offered,
                "have": log.offered - log.need,
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
        f" tile is here, as after 'export --for', which needs no"
        f" more; the far side fills the gap with: {log.fill}"
        for log in report.logs
        if log.report and log.fill
    ]
