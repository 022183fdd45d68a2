"""config: the settings of a home, loaded from strict YAML and kept in its store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from appliance.cli.output import Result, common_options
from appliance.runs.app import App, pass_app

if TYPE_CHECKING:
    from appliance.config.changes import Change, ConfigFile
    from appliance.config.configuration import Configuration

MAX_FILE_BYTES: Final = 1024 * 1024
_file = click.Path(path_type=Path, dir_okay=False)
_dry_run = click.option("--dry-run", is_flag=True, help="Change nothing; say what would change.")
_prune = click.option("--prune", is_flag=True, help="Also undo what the file does not name.")


@click.group()
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
@pass_app
def config_validate(app: App, file: Path | None, prune: bool) -> Result:
    """Check FILE against this home, or without FILE what the home holds.

    Nothing is changed. Without FILE every private key is loaded as well.

    \b
    Example:
        attestor config validate site.yaml
    """
    from appliance.config.changes import apply_file
    from appliance.config.rules import Places, verify_rules
    from appliance.jobs.home.configure import read_named_keys, verify_private_keys

    current = _current(app)
    if file is None:
        warnings = verify_rules(current, Places())
        keys = verify_private_keys(app.home)
        data: dict[str, Any] = {"file": None, "backends": len(current.backends), "keys": list(keys)}
        text = f"the settings of {app.home} are valid; {len(keys)} private keys load"
        return Result(data, text, warnings)
    parsed = _parse(app, file)
    changed, warnings = apply_file(current, parsed, prune=prune)
    read_named_keys(parsed, file.parent)
    data = {"file": str(file), "backends": len(changed.backends), "keys": []}
    return Result(data, f"{file} is valid", warnings)


@config.command("apply")
@click.argument("file", type=_file)
@_prune
@_dry_run
@common_options
@pass_app
def config_apply(app: App, file: Path, prune: bool, dry_run: bool) -> Result:
    """Load FILE into the store, all or nothing, and print what changed.

    The file sets the keys it names and leaves the rest; backends are changed or added by
    their id. Public keys named by a path are copied into the store.

    \b
    Example:
        attestor config apply site.yaml
    """
    from appliance.config.changes import apply_file, diff
    from appliance.jobs.home.configure import (
        keys_not_pinned,
        read_configuration,
        read_named_keys,
        write_configuration,
    )

    parsed = _parse(app, file)
    keys = read_named_keys(parsed, file.parent)
    with app.reading() if dry_run else app.writing() as store:
        before = read_configuration(store)
        after, warnings = apply_file(before, parsed, prune=prune)
        pinned = keys_not_pinned(store, before, keys)
        if not dry_run:
            with store.atomic():
                write_configuration(store, before, after, keys, app.now())
    return _changes(diff(before, after), warnings, dry_run=dry_run, pinned=pinned)


@config.command("set")
@click.argument("key")
@click.argument("value")
@_dry_run
@common_options
@pass_app
def config_set(app: App, key: str, value: str, dry_run: bool) -> Result:
    """Set KEY to VALUE. Lists are written as YAML on one line.

    \b
    Example:
        attestor config set rekorSync.syncInterval 10m
    """
    from appliance.config.changes import diff, set_one
    from appliance.jobs.home.configure import read_configuration, write_configuration

    with app.reading() if dry_run else app.writing() as store:
        before = read_configuration(store)
        after, warnings = set_one(before, key, value, _home(app))
        if not dry_run:
            with store.atomic():
                write_configuration(store, before, after, {}, app.now())
    return _changes(diff(before, after), warnings, dry_run=dry_run)


@config.command("show")
@common_options
@pass_app
def config_show(app: App) -> Result:
    """Print every setting as it is in effect, as YAML that 'config apply' accepts.

    \b
    Example:
        attestor config show --json
    """
    from appliance.config.formatting import format_yaml

    current = _current(app)
    data = {"role": current.role, "settings": current.effective}
    return Result(data, format_yaml(current).removesuffix("\n"))


@config.command("example")
@click.option(
    "--role",
    type=click.Choice(["connected", "isolated"]),
    help="Whose defaults to print.  [default: this home's, else connected]",
)
@common_options
@pass_app
def config_example(app: App, role: str | None) -> Result:
    """Print a commented file with every setting and its default.

    \b
    Example:
        attestor config example > site.yaml
    """
    from appliance.config.formatting import example_yaml

    role = role or _role(app)
    text = example_yaml("isolated" if role == "isolated" else "connected")
    return Result({"role": role, "yaml": text}, text.removesuffix("\n"))


def _role(app: App) -> str:
    """Return the role of this home, whose defaults are no change to it."""
    from appliance.errors import StoreError

    try:
        return _current(app).role
    except StoreError:  # none yet, or none that we can read
        return "connected"


def _current(app: App) -> Configuration:
    from appliance.jobs.home.configure import read_configuration

    with app.reading() as store:
        return read_configuration(store)


def _parse(app: App, file: Path) -> ConfigFile:
    from appliance.config.changes import parse_config
    from appliance.errors import ConfigError
    from appliance.store.files import read_foreign

    raw = read_foreign(file, MAX_FILE_BYTES)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{line}: expected UTF-8", reason="bad-yaml") from error
    return parse_config(text, str(file), _home(app))


def _home(app: App) -> str:
    return str(app.home.absolute())


def _changes(
    changes: tuple[Change, ...],
    warnings: tuple[str, ...],
    *,
    dry_run: bool,
    pinned: tuple[str, ...] = (),
) -> Result:
    from appliance.config.formatting import format_value

    data = {
        "dryRun": dry_run,
        "changes": [{"key": one.key, "old": one.old, "new": one.new} for one in changes],
        "newKeys": list(pinned),  # backends whose log has one more key now
    }
    lines = [
        f"{one.key}: {format_value(one.key, one.old)} -> {format_value(one.key, one.new)}"
        for one in changes
    ]
    lines += [f"backend {name}: one more key is pinned" for name in pinned]
    return Result(data, "\n".join(lines) or "no change", warnings)
