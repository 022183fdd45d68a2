from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.changes import apply_file, diff, parse_config, set_one
from appliance.config.configuration import Configuration, restore
from appliance.config.formatting import example_yaml, format_value, format_yaml
from appliance.config.keys import JsonValue
from appliance.config.schema import BACKENDS, SETTINGS, Role
from appliance.errors import ConfigError
from tests.config.configurations import FILE, FULL, HOME, applied


def read_back(site: Configuration) -> Configuration:
    empty = restore(site.role, {})
    return apply_file(empty, parse_config(format_yaml(site), FILE, HOME))[0]


@pytest.mark.parametrize("role", ["connected", "isolated"])
def test_the_defaults_read_back(role: Role) -> None:
    assert read_back(restore(role, {})).stored == {}


def test_a_full_configuration_reads_back() -> None:
    site = applied(FULL)
    assert read_back(site) == site
    assert format_yaml(read_back(site)) == format_yaml(site)


def test_other_readers_see_the_same() -> None:
    theirs = yaml.safe_load(format_yaml(applied(FULL)))["attestor"]
    assert theirs["http"]["contact"] == "Ops <ops@example.org>"
    assert theirs["rekorSync"]["backends"][2]["origin"] == "rekor.example.org - 2605736670972794746"
    assert theirs["divergenceDetection"]["unhealthyCheckpointAgeThreshold"] == "1d2h3m4s"
    assert theirs["alerts"]["sinks"][1]["argv"] == ["/bin/alert", "--flag", ""]


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@given(st.sampled_from(["http.contact", "alerts.stream", "checkpointStore.schema"]), TEXTS)
def test_any_text_reads_back(name: str, text: str) -> None:
    try:
        site, _ = set_one(restore("connected", {}), name, text, HOME)
    except ConfigError:
        return
    assert read_back(site) == site


@given(
    st.lists(TEXTS, max_size=3),
    st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), max_size=3),
)
def test_any_list_reads_back(origins: list[str], sinks: list[tuple[str, list[str]]]) -> None:
    items: list[JsonValue] = []
    for path, argv in sinks:
        items += [{"type": "file", "path": path}, {"type": "command", "argv": [*argv]}]
    stored: dict[str, JsonValue] = {
        "divergenceDetection.mirrorOrigins": [*origins],
        "alerts.sinks": items,
    }
    try:
        site = restore("connected", stored)
    except ConfigError:
        return
    assert read_back(site).effective == site.effective


@pytest.mark.parametrize("text", ["off", "true", "null", "1", "5m", "1e3", "10:00", "- a", "a: b"])
def test_texts_that_look_like_something_else_read_back(text: str) -> None:
    site = restore("connected", {"divergenceDetection.mirrorOrigins": [text]})
    assert read_back(site) == site
    site, _ = set_one(restore("connected", {}), "checkpointStore.schema", text, HOME)
    assert read_back(site) == site


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("tileCache.maxCacheSizeBytes", 10 * 2**30, "10GiB"),
        ("tileCache.autoPruneAfter", None, "off"),
        ("http.contact", None, "null"),
        ("http.contact", "a b", '"a b"'),
        ("rekor.retry.backoffMultiplier", 2.0, "2.0"),
        ("rekor.enabled", True, "true"),
        ("divergenceDetection.mirrorOrigins", ["a"], '["a"]'),
        ("rekorSync.backends[a].enabled", False, "false"),
        ("rekorSync.backends[a]", {"id": "a"}, '{"id": "a"}'),
    ],
)
def test_one_value_on_one_line(name: str, value: JsonValue, text: str) -> None:
    assert format_value(name, value) == text


@pytest.mark.parametrize("role", ["connected", "isolated"])
def test_the_example_changes_nothing(role: Role) -> None:
    defaults = restore(role, {})
    applied_example, warnings = apply_file(defaults, parse_config(example_yaml(role), FILE, HOME))
    assert diff(defaults, applied_example) == ()
    assert warnings == ()


@pytest.mark.parametrize("role", ["connected", "isolated"])
def test_the_example_uncommented_names_every_setting(role: Role) -> None:
    whole = re.sub(r"(?m)^( *)#(?! )", r"\1", example_yaml(role))
    whole = re.sub(r"(?m)^( *)#(?=  +(?:- )?[a-z]+[A-Za-z]*: )", r"\1", whole)
    file = parse_config(whole, FILE, HOME)
    assert set(file.values) == set(SETTINGS)
    backends = file.values[BACKENDS]
    assert isinstance(backends, list)
    assert len(backends) == 1


def test_every_setting_in_the_example_is_explained() -> None:
    lines = example_yaml().split("\n")
    for name in SETTINGS:
        label = name.rpartition(".")[2]
        places = [i for i, line in enumerate(lines) if re.match(rf" *#?{label}:", line)]
        assert any(re.match(r" *# \S", lines[i - 1]) for i in places), name
