"""Import a transfer bundle: stage, authenticate, check what it needs, absorb.

The medium is read once, into a private copy; nothing is believed before the exporters'
signatures are, and then only what each log's own signature allows. From there it is sync
with a transfer bundle for a source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from appliance.errors import (
    ApplianceError,
    DivergenceError,
    IncompleteError,
    RefusedError,
    VerificationError,
)
from appliance.jobs.divergence.cross_check import CrossChecked, cross_check
from appliance.jobs.divergence.judge import reporting_damage
from appliance.jobs.mirror.follow import adopt_tree, stand_at_newest
from appliance.jobs.our_tree import covered, is_without_tiles
from appliance.jobs.progress import SILENT, Progress
from appliance.jobs.transfer.exporters import open_header_note
from appliance.jobs.transfer.ingest_log import (
    MISSING_BASE,
    IngestedLog,
    Lack,
    fill_command,
    ingest_log,
    lack_of,
)
from appliance.jobs.transfer.receipt_text import ReceiptLog, parse_receipt, volumes_to_come
from appliance.jobs.transfer.receipts import Imported, issue_receipt
from appliance.jobs.transfer.side_members import Unloaded, compare_seen, unload
from appliance.jobs.transfer.source import NOT_IN_BUNDLE, ProvingTransferSource, TransferSource
from appliance.jobs.transfer.staged_tiles import StagedTiles
from appliance.jobs.workers import Workers
from appliance.store.database import Store
from appliance.store.files import open_foreign, size_of, staging_file
from appliance.store.home.clock import SIGNED, Floor, raise_floor
from appliance.store.mirror.logs import Log, all_logs, find_log, is_tree_origin
from appliance.store.mirror.mirror import Mirror
from appliance.store.transfer.custody import CustodyFacts, append_custody
from appliance.store.transfer.receipts import StoredReceipt, our_receipt, put_receipt
from appliance.store.transfer.transfers import (
    Transfer,
    TransferredLog,
    imported_volumes,
    record_transfer,
    was_imported,
)
from appliance.tlog.note import parse_note
from appliance.value import frozen, replaced
from bundles.header import Header
from bundles.manifest import LogPart, Manifest
from bundles.reader import StagedInfo, stage
from bundles.strict_json import format_time

_LACKING = (MISSING_BASE, NOT_IN_BUNDLE)
_GRAVEST = (DivergenceError, VerificationError)  # of what can be wrong with logs
_FOR_NO_MIRROR = ("pending", "receipts", "acks", "find")  # areas of a transfer bundle


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
    errors: tuple[ApplianceError, ...] = ()  # of logs that contradict themselves, or are not taken
    to_come: tuple[int, ...] = ()  # volumes of its set not imported yet, the first NAMED_VOLUMES
    side: Unloaded = Unloaded()  # what was in it besides logs
    receipt: bytes | None = None  # signed note; None: nobody was there to sign it
    warnings: tuple[str, ...] = ()  # of no single log


@frozen
class Rules:
    """What this site demands of a transfer bundle, and who says what came of it."""

    threshold: int = 1  # so many known exporters must have signed
    unsigned: bool = False  # --insecure-unsigned: for emergencies, recorded for ever
    dry_run: bool = False
    jobs: int = 1  # processes that hash tiles
    sign: Callable[[str], bytes] | None = None  # makes the receipt a signed note; None: none
    site: str = ""  # our name, on the receipt
    handler: str = ""  # who imports it, on the receipt
    proven: Callable[[Floor], None] = lambda _: None  # told of a time that is past for sure
    clock_behind: Callable[[], str | None] = lambda: None  # why no age can be told; None: it can


def ingest(
    store: Store, path: Path, rules: Rules, now: int, progress: Progress = SILENT
) -> IngestReport:
    """Import one transfer bundle; doing it again says that it is here already.

    Raises BundleError or SignatureError if it is not what an exporter wrote, RefusedError
    if nobody we know signed it or it is outside its time window, IncompleteError if a log
    or a base is missing here, and what absorb raises. Nothing is stored before the last
    byte of it is verified.
    """
    signers: list[str] = []

    def open_header(note: bytes) -> str:
        if rules.unsigned:
            return parse_note(note).text
        signed = open_header_note(store, note, rules.threshold)
        signers.extend(signed.signers)
        return signed.text

    def admit(_: Header, manifest: Manifest) -> None:
        nonlocal now
        if not rules.unsigned and manifest.created_at > now:
            # A site we know signed that this time has come, whatever our clock says.
            source = f"a transfer bundle that {manifest.site} signed"
            rules.proven(Floor(manifest.created_at, source, SIGNED))
            now = manifest.created_at
        _within_its_time(manifest, now, rules.clock_behind())

    with (
        open_foreign(path) as medium,
        staging_file(store.home) as copy,
        Workers(rules.jobs, [copy.fileno()]) as workers,
    ):
        tiles = StagedTiles(copy, workers) if rules.jobs > 1 else None
        progress.stage("reading", lambda: size_of(path), n_bytes=True)
        passed = tiles.passed if tiles else None
        staged = stage(medium, copy, open_header, admit, passed, progress)
        it = _Ingestion(store, path, staged, rules, tiles, tuple(signers), now)
        return it.run(progress)


def _within_its_time(manifest: Manifest, now: int, clock_behind: str | None) -> None:
    if manifest.not_before is not None and now < manifest.not_before:
        raise RefusedError(
            f"it may not be used before {format_time(manifest.not_before)}, says its manifest;"
            f" by the clock, or what was signed, it is {format_time(now)}",
            reason="not-yet-valid",
            next_step="wait until then; if the clock is wrong, set it",
        )
    if manifest.expires is not None and now > manifest.expires:
        raise RefusedError(
            f"it expired at {format_time(manifest.expires)}, says its manifest;"
            f" by the clock, or what was signed, it is {format_time(now)}",
            reason="expired",
            next_step="export again on the other side; if the clock is wrong, set it",
        )
    if clock_behind is not None and (manifest.expires or manifest.not_before):
        raise IncompleteError(
            f"it is only good for a time, and {clock_behind}",
            reason="clock",
            next_step="set the clock; if it was ahead and is right now: attestor doctor"
            " --reset-clock REASON",
        )


@frozen
class _Ingestion:
    """One import whose bytes are all checked."""

    store: Store
    path: Path
    staged: StagedInfo
    rules: Rules
    tiles: StagedTiles | None  # what its full tiles are hashed and placed by; None: ourselves
    signers: tuple[str, ...]
    now: int

    def run(self, progress: Progress) -> IngestReport:
        """Absorb each log, then what else is in it; record it, and make the receipt."""
        store, rules, manifest = self.store, self.rules, self.staged.bundle.manifest
        bundle_id = self.staged.bundle.header.bundle_id
        already = was_imported(store, bundle_id)
        logs: list[IngestedLog] = []
        errors: list[ApplianceError] = []
        known, skipped = self._known(errors)
        lacks: list[Lack] = []
        lacking: list[IncompleteError] = []
        for part, log in known:
            try:
                logs.append(self._absorb(part, log, progress))
            except (
                *(DivergenceError, RefusedError, IncompleteError),
                VerificationError,  # what is signed for can be wrong, of one log and not of others
            ) as error:
                if isinstance(error, IncompleteError) and error.reason in _LACKING:
                    lacks.append(lack_of(Mirror(store, log), part))
                    lacking.append(error)
                else:
                    errors.append(error)  # of this log: the others go on
        lacks += [one.lack for one in logs if one.lack]
        command = fill_command(lacks) if lacks else ""
        logs = [replaced(one, fill=command if one.lack else "") for one in logs]
        if lacking:
            errors.append(self._all_that_is_missing(lacking, command))
        if errors and not logs:
            gravest = _all_in_one(errors)
            if not rules.dry_run:  # what came besides waits for no tile, and for no log
                side = unload(store, self.staged.bundle, self.signers, self.now)
                gravest.message += side.told()
            raise gravest
        side, compared = Unloaded(), CrossChecked()
        if not rules.dry_run:
            errors += compare_seen(store, self.staged.bundle, [log for _, log in known], self.now)
            taken = {one.origin for one in logs}
            compared = cross_check(
                store, [log for _, log in known if log.origin in taken], self.now
            )
            errors += compared.errors
            side = unload(store, self.staged.bundle, self.signers, self.now)
            for _, log in known:
                if is_tree_origin(log.origin):
                    stand_at_newest(store, log, self.now)
        report = IngestReport(
            bundle_id,
            self.staged.sha256.hex(),
            manifest,
            self.signers,
            already,
            manifest.totals.files,
            tuple(logs),
            skipped,
            tuple(errors),
            side=side,
            warnings=compared.said,
        )
        return report if rules.dry_run else self._record(report)

    def _all_that_is_missing(
        self, lacking: Sequence[IncompleteError], command: str
    ) -> IncompleteError:
        """Return one error for all logs that could not go on, with the one way home."""
        others = (
            "import its other volumes; else " if self.staged.bundle.manifest.volume.of > 1 else ""
        )
        return IncompleteError(
            "; ".join(one.message for one in lacking),
            reason=lacking[0].reason,
            next_step=f"{others}on the other side run: {command}",
        )

    def _held(self) -> tuple[ReceiptLog, ...]:
        """Return what is held now of every log in it, whatever this import did for it."""
        store, found = self.store, []
        for part in self.staged.bundle.manifest.logs:
            log = find_log(store, part.origin)
            found.append((part.origin, covered(Mirror(store, log)) if log else None))
        return tuple(ReceiptLog(origin, None, new) for origin, new in found)

    def _brings_more(self) -> bool:
        """Whether there is something in it that is for no log's mirror."""
        members = self.staged.bundle.members
        return any(True for area in _FOR_NO_MIRROR for _ in members.below(f"{area}/"))

    def _known(
        self, errors: list[ApplianceError]
    ) -> tuple[list[tuple[LogPart, Log]], tuple[str, ...]]:
        """Return what it brings of logs that are configured here or trees of these; and the rest.

        What is wrong with a tree that no key of its instance signed is added to `errors`.
        """
        manifest = self.staged.bundle.manifest
        known, skipped = [], []
        for part in manifest.logs:
            try:
                log = self._log_of(part)
            except (VerificationError, IncompleteError) as error:
                errors.append(error)
                continue
            if log is None:
                skipped.append(part.origin)
            else:
                known.append((part, log))
        if not (known or errors) and manifest.logs and not self._brings_more():
            ours = ", ".join(one.origin for one in all_logs(self.store))
            raise IncompleteError(
                "no log in it is configured here: "
                + ", ".join(part.origin for part in manifest.logs),
                reason="unknown-log",
                next_step=f"known here: {ours or 'none'}; if it belongs here, pin its key:"
                f" attestor backend add ID --origin {manifest.logs[0].origin} --public-key FILE",
            )
        return known, tuple(skipped)

    def _log_of(self, part: LogPart) -> Log | None:
        log = find_log(self.store, part.origin)
        if log is not None or not is_tree_origin(part.origin):
            return log
        source = TransferSource(self.staged.bundle, part, self.path.name)
        note, dry_run = source.checkpoint(), self.rules.dry_run
        return adopt_tree(self.store, part.origin, note, dry_run=dry_run)

    def _absorb(self, part: LogPart, log: Log, progress: Progress) -> IngestedLog:
        bundle = self.staged.bundle
        description = f"{self.path.name} ({bundle.header.bundle_id[:12]})"
        mirror = Mirror(self.store, log)
        kind = ProvingTransferSource if is_without_tiles(mirror) else TransferSource
        source = kind(bundle, part, description, self.tiles)
        with reporting_damage(self.store, log, self.now):
            return ingest_log(
                mirror,
                part,
                source,
                bundle.manifest,
                self.now,
                progress,
                dry_run=self.rules.dry_run,
            )

    def _record(self, report: IngestReport) -> IngestReport:
        store, rules, manifest = self.store, self.rules, report.manifest
        volume = manifest.volume
        here = imported_volumes(store, volume.set_name) | {volume.number}
        to_come = volumes_to_come(volume.of, here)
        old = {one.origin: one.old for one in report.logs}
        held = tuple(replaced(one, old=old.get(one.origin, one.new)) for one in self._held())
        changed = not report.already or any(one.need or one.old != one.new for one in report.logs)
        receipt = None if changed else our_receipt(store, report.bundle_id)
        if receipt is not None and not _tells(receipt, held):
            receipt, changed = None, True  # what was missing then came by another file
        if receipt is None and rules.sign is not None:
            imported = Imported(
                report.bundle_id,
                report.sha256,
                manifest,
                report.logs,
                held,
                report.skipped,
                tuple(error.message for error in report.errors),
                to_come,
            )
            text = issue_receipt(imported, rules.site, rules.handler, rules.unsigned, self.now)
            receipt = rules.sign(text)

        def keep_receipt() -> None:
            if receipt is not None:
                put_receipt(
                    store, StoredReceipt(report.bundle_id, rules.site, True, self.now, receipt)
                )

        def record_the_rest() -> None:
            keep_receipt()
            if not rules.unsigned:
                source = f"a transfer bundle that {manifest.site} signed"
                raise_floor(store, SIGNED, manifest.created_at, source)
            if rules.handler:
                said = manifest.custody
                facts = (rules.handler, report.bundle_id, said.media_id, said.seal, said.ticket)
                append_custody(store, CustodyFacts("imported", *facts), self.now)

        # If we die before this, running the import again does nothing but record it.
        if not record_transfer(store, self._transfer(report), record_the_rest) and changed:
            with store.atomic():
                keep_receipt()
        return replaced(report, to_come=to_come, receipt=receipt)

    def _transfer(self, report: IngestReport) -> Transfer:
        manifest = report.manifest
        parts = {part.origin: part for part in manifest.logs}
        return Transfer(
            report.bundle_id,
            "import",
            self.now,
            manifest.site,
            self.path.name,
            self.staged.sha256,
            self.rules.unsigned,
            tuple(_transferred(parts[one.origin], one) for one in report.logs),
            manifest.volume.set_name,
            (manifest.volume.number, manifest.volume.of),
        )


def _all_in_one(errors: Sequence[ApplianceError]) -> ApplianceError:
    """Return the gravest error, which tells of the others too."""
    gravest = next(
        (one for family in _GRAVEST for one in errors if isinstance(one, family)), errors[0]
    )
    others = [one.message for one in errors if one is not gravest]
    gravest.message = "; ".join((gravest.message, *others))
    return gravest


def _tells(note: bytes, held: Sequence[ReceiptLog]) -> bool:
    """Whether a receipt that we wrote tells of what is held now."""
    told = {one.origin: one.new for one in parse_receipt(parse_note(note).text).logs}
    return told == {one.origin: one.new for one in held}


def _transferred(part: LogPart, one: IngestedLog) -> TransferredLog:
    return TransferredLog(
        part.origin,
        part.base.tree_size if part.base else None,
        part.head.tree_size,
        one.old_size,
        one.new_size if one.report else None,
    )
