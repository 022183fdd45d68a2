"""checkpoint: what each log signed, as it was signed, and that it still holds together."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.cli.output import Result, common_options
from appliance.cli.progress import progress_bar
from appliance.cli.table import headings_option, table, table_time
from appliance.errors import CorruptError, IncompleteError
from appliance.jobs.divergence.judge import report_damage, reporting_damage
from appliance.jobs.mirror.compare_heads import ChainReport, recheck_chain, recheck_root
from appliance.jobs.mirror.shards import logs_of
from appliance.jobs.progress import Progress
from appliance.runs.session import Session, pass_session
from appliance.store.database import Store
from appliance.store.mirror.checkpoints import AcceptedCheckpoint, History
from appliance.store.mirror.logs import REKOR_V1, Log, all_logs, require_backend, require_log
from appliance.store.mirror.mirror import Mirror


@click.group(
    cls=LazyGroup,
    lazy={
        "add": "mirror.checkpoint_add:checkpoint_add",
        "prune": "mirror.checkpoint_add:checkpoint_prune",
    },
)
def checkpoint() -> None:
    """The checkpoints that were accepted, as they were signed.

    \b
    Example:
        attestor checkpoint list
    """


@checkpoint.command("list")
@click.option("--backend", "backends", metavar="ID", multiple=True, help="Its log; repeatable.")
@click.option("--origins", metavar="A,B", help="Logs by origin, separated by commas.")
@click.option("--last", type=Whole(1), help="Only the newest so many of each log.")
@headings_option
@common_options
@pass_session
def checkpoint_list(
    session: Session, backends: tuple[str, ...], origins: str | None, last: int | None
) -> Result:
    """List accepted checkpoints, the newest last. Without a choice, those of every log.

    --backend of a Rekor v1 instance means all its trees.

    \b
    Example:
        attestor checkpoint list --backend public --last 10
    """

    data, rows = [], []
    with session.reading() as store:
        for log in _logs(store, backends, origins):
            history = History(store, log)
            sizes = history.accepted_sizes()
            for size in sizes[-last:] if last else sizes:
                one = history.at(size)
                if one is not None:
                    data.append(_data(log, one))
                    rows.append(_row(log, one))
    headings = ("Origin", "Tree Size", "Root Hash", "First Seen (UTC)", "Source")
    text = "\n".join(table(headings, rows, right=("Tree Size",)))
    return Result(members(checkpoints=data), text or "no checkpoint was accepted yet")


@checkpoint.command("show")
@click.option("--backend", metavar="ID", help="Its log.")
@click.option("--origin", help="The log, by its origin.")
@click.option("--tree-size", type=Whole(0), help="Of this size.  [default: the newest]")
@common_options
@pass_session
def checkpoint_show(
    session: Session, backend: str | None, origin: str | None, tree_size: int | None
) -> Result:
    """Print what the log says last about a size, signed, with all its verified signatures.

    With --json, every note there is for that size as well, byte for byte.

    \b
    Example:
        attestor checkpoint show --backend public
    """

    with session.reading() as store:
        mirror = _mirror(store, backend, origin)
        history = mirror.history
        found = history.accepted() if tree_size is None else history.at(tree_size)
        if found is None:
            raise IncompleteError(
                f"no such checkpoint of {mirror.log.origin} was accepted here",
                reason="no-checkpoint",
                next_step="see 'attestor checkpoint list'",
            )
        size = found.head.tree_size
        notes = [note.decode() for note in history.notes(size)]
        newest = history.newest_note(size).decode()
    data = _data(mirror.log, found) | members(note=newest, notes=notes)
    return Result(data, newest.removesuffix("\n"))


@checkpoint.command("verify")
@click.option("--backend", metavar="ID", help="Its log.")
@click.option("--origin", help="The log, by its origin.")
@click.option("--tree-size", type=Whole(0), help="Recompute the root at this size.")
@common_options
@pass_session
def checkpoint_verify(
    session: Session, backend: str | None, origin: str | None, tree_size: int | None
) -> Result:
    """Open every stored note again with the pinned keys, and prove the checkpoints one chain.

    With --tree-size, recompute that root from the stored leaf hashes instead, or of a log without
    tiles (Rekor v1) from the proofs that were kept. Code 6 is damage here, 4 a log that signed two
    trees, 5 that tiles or proofs are missing. --backend of a Rekor v1 instance means all its trees,
    each a chain of its own; with --tree-size the one that it stands at.

    \b
    Example:
        attestor checkpoint verify --backend public
        attestor checkpoint verify --origin log2025-1.rekor.sigstore.dev --tree-size 81234
    """

    # For writing: a contradiction is kept as evidence before it is reported.
    with session.writing() as store:
        mirror = _mirror(store, backend, origin)
        if tree_size is not None:
            with reporting_damage(store, mirror.log, session.now()):
                root = recheck_root(mirror, tree_size, session.now())
            signed = "signed by the log" if root.signed else "a prefix of what the log signed"
            data = members(
                origin=mirror.log.origin,
                tree_size=tree_size,
                root_hash=root.head.root_hash,
                signed=root.signed,
            )
            text = (
                f"{mirror.log.origin}: root {root.head.root_hash.hex()} at {tree_size:,}, {signed}"
            )
            return Result(data, text)
        logs = [mirror.log]
        if backend is not None:
            logs = logs_of(store, require_backend(store, backend))
        with progress_bar("verify") as advance:
            chains = [(log, _checked(session, store, log, advance)) for log in logs]
    *closed, own = [_chain_result(*one) for one in chains]
    data = own.data | members(closed_trees=[one.data for one in closed])
    text = "\n".join(one.text for one in (*closed, own))
    return Result(data, text, errors=tuple(error for one in (*closed, own) for error in one.errors))


def _checked(session: Session, store: Store, log: Log, advance: Progress) -> ChainReport:
    chain = recheck_chain(Mirror(store, log), session.now(), advance)
    for damage in chain.problems:
        if isinstance(damage, CorruptError):
            report_damage(store, log, damage, session.now())
    return chain


def _chain_result(log: Log, chain: ChainReport) -> Result:

    errors = list(chain.problems)
    if chain.unproven:
        sizes = ", ".join(map(str, chain.unproven[:5]))
        is_v1 = log.api_version == REKOR_V1
        what = "proofs" if is_v1 else "tiles"
        errors.append(
            IncompleteError(
                f"{log.origin}: {what} are missing to prove {len(chain.unproven)} of"
                f" {chain.checkpoints} checkpoints ({sizes}{', …' * (len(chain.unproven) > 5)})",
                reason="no-proof" if is_v1 else "tile-missing",
                next_step="each was proven when it was taken; where the log can be reached"
                " 'attestor sync' asks for the proof again; 'attestor checkpoints prune' forgets"
                " old ones"
                if is_v1
                else "run 'attestor sync --full-tiles', or import a transfer bundle that has them",
            )
        )
    data = members(
        chain,
        "checkpoints",
        "notes",
        "proven",
        "unproven",
        origin=log.origin,
        tree_size=chain.newest.tree_size,
        root_hash=chain.newest.root_hash,
        problems=[members(one, "reason", "message") for one in chain.problems],
    )
    text = (
        f"{log.origin}: {chain.notes:,} notes opened, {chain.proven:,} of {chain.checkpoints:,}"
        f" checkpoints proven prefixes of {chain.newest.tree_size:,}"
    )
    return Result(data, text, errors=tuple(errors))


def _logs(store: Store, backends: tuple[str, ...], origins: str | None) -> tuple[Log, ...]:

    if backends and origins is not None:
        raise click.UsageError("--backend and --origins exclude each other")
    if origins is not None:
        return tuple(require_log(store, origin) for origin in origins.split(","))
    named = (require_backend(store, name) for name in backends)
    chosen = {log.id: log for one in named for log in logs_of(store, one)}
    return tuple(chosen.values()) or all_logs(store)


def _mirror(store: Store, backend: str | None, origin: str | None) -> Mirror:

    if origin is not None and backend is None:
        return Mirror(store, require_log(store, origin))
    if backend is not None and origin is None:
        return Mirror(store, require_backend(store, backend).log)
    raise click.UsageError("name the log by one of them: --backend ID or --origin O")


def _data(log: Log, one: AcceptedCheckpoint) -> dict[str, Any]:
    return members(
        one.head,
        "tree_size",
        "root_hash",
        origin=log.origin,
        first_seen=one.first_seen_at,
        source=one.source,
        detail=one.detail,
    )


def _row(log: Log, one: AcceptedCheckpoint) -> tuple[object, ...]:
    head, seen = one.head, table_time(one.first_seen_at)
    return log.origin, head.tree_size, head.root_hash.hex(), seen, one.source
