"""Import a transfer bundle: stage, authenticate, check what it needs, absorb (TRANSFER.md 3).

The medium is read once, into a private copy; nothing is believed before the exporters'
signatures are, and then only what each log's own signature allows. From there it is sync
with a transfer bundle for a source.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appliance.errors import (
    ApplianceError,
    DivergenceError,
    IncompleteError,
    MalformedError,
    RefusedError,
    SignatureError,
)
from appliance.jobs.absorb import AbsorbReport, absorb
from appliance.jobs.fill import Progress, Wanted
from appliance.jobs.follow_up import follow_up
from appliance.jobs.gaps import fill_command
from appliance.jobs.heal import heal
from appliance.jobs.judge import reporting_damage
from appliance.jobs.transfer_source import NOT_IN_BUNDLE, TransferSource
from appliance.jobs.workers import Workers
from appliance.store.checkpoints import Arrival
from appliance.store.database import Store
from appliance.store.files import open_foreign, staging_file
from appliance.store.logs import Log, find_log
from appliance.store.mirror import Mirror
from appliance.store.transfers import (
    Transfer,
    TransferredLog,
    exporter_keys,
    imported_volumes,
    record_transfer,
    was_imported,
)
from appliance.tlog.note import open_note, parse_note
from appliance.tlog.note_keys import VerifierKey
from appliance.value import frozen, replaced
from bundles.header import Header
from bundles.manifest import LogPart, Manifest
from bundles.reader import StagedInfo, stage


@frozen
class IngestedLog:
    """What a transfer bundle did for one log."""

    origin: str
    old_size: int | None  # mirror checkpoint before; None: none
    report: AbsorbReport | None  # None: a dry run
    need: int  # tiles and entry bundles it has that we lacked
    healed: int = 0  # that we had, but damaged or gone
    fill: str = ""  # the command that fills what is missing up to the accepted head; empty: nothing


@frozen
class IngestReport:
    """What one import did."""

    bundle_id: str  # SHA-256 of the manifest, hex
    sha256: str  # of the file, hex
    manifest: Manifest
    signers: tuple[str, ...]  # names of exporters who signed; empty: --insecure-unsigned
    already: bool  # this very transfer bundle was imported before
    total: int  # members
    logs: tuple[IngestedLog, ...]
    skipped: tuple[str, ...]  # origins that this site has not configured
    errors: tuple[ApplianceError, ...] = ()  # of logs that contradict themselves or are refused
    to_come: tuple[int, ...] = ()  # volumes of its set that were not imported yet


@frozen
class Rules:
    """What this site demands of a transfer bundle."""

    threshold: int = 1  # so many known exporters must have signed
    unsigned: bool = False  # --insecure-unsigned: for emergencies, recorded for ever
    dry_run: bool = False
    jobs: int = 1  # processes that hash tiles


def ingest(
    store: Store, path: Path, rules: Rules, now: int, progress: Progress = lambda _: None
) -> IngestReport:
    """Import one transfer bundle; doing it again says that it is here already.

    Raises BundleError or SignatureError if it is not what an exporter wrote, RefusedError
    if nobody we know signed it or it is outside its time window, IncompleteError if a log
    or a base is missing here, and what absorb raises. Nothing is stored before the last
    byte of it is verified.
    """
    exporters = exporter_keys(store)
    signers: list[str] = []

    def open_header(note: bytes) -> str:
        if rules.unsigned:
            return parse_note(note).text
        text, names = _open_header(note, exporters, rules.threshold)
        signers.extend(names)
        return text

    def admit(_: Header, manifest: Manifest) -> None:
        _within_its_time(manifest, now)

    with open_foreign(path) as medium, staging_file(store.home) as copy:
        staged = stage(medium, copy, open_header, admit)
        with Workers(rules.jobs, [staged.bundle.descriptor]) as workers:
            return _absorb_all(store, path, staged, rules, workers, tuple(signers), now, progress)


def _open_header(
    note: bytes, exporters: Sequence[VerifierKey], threshold: int
) -> tuple[str, list[str]]:
    try:
        opened = open_note(note, exporters)
    except SignatureError as error:
        if error.reason != "unknown-signer":
            raise
        claimed = ", ".join(one.name for one in parse_note(note).signatures)
        raise RefusedError(
            f"no exporter that this site knows signed it (it says: {claimed})",
            reason="unknown-exporter",
            next_step="check their key over another channel, then: attestor exporters add VKEY",
        ) from error
    names = [key.name for key in opened.signers]
    if len(names) < threshold:
        raise RefusedError(
            f"{len(names)} known exporters signed it ({', '.join(names)}), {threshold} must",
            reason="below-threshold",
            next_step="have another exporter sign it, or lower transfer.threshold",
        )
    return opened.text, names


def _within_its_time(manifest: Manifest, now: int) -> None:
    if manifest.not_before is not None and now < manifest.not_before:
        raise RefusedError("it may not be used yet, says its manifest", reason="not-yet-valid")
    if manifest.expires is not None and now > manifest.expires:
        raise RefusedError("it has expired, says its manifest", reason="expired")


def _absorb_all(
    store: Store,
    path: Path,
    staged: StagedInfo,
    rules: Rules,
    workers: Workers,
    signers: tuple[str, ...],
    now: int,
    progress: Progress,
) -> IngestReport:
    bundle, manifest = staged.bundle, staged.bundle.manifest
    bundle_id = bundle.header.bundle_id
    already = was_imported(store, bundle_id)
    known: list[tuple[LogPart, Log]] = []
    skipped = []
    for part in manifest.logs:
        log = find_log(store, part.origin)
        if log is None:
            skipped.append(part.origin)
        else:
            known.append((part, log))
            _require_base(Mirror(store, log), part)
    if not known:
        raise IncompleteError(
            f"no log in it is configured here: {', '.join(skipped)}",
            reason="unknown-log",
            next_step="pin its key: attestor backend add ID --origin O --public-key FILE",
        )
    logs: list[IngestedLog] = []
    absorbed: list[LogPart] = []
    errors: list[ApplianceError] = []
    for part, log in known:
        source = TransferSource(bundle, part, f"{path.name} ({bundle_id[:12]})", workers)
        mirror = Mirror(store, log)
        try:
            with reporting_damage(store, log, now):
                logs.append(_absorb_one(mirror, part, source, manifest, rules, now, progress))
        except (DivergenceError, RefusedError) as error:  # of this log: the others go on
            errors.append(error)
        else:
            absorbed.append(part)
    if errors and not logs:
        raise errors[0]
    if not rules.dry_run:
        carried = tuple(
            TransferredLog(
                part.origin,
                part.base.tree_size if part.base else None,
                part.head.tree_size,
                one.old_size,
                one.report.mirror_size if one.report else None,
            )
            for part, one in zip(absorbed, logs, strict=True)
        )
        # If we die before this, running the import again does nothing but record it.
        record_transfer(
            store,
            Transfer(
                bundle_id,
                "import",
                now,
                manifest.site,
                path.name,
                staged.sha256,
                rules.unsigned,
                carried,
                manifest.volume.set_name,
                (manifest.volume.number, manifest.volume.of),
            ),
        )
    return IngestReport(
        bundle_id,
        staged.sha256.hex(),
        manifest,
        signers,
        already,
        manifest.totals.files,
        tuple(logs),
        tuple(skipped),
        tuple(errors),
        () if rules.dry_run else _to_come(store, manifest),
    )


def _to_come(store: Store, manifest: Manifest) -> tuple[int, ...]:
    here = imported_volumes(store, manifest.volume.set_name)
    return tuple(sorted(set(range(1, manifest.volume.of + 1)) - here))


def _require_base(mirror: Mirror, part: LogPart) -> None:
    """Raise IncompleteError, naming the command that helps, unless we hold the base."""
    if part.base is None:
        return
    held = mirror.history.accepted()
    size = held.head.tree_size if held else 0
    # An accepted head is enough: the rest is found missing, and named, afterwards.
    if size < part.base.tree_size:
        command = fill_command(part.origin, covered_size(mirror), entries=bool(part.entries))
        raise IncompleteError(
            f"it continues {part.origin} from size {part.base.tree_size}, this site holds {size}",
            reason="missing-base",
            next_step=f"on the other side run: {command}",
        )


def _absorb_one(
    mirror: Mirror,
    part: LogPart,
    source: TransferSource,
    manifest: Manifest,
    rules: Rules,
    now: int,
    progress: Progress,
) -> IngestedLog:
    old_size = covered_size(mirror)
    need = sum(map(source.has, mirror.missing_tiles(part.head.tree_size)))
    need += sum(map(source.has, mirror.missing_entry_bundles(part.head.tree_size)))
    if rules.dry_run:
        return IngestedLog(part.origin, old_size, None, need)
    # A site that holds nothing yet has nothing that could have rotted.
    healed = heal(mirror, source, *source.offered()) if mirror.tile_count() else 0
    # If we die here, the mirror is what it was, with fewer holes in it.
    arrival = Arrival("import", source.description, now, manifest.data_age.newest_checkpoint)
    try:
        wanted = Wanted(
            tiles=True, entries=True, has=source.has, from_older=True, roots=source.roots
        )
        report = absorb(mirror, source, arrival, wanted, progress)
    except IncompleteError as error:
        if error.reason == NOT_IN_BUNDLE:
            command = fill_command(part.origin, old_size, entries=bool(part.entries))
            error.next_step = f"on the other side run: {command}"
        raise
    if report.tree_size != part.head.tree_size:
        raise MalformedError(
            f"{part.origin}: the manifest says size {part.head.tree_size}, "
            f"the log's checkpoint {report.tree_size}",
            reason="head-mismatch",
        )
    report = replaced(report, warnings=follow_up(mirror, "import", now))
    is_whole = report.mirror_size == report.accepted_size
    command = fill_command(part.origin, report.mirror_size, entries=bool(part.entries))
    return IngestedLog(part.origin, old_size, report, need, healed, "" if is_whole else command)


def covered_size(mirror: Mirror) -> int | None:
    """Return the size up to which every tile is here; None: none."""
    covered = mirror.history.mirror_checkpoint()
    return covered.head.tree_size if covered else None
