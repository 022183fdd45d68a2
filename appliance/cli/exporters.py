"""exporters: whose transfer bundles this site believes. Nobody is enrolled by arriving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance.cli.app import App, pass_app
from appliance.cli.output import Result, common_options

if TYPE_CHECKING:
    from appliance.tlog.note_keys import VerifierKey


@click.group()
def exporters() -> None:
    """Whose transfer bundles this site believes.

    \b
    Example:
        attestor exporters list
    """


@exporters.command("add")
@click.argument("vkey")
@click.option(
    "--role",
    type=click.Choice(["exporter", "receipt"]),
    default="exporter",
    show_default=True,
    help="What its signature counts for.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_app
def exporters_add(app: App, vkey: str, role: str, dry_run: bool) -> Result:
    """Believe transfer bundles signed by VKEY (or the file that holds it).

    Compare its key id with the far side's over another channel first:
    'attestor key show NAME' prints it there.

    \b
    Example:
        attestor exporters add outside.example+4d3a1b2c+AWx0c2...
    """
    from appliance.store.transfers import add_exporter

    key = _exporter_key(vkey)
    with app.writing() as store:
        add_exporter(store, key, [role], app.now(), dry_run=dry_run)
    data = {"name": key.name, "keyId": key.key_id.hex(), "vkey": key.vkey, "role": role}
    now = "would be" if dry_run else "is now"
    return Result(data, f"{key.name} (key id {key.key_id.hex()}) {now} believed as {role}")


@exporters.command("list")
@common_options
@pass_app
def exporters_list(app: App) -> Result:
    """List the keys believed.

    \b
    Example:
        attestor exporters list --json
    """
    from appliance.store.transfers import EXPORTER, RECEIPT, exporter_keys

    with app.reading() as store:
        found = [(role, key) for role in (EXPORTER, RECEIPT) for key in exporter_keys(store, role)]
    data = {
        "exporters": [
            {"role": role, "name": key.name, "keyId": key.key_id.hex(), "vkey": key.vkey}
            for role, key in found
        ]
    }
    lines = [f"{role:<9} {key.key_id.hex()}  {key.vkey}" for role, key in found]
    return Result(data, "\n".join(lines) or "none: add one with 'attestor exporters add VKEY'")


@exporters.command("remove")
@click.argument("vkey")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_app
def exporters_remove(app: App, vkey: str, dry_run: bool) -> Result:
    """Believe VKEY no longer; what it brought was proven and stays.

    \b
    Example:
        attestor exporters remove outside.example+4d3a1b2c+AWx0c2...
    """
    from appliance.errors import ConfigError
    from appliance.store.transfers import remove_exporter

    key = _exporter_key(vkey)
    with app.writing() as store:
        removed = remove_exporter(store, key, app.now(), dry_run=dry_run)
    if not removed:
        raise ConfigError(
            f"{key.name}+{key.key_id.hex()} is no exporter here",
            reason="unknown-exporter",
            next_step="see 'attestor exporters list'",
        )
    now = "would no longer be" if dry_run else "is no longer"
    return Result({"removed": key.vkey}, f"{key.name} {now} believed")


def _exporter_key(text: str) -> VerifierKey:
    from appliance.errors import MalformedError
    from appliance.store.files import read_foreign
    from appliance.tlog.note_keys import KeyType, parse_vkey

    if "+" not in text and not Path(text).exists():
        raise MalformedError(
            f"{text!r} is neither a verifier key (name+id+key) nor a file",
            next_step="copy the line that 'attestor key show' or 'attestor exporters list' prints",
        )
    if "+" not in text or Path(text).is_file():
        text = read_foreign(Path(text), 4096).decode("utf-8", "replace").removesuffix("\n")
    key = parse_vkey(text)
    if key.key_type is not KeyType.ED25519:
        raise MalformedError(f"{key.name}: an exporter's key is Ed25519 (type 1)")
    return key
