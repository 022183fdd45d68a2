"""export: transfer bundles for the far side of the gap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.progress import progress_bar
from appliance.cli.transfer.export_options import (
    Carrier,
    base_options,
    carrier_options,
    content_options,
    printable,
    validity_options,
)
from appliance.cli.transfer.inspect import manifest_data, part_line, side_lines, validity_lines
from appliance.config.sizes import parse_size
from appliance.errors import ConfigError
from appliance.jobs.transfer.export import ExportedFile
from appliance.jobs.transfer.manifest import Remarks, Validity
from appliance.runs.export import BaseOption, Content, ExportOptions, export_bundle
from appliance.runs.session import Session, pass_session
from bundles.manifest import Custody
from bundles.strict_json import MAX_TEXT_CHARACTERS

PLACE = click.Path(path_type=Path)


@click.command()
@click.option(
    "--output", type=PLACE, required=True, help="A .tar, .tar.gz or .tar.zst file, or a directory."
)
@click.option("--backend", "backends", metavar="ID", multiple=True, help="Its log; repeatable.")
@click.option("--origin", "origins", metavar="ORIGIN", multiple=True, help="A log; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Every log this home holds.  [default]")
@base_options
@content_options
@click.option("--volume-size", metavar="SIZE", help="Split into files of at most this: 3900M.")
@click.option(
    "--verify-media/--no-verify-media",
    default=None,
    help="Read the file back from its medium.  [default: if it looks like a stick]",
)
@click.option("--purpose", default="", help="A line about why, for the far side.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@click.option("--sign", "keys", metavar="KEY", multiple=True, help="Sign with this key as well.")
@validity_options
@carrier_options
@common_options
@pass_session
def export(
    session: Session,
    output: Path,
    backends: tuple[str, ...],
    origins: tuple[str, ...],
    everything: bool,
    base: BaseOption,
    full_every: int | None,
    content: Content,
    volume_size: str | None,
    verify_media: bool | None,
    purpose: str,
    dry_run: bool,
    keys: tuple[str, ...],
    carrier: Carrier,
    validity: Validity,
) -> Result:
    """Write a signed transfer bundle for the far side of the gap.

    It continues from what the far side is known to hold, by its receipts and its own
    transfer bundles; else from a few exports ago (transfer.overlap), so that lost sticks cost
    nothing; the first export is complete. After a run that was interrupted give the same
    command again. Volumes (--volume-size, else transfer.volumeSize) can be imported in any
    order, and each by itself. --for writes a few kilobytes, which prove some entries to a site
    that holds what such an export continues from; with --base all, to any. Of a Rekor v1 log the
    entries that were fetched leave too: with three exports, and with every --base all.
    From size 300 to 600 means the entries 300 up to and with 599: they count from 0, and a tree
    of size 600 has no entry 600. The far side's clock decides about --not-before and --expires.

    \b
    Example:
        attestor export --output /media/stick/outside-1.tar
        attestor export --base 81234 --include-entries --output delta.tar.zst
        attestor export --volume-size 3900M --output /media/stick
        attestor export --for app.sigstore.json --output app.tar
        attestor export --expires 14d --output /media/stick/outside-1.tar
    """

    printable("--purpose", purpose, MAX_TEXT_CHARACTERS)
    if everything and (backends or origins):
        raise click.UsageError("--all, and --backend or --origin, exclude each other")
    custody = Custody(carrier.handler, carrier.medium, carrier.seal, carrier.ticket)
    options = ExportOptions(
        output=output,
        backends=backends,
        origins=origins,
        base=base,
        full_every=full_every,
        content=content,
        volume_bytes=_volume_bytes(volume_size),
        verify_media=verify_media,
        remarks=Remarks(purpose, custody, validity),
        dry_run=dry_run,
        keys=keys,
    )
    run = export_bundle(session, options, progress_bar)
    files = [_file_data(volume) for volume in run.report.volumes]
    first = files[0] if len(files) == 1 else {}
    data = (
        members(
            dry_run=dry_run,
            already=run.report.already,
            signers=run.signers,
            volumes=files,
            windows=run.report.windows,
        )
        | first
        | manifest_data(run.report.manifest)
    )
    lines = [line for volume in run.report.volumes for line in _file_lines(volume, dry_run)]
    lines += [f"  {one.origin}: {one.entries:,} entries of windows" for one in run.report.windows]
    if not dry_run:
        lines.append(f"  signed {', '.join(run.signers)}")
    return Result(data, "\n".join(lines), run.warnings)


def _file_data(one: ExportedFile) -> dict[str, Any]:
    return members(
        one,
        "path",
        "bundle_id",
        "sha256",
        "n_bytes",
        "read_back",
        volume=[one.manifest.volume.number, one.manifest.volume.of],
    )


def _file_lines(one: ExportedFile, dry_run: bool) -> list[str]:
    parts = map(part_line, one.manifest.logs)
    if dry_run:
        totals = one.manifest.totals
        size = f"{totals.files:,} files, {totals.n_bytes:,} bytes"
        return [
            f"would write {size}, to {one.path}",
            *parts,
            *side_lines(one.manifest),
            *validity_lines(one.manifest),
        ]
    done = "The same is there already:" if one.already else "Wrote"
    return [
        f"{done} {one.path} ({one.n_bytes:,} bytes)",
        f"  bundle {one.bundle_id}",
        f"  sha256 {one.sha256}",
        *parts,
        *side_lines(one.manifest),
        *validity_lines(one.manifest),
        *(["  read back from the medium: safe to remove it"] if one.read_back else []),
    ]


def _volume_bytes(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_size(text)
    except ConfigError as error:
        raise click.UsageError(f"--volume-size: {error.message}; {error.next_step}") from error
