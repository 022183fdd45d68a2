"""inspect: what a file claims to be, without a key: a transfer bundle, or any file of the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.errors import ApplianceError, LimitError
from appliance.jobs.transfer.window_members import ClaimedWindows, claimed_windows
from appliance.runs.exit_codes import as_ours, naming
from appliance.sigstore.attestation_files import MAX_FILE_BYTES
from appliance.sigstore.file_kinds import describe_file
from appliance.store.files import open_foreign, open_given
from appliance.times import utc
from appliance.tlog.note import parse_note
from bundles.errors import BundleError
from bundles.manifest import LogPart, Manifest
from bundles.reader import peek

_HEAD_BYTES = 512
_NAMED_RANGES = 5  # with --json all are
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=FILE)
@common_options
def inspect(file: Path) -> Result:
    """Say what FILE is and what it claims. Needs no key and verifies nothing.

    A transfer bundle, a Sigstore bundle or a file of attestations, a trusted root, a signing
    config, a tlog-proof, a checkpoint, a key, a certificate, an RFC 3161 timestamp. Of a transfer
    bundle the windows of entries in it are read, to say which they are.

    \b
    Example:
        attestor inspect /media/stick/outside-1.tar
        attestor inspect app.sigstore.json
    """
    with naming(file), open_given(file) as given:
        start = given.read(_HEAD_BYTES)
        if not _is_archive(start):
            return _describe(file, start + given.read(MAX_FILE_BYTES + 1 - len(start)))
    windows: tuple[ClaimedWindows, ...] = ()
    errors: list[ApplianceError] = []
    with naming(file), open_foreign(file.resolve()) as medium:
        claims = peek(medium)
        try:
            windows = claimed_windows(medium, claims.manifest)
        except (ApplianceError, BundleError) as error:  # what the file claims is shown all the same
            errors.append(as_ours(error, prefix=f"{file}: "))
    signers = [signature.name for signature in parse_note(claims.note).signatures]
    manifest = claims.manifest
    volume = manifest.volume
    data = members(
        verified=False,
        kind="a transfer bundle",
        bundle_id=claims.header.bundle_id,
        claimed_signers=signers,
        windows=[members(one, "origin", "entries", "ranges", "n_bytes") for one in windows],
    ) | manifest_data(manifest)
    lines = [
        f"{file}: a transfer bundle, NOT VERIFIED",
        f"  bundle  {claims.header.bundle_id}",
        f"  from    {manifest.site}, written {utc(manifest.created_at)} "
        f"by {manifest.created_by.tool} {manifest.created_by.version}",
        f"  signed  {', '.join(signers)} (says the file)",
        f"  files   {manifest.totals.files:,} ({manifest.totals.n_bytes:,} bytes)",
        f"  volume  {volume.number} of {volume.of}, set {volume.set_name}",
        *map(part_line, manifest.logs),
        *map(_windows_line, windows),
        *(f"  holds   {one.origin} up to {one.tree_size:,}" for one in manifest.have),
    ]
    lines += side_lines(manifest)
    lines += validity_lines(manifest)
    if manifest.purpose:
        lines.insert(2, f"  purpose {manifest.purpose}")
    said = manifest.custody
    if said.handler:
        facts = (("medium", said.media_id), ("seal", said.seal), ("ticket", said.ticket))
        more = "".join(f", {name} {value}" for name, value in facts if value)
        lines.insert(2, f"  carried {said.handler}{more}")
    return Result(data, "\n".join(lines), errors=tuple(errors))


def _windows_line(windows: ClaimedWindows) -> str:
    """Say which entries of a log without tiles are in it: from the first to one beyond the last."""
    named = ", ".join(f"{start:,}..{stop:,}" for start, stop in windows.ranges[:_NAMED_RANGES])
    more = len(windows.ranges) - _NAMED_RANGES
    rest = f" and {more:,} more ranges" if more > 0 else ""
    return (
        f"  {windows.origin}: windows of {windows.entries:,} entries, {named}{rest}"
        f" ({windows.n_bytes:,} bytes)"
    )


def _is_archive(start: bytes) -> bool:
    """Whether a file begins as a transfer bundle does: tar, gzip or zstd."""
    return start[257:262] == b"ustar" or start.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd"))


def _describe(file: Path, raw: bytes) -> Result:
    if len(raw) > MAX_FILE_BYTES:
        raise LimitError(f"expected at most {MAX_FILE_BYTES} bytes")
    found = describe_file(raw)
    lines = [f"{file}: {found.kind}, NOT VERIFIED"]
    data: dict[str, Any] = members(verified=False, kind=found.kind)
    for name, value in found.claims:
        data.setdefault(name, []).append(value)
        shown = value if isinstance(value, list) else [value]
        for one in shown:
            text = ", ".join(map(str, one.values())) if isinstance(one, dict) else str(one)
            lines.append(f"  {name:<12} {_printable(text)}")
    return Result(data, "\n".join(lines))


def _printable(text: str) -> str:
    """Return text that no terminal obeys: whatever is not printable by its code point."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def side_lines(manifest: Manifest) -> list[str]:
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
    return members(
        manifest,
        "site",
        "created_at",
        "purpose",
        "not_before",
        "expires",
        files=manifest.totals.files,
        volume=[manifest.volume.number, manifest.volume.of],
        volume_set=manifest.volume.set_name,
        contains=members(manifest.contains, "pending", "receipts", "acks", "checkpoints_seen"),
        have=[members(one, "origin", "tree_size", "root_hash") for one in manifest.have],
        custody=members(
            manifest.custody, "handler", "seal", "ticket", medium=manifest.custody.media_id
        ),
        logs=[
            members(
                origin=part.origin,
                base_size=part.base.tree_size if part.base else None,
                head_size=part.head.tree_size,
                head_root_hash=part.head.root_hash,
                tiles=part.tiles.count,
                entries=[part.entries.start, part.entries.stop] if part.entries else None,
            )
            for part in manifest.logs
        ],
    )


def part_line(part: LogPart) -> str:
    """Describe what a transfer bundle brings of one log, for people."""
    base = f"from {part.base.tree_size:,} " if part.base else ""
    entries = f", entries {part.entries.start:,}..{part.entries.stop:,}" if part.entries else ""
    return f"  {part.origin}: {base}to {part.head.tree_size:,}, {part.tiles.count:,} tiles{entries}"
