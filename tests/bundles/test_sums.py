from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles.errors import FormatError
from bundles.paths import AREAS, Layout, PathNumbers
from bundles.sums import MAX_LINE_BYTES, format_sum, parse_sums
from tests.bundles.samples import LOG, format_sums

HEX = "ab" * 32
PATHS = st.lists(
    st.tuples(st.integers(0, len(AREAS) - 1), st.from_regex(r"f[a-z0-9]{0,5}", fullmatch=True)),
    unique=True,
    max_size=8,
).map(lambda pairs: [f"{AREAS[rank]}/{name}" for rank, name in sorted(pairs)])


def parsed_sums(*blocks: bytes) -> dict[str, bytes]:
    """What a text says, however it is cut."""
    layout, digests = Layout(), {}
    for path, digest in parse_sums(blocks):
        layout.add(path)
        digests[path] = digest
    layout.end()
    return digests


@given(PATHS)
def test_sums_survive_their_bytes(paths: list[str]) -> None:
    digests = {path: bytes([number]) * 32 for number, path in enumerate(paths)}
    text = format_sums(digests.items())
    for size in (1, 7, 73, 1000):
        blocks = [text[at : at + size] for at in range(0, len(text), size)]
        assert list(parsed_sums(*blocks).items()) == list(digests.items())


@given(st.binary())
def test_any_bytes_parse_or_are_malformed(data: bytes) -> None:
    try:
        digests = parsed_sums(data)
    except FormatError:
        return
    assert format_sums(digests.items()) == data


def test_a_line_is_what_sha256sum_writes() -> None:
    assert format_sum("acks/a", bytes(32)) == b"0" * 64 + b"  acks/a\n"


def test_no_line_is_longer_than_the_longest() -> None:
    assert len(format_sum(f"{LOG}/{'x' * 100}", bytes(32))) == MAX_LINE_BYTES


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
        parsed_sums(text.encode())
    pieces = text.encode()
    with pytest.raises(FormatError, match=message):
        parsed_sums(*(pieces[at : at + 1] for at in range(len(pieces))))


def test_a_line_without_an_end_is_refused_before_it_is_gathered() -> None:
    """Whoever chooses the text cannot have more of it kept than a line may have."""
    taken = 0

    def blocks() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b"a" * 100

    with pytest.raises(FormatError, match="line 1 is not a digest and a path"):
        list(parse_sums(blocks()))
    assert taken == 3


@given(st.lists(st.from_regex(r"[a-z]{1,3}", fullmatch=True), max_size=30))
def test_a_path_has_the_number_of_its_first_coming(paths: list[str]) -> None:
    numbers, known = PathNumbers(), dict[str, int]()
    for path in paths:
        assert numbers.add(path) == (path not in known)
        known.setdefault(path, len(known))
    assert len(numbers) == len(known)
    for path in (*paths, "other", ""):
        assert numbers.find(path) == known.get(path)


def test_thousands_of_paths_have_their_numbers() -> None:
    numbers = PathNumbers()
    for number in range(5000):
        assert numbers.add(f"acks/{number}")
    assert not any(numbers.add(f"acks/{number}") for number in range(5000))
    assert [numbers.find(f"acks/{number}") for number in range(5001)] == [*range(5000), None]
