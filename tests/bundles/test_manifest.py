from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles.errors import BundleError, FormatError
from bundles.manifest import (
    MAX_MEMBERS,
    Contains,
    CreatedBy,
    Custody,
    DataAge,
    Entries,
    Have,
    LogPart,
    Manifest,
    Tiles,
    Totals,
    TreeHeadRef,
    Volume,
)
from bundles.manifest_json import MAX_MANIFEST_BYTES, format_manifest, parse_manifest
from bundles.strict_json import MAX_INTEGER, format_json
from tests.bundles.samples import LOG, MANIFEST

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=12)
ORIGIN = TEXT.filter(bool)
COUNT = st.integers(0, MAX_INTEGER)
TIME = st.integers(0, 253_402_300_799)
HASH = st.binary(min_size=32, max_size=32)
HEAD = st.builds(TreeHeadRef, st.integers(1, MAX_INTEGER), HASH)


@st.composite
def log_parts(draw: st.DrawFn) -> LogPart:
    head = draw(HEAD)
    below = st.integers(0, head.tree_size)
    start, stop = sorted(draw(st.lists(below, min_size=2, max_size=2, unique=True)))
    return LogPart(
        origin=draw(ORIGIN),
        vkeys=tuple(draw(st.lists(TEXT, max_size=2))),
        base=draw(st.none() | st.builds(TreeHeadRef, below, HASH)),
        head=head,
        tiles=draw(st.builds(Tiles, COUNT, COUNT)),
        entries=draw(st.sampled_from([None, Entries(start, stop)])),
    )


MANIFESTS = st.builds(
    Manifest,
    created_at=TIME,
    created_by=st.builds(CreatedBy, TEXT, TEXT),
    site=st.from_regex(r"[a-z0-9.-]+", fullmatch=True),
    purpose=TEXT,
    logs=st.lists(log_parts(), max_size=3, unique_by=lambda log: log.origin).map(tuple),
    volume=st.integers(1, 99).map(lambda of: Volume("set-1", of, of)),
    totals=st.builds(Totals, st.integers(1, MAX_MEMBERS), COUNT),
    data_age=st.builds(DataAge, st.none() | TIME, st.none() | TIME),
    have=st.lists(
        st.builds(Have, ORIGIN, COUNT, HASH), max_size=3, unique_by=lambda have: have.origin
    ).map(tuple),
    contains=st.builds(Contains, COUNT, COUNT, COUNT, COUNT),
    custody=st.builds(Custody, TEXT, TEXT, TEXT, TEXT),
    not_before=st.none() | st.integers(0, 100),
    expires=st.none() | st.integers(100, 200),
    extensions=st.dictionaries(TEXT.map("x-{}".format), COUNT | TEXT | st.lists(TEXT), max_size=2),
)


@given(MANIFESTS)
def test_a_manifest_survives_its_bytes(manifest: Manifest) -> None:
    assert parse_manifest(format_manifest(manifest)) == manifest


@given(st.binary())
def test_any_bytes_parse_or_are_malformed(data: bytes) -> None:
    with pytest.raises(BundleError):
        parse_manifest(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def as_json() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(format_manifest(MANIFEST))
    return value


@given(st.sampled_from(sorted(as_json())), JSON)
def test_any_value_in_any_field_parses_or_is_malformed(key: str, value: Any) -> None:
    document = as_json() | {key: value}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    data = f"{text}\n".encode("utf-8", "surrogatepass")
    try:
        manifest = parse_manifest(data)
    except FormatError:
        return
    assert format_manifest(manifest) == data


def test_every_byte_counts() -> None:
    data = format_manifest(MANIFEST)
    for position in range(len(data)):
        for damaged in (
            data[:position] + data[position + 1 :],
            data[:position] + b" " + data[position:],
            data[:position] + b"\0" + data[position + 1 :],
        ):
            try:
                manifest = parse_manifest(damaged)
            except FormatError:
                continue
            assert manifest != MANIFEST, position
            assert format_manifest(manifest) == damaged, position


def changed(*path: str | int, to: Any) -> bytes:
    """The sample with one value changed; None takes the key away."""
    document: Any = as_json()
    place = document
    for step in path[:-1]:
        place = place[step]
    if to is MISSING:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return format_json(document)


MISSING = object()
HEX = "00" * 32

BAD: dict[str, tuple[bytes, str]] = {
    "not an object": (b"[]\n", "expected an object, got an array"),
    "no schema": (changed("schema", to=MISSING), "schema is missing"),
    "schema as a text": (changed("schema", to="1"), r"schema: expected an integer .*, got \"1\""),
    "schema true": (changed("schema", to=True), "schema: expected an integer"),
    "unknown key": (changed("extra", to=1), "unknown field 'extra'"),
    "unknown key, upper-case X-": (changed("X-extra", to=1), "unknown field 'X-extra'"),
    "unknown key inside": (changed("volume", "x-a", to=1), r"volume: unknown field 'x-a'"),
    "unknown key in a log": (changed("logs", 0, "extra", to=1), r"logs\[0\]: unknown field"),
    "unknown key in createdBy": (changed("createdBy", "x", to=1), "createdBy: unknown field"),
    "logs an object": (changed("logs", to={}), "logs: expected an array"),
    "log a text": (changed("logs", 0, to="a"), r"logs\[0\]: expected an object"),
    "origin empty": (changed("logs", 0, "origin", to=""), "a log has an origin"),
    "origin twice": (changed("logs", to=[as_json()["logs"][0]] * 2), "logs has one origin twice"),
    "have twice": (changed("have", to=[as_json()["have"][0]] * 2), "have has one origin twice"),
    "base missing": (changed("logs", 0, "base", to=MISSING), "base is missing"),
    "base beyond head": (changed("logs", 0, "base", "treeSize", to=8), "beyond the head of 7"),
    "root hash upper-case": (
        changed("logs", 0, "head", "rootHash", to="AB" * 32),
        "head.rootHash: expected 64 lower-case hex digits",
    ),
    "root hash short": (changed("logs", 0, "head", "rootHash", to="ab"), "64 lower-case hex"),
    "vkeys a text": (changed("logs", 0, "vkeys", to="a"), "vkeys: expected an array"),
    "vkey a number": (changed("logs", 0, "vkeys", 0, to=1), "vkeys: expected strings only"),
    "entries none": (changed("logs", 0, "entries", to={"from": 3, "to": 3}), "use null"),
    "entries backwards": (changed("logs", 0, "entries", to={"from": 4, "to": 3}), "use null"),
    "entries beyond head": (changed("logs", 0, "entries", "to", to=8), "beyond the head of 7"),
    "tree size negative": (changed("logs", 0, "head", "treeSize", to=-1), "from 0 to"),
    "tree size true": (changed("have", 0, "treeSize", to=True), "expected an integer"),
    "site empty": (changed("site", to=""), "not the name of a site"),
    "site with a space": (changed("site", to="a b"), "not the name of a site"),
    "site with a plus": (changed("site", to="a+b"), "not the name of a site"),
    "volume 0": (changed("volume", "number", to=0), "no volume 0 of 1"),
    "volume 2 of 1": (changed("volume", "number", to=2), "no volume 2 of 1"),
    "volume set empty": (changed("volume", "set", to=""), "not the name of a volume set"),
    "volume set a path": (changed("volume", "set", to="../a"), "not the name of a volume set"),
    "no files": (changed("totals", "files", to=0), "0 files: expected 1 to 2000000"),
    "too many files": (changed("totals", "files", to=MAX_MEMBERS + 1), "expected 1 to 2000000"),
    "created local time": (changed("createdAt", to="2026-01-01T00:00:00+01:00"), "a time from"),
    "expires null": (changed("expires", to=None), "expires: expected a string"),
    "expires first": (
        changed("expires", to="2026-01-01T00:00:00Z").replace(
            b'"purpose"', b'"notBefore":"2026-01-02T00:00:00Z","purpose"'
        ),
        "expires before it may be used",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(FormatError, match=message):
        parse_manifest(data)


@pytest.mark.parametrize("key", sorted(as_json()))
def test_every_field_of_the_sample_is_mandatory(key: str) -> None:
    with pytest.raises(FormatError, match=f"{key} is missing"):
        parse_manifest(changed(key, to=MISSING))


def test_a_base_may_be_the_head_and_a_bundle_may_be_as_full_as_can_be() -> None:
    """Nothing new in a log is no error: its checkpoint may have been cosigned since."""
    (log,) = MANIFEST.logs
    manifest = replace(
        MANIFEST, logs=(replace(log, base=log.head),), totals=Totals(MAX_MEMBERS, MAX_INTEGER)
    )
    assert parse_manifest(format_manifest(manifest)) == manifest


def test_a_later_schema_is_told_apart_whatever_else_it_has() -> None:
    with pytest.raises(FormatError, match="schema 2 is not known here, expected 1") as caught:
        parse_manifest(b'{"future":[],"schema":2}\n')
    assert caught.value.reason == "unknown-schema"


def test_an_unknown_capability_is_named_with_the_version_that_has_it() -> None:
    data = changed("requires", to=["entries-br"]).replace(b'"purpose"', b'"new":{},"purpose"')
    with pytest.raises(FormatError, match=r"entries-br, not known here.* 0\.1\.0") as caught:
        parse_manifest(data)
    assert caught.value.reason == "unknown-capability"
    assert caught.value.next_step == "import it with attestor 0.1.0 or later"


def test_requires_is_sorted_and_distinct() -> None:
    with pytest.raises(ValueError, match="sorted and distinct"):
        replace(MANIFEST, requires=("b", "a"))
    with pytest.raises(ValueError, match="sorted and distinct"):
        replace(MANIFEST, requires=("a", "a"))


def test_an_extension_is_kept() -> None:
    manifest = parse_manifest(changed("x-note", to={"b": [None, True], "a": "é"}))
    assert manifest.extensions == {"x-note": {"b": [None, True], "a": "é"}}


def test_a_manifest_over_16_mib_is_refused_unread() -> None:
    with pytest.raises(FormatError, match="16777217 bytes, at most 16777216") as caught:
        parse_manifest(bytes(MAX_MANIFEST_BYTES + 1))
    assert caught.value.reason == "limit"


@pytest.mark.parametrize(
    "manifest",
    [
        replace(MANIFEST, created_at=-1),
        replace(MANIFEST, created_at=253_402_300_800),
        replace(MANIFEST, created_at=10**30),
        replace(MANIFEST, purpose="a\x1b[2J"),
        replace(MANIFEST, purpose="\ud800"),
        replace(MANIFEST, requires=("entries-br",)),
        replace(MANIFEST, extensions={"purpose": "x"}),
        replace(MANIFEST, extensions={"note": 1}),
        replace(MANIFEST, extensions={"x-a": 1.5}),
        replace(MANIFEST, extensions={"x-a": {1, 2}}),
        replace(MANIFEST, extensions={"x-a": (1, 2)}),
        replace(MANIFEST, have=(Have("a", 1, b"short"),)),
        replace(MANIFEST, contains=Contains(-1, 0, 0, 0)),
    ],
)
def test_what_nobody_could_read_is_not_written(manifest: Manifest) -> None:
    with pytest.raises(FormatError):
        format_manifest(manifest)


def test_an_extension_cannot_stand_in_for_a_field() -> None:
    with pytest.raises(FormatError):
        format_manifest(replace(MANIFEST, extensions={"schema": 2}))


def test_a_log_knows_its_directory() -> None:
    assert MANIFEST.logs[0].directory == LOG
    assert LOG.startswith("logs/") and len(LOG) == 69
