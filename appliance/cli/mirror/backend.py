"""backend: the logs this home knows, their pinned keys, and where they are reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.mirror.backend_key import key_data, log_id
from appliance.cli.options import typed
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table
from appliance.jobs.mirror.backends import (
    NewBackend,
    add_backend,
    forget_backend,
    parse_log_key,
    switch_backend,
)
from appliance.runs.exit_codes import naming
from appliance.runs.session import Session, pass_session
from appliance.store.files import read_foreign
from appliance.store.mirror.logs import (
    REKOR_V2,
    Backend,
    all_backends,
    is_tree_origin,
    known_api_version,
    require_backend,
)
from appliance.tlog.note_keys import check_key_name, same_key

FILE = click.Path(path_type=Path, dir_okay=False)
MAX_KEY_BYTES = 64 * 1024


@click.group(
    cls=LazyGroup,
    lazy={
        "verify-key": "mirror.backend_key:verify_key",
        "discover": "mirror.discover:discover",
        "key": "mirror.backend_keys:key_group",
    },
)
def backend() -> None:
    """The logs this home knows, and where they are reached.

    \b
    Example:
        attestor backend list
    """


@backend.command("add")
@click.argument("name", metavar="ID")
@click.option("--origin", required=True, help="First line of the log's checkpoints.")
@click.option("--public-key", type=FILE, required=True, help="PEM, DER or verifier key.")
@click.option("--url", help="The log's API; not needed on an isolated site.")
@click.option("--read-url", help="Where tiles are read.  [default: URL/api/v2]")
@click.option(
    "--api-version",
    type=click.Choice(["1", "2"]),
    help="Of Rekor: decides the key id.  [default: as its origin and its first answer say]",
)
@click.option("--mirror-of", metavar="ID", help="This serves the same log as that backend.")
@click.option("--policy", type=FILE, help="tlog-policy: who must have cosigned its checkpoints.")
@click.option("--another-key", is_flag=True, help="The log has this key beside those pinned here.")
@click.option("--dry-run", is_flag=True, help="Only say what would be added.")
@common_options
@pass_session
def backend_add(
    session: Session,
    name: str,
    origin: str,
    public_key: Path,
    url: str | None,
    read_url: str | None,
    api_version: str | None,
    mirror_of: str | None,
    policy: Path | None,
    another_key: bool,
    dry_run: bool,
) -> Result:
    """Pin a log's public key, and record where the log is reached.

    The key is copied into the store. Everything known of the log rests on it: compare its
    key id over another channel than the one the file came by. A log that is here already takes
    another key only with --another-key: from then on either may sign.

    The bare host name of a Rekor v1 instance stands for all its trees: each is a log of its
    own, HOST - TREE, and the backend goes on to the next one once the end of the one before
    is proven.

    \b
    Example:
        attestor backend add public --origin log2025-1.rekor.sigstore.dev \\
            --public-key log.pem --url https://LOG-HOST
    """

    version = None if api_version is None else int(api_version)
    if version != 1 and not is_tree_origin(origin):
        with typed("--origin"):
            check_key_name(origin)
    with naming(public_key):
        key_file = read_foreign(public_key, MAX_KEY_BYTES)
        parse_log_key(key_file, origin, version or REKOR_V2)
    new = NewBackend(
        name,
        origin,
        version,
        key_file,
        url,
        read_url,
        mirror_of,
        None if policy is None else read_foreign(policy, MAX_KEY_BYTES),
        another_key,
    )
    with session.writing() as store:
        added = add_backend(store, new, session.now(), dry_run=dry_run)
        version = known_api_version(store, added.backend.log) or version
    data = _backend_data(added.backend, version) | members(
        dry_run=dry_run, new_key=added.key_is_new
    )
    verb = "would be pinned" if dry_run else "is pinned"
    lines = [f"{name}: {origin}, key id {added.key.key_id.hex()} {verb}"]
    if added.backend.log.api_version == 2:
        lines.append(f"log id {log_id(added.key)}")
    warnings = []
    if added.key_is_new:
        others = [
            key.key_id.hex()
            for key in added.backend.log.keys
            if not same_key(key, added.key) and key.max_size is None
        ]
    if added.key_is_new and others:
        warnings.append(
            f"now either key may sign for {origin} ({', '.join(others)} as well);"
            f" once the log signs with the new key alone: attestor backend key retire {name} KEY-ID"
        )
    return Result(data, "\n".join(lines), tuple(warnings))


@backend.command("list")
@headings_option
@common_options
@pass_session
def backend_list(session: Session) -> Result:
    """List the backends.

    \b
    Example:
        attestor backend list
    """

    with session.reading() as store:
        found = [(one, known_api_version(store, one.log)) for one in all_backends(store)]
    rows = (
        (
            *(one.name, "enabled" if one.enabled else "disabled", one.log.origin),
            *(one.read_url or one.base_url, one.mirror_of),
        )
        for one, _ in found
    )
    lines = table(("Backend", "State", "Origin", "URL", "Mirror Of"), rows)
    text = "\n".join(lines) or "no backend yet; add one with 'attestor backend add'"
    return Result(members(backends=[_backend_data(*one) for one in found]), text)


@backend.command("show")
@click.argument("name", metavar="ID")
@common_options
@pass_session
def backend_show(session: Session, name: str) -> Result:
    """Show one backend and the pinned keys of its log.

    \b
    Example:
        attestor backend show public
    """

    with session.reading() as store:
        found = require_backend(store, name)
        version = known_api_version(store, found.log)
    state = "enabled" if found.enabled else "disabled"
    says = (
        "Rekor of a version that its first answer says" if version is None else f"Rekor v{version}"
    )
    lines = [f"{found.name}: {found.log.origin}, {says}, {state}"]
    lines += [f"  url      {found.base_url}"] if found.base_url else []
    lines += [f"  read url {found.read_url}"] if found.read_url else []
    lines += [f"  mirror of {found.mirror_of}"] if found.mirror_of else []
    for key in found.log.keys:
        lines.append(f"  key id   {key.key_id.hex()}, log id {log_id(key)}")
    if found.log.policy is not None:
        lines.append("  policy:")
        lines += [f"    {line}" for line in _policy_text(found).rstrip("\n").split("\n")]
    return Result(_backend_data(found, version), "\n".join(lines))


@backend.command("enable")
@click.argument("name", metavar="ID")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def backend_enable(session: Session, name: str, dry_run: bool) -> Result:
    """Let sync visit a backend again.

    \b
    Example:
        attestor backend enable public
    """
    return _set_enabled(session, name, enabled=True, dry_run=dry_run)


@backend.command("disable")
@click.argument("name", metavar="ID")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def backend_disable(session: Session, name: str, dry_run: bool) -> Result:
    """Let sync pass a backend by.

    \b
    Example:
        attestor backend disable public
    """
    return _set_enabled(session, name, enabled=False, dry_run=dry_run)


@backend.command("remove")
@click.argument("name", metavar="ID")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@common_options
@pass_session
def backend_remove(session: Session, name: str, dry_run: bool) -> Result:
    """Forget where a log is reached. What was accepted from it stays, and so do its keys.

    \b
    Example:
        attestor backend remove public
    """

    with session.writing() as store:
        log_too = forget_backend(store, name, session.now(), dry_run=dry_run)
    verb = "would be removed" if dry_run else "is removed"
    rest = ", and with it its log, of which nothing was stored" if log_too else "; its log stays"
    data = members(backend=name, dry_run=dry_run, log_removed=log_too)
    return Result(data, f"{name} {verb}{rest}")


def _set_enabled(session: Session, name: str, *, enabled: bool, dry_run: bool) -> Result:

    word = "enabled" if enabled else "disabled"
    with session.writing() as store:
        switch_backend(store, name, session.now(), enabled=enabled, dry_run=dry_run)
    verb = "would be" if dry_run else "is"
    data = members(backend=name, enabled=enabled, dry_run=dry_run)
    return Result(data, f"{name} {verb} {word}")


def _backend_data(one: Backend, api_version: int | None) -> dict[str, Any]:
    return members(
        one,
        "base_url",
        "read_url",
        "enabled",
        "mirror_of",
        id=one.name,
        origin=one.log.origin,
        api_version=api_version,
        policy=None if one.log.policy is None else _policy_text(one),
        keys=[key_data(key) for key in one.log.keys],
    )


def _policy_text(one: Backend) -> str:
    return (one.log.policy or b"").decode("utf-8", "replace")
