"""log get: one entry of a log that is read over the network."""

from __future__ import annotations

import json
from pathlib import Path

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options, printable
from appliance.rekor.entry_facts import read_entry
from appliance.runs.served_entry import get_entry
from appliance.runs.session import Session, pass_session
from appliance.store.files import written_whole
from appliance.tlog.merkle import leaf_hash

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("get")
@click.option("--url", required=True, help="Where the log is read: its server, or its tiles.")
@click.option(
    "--log-index", "entry_index", type=click.IntRange(0), required=True, help="Which entry."
)
@click.option("--key", type=FILE, help="The log's public key: PEM, DER or a verifier key.")
@click.option("--origin", metavar="HOST", help="The log's identity.  [default: by --url or --key]")
@click.option("--output", type=FILE, help="Write the log entry here (TransparencyLogEntry).")
@common_options
@pass_session
def get(
    session: Session,
    url: str,
    entry_index: int,
    key: Path | None,
    origin: str | None,
    output: Path | None,
) -> Result:
    """Get an entry from the log at URL, proven, and print its body.

    The checkpoint has to be signed by the log's key, and the entry is proven from the log's own
    tiles: what is printed is in the log, or nothing is printed. The key is this home's pin (of
    the log at that URL, of --origin, or of the only log it knows), or --key; then no home is
    needed. Any log that serves tlog-tiles will do.

    \b
    Example:
        attestor log get --url http://127.0.0.1:3000 --log-index 0
        attestor log get --url https://log.example --log-index 1234 --key log.pem --origin log.example
    """  # noqa: E501 one line, to be copied

    found = get_entry(session, url, entry_index, key, origin)
    body, head = found.entry.canonicalized_body, found.checkpoint.head
    if output is not None:
        with written_whole(output, replace=True) as file:
            file.write(found.entry.json)
    facts = read_entry(body)
    digests = [f"{algorithm}:{value.hex()}" for algorithm, value in facts.digests]
    data = members(
        head,
        "tree_size",
        "root_hash",
        origin=found.checkpoint.origin,
        source=found.source,
        index=entry_index,
        kind=facts.kind,
        digests=digests,
        leaf_hash=leaf_hash(body),
        body=body.decode("utf-8", "replace"),
        entry=json.loads(found.entry.json),
        output=output,
    )
    lines = [
        f"{found.checkpoint.origin} {entry_index}: {facts.kind}, proven in the tree of"
        f" {head.tree_size:,}",
        *(f"  digest   {digest}" for digest in digests),
        f"  leaf     {leaf_hash(body).hex()}",
        f"  body     {printable(body.decode('utf-8', 'replace'))}",
    ]
    return Result(data, "\n".join(lines))
