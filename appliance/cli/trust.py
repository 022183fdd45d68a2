"""trust: the Sigstore trusted root that certificates, stamps and logs are judged by."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.app import App, pass_app
from appliance.cli.output import Result, common_options, utc

MAX_ROOT_BYTES = 2 * 1024 * 1024


@click.group()
def trust() -> None:
    """The Sigstore trusted root.

    \b
    Example:
        attestor trust show
    """


@trust.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@common_options
@pass_app
def trust_import(app: App, file: Path) -> Result:
    """Pin the trusted_root.json in FILE. Compare its digest over another channel first.

    \b
    Example:
        attestor trust import trusted_root.json
    """
    from appliance.sigstore.trusted_root import parse_trusted_root
    from appliance.store.files import read_foreign
    from appliance.store.trust import StoredRoot, put_root

    raw = read_foreign(file, MAX_ROOT_BYTES)
    root = parse_trusted_root(raw)
    with app.writing() as store:
        put_root(store, StoredRoot(raw, str(file), app.now()))
    data = {"digest": root.digest, "logs": [str(log) for log in root.logs], "source": str(file)}
    return Result(data, f"trusted root {root.digest} with {len(root.logs)} logs is pinned")


@trust.command("show")
@common_options
@pass_app
def trust_show(app: App) -> Result:
    """Say which trusted root counts here: digest, age, how it came, what it lists.

    \b
    Example:
        attestor trust show --json
    """
    from appliance.errors import IncompleteError
    from appliance.sigstore.trusted_root import parse_trusted_root
    from appliance.store.trust import current_root

    with app.reading() as store:
        stored = current_root(store)
    if stored is None:
        raise IncompleteError(
            "no trusted root was imported here",
            reason="no-trusted-root",
            next_step="attestor trust import trusted_root.json",
        )
    root = parse_trusted_root(stored.raw)
    age = app.now() - stored.imported_at
    logs = [
        {"log": str(log), "logId": log.log_id.hex(), "valid": str(log.valid)} for log in root.logs
    ]
    data = {
        "digest": root.digest,
        "source": stored.source,
        "importedAt": utc(stored.imported_at),
        "ageSeconds": age,
        "logs": logs,
        "certificateAuthorities": [str(one) for one in root.certificate_authorities],
        "timestampAuthorities": [str(one) for one in root.timestamp_authorities],
    }
    lines = [
        f"trusted root {root.digest}",
        f"  imported {utc(stored.imported_at)} from {stored.source}",
        *(f"  log      {one['log']} {one['valid']}" for one in logs),
        *(f"  ca       {one} {one.valid}" for one in root.certificate_authorities),
        *(f"  tsa      {one} {one.valid}" for one in root.timestamp_authorities),
    ]
    return Result(data, "\n".join(lines))
