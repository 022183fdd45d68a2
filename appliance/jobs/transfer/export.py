"""Export: write what was planned as one transfer bundle, or as volumes.

Only what the store holds proven is exported; the far side proves it again for itself.
Every blob is re-hashed on its way out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from appliance.errors import ArgumentError, ConfigError, IncompleteError
from appliance.jobs.progress import SILENT, Progress
from appliance.jobs.transfer.manifest import NO_CUSTODY, Remarks, describe_volumes
from appliance.jobs.transfer.names import (
    WRAPS,
    compare_export,
    default_name,
    earlier_export,
    ending,
    refuse_expired,
    refuse_other_sets,
    siblings,
    volume_path,
)
from appliance.jobs.transfer.plan import BaseChoice, Contents, PlannedLog, ProvenEntry, plan_log
from appliance.jobs.transfer.side_members import Invited, collect_side_members, have_left
from appliance.jobs.transfer.volumes import Cargo, divide
from appliance.store.database import Store
from appliance.store.files import hash_file, size_of, written_whole
from appliance.store.filesystem import (
    FAT_TYPES,
    MAX_FAT_FILE_BYTES,
    filesystem_type,
    is_removable,
    read_back,
)
from appliance.store.home.settings import require_site_name
from appliance.store.mirror.logs import Log
from appliance.store.mirror.mirror import Mirror
from appliance.store.transfer.custody import CustodyFacts, append_custody
from appliance.store.transfer.receipts import record_carried
from appliance.store.transfer.transfers import (
    Transfer,
    TransferredLog,
    find_export,
    record_transfer,
)
from appliance.value import field, frozen
from bundles.manifest import Custody, Manifest
from bundles.wrap import Wrap
from bundles.writer import Written, write_bundle

_SLACK: Final = 4096  # compression adds at most one byte in so many to random ones


@frozen
class Selection:
    """What to export of each log."""

    since_size: int | None = None  # base of every log; None: by what follows
    overlap: int | None = None  # base is the head of this many exports ago; None: complete
    tiles: bool = True
    entries: bool = False
    remarks: Remarks = Remarks()
    dry_run: bool = False  # plan it and write nothing
    since: Mapping[str, int] = field(default_factory=dict)  # base by origin, as a receipt says
    far_side: bool = False  # base is what the far side is known to hold, before `overlap`
    site: str | None = None  # only that far side; None: whichever holds least
    full_every: int | None = None  # one of so many exports is complete; None: only the first
    proven: tuple[ProvenEntry, ...] | None = None  # only what proves these; None: all
    pending: bool = False  # queue items as well that cannot be logged from here
    only_proven_checkpoints: bool = False  # of those that were seen elsewhere
    expected: bool = False  # what the operator expects to be signed
    watches: bool = False  # what the logs are watched for
    statements: tuple[bytes, ...] = ()  # signed notes of what searches found
    volume_bytes: int | None = None  # of a file, at most; None: one file
    verify_media: bool | None = None  # read it back; None: if it looks like a stick

    @property
    def base(self) -> BaseChoice:
        """Where each log's delta starts."""
        return BaseChoice(
            self.since_size, self.since, self.far_side, self.site, self.overlap, self.full_every
        )

    @property
    def contents(self) -> Contents:
        """What to take of each log."""
        return Contents(self.tiles, self.entries, self.proven)

    @property
    def is_complete(self) -> bool:
        """Whether later deltas may build on it: it brings every tile from base to head."""
        return self.tiles and self.proven is None


@frozen
class ExportedFile:
    """One transfer bundle that was written."""

    path: Path
    bundle_id: str  # SHA-256 of the manifest, hex; empty: a dry run
    sha256: str  # of the file, hex; empty: a dry run
    n_bytes: int  # of the file; 0: a dry run
    manifest: Manifest
    already: bool = False  # the file was there: a run that was killed had finished it
    read_back: bool = False  # from the medium itself, and it was as written


@frozen
class ExportedWindows:
    """What leaves of the windows of one log, which its manifest does not tell."""

    origin: str
    entries: int


@frozen
class ExportReport:
    """What one export wrote; what it says of one file is about the first volume."""

    volumes: tuple[ExportedFile, ...]  # at least one
    warnings: tuple[str, ...]
    windows: tuple[ExportedWindows, ...] = ()  # of logs without tiles, in all volumes

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.volumes[0].path

    @property
    def bundle_id(self) -> str:
        """SHA-256 of its manifest, hex; empty: a dry run."""
        return self.volumes[0].bundle_id

    @property
    def sha256(self) -> str:
        """Of the file, hex; empty: a dry run."""
        return self.volumes[0].sha256

    @property
    def n_bytes(self) -> int:
        """Of all files; 0: a dry run."""
        return sum(volume.n_bytes for volume in self.volumes)

    @property
    def manifest(self) -> Manifest:
        """What it says."""
        return self.volumes[0].manifest

    @property
    def already(self) -> bool:
        """Whether everything was there."""
        return all(volume.already for volume in self.volumes)


def export(
    store: Store,
    logs: Sequence[Log],
    selection: Selection,
    output: Path,
    sign: Callable[[str], bytes],
    now: int,
    progress: Progress = SILENT,
) -> ExportReport:
    """Write a transfer bundle of `logs` to `output`, a file or a directory; record that it left.

    Where the very same was written before, by a run that was killed or that nobody heard
    of, this says so and records it. Raises IncompleteError if a log has nothing to export
    or lacks a tile, ConfigError if a base is beyond the head, a volume too small or the
    name wrong, DigestError if a stored blob is damaged, StoreError if the medium is full or
    the file is another.
    """
    in_directory = output.is_dir()
    again = ""  # the volume set that is made again, if one is
    if not in_directory and not selection.dry_run:
        earlier = next(filter(None, map(earlier_export, siblings(output))), None)
        if earlier is not None:
            refuse_expired(output, earlier, now)
            now, again = earlier.manifest.created_at, earlier.manifest.volume.set_name
    _require_logs(logs, selection.proven or ())
    planned = [
        plan_log(Mirror(store, log), selection.base, selection.contents, again) for log in logs
    ]
    is_first = all(log.base is None for log in planned)
    invited = Invited(
        is_first,
        selection.pending,
        selection.only_proven_checkpoints,
        selection.expected,
        selection.watches,
        selection.statements,
    )
    side = collect_side_members(store, logs, now, invited, again)
    if not logs and not side.members:
        raise IncompleteError(
            "nothing is here to export",
            reason="nothing-to-export",
            next_step="run 'attestor sync' first, or 'attestor queue add'",
        )
    limit = _limit(selection, output, in_directory)
    cargo = divide(planned, side, limit, store.blobs.get)
    path = (
        output / default_name(require_site_name(store), cargo[0].logs, now)
        if in_directory
        else output
    )
    manifests = describe_volumes(store, planned, cargo, selection.remarks, now)
    warnings = tuple(warning for log in planned for warning in log.warnings)
    paths = [volume_path(path, number, len(cargo)) for number in range(1, len(cargo) + 1)]
    if selection.dry_run:
        pairs = zip(paths, manifests, strict=True)
        return ExportReport(
            tuple(ExportedFile(one, "", "", 0, says) for one, says in pairs),
            warnings,
            _windows(planned),
        )
    if len(cargo) > 1:
        refuse_other_sets(path, manifests[0].volume.set_name)
    volumes = []
    for file, manifest, load in zip(paths, manifests, cargo, strict=True):
        recorded = _recorded(store, file, manifest)
        volumes.append(
            recorded or _write_volume(store, file, manifest, load, sign, selection, progress)
        )
        if recorded is None:
            # If we die before this, what travels besides leaves once more; that is noticed.
            have_left(store, load.side, volumes[-1].bundle_id, now)
    return ExportReport(tuple(volumes), warnings, _windows(planned))


def _windows(planned: Sequence[PlannedLog]) -> tuple[ExportedWindows, ...]:
    return tuple(
        ExportedWindows(log.origin, log.window_entries) for log in planned if log.window_entries
    )


def _require_logs(logs: Sequence[Log], proven: Sequence[ProvenEntry]) -> None:
    """Raise ConfigError if an entry is to be proven of a log that is not exported."""
    origins = {log.origin for log in logs}
    for one in proven:
        if one.origin not in origins:
            raise ConfigError(
                f"the Sigstore bundle is about {one.origin[:200]!r}, which is not exported",
                reason="other-log",
                next_step="leave out --backend and --origin, or name its log",
            )


def _limit(selection: Selection, output: Path, in_directory: bool) -> int | None:
    is_plain = in_directory or ending(output) == ".tar"
    limit = selection.volume_bytes
    return limit if limit is None or is_plain else limit - limit // _SLACK - 64


def _recorded(store: Store, path: Path, manifest: Manifest) -> ExportedFile | None:
    """Return the volume that is there already, of this very set, as it was recorded.

    What travels besides logs may be another by now: it left with that file.
    """
    earlier = earlier_export(path)
    left = find_export(store, earlier.header.bundle_id) if earlier else None
    if earlier is None or left is None or earlier.manifest.volume != manifest.volume:
        return None
    digest = hash_file(path, ["sha256"])["sha256"]
    if digest != left.tar_digest:
        return None
    n_bytes = size_of(path)
    return ExportedFile(path, left.bundle_id, digest.hex(), n_bytes, earlier.manifest, already=True)


def _write_volume(
    store: Store,
    path: Path,
    manifest: Manifest,
    cargo: Cargo,
    sign: Callable[[str], bytes],
    selection: Selection,
    progress: Progress,
) -> ExportedFile:
    def write(file: BinaryIO) -> Written:
        progress.stage(path.name, lambda: manifest.totals.n_bytes, n_bytes=True)
        wrap = WRAPS[ending(path)]
        return write_bundle(
            file,
            manifest=manifest,
            members=cargo.members,
            listed=cargo.listed,
            sign=sign,
            wrap=wrap,
            passed=progress,
        )

    written = None if earlier_export(path) is None else compare_export(path, write)
    already = written is not None
    if written is None:
        _refuse_on_fat(path, cargo)
        with written_whole(path) as file:
            written = write(file)
    # If we die here the stick is good and our record lacks it: whoever asks for the same
    # again gets it recorded; if nobody does, the next delta is larger.
    carried = tuple(
        TransferredLog(
            log.origin, log.base.tree_size if log.base else None, log.head.tree_size, None, None
        )
        for log in manifest.logs
    )
    left = Transfer(
        *(written.header.bundle_id, "export", manifest.created_at, manifest.site, path.name),
        *(written.sha256, False, carried),
        manifest.volume.set_name,
        (manifest.volume.number, manifest.volume.of),
        selection.is_complete,
    )
    verify_media = selection.verify_media
    if verify_media is None:
        verify_media = is_removable(path)

    def record_the_rest() -> None:
        record_carried(store, (*cargo.side.carried, *cargo.windows), left.volume_set)
        if selection.remarks.custody != NO_CUSTODY:
            append_custody(store, _custody_facts(left, selection.remarks.custody), left.at)

    try:
        if verify_media:
            n_bytes = written.n_bytes
            progress.stage(f"reading {path.name} back", lambda: n_bytes, n_bytes=True)
            read_back(path, written.sha256, progress)
        record_transfer(store, left, record_the_rest)
    except BaseException:
        # Whoever is told that it failed runs it again, and the name must be free then. If
        # the record is there after all, that is one more stick that got lost. What an
        # earlier run left is as good as it was.
        if not already:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    return ExportedFile(
        *(path, left.bundle_id, written.sha256.hex(), written.n_bytes, manifest),
        already=already,
        read_back=verify_media,
    )


def _refuse_on_fat(path: Path, cargo: Cargo) -> None:
    """Raise ArgumentError, before anything is written, for a file that FAT32 cannot hold."""
    n_bytes = cargo.n_bytes
    if n_bytes <= MAX_FAT_FILE_BYTES or filesystem_type(path.parent) not in FAT_TYPES:
        return
    if WRAPS[ending(path)] is not Wrap.PLAIN:
        return  # nobody knows yet how small it gets
    raise ArgumentError(
        f"{path} would have {n_bytes:,} bytes, and its filesystem (FAT) takes none of over"
        f" {MAX_FAT_FILE_BYTES:,}",
        reason="volume-too-large",
        next_step="give --volume-size 3900M",
    )


def _custody_facts(left: Transfer, said: Custody) -> CustodyFacts:
    facts = (said.handler, left.bundle_id, said.media_id, said.seal, said.ticket)
    return CustodyFacts("exported", *facts)
