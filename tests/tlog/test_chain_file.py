"""An exported journal: whatever is changed, left out, put in or cut off is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from appliance.errors import ApplianceError, DigestError, IncompleteError, SignatureError
from appliance.tlog.chain_file import ChainHead, format_chain, verify_chain
from appliance.tlog.hash_chain import START, links
from appliance.tlog.note import SigningKey, sign_note

KEY = SigningKey("site.example", bytes(32))
OTHER = SigningKey("site.example", bytes([1]) * 32)


def texts(n: int, at: int = 1000) -> list[bytes]:
    return [
        b'{"at":%d,"details":{"n":%d},"event":"test.done","id":%d}' % (at, number, number)
        for number in range(1, n + 1)
    ]


def file_of(lines: list[bytes], key: SigningKey = KEY) -> list[bytes]:
    digests = list(links(lines))
    head = ChainHead("site.example", len(lines), digests[-1] if digests else START)
    pairs = zip(lines, digests, strict=True)
    return list(format_chain(pairs, sign_note(str(head), [key])))


@pytest.mark.parametrize("n", [0, 1, 2, 17])
def test_what_is_written_verifies(n: int) -> None:
    lines = texts(n)
    checked = verify_chain(file_of(lines), [KEY.verifier])
    assert checked.head.n_lines == n
    assert list(checked.digests) == list(links(lines))
    assert checked.signers == (KEY.verifier,)
    assert verify_chain(file_of(lines), []).signers == ()


def test_another_signer_is_refused() -> None:
    with pytest.raises(SignatureError):
        verify_chain(file_of(texts(3), OTHER), [KEY.verifier])


def damaged() -> Iterator[tuple[str, list[bytes]]]:
    whole = file_of(texts(5))
    for gone in range(6):
        yield f"without line {gone + 1}", whole[:gone] + whole[gone + 1 :]
        yield f"cut after line {gone}", whole[:gone]
    yield "swapped", [whole[0], whole[2], whole[1], *whole[3:]]
    yield "twice", [whole[0], whole[0], *whole[1:]]
    yield "more after the head", [*whole, whole[0]]
    yield "the head twice", [*whole, whole[-1]]
    yield "an older head", [*whole[:-1], file_of(texts(4))[-1]]
    yield "made anew, but the head", [*file_of(texts(5, at=999))[:-1], whole[-1]]
    yield "no last newline", [*whole[:-1], whole[-1][:-1] + b"x"]
    yield "not JSON", [b"hello\n", *whole]
    yield "binary", [b"\xff\xfe\n"]


@pytest.mark.parametrize("lines", [pytest.param(lines, id=name) for name, lines in damaged()])
def test_damage_is_found(lines: list[bytes]) -> None:
    with pytest.raises(ApplianceError):
        verify_chain(lines, [KEY.verifier])


def test_every_flipped_byte_is_found() -> None:
    whole = b"".join(file_of(texts(2)))
    for position in range(len(whole) - 1):  # the last newline says nothing
        broken = bytearray(whole)
        broken[position] ^= 1
        with pytest.raises(ApplianceError):
            verify_chain(bytes(broken).splitlines(keepends=True), [KEY.verifier])


def test_the_first_wrong_line_is_named() -> None:
    whole = file_of(texts(5))
    whole[2] = whole[2].replace(b'"n":3', b'"n":4')
    with pytest.raises(DigestError, match="line 3: its digest should be"):
        verify_chain(whole, [])
    del whole[1]
    with pytest.raises(DigestError, match="line 2: expected the line of that number, got 3"):
        verify_chain(whole, [])


def test_a_file_that_was_cut_off_is_incomplete() -> None:
    with pytest.raises(IncompleteError, match="ends after 3 lines"):
        verify_chain(file_of(texts(5))[:3], [])
