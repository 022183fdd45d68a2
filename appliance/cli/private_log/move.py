"""log move, log adopt: a private log goes on under rekor-server-posix, and comes back."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options, warn
from appliance.cli.progress import progress_bar
from appliance.runs.log_move import adopt as adopt_run
from appliance.runs.log_move import cancel as cancel_run
from appliance.runs.log_move import move as move_run
from appliance.runs.session import Session, pass_session

DIRECTORY = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("move")
@click.option("--to", "directory", metavar="DIR", type=DIRECTORY, help="A new or empty directory.")
@click.option("--log", "name", metavar="NAME", help="Which log, if there are several.")
@click.option("--write-key", metavar="FILE", type=FILE, help="Write the log's key there (PKCS#8).")
@click.option(
    "--dry-run", is_flag=True, help="Only say what would be written, and what is in the way."
)
@click.option("--cancel", is_flag=True, help="Let the log stay, if its move was not finished.")
@common_options
@pass_session
def move(
    session: Session,
    directory: Path | None,
    name: str | None,
    write_key: Path | None,
    dry_run: bool,
    cancel: bool,
) -> Result:
    """Write a log out as the storage of rekor-server-posix, which has it from then on.

    The same key signs the same tree there, and this home signs nothing for it any more; it
    still proves what it holds. Every byte is read again from the disk and hashed up to the
    signed root before the other server can start. Killed at any place, the same command goes
    on. The server's command line is printed; the key leaves this home only by --write-key.
    'log adopt' is the way back. When to move, and how: docs/growing.md.

    \b
    Example:
        attestor log move --to /srv/rekor --write-key /srv/rekor.key.pem
        attestor log move --to /srv/rekor --dry-run
    """

    if cancel:
        if directory is not None or write_key is not None or dry_run:
            raise click.UsageError("--cancel goes with --log alone")
        private, checkpoint = cancel_run(session, name)
        data = members(checkpoint.head, "tree_size", "root_hash", log=private.name)
        return Result(
            data, f"{private.name}: stays here, with {checkpoint.head.tree_size:,} entries"
        )
    if directory is None:
        raise click.UsageError("say where to: --to DIR")
    with progress_bar("move") as advance:
        private, done = move_run(
            session, name, directory, write_key, advance, warn, dry_run=dry_run
        )
    storage = directory.absolute()
    command = [
        *("rekor-server-posix", "serve", f"--hostname={private.log.origin}"),
        *(f"--storage-dir={storage}", f"--signer-filepath={write_key or 'KEY.pem'}"),
        *("--persistent-antispam=true", "--http-address=127.0.0.1", "--http-port=3000"),
    ]
    data = members(
        done.head,
        "tree_size",
        "root_hash",
        log=private.name,
        origin=private.log.origin,
        directory=str(storage),
        files=done.files,
        bytes=done.n_bytes,
        written=done.written,
        key=None if write_key is None else str(write_key),
        command=command,
    )
    size = f"{done.head.tree_size:,} entries"
    if dry_run:
        text = f"{private.name}: {size}, {done.files:,} files, {done.n_bytes:,} bytes for {storage}"
        return Result(data, text)
    lines = [
        f"{private.name}: {size} are in {storage}, and this home signs nothing for"
        f" {private.log.origin} any more",
        f"start    {shlex.join(command)}",
    ]
    if write_key is None:
        lines.append("key      KEY.pem is the log's key: run this again with --write-key KEY.pem")
    lines += [
        f"serve    checkpoint and tile/ of {storage}, below /api/v2/, by any web server",
        f"back     stop it, then: attestor log adopt {shlex.quote(str(storage))}",
    ]
    return Result(data, "\n".join(lines))


@click.command("adopt")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option("--log", "name", metavar="NAME", help="What a log is called that was never here.")
@click.option("--key", metavar="FILE", type=FILE, help="Its key (PKCS#8), if it is not here yet.")
@common_options
@pass_session
def adopt(session: Session, directory: Path, name: str | None, key: Path | None) -> Result:
    """Take a log over from the storage of rekor-server-posix, and sign for it here.

    The server has to be stopped: the storage is looked at twice, its locks are taken, and it
    is sealed, so that no server signs from it again. Its whole tree is hashed and must be
    what the log's key signed, and continue what this home holds. What the server appended
    and had not published yet is taken over as well. A log that was never here comes with
    --key; 'log move' is the other way.

    \b
    Example:
        attestor log adopt /srv/rekor
        attestor log adopt /srv/rekor --log build --key /srv/rekor.key.pem
    """

    with progress_bar("adopt") as advance:
        done = adopt_run(session, name, directory, key, advance, warn)
    private, head = done.private, done.checkpoint.head
    data = members(
        head,
        "tree_size",
        "root_hash",
        log=private.name,
        origin=private.log.origin,
        directory=str(directory.absolute()),
        old_size=done.old_size,
        compared=done.compared,
        not_compared=done.not_compared,
    )
    new = "" if done.old_size is None else f", {head.tree_size - done.old_size:,} of them new here"
    lines = [
        f"{private.name}: {head.tree_size:,} entries{new}; this home signs for"
        f" {private.log.origin}, and {directory} is sealed"
    ]
    lines += [f"compared: {one}" for one in done.compared]
    lines += [f"not compared: {one}" for one in done.not_compared]
    return Result(data, "\n".join(lines))
