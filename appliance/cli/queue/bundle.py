"""queue bundle: the Sigstore bundle of what is logged."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.jobs.queue.log_proof import finished_bundle
from appliance.runs.session import Session, pass_session
from appliance.store.files import written_whole
from appliance.store.queue.queue import require_item


@click.command("bundle")
@click.argument("id_", metavar="ID")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Write it here; what is there is replaced.",
)
@common_options
@pass_session
def queue_bundle(session: Session, id_: str, output: Path) -> Result:
    """Write the Sigstore bundle of an item that is logged: signature, stamps, verified proof.

    Exit code 5 as long as there is no proof, so a script can ask again.

    \b
    Example:
        attestor queue bundle 3f2a91 --output app.tar.gz.sigstore.json
    """

    with session.reading() as store:
        item = require_item(store, id_)
        document = finished_bundle(store, item)
    with written_whole(output, replace=True) as file:
        file.write(document)
    return Result(members(id=item.id, output=output), f"wrote {output}")
