"""export: transfer bundles for the far side of the gap."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.app import App, pass_app
from appliance.cli.inspect import manifest_data, part_line
from appliance.cli.output import Result, common_options

if TYPE_CHECKING:
    from appliance.jobs.export import ExportedFile
    from appliance.store.database import Store
    from appliance.store.logs import Log

PLACE = click.Path(path_type=Path)


@click.command()
@click.option(
    "--output", type=PLACE, required=True, help="A .tar, .tar.gz or .tar.zst file, or a directory."
)
@click.option("--backend", "backends", metavar="ID", multiple=True, help="Its log; repeatable.")
@click.option("--origin", "origins", metavar="ORIGIN", multiple=True, help="A log; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Every log this home holds.  [default]")
@click.option("--full", is_flag=True, help="Complete, for a site that holds nothing.")
@click.option("--since-size", type=click.IntRange(0), help="Continue from this tree size.")
@click.option("--overlap", type=click.IntRange(1), help="Continue from the K-th last export.")
@click.option("--include-tiles/--no-tiles", default=True, help="Hash tiles.  [default: include]")
@click.option("--include-entries/--no-entries", default=False, help="Entry bundles as well.")
@click.option("--volume-size", metavar="SIZE", help="Split into files of at most this: 3900M.")
@click.option("--purpose", default="", help="A line about why, for the far side.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@click.option("--sign", "keys", metavar="KEY", multiple=True, help="Sign with this key as well.")
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
    overlap: int | None,
    include_tiles: bool,
    include_entries: bool,
    volume_size: str | None,
    purpose: str,
    dry_run: bool,
    keys: tuple[str, ...],
) -> Result:
    """Write a signed transfer bundle for the far side of the gap.

    Without --full, --since-size or --overlap it continues from a few exports ago
    (transfer.overlap), so that lost sticks cost nothing; the first one is complete. After a
    run that was interrupted give the same command again. Volumes (--volume-size, else
    transfer.volumeSize) can be imported in any order, and each by itself.

    \b
    Example:
        attestor export --output /media/stick/outside-1.tar
        attestor export --since-size 81234 --include-entries --output delta.tar.zst
        attestor export --volume-size 3900M --output /media/stick
    """
    from appliance.cli.settings import read_settings_of
    from appliance.jobs.export import Selection
    from appliance.jobs.export import export as run_export
    from appliance.store.key_files import load_signing_key
    from appliance.store.quarantine import quarantine_of
    from appliance.store.settings import require_site_name
    from appliance.tlog.note import sign_note

    if sum((full, since_size is not None, overlap is not None)) > 1:
        raise click.UsageError("--full, --since-size and --overlap exclude each other")
    if everything and (backends or origins):
        raise click.UsageError("--all, and --backend or --origin, exclude each other")
    with app.writing() as store:
        site = require_site_name(store)
        signers = [load_signing_key(app.home, name) for name in dict.fromkeys((site, *keys))]
        if not full and since_size is None and overlap is None:
            overlap = read_settings_of(store).overlap
        selection = Selection(
            since_size,
            overlap,
            include_tiles,
            include_entries,
            purpose,
            dry_run,
            volume_bytes=_volume_bytes(volume_size, store),
        )
        report = run_export(
            store,
            _logs(store, backends, origins),
            selection,
            output,
            lambda text: sign_note(text, signers),
            app.now(),
        )
        warnings = tuple(
            f"{log.origin} contradicted itself (alert {held.alert_number}): this carries only what"
            f" was accepted before; beyond {held.last_common_size:,} entries it is in doubt"
            for log in _logs(store, backends, origins)
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
    return Result(data, "\n".join(lines), (*report.warnings, *warnings))


def _file_data(one: ExportedFile) -> dict[str, Any]:
    return {
        "path": str(one.path),
        "bundleId": one.bundle_id,
        "sha256": one.sha256,
        "bytes": one.n_bytes,
        "volume": [one.manifest.volume.number, one.manifest.volume.of],
    }


def _file_lines(one: ExportedFile, dry_run: bool) -> list[str]:
    parts = map(part_line, one.manifest.logs)
    if dry_run:
        totals = one.manifest.totals
        size = f"{totals.files:,} files, {totals.n_bytes:,} bytes"
        return [f"would write {size}, to {one.path}", *parts]
    done = "The same is there already:" if one.already else "Wrote"
    return [
        f"{done} {one.path} ({one.n_bytes:,} bytes)",
        f"  bundle {one.bundle_id}",
        f"  sha256 {one.sha256}",
        *parts,
    ]


def _volume_bytes(text: str | None, store: Store) -> int | None:
    from appliance.cli.settings import read_settings_of
    from appliance.config.sizes import parse_size

    return read_settings_of(store).volume_bytes if text is None else parse_size(text)


def _logs(store: Store, backends: tuple[str, ...], origins: tuple[str, ...]) -> list[Log]:
    from appliance.errors import IncompleteError
    from appliance.store.logs import all_logs, require_backend, require_log
    from appliance.store.mirror import Mirror

    if backends or origins:
        logs = [require_backend(store, name).log for name in backends]
        logs += [require_log(store, origin) for origin in origins]
        return list({log.id: log for log in logs}.values())
    held = [log for log in all_logs(store) if Mirror(store, log).history.accepted()]
    if not held:
        raise IncompleteError(
            "nothing is here to export",
            reason="nothing-to-export",
            next_step="run 'attestor sync' first",
        )
    return held
