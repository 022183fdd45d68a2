"""Remove files from the blob directory that nothing names (store gc, DESIGN.md invariant 5)."""

from __future__ import annotations

from collections.abc import Iterable

from appliance.store.blobs import BlobFile
from appliance.store.database import Store
from appliance.store.references import referenced_digests, unreferenced
from appliance.value import frozen


@frozen
class SweepReport:
    """What went, or in a dry run would go."""

    blobs: int  # that nothing names
    temporary: int  # left behind by runs that were killed
    n_bytes: int  # of both
    foreign: tuple[str, ...]  # files that are not ours; they stay


def sweep(store: Store, *, dry_run: bool) -> SweepReport:
    """Remove every blob that no row and no last-signed record names, and temporary files.

    The caller holds the home's lock, so nobody is between writing a blob and its row. Can
    die anywhere and be run again. Raises MalformedError, removing nothing, if a record is
    damaged: what it names must not go.
    """
    keep = referenced_digests(store)
    return _remove(store, store.blobs.files(), keep, dry_run=dry_run)


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
