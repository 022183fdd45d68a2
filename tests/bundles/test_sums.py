from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles.errors import FormatError
from bundles.sums import AREAS, MAX_LINE_BYTES, format_sums, parse_sums
from tests.bundles.samples import LOG

HEX = "ab" * 32
PATHS = st.lists(
    st.tuples(st.integers(0, len(AREAS) - 1), st.from_regex(r"f[a-z0-9]{0,5}", fullmatch=True)),
    unique=True,
    max_size=8,
).map(lambda pairs: [f"{AREAS[rank]}/{name}" for rank, name in sorted(pairs)])


@given(PATHS)
def test_sums_survive_their_bytes(paths: list[str]) -> None:
    digests = {path: bytes([number]) * 32 for number, path in enumerate(paths)}
    parsed = parse_sums(format_sums(digests.items()))
    assert list(parsed.items()) == list(digests.items())


@given(st.binary())
def test_any_bytes_parse_or_are_malformed(data: bytes) -> None:
    try:
        digests = parse_sums(data)
    except FormatError:
        return
    assert format_sums(digests.items()) == data


def test_a_line_is_what_sha256sum_writes() -> None:
    assert format_sums([("acks/a", bytes(32))]) == b"0" * 64 + b"  acks/a\n"


def test_no_line_is_longer_than_the_longest() -> None:
    assert len(format_sums([(f"{LOG}/{'x' * 100}", bytes(32))])) == MAX_LINE_BYTES


BAD = {
    "not ASCII": (f"{HEX}  acks/é\n", "not ASCII at its byte 71"),
    "no newline at the end": (f"{HEX}  acks/a", "last line is cut short"),
    "upper-case digest": (f"{HEX.upper()}  acks/a\n", "line 1 is not a digest and a path"),
    "short digest": (f"{HEX[1:]}  acks/a\n", "line 1 is not"),
    "one space": (f"{HEX} acks/a\n", "line 1 is not"),
    "three spaces": (f"{HEX}   acks/a\n", "not a member name"),
    "binary mode": (f"{HEX} *acks/a\n", "line 1 is not"),
    "carriage return": (f"{HEX}  acks/a\r\n", "not a member name"),
    "empty line": (f"{HEX}  acks/a\n\n", "line 2 is not"),
    "comment": (f"# sums\n{HEX}  acks/a\n", "line 1 is not"),
    "escaped name": (f"\\{HEX}  acks/a\\nb\n", "line 1 is not"),
    "no path": (f"{HEX}  \n", "line 1 is not"),
    "twice": (f"{HEX}  acks/a\n{HEX}  acks/a\n", "acks/a is there twice"),
    "parent directory": (f"{HEX}  acks/../a\n", "not a member name"),
    "absolute": (f"{HEX}  /acks/a\n", "not a member name"),
    "the header": (f"{HEX}  header\n", "has no place"),
    "the manifest": (f"{HEX}  manifest.json\n", "has no place"),
    "itself": (f"{HEX}  SHA256SUMS\n", "has no place"),
    "its twin on FAT": (f"{HEX}  sha256sums\n", "has no place"),
    "unknown directory": (f"{HEX}  bin/a\n", "has no place .* trust, logs, pending"),
    "a directory of the layout": (f"{HEX}  acks\n", "has no place"),
    "wrong order": (f"{HEX}  acks/a\n{HEX}  trust/a\n", "not in the order trust, logs"),
    "file and directory": (f"{HEX}  acks/a\n{HEX}  acks/a/b/c\n", "both a member and a dir"),
    "directory and file": (f"{HEX}  acks/a/b\n{HEX}  acks/a\n", "both a member and a dir"),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed(name: str) -> None:
    text, message = BAD[name]
    with pytest.raises(FormatError, match=message):
        parse_sums(text.encode())
