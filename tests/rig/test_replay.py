"""The judge of the soak: it sees a window that is one too full, and a duplicate too many."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given
from hypothesis import strategies as st

from tests.interop.signed_artifact import sign_artifact
from tests.pki.authorities import new_key
from tests.pki.logs import V2Log
from tests.rig.fault_proxy import NONE, RESET_AFTER, TOO_MANY, Write
from tests.rig.independent import leaf_of, verify_entry
from tests.rig.replay import Limit, fullest, over_budget, unexplained_duplicates


def write(at: float, request: str = "r", **other: Any) -> Write:
    plain = {"fault": NONE, "status": 201, "index": 0, "told": True, **other}
    return Write(at, request, **plain)


def test_a_window_that_is_one_too_full_is_seen() -> None:
    writes = [write(at) for at in (0, 10, 20, 29.9)]
    assert over_budget(writes, {"r": "acme"}, [Limit(30, 4)]) == []
    assert over_budget(writes, {"r": "acme"}, [Limit(30, 3)]) == [
        "acme: 4 in 30 s, at most 3 allowed"
    ]
    # Thirty seconds later is another window, and what was not taken does not count.
    assert over_budget([*writes[1:], write(30)], {"r": "acme"}, [Limit(20, 3)]) == []
    refused = [*writes, write(5, status=0, fault=TOO_MANY)]
    assert over_budget(refused, {"r": "acme"}, [Limit(30, 4)]) == []


def test_each_tenant_has_its_own_windows() -> None:
    writes = [write(at, f"{at % 2}") for at in range(10)]
    assert over_budget(writes, {"0": "even", "1": "odd"}, [Limit(60, 5)]) == []
    assert len(over_budget(writes, {"0": "one", "1": "one"}, [Limit(60, 5)])) == 1


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(1, 20))
def test_the_fullest_window_is_what_trying_every_start_finds(
    times: list[int], seconds: int
) -> None:
    tried = [sum(start <= one < start + seconds for one in times) for start in range(51)]
    assert fullest(times, seconds) == max(tried)


def test_a_duplicate_needs_a_lost_answer() -> None:
    honest, lost = write(1), write(2, fault=RESET_AFTER)
    assert unexplained_duplicates([honest, lost], {"r": 2}, {}) == []
    assert unexplained_duplicates([honest, honest], {"r": 2}, {}) != []
    assert unexplained_duplicates([honest, honest], {"r": 2}, {"r": 1}) == []
    assert unexplained_duplicates([honest, write(2, told=False)], {"r": 2}, {}) == []
    assert unexplained_duplicates([honest, lost], {"r": 3}, {}) != []


def test_the_independent_verification_says_no_to_every_change() -> None:
    log, request = V2Log(), sign_artifact(new_key(), b"content").request()
    entry = json.loads(log.add(leaf_of(request)).json)
    spki = log.key.verifier.spki
    verify_entry(entry, request, log.origin, spki)
    other = sign_artifact(new_key(), b"content").request()
    broken: list[tuple[dict[str, Any], bytes, str, bytes]] = [
        (entry, other, log.origin, spki),
        (entry, request, "other.example", spki),
        (entry, request, log.origin, V2Log(seed=b"\x08" * 32).key.verifier.spki),
        ({**entry, "logIndex": "0"}, request, log.origin, spki),
    ]
    for member, value in (("logIndex", "1"), ("treeSize", "7"), ("hashes", [])):
        proof = {**entry["inclusionProof"], member: value}
        broken.append(({**entry, "inclusionProof": proof}, request, log.origin, spki))
    for case in broken:
        with pytest.raises((AssertionError, InvalidSignature)):
            verify_entry(*case)
