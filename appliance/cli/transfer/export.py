"""export: transfer bundles for the far side of the gap."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from appliance.cli.output import Result, common_options, naming
from appliance.cli.transfer.inspect import besides_lines, manifest_data, part_line, validity_lines
from appliance.runs.app import App, pass_app
from appliance.value import frozen

if TYPE_CHECKING:
    from appliance.jobs.transfer.export import ExportedFile
    from appliance.jobs.transfer.manifest import Moment, Validity
    from appliance.jobs.transfer.plan import ProvenEntry
    from appliance.store.database import Store
    from appliance.store.mirror.logs import Log

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
        from appliance.jobs.transfer.manifest import Validity

        validity = Validity(
            _moment("--not-before", not_before),
            _moment("--expires", expires),
        )
        return command(*args, validity=validity, **kwargs)

    return run


def _moment(option: str, text: str | None) -> Moment | None:
    from appliance.config.durations import parse_duration
    from appliance.errors import ConfigError
    from appliance.jobs.transfer.manifest import Moment
    from bundles.strict_json import TIME_SPELLING, parse_time

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
@pass_app
def export(
    app: App,
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
    from appliance.jobs.transfer.export import Selection
    from appliance.jobs.transfer.export import export as run_export
    from appliance.jobs.transfer.manifest import Remarks
    from appliance.runs.settings import read_settings_of
    from appliance.store.divergence.quarantine import quarantine_of
    from appliance.store.home.key_files import load_signing_key
    from appliance.store.home.settings import SITE_ROLE, require_site_name, site_fact
    from appliance.tlog.note import sign_note
    from bundles.manifest import Custody
    from bundles.strict_json import MAX_TEXT_CHARACTERS

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
    with app.writing() as store:
        site = require_site_name(store)
        signers = [load_signing_key(app.home, name) for name in dict.fromkeys((site, *keys))]
        is_default = not full and all(one is None for one in starts)
        if is_default or far_site:
            overlap = read_settings_of(store).overlap
        if include_pending is None:
            include_pending = site_fact(store, SITE_ROLE) == "isolated"
        proven = (
            tuple(one for file in sigstore_bundles for one in _proven(store, file, app.now()))
            or None
        )
        if proven is not None and not (backends or origins):
            origins = tuple(dict.fromkeys(one.origin for one in proven))
        selection = Selection(
            since_size,
            overlap,
            include_tiles,
            include_entries,
            Remarks(
                purpose,
                Custody(carrier.handler, carrier.medium, carrier.seal, carrier.ticket),
                validity,
            ),
            dry_run,
            since=_since(store, since_receipt, app.now()),
            far_side=(is_default or far_site is not None) and not no_ack,
            site=far_site,
            full_every=(full_every or FULL_EVERY) if no_ack else None,
            proven=proven,
            pending=include_pending,
            only_proven_checkpoints=checkpoints_only_verified,
            volume_bytes=_volume_bytes(volume_size, store),
            verify_media=verify_media,
        )
        report = run_export(
            store,
            _logs(store, backends, origins, may_be_none=include_pending),
            selection,
            output,
            lambda text: sign_note(text, signers),
            app.now(),
        )
        warnings = tuple(
            f"{log.origin} contradicted itself (alert {held.alert_number}): this carries only what"
            f" was accepted before; beyond {held.last_common_size:,} entries it is in doubt"
            for log in _logs(store, backends, origins, may_be_none=include_pending)
            if (held := quarantine_of(store, log))
        )
    files = [_file_data(one) for one in report.volumes]
    first = files[0] if len(files) == 1 else {}
    data = {
        "dryRun": dry_run,
        "already": report.already,
        "signers": [signer.name for signer in signers],
        "volumes": files,
        **first,
        **manifest_data(report.manifest),
    }
    lines = [line for one in report.volumes for line in _file_lines(one, dry_run)]
    if not dry_run:
        lines.append(f"  signed {', '.join(signer.name for signer in signers)}")
    return Result(data, "\n".join(lines), (*report.warnings, *warnings))


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


def _since(store: Store, receipt: Path | None, now: int) -> dict[str, int]:
    """Return what a receipt says is there, by origin; it has to be one that would be accepted."""
    if receipt is None:
        return {}
    from appliance.jobs.transfer.receipt_text import MAX_RECEIPT_BYTES
    from appliance.jobs.transfer.receipts import accept_receipt
    from appliance.store.files import read_foreign

    with naming(receipt):
        note = read_foreign(receipt, MAX_RECEIPT_BYTES)
        accepted = accept_receipt(store, note, now, dry_run=True)
    return {origin: head.tree_size if head else 0 for origin, head in accepted.heads.items()}


def _proven(store: Store, file: Path, now: int) -> tuple[ProvenEntry, ...]:
    from appliance.errors import MalformedError
    from appliance.jobs.transfer.proven_entries import proven_entries, require_ours
    from appliance.sigstore.sigstore_bundle import MAX_BUNDLE_BYTES
    from appliance.store.files import read_foreign

    with naming(file):
        try:
            proven = proven_entries(read_foreign(file, MAX_BUNDLE_BYTES))
        except MalformedError as error:
            error.next_step = error.next_step or "--for takes a Sigstore bundle: *.sigstore.json"
            raise
        require_ours(store, proven, file.name, now)
    return proven


def _volume_bytes(text: str | None, store: Store) -> int | None:
    from appliance.config.sizes import parse_size
    from appliance.errors import ConfigError
    from appliance.runs.settings import read_settings_of

    if text is None:
        return read_settings_of(store).volume_bytes
    try:
        return parse_size(text)
    except ConfigError as error:
        raise click.UsageError(f"--volume-size: {error.message}; {error.next_step}") from error


def _logs(
    store: Store, backends: tuple[str, ...], origins: tuple[str, ...], *, may_be_none: bool
) -> list[Log]:
    from appliance.errors import IncompleteError
    from appliance.store.mirror.logs import all_logs, require_backend, require_log
    from appliance.store.mirror.mirror import Mirror

    if backends or origins:
        logs = [require_backend(store, name).log for name in backends]
        logs += [require_log(store, origin) for origin in origins]
        return list({log.id: log for log in logs}.values())
    held = [log for log in all_logs(store) if Mirror(store, log).history.accepted()]
    if not held and not may_be_none:
        raise IncompleteError(
            "nothing is here to export",
            reason="nothing-to-export",
            next_step="run 'attestor sync' first",
        )
    return held
