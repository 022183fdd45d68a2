"""index: where to look in the mirrored entries. Derived, and disposable."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.cli.output import Result, common_options
from appliance.cli.progress import progress_bar
from appliance.jobs.find.indexing import LogIndex
from appliance.runs.find import (
    build_index,
    check_index,
    delete_index,
    index_status,
    rebuild_index,
)
from appliance.runs.session import Session, pass_session


@click.group(cls=LazyGroup)
def index() -> None:
    """Where to look for digests, keys and names in the mirrored entries.

    The index is a file of its own, index.db, made from the entry bundles and in no backup.
    It only proposes: 'attestor entries search' reads each entry again and proves it. Once
    it exists, sync and import keep it up to date.

    \b
    Example:
        attestor index build
    """


@index.command("status")
@common_options
@pass_session
def status(session: Session) -> Result:
    """Show how much of each log is indexed.

    \b
    Example:
        attestor index status
    """

    found = index_status(session)
    data = members(bytes=found.n_bytes, logs=[_data(one) for one in found.logs])
    lines = [
        f"{one.origin}: {one.indexed:,} of {one.mirrored:,} mirrored entries indexed,"
        f" {one.opaque:,} could not be read whole"
        for one in found.logs
    ] or ["no log is known here"]
    size = "no index" if found.n_bytes is None else f"{found.n_bytes:,} bytes"
    return Result(data, "\n".join([*lines, f"index.db: {size}"]))


@index.command("build")
@click.option("--origin", "origins", multiple=True, help="Only this log; repeatable.")
@click.option("--limit", type=Whole(1), help="At most so many entry bundles, 256 entries each.")
@common_options
@pass_session
def build(session: Session, origins: tuple[str, ...], limit: int | None) -> Result:
    """Index what is mirrored and not indexed yet; what was done before is kept.

    Needs the entry bundles ('attestor sync --entries'). Interrupted, the next run goes on.

    \b
    Example:
        attestor index build
        attestor index build --origin log.example --limit 100
    """

    return _built(build_index(session, origins, limit, progress_bar))


@index.command("rebuild")
@common_options
@pass_session
def rebuild(session: Session) -> Result:
    """Make the index anew from the entry bundles: after damage, or for another format.

    \b
    Example:
        attestor index rebuild
    """

    return _built(rebuild_index(session, progress_bar))


@index.command("check")
@click.option(
    "--every",
    type=Whole(1),
    default=1,
    show_default=True,
    help="Read only every n-th entry bundle.",
)
@common_options
@pass_session
def check(session: Session, every: int) -> Result:
    """Read the entries again and ask the index for each: 6 if it misses one it says it has.

    Its file is read whole first, whatever --every says: 6 if it is damaged.

    \b
    Example:
        attestor index check --every 100
    """

    compared = check_index(session, every, progress_bar)
    text = f"all of {compared.entries:,} entries can be found"
    return Result(members(entries=compared.entries), text)


@index.command("drop")
@common_options
@pass_session
def drop(session: Session) -> Result:
    """Delete the index. Sync and import no longer keep one; nothing else is lost.

    \b
    Example:
        attestor index drop
    """

    was = delete_index(session)
    return Result(members(dropped=was), "the index is gone" if was else "there was no index")


def _built(entries: int) -> Result:
    return Result(members(entries=entries), f"{entries:,} entries indexed")


def _data(one: LogIndex) -> dict[str, Any]:
    return members(one, "origin", "mirrored", "indexed", "opaque")
