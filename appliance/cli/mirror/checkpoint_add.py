"""checkpoint add and prune: compare what others were shown, and forget what nothing rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.options import seconds_option
from appliance.cli.output import Result, common_options
from appliance.errors import ApplianceError
from appliance.jobs.divergence.gossip import Seen, compare_note
from appliance.jobs.mirror.shards import logs_of
from appliance.jobs.our_tree import forget_needless_ranges
from appliance.runs.exit_codes import as_ours, naming
from appliance.runs.session import Session, pass_session
from appliance.store.files import read_foreign
from appliance.store.mirror.checkpoints import forget_checkpoints, prunable_sizes
from appliance.store.mirror.logs import Log, all_logs, require_backend
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.note import MAX_NOTE_BYTES

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("add")
@click.argument("files", type=FILE, nargs=-1, required=True)
@common_options
@pass_session
def checkpoint_add(session: Session, files: tuple[Path, ...]) -> Result:
    """Compare signed checkpoints that somebody else was shown with our own tree.

    A checkpoint that is a prefix of our tree is stored as seen. A larger one is kept apart, and
    compared as soon as our tree is that large. One that contradicts our tree ends this with
    code 4: the log shows different trees to different people.

    \b
    Example:
        attestor checkpoint add checkpoint-from-the-other-office
    """

    data, lines = [], []
    errors: list[ApplianceError] = []
    with session.writing() as store:
        for file in files:
            try:
                with naming(file):
                    note = read_foreign(file, MAX_NOTE_BYTES)
                    seen = compare_note(store, note, str(file), session.now())
            except ApplianceError as error:
                errors.append(as_ours(error))
                data.append(members(file=file, ok=False, reason=error.reason))
            else:
                data.append(members(file=file, ok=True) | _data(seen))
                lines.append(f"{file}: {_text(seen)}")
    return Result(members(checkpoints=data), "\n".join(lines), (), tuple(errors))


@click.command("prune")
@click.option("--backend", "backends", metavar="ID", multiple=True, help="Its log; repeatable.")
@click.option("--older-than", metavar="DURATION", required=True, help="Stored before, e.g. 720h.")
@click.option(
    "--keep-latest", is_flag=True, help="Said for clarity: the newest of each log always stays."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@common_options
@pass_session
def checkpoint_prune(
    session: Session, backends: tuple[str, ...], older_than: str, keep_latest: bool, dry_run: bool
) -> Result:
    """Forget old checkpoints that nothing rests on; tiles stay, and so what can be proven.

    The newest of each log always stays, and so do its mirror checkpoint, what transfer
    bundles began or ended at, and everything that is evidence. Of a log without tiles (Rekor v1)
    the proofs go that prove nothing else. --backend of an instance means all its trees.

    \b
    Example:
        attestor checkpoint prune --older-than 720h --keep-latest
    """

    before = session.now() - int(seconds_option(older_than, "--older-than", None))
    data, lines = [], []
    with session.writing() as store:
        named = [log for name in backends for log in logs_of(store, require_backend(store, name))]
        chosen: dict[int, Log] = {log.id: log for log in named or all_logs(store)}
        with store.atomic(dry_run=dry_run):
            for log in chosen.values():
                sizes = prunable_sizes(store, log, before)
                forget_checkpoints(store, log, sizes)
                forget_needless_ranges(Mirror(store, log))
                verb = "would be forgotten" if dry_run else "forgotten"
                data.append(members(origin=log.origin, pruned=len(sizes), tree_sizes=sizes))
                lines.append(f"{log.origin}: {len(sizes):,} checkpoints {verb}")
    return Result(members(dry_run=dry_run, logs=data), "\n".join(lines) or "no log yet")


def _data(seen: Seen) -> dict[str, Any]:
    return members(
        seen,
        "origin",
        "standing",
        "accepted_size",
        tree_size=seen.head.tree_size,
        root_hash=seen.head.root_hash,
    )


def _text(seen: Seen) -> str:
    held = "nothing" if seen.accepted_size is None else f"{seen.accepted_size:,} entries"
    says = {
        "proven": f"a proven prefix of our {held}",
        "larger": f"larger than ours ({held}); kept, and compared once our tree is there",
        "undecided": "not decided, what proves it is missing here; kept, and compared once it is",
    }[seen.standing.value]
    return f"{seen.origin} at {seen.head.tree_size:,}: {says}"
