from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles.errors import FormatError
from bundles.ustar import (
    MAX_MEMBER_BYTES,
    format_member_header,
    padding_bytes,
    parse_member_header,
    verify_path,
)

HEX = "0123456789abcdef" * 4
SEGMENT = st.from_regex(r"[a-z0-9._-]{1,20}", fullmatch=True).filter(lambda s: s not in (".", ".."))
PATH = st.lists(SEGMENT, min_size=1, max_size=4).map("/".join) | st.lists(
    SEGMENT, min_size=1, max_size=4
).map(lambda segments: f"logs/{HEX}/{'/'.join(segments)}")
SIZE = st.integers(0, MAX_MEMBER_BYTES)


@given(PATH, SIZE)
def test_a_header_survives_its_bytes(path: str, size: int) -> None:
    assert parse_member_header(format_member_header(path, size), 0) == (path, size)


@given(st.binary(min_size=512, max_size=512))
def test_any_block_is_malformed(block: bytes) -> None:
    with pytest.raises(FormatError, match="member header at byte 1024"):
        parse_member_header(block, 1024)


@given(PATH, SIZE)
def test_the_standard_library_reads_the_same(path: str, size: int) -> None:
    info = tarfile.TarInfo.frombuf(format_member_header(path, size), "ascii", "strict")
    assert (info.name, info.size, info.type, info.mode) == (path, size, tarfile.REGTYPE, 0o644)
    assert (info.uid, info.gid, info.mtime, info.uname, info.gname) == (0, 0, 0, "", "")


def test_every_bit_of_a_header_counts() -> None:
    header = format_member_header(f"logs/{HEX}/tile/0/000", 8192)
    for bit in range(len(header) * 8):
        damaged = bytearray(header)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            parse_member_header(bytes(damaged), 0)


def test_a_log_stands_in_the_prefix_and_nothing_else_does() -> None:
    in_prefix = format_member_header(f"logs/{HEX}/a/b", 0)
    assert in_prefix[:100].rstrip(b"\0") == b"a/b"
    assert in_prefix[345:500].rstrip(b"\0") == f"logs/{HEX}".encode()
    without = format_member_header(f"logs/{HEX[:-1]}/a", 0)
    assert without[345:500] == bytes(155)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "...",
        "a..b/.c/-",
        "SHA256SUMS",
        "header",
        "x" * 100,
        f"logs/{HEX}/" + "x" * 100,
        f"logs/{HEX}/tile/entries/x123/x456/789.p/255.zst",
    ],
)
def test_allowed_names(path: str) -> None:
    verify_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "./a",
        "../a",
        "a/.",
        "a/..",
        "a/./b",
        "a/../b",
        "A",
        "sha256SUMS",
        "a/SHA256SUMS",
        "SHA256SUMS/a",
        "SHA256SUMS\n",
        "a b",
        "a\\b",
        "a\nb",
        "a\n",
        "a\0",
        "a:b",
        "é",
        "e\u0301",
        "\u0661",
        "a\u2028",
        "~",
        "x" * 101,
        f"logs/{HEX}/",
        f"logs/{HEX}/" + "x" * 101,
        f"logs/{HEX}/\n",
    ],
)
def test_names_that_are_not_allowed(path: str) -> None:
    with pytest.raises(FormatError) as caught:
        verify_path(path)
    assert caught.value.reason == "member-name"
    with pytest.raises(FormatError, match="member name"):
        format_member_header(path, 0)


@pytest.mark.parametrize("size", [-1, MAX_MEMBER_BYTES + 1, 8**11])
def test_a_size_no_member_has(size: int) -> None:
    with pytest.raises(FormatError, match=f"a member of {size} bytes") as caught:
        format_member_header("a", size)
    assert caught.value.reason == "limit"


def test_the_message_names_the_field() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("a")
        info.uname = "root"
        tar.addfile(info)
    with pytest.raises(FormatError, match=r"\(a\): uname field is b'root.*, expected b'"):
        parse_member_header(out.getvalue()[:512], 0)
    header = bytearray(format_member_header("a", 5))
    header[148] ^= 1
    with pytest.raises(FormatError, match=r"\(a\): checksum field is b'107"):
        parse_member_header(bytes(header), 0)


def test_padding_fills_a_block() -> None:
    assert [padding_bytes(size) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]
