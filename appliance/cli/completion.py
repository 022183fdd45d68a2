"""Completion in the shell: besides commands and options, what this home knows by name.

Imported only when a shell asks. What cannot be read completes to nothing: a shell is no place
for errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    _resolve_context,
    _resolve_incomplete,
    add_completion_class,
)

from appliance.config.schema import SETTINGS
from appliance.errors import ApplianceError
from appliance.runs.session import Session, default_home
from appliance.store.database import Store
from appliance.store.divergence.alerts import alerts
from appliance.store.divergence.quarantine import quarantines
from appliance.store.home.key_files import key_names, publisher_key_names
from appliance.store.mirror.logs import all_backends, all_logs
from appliance.store.private_log.private_logs import all_private_logs
from appliance.store.queue.queue import STATES, list_items
from appliance.store.queue.tenants import all_tenants

_MAX_NAMES: Final = 500
_DIGITS: Final = 12  # of an item's id: enough to be the only one

Names = Callable[[Store], Iterable[str]]


def _backends(store: Store) -> Iterable[str]:
    return (backend.name for backend in all_backends(store))


def _items(store: Store) -> Iterable[str]:
    return (item.id[:_DIGITS] for item in list_items(store, STATES, limit=_MAX_NAMES))


def _tenants(store: Store) -> Iterable[str]:
    return (tenant.name for tenant in all_tenants(store))


def _keys(store: Store) -> Iterable[str]:
    return (*key_names(store.home), *publisher_key_names(store.home))


_OPTIONS: Final[dict[str, Names]] = {
    "--backend": _backends,
    "--mirror-of": _backends,
    "--origin": lambda store: (one.origin for one in all_logs(store)),
    "--tenant": _tenants,
    "--log": lambda store: (one.name for one in all_private_logs(store)),
    "--key": _keys,
    "--state": lambda store: STATES,
}
# Arguments that name something, by the command they stand behind.
_ARGUMENTS: Final[dict[str, Names]] = {
    **dict.fromkeys(("queue show", "queue cancel", "queue retry", "queue bundle"), _items),
    "queue proof": _items,
    **dict.fromkeys(("tenant disable", "tenant enable", "tenant remove"), _tenants),
    **dict.fromkeys(("backend show", "backend disable", "backend enable"), _backends),
    **dict.fromkeys(("backend remove", "backend verify-key", "failover"), _backends),
    **dict.fromkeys(("backend key list", "backend key retire", "backend key revoke"), _backends),
    **dict.fromkeys(
        ("alerts show", "alerts ack", "alerts export"),
        lambda store: (str(one.number) for one in alerts(store)),
    ),
    "quarantine lift": lambda store: (str(one.id) for one in quarantines(store)),
    "key show": _keys,
    "log freeze": lambda store: (one.name for one in all_private_logs(store)),
    "config set": lambda store: SETTINGS,
}


def install() -> None:
    """Have the shells' completion know the names of the home as well."""
    for base in (BashComplete, ZshComplete, FishComplete):
        add_completion_class(type(base.__name__, (_Knowing, base), {}))


class _Knowing(ShellComplete):
    """Completion that knows a home's names where a parameter takes one."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return what may stand here."""
        context = _resolve_context(self.cli, self.ctx_args, self.prog_name, args)
        parameter, incomplete = _resolve_incomplete(context, args, incomplete)
        names = _names(context, parameter) if isinstance(parameter, click.Parameter) else None
        if names is None:
            return super().get_completions(args, incomplete)
        found = sorted(one for one in _read(context, names) if one.startswith(incomplete))
        return [CompletionItem(one) for one in found[:_MAX_NAMES]]


def _names(context: click.Context, parameter: click.Parameter) -> Names | None:
    if isinstance(parameter, click.Argument):
        words = context.command_path.partition(" ")[2]
        is_first = parameter is next(
            param for param in context.command.params if isinstance(param, click.Argument)
        )
        return _ARGUMENTS.get(words) if is_first else None
    if isinstance(parameter.type, click.Path | click.Choice):
        return None
    return next((_OPTIONS[name] for name in parameter.opts if name in _OPTIONS), None)


def _read(context: click.Context, names: Names) -> list[str]:
    home = context.find_root().params.get("home")
    session = Session(Path(home) if home else default_home())
    try:
        with session.reading() as store:
            return list(names(store))
    except ApplianceError:
        return []
