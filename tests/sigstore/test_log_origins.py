"""What a checkpoint may call a log is read off its URL as the standard library parts it."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.sigstore.trusted_root import _origins


def parted(url: str) -> tuple[str, ...]:
    """The same by urlsplit alone."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    names = dict.fromkeys(filter(None, (parts.netloc, parts.hostname)))
    return tuple(name + parts.path.rstrip("/") for name in names)


@pytest.mark.parametrize(
    "url",
    [
        *("https://rekor.sigstore.dev", "https://log2025-1.rekor.sigstore.dev/", "http://a.b/c"),
        *("https://a.b//c//", "https://A.example/X", "https://a.b:443/c", "a.b/c", "https:///c"),
        *("https://u@a.b/c", "https://a.b/c?d#e", "https://a.b/c;d", "https://", "a", "//a.b/"),
    ],
)
def test_an_origin_is_host_and_path(url: str) -> None:
    assert _origins(url, "baseUrl") == parted(url)


@given(st.lists(st.sampled_from(["https", "http", ":", "//", "a", ".", "-", "A", "@", "?", "1"])))
def test_any_other_spelling_is_parted_alike(parts: list[str]) -> None:
    url = "".join(parts)
    try:
        expected = parted(url)
    except ValueError:
        return
    assert _origins(url, "baseUrl") == expected
