"""store and checkpoint-store: create, back up, check and clean the home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.checks import check_data, check_lines, checks_result
from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.cli.progress import progress_bar
from appliance.errors import ConfigError, StoreError
from appliance.jobs.home.backup import backup
from appliance.jobs.home.doctor import store_checks
from appliance.jobs.home.init import Site, init_home
from appliance.jobs.home.store_check import check_store
from appliance.jobs.home.sweep import sweep
from appliance.runs.session import Session, pass_session
from appliance.store.blob_place import BLOBS_NAME, blob_place, move_blobs
from appliance.store.database import DATABASE_NAME, create_home, open_store, require_database
from appliance.store.filesystem import refuse_network_filesystem
from appliance.store.home.backup import recreate_schema
from appliance.store.home.journal import append_event
from appliance.times import utc

FILE = click.Path(path_type=Path)
ROLES = click.Choice(["connected", "isolated"])
_NAMED = 20  # damaged blobs that the text names; --json names all


@click.group(cls=LazyGroup)
def checkpoint_store() -> None:
    """Create and test the store, under the names you may know them by.

    \b
    Example:
        attestor checkpoint-store test
    """


@checkpoint_store.command("init")
@click.option("--site", metavar="NAME", help="Names the site and its key; never changes.")
@click.option("--role", type=ROLES, help="Decides the age limits.  [default: connected]")
@click.option("--force", is_flag=True, help="Make the schema anew, after a backup; keeps all rows.")
@click.option("--connection", metavar="PATH", help="This home's own attestor.db; nothing else.")
@common_options
@pass_session
def checkpoint_store_init(
    session: Session, site: str | None, role: str | None, force: bool, connection: str | None
) -> Result:
    """Do what init does; with --force repair a schema that somebody changed.

    --force saves the database beside itself first and carries every row over.

    \b
    Example:
        attestor checkpoint-store init
        attestor checkpoint-store init --force
    """

    if connection is not None:
        _refuse_other_store(session, connection)
    if not force or not (session.home / DATABASE_NAME).exists():
        return site_result(session, make_site(session, site, role))

    stamp = utc(session.now()).replace("-", "").replace(":", "")
    backup = session.home / f"{DATABASE_NAME}.{stamp}.backup"
    with session.locked():
        carried = recreate_schema(open_store(session.home, write=True), backup)
    result = site_result(session, make_site(session, site, role))
    data = result.data | members(backup=backup, carried_rows=carried)
    rows = sum(carried.values())
    return Result(data, f"{result.text}\nbackup {backup}\n{rows:,} rows carried over")


@checkpoint_store.command("test")
@common_options
@pass_session
def checkpoint_store_test(session: Session) -> Result:
    """Say whether the store opens, is whole, has this version's schema and can be written to.

    \b
    Example:
        attestor checkpoint-store test
    """

    return checks_result(store_checks(session.home))


@click.group(cls=LazyGroup)
def store() -> None:
    """Back up, check and clean the store.

    \b
    Example:
        attestor store check
    """


@store.command("backup")
@click.argument("file", type=FILE)
@click.option("--with-blobs", is_flag=True, help="Tiles and entry bundles as well.")
@click.option("--with-keys", is_flag=True, help="Private keys as well: keep it secret.")
@common_options
@pass_session
def store_backup(session: Session, file: Path, with_blobs: bool, with_keys: bool) -> Result:
    """Copy the database to FILE while everything goes on.

    With --with-blobs or --with-keys FILE is a directory, laid out as a home: copy it to
    where a home belongs (cp -a) to restore it. A private log needs both. Without keys,
    what the home signs with must come from elsewhere; without blobs, the next sync or
    import brings them.

    \b
    Example:
        attestor store backup /backup/attestor-monday.db
        attestor store backup /backup/attestor-monday --with-blobs --with-keys
    """

    with session.reading() as store, progress_bar("backup") as advance:
        report = backup(
            store,
            file,
            session.locked,
            with_blobs=with_blobs,
            with_keys=with_keys,
            progress=advance,
        )
    data = members(report, "n_bytes", "blobs", "keys", "damaged", path=file)
    parts = [f"database {report.n_bytes:,} bytes"]
    if report.blobs is not None:
        parts.append(f"{report.blobs:,} blobs")
    if report.keys is not None:
        parts.append(f"{report.keys} key files")
    text = f"Wrote {file}: {', '.join(parts)}"
    errors: tuple[StoreError, ...] = ()
    if report.damaged:
        errors = (
            StoreError(
                f"{len(report.damaged)} blobs are not in the copy: "
                + "; ".join(report.damaged[:_NAMED]),
                reason="corrupt",
                next_step="repair them with 'attestor tiles fetch' or an import; back up again",
            ),
        )
    return Result(data, text, errors=errors)


@store.command("check")
@click.option("--read-data", is_flag=True, help="Read and re-hash every blob.")
@common_options
@pass_session
def store_check(session: Session, read_data: bool) -> Result:
    """Check the database, and that every blob it names is here; name those that are not.

    'tiles verify' goes further: that the tiles lead to the roots the logs signed.

    \b
    Example:
        attestor store check --read-data
    """

    with session.reading() as store, progress_bar("check") as advance:
        report = check_store(store, read_data=read_data, progress=advance)
    data = members(
        report,
        "blobs",
        problems=report.database,
        damaged=report.damaged,
        checks=[check_data(check) for check in report.checks],
    )
    errors = tuple(check.error for check in report.checks if check.error is not None)
    return Result(data, "\n".join(check_lines(report.checks)), errors=errors)


@store.command("move-blobs")
@click.argument("path", metavar="PATH")
@common_options
@pass_session
def store_move_blobs(session: Session, path: str) -> Result:
    """Move the blobs to a directory of another local disk, or with PATH `blobs` back home.

    They are copied, flushed, and only then removed where they were: interrupted at any time,
    the home has them all, and the same command goes on. Meanwhile readers go on reading.
    tileCache.basePath says afterwards where they are. 'store backup --with-blobs' copies
    them into the backup as ever; a home that was copied needs blobs of its own.

    \b
    Example:
        attestor store move-blobs /mnt/large/attestor-blobs
        attestor store move-blobs blobs
    """
    own = path in (BLOBS_NAME, str(session.home / BLOBS_NAME))
    place = None if own else Path(path.rstrip("/"))
    with session.locked():
        require_database(session.home)
        session.close()
        before = blob_place(session.home)
        with progress_bar("blobs") as advance:
            count = move_blobs(session.home, place, advance)
        if place != before:
            with session.writing_unlocked() as opened, opened.atomic():
                details = {"from": str(before or BLOBS_NAME), "to": str(place or BLOBS_NAME)}
                append_event(opened, session.now(), "blobs.moved", details)
    data = members(path=place or session.home / BLOBS_NAME, blobs=count, change=place != before)
    return Result(data, f"the blobs are in {place or session.home / BLOBS_NAME}; {count:,} moved")


@store.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@common_options
@pass_session
def store_gc(session: Session, dry_run: bool) -> Result:
    """Remove blobs that nothing names, and what runs that were killed left behind.

    \b
    Example:
        attestor store gc --dry-run
    """

    with session.writing() as store:
        report = sweep(store, session.now(), dry_run=dry_run)
    data = members(report, "blobs", "temporary", "n_bytes", "foreign", dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    text = (
        f"{verb} {report.blobs:,} blobs and {report.temporary:,} temporary files,"
        f" {report.n_bytes:,} bytes"
    )
    warnings = tuple(f"{path} is not ours and stays" for path in report.foreign)
    return Result(data, text, warnings)


def make_site(session: Session, site: str | None, role: str | None) -> Site:
    """Create or migrate the home of a session, under its lock."""
    if not session.allow_network_fs:
        refuse_network_filesystem(session.home)  # before anything is made there
    create_home(session.home)
    with session.locked():
        return init_home(session.home, site, role, session.random_bytes, session.passphrases)


def site_result(session: Session, site: Site) -> Result:
    """Say what a home is called."""
    data: dict[str, Any] = members(home=session.home, site=site.name, role=site.role)
    data["vkey"] = site.key.vkey if site.key else None
    data["newKey"] = site.key_is_new
    unnamed = "without a name (give it one before the first export: init --site NAME)"
    lines = [f"{session.home}: site {site.name or unnamed}, {site.role}"]
    if site.key:
        lines.append(f"key {site.key.vkey}")
    return Result(data, "\n".join(lines))


def _refuse_other_store(session: Session, connection: str) -> None:
    """Raise ConfigError unless `connection` is this home's own database."""

    own = session.home / DATABASE_NAME
    if "://" in connection or "Host=" in connection or "host=" in connection:
        raise ConfigError(
            "the store is one SQLite file; there is no PostgreSQL here",
            reason="connection",
            next_step="leave --connection out, and choose the directory with --home",
        )
    if Path(connection).resolve() != own.resolve():
        raise ConfigError(
            f"the store of this home is {own}, not {connection}",
            reason="connection",
            next_step="choose another home with --home",
        )
