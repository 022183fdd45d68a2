"""tiles verify and tiles fetch: audit a mirror from its blobs, and repair what is damaged."""

from __future__ import annotations

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.progress import progress_bar
from appliance.errors import ApplianceError
from appliance.jobs.divergence.judge import end_damage, reporting_damage
from appliance.jobs.mirror.audit import AuditReport, audit
from appliance.jobs.mirror.audit_windows import audit_windows
from appliance.jobs.mirror.refetch import refetch
from appliance.jobs.mirror.shards import logs_of
from appliance.jobs.our_tree import is_in_ranges
from appliance.runs.session import Session, pass_session
from appliance.runs.sources import open_backend
from appliance.store.database import Store
from appliance.store.mirror.logs import Log, require_backend, select_backends
from appliance.store.mirror.mirror import Mirror


@click.command("verify")
@click.option("--backend", "names", metavar="ID", multiple=True, help="Its log; repeatable.")
@click.option("--full", is_flag=True, help="Everything, not only what the last audit had not seen.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, help="Processes that hash.")
@common_options
@pass_session
def tiles_verify(session: Session, names: tuple[str, ...], full: bool, jobs: int) -> Result:
    """Re-hash every blob and rebuild the signed root from them.

    Continues where the last audit ended, unless --full. What is damaged is named, and an
    alert raised that lasts until all of it was found whole again. Of a Rekor v1 log, which has no
    tiles, every entry that is here is hashed and proven under the signed root, in all its trees.

    \b
    Example:
        attestor tiles verify --backend public
        attestor tiles verify --full --jobs 2
    """

    lines, data = [], []
    errors: list[ApplianceError] = []
    with session.writing() as store:
        for log in _logs(store, names):
            mirror = Mirror(store, log)
            try:
                with (
                    progress_bar(f"audit {log.origin}") as advance,
                    reporting_damage(store, log, session.now()),
                ):
                    if is_in_ranges(mirror):
                        report = audit_windows(mirror, advance)
                    else:
                        report = audit(mirror, full=full, jobs=jobs, progress=advance)
                if report.from_size == 0:
                    end_damage(store, log, session.now())
            except ApplianceError as error:
                errors.append(error)
                data.append(members(origin=log.origin, ok=False, reason=error.reason))
                continue
            data.append(
                members(
                    report,
                    "from_size",
                    "tiles",
                    "entry_bundles",
                    "entries",
                    origin=log.origin,
                    ok=True,
                    tree_size=report.head.tree_size,
                    root_hash=report.head.root_hash,
                )
            )
            lines.append(_line(report, with_tiles=not is_in_ranges(mirror)))
    return Result(members(logs=data), "\n".join(lines), (), tuple(errors))


def _logs(store: Store, names: tuple[str, ...]) -> list[Log]:
    """Return the logs of backends, with all trees of an instance that one follows."""
    found: dict[int, Log] = {}
    for backend in select_backends(store, names):
        found |= {log.id: log for log in logs_of(store, backend)}
    return list(found.values())


def _line(report: AuditReport, *, with_tiles: bool) -> str:
    root, size = report.head.root_hash.hex(), report.head.tree_size
    if with_tiles:
        return (
            f"{report.origin}: root {root} of {size:,} rebuilt ({report.tiles:,} tiles,"
            f" {report.entry_bundles:,} entry bundles read, from {report.from_size:,})"
        )
    return (
        f"{report.origin}: {report.entries:,} of {size:,} entries are here, each hashed and proven"
        f" under the root {root}"
    )


@click.command("fetch")
@click.argument("indices", type=click.IntRange(0), nargs=-1, required=True, metavar="INDEX...")
@click.option("--backend", "name", metavar="ID", required=True, help="Where to fetch them.")
@common_options
@pass_session
def tiles_fetch(session: Session, indices: tuple[int, ...], name: str) -> Result:
    """Fetch level 0 tiles by index again, with all above them and their entry bundles.

    Each is authenticated under the accepted checkpoint before it replaces what is stored.

    \b
    Example:
        attestor tiles fetch 17 18 --backend public
    """

    with session.writing() as store:
        backend = require_backend(store, name)
        with session.http() as http:
            source = open_backend(http, backend)
            report = refetch(Mirror(store, backend.log), source, indices)
    data = members(report, "origin", "tiles", "entry_bundles")
    return Result(data, "\n".join(("fetched again:", *report.tiles, *report.entry_bundles)))
