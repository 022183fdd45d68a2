"""Turn an alarm into a stored alert, its deliveries and its count."""

from __future__ import annotations

from typing import Final

from appliance.jobs.home.configure import read_configuration
from appliance.policy.alarms import Alarm, Severity, payload
from appliance.store.database import Store
from appliance.store.divergence.alerts import NewAlert, raise_alert
from appliance.store.home.counters import count
from appliance.store.mirror.logs import Log
from appliance.value import frozen

ANOMALIES: Final = "attestor_rekor_anomalies_detected_total"

_SWITCHES: Final = {
    Severity.CRITICAL: "alerts.alertOnHighSeverity",
    Severity.WARNING: "alerts.alertOnWarning",
    Severity.INFO: "alerts.alertOnInfo",
}


@frozen
class Alerting:
    """Whom this site tells what, as configured."""

    enabled: bool  # divergenceDetection.enabled; without it evidence is kept, nobody alarmed
    tenant: str
    stream: str
    sinks: tuple[str, ...]  # by name
    delivered: frozenset[Severity]  # the others are recorded only
    cross_log: bool  # divergenceDetection.enableCrossLogChecks

    def sinks_for(self, severity: Severity) -> tuple[str, ...]:
        """List the sinks that an alert of this severity goes to."""
        return self.sinks if severity in self.delivered else ()


def read_alerting(store: Store) -> Alerting:
    """Read from the configuration of a store who is told what."""
    configuration = read_configuration(store)
    on = configuration.flag("alerts.enabled")
    return Alerting(
        configuration.flag("divergenceDetection.enabled"),
        configuration.text("alerts.defaultTenant"),
        configuration.text("alerts.stream"),
        tuple(sink.name for sink in configuration.sinks),
        frozenset(one for one, key in _SWITCHES.items() if on and configuration.flag(key)),
        configuration.flag("divergenceDetection.enableCrossLogChecks"),
    )


def raise_alarm(
    store: Store,
    alarm: Alarm,
    now: int,
    *,
    log: Log | None = None,
    evidence_id: int | None = None,
    alerting: Alerting | None = None,
) -> int:
    """Store an alarm with its deliveries, count it, and return the alert's number.

    Call it inside store.atomic(). `alerting` is read from the store if it is not given.
    """
    alerting = alerting or read_alerting(store)
    new = NewAlert(
        alarm.condition,
        alarm.type,
        alarm.event_type,
        alarm.severity.value,
        payload(alarm, now, alerting.tenant, alerting.stream),
        log,
        evidence_id,
    )
    number, _ = raise_alert(store, new, alerting.sinks_for(alarm.severity), now)
    if alarm.severity is not Severity.INFO:  # a notice is counted where it is met, each time
        count(store, ANOMALIES, {"type": alarm.type, "severity": alarm.severity.value})
    return number
