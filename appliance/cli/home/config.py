"""config: the settings of a home, loaded from strict YAML and kept in its store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.config.changes import (
    Change,
    ConfigFile,
    apply_file,
    diff,
    parse_config,
    set_one,
    told_of,
)
from appliance.config.configuration import Configuration
from appliance.config.formatting import example_yaml, format_value, format_yaml
from appliance.config.rules import Places, verify_rules
from appliance.errors import ConfigError, StoreError
from appliance.jobs.home.configure import (
    keys_not_pinned,
    locked_text,
    read_configuration,
    read_named_keys,
    refuse_other_keys,
    verify_private_keys,
    write_configuration,
)
from appliance.runs.session import Session, pass_session
from appliance.store.files import read_foreign

MAX_FILE_BYTES: Final = 1024 * 1024
_file = click.Path(path_type=Path, dir_okay=False)
_dry_run = click.option("--dry-run", is_flag=True, help="Change nothing; say what would change.")
_prune = click.option("--prune", is_flag=True, help="Also undo what the file does not name.")


@click.group(cls=LazyGroup)
def config() -> None:
    """The settings of this home.

    \b
    Example:
        attestor config example > site.yaml
    """


@config.command("validate")
@click.argument("file", type=_file, required=False)
@_prune
@common_options
@pass_session
def config_validate(session: Session, file: Path | None, prune: bool) -> Result:
    """Check FILE against this home, or without FILE what the home holds.

    Nothing is changed. Without FILE every private key is loaded as well.

    \b
    Example:
        attestor config validate site.yaml
    """

    current = _current(session)
    if file is None:
        warnings = verify_rules(current, Places())
        keys, locked = verify_private_keys(session.home, session.passphrases)
        if locked:
            warnings = (*warnings, locked_text(locked))
        data: dict[str, Any] = members(file=None, backends=len(current.backends), keys=keys)
        text = f"the settings of {session.home} are valid; {len(keys)} private keys load"
        return Result(data, text, warnings)
    parsed = _parse(session, file)
    changed, warnings = apply_file(current, parsed, prune=prune)
    read_named_keys(parsed, file.parent)
    data = members(file=file, backends=len(changed.backends), keys=[])
    return Result(data, f"{file} is valid", warnings)


@config.command("apply")
@click.argument("file", type=_file)
@_prune
@click.option("--another-key", is_flag=True, help="A log has the file's key beside those pinned.")
@_dry_run
@common_options
@pass_session
def config_apply(
    session: Session, file: Path, prune: bool, another_key: bool, dry_run: bool
) -> Result:
    """Load FILE into the store, all or nothing, and print what changed.

    The file sets the keys it names and leaves the rest; backends are changed or added by
    their id. Public keys named by a path are copied into the store.

    \b
    Example:
        attestor config apply site.yaml
    """

    parsed = _parse(session, file)
    keys = read_named_keys(parsed, file.parent)
    with session.reading() if dry_run else session.writing() as store:
        before = read_configuration(store)
        after, warnings = apply_file(before, parsed, prune=prune)
        if not another_key:
            refuse_other_keys(store, before, after, keys)
        pinned = keys_not_pinned(store, before, keys)
        if not dry_run:
            with store.atomic():
                write_configuration(store, before, after, keys, session.now())
    return _changes(diff(before, after), warnings, dry_run=dry_run, pinned=pinned)


@config.command("set")
@click.argument("key")
@click.argument("value")
@_dry_run
@common_options
@pass_session
def config_set(session: Session, key: str, value: str, dry_run: bool) -> Result:
    """Set KEY to VALUE. Lists are written as YAML on one line.

    \b
    Example:
        attestor config set rekorSync.syncInterval 10m
    """

    with session.reading() if dry_run else session.writing() as store:
        before = read_configuration(store)
        after, warnings = set_one(before, key, value, _home(session))
        if not dry_run:
            with store.atomic():
                write_configuration(store, before, after, {}, session.now())
    return _changes(diff(before, after), warnings, dry_run=dry_run)


@config.command("show")
@common_options
@pass_session
def config_show(session: Session) -> Result:
    """Print every setting as it is in effect, as YAML that 'config apply' accepts.

    \b
    Example:
        attestor config show --json
    """

    current = _current(session)
    data = members(role=current.role, settings=current.effective)
    return Result(data, format_yaml(current).removesuffix("\n"))


@config.command("example")
@click.option(
    "--role",
    type=click.Choice(["connected", "isolated"]),
    help="Whose defaults to print.  [default: this home's, else connected]",
)
@common_options
@pass_session
def config_example(session: Session, role: str | None) -> Result:
    """Print a commented file with every setting and its default.

    \b
    Example:
        attestor config example > site.yaml
    """

    role = role or _role(session)
    text = example_yaml("isolated" if role == "isolated" else "connected")
    return Result(members(role=role, yaml=text), text.removesuffix("\n"))


def _role(session: Session) -> str:
    """Return the role of this home, whose defaults are no change to it."""

    try:
        return _current(session).role
    except StoreError:  # none yet, or none that we can read
        return "connected"


def _current(session: Session) -> Configuration:

    with session.reading() as store:
        return read_configuration(store)


def _parse(session: Session, file: Path) -> ConfigFile:

    raw = read_foreign(file, MAX_FILE_BYTES)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{line}: expected UTF-8", reason="bad-yaml") from error
    return parse_config(text, str(file), _home(session))


def _home(session: Session) -> str:
    return str(session.home.absolute())


def _changes(
    changes: tuple[Change, ...],
    warnings: tuple[str, ...],
    *,
    dry_run: bool,
    pinned: tuple[str, ...] = (),
) -> Result:

    data = members(
        dry_run=dry_run,
        changes=[members(change, "key", "old", "new") for change in changes],
        new_keys=pinned,  # backends whose log has one more key now
    )
    lines = [
        f"{key}: {format_value(key, change.old)} -> {format_value(key, change.new)}"
        for key, change in ((change.key, change) for change in changes)
    ]
    lines += [f"backend {name}: one more key is pinned" for name in pinned]
    return Result(data, "\n".join(lines) or "no change", (*warnings, *told_of(changes)))
