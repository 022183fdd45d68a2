"""A chain's digest changes with every byte, the order and the number of its lines."""

from __future__ import annotations

from hashlib import sha256

from appliance.tlog.hash_chain import START, link, links

LINES = [b"one", b"", b"three"]


def test_a_link_is_the_hash_of_what_was_before_and_the_line() -> None:
    assert link(START, b"one") == sha256(bytes(32) + b"one").digest()
    assert list(links([b"a", b"b"])) == [link(START, b"a"), link(link(START, b"a"), b"b")]


def test_no_other_list_of_lines_ends_in_the_same_digest() -> None:
    head = list(links(LINES))[-1]
    others = [LINES[:-1], LINES[::-1], [*LINES, b""], [b"one", b"three", b""], [b"onethree"]]
    others += [[*LINES[:k], LINES[k] + b"x", *LINES[k + 1 :]] for k in range(3)]
    assert all(list(links(one))[-1] != head for one in others)


def test_a_chain_goes_on_from_any_of_its_digests() -> None:
    digests = list(links(LINES))
    assert list(links(LINES[1:], digests[0])) == digests[1:]
