"""Counters and histograms that outlive the run that counts (docs/metrics.md).

Names and labels are those of the metrics; report/ shows them as Prometheus text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence

from appliance.store.database import Store
from appliance.store.row_form import json_object, reading_row
from appliance.value import frozen

Labels = Mapping[str, str]


@frozen
class Counter:
    """One counter, or one part of a histogram."""

    name: str  # as exposed, with _total, _bucket, _sum or _count
    labels: dict[str, str]
    value: float


def count(store: Store, name: str, labels: Labels, by: float = 1) -> None:
    """Add to a counter; counting nothing makes it appear with 0."""
    store.execute(
        "INSERT INTO counter VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET value = value + excluded.value",
        [name, _text(labels), float(by)],
    )


def observe(
    store: Store, name: str, labels: Labels, value: float, upper_bounds: Sequence[float]
) -> None:
    """Add an observation to a histogram. Call it inside store.atomic().

    `upper_bounds` ascend, without infinity, and are the same at every call.
    """
    for bound in (*upper_bounds, math.inf):
        le = "+Inf" if bound == math.inf else f"{bound:g}"
        count(store, f"{name}_bucket", {**labels, "le": le}, by=value <= bound)
    count(store, f"{name}_sum", labels, by=max(value, 0.0))
    count(store, f"{name}_count", labels)


def counters(store: Store, prefix: str = "") -> Iterator[Counter]:
    """Yield every counter whose name begins with `prefix`, by name."""
    rows = store.rows(
        "SELECT * FROM counter WHERE substr(name, 1, ?) = ? ORDER BY name, labels",
        [len(prefix), prefix],
    )
    for row in rows:
        with reading_row(f"counter {row['name']}"):
            labels = json_object(row["labels"])
        yield Counter(row["name"], labels, row["value"])


def _text(labels: Labels) -> str:
    return json.dumps(labels, sort_keys=True, separators=(",", ":"))
