"""log: run a private Rekor v2 log out of this home."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options, warn
from appliance.cli.progress import progress_bar
from appliance.errors import ApplianceError
from appliance.jobs.private_log.create import create_log, freeze_log
from appliance.jobs.private_log.sequence import (
    move_of,
    moved_error,
    outside_memory,
    standing,
)
from appliance.runs.private_log import LogWitnesses, ready_to_sign
from appliance.runs.private_log import recover as recover_run
from appliance.runs.published_log import PublishedLog, published_log
from appliance.runs.session import Session, pass_session
from appliance.store.files import written_whole
from appliance.store.private_log.private_logs import (
    all_private_logs,
    require_private_log,
)
from appliance.times import utc

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(
    cls=LazyGroup,
    lazy={
        "add": "private_log.add:add",
        "adopt": "private_log.move:adopt",
        "client-config": "private_log.client_config:client_config",
        "get": "private_log.get:get",
        "move": "private_log.move:move",
        "serve": "private_log.serve:serve",
        "tuf-repository": "private_log.tuf_repository:tuf_repository",
        "witnesses": "private_log.witnesses:log_witnesses",
    },
)
def log() -> None:
    """A log of your own, for the clients you already have.

    \b
    Example:
        attestor log create build --origin log.example
        attestor log serve --bind 127.0.0.1:3000
    """


@log.command("create")
@click.argument("name")
@click.option("--origin", metavar="HOST", required=True, help="Bare host name; never changes.")
@click.option("--use-key", is_flag=True, help="Take keys/HOST.key, which never signed anything.")
@common_options
@pass_session
def create(session: Session, name: str, origin: str, use_key: bool) -> Result:
    """Create the log NAME: its key, its empty tree, its first checkpoint.

    ORIGIN is its identity for ever: clients find its key by it. Back up the database, the
    blobs and keys/ together, and never go back to an older backup: a log that forgot what
    it signed refuses to sign again.

    \b
    Example:
        attestor log create build --origin log.example
    """

    with session.writing() as store:
        private = create_log(
            store, name, origin, session.random_bytes(32), session.now(), use_key=use_key
        )
        published = published_log(store, private)
    return Result(_data(published), f"{name}: created {origin}, key {private.log.keys[0].vkey}")


@log.command("status")
@common_options
@pass_session
def status(session: Session) -> Result:
    """Show the logs of this home, and whether each may sign.

    \b
    Example:
        attestor log status
    """

    lines, data, errors = [], [], []
    with session.reading() as store:
        for private in all_private_logs(store):
            published = published_log(store, private)
            try:
                state = standing(store, private).value
                state = "frozen" if published.checkpoint.frozen else state
            except ApplianceError as error:
                error.message = f"{private.name}: {error.message}"
                errors.append(error)
                state = error.reason
            memory = outside_memory(store, private)
            move = move_of(store, private)
            moved_to = None if move is None else move.directory
            more = members(state=state, outside_memory=memory, moved_to=moved_to)
            data.append(_data(published) | more)
            size = published.checkpoint.head.tree_size
            lines.append(f"{private.name}: {private.log.origin} {size:,} {state}")
            lines.append(
                f"  {memory}" if move is None else f"  {moved_error(private, move).message}"
            )
    text = "\n".join(lines) or "this home runs no log"
    return Result(members(logs=data), text, errors=tuple(errors))


@log.command("recover")
@click.option("--log", "name", metavar="NAME", help="Which log, if there are several.")
@click.option("--only-copy", is_flag=True, help="The old home is gone, and logged nothing since.")
@click.option(
    "--source",
    "sources",
    metavar="URL|DIRECTORY",
    multiple=True,
    help="A mirror of it: served, a directory of tiles, or another home; repeatable.",
)
@common_options
@pass_session
def recover(
    session: Session, name: str | None, only_copy: bool, sources: tuple[str, ...]
) -> Result:
    """Let a log sign again whose home was restored, copied, moved or lost.

    Two homes that sign for one log make a fork, and so does a backup older than what was
    logged last. So the home is compared with what is outside of it: what this machine
    remembers since it was booted, the mirrors among the backends, and each --source. What a
    source has and this home lacks is taken over, proven; with the log's key alone a home can
    begin from it. Where nothing outside can tell, --only-copy says that the old home will
    never run again and logged nothing since this copy was made. What could not be compared
    is printed: if you are not sure, start a new log.

    \b
    Example:
        attestor log recover --log build --source https://mirror.example/log/
        attestor log recover --log build --only-copy
    """

    with progress_bar("recover") as advance:
        private, done = recover_run(session, name, sources, advance, warn, only_copy=only_copy)
    with session.reading() as store:
        published = published_log(store, private)
    data = _data(published) | members(done, "compared", "not_compared")
    lines = [f"{private.name}: {published.checkpoint.head.tree_size:,} entries, ready"]
    lines += [f"compared: {what}" for what in done.compared]
    lines += [f"not compared: {what}" for what in done.not_compared]
    return Result(data, "\n".join(lines))


@log.command("freeze")
@click.argument("name")
@click.option("--yes", is_flag=True, help="It cannot be undone: say that you mean it.")
@common_options
@pass_session
def freeze(session: Session, name: str, yes: bool) -> Result:
    """Close the log NAME for ever: no entry is logged after this, reading goes on.

    The last checkpoint is signed once more with a line that says so, for its mirrors.

    \b
    Example:
        attestor log freeze build --yes
    """
    if not yes:
        raise click.UsageError(f"freezing {name} cannot be undone; if you mean it, add --yes")

    with session.writing() as store:
        private = require_private_log(store, name)
        ready_to_sign(session, store, private)
        cosign = LogWitnesses(session, private, warn).cosign_in(store)
        frozen = freeze_log(store, private, session.now(), cosign).checkpoint.frozen
        published = published_log(store, private)
    size = published.checkpoint.head.tree_size
    return Result(_data(published), f"{private.log.origin}: frozen at {size:,} since {frozen}")


@log.command("trusted-root")
@click.option("--log", "name", metavar="NAME", help="Which log, if there are several.")
@click.option("--output", type=FILE, help="Write it here instead of printing it.")
@common_options
@pass_session
def trusted_root(session: Session, name: str | None, output: Path | None) -> Result:
    """Print the trusted_root.json by which Sigstore clients know the log.

    It names this log alone, which suffices for managed keys.

    \b
    Example:
        attestor log trusted-root --output trusted_root.json
    """
    from appliance.rekor.client_files import trusted_root

    with session.reading() as store:
        private = require_private_log(store, name)
    document = trusted_root(private.log.keys[0], utc(private.created_at))
    return _document("trustedRoot", document, output)


@log.command("signing-config")
@click.option("--log", "name", metavar="NAME", help="Which log, if there are several.")
@click.option("--url", required=True, help="Where clients reach 'log serve'.")
@click.option("--output", type=FILE, help="Write it here instead of printing it.")
@common_options
@pass_session
def signing_config(session: Session, name: str | None, url: str, output: Path | None) -> Result:
    """Print the signing_config.json that sends Sigstore clients to the log.

    \b
    Example:
        attestor log signing-config --url http://127.0.0.1:3000 --output signing_config.json
    """
    from appliance.rekor.client_files import signing_config

    with session.reading() as store:
        private = require_private_log(store, name)
    document = signing_config(url.rstrip("/"), utc(private.created_at), private.log.origin)
    return _document("signingConfig", document, output)


def _document(member: str, document: bytes, output: Path | None) -> Result:

    if output is not None:
        with written_whole(output, replace=True) as file:
            file.write(document)
    data = {member: json.loads(document), "output": str(output) if output else None}
    return Result(data, f"wrote {output}" if output else document.decode().removesuffix("\n"))


def _data(published: PublishedLog) -> dict[str, Any]:
    private, checkpoint = published.private, published.checkpoint
    key = private.log.keys[0]
    return members(
        checkpoint.head,
        "tree_size",
        "root_hash",
        name=private.name,
        origin=private.log.origin,
        checkpoint=published.note.decode(),
        frozen=checkpoint.frozen or None,
        vkey=key.vkey,
        log_id=b64encode(key.log_id).decode(),
        created=private.created_at,
    )
