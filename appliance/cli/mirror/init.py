"""init: create the home, and on request follow an instance of Sigstore from then on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.home.store import ROLES, make_site, site_result
from appliance.cli.members import members
from appliance.cli.mirror.found import found_data, found_line
from appliance.cli.output import Result, common_options
from appliance.fetch.http import url_prefix
from appliance.fetch.public_good import PUBLIC_GOOD, STAGING
from appliance.fetch.tuf import MAX_ROOT_BYTES
from appliance.jobs.home.init import ISOLATED
from appliance.runs.session import Session, pass_session
from appliance.runs.trust import Begun, Start, begin_with
from appliance.store.files import read_foreign

ROOT_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--site", metavar="NAME", help="Names the site and its key; never changes.")
@click.option("--role", type=ROLES, help="Decides the age limits.  [default: connected]")
@click.option("--public-good", is_flag=True, help="Follow Sigstore's public-good instance.")
@click.option("--staging", is_flag=True, help="Follow Sigstore's staging instance.")
@click.option("--repository", metavar="URL", help="Its TUF repository, if not where it is known.")
@click.option("--root", type=ROOT_FILE, help="First trust in it, instead of the root known here.")
@common_options
@pass_session
def init(
    session: Session,
    site: str | None,
    role: str | None,
    public_good: bool,
    staging: bool,
    repository: str | None,
    root: Path | None,
) -> Result:
    """Create the home, or bring an older one up to date; name its site, make its key.

    Run it as often as you like: what is there stays.

    With --public-good or --staging the home follows that instance of Sigstore: the trusted
    root by TUF, every log that it names, with its keys and their windows, and settings for
    logs of that size. From then on 'attestor sync' is all that cron has to run: it updates
    the root once a day, adds new shards, and completes those that ended.

    \b
    Example:
        attestor init --site outside.example
        attestor init --site outside.example --public-good
        attestor init --site inside.example --role isolated
    """
    if public_good and staging:
        raise click.UsageError("--public-good and --staging exclude each other")
    if not (public_good or staging):
        if repository or root:
            raise click.UsageError("--repository and --root need --public-good or --staging")
        return site_result(session, make_site(session, site, role))
    if role == ISOLATED:
        raise click.UsageError(
            "an isolated site has no network; its trusted root comes by 'attestor trust import'"
        )
    start = Start(
        None if repository is None else url_prefix(repository),
        None if root is None else read_foreign(root, MAX_ROOT_BYTES),
    )
    made = site_result(session, make_site(session, site, role))
    begun = begin_with(session, PUBLIC_GOOD if public_good else STAGING, start)
    return _begun_result(made, begun)


def _begun_result(made: Result, begun: Begun) -> Result:
    root, repository = begun.update.root, begun.update.repository
    data: dict[str, Any] = made.data | members(
        repository=repository.url,
        trusted_root=root.digest,
        first_root=repository.anchor,
        logs=[found_data(log) for log in begun.discovery.logs],
        settings={change.key: change.new for change in begun.settings},
    )
    lines = [
        made.text,
        f"trusted root {root.digest} from {repository.url}",
        *map(found_line, begun.discovery.logs),
        *(f"{change.key} is set to {change.new}" for change in begun.settings),
        "next: attestor sync, and the same every few minutes by cron",
    ]
    return Result(data, "\n".join(lines), (*begun.update.warnings, *begun.discovery.warnings))
