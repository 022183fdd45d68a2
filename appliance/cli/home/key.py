"""key: the private keys of this home. What is printed is always the public half."""

from __future__ import annotations

from base64 import encodebytes
from typing import Any, Final

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.errors import ApplianceError, ConfigError, IncompleteError
from appliance.runs.session import Session, pass_session
from appliance.store.database import Store
from appliance.store.home import key_files
from appliance.store.home.journal import append_event
from appliance.store.home.key_files import (
    has_publisher_key,
    has_signing_key,
    key_names,
    load_publisher_key,
    load_signing_key,
    publisher_key_names,
)
from appliance.store.home.settings import (
    SITE_NAME,
    key_type_fact,
    put_site_fact,
    site_fact,
)
from appliance.store.mirror.logs import all_backends
from appliance.store.private_log.private_logs import all_private_logs
from appliance.tlog.note_keys import KeyType, VerifierKey, ed25519_key
from appliance.tlog.publisher_key import SECRET_BYTES

DEFAULT_TYPE: Final = "bundle"
_PUBLISHER: Final = "publisher"  # signs entries of a log, not notes
TYPES: Final = (DEFAULT_TYPE, "log", "mirror", "witness", _PUBLISHER)
_COSIGNERS: Final = ("mirror", "witness")  # they sign checkpoints with a time


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
    type=click.Choice(TYPES),
    default=DEFAULT_TYPE,
    show_default=True,
    help="What it will sign.",
)
@click.option("--dry-run", is_flag=True, help="Make no key; say whether it could be made.")
@common_options
@pass_session
def key_generate(session: Session, name: str, key_type: str, dry_run: bool) -> Result:
    """Make the key NAME and print its verifier key: Ed25519, of a publisher P-256.

    The private half stays in keys/ of this home. Back it up with the store; a lost key
    cannot be made again.

    \b
    Example:
        attestor key generate witness.example --type witness
    """

    with session.reading() if dry_run else session.writing() as store:
        if has_signing_key(session.home, name) or has_publisher_key(session.home, name):
            raise ConfigError(
                f"a key named {name!r} exists already",
                reason="key-exists",
                next_step="choose another name; a key is never overwritten",
            )
        if dry_run:
            return Result(members(name=name, type=key_type, dry_run=True), f"{name} is free")
        with store.atomic():
            put_site_fact(store, key_type_fact(name), key_type)
            append_event(store, session.now(), "key.generated", {"name": name, "type": key_type})
            # If we die after this line, the key is there and takes the default type.
            verifier = _create(session, name, key_type)
    public = _typed(verifier, key_type)
    return Result(_described(public, key_type) | members(dry_run=False), public.vkey)


def _create(session: Session, name: str, key_type: str) -> VerifierKey:

    if key_type == _PUBLISHER:
        secret = session.random_bytes(SECRET_BYTES)
        return key_files.create_publisher_key(session.home, name, secret).verifier
    seed = session.random_bytes(key_files.SEED_BYTES)
    return key_files.create_signing_key(session.home, name, seed).verifier


@key.command("list")
@common_options
@pass_session
def key_list(session: Session) -> Result:
    """List the private keys by name, with their verifier keys.

    \b
    Example:
        attestor key list --json
    """

    found: list[dict[str, Any]] = []
    failures: list[ApplianceError] = []
    with session.reading() as store:
        for name in sorted({*key_names(session.home), *publisher_key_names(session.home)}):
            try:
                public, key_type = _load(session, store, name)
            except ApplianceError as error:
                failures.append(error)
            else:
                found.append(_described(public, key_type))
    lines = [f"{one['type']:<9} {one['vkey']}" for one in found]
    if not found and not failures:
        lines = ["none: make one with 'attestor key generate NAME'"]
    return Result(members(keys=found), "\n".join(lines), errors=tuple(failures))


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
        if not (has_signing_key(session.home, name) or has_publisher_key(session.home, name)):
            raise IncompleteError(
                f"there is no key {name!r} in this home",
                reason="no-key",
                next_step=_instead(session, store, name),
            )
        public, key_type = _load(session, store, name)
    encoded = _pem(public.spki)
    data = _described(public, key_type) | members(pem=encoded)
    return Result(data, encoded.removesuffix("\n") if pem else public.vkey)


def _instead(session: Session, store: Store, name: str) -> str:
    """Say what leads to the key that was meant: it is under another name, or to be made."""
    for one in all_private_logs(store):
        if one.name == name:
            return f"the key of the log {name} has the log's origin: attestor key show" + (
                f" {one.log.origin}"
            )
        if one.log.origin == name:
            return (
                "it is the key of a log of this home: put it back from a backup of keys/; another"
                " key of this name would be another log's"
            )
    for backend in all_backends(store):
        if name in (backend.name, backend.log.origin):
            return (
                "what is kept here is public, of a log that is mirrored: attestor backend key list"
                f" {backend.name}"
            )
    if site_fact(store, SITE_NAME) == name:
        return f"it is this site's own, which is made by: attestor init --site {name}"
    there = sorted({*key_names(session.home), *publisher_key_names(session.home)})
    if there:
        return f"there are {', '.join(there)}: attestor key show {there[0]}"
    return (
        "this home has no key yet; a site's is made by 'attestor init --site NAME', a log's by"
        " 'attestor log create', others by 'attestor key generate NAME --type TYPE'"
    )


def _load(session: Session, store: Store, name: str) -> tuple[VerifierKey, str]:

    if has_publisher_key(session.home, name):
        return load_publisher_key(session.home, name).verifier, _PUBLISHER
    verifier = load_signing_key(session.home, name).verifier
    # init and `log create` make keys too, and record no type: it follows from the name.
    is_log = any(one.log.origin == name for one in all_private_logs(store))
    key_type = site_fact(store, key_type_fact(name)) or ("log" if is_log else DEFAULT_TYPE)
    return _typed(verifier, key_type), key_type


def _typed(verifier: VerifierKey, key_type: str) -> VerifierKey:
    """Return the public key as its type is known by: cosigners have an id of their own."""

    if key_type not in _COSIGNERS:
        return verifier
    return ed25519_key(verifier.name, verifier.key, KeyType.COSIGNATURE)


def _described(public: VerifierKey, key_type: str) -> dict[str, Any]:
    return members(public, "name", "key_id", "vkey", type=key_type)


def _pem(spki: bytes) -> str:
    body = encodebytes(spki).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{body}-----END PUBLIC KEY-----\n"
