from __future__ import annotations

import pytest

from appliance.config.configuration import Backend, Configuration, EdgeTriggers, Sink, restore
from appliance.config.keys import JsonValue
from appliance.config.schema import SETTINGS
from appliance.errors import ConfigError
from tests.config.configurations import FULL, applied

SPEC_DEFAULTS: dict[str, JsonValue] = {  # what was promised, in the order shown
    "rekorSync.enabled": True,
    "rekorSync.syncInterval": "5m",
    "rekorSync.initialDelay": "30s",
    "rekorSync.enableTileSync": True,
    "rekorSync.enableEntrySync": False,
    "rekorSync.maxTilesPerSync": 100,
    "rekorSync.backendTimeout": "5m",
    "rekorSync.discoverInterval": None,
    "rekorSync.backends": [],
    "http.connections": 16,
    "http.maxRequestsPerSecond": None,
    "http.contact": None,
    "http.proxy": None,
    "http.proxyCredentialsFile": None,
    "http.noProxy": [],
    "http.caFile": None,
    "http.clientCertificateFile": None,
    "http.clientKeyFile": None,
    "checkpointStore.connectionString": "attestor.db",
    "checkpointStore.schema": None,
    "checkpointStore.autoInitializeSchema": True,
    "tileCache.basePath": "blobs",
    "tileCache.maxCacheSizeBytes": 0,
    "tileCache.autoPruneAfter": None,
    "divergenceDetection.enabled": True,
    "divergenceDetection.staleCheckpointThreshold": "1h",
    "divergenceDetection.staleTreeSizeThreshold": "2h",
    "divergenceDetection.degradedCheckpointAgeThreshold": "30m",
    "divergenceDetection.unhealthyCheckpointAgeThreshold": "2h",
    "divergenceDetection.enableCrossLogChecks": True,
    "divergenceDetection.mirrorOrigins": [],
    "alerts.enabled": True,
    "alerts.defaultTenant": "system",
    "alerts.alertOnHighSeverity": True,
    "alerts.alertOnWarning": True,
    "alerts.alertOnInfo": False,
    "alerts.stream": "attestor.alerts",
    "alerts.sinks": [],
    "entryIndex.enabled": None,
    "entryIndex.maxSizeBytes": None,
    "watch.defaultSeverity": "warning",
    "watch.unvouched": "info",
    "watch.grace": "0s",
    "watch.maxEntriesPerAlert": 20,
    "watch.regexTimeout": "100ms",
    "rekor.enabled": True,
    "rekor.serverUrl": None,
    "rekor.tier": "graph-only",
    "rekor.budget.hourlyLimit": 100,
    "rekor.budget.burstLimit": 200,
    "rekor.budget.burstWindow": "10m",
    "rekor.budget.edgeBundleDailyLimit": 50,
    "rekor.edgeBundles.enabled": True,
    "rekor.edgeBundles.triggers": [
        {"cvssThreshold": 9.0},
        {"policyGate": "require_proof"},
        {"manualEscalation": True},
    ],
    "rekor.retry.maxAttempts": 3,
    "rekor.retry.initialDelay": "5s",
    "rekor.retry.maxDelay": "5m",
    "rekor.retry.backoffMultiplier": 2.0,
    "rekor.offline.queueEnabled": True,
    "rekor.offline.maxQueueSize": 10_000,
    "rekor.offline.drainOnConnect": True,
    "rekor.aggregate.enabled": False,
    "rekor.aggregate.minItems": 20,
    "rekor.aggregate.log": None,
    "publish.rekorUrl": None,
    "publish.everyEvents": 100,
    "publish.everySeconds": 300,
    "privateLog.hosted": [],
    "privateLog.accessLog": None,
    "privateLog.metrics": "loopback",
    "privateLog.trustedProxies": [],
    "privateLog.clientCertificateHeader": None,
    "verify.maxTrustRootAge.warn": "14d",
    "verify.maxTrustRootAge.fail": None,
    "verify.maxCheckpointAge": None,
    "verify.requireMirror": False,
    "verify.requireProof": False,
    "transfer.volumeSize": None,
    "transfer.overlap": 3,
    "transfer.threshold": 1,
    "keys.passphraseFile": None,
    "witness.logs": [],
    "witness.timeout": "2s",
}


def test_the_defaults_are_those_of_the_specification() -> None:
    effective = restore("connected", {}).effective
    assert effective == SPEC_DEFAULTS
    assert list(effective) == list(SPEC_DEFAULTS)


def test_an_isolated_site_has_other_thresholds() -> None:
    site = restore("isolated", {})
    differs = {
        name: value for name, value in site.effective.items() if value != SPEC_DEFAULTS[name]
    }
    assert differs == {
        "divergenceDetection.staleCheckpointThreshold": "14d",
        "divergenceDetection.staleTreeSizeThreshold": "30d",
        "divergenceDetection.degradedCheckpointAgeThreshold": "14d",
        "divergenceDetection.unhealthyCheckpointAgeThreshold": "30d",
    }


def test_a_full_file_sets_every_key() -> None:
    site = applied(FULL)
    assert set(site.stored) == set(SETTINGS) - {
        "checkpointStore.connectionString",
        "tileCache.basePath",
        "verify.maxTrustRootAge.fail",
    }
    assert restore(site.role, site.stored) == site


def test_typed_values() -> None:
    site = applied(FULL)
    assert site.flag("rekorSync.enableEntrySync") is True
    assert site.count("rekorSync.maxTilesPerSync") == 7
    assert site.count("tileCache.maxCacheSizeBytes") == 10**10
    assert site.optional_count("transfer.volumeSize") == 3900 * 2**20
    assert site.number("rekor.retry.backoffMultiplier") == 1.0
    assert site.optional_number("http.maxRequestsPerSecond") == 2.5
    assert site.text("alerts.stream") == "acme.alerts"
    assert site.optional_text("http.contact") == "Ops <ops@example.org>"
    assert site.text("publish.rekorUrl") == "https://log.example.org"
    assert site.text("tileCache.basePath") == "blobs"
    assert site.seconds("divergenceDetection.unhealthyCheckpointAgeThreshold") == 93_784
    assert site.optional_seconds("verify.maxCheckpointAge") == 30 * 86_400
    assert site.mirror_origins == ("log.example.org", "with space")
    assert site.edge_triggers == EdgeTriggers(7.0, None, manual_escalation=False)


def test_what_is_off_is_none() -> None:
    site = restore("connected", {})
    assert site.optional_seconds("verify.maxTrustRootAge.fail") is None
    assert site.optional_number("http.maxRequestsPerSecond") is None
    assert site.optional_count("transfer.volumeSize") is None
    assert site.optional_text("rekor.serverUrl") is None
    assert restore("connected", {"rekor.edgeBundles.triggers": []}).edge_triggers == EdgeTriggers(
        None, None, manual_escalation=False
    )
    assert site.edge_triggers == EdgeTriggers(9.0, "require_proof", manual_escalation=True)


def test_seconds_are_rounded_up_and_durations_are_exact() -> None:
    site = restore("connected", {"rekor.retry.initialDelay": "1s250ms"})
    assert site.seconds("rekor.retry.initialDelay") == 2
    assert site.exact_seconds("rekor.retry.initialDelay") == 1.25


def test_backends() -> None:
    assert applied(FULL).backends[:2] == (
        Backend(
            id="primary",
            origin="log.example.org",
            base_url="https://log.example.org",
            read_url=None,
            public_key_path="/etc/attestor/log.pem",
            api_version=None,
            enabled=True,
            mirror_of=None,
            policy_file=None,
        ),
        Backend(
            id="copy",
            origin="log.example.org",
            base_url=None,
            read_url="http://[::1]:3000/tiles",
            public_key_path="keys/log.pem",
            api_version=1,
            enabled=False,
            mirror_of="primary",
            policy_file="/etc/attestor/policy",
            token_file="/etc/attestor/copy.token",  # noqa: S106 a path
        ),
    )


def test_sinks() -> None:
    webhook, command, file, *_, smtp = applied(FULL).sinks
    assert webhook == Sink(
        "webhook", "https://a.example.org/x", (), None, None, "/etc/secret", 0.25
    )
    assert command.argv == ("/bin/alert", "--flag", "")
    assert file.path == "/var/log/a b.jsonl"
    assert (smtp.address, smtp.url) == ("ops@example.org", "smtps://mail.example.org:465")
    assert smtp.timeout_seconds == 10


def test_stored_backends_may_lack_what_has_a_default() -> None:
    site = restore("isolated", {"rekorSync.backends": [{"id": "a", "origin": "o"}]})
    assert site.backends == (Backend("a", "o", None, None, None, None, True, None, None),)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (
            {"rekorSync.syncIntervall": "5m"},
            "the store: unknown key rekorSync.syncIntervall, did you mean rekorSync.syncInterval?",
        ),
        (
            {"rekorSync.maxTilesPerSync": "7"},
            "the store: rekorSync.maxTilesPerSync: expected a whole number"
            " from 1 to 1000000000, got '7'",
        ),
        (
            {"alerts.sinks": [{"type": "file"}]},
            "the store: alerts.sinks: a file sink needs path",
        ),
    ],
)
def test_a_store_that_holds_what_we_would_not_accept(
    stored: dict[str, JsonValue], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        restore("connected", stored)
    assert caught.value.message == message


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected connected or isolated, got 'lonely'"):
        restore("lonely", {})


def test_asking_for_the_wrong_type_is_a_bug() -> None:
    site = Configuration("connected", {})
    with pytest.raises(TypeError, match=r"rekorSync\.enabled is not of type int"):
        site.count("rekorSync.enabled")
    with pytest.raises(TypeError, match=r"http\.connections is not of type bool"):
        site.flag("http.connections")
    with pytest.raises(TypeError, match=r"http\.contact is not of type str"):
        site.text("http.contact")
    with pytest.raises(TypeError, match=r"http\.connections is not a list"):
        site.items("http.connections")
    with pytest.raises(KeyError):
        site.value("http.nothing")
