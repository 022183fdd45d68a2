"""What a file may not say, each with the file and line of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.changes import parse_config
from appliance.config.schema import SETTINGS
from appliance.errors import ConfigError
from tests.config.configurations import FILE, FULL, HOME

BAD = {
    "empty": ("", "site.yaml:1: expected attestor: at the start of a line"),
    "list": ("- attestor\n", "site.yaml:1: expected attestor: at the start of a line"),
    "other root": ("attestr:\n  http: {}\n", "site.yaml:1: unknown key attestr, did you mean att"),
    "second root": ("attestor:\nrekor:\n", "site.yaml:2: unknown key rekor, "),
    "section as value": ("attestor:\n  http: 5\n", "site.yaml:2: http: expected keys below it"),
    "root as list": ("attestor: []\n", "site.yaml:1: attestor: expected keys below it"),
    "unknown section": (
        "attestor:\n  rekorSyncs: {}\n",
        "site.yaml:2: unknown key rekorSyncs, did you mean rekorSync?",
    ),
    "unknown key": (
        "attestor:\n  rekorSync:\n    enabled: true\n    syncInterva: 5m\n",
        "site.yaml:4: unknown key rekorSync.syncInterva, did you mean syncInterval?",
    ),
    "wrong case": (
        "attestor:\n  rekorsync:\n    enabled: true\n",
        "site.yaml:2: unknown key rekorsync, did you mean rekorSync?",
    ),
    "key of another section": (
        "attestor:\n  syncInterval: 5m\n",
        "site.yaml:2: unknown key syncInterval, did you mean rekorSync.syncInterval?",
    ),
    "nothing like it": (
        "attestor:\n  publish:\n    zzz: 5m\n",
        "site.yaml:3: unknown key publish.zzz, expected one of rekorUrl, everyEvents, everySeconds",
    ),
    "deep unknown key": (
        "attestor:\n  rekor:\n    budget:\n      hourlyLimits: 1\n",
        "site.yaml:4: unknown key rekor.budget.hourlyLimits, did you mean hourlyLimit?",
    ),
    "unknown backend field": (
        "attestor:\n  rekorSync:\n    backends:\n      - id: a\n        url: x\n",
        "site.yaml:5: unknown key url in rekorSync.backends, did you mean readUrl?",
    ),
    "yes": (
        "attestor:\n  rekor:\n    enabled: yes\n",
        "site.yaml:3: yes is true or false to some YAML readers",
    ),
    "off for a flag": (
        "attestor:\n  rekor:\n    enabled: off\n",
        "site.yaml:3: rekor.enabled: expected true or false, got off",
    ),
    "off for a text": (
        "attestor:\n  alerts:\n    defaultTenant: off\n",
        "site.yaml:3: alerts.defaultTenant: expected a name",
    ),
    "quoted off for a duration that has to be": (
        'attestor:\n  rekorSync:\n    syncInterval: "off"\n',
        "site.yaml:3: rekorSync.syncInterval: expected a duration",
    ),
    "base 60": (
        "attestor:\n  rekor:\n    budget:\n      burstWindow: 10:00:00\n",
        "site.yaml:4: 10:00:00 is a base-60 number to some YAML readers",
    ),
    "bare number": (
        "attestor:\n  rekorSync:\n    syncInterval: 300\n",
        "site.yaml:3: rekorSync.syncInterval: 300 has no unit",
    ),
    "negative": (
        "attestor:\n  rekorSync:\n    syncInterval: -5m\n",
        "site.yaml:3: rekorSync.syncInterval: '-5m' is negative",
    ),
    "zero interval": (
        "attestor:\n  rekorSync:\n    syncInterval: 0s\n",
        "site.yaml:3: rekorSync.syncInterval: expected 1s or more, got 0s",
    ),
    "no value": (
        "attestor:\n  rekorSync:\n    syncInterval:\n    enabled: true\n",
        "site.yaml:3: rekorSync.syncInterval: expected a duration",
    ),
    "list for a value": (
        "attestor:\n  http:\n    connections:\n      - 5\n",
        "site.yaml:4: http.connections: expected a whole number",
    ),
    "value for a list": (
        "attestor:\n  alerts:\n    sinks: webhook\n",
        "site.yaml:3: alerts.sinks: expected a list",
    ),
    "text for an item": (
        "attestor:\n  alerts:\n    sinks:\n      - webhook\n",
        "site.yaml:4: alerts.sinks: expected type, url, argv",
    ),
    "item for a text": (
        "attestor:\n  divergenceDetection:\n    mirrorOrigins:\n      - a\n      - b: c\n",
        "site.yaml:5: divergenceDetection.mirrorOrigins: expected the origin of a log",
    ),
    "number for a text": (
        "attestor:\n  divergenceDetection: {mirrorOrigins: [1]}\n",
        "site.yaml:2: divergenceDetection.mirrorOrigins: expected the origin of a log",
    ),
    "backend without id": (
        "attestor:\n  rekorSync:\n    backends:\n      - origin: a\n",
        "site.yaml:4: rekorSync.backends: expected id in each item",
    ),
    "backend twice": (
        "attestor:\n  rekorSync:\n    backends:\n      - id: a\n      - id: b\n      - id: a\n",
        "site.yaml:6: rekorSync.backends: a is here twice, first on line 4",
    ),
    "backend with a bad url": (
        "attestor:\n  rekorSync:\n    backends:\n      - id: a\n        baseUrl: host\n",
        "site.yaml:5: rekorSync.backends[].baseUrl: expected a URL such as",
    ),
    "two triggers in one": (
        "attestor:\n  rekor:\n    edgeBundles:\n      triggers:\n"
        "        - cvssThreshold: 9.0\n          manualEscalation: true\n",
        "site.yaml:5: rekor.edgeBundles.triggers: expected one of cvssThreshold, policyGate,",
    ),
    "trigger beyond CVSS": (
        "attestor:\n  rekor:\n    edgeBundles:\n      triggers: [{cvssThreshold: 11}]\n",
        "site.yaml:4: rekor.edgeBundles.triggers[].cvssThreshold: expected a number from 0 to 10",
    ),
    "alias and name unequal": (
        "attestor:\n  rekor:\n    budget:\n      edgeBundleDailyLimit: 50\n"
        "    edgeBundles:\n      dailyLimit: 60\n",
        "site.yaml:6: rekor.edgeBundles.dailyLimit is 60, but means the same as"
        " rekor.budget.edgeBundleDailyLimit or its alias, 50 on line 4",
    ),
    "alias before name": (
        "attestor:\n  rekor:\n    edgeBundles:\n      dailyLimit: 60\n"
        "    budget:\n      edgeBundleDailyLimit: 50\n",
        "site.yaml:6: rekor.budget.edgeBundleDailyLimit is 50, but means the same as",
    ),
    "foreign cache": (
        "attestor:\n  tileCache:\n    basePath: cache/tiles\n",
        "site.yaml:3: tileCache.basePath: expected blobs or the absolute path of a directory",
    ),
    "home of another": (
        "attestor:\n  checkpointStore:\n    connectionString: /srv/other/attestor.db\n",
        "site.yaml:3: checkpointStore.connectionString: expected attestor.db, this home's own",
    ),
    "duplicate key": (
        "attestor:\n  http: {connections: 1}\n  http: {connections: 1}\n",
        "site.yaml:3: http is here twice, first on line 2",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case: str) -> None:
    text, message = BAD[case]
    with pytest.raises(ConfigError) as caught:
        parse_config(text, FILE, HOME)
    assert caught.value.message.startswith(message)


SINKS = {
    "no type": ("{url: https://a}", "a sink needs a type: webhook, command, file, syslog, smtp"),
    "no target": ("{type: webhook}", "a webhook sink needs url"),
    "null target": ("{type: file, path: null}", "a file sink needs path"),
    "foreign field": ("{type: file, path: /a, url: https://a}", "a file sink has no url"),
    "foreign list": ("{type: file, path: /a, argv: [x]}", "a file sink has no argv"),
    "webhook by mail": ("{type: webhook, url: smtp://a}", "url of a webhook sink: expected an ht"),
    "mail by web": ("{type: smtp, address: a@b, url: https://a}", "url of a smtp sink: expected"),
    "mail with a password of nobody": (
        "{type: smtp, address: a@b, url: smtps://h, secretFile: /s}",
        "a smtp sink with a secretFile needs a user in its url",
    ),
    "mail to a host": ("{type: smtp, address: host}", "address of a smtp sink: expected a mail"),
    "syslog nowhere": ("{type: syslog, address: host}", "address of a syslog sink: expected /dev"),
}


@pytest.mark.parametrize("case", SINKS)
def test_bad_sinks(case: str) -> None:
    sink, message = SINKS[case]
    with pytest.raises(ConfigError) as caught:
        parse_config(f"attestor:\n  alerts:\n    sinks:\n      - {sink}\n", FILE, HOME)
    assert caught.value.message.startswith(f"site.yaml:4: alerts.sinks: {message}")
    assert caught.value.reason == "bad-sink"


def test_an_empty_argv_runs_nothing() -> None:
    text = "attestor:\n  alerts:\n    sinks: [{type: command, argv: []}]\n"
    with pytest.raises(ConfigError, match=r"^site\.yaml:3: .*argv: expected at least one"):
        parse_config(text, FILE, HOME)


@pytest.mark.parametrize(
    "connection",
    [
        "Host=db;Database=rekor;Username=u;Password=hunter2",
        "postgres://u:hunter2@db/rekor",
        "postgresql://db/rekor",
        "host=db dbname=rekor password=hunter2",
        "Server=db;User Id=u;Password=hunter2",
    ],
)
def test_a_database_server_is_refused_with_an_explanation(connection: str) -> None:
    text = f"attestor:\n  checkpointStore:\n    connectionString: {connection}\n"
    with pytest.raises(ConfigError) as caught:
        parse_config(text, FILE, HOME)
    message = caught.value.message
    assert message.startswith("site.yaml:3: checkpointStore.connectionString: this names a data")
    assert "PostgreSQL" in message
    assert caught.value.reason == "postgresql"
    assert "hunter2" not in message + caught.value.next_step


@pytest.mark.parametrize("path", ["attestor.db", "/srv/attestor/attestor.db"])
def test_this_homes_own_database_is_accepted(path: str) -> None:
    text = f"attestor:\n  checkpointStore:\n    connectionString: {path}\n"
    values = parse_config(text, FILE, HOME).values
    assert values == {"checkpointStore.connectionString": "attestor.db"}


def test_sections_whose_keys_are_all_commented_out_say_nothing() -> None:
    file = parse_config("attestor:\n  http:\n    # contact: a\n  rekor:\n", FILE, HOME)
    assert file.values == {}
    assert parse_config("attestor:\n", FILE, HOME).values == {}


def test_an_alias_is_accepted_with_a_warning() -> None:
    file = parse_config("attestor:\n  rekor: {edgeBundles: {dailyLimit: 60}}\n", FILE, HOME)
    assert file.values == {"rekor.budget.edgeBundleDailyLimit": 60}
    assert file.warnings == (
        "site.yaml:2: rekor.edgeBundles.dailyLimit is an old name of"
        " rekor.budget.edgeBundleDailyLimit",
    )


def test_a_schema_is_ignored_with_a_warning() -> None:
    file = parse_config("attestor:\n  checkpointStore:\n    schema: public\n", FILE, HOME)
    assert file.warnings == (
        "site.yaml:3: checkpointStore.schema is ignored: one file has one schema",
    )


def test_only_named_fields_of_a_backend_are_read() -> None:
    text = "attestor:\n  rekorSync:\n    backends: [{id: a, enabled: false, readUrl: null}]\n"
    file = parse_config(text, FILE, HOME)
    assert file.values == {"rekorSync.backends": [{"id": "a", "enabled": False, "readUrl": None}]}
    assert file.places.lines == {"rekorSync.backends[a]": 3, "rekorSync.backends": 3}


def test_every_line_cut_out_of_a_full_file_leaves_a_file_or_an_error() -> None:
    lines = FULL.split("\n")
    for index in range(len(lines)):
        try:
            parse_config("\n".join(lines[:index] + lines[index + 1 :]), FILE, HOME)
        except ConfigError as error:
            assert error.message.startswith("site.yaml:")


WORDS = st.sampled_from(
    [part for name in SETTINGS for part in name.split(".")]
    + ["id", "origin", "type", "5m", "off", "null", "true", "1", "x", "https://a", "webhook"]
)
TREES = st.recursive(
    WORDS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
        | st.lists(st.tuples(WORDS, inner), max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=8,
)


@given(TREES | st.text())
def test_any_file_is_read_or_refused_with_its_line(tree: str) -> None:
    try:
        parse_config(f"attestor: {tree}", FILE, HOME)
    except ConfigError as error:
        assert error.message.startswith("site.yaml:")


@given(st.sampled_from(sorted(SETTINGS)), TREES | st.text())
def test_any_value_of_a_key_is_read_or_refused_with_its_line(name: str, tree: str) -> None:
    text = "attestor: {" + name.replace(".", ": {") + f": {tree}" + "}" * (name.count(".") + 1)
    try:
        parse_config(text, FILE, HOME)
    except ConfigError as error:
        assert error.message.startswith("site.yaml:")
