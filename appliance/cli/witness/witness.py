"""witness: cosign what other logs sign, online and by file."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.cli.output import Result, common_options
from appliance.runs.session import Session, pass_session
from appliance.runs.witness import recover, request_for, sign_file, status
from appliance.store.files import written_whole
from appliance.times import utc

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=LazyGroup, lazy={"serve": "witness.serve:witness_serve"})
def witness() -> None:
    """Vouch for other logs: that each only ever grew.

    \b
    Example:
        attestor key generate witness.example --type witness
        attestor witness serve --bind 127.0.0.1:3001
    """


@witness.command("sign")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--key", "name", metavar="NAME", help="Which witness key, if there are several.")
@click.option("--output", type=FILE, help="Write it here instead of printing it.")
@common_options
@pass_session
def witness_sign(session: Session, file: Path, name: str | None, output: Path | None) -> Result:
    """Cosign the checkpoint of a request in a FILE, as 'witness serve' does online.

    What is written is the checkpoint with the cosignature: the log's home takes it back with
    'attestor checkpoint add'. Refused (8) if the request does not go on from what was cosigned
    last: it says from which size to make it again.

    \b
    Example:
        attestor witness sign request.txt --output cosigned.txt
    """
    done = sign_file(session, name, file)
    if output is not None:
        with written_whole(output, replace=True) as target:
            target.write(done.note)
    data = members(
        done.head,
        "tree_size",
        "root_hash",
        origin=done.origin,
        cosignature=done.line.decode().removesuffix("\n"),
        note=done.note.decode(),
        output=output,
    )
    printed = done.note.decode().removesuffix("\n")
    return Result(data, printed if output is None else f"wrote {output}")


@witness.command("request")
@click.option("--backend", metavar="ID", required=True, help="The log, mirrored here or our own.")
@click.option("--witness", "asked", metavar="VKEY", help="Whom; or its name in the log's policy.")
@click.option("--old-size", type=Whole(0), help="Entries that it cosigned last, if it said so.")
@click.option("--output", type=FILE, required=True, help="Where to write the request.")
@common_options
@pass_session
def witness_request(
    session: Session, backend: str, asked: str | None, old_size: int | None, output: Path
) -> Result:
    """Write a request for a witness that cannot be reached from here.

    It holds the newest checkpoint that is complete here, and the proof that it goes on from
    what the witness cosigned last: by --old-size, or by the newest cosignature of --witness
    that is here; else from nothing, as for the first time.

    \b
    Example:
        attestor witness request --backend build --output request.txt
    """
    request, signed = request_for(session, backend, asked, old_size)
    with written_whole(output, replace=True) as target:
        target.write(bytes(request))
    data = members(
        signed.head,
        "tree_size",
        "root_hash",
        origin=signed.origin,
        old_size=request.old_size,
        output=output,
    )
    text = f"{output}: {signed.origin} from {request.old_size:,} to {signed.head.tree_size:,}"
    return Result(data, text)


@witness.command("status")
@common_options
@pass_session
def witness_status(session: Session) -> Result:
    """Show what the witness keys of this home cosigned last.

    \b
    Example:
        attestor witness status
    """
    rows, failures = status(session)
    data = [
        members(
            row.head,
            "tree_size",
            "root_hash",
            key=row.key_name,
            origin=row.origin,
            cosigned_at=row.cosigned_at,
            note=row.note.decode(),
        )
        for row in rows
    ]
    lines = [
        f"{row.key_name}: {row.origin} at {row.head.tree_size:,}, {utc(row.cosigned_at)}"
        for row in rows
    ]
    text = "\n".join(lines) or "nothing was cosigned yet"
    return Result(members(cosigned=data), text, errors=failures)


@witness.command("recover")
@click.option("--key", "name", metavar="NAME", help="Which witness key, if there are several.")
@click.option("--only-copy", is_flag=True, help="The old home is gone, and cosigned nothing since.")
@common_options
@pass_session
def witness_recover(session: Session, name: str | None, only_copy: bool) -> Result:
    """Let a witness cosign again whose home was restored, copied or moved.

    A witness that forgot what it cosigned can be led to cosign a fork, and nothing in a home
    proves that it is the newest. If you are not sure, make a new key instead.

    \b
    Example:
        attestor witness recover --key witness.example --only-copy
    """
    if not only_copy:
        raise click.UsageError(
            "nothing here can tell what was cosigned after this copy was made; if the old home is"
            " gone and cosigned nothing since, add --only-copy"
        )
    key, heads = recover(session, name)
    data = members(
        key=key,
        logs=[members(head, "tree_size", "root_hash", origin=one) for one, head in heads.items()],
    )
    return Result(data, f"{key}: cosigns here again, from what it knows of {len(heads)} logs")
