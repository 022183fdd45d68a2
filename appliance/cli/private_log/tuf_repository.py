"""log tuf-repository: what clients are told, signed, where they look for it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.runs.session import Session, pass_session
from appliance.runs.tuf_repository import Outcome, Wanted, keep_repository
from appliance.sigstore.tuf_writing import KEY_OF, LIFE_DAYS, OFFLINE, ONLINE
from appliance.times import utc


@click.command("tuf-repository")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--log", "name", metavar="NAME", help="Which log, if there are several.")
@click.option(
    "--client-config",
    type=click.Path(path_type=Path, file_okay=False),
    help="Publish what log client-config wrote into this directory.",
)
@click.option(
    "--refresh", is_flag=True, help="Only what the online key signs, if it is due: for cron."
)
@click.option(
    "--rotate",
    type=click.Choice((OFFLINE, ONLINE)),
    multiple=True,
    help="Replace this key by a new key; repeatable.",
)
@click.option(
    "--timestamp-days",
    type=click.IntRange(1, 365),
    default=LIFE_DAYS["timestamp"],
    show_default=True,
    help="How long a timestamp is fresh: longer than a courier takes.",
)
@click.option(
    "--start-over", is_flag=True, help="The old files are lost: new keys, a new first root."
)
@common_options
@pass_session
def tuf_repository(
    session: Session,
    directory: Path,
    name: str | None,
    client_config: Path | None,
    refresh: bool,
    rotate: tuple[str, ...],
    timestamp_days: int,
    start_over: bool,
) -> Result:
    """Make a TUF repository in DIRECTORY, publish a change in it, or keep it fresh.

    Any web server serves it as it is: cosign initialize, sigstore-python and 'attestor trust
    update' follow it. Two keys of this home sign: the offline one root and targets, the online
    one snapshot and timestamp. The offline key can be
    kept elsewhere and be put back into keys/ when something changes. What has half of its life
    behind it is signed anew; without anything to do, nothing is written.

    \b
    Example:
        attestor log tuf-repository /srv/tuf --client-config clients
        attestor log tuf-repository /srv/tuf --refresh
        attestor log tuf-repository /srv/tuf --rotate online
    """
    if refresh and (client_config or rotate or start_over):
        raise click.UsageError("--refresh goes with no other action")
    wanted = Wanted(name, client_config, refresh, rotate, timestamp_days, start_over)
    return _result(directory, keep_repository(session, directory, wanted))


def _result(directory: Path, outcome: Outcome) -> Result:
    published = outcome.published
    first = sha256(published.roots[0].raw).digest()
    fresh_until = min(published.of(role).expires_at for role in KEY_OF)
    data = members(
        directory=directory,
        changed=outcome.changed,
        new_keys=outcome.new_keys,
        first_root=first,
        fresh_until=utc(fresh_until),
        metadata={
            role: members(version=published.version(role), expires=published.of(role).expires_at)
            for role in KEY_OF
        },
        files=sorted(published.files),
    )
    versions = ", ".join(f"{role} v{published.version(role)}" for role in KEY_OF)
    lines = [
        f"{directory}: {versions}; fresh until {utc(fresh_until)}",
        f"  published   {', '.join(outcome.changed) or 'nothing: nothing is due'}",
        f"  first root  1.root.json, SHA-256 {first.hex()}",
        *(f"  new key     {name}" for name in outcome.new_keys),
    ]
    return Result(data, "\n".join(lines), outcome.warnings)
