"""inspect: what a transfer bundle claims to be, without a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.output import Result, common_options
from appliance.runs.exit_codes import naming
from appliance.store.files import open_foreign
from appliance.times import utc
from appliance.tlog.note import parse_note
from bundles.manifest import LogPart, Manifest
from bundles.reader import peek

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=FILE)
@common_options
def inspect(file: Path) -> Result:
    """Say what FILE claims to be. Needs no key and verifies nothing.

    \b
    Example:
        attestor inspect /media/stick/outside-1.tar
    """

    with naming(file), open_foreign(file) as medium:
        claims = peek(medium)
    signers = [one.name for one in parse_note(claims.note).signatures]
    manifest = claims.manifest
    volume = manifest.volume
    data = {
        "verified": False,
        "bundleId": claims.header.bundle_id,
        "claimedSigners": signers,
        **manifest_data(manifest),
    }
    lines = [
        f"{file}: a transfer bundle, NOT VERIFIED",
        f"  bundle  {claims.header.bundle_id}",
        f"  from    {manifest.site}, written {utc(manifest.created_at)} "
        f"by {manifest.created_by.tool} {manifest.created_by.version}",
        f"  signed  {', '.join(signers)} (says the file)",
        f"  files   {manifest.totals.files:,} ({manifest.totals.n_bytes:,} bytes)",
        f"  volume  {volume.number} of {volume.of}, set {volume.set_name}",
        *map(part_line, manifest.logs),
        *(f"  holds   {one.origin} up to {one.tree_size:,}" for one in manifest.have),
    ]
    lines += besides_lines(manifest)
    lines += validity_lines(manifest)
    if manifest.purpose:
        lines.insert(2, f"  purpose {manifest.purpose}")
    said = manifest.custody
    if said.handler:
        facts = {"medium": said.media_id, "seal": said.seal, "ticket": said.ticket}
        more = "".join(f", {name} {value}" for name, value in facts.items() if value)
        lines.insert(2, f"  carried {said.handler}{more}")
    return Result(data, "\n".join(lines))


def besides_lines(manifest: Manifest) -> list[str]:
    """Describe what is in it besides logs, for people; nothing if there is nothing."""
    found = manifest.contains
    counts = {
        "pending items": found.pending,
        "proofs": found.receipts,
        "receipts of imports": found.acks,
        "checkpoints seen elsewhere": found.checkpoints_seen,
    }
    side = [f"{count:,} {name}" for name, count in counts.items() if count]
    return [f"  besides {', '.join(side)}"] if side else []


def validity_lines(manifest: Manifest) -> list[str]:
    """Say when it may be imported, for people; nothing if at any time."""
    limits = (("from", manifest.not_before), ("until", manifest.expires))
    said = [f"{word} {utc(seconds)}" for word, seconds in limits if seconds is not None]
    return [f"  valid   {' '.join(said)}"] if said else []


def manifest_data(manifest: Manifest) -> dict[str, Any]:
    """Describe what a manifest says for machines."""
    return {
        "site": manifest.site,
        "createdAt": utc(manifest.created_at),
        "purpose": manifest.purpose,
        "notBefore": None if manifest.not_before is None else utc(manifest.not_before),
        "expires": None if manifest.expires is None else utc(manifest.expires),
        "files": manifest.totals.files,
        "volume": [manifest.volume.number, manifest.volume.of],
        "volumeSet": manifest.volume.set_name,
        "contains": {
            "pending": manifest.contains.pending,
            "receipts": manifest.contains.receipts,
            "acks": manifest.contains.acks,
            "checkpointsSeen": manifest.contains.checkpoints_seen,
        },
        "have": [
            {
                "origin": one.origin,
                "treeSize": one.tree_size,
                "rootHash": one.root_hash.hex(),
            }
            for one in manifest.have
        ],
        "custody": {
            "handler": manifest.custody.handler,
            "medium": manifest.custody.media_id,
            "seal": manifest.custody.seal,
            "ticket": manifest.custody.ticket,
        },
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


def part_line(part: LogPart) -> str:
    """Describe what a transfer bundle brings of one log, for people."""
    base = f"from {part.base.tree_size:,} " if part.base else ""
    entries = f", entries {part.entries.start:,}..{part.entries.stop:,}" if part.entries else ""
    return f"  {part.origin}: {base}to {part.head.tree_size:,}, {part.tiles.count:,} tiles{entries}"
