"""exporters: whose transfer bundles this site believes. Nobody is enrolled by arriving."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.options import verifier_key
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table
from appliance.errors import MalformedError
from appliance.jobs.transfer.exporters import replace_exporter, unknown_exporter
from appliance.runs.session import Session, pass_session
from appliance.store.revoked_keys import Revocation, revocations
from appliance.store.transfer.exporters import revoke
from appliance.store.transfer.transfers import (
    EXPORTER,
    RECEIPT,
    add_exporter,
    exporter_keys,
    remove_exporter,
)
from appliance.tlog.note_keys import KeyType, VerifierKey

FILE = click.Path(path_type=Path, dir_okay=False)
MAX_REASON = 200  # characters


@click.group(cls=LazyGroup)
def exporters() -> None:
    """Whose transfer bundles this site believes.

    \b
    Example:
        attestor exporters list
    """


@exporters.command("add")
@click.argument("vkey", required=False)
@click.option("--vkey-file", type=FILE, help="Read VKEY from this file.")
@click.option(
    "--role",
    type=click.Choice(["exporter", "receipt"]),
    default="exporter",
    show_default=True,
    help="Its transfer bundles and receipts, or its receipts alone.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def exporters_add(
    session: Session, vkey: str | None, vkey_file: Path | None, role: str, dry_run: bool
) -> Result:
    """Believe transfer bundles signed by VKEY.

    Compare its key id with the far side's over another channel first:
    'attestor key show NAME' prints it there.

    \b
    Example:
        attestor exporters add outside.example+4d3a1b2c+AWx0c2...
    """

    key = exporter_key(vkey, vkey_file)
    with session.writing() as store:
        add_exporter(store, key, [role], session.now(), dry_run=dry_run)
    data = members(key, "name", "key_id", "vkey", role=role)
    now = "would be" if dry_run else "is now"
    return Result(data, f"{key.name} (key id {key.key_id.hex()}) {now} believed as {role}")


@exporters.command("list")
@headings_option
@common_options
@pass_session
def exporters_list(session: Session) -> Result:
    """List the keys believed, and those that were revoked.

    \b
    Example:
        attestor exporters list --json
    """

    with session.reading() as store:
        revoked = revocations(store)
        found = [(role, key) for role in (EXPORTER, RECEIPT) for key in exporter_keys(store, role)]
    data = members(
        exporters=[members(key, "name", "key_id", "vkey", role=role) for role, key in found],
        revoked=[
            members(one.key, "name", "key_id", "vkey", revoked_at=one.revoked_at, reason=one.reason)
            for one in revoked
        ],
    )
    rows: list[tuple[object, ...]] = [
        (role, key.key_id.hex(), key.vkey, None) for role, key in found
    ]
    rows += [("revoked", one.key.key_id.hex(), one.key.vkey, one.reason) for one in revoked]
    lines = table(("Role", "Key Id", "Verifier Key", "Reason"), rows)
    return Result(data, "\n".join(lines) or "none: add one with 'attestor exporters add VKEY'")


@exporters.command("remove")
@click.argument("vkey", required=False)
@click.option("--vkey-file", type=FILE, help="Read VKEY from this file.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def exporters_remove(
    session: Session, vkey: str | None, vkey_file: Path | None, dry_run: bool
) -> Result:
    """Believe VKEY no longer; what it brought was proven and stays.

    What the site said it holds goes with its last key, so that a far side that is no more
    does not hold every later delta back.

    \b
    Example:
        attestor exporters remove outside.example+4d3a1b2c+AWx0c2...
    """

    key = exporter_key(vkey, vkey_file)
    with session.writing() as store:
        removed = remove_exporter(store, key, session.now(), dry_run=dry_run)
    if not removed:
        raise unknown_exporter(key)
    now = "would no longer be" if dry_run else "is no longer"
    return Result(members(removed=key.vkey), f"{key.name} {now} believed")


@exporters.command("revoke")
@click.argument("vkey", required=False)
@click.option("--vkey-file", type=FILE, help="Read VKEY from this file.")
@click.option("--reason", required=True, help="Told to whoever meets it again.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def exporters_revoke(
    session: Session, vkey: str | None, vkey_file: Path | None, reason: str, dry_run: bool
) -> Result:
    """Refuse VKEY for good, with code 8 and the reason; there is no way back.

    Only `import --insecure-unsigned`, which looks at no signature, still takes what it signed.

    \b
    Example:
        attestor exporters revoke outside.example+4d3a1b2c+AWx0c2... --reason "stick was stolen"
    """

    key = exporter_key(vkey, vkey_file)
    with session.writing() as store, store.atomic(dry_run=dry_run):
        revoke(store, Revocation(key, session.now(), _reason(reason)))
    would = "would be" if dry_run else "is"
    data = members(revoked=key.vkey, reason=reason, dry_run=dry_run)
    return Result(data, f"{key.name} (key id {key.key_id.hex()}) {would} revoked: {reason}")


@exporters.command("replace")
@click.argument("old", required=False)
@click.argument("new", required=False)
@click.option("--old-file", type=FILE, help="Read OLD from this file; NEW is then the argument.")
@click.option("--new-file", type=FILE, help="Read NEW from this file.")
@click.option("--reason", required=True, help="Why OLD counts no more.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def exporters_replace(
    session: Session,
    old: str | None,
    new: str | None,
    old_file: Path | None,
    new_file: Path | None,
    reason: str,
    dry_run: bool,
) -> Result:
    """Believe NEW in every role that OLD had, and revoke OLD, in one step.

    \b
    Example:
        attestor exporters replace --old-file old.vkey --new-file new.vkey \\
            --reason "yearly rotation"
    """

    if old_file is not None and new is None and old is not None:
        old, new = None, old  # the only argument left
    gone = exporter_key(old, old_file, name="OLD", option="--old-file")
    come = exporter_key(new, new_file, name="NEW", option="--new-file")
    with session.writing() as store:
        roles = replace_exporter(store, gone, come, _reason(reason), session.now(), dry_run=dry_run)
    data = members(revoked=gone.vkey, vkey=come.vkey, roles=roles, dry_run=dry_run)
    would = "would be" if dry_run else "is"
    return Result(
        data, f"{come.name}+{come.key_id.hex()} {would} believed, {gone.key_id.hex()} revoked"
    )


def _reason(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > MAX_REASON:
        raise click.UsageError(f"--reason: expected 1 to {MAX_REASON} printable characters")
    return text


def exporter_key(
    vkey: str | None, file: Path | None, *, name: str = "VKEY", option: str = "--vkey-file"
) -> VerifierKey:
    """Read an exporter's verifier key, given as itself or in the file of an option."""
    key = verifier_key(vkey, file, name=name, option=option)
    if key.key_type is not KeyType.ED25519:
        raise MalformedError(f"{key.name}: an exporter's key is Ed25519 (type 1)")
    return key
