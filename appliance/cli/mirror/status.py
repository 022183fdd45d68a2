"""sync-status: how each log stands, as a table."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.output import Result, common_options
from appliance.jobs.divergence.health import LogStatus, log_status
from appliance.jobs.home.configure import read_configuration
from appliance.policy.coverage import Coverage
from appliance.policy.health import AgeLimits
from appliance.runs.session import Session, pass_session
from appliance.store.database import Store
from appliance.store.mirror.logs import all_backends, require_backend
from appliance.store.transfer.unsigned import unsigned_imports
from appliance.times import utc

_HEADINGS = ("Backend", "Origin", "Tree Size", "Last Sync (UTC)", "Age", "Coverage", "Health")
_RIGHT = {"Tree Size", "Age", "Coverage"}
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


@click.command("sync-status")
@click.option("--backend", "backends", metavar="ID", multiple=True, help="Only this; repeatable.")
@common_options
@pass_session
def sync_status(session: Session, backends: tuple[str, ...]) -> Result:
    """Show each log's size, when it last answered, its checkpoint's age, coverage and health.

    Age counts from the newest time that vouches for the checkpoint: a witness's, else when
    its size was first seen. Coverage is of the level 0 tiles of the accepted checkpoint.

    \b
    Example:
        attestor sync-status
    """

    with session.reading() as store:
        limits = age_limits(store)
        chosen = [require_backend(store, name) for name in backends] or all_backends(store)
        found = [log_status(store, one, limits, session.now()) for one in chosen]
        unsigned = unsigned_imports(store)
    lines = [_table([_row(one) for one in found])] if found else ["no backend yet"]
    lines += [f"{one.backend.name}: {reason}" for one in found for reason in one.reasons]
    warnings = () if unsigned is None else (str(unsigned),)
    return Result({"backends": [status_data(one) for one in found]}, "\n".join(lines), warnings)


def age_limits(store: Store) -> AgeLimits:
    """Return the ages beyond which this site's logs are less than healthy."""

    configuration = read_configuration(store)
    return AgeLimits(
        configuration.seconds("divergenceDetection.degradedCheckpointAgeThreshold"),
        configuration.seconds("divergenceDetection.unhealthyCheckpointAgeThreshold"),
    )


def coverage_data(coverage: Coverage | None) -> dict[str, Any] | None:
    """Describe a coverage for machines."""
    if coverage is None:
        return None
    return {
        "percent": coverage.percent,
        "treeSize": coverage.tree_size,
        "present": coverage.present,
        "expected": coverage.expected,
    }


def age_text(seconds: int) -> str:
    """Write an age for people, in its two largest units.

    >>> age_text(135), age_text(90_000), age_text(0)
    ('2m 15s', '1d 1h', '0s')
    """
    parts: list[str] = []
    for unit, size in _UNITS:
        amount, seconds = divmod(seconds, size)
        if amount or parts or unit == "s":
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])


def _row(one: LogStatus) -> tuple[str, ...]:
    synced = "never" if one.last_sync is None else utc(one.last_sync)
    return (
        one.backend.name + ("" if one.backend.enabled else " (disabled)"),
        one.backend.log.origin,
        "none" if one.tree_size is None else f"{one.tree_size:,}",
        synced.replace("T", " ").removesuffix("Z"),
        "none" if one.age is None else age_text(one.age),
        "none" if one.coverage is None else f"{one.coverage.percent:.1f}%",
        one.health.value,
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    columns = list(zip(_HEADINGS, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in (_HEADINGS, *rows):
        cells = [
            cell.rjust(width) if heading in _RIGHT else cell.ljust(width)
            for heading, cell, width in zip(_HEADINGS, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def status_data(one: LogStatus) -> dict[str, Any]:
    """Describe how a log stands for machines."""
    return {
        "backend": one.backend.name,
        "origin": one.backend.log.origin,
        "enabled": one.backend.enabled,
        "treeSize": one.tree_size,
        "mirrorSize": one.mirror_size,
        "lastSync": None if one.last_sync is None else utc(one.last_sync),
        "ageSeconds": one.age,
        "coverage": coverage_data(one.coverage),
        "health": one.health.value,
        "reasons": list(one.reasons),
    }
