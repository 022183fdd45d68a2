"""One line as monitoring plugins print it: state, what is wrong, performance data.

The conventions are those of Nagios, which Icinga, Naemon and others keep. Units are left to
the reader where there is none: ages are in seconds, all else are counts.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from appliance.policy.health import Health
from appliance.value import frozen


class PluginState(enum.IntEnum):
    """What a plugin ends with: also its exit code."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_STATES = {
    Health.HEALTHY: PluginState.OK,
    Health.FROZEN: PluginState.OK,  # it is not going to grow again, and need not
    Health.DEGRADED: PluginState.WARNING,
    Health.UNHEALTHY: PluginState.CRITICAL,
    Health.QUARANTINED: PluginState.CRITICAL,
}


@frozen
class CheckLine:
    """One thing a plugin has to say, and how bad it is."""

    state: PluginState
    text: str


@frozen
class PerformanceValue:
    """One number to draw: beyond `warning` or `critical` it is in that state."""

    label: str
    value: float
    unit: str = ""  # s, %, or nothing for a count
    warning: float | None = None
    critical: float | None = None

    def __str__(self) -> str:
        label = self.label.replace("=", "_").replace("'", "''")
        bounds = ";".join("" if one is None else _number(one) for one in self._bounds)
        return f"'{label}'={_number(self.value)}{self.unit};{bounds}".rstrip(";")

    @property
    def _bounds(self) -> tuple[float | None, ...]:
        return self.warning, self.critical, 0.0, 100.0 if self.unit == "%" else None


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.1f}"


def state_of(health: Health) -> PluginState:
    """Return the state that a log's health is."""
    return _STATES[health]


def worst_state(said: Sequence[CheckLine]) -> PluginState:
    """Return the state of the whole: critical before unknown before warning."""
    order = (PluginState.OK, PluginState.WARNING, PluginState.UNKNOWN, PluginState.CRITICAL)
    return max((one.state for one in said), key=order.index, default=PluginState.UNKNOWN)


def plugin_line(said: Sequence[CheckLine], values: Sequence[PerformanceValue] = ()) -> str:
    """Return the one line, the worst first; what is well only if nothing is worse."""
    state = worst_state(said)
    wrong = [one for one in said if one.state is not PluginState.OK]
    told = sorted(wrong, key=lambda one: one.state is not state) or said
    # The bar begins the performance data, and there is one line.
    text = "; ".join(" ".join(one.text.replace("|", "/").split()) for one in told)
    drawn = " ".join(map(str, values))
    return f"ATTESTOR {state.name} - {text}" + (f" | {drawn}" if drawn else "")
