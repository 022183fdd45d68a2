"""Receipts of imports: write ours, and accept a far side's (exporters.open_receipt_note).

The next delta for a far side starts at what its receipt says it has.

A receipt is believed about that site alone. Where it names a tree that is not ours, one of
the two was shown another log: that is refused loudly, and decides no delta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice, product

from appliance.errors import IncompleteError, RefusedError
from appliance.jobs.transfer.exporters import open_receipt_note
from appliance.jobs.transfer.ingest_log import IngestedLog
from appliance.jobs.transfer.plan import mirror_root
from appliance.jobs.transfer.receipt_text import (
    Receipt,
    ReceiptLog,
    parse_receipt,
    receipt_code,
    volumes_text,
)
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.mirror.logs import find_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.transfer.receipts import StoredReceipt, put_receipt
from appliance.store.transfer.transfers import (
    EXPORTER,
    RECEIPT,
    FarHead,
    Transfer,
    exporter_keys,
    exports_of,
    far_heads,
    find_export,
    newest_exports,
    put_far_head,
)
from appliance.tlog.merkle import Hash, TreeHead
from appliance.value import frozen
from bundles.manifest import Manifest
from bundles.strict_json import format_time

_MAX_WARNING = 500  # characters


@frozen
class Imported:
    """What was imported, and what came of it."""

    bundle_id: str
    sha256: str  # of the file, hex
    manifest: Manifest
    logs: tuple[IngestedLog, ...]
    held: tuple[ReceiptLog, ...]  # of every log in it: what is held now
    skipped: tuple[str, ...]  # origins that this site has not configured
    errors: tuple[str, ...]  # of logs that did not go on
    to_come: tuple[int, ...]  # volumes of its set not imported yet, the first NAMED_VOLUMES


def issue_receipt(it: Imported, site: str, handler: str, unsigned: bool, now: int) -> str:
    """Return the text of the receipt, to be signed."""
    reports = [log.report for log in it.logs if log.report]
    counts = {
        "files": it.manifest.totals.files,
        "tiles": sum(one.tiles for one in reports),
        "entryBundles": sum(one.entry_bundles for one in reports),
        "healed": sum(log.healed for log in it.logs),
    }
    warnings = [f"{origin} is not configured here" for origin in it.skipped]
    warnings += it.errors
    if it.to_come:
        warnings.append(f"volumes still to come: {volumes_text(it.to_come)}")
    else:
        warnings += [f"{log.origin} has a gap: {log.fill}" for log in it.logs if log.fill]
    warnings += [warning for report in reports for warning in report.warnings]
    if unsigned:
        warnings.append("nobody's signature was checked (--insecure-unsigned)")
    volume = it.manifest.volume
    return str(
        Receipt(
            it.bundle_id,
            volume.set_name,
            (volume.number, volume.of),
            it.sha256,
            site,
            now,
            handler,
            unsigned,
            counts,
            tuple(ascii(warning)[1:-1][:_MAX_WARNING] for warning in warnings),
            it.held,
        )
    )


_CLOCKS_DIFFER_SECONDS = 3600  # before anybody is told
_MAX_CANDIDATES = 4096  # heads that are tried for one transfer bundle
_MAX_EXPORTS = 200  # that are tried for a code, newest first


@frozen
class Accepted:
    """A receipt that was checked."""

    receipt: Receipt | None  # None: a code that was read over the phone
    bundle_id: str
    site: str
    heads: dict[str, TreeHead | None]  # that the site holds now, by origin
    warnings: tuple[str, ...]
    is_ours: bool = True  # this home wrote the transfer bundle


def accept_receipt(store: Store, note: bytes, now: int, *, dry_run: bool = False) -> Accepted:
    """Check a receipt and remember what it says; the second time changes nothing.

    Raises RefusedError unless a key of that site known here signed it, or if it names a
    tree that is not ours; SignatureError and MalformedError for bytes that are wrong.
    """
    signed = open_receipt_note(store, note)
    receipt = parse_receipt(signed.text)
    if receipt.site not in signed.signers:
        raise RefusedError(
            f"a receipt of {receipt.site}, signed by {', '.join(signed.signers)}",
            reason="foreign-receipt",
            next_step="a receipt counts only if the site it speaks for signed it",
        )
    heads = {log.origin: log.new for log in receipt.logs}
    _refuse_other_trees(store, receipt.site, heads)
    export = find_export(store, receipt.bundle_id)
    warnings = list(receipt.warnings)
    if export is not None and export.tar_digest.hex() != receipt.sha256:
        warnings.append(
            f"they read a file with SHA-256 {receipt.sha256}, this home wrote"
            f" {export.tar_digest.hex()}: it was wrapped again or countersigned in between"
        )
    if receipt.clock > now + _CLOCKS_DIFFER_SECONDS:
        warnings.append(
            f"the clock of {receipt.site} says {format_time(receipt.clock)}, ours"
            f" {format_time(now)}: set the one that is wrong"
        )
    if not dry_run:
        stored = StoredReceipt(receipt.bundle_id, receipt.site, False, now, note)
        _remember(store, stored, heads, receipt.clock, "receipt", now)
    is_ours = export is not None
    return Accepted(receipt, receipt.bundle_id, receipt.site, heads, tuple(warnings), is_ours)


def accept_code(store: Store, code: str, site: str, now: int, *, dry_run: bool = False) -> Accepted:
    """Find the export whose receipt has this code, among the newest ones, and remember it.

    Tried are the heads that such an import can have led to: those of that and of other
    exports, none, and what the far side was known to hold. Raises IncompleteError if no
    export fits, or no key of that site is known: every later delta starts
    where the site stands that holds least, and a name mistyped once would stand there for good.
    """
    known = dict.fromkeys(
        key.name for role in (RECEIPT, EXPORTER) for key in exporter_keys(store, role)
    )
    if site not in known:
        raise IncompleteError(
            f"no key of {site!r} is known here (known: {', '.join(known) or 'none'})",
            reason="unknown-site",
            next_step="look whether the name is right; if it is:"
            " attestor exporters add VKEY --role receipt",
        )
    options = cache(lambda origin: _possible_heads(store, origin))
    for export in newest_exports(store, _MAX_EXPORTS):
        for heads in _candidates(export, options):
            if receipt_code(site, export.bundle_id, heads) == code:
                warnings = _steps_back(store, site, heads)
                if not dry_run:
                    stored = StoredReceipt(export.bundle_id, site, False, now, b"")
                    _remember(store, stored, heads, now, "code", now)
                return Accepted(None, export.bundle_id, site, heads, warnings)
    raise IncompleteError(
        f"no export of this home has a receipt with the code {code}",
        reason="unknown-code",
        next_step="have it read again; or they imported something else since: then the receipt"
        " itself is needed",
    )


def _steps_back(store: Store, site: str, heads: Mapping[str, TreeHead | None]) -> tuple[str, ...]:
    """Say where a code tells of less than was known: it has no time, so it may be an old one."""
    return tuple(
        f"{site} was known to hold {known.tree_size:,} of {origin}, this code says"
        f" {head.tree_size if head else 0:,}: exports continue from there now; if it was an old"
        " code, accept the newest once more"
        for origin, head in heads.items()
        for known in far_heads(store, origin)
        if known.site == site and known.tree_size > (head.tree_size if head else 0)
    )


def _candidates(
    export: Transfer, possible: Callable[[str], list[TreeHead]]
) -> Iterator[dict[str, TreeHead | None]]:
    """Yield what the heads can be after an import; every log's own exported head comes first."""
    options = []
    for log in export.logs:
        heads = sorted(possible(log.origin), key=lambda head: head.tree_size != log.head_size)
        options.append([(log.origin, head) for head in (*heads, None)])
    for combination in islice(product(*options), _MAX_CANDIDATES):
        yield dict(combination)


def _possible_heads(store: Store, origin: str) -> list[TreeHead]:
    """Return the heads that a far side can stand at: exports brought it there, or it said so."""
    known = find_log(store, origin)
    if known is None:
        return []
    mirror = Mirror(store, known)
    sizes = {one.head_size for one in exports_of(store, origin)[:_MAX_EXPORTS]}
    heads = [_head(mirror, size) for size in sorted(sizes, reverse=True)]
    heads += [TreeHead(far.tree_size, far.root_hash) for far in far_heads(store, origin)]
    return list(dict.fromkeys(filter(None, heads)))


def _head(mirror: Mirror, tree_size: int) -> TreeHead | None:
    """Return our head at a size; None if we do not reach it, or lack the tiles to say."""
    head = mirror.history.mirror_checkpoint() or mirror.history.accepted()
    if head is None or not 0 < tree_size <= head.head.tree_size:
        return None
    try:
        return TreeHead(tree_size, Hash(mirror_root(mirror, head, tree_size)))
    except IncompleteError:
        return None


def _refuse_other_trees(store: Store, site: str, heads: dict[str, TreeHead | None]) -> None:
    for origin, head in heads.items():
        log = find_log(store, origin)
        ours = head and log and _head(Mirror(store, log), head.tree_size)
        if head and ours and ours != head:
            raise RefusedError(
                f"{site} says it holds another tree of {origin} at size {head.tree_size}: root"
                f" {head.root_hash.hex()}, ours is {ours.root_hash.hex()}",
                reason="other-tree",
                next_step="one of you was shown a fork: compare both checkpoints"
                f" ('attestor checkpoint show --origin {origin}' on both sides)",
            )


def _remember(
    store: Store,
    receipt: StoredReceipt,
    heads: dict[str, TreeHead | None],
    told_at: int,
    how: str,
    now: int,
) -> None:
    with store.atomic():
        put_receipt(store, receipt)
        for origin, head in heads.items():
            if head is not None:
                far = FarHead(
                    receipt.site, origin, head.tree_size, Hash(head.root_hash), told_at, how
                )
                put_far_head(store, far, now)
        append_event(
            store,
            now,
            "receipt.accepted",
            {"bundleId": receipt.bundle_id, "site": receipt.site, "how": how},
        )
