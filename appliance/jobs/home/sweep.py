"""Remove files from the blob directory that nothing names (store gc, DESIGN.md invariant 5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from appliance.errors import ApplianceError
from appliance.store.blobs import BlobFile
from appliance.store.database import Store
from appliance.store.references import (
    forget_superseded,
    referenced_digests,
    superseded_blobs,
    unreferenced,
)
from appliance.value import frozen, replaced

KEEP_SECONDS: Final = 600  # readers that found a row read its blob long before


@frozen
class SweepReport:
    """What went, or in a dry run would go."""

    blobs: int  # that nothing names
    temporary: int  # left behind by runs that were killed
    n_bytes: int  # of both
    foreign: tuple[str, ...]  # files that are not ours; they stay


NOTHING: Final = SweepReport(0, 0, 0, ())


def sweep(store: Store, now: int, *, dry_run: bool) -> SweepReport:
    """Remove every blob that no row and no last-signed record names, and temporary files.

    Not what was superseded a moment ago: that has its time. The caller holds the home's lock,
    so nobody is between writing a blob and its row. Can die anywhere and be run again. Raises
    MalformedError, removing nothing, if a record is damaged: what it names must not go.
    """
    gone = NOTHING if dry_run else sweep_superseded(store, now)
    keep = referenced_digests(store) | superseded_blobs(store)
    rest = _remove(store, store.blobs.files(), keep, dry_run=dry_run)
    return replaced(rest, blobs=gone.blobs + rest.blobs, n_bytes=gone.n_bytes + rest.n_bytes)


def sweep_superseded(store: Store, now: int) -> SweepReport:
    """Remove the blobs of tiles that a wider one took the place of, ten minutes and a run ago.

    Readers take no lock: what they found named a moment ago is there for them to read. To be
    called at the beginning of a run. As sweep; raises StoreError.
    """
    before = now - KEEP_SECONDS
    files = [store.blobs.file(digest) for digest in sorted(superseded_blobs(store, before))]
    report = _remove(store, (file for file in files if file is not None), set(), dry_run=False)
    # If we die here, the next run finds them gone.
    forget_superseded(store, before, now)
    return report


def sweep_before(store: Store, now: int) -> tuple[str, ...]:
    """Do as sweep_superseded before a run whose work it is not; return what kept it from that."""
    try:
        sweep_superseded(store, now)
    except ApplianceError as error:
        return (f"what was superseded stays on the disk for now: {error.message}",)
    return ()


def sweep_these(store: Store, digests: Iterable[bytes]) -> SweepReport:
    """Remove those of these blobs that nothing names any more; as sweep."""
    found = (store.blobs.file(digest) for digest in sorted(unreferenced(store, digests)))
    return _remove(store, (file for file in found if file is not None), set(), dry_run=False)


def _remove(
    store: Store, files: Iterable[BlobFile], keep: set[bytes], *, dry_run: bool
) -> SweepReport:
    blobs = temporary = n_bytes = 0
    foreign = []
    for file in files:
        if file.digest in keep:
            continue
        if file.digest is None and not file.is_temporary:
            foreign.append(str(file.path))
            continue
        if not dry_run:
            store.blobs.remove(file)
        if file.digest is None:
            temporary += 1
        else:
            blobs += 1
        n_bytes += file.n_bytes
    return SweepReport(blobs, temporary, n_bytes, tuple(foreign))
