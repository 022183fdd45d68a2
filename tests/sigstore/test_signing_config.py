"""Signing configs: our own, one as the public-good instance has it, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LimitError, MalformedError, RefusedError, VerificationError
from appliance.rekor.client_files import signing_config
from appliance.sigstore.signing_config import MEDIA_TYPE, LogService, parse_signing_config
from appliance.sigstore.validity import Window, parse_time

START = "2026-01-01T00:00:00Z"
SERVICE = {"url": "https://log.example", "majorApiVersion": 2, "validFor": {"start": START}}


def config(*services: Any, **changes: Any) -> bytes:
    return json.dumps({"mediaType": MEDIA_TYPE, "rekorTlogUrls": list(services)} | changes).encode()


def test_our_own_is_read_back() -> None:
    raw = signing_config("https://log.example/x", START, "somebody")
    start = Window(parse_time(START, ""))
    assert parse_signing_config(raw) == (LogService("https://log.example/x", 2, start),)


def test_several_services_keep_their_order_and_versions() -> None:
    v1 = SERVICE | {"url": "https://rekor.example", "majorApiVersion": 1}
    found = parse_signing_config(config(SERVICE, v1, operator="ignored"))
    assert [(one.url, one.api_version) for one in found] == [
        ("https://log.example", 2),
        ("https://rekor.example", 1),
    ]


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (config(SERVICE, mediaType="application/vnd.dev.sigstore.signingconfig.v0.1+json"), "0.1"),
        (config(SERVICE | {"url": ""}), r"rekorTlogUrls\[0\].url: missing"),
        (config({**SERVICE, "validFor": None}), "validFor: missing"),
        (config({**SERVICE, "majorApiVersion": 0}), "expected 1 or more"),
        (config({**SERVICE, "majorApiVersion": "two"}), "expected an integer"),
        (config("https://log.example"), "expected an object"),
        (b"[]", "expected an object"),
        (b"", "signing config"),
    ],
)
def test_what_is_none_is_malformed(raw: bytes, what: str) -> None:
    with pytest.raises(MalformedError, match=what):
        parse_signing_config(raw)


def test_too_many_services_are_a_limit() -> None:
    with pytest.raises(LimitError):
        parse_signing_config(config(*[SERVICE] * 257))


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    # What is no JSON of ours is a no; a file in an encoding we do not read is refused.
    with pytest.raises((VerificationError, RefusedError)):
        parse_signing_config(raw)
