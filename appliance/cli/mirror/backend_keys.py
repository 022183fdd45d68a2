"""backend key: the pinned keys of a log, since when each is, and until when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.mirror.backend_key import key_data
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table, table_time
from appliance.jobs.log_keys import retire_key
from appliance.jobs.mirror.backends import find_key, revoke_key
from appliance.runs.session import Session, pass_session
from appliance.store.database import Store
from appliance.store.mirror.logs import KeyLife, Log, all_logs, key_lives, require_backend
from appliance.store.revoked_keys import Revocation, find_revocation
from appliance.times import utc
from appliance.tlog.note_keys import VerifierKey


@click.group("key", cls=LazyGroup)
def key_group() -> None:
    """The keys that are pinned for a log: in force, retired, revoked.

    \b
    Example:
        attestor backend key list
    """


@key_group.command("list")
@click.argument("name", metavar="[ID]", required=False)
@headings_option
@common_options
@pass_session
def key_list(session: Session, name: str | None) -> Result:
    """List the keys of each log, or of one backend's log, with their state and since when.

    \b
    Example:
        attestor backend key list public
    """

    with session.reading() as store:
        logs = all_logs(store) if name is None else (require_backend(store, name).log,)
        found = [
            (log, life, find_revocation(store, life.key))
            for log in logs
            for life in key_lives(store, log)
        ]
    headings = ("Key Id", "State", "Origin", "Pinned (UTC)", "At Size", "Remark")
    lines = table(headings, (_row(*one) for one in found), right=("At Size",))
    return Result(
        members(keys=[_data(*one) for one in found]), "\n".join(lines) or "no key is pinned"
    )


@key_group.command("retire")
@click.argument("name", metavar="ID")
@click.argument("key_id")
@click.option("--reason", required=True, help="Told to whoever meets it again.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def key_retire(session: Session, name: str, key_id: str, reason: str, dry_run: bool) -> Result:
    """Let a key of a log sign nothing from now on; what it signed until here stays good.

    That is how a log's rotation ends: 'backend add ID --another-key' with the new key first,
    then this for the old key. A larger tree that the old key alone signed is refused (8,
    retired-key).

    \b
    Example:
        attestor backend key retire public 4d3a1b2c --reason "rotated"
    """

    return _ended(session, name, key_id, reason, retire_key, dry_run=dry_run)


@key_group.command("revoke")
@click.argument("name", metavar="ID")
@click.argument("key_id")
@click.option("--reason", required=True, help="Told to whoever meets it again.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def key_revoke(session: Session, name: str, key_id: str, reason: str, dry_run: bool) -> Result:
    """Let a key of a log count for nothing any more; there is no way back.

    'verify' refuses (8) whatever rests on it, whoever names it; nothing newer of the log is
    taken by it. What was mirrored stays, and can be looked at.

    \b
    Example:
        attestor backend key revoke public 4d3a1b2c --reason "it was stolen"
    """

    return _ended(session, name, key_id, reason, revoke_key, dry_run=dry_run)


def _ended(
    session: Session,
    name: str,
    key_id: str,
    reason: str,
    end: Callable[[Store, Log, VerifierKey, int, str], int],
    *,
    dry_run: bool,
) -> Result:
    """Retire or revoke a key, and say so."""
    with session.writing() as store, store.atomic(dry_run=dry_run):
        log = require_backend(store, name).log
        key = find_key(log, key_id)
        size = end(store, log, key, session.now(), reason)
    data = members(backend=name) | key_data(key)
    data |= members(tree_size=size, reason=reason, dry_run=dry_run)
    would = "would be" if dry_run else "is"
    what = f"retired at {size:,} entries" if end is retire_key else f"revoked: {reason}"
    return Result(data, f"key id {key.key_id.hex()} of {log.origin} {would} {what}")


def _state(life: KeyLife, revocation: Revocation | None) -> str:
    if revocation is not None:
        return "revoked"
    return "pinned" if life.retired_at is None else "retired"


def _data(log: Log, life: KeyLife, revocation: Revocation | None) -> dict[str, Any]:
    return (
        members(origin=log.origin)
        | key_data(life.key)
        | members(
            life,
            "pinned_at",
            "since_size",
            "valid_from",
            "valid_until",
            "retired_at",
            "retired_size",
            api_version=log.api_version,
            may_sign_timestamps=log.api_version == 1,
            state=_state(life, revocation),
            revoked_at=revocation.revoked_at if revocation else None,
            reason=revocation.reason if revocation else life.retired_reason,
        )
    )


def _row(log: Log, life: KeyLife, revocation: Revocation | None) -> tuple[object, ...]:
    remarks = []
    if life.valid_until is not None:
        remarks.append(f"its window in the trusted root ends {utc(life.valid_until)}")
    if revocation is not None:
        remarks.append(f"revoked {utc(revocation.revoked_at)}: {revocation.reason}")
    elif life.retired_at is not None:
        remarks.append(
            f"retired {utc(life.retired_at)} at {life.retired_size:,} entries:"
            f" {life.retired_reason}"
        )
    size = None if life.pinned_at is None else life.since_size or 0
    return (
        *(life.key.key_id.hex(), _state(life, revocation), log.origin),
        *(table_time(life.pinned_at), size, ", ".join(remarks)),
    )
