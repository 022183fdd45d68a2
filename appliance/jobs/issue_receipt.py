"""Write down what an import did, for the site that exported it (TRANSFER.md 6)."""

from __future__ import annotations

from appliance.jobs.ingest_log import IngestedLog
from appliance.jobs.receipt_text import Receipt, ReceiptLog
from appliance.value import frozen
from bundles.manifest import Manifest

_MAX_WARNING = 500  # characters


@frozen
class Imported:
    """What was imported, and what came of it."""

    bundle_id: str
    sha256: str  # of the file, hex
    manifest: Manifest
    logs: tuple[IngestedLog, ...]
    skipped: tuple[str, ...]  # origins that this site has not configured
    errors: tuple[str, ...]  # of logs that did not go on
    to_come: tuple[int, ...]  # volumes of its set that were not imported yet


def issue_receipt(it: Imported, site: str, handler: str, unsigned: bool, now: int) -> str:
    """Return the text of the receipt, to be signed."""
    reports = [log.report for log in it.logs if log.report]
    counts = {
        "files": it.manifest.totals.files,
        "tiles": sum(one.tiles for one in reports),
        "entryBundles": sum(one.entry_bundles for one in reports),
        "healed": sum(log.healed for log in it.logs),
    }
    warnings = [f"{origin} is not configured here" for origin in it.skipped]
    warnings += it.errors
    if it.to_come:
        warnings.append(f"volumes still to come: {', '.join(map(str, it.to_come))}")
    else:
        warnings += [f"{log.origin} has a gap: {log.fill}" for log in it.logs if log.fill]
    warnings += [one for report in reports for one in report.warnings]
    if unsigned:
        warnings.append("nobody's signature was checked (--insecure-unsigned)")
    volume = it.manifest.volume
    return str(
        Receipt(
            it.bundle_id,
            volume.set_name,
            (volume.number, volume.of),
            it.sha256,
            site,
            now,
            handler,
            unsigned,
            counts,
            tuple(ascii(one)[1:-1][:_MAX_WARNING] for one in warnings),
            tuple(ReceiptLog(log.origin, log.old, log.new) for log in it.logs),
        )
    )
