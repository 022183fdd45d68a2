"""countersign: a second person signs a transfer bundle."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.transfer.inspect import manifest_data, part_line
from appliance.jobs.transfer.countersign import countersign_file
from appliance.runs.exit_codes import naming
from appliance.runs.session import Session, pass_session
from appliance.store.home.key_files import load_signing_key


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--key", "key_name", required=True, metavar="NAME", help="Sign with this key.")
@common_options
@pass_session
def countersign(session: Session, file: Path, key_name: str) -> Result:
    """Add a signature to the transfer bundle FILE, after checking every byte of it.

    An exporter known here must have made it, or a key of this home. Nothing but the header
    changes: the bundle keeps its id, the file gets another SHA-256. How many signatures an
    import demands is transfer.threshold over there.

    \b
    Example:
        attestor countersign /media/stick/outside-1.tar --key second.example
    """

    with session.writing() as store, naming(file):
        done = countersign_file(
            store,
            file,
            load_signing_key(session.home, key_name, session.passphrases),
            session.now(),
        )
    data = members(done, "bundle_id", "sha256", "signers", "already", path=file) | manifest_data(
        done.manifest
    )
    lines = [
        f"{file}: {'was signed' if done.already else 'is signed'} by {', '.join(done.signers)}",
        f"  bundle {done.bundle_id}",
        f"  sha256 {done.sha256}",
        *map(part_line, done.manifest.logs),
    ]
    return Result(data, "\n".join(lines))
