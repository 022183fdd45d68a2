"""key: the private keys of this home. What is printed is always the public half."""

from __future__ import annotations

from base64 import encodebytes
from pathlib import Path
from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table
from appliance.errors import ApplianceError
from appliance.jobs.home.keys import (
    DEFAULT_TYPE,
    KEY_TYPES,
    HomeKey,
    change_passphrases,
    generate_key,
    home_key,
    require_free,
    require_key,
)
from appliance.runs.session import Session, pass_session
from appliance.store.home.key_files import key_names, publisher_key_names
from appliance.store.passphrases import read_passphrase


@click.group(cls=LazyGroup)
def key() -> None:
    """The private keys of this home.

    \b
    Example:
        attestor key list
    """


@key.command("generate")
@click.argument("name")
@click.option(
    "--type",
    "key_type",
    type=click.Choice(KEY_TYPES),
    default=DEFAULT_TYPE,
    show_default=True,
    help="What it will sign.",
)
@click.option("--dry-run", is_flag=True, help="Make no key; say whether it could be made.")
@common_options
@pass_session
def key_generate(session: Session, name: str, key_type: str, dry_run: bool) -> Result:
    """Make the key NAME and print its verifier key: Ed25519, of a publisher or for digests P-256.

    With --type witness-ml-dsa-44 it is ML-DSA-44, which cosigns and signs nothing else. The
    private half stays in keys/ of this home, encrypted where a passphrase file is named
    (--passphrase-file before the command, or the setting keys.passphraseFile). Back it up with
    the store; a lost key cannot be made again.

    Example:
        attestor key generate witness.example --type witness
    """

    if dry_run:
        with session.reading() as store:
            require_free(store, name)
        return Result(members(name=name, type=key_type, dry_run=True), f"{name} is free")
    with session.writing() as store:
        made = generate_key(store, name, key_type, session.now(), session.random_bytes)
    return Result(_described(made) | members(dry_run=False), made.public.vkey)


@key.command("passphrase")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="All private keys of this home.")
@click.option(
    "--new-file",
    type=click.Path(path_type=Path, dir_okay=False, readable=False),
    help="Encrypt by the passphrase in this file.",
)
@click.option("--remove", is_flag=True, help="Keep them unencrypted.")
@click.option("--dry-run", is_flag=True, help="Open the keys and the file; change nothing.")
@common_options
@pass_session
def key_passphrase(
    session: Session,
    names: tuple[str, ...],
    every: bool,
    new_file: Path | None,
    remove: bool,
    dry_run: bool,
) -> Result:
    """Encrypt private keys, change their passphrase, or take it away.

    What opens them now is named as for every command: by --passphrase-file before it, by the
    setting keys.passphraseFile, or by a systemd credential. The keys stay the keys they are.
    Older copies of the files, on the disk and in backups, stay as they were.

    \b
    Example:
        attestor key passphrase --all --new-file /etc/attestor/passphrase
        attestor --passphrase-file /etc/attestor/passphrase key passphrase build.example --remove
    """

    if bool(names) == every:
        raise click.UsageError("either NAMEs or --all is needed")
    if (new_file is None) != remove:
        raise click.UsageError("either --new-file FILE or --remove is needed")
    with session.writing() as store:
        if every:
            names = tuple(sorted({*key_names(store.home), *publisher_key_names(store.home)}))
        new = None if new_file is None else read_passphrase(new_file)
        done = change_passphrases(store, names, new, session.now(), dry_run=dry_run)
    data = members(keys=[members(one) for one in done], dry_run=dry_run)
    state = "encrypted" if new is not None else "not encrypted"
    would = "would be " if dry_run else ""
    text = "\n".join(f"{one.name}: {would}{state}" for one in done) or "this home has no key"
    return Result(data, text)


@key.command("list")
@headings_option
@common_options
@pass_session
def key_list(session: Session) -> Result:
    """List the private keys by name, with their verifier keys.

    \b
    Example:
        attestor key list --json
    """

    found: list[HomeKey] = []
    failures: list[ApplianceError] = []
    with session.reading() as store:
        for name in sorted({*key_names(session.home), *publisher_key_names(session.home)}):
            try:
                found.append(home_key(store, name))
            except ApplianceError as error:
                failures.append(error)
    lines = table(("Type", "Verifier Key"), ((key.type, key.public.vkey) for key in found))
    if not found and not failures:
        lines = ["none: make one with 'attestor key generate NAME'"]
    return Result(
        members(keys=[_described(key) for key in found]), "\n".join(lines), errors=tuple(failures)
    )


@key.command("show")
@click.argument("name")
@click.option("--pem", is_flag=True, help="Print the public key as PEM.")
@common_options
@pass_session
def key_show(session: Session, name: str, pem: bool) -> Result:
    """Print the verifier key of NAME, for whoever has to believe it.

    \b
    Example:
        attestor key show outside.example --pem
    """
    with session.reading() as store:
        require_key(store, name)
        found = home_key(store, name)
    encoded = _pem(found.public.spki)
    data = _described(found) | members(pem=encoded)
    return Result(data, encoded.removesuffix("\n") if pem else found.public.vkey)


def _described(key: HomeKey) -> dict[str, Any]:
    return members(key.public, "name", "key_id", "vkey", type=key.type)


def _pem(spki: bytes) -> str:
    body = encodebytes(spki).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{body}-----END PUBLIC KEY-----\n"
