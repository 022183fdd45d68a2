"""Check a home: the database, and that every blob a row names is here and whole.

That the bytes lead to the roots the logs signed is another question, which an audit
answers (tiles verify).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.errors import CorruptError, StoreError
from appliance.jobs.checks import CheckResult, CheckState, failed_check
from appliance.jobs.home.journal import check_chains
from appliance.jobs.progress import SILENT, Progress
from appliance.store.database import Store
from appliance.store.failures import CORRUPT, RESTORE
from appliance.store.home.integrity import foreign_key_problems, integrity_problems, schema_problems
from appliance.store.mirror.spans import span_problems
from appliance.store.references import NamedBlob, named_blobs
from appliance.value import frozen

_NAMED: Final = 20  # damaged blobs that a message names; the report has all


@frozen
class DamagedBlob:
    """A blob that is not what a row says."""

    digest: bytes
    name: str  # what it was: path and origin
    problem: str


@frozen
class CheckReport:
    """What was looked at and what is wrong."""

    blobs: int  # named by rows, each counted once a row
    database: tuple[str, ...]  # problems
    damaged: tuple[DamagedBlob, ...]
    read_data: bool = False

    @property
    def checks(self) -> tuple[CheckResult, ...]:
        """What that comes to: of the database, and of the blobs that it names."""
        return (
            _check("database", self.database, RESTORE, "whole"),
            _check(
                "blobs",
                [f"{one.name}: {one.problem}" for one in self.damaged],
                "repair them with 'attestor tiles fetch', 'attestor sync' or an import",
                f"{self.blobs:,} {'read and re-hashed' if self.read_data else 'there'}",
            )
            if self.blobs or not self.database
            else CheckResult("blobs", CheckState.SKIPPED, "needs a whole database"),
        )


def check_store(store: Store, *, read_data: bool, progress: Progress = SILENT) -> CheckReport:
    """Check everything; with `read_data` re-hash each blob, else only look at its size.

    Raises StoreError only if the database cannot be read at all.
    """
    database = integrity_problems(store)
    if database:
        # Rows out of a damaged file say nothing about blobs.
        return CheckReport(0, tuple(database), (), read_data)
    database += foreign_key_problems(store) + schema_problems(store) + span_problems(store)
    database += [error.message for error in check_chains(store)]
    blobs = 0
    damaged = []
    progress.stage("blobs", lambda: sum(1 for _ in named_blobs(store)))
    for blob in named_blobs(store):
        problem = _reread(store, blob) if read_data else _looked_at(store, blob)
        if problem:
            damaged.append(DamagedBlob(blob.digest, blob.name, problem))
        blobs += 1
        progress(1)
    return CheckReport(blobs, tuple(database), tuple(damaged), read_data)


def _check(name: str, problems: Sequence[str], next_step: str, well: str) -> CheckResult:
    if not problems:
        return CheckResult(name, CheckState.OK, well)
    more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    return failed_check(
        name,
        StoreError(
            f"{len(problems)} problems: {'; '.join(problems[:_NAMED])}{more}",
            reason=CORRUPT,
            next_step=next_step,
        ),
    )


def _looked_at(store: Store, blob: NamedBlob) -> str:
    file = store.blobs.file(blob.digest)
    if file is None:
        return "missing"
    if blob.n_bytes is not None and file.n_bytes != blob.n_bytes:
        return f"has {file.n_bytes} bytes, expected {blob.n_bytes}"
    return ""


def _reread(store: Store, blob: NamedBlob) -> str:
    try:
        data = store.blobs.get(blob.digest)
    except CorruptError as error:
        gone = error.reason == "blob-missing"
        return "missing" if gone else "damaged: its bytes have another digest"
    except StoreError as error:
        return error.message
    if blob.n_bytes is not None and len(data) != blob.n_bytes:
        return f"has {len(data)} bytes, expected {blob.n_bytes}"
    return ""
