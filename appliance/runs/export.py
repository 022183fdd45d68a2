"""export: where it starts, which logs, who signs; then one transfer bundle, maybe in volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appliance.errors import IncompleteError, MalformedError
from appliance.jobs.divergence.health import home_health
from appliance.jobs.mirror.shards import logs_of
from appliance.jobs.progress import ShowProgress
from appliance.jobs.transfer.export import ExportReport, Selection
from appliance.jobs.transfer.export import export as write_export
from appliance.jobs.transfer.find_members import MAX_STATEMENT_BYTES
from appliance.jobs.transfer.manifest import Remarks
from appliance.jobs.transfer.plan import ProvenEntry
from appliance.jobs.transfer.proven_entries import proven_entries, require_ours
from appliance.jobs.transfer.receipt_text import MAX_RECEIPT_BYTES
from appliance.jobs.transfer.receipts import accept_receipt
from appliance.policy.health import Health
from appliance.runs.exit_codes import naming
from appliance.runs.session import Session
from appliance.sigstore.sigstore_bundle import MAX_BUNDLE_BYTES
from appliance.store.database import Store
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.files import read_foreign
from appliance.store.home.key_files import load_signing_key
from appliance.store.home.settings import SITE_ROLE, require_site_name, site_fact
from appliance.store.mirror.logs import (
    Log,
    all_backends,
    all_logs,
    require_backend,
    require_log,
)
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.note import parse_note, sign_note
from appliance.value import frozen


@frozen
class BaseOption:
    """What --base said to continue from: one of these; none: what the far side is known to hold."""

    full: bool = False  # from nothing: complete
    size: int | None = None  # a tree size
    receipt: Path | None = None  # what this receipt says is there
    site: str | None = None  # what this far side holds
    exports: int | None = None  # so many exports back

    @property
    def is_default(self) -> bool:
        """Whether nothing was asked for."""
        return self == BaseOption()


@frozen
class Content:
    """What travels."""

    tiles: bool = True
    entries: bool = False
    only_proven_checkpoints: bool = False  # of those seen elsewhere
    pending: bool | None = None  # what is queued here; None: on an isolated site
    sigstore_bundles: tuple[Path, ...] = ()  # if any: only what proves these
    expected: bool = False  # what the operator expects to be signed
    watches: bool = False  # what the logs are watched for
    statements: tuple[Path, ...] = ()  # signed notes of what searches found


@frozen
class ExportOptions:
    """What is to leave, and from where it continues; None: as this home is set, or decides."""

    output: Path
    backends: tuple[str, ...]  # by name
    origins: tuple[str, ...]  # neither: every log this home holds
    base: BaseOption
    full_every: int | None  # through a diode: so many exports, one of which is complete
    content: Content
    volume_bytes: int | None
    verify_media: bool | None
    remarks: Remarks
    dry_run: bool
    keys: tuple[str, ...]  # names of keys that sign besides the site's


@frozen
class ExportRun:
    """What was written, or would be."""

    report: ExportReport
    signers: tuple[str, ...]  # names of keys
    warnings: tuple[str, ...]


def export_bundle(session: Session, options: ExportOptions, show: ShowProgress) -> ExportRun:
    """Write a signed transfer bundle for the far side of the gap.

    Raises what jobs.transfer.export raises, and IncompleteError (nothing-to-export).
    """
    with session.writing() as store:
        site = require_site_name(store)
        names = dict.fromkeys((site, *options.keys))
        signers = [load_signing_key(session.home, name, session.passphrases) for name in names]
        pending = options.content.pending
        if pending is None:
            pending = site_fact(store, SITE_ROLE) == "isolated"
        proven = _proven(store, options, session.now())
        logs = _logs(store, options, proven, may_be_none=pending)
        selection = _selection(session, store, options, proven, pending=pending)
        with show("export") as progress:
            report = write_export(
                store,
                logs,
                selection,
                options.output,
                lambda text: sign_note(text, signers),
                session.now(),
                progress,
            )
        said = _health_of(session, store, logs)
        warnings = tuple(
            f"{log.origin} contradicted itself (alert {held.alert_number}): this carries only what"
            f" was accepted before; beyond {held.last_common_size:,} entries it is in doubt"
            for log in logs
            if (held := quarantine_of(store, log))
        )
    signed = tuple(one.name for one in signers)
    return ExportRun(report, signed, (*report.warnings, *warnings, *said))


def _health_of(session: Session, store: Store, logs: Sequence[Log]) -> tuple[str, ...]:
    """Say of each log that leaves why nobody should take it for the newest there is."""
    wanted = {log.id for log in logs}
    served = [one for one in all_backends(store) if one.enabled and one.log.id in wanted]
    behind = session.clock.behind
    found = home_health(store, session.now(), clock_behind=behind, backends=served).logs
    said = []
    for log in logs:
        own = [one for one in found if one.backend.log.id == log.id]
        if own and all(one.health in (Health.DEGRADED, Health.UNHEALTHY) for one in own):
            best = min(own, key=lambda one: one.health is Health.UNHEALTHY)
            said.append(f"{log.origin} is {best.health.value} here: {'; '.join(best.reasons)}")
    return tuple(said)


def _selection(
    session: Session,
    store: Store,
    options: ExportOptions,
    proven: tuple[ProvenEntry, ...] | None,
    *,
    pending: bool,
) -> Selection:
    """Decide where the export starts: by what the far side holds unless something else is asked."""
    settings, base, content = session.configuration, options.base, options.content
    overlap, volume_bytes = base.exports, options.volume_bytes
    if base.is_default or base.site:
        overlap = settings.count("transfer.overlap")
    if volume_bytes is None:
        volume_bytes = settings.optional_count("transfer.volumeSize")
    has_answers = options.full_every is None  # no diode
    return Selection(
        base.size,
        overlap,
        content.tiles,
        content.entries,
        options.remarks,
        options.dry_run,
        since=_since(store, base.receipt, session.now()),
        far_side=(base.is_default or base.site is not None) and has_answers,
        site=base.site,
        full_every=options.full_every,
        proven=proven,
        pending=pending,
        only_proven_checkpoints=content.only_proven_checkpoints,
        expected=content.expected,
        watches=content.watches,
        statements=tuple(map(_statement, content.statements)),
        volume_bytes=volume_bytes,
        verify_media=options.verify_media,
    )


def _statement(file: Path) -> bytes:
    with naming(file):
        note = read_foreign(file, MAX_STATEMENT_BYTES)
        parse_note(note)
    return note


def _since(store: Store, receipt: Path | None, now: int) -> dict[str, int]:
    """Return what a receipt says is there, by origin; it has to be one that would be accepted."""
    if receipt is None:
        return {}
    with naming(receipt):
        note = read_foreign(receipt, MAX_RECEIPT_BYTES)
        accepted = accept_receipt(store, note, now, dry_run=True)
    return {origin: head.tree_size if head else 0 for origin, head in accepted.heads.items()}


def _proven(store: Store, options: ExportOptions, now: int) -> tuple[ProvenEntry, ...] | None:
    """Return the entries of the Sigstore bundles asked for; None if none was."""
    found: list[ProvenEntry] = []
    for file in options.content.sigstore_bundles:
        with naming(file):
            try:
                entries = proven_entries(read_foreign(file, MAX_BUNDLE_BYTES))
            except MalformedError as error:
                error.next_step = (
                    error.next_step or "--for takes a Sigstore bundle: *.sigstore.json"
                )
                raise
            require_ours(store, entries, file.name, now)
        found += entries
    return tuple(found) or None


def _logs(
    store: Store,
    options: ExportOptions,
    proven: tuple[ProvenEntry, ...] | None,
    *,
    may_be_none: bool,
) -> list[Log]:
    """Return the logs to export: those asked for, else those of the entries, else all held."""
    backends, origins = options.backends, options.origins
    if proven is not None and not (backends or origins):
        origins = tuple(dict.fromkeys(one.origin for one in proven))
    if backends or origins:
        logs = [log for name in backends for log in logs_of(store, require_backend(store, name))]
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
