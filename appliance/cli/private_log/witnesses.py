"""log witnesses: who cosigns a log of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.runs.private_log import set_witnesses
from appliance.runs.published_log import WitnessedLog, witnessed_log
from appliance.runs.session import Session, pass_session
from appliance.store.files import read_foreign
from appliance.store.private_log.private_logs import require_private_log
from appliance.times import utc
from appliance.tlog.tlog_policy import MAX_POLICY_BYTES

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("witnesses")
@click.argument("policy", type=FILE, required=False)
@click.option("--log", "name", metavar="NAME", help="Which log, if there are several.")
@click.option("--none", "is_removed", is_flag=True, help="Ask nobody any more.")
@common_options
@pass_session
def log_witnesses(
    session: Session, policy: Path | None, name: str | None, is_removed: bool
) -> Result:
    """Say who cosigns a log: by a POLICY file (c2sp.org/tlog-policy); without one, show it.

    Each witness line with a URL is asked for every checkpoint before it is published, for at
    most witness.timeout. 'quorum none' publishes what came by then; any other quorum lets a
    batch wait until it is reached, its clients unanswered (503). Cosignatures that come as
    files are added with 'attestor checkpoint add'.

    \b
    Example:
        attestor log witnesses witnesses.policy --log build
    """
    if policy is not None and is_removed:
        raise click.UsageError("POLICY and --none exclude each other")
    if policy is not None or is_removed:
        raw = None if policy is None else read_foreign(policy, MAX_POLICY_BYTES + 1)
        with session.writing() as store:
            set_witnesses(store, require_private_log(store, name), raw, session.now())
    with session.reading() as store:
        found = witnessed_log(store, require_private_log(store, name))
    return Result(_data(found), _text(found))


def _data(found: WitnessedLog) -> dict[str, Any]:
    return members(
        found,
        "tree_size",
        "quorum",
        "met",
        log=found.private.name,
        origin=found.private.log.origin,
        witnesses=[
            members(
                name=asked.witness.name,
                vkey=asked.witness.key.vkey,
                url=asked.witness.url or None,
                cosigned_at=asked.cosigned_at,
            )
            for asked in found.witnesses
        ],
    )


def _text(found: WitnessedLog) -> str:
    name = found.private.name
    if not found.witnesses:
        return f"{name}: no witness is asked"
    lines = [f"{name}: {found.tree_size:,} entries, quorum {found.quorum}"]
    for asked in found.witnesses:
        at = asked.cosigned_at
        did = "has not cosigned it" if at is None else f"cosigned it at {utc(at)}"
        lines.append(f"  {asked.witness.name} ({asked.witness.url or 'by file'}) {did}")
    return "\n".join(lines)
