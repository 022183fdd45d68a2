"""export and inspect: transfer bundles for the far side of the gap."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.app import App, pass_app
from appliance.cli.output import Result, common_options, naming, utc

if TYPE_CHECKING:
    from appliance.store.database import Store
    from appliance.store.logs import Log
    from bundles.manifest import LogPart, Manifest

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--output", type=FILE, required=True, help="Where to write; .tar, .tar.gz, .tar.zst.")
@click.option("--backend", "backends", metavar="ID", multiple=True, help="Its log; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Every log this home holds.  [default]")
@click.option("--full", is_flag=True, help="Complete, for a site that holds nothing.")
@click.option("--since-size", type=click.IntRange(0), help="Continue from this tree size.")
@click.option("--overlap", type=click.IntRange(1), help="Continue from the K-th last export.")
@click.option("--include-tiles/--no-tiles", default=True, help="Hash tiles.  [default: include]")
@click.option("--include-entries/--no-entries", default=False, help="Entry bundles as well.")
@click.option("--purpose", default="", help="A line about why, for the far side.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@click.option("--sign", "keys", metavar="KEY", multiple=True, help="Sign with this key as well.")
@common_options
@pass_app
def export(
    app: App,
    output: Path,
    backends: tuple[str, ...],
    everything: bool,
    full: bool,
    since_size: int | None,
    overlap: int | None,
    include_tiles: bool,
    include_entries: bool,
    purpose: str,
    dry_run: bool,
    keys: tuple[str, ...],
) -> Result:
    """Write a signed transfer bundle for the far side of the gap.

    Without --full, --since-size or --overlap it continues from a few exports ago
    (transfer.overlap), so that lost sticks cost nothing; the first one is complete. After a
    run that was interrupted give the same command again.

    \b
    Example:
        attestor export --output /media/stick/outside-1.tar
        attestor export --since-size 81234 --include-entries --output delta.tar.zst
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
    if everything and backends:
        raise click.UsageError("--all and --backend exclude each other")
    with app.writing() as store:
        site = require_site_name(store)
        signers = [load_signing_key(app.home, name) for name in dict.fromkeys((site, *keys))]
        if not full and since_size is None and overlap is None:
            overlap = read_settings_of(store).overlap
        selection = Selection(since_size, overlap, include_tiles, include_entries, purpose, dry_run)
        report = run_export(
            store,
            _logs(store, backends),
            selection,
            output,
            lambda text: sign_note(text, signers),
            app.now(),
        )
        warnings = tuple(
            f"{log.origin} contradicted itself (alert {held.alert_number}): this carries only what"
            f" was accepted before; beyond {held.last_common_size:,} entries it is in doubt"
            for log in _logs(store, backends)
            if (held := quarantine_of(store, log))
        )
    if dry_run:
        planned = report.manifest.totals
        head = f"would write {planned.files:,} files, {planned.n_bytes:,} bytes, to {output}"
        lines = [head, *map(_part_line, report.manifest.logs)]
        planned_data = {"dryRun": True, **_manifest_data(report.manifest)}
        return Result(planned_data, "\n".join(lines), warnings)
    data = {
        "path": str(report.path),
        "bundleId": report.bundle_id,
        "sha256": report.sha256,
        "bytes": report.n_bytes,
        "already": report.already,
        "signers": [signer.name for signer in signers],
        **_manifest_data(report.manifest),
    }
    done = "The same is there already:" if report.already else "Wrote"
    lines = [
        f"{done} {report.path} ({report.n_bytes:,} bytes)",
        f"  bundle {report.bundle_id}",
        f"  sha256 {report.sha256}",
        f"  signed {', '.join(signer.name for signer in signers)}",
        *map(_part_line, report.manifest.logs),
    ]
    return Result(data, "\n".join(lines), warnings)


@click.command()
@click.argument("file", type=FILE)
@common_options
def inspect(file: Path) -> Result:
    """Say what FILE claims to be. Needs no key and verifies nothing.

    \b
    Example:
        attestor inspect /media/stick/outside-1.tar
    """
    from appliance.store.files import open_foreign
    from appliance.tlog.note import parse_note
    from bundles.reader import peek

    with naming(file), open_foreign(file) as medium:
        claims = peek(medium)
    signers = [one.name for one in parse_note(claims.note).signatures]
    manifest = claims.manifest
    data = {
        "verified": False,
        "bundleId": claims.header.bundle_id,
        "claimedSigners": signers,
        **_manifest_data(manifest),
    }
    lines = [
        f"{file}: a transfer bundle, NOT VERIFIED",
        f"  bundle  {claims.header.bundle_id}",
        f"  from    {manifest.site}, written {utc(manifest.created_at)} "
        f"by {manifest.created_by.tool} {manifest.created_by.version}",
        f"  signed  {', '.join(signers)} (says the file)",
        f"  files   {manifest.totals.files:,} ({manifest.totals.n_bytes:,} bytes)",
        *map(_part_line, manifest.logs),
    ]
    if manifest.purpose:
        lines.insert(2, f"  purpose {manifest.purpose}")
    return Result(data, "\n".join(lines))


def _logs(store: Store, backends: tuple[str, ...]) -> list[Log]:
    from appliance.errors import IncompleteError
    from appliance.store.logs import all_logs, require_backend
    from appliance.store.mirror import Mirror

    if backends:
        logs = [require_backend(store, name).log for name in backends]
        return list({log.id: log for log in logs}.values())
    held = [log for log in all_logs(store) if Mirror(store, log).history.accepted()]
    if not held:
        raise IncompleteError(
            "nothing is here to export",
            reason="nothing-to-export",
            next_step="run 'attestor sync' first",
        )
    return held


def _manifest_data(manifest: Manifest) -> dict[str, Any]:
    return {
        "site": manifest.site,
        "createdAt": utc(manifest.created_at),
        "purpose": manifest.purpose,
        "files": manifest.totals.files,
        "logs": [
            {
                "origin": part.origin,
                "baseSize": part.base.tree_size if part.base else None,
                "headSize": part.head.tree_size,
                "headRootHash": part.head.root_hash.hex(),
                "tiles": part.tiles.count,
                "entries": [part.entries.start, part.entries.stop] if part.entries else None,
            }
            for part in manifest.logs
        ],
    }


def _part_line(part: LogPart) -> str:
    base = f"from {part.base.tree_size:,} " if part.base else ""
    entries = f", entries {part.entries.start:,}..{part.entries.stop:,}" if part.entries else ""
    return f"  {part.origin}: {base}to {part.head.tree_size:,}, {part.tiles.count:,} tiles{entries}"
