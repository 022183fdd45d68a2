from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.changes import Change, apply_file, diff, parse_config, set_one
from appliance.config.configuration import restore
from appliance.config.keys import JsonValue
from appliance.config.schema import SETTINGS
from appliance.errors import ConfigError
from tests.config.configurations import FILE, FULL, HOME, applied

DEFAULTS = restore("connected", {})


def test_a_file_sets_what_it_names_and_leaves_the_rest() -> None:
    site = applied(FULL)
    later = applied("attestor: {http: {connections: 5}}", site)
    assert diff(site, later) == (Change("http.connections", 4, 5),)
    assert later.count("rekorSync.maxTilesPerSync") == 7


def test_prune_also_resets_what_the_file_does_not_name() -> None:
    file = parse_config("attestor: {http: {connections: 5}}", FILE, HOME)
    site, _ = apply_file(applied(FULL), file, prune=True)
    assert site.stored == {"http.connections": 5}


def test_what_equals_its_default_is_not_stored() -> None:
    assert applied("attestor: {rekorSync: {syncInterval: 300s}}").stored == {}
    longer = applied("attestor: {rekorSync: {syncInterval: 6m}}")
    assert applied("attestor: {rekorSync: {syncInterval: 5m}}", longer).stored == {}


def test_backends_are_changed_and_added_by_id() -> None:
    later = applied(
        "attestor:\n  rekorSync:\n    backends:\n"
        "      - {id: new, origin: new.example, publicKeyPath: n.pem, baseUrl: https://n.example}\n"
        "      - {id: copy, enabled: true, policyFile: null}\n",
        applied(FULL),
    )
    assert [one.id for one in later.backends] == ["primary", "copy", "old-shard", "new"]
    copy = later.backends[1]
    assert (copy.enabled, copy.policy_file, copy.mirror_of) == (True, None, "primary")
    added: JsonValue = {
        "id": "new",
        "origin": "new.example",
        "baseUrl": "https://n.example",
        "readUrl": None,
        "publicKeyPath": "n.pem",
        "apiVersion": None,
        "enabled": True,
        "mirrorOf": None,
        "policyFile": None,
        "tokenFile": None,
        "staleCheckpointThreshold": None,
        "staleTreeSizeThreshold": None,
        "degradedCheckpointAgeThreshold": None,
        "unhealthyCheckpointAgeThreshold": None,
    }
    assert diff(applied(FULL), later) == (
        Change("rekorSync.backends[copy].enabled", False, True),
        Change("rekorSync.backends[copy].policyFile", "/etc/attestor/policy", None),
        Change("rekorSync.backends[new]", None, added),
    )
    removed = diff(later, applied(FULL))[-1]
    assert removed == Change("rekorSync.backends[new]", added, None)


def test_a_known_backend_needs_no_key_again_even_when_pruning() -> None:
    text = "attestor:\n  rekorSync:\n    backends: [{id: a, enabled: false}]\n"
    before = restore(
        "isolated", {"rekorSync.backends": [{"id": "a", "origin": "o"}, {"id": "b", "origin": "p"}]}
    )
    after, _ = apply_file(before, parse_config(text, FILE, HOME), prune=True)
    assert [(one.id, one.origin, one.enabled) for one in after.backends] == [("a", "o", False)]


def test_other_lists_are_replaced() -> None:
    site = applied("attestor: {alerts: {sinks: [{type: file, path: /a}]}}", applied(FULL))
    assert [sink.type for sink in site.sinks] == ["file"]
    assert applied("attestor: {alerts: {sinks: []}}", site).sinks == ()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rekorSync.enabled", "false", False),
        ("attestor.rekorSync.enabled", "false", False),
        ("rekorSync.maxTilesPerSync", "200", 200),
        ("rekorSync.syncInterval", "10m", "10m"),
        ("rekor.budget.burstWindow", "10:00:00", "10h"),
        ("tileCache.autoPruneAfter", "720h", "30d"),
        ("verify.maxTrustRootAge.warn", "off", None),
        ("http.maxRequestsPerSecond", "5", 5.0),
        ("tileCache.maxCacheSizeBytes", "10GiB", 10 * 2**30),
        ("tileCache.basePath", "/srv/attestor/blobs", "blobs"),
        ("transfer.volumeSize", "3900M", 3900 * 2**20),
        ("http.contact", "yes: we, 'can' [", "yes: we, 'can' ["),
        ("alerts.defaultTenant", "no", "no"),
        ("divergenceDetection.mirrorOrigins", "[log.example.org]", ["log.example.org"]),
        ("rekor.edgeBundles.triggers", "[{cvssThreshold: 7}]", [{"cvssThreshold": 7.0}]),
    ],
)
def test_set_one(name: str, text: str, value: JsonValue) -> None:
    site, _ = set_one(DEFAULTS, name, text, HOME)
    assert site.value(name.removeprefix("attestor.")) == value


def test_an_alias_sets_what_it_means() -> None:
    site, _ = set_one(DEFAULTS, "rekor.edgeBundles.dailyLimit", "9", HOME)
    assert site.stored == {"rekor.budget.edgeBundleDailyLimit": 9}


def test_null_takes_an_optional_text_away() -> None:
    with_contact, _ = set_one(DEFAULTS, "http.contact", "me", HOME)
    assert set_one(with_contact, "http.contact", "null", HOME)[0].stored == {}
    with pytest.raises(ConfigError, match=r"alerts\.defaultTenant: expected a name.*got nothing"):
        set_one(DEFAULTS, "alerts.defaultTenant", "null", HOME)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rekorSync.interval", "5m", "no setting rekorSync.interval, did you mean rekorSync.syn"),
        ("rekorSync", "5m", "no setting rekorSync, "),
        ("rekorSync.backends", "[]", "rekorSync.backends is not set in one piece"),
        ("rekorSync.enabled", "yes", "VALUE:1: yes is true or false to some YAML readers"),
        ("rekorSync.syncInterval", "300", "VALUE: rekorSync.syncInterval: 300 has no unit"),
        ("http.connections", "many", "VALUE:1: http.connections: expected a whole number from 1"),
        ("rekor.tier", "both", "VALUE:1: rekor.tier: expected graph-only or with-edges, got 'b"),
        ("rekor.serverUrl", "https://a", "VALUE: rekor.serverUrl: expected the baseUrl of a con"),
        (
            "checkpointStore.connectionString",
            "Host=db",
            "VALUE: checkpointStore.connectionString: this names a database server",
        ),
    ],
)
def test_bad_settings(name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_one(DEFAULTS, name, text, HOME)
    assert caught.value.message.startswith(message)


@given(st.sampled_from(sorted(SETTINGS)), st.text())
def test_any_value_is_set_or_refused(name: str, text: str) -> None:
    try:
        site, _ = set_one(DEFAULTS, name, text, HOME)
    except ConfigError:
        return
    assert restore("connected", site.stored) == site
