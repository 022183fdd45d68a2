"""Acknowledging alerts: somebody has seen them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from appliance.errors import ConfigError
from appliance.jobs.home.configure import read_configuration
from appliance.store.database import Store
from appliance.store.divergence.alerts import Alert, ack_alert, require_alert
from appliance.store.divergence.outbox import give_up_others
from appliance.value import frozen


@frozen
class Acknowledged:
    """What came of one alert."""

    alert: Alert
    is_new: bool  # nobody had acknowledged it before


def acknowledge(
    store: Store, which: Sequence[str], note: str | None, now: int, *, dry_run: bool = False
) -> tuple[Acknowledged, ...]:
    """Record that alerts were seen, all of them or none; raises as require_alert does.

    They wait no longer for sinks that the configuration does not have.
    """
    with store.atomic(dry_run=dry_run):
        found = [require_alert(store, one) for one in which]
        done = tuple(Acknowledged(one, ack_alert(store, one, now, note)) for one in found)
        with contextlib.suppress(ConfigError):  # then nobody knows which sinks there are
            sinks = [sink.name for sink in read_configuration(store).sinks]
            for one in found:
                give_up_others(store, one.number, sinks)
    return done
