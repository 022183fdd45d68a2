"""log witnesses: who cosigns a log of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.jobs.private_log.sequence import policy_of
from appliance.runs.private_log import set_witnesses
from appliance.runs.session import Session, pass_session
from appliance.store.database import Store
from appliance.store.files import read_foreign
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import PrivateLog, require_private_log
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.cosignature import Cosignature, open_cosignatures
from appliance.tlog.note_keys import is_among
from appliance.tlog.tlog_policy import MAX_POLICY_BYTES, NO_QUORUM

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
        private = require_private_log(store, name)
        data = _describe(store, private)
    return Result(data, _text(data))


def _describe(store: Store, private: PrivateLog) -> dict[str, Any]:
    policy = policy_of(store, private)
    published = Mirror(store, private.log).history.mirror_checkpoint()
    found: tuple[Cosignature, ...] = ()
    if policy is not None and published is not None:
        note = Mirror(store, private.log).history.newest_note(published.head.tree_size)
        signed = open_checkpoint(note, private.log.keys, private.log.origin)
        found = open_cosignatures(signed, policy.witness_keys)
    witnesses = [
        members(
            name=witness.name,
            vkey=witness.key.vkey,
            url=witness.url or None,
            cosigned_at=next(
                (own.timestamp for own in found if is_among(own.key, [witness.key])), None
            ),
        )
        for witness in (policy.witnesses if policy else ())
    ]
    return members(
        log=private.name,
        origin=private.log.origin,
        tree_size=published.head.tree_size if published else None,
        quorum=policy.quorum if policy else NO_QUORUM,
        met=policy is None or policy.quorum_met([one.key for one in found]),
        witnesses=witnesses,
    )


def _text(data: dict[str, Any]) -> str:
    if not data["witnesses"]:
        return f"{data['log']}: no witness is asked"
    lines = [f"{data['log']}: {data['treeSize']:,} entries, quorum {data['quorum']}"]
    for one in data["witnesses"]:
        at = f"cosigned it at {one['cosignedAt']}" if one["cosignedAt"] else "has not cosigned it"
        lines.append(f"  {one['name']} ({one['url'] or 'by file'}) {at}")
    return "\n".join(lines)
