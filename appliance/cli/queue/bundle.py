"""queue bundle: the Sigstore bundle of what is logged."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.members import members
from appliance.cli.options import seconds_option
from appliance.cli.output import Result, common_options
from appliance.runs.finished import finish
from appliance.runs.session import Session, pass_session
from appliance.store.files import written_whole


@click.command("bundle")
@click.argument("id_", metavar="ID")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Write it here; what is there is replaced.",
)
@click.option("--wait", metavar="DURATION", help="Wait this long until it is logged, e.g. 30m.")
@common_options
@pass_session
def queue_bundle(session: Session, id_: str, output: Path, wait: str | None) -> Result:
    """Write the Sigstore bundle of an item that is logged: signature, stamps, verified proof.

    Exit code 7 means "not yet": ask again, or say how long to --wait. An item that waits no
    more ends it at once: 8 if it was cancelled or the log refused it, 5 if there is none.

    \b
    Example:
        attestor queue bundle 3f2a91 --output app.tar.gz.sigstore.json
        attestor queue bundle 3f2a91 --output app.tar.gz.sigstore.json --wait 30m
    """

    item, document = finish(session, id_, seconds_option(wait, "--wait", None))
    with written_whole(output, replace=True) as file:
        file.write(document)
    return Result(members(id=item.id, output=output), f"wrote {output}")
