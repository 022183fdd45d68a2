"""What a drain did, for people and for machines: of `queue drain` and of `sync`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from appliance.cli.members import members

if TYPE_CHECKING:  # a sync that sent nothing needs none of them
    from appliance.jobs.queue.aggregate import Aggregated
    from appliance.jobs.queue.drain import DrainReport
    from appliance.runs.drain import DrainRun


def drain_data(report: DrainReport) -> dict[str, Any]:
    """Describe what a drain did, for machines."""
    return members(report, "sent", "logged", "duplicates", "refused", "postponed", "interrupted")


def drain_line(run: DrainRun) -> str:
    """Say what a drain did."""
    report = run.report
    parts = [f"{report.logged} logged and proven"]
    parts += [f"{report.duplicates} of them were there already"] if report.duplicates else []
    parts += [f"{report.refused} refused for good"] if report.refused else []
    parts += [f"{report.postponed} postponed"] if report.postponed else []
    aggregated = aggregate_line(run.aggregated, run.settled)
    return "; ".join(filter(None, (", ".join(parts), aggregated)))


def aggregate_line(done: Aggregated, settled: int) -> str:
    """Say what was put under a root; empty if nothing was."""
    lines = []
    if settled:
        lines.append(f"{settled} aggregated items are logged: their root is")
    if done.items:
        lines.append(f"{done.items} items wait for {done.roots} roots, which are queued")
    return "; ".join(lines)
