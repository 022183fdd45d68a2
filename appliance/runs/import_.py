"""import: every file in an order that works, then receipts, and what is to be said."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError, StoreError, VerificationError
from appliance.jobs.home.sweep import sweep_before
from appliance.jobs.progress import ShowProgress
from appliance.jobs.queue.settings import queue_settings
from appliance.jobs.transfer.ingest import IngestReport, Rules, ingest
from appliance.runs.after_sync import find_after, nowhere_to_send
from appliance.runs.exit_codes import EXIT_CODES, as_ours
from appliance.runs.session import Session
from appliance.store.database import Store
from appliance.store.files import create_directory, written_whole
from appliance.store.home.journal import append_event
from appliance.store.home.key_files import has_signing_key, load_signing_key
from appliance.store.home.settings import SITE_NAME, site_fact
from appliance.store.transfer.custody import CustodyFacts, append_custody
from appliance.store.transfer.unsigned import unsigned_imports
from appliance.tlog.note import sign_note
from appliance.value import frozen
from bundles.errors import BundleError, UnsupportedError

STATEMENTS: Final = "statements"  # below the home
_MAX_SAID = 500  # characters of why, in the journal
_COMES_TOO_EARLY = ("missing-base", "not-in-bundle")  # another file has to come before


@frozen
class ImportOptions:
    """How transfer bundles are taken."""

    dry_run: bool = False
    insecure_unsigned: bool = False  # take it from nobody in particular
    receipt_dir: Path | None = None  # None: receipts/ in the home
    handler: str = ""  # who imports it: stands on the receipt
    jobs: int = 1  # processes that hash
    indexes: bool = True  # what it brings, if this home has an index


@frozen
class ImportedFile:
    """What came of one file that could be taken."""

    path: Path
    report: IngestReport
    receipt: Path | None  # None: there is no key to sign one with, or it was a dry run


@frozen
class ImportRun:
    """What came of an import."""

    files: tuple[ImportedFile, ...]
    failures: tuple[ApplianceError, ...]  # of files that could not be taken
    warnings: tuple[str, ...]  # about this home

    @property
    def errors(self) -> tuple[ApplianceError, ...]:
        """What the run ends with: files refused, and logs of a file refused."""
        of_logs = (
            _failure(error, file.path) for file in self.files for error in file.report.errors
        )
        return (*self.failures, *of_logs)


def import_files(
    session: Session, files: Sequence[Path], options: ImportOptions, show: ShowProgress
) -> ImportRun:
    """Verify and absorb transfer bundles, given in any order."""
    done: list[ImportedFile] = []
    failed: dict[Path, ApplianceError] = {}
    with session.writing() as store:
        site = site_fact(store, SITE_NAME) or ""
        sign = _signer(session, site)
        rules = Rules(
            session.configuration.count("transfer.threshold"),
            options.insecure_unsigned,
            options.dry_run,
            options.jobs,
            sign,
            site,
            options.handler,
            session.clock.proven,
            lambda: session.clock.behind,
        )
        warnings = [] if options.dry_run else list(sweep_before(store, session.now()))
        waiting = list(files)
        while waiting:
            before = len(done)
            for file in waiting:
                try:
                    with show(f"import {file.name}") as advance:
                        report = ingest(store, file, rules, session.now(), advance)
                    failed.pop(file, None)
                    receipt = None
                    if not options.dry_run:
                        receipt = _write_receipt(session, report, options)
                        _write_statements(session, report)
                        for error in report.errors:
                            if isinstance(error, VerificationError):
                                _record_refusal(store, file, error, options.handler, session.now())
                    done.append(ImportedFile(file, report, receipt))
                except tuple(EXIT_CODES) as error:
                    failed[file] = _failure(error, file)
                    if not options.dry_run:
                        _record_refusal(store, file, failed[file], options.handler, session.now())
            # What another file has to come before is tried again after it: any order will do.
            late = [one for one in waiting if one in failed and _comes_too_early(failed[one])]
            waiting = late if len(done) > before and not options.dry_run else []
        unsigned = unsigned_imports(store)
        if options.insecure_unsigned:
            warnings.append("nobody's signature was checked (--insecure-unsigned); recorded")
        elif unsigned:
            warnings.append(str(unsigned))
        if sign is None and not options.dry_run:
            warnings.append(
                "no receipt: this home has no site key; make one: attestor init --site NAME"
            )
        if not options.dry_run and any(one.report.side.pending for one in done):
            warnings += nowhere_to_send(store, queue_settings(session.configuration))
    if done and not options.dry_run:
        warnings += find_after(session, indexes=options.indexes)
    return ImportRun(tuple(done), tuple(failed.values()), tuple(warnings))


def _signer(session: Session, site: str) -> Callable[[str], bytes] | None:
    if not site or not has_signing_key(session.home, site):
        return None
    key = load_signing_key(session.home, site, session.passphrases)
    return lambda text: sign_note(text, [key])


def _write_receipt(session: Session, report: IngestReport, options: ImportOptions) -> Path | None:
    """Write the receipt; it is in the store already, so importing again writes it again."""
    if report.receipt is None:
        return None
    directory = options.receipt_dir
    if directory is None:
        directory = session.home / "receipts"
        create_directory(directory)
    path = directory / f"receipt-{report.bundle_id}.note"
    with written_whole(path, replace=True) as file:
        file.write(report.receipt)
    return path


def _record_refusal(
    store: Store, file: Path, error: ApplianceError, handler: str, now: int
) -> None:
    """Write down that a file, or a log in it, was refused: for whoever asks; never fails.

    What the file says of itself, its id above all, is in neither list: nobody vouches for it.
    """
    details = {"file": file.name, "reason": error.reason, "message": error.message[:_MAX_SAID]}
    with contextlib.suppress(StoreError), store.atomic():
        append_event(store, now, "import.refused", details)
        if handler:
            name = file.name if file.name.isprintable() else ascii(file.name)
            remark = f"{name}: {error.reason}"
            append_custody(store, CustodyFacts("refused", handler, remark=remark), now)


def _write_statements(session: Session, report: IngestReport) -> None:
    """Write the signed statements that came: whoever wants to know opens them with a key."""
    for statement in report.side.found.statements:
        create_directory(session.home / STATEMENTS)
        with written_whole(
            session.home / STATEMENTS / f"{statement.digest}.note", replace=True
        ) as file:
            file.write(statement.note)


def _comes_too_early(error: ApplianceError) -> bool:
    return error.reason in _COMES_TOO_EARLY


def _failure(error: Exception, file: Path) -> ApplianceError:
    """Say which file it is, and what helps if damage explains it."""
    ours = as_ours(error, prefix=f"{file}: ")
    damaged = isinstance(error, BundleError) and not isinstance(error, UnsupportedError)
    damaged = damaged or ours.reason == "bad-signature"
    if damaged and not ours.next_step:
        ours.next_step = "copy the file to the medium again, and compare its SHA-256"
    return ours
