"""export: transfer bundles for the far side of the gap."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from appliance.cli.output import Result, common_options
from appliance.cli.transfer.inspect import besides_lines, manifest_data, part_line, validity_lines
from appliance.config.durations import parse_duration
from appliance.config.sizes import parse_size
from appliance.errors import ConfigError
from appliance.jobs.transfer.export import ExportedFile
from appliance.jobs.transfer.manifest import Moment, Remarks, Validity
from appliance.runs.export import ExportOptions, export_bundle
from appliance.runs.session import Session, pass_session
from appliance.value import frozen
from bundles.manifest import Custody
from bundles.strict_json import MAX_TEXT_CHARACTERS, TIME_SPELLING, parse_time

# The options by which export and import say who carries what on which medium.


MAX_TEXT: Final = 200  # characters of each thing said


@frozen
class Carrier:
    """Who carries it on what. An empty text: not said."""

    handler: str
    medium: str
    seal: str
    ticket: str


def carrier_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --handler, --medium, --seal and --ticket, as one `carrier`."""

    @click.option("--handler", default="", help="Who carries it: goes into the custody list.")
    @click.option("--medium", default="", help="What it is on: the label of the stick.")
    @click.option("--seal", default="", help="Number on the seal.")
    @click.option("--ticket", default="", help="What asked for it.")
    @functools.wraps(command)
    def run(*args: Any, handler: str, medium: str, seal: str, ticket: str, **kwargs: Any) -> Any:
        carrier = Carrier(
            printable("--handler", handler),
            printable("--medium", medium),
            printable("--seal", seal),
            printable("--ticket", ticket),
        )
        if not carrier.handler and any((medium, seal, ticket)):
            raise click.UsageError("--medium, --seal and --ticket need a --handler")
        return command(*args, carrier=carrier, **kwargs)

    return run


def printable(option: str, text: str, longest: int = MAX_TEXT) -> str:
    """Return what was said; raises UsageError unless it is short and printable."""
    if len(text) > longest or not text.isprintable():
        raise click.UsageError(
            f"{option}: expected printable text of at most {longest} characters,"
            f" got {text[:MAX_TEXT]!r}"
        )
    return text


# The options by which an export says when it may be imported.


def validity_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --not-before and --expires, as one `validity`."""

    @click.option(
        "--not-before",
        metavar="TIME",
        help="Refused over there before: 2026-01-31T23:59:59Z, or 2d from now.",
    )
    @click.option(
        "--expires", metavar="TIME", help="Refused over there after: a time, or 14d from now."
    )
    @functools.wraps(command)
    def run(*args: Any, not_before: str | None, expires: str | None, **kwargs: Any) -> Any:

        validity = Validity(
            _moment("--not-before", not_before),
            _moment("--expires", expires),
        )
        return command(*args, validity=validity, **kwargs)

    return run


def _moment(option: str, text: str | None) -> Moment | None:

    if text is None:
        return None
    seconds = parse_time(text)
    if seconds is not None:
        return Moment(seconds)
    try:
        return Moment(int(parse_duration(text)), after_export=True)
    except ConfigError as error:
        raise click.UsageError(
            f"{option}: expected a time {TIME_SPELLING}, or a duration such as 14d or 12h,"
            f" got {text[:40]!r} ({error.message})"
        ) from error


PLACE = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)
FULL_EVERY = 10  # exports through a diode, one of which is complete


@click.command()
@click.option(
    "--output", type=PLACE, required=True, help="A .tar, .tar.gz or .tar.zst file, or a directory."
)
@click.option("--backend", "backends", metavar="ID", multiple=True, help="Its log; repeatable.")
@click.option("--origin", "origins", metavar="ORIGIN", multiple=True, help="A log; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Every log this home holds.  [default]")
@click.option("--full", is_flag=True, help="Complete, for a site that holds nothing.")
@click.option("--since-size", type=click.IntRange(0), help="Continue from this tree size.")
@click.option("--since-receipt", type=FILE, help="Continue from what this receipt says is there.")
@click.option("--to", "far_site", metavar="SITE", help="Continue from what this far side holds.")
@click.option("--overlap", type=click.IntRange(1), help="Continue from the K-th last export.")
@click.option("--include-tiles/--no-tiles", default=True, help="Hash tiles.  [default: include]")
@click.option("--include-entries/--no-entries", default=False, help="Entry bundles as well.")
@click.option(
    "--checkpoints-only-verified",
    is_flag=True,
    help="Of checkpoints seen elsewhere, only those proven here.",
)
@click.option(
    "--include-pending/--no-pending",
    default=None,
    help="What is queued here, to be logged over there.  [default: on an isolated site]",
)
@click.option(
    "--for", "sigstore_bundles", type=FILE, multiple=True, help="Only what proves this; repeatable."
)
@click.option("--no-ack", is_flag=True, help="Diode: count on no receipt, and be complete often.")
@click.option("--full-every", type=click.IntRange(1), help="With --no-ack.  [default: 10]")
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
    full: bool,
    since_size: int | None,
    since_receipt: Path | None,
    far_site: str | None,
    overlap: int | None,
    include_tiles: bool,
    include_entries: bool,
    checkpoints_only_verified: bool,
    include_pending: bool | None,
    sigstore_bundles: tuple[Path, ...],
    no_ack: bool,
    full_every: int | None,
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
    nothing; the first one is complete. After a run that was interrupted give the same
    command again. Volumes (--volume-size, else transfer.volumeSize) can be imported in any
    order, and each by itself. --for writes a few kilobytes, which prove some entries to a site
    that holds what such an export continues from; with --full, to any.
    The clock of the far side decides about --not-before and --expires.

    \b
    Example:
        attestor export --output /media/stick/outside-1.tar
        attestor export --since-size 81234 --include-entries --output delta.tar.zst
        attestor export --volume-size 3900M --output /media/stick
        attestor export --for app.sigstore.json --output app.tar
        attestor export --expires 14d --output /media/stick/outside-1.tar
    """

    starts = (since_size, since_receipt, far_site, overlap)
    if full + sum(one is not None for one in starts) > 1:
        raise click.UsageError(
            "--full, --since-size, --since-receipt, --to and --overlap exclude each other"
        )
    if full_every is not None and not no_ack:
        raise click.UsageError("--full-every needs --no-ack")
    if no_ack and (full or since_size is not None or since_receipt or far_site):
        raise click.UsageError("--no-ack goes with --overlap only")
    printable("--purpose", purpose, MAX_TEXT_CHARACTERS)
    if everything and (backends or origins):
        raise click.UsageError("--all, and --backend or --origin, exclude each other")
    custody = Custody(carrier.handler, carrier.medium, carrier.seal, carrier.ticket)
    options = ExportOptions(
        output=output,
        backends=backends,
        origins=origins,
        full=full,
        since_size=since_size,
        since_receipt=since_receipt,
        far_site=far_site,
        overlap=overlap,
        tiles=include_tiles,
        entries=include_entries,
        only_proven_checkpoints=checkpoints_only_verified,
        pending=include_pending,
        sigstore_bundles=sigstore_bundles,
        full_every=(full_every or FULL_EVERY) if no_ack else None,
        volume_bytes=_volume_bytes(volume_size),
        verify_media=verify_media,
        remarks=Remarks(purpose, custody, validity),
        dry_run=dry_run,
        keys=keys,
    )
    run = export_bundle(session, options)
    files = [_file_data(one) for one in run.report.volumes]
    first = files[0] if len(files) == 1 else {}
    data = {
        "dryRun": dry_run,
        "already": run.report.already,
        "signers": list(run.signers),
        "volumes": files,
        **first,
        **manifest_data(run.report.manifest),
    }
    lines = [line for one in run.report.volumes for line in _file_lines(one, dry_run)]
    if not dry_run:
        lines.append(f"  signed {', '.join(run.signers)}")
    return Result(data, "\n".join(lines), run.warnings)


def _file_data(one: ExportedFile) -> dict[str, Any]:
    return {
        "path": str(one.path),
        "bundleId": one.bundle_id,
        "sha256": one.sha256,
        "bytes": one.n_bytes,
        "volume": [one.manifest.volume.number, one.manifest.volume.of],
        "readBack": one.read_back,
    }


def _file_lines(one: ExportedFile, dry_run: bool) -> list[str]:
    parts = map(part_line, one.manifest.logs)
    if dry_run:
        totals = one.manifest.totals
        size = f"{totals.files:,} files, {totals.n_bytes:,} bytes"
        return [
            f"would write {size}, to {one.path}",
            *parts,
            *besides_lines(one.manifest),
            *validity_lines(one.manifest),
        ]
    done = "The same is there already:" if one.already else "Wrote"
    return [
        f"{done} {one.path} ({one.n_bytes:,} bytes)",
        f"  bundle {one.bundle_id}",
        f"  sha256 {one.sha256}",
        *parts,
        *besides_lines(one.manifest),
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
