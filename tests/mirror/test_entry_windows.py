"""Windows into a log without tiles: entries fetched, proven together, used offline."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from appliance.jobs.mirror import window
from appliance.runs import sync as sync_run
from appliance.store.database import open_store
from tests.mirror.test_rekor_v1 import HOST, Site, forge
from tests.rig.v1_shards import V1Instance, v1_instance

FIRST = f"{HOST} - 1001"


@pytest.fixture
def log() -> Iterator[V1Instance]:
    with v1_instance(HOST) as running:
        running.grow(37)
        yield running


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance) -> Site:
    return Site(tmp_path, capsys, log)


def fetch(site: Site, first: int, count: int, expect: int = 0) -> Any:
    site.later()
    found = site.json(
        *("sync", "--backend", "sigstore-prod", "--from", str(first), "--count", str(count)),
        expect=expect,
    )
    return found if expect else found["backends"][0]["windows"][0]


def proves(site: Site, index: int, origin: str = FIRST, tree: int = 0) -> int:
    """Prove an entry offline, verify the proof by the key alone, and read the entry."""
    body = site.log.trees[tree].bodies[index]
    proof, entry = site.path.parent / "proof", site.path.parent / "entry"
    entry.write_bytes(body)
    asked = len(site.log.asked)
    proof.unlink(missing_ok=True)
    site.json("prove", "--origin", origin, "--index", str(index), "--output", proof)
    verified = site.json("proof", "verify", proof, "--entry", entry)
    shown = site.json("entries", "show", "--origin", origin, "--index", str(index))
    assert shown["leafHash"] == sha256(b"\x00" + body).hexdigest()
    assert len(site.log.asked) == asked, "all of it is offline"
    return int(verified["treeSize"])


@pytest.mark.parametrize(
    ("first", "count"), [(0, 1), (0, 37), (36, 1), (5, 3), (31, 2), (32, 5), (7, 21)]
)
def test_a_window_wherever_it_lies(site: Site, first: int, count: int) -> None:
    done = fetch(site, first, count)
    assert (done["origin"], done["count"], done["fetched"]) == (FIRST, count, count)
    for index in {first, first + count // 2, first + count - 1}:
        assert proves(site, index) == 37
    inside = range(first, first + count)
    # The proof of an entry has the hash of its sibling.
    for outside in [one for one in range(36) if one not in inside and one ^ 1 not in inside][:1]:
        error = site.json("prove", "--origin", FIRST, "--index", str(outside), expect=5)
        assert f"--from {outside} --count 1" in error["next"]


def test_what_is_here_is_proven_in_every_tree_that_is_proven_later(site: Site) -> None:
    fetch(site, 10, 4)
    for more in (1, 2, 27, 3):
        site.log.grow(more)
        site.sync()
        assert proves(site, 12) == len(site.log.active.bodies)
    site.now += 10**6
    site.json("checkpoints", "prune", "--older-than", "1h")
    assert proves(site, 10) == 70
    assert proves(site, 13) == 70


def test_a_window_of_a_tree_that_is_not_the_first(site: Site) -> None:
    site.log.rotate(grow=6)
    site.log.grow(9)
    done = fetch(site, 2, 5)
    assert (done["origin"], done["count"]) == (f"{HOST} - 1002", 5)
    assert proves(site, 4, f"{HOST} - 1002", tree=1) == 9


@pytest.mark.parametrize("lie", ["missing", "reversed", "older", "larger"])
def test_a_window_does_not_depend_on_the_list_of_shards(site: Site, lie: str) -> None:
    site.log.rotate(grow=6)
    site.log.rotate(grow=9)
    site.log.grow(4)
    site.sync()
    first, *others = site.log.trees
    older = site.log.note(first, 40)
    log_of = {
        "missing": lambda one: {**one, "inactiveShards": one["inactiveShards"][1:]},
        "reversed": lambda one: {**one, "inactiveShards": one["inactiveShards"][::-1]},
        "older": lambda one: {
            **one,
            "inactiveShards": [
                {**one["inactiveShards"][0], "signedTreeHead": older},
                *one["inactiveShards"][1:],
            ],
        },
        "larger": lambda one: one,
    }
    if lie == "larger":
        honest = {at: site.log.entry(at) for at in range(43, 56)}
        site.log.grow(2, first)

        def as_it_was(log_index: int) -> Any:
            return honest.get(log_index)

        site.log.entry = as_it_was  # type: ignore[method-assign]
    site.log.lies["log"] = log_of[lie]
    done = fetch(site, 1, 2)
    assert (done["origin"], done["before"], done["fetched"]) == (f"{HOST} - 1003", 52, 2)
    done = by_log_index(site, 44)
    assert (done["origin"], done["first"]) == (f"{HOST} - 1002", 1)
    assert others[0].tree_id == 1002
    for index in (1, 2):
        proves(site, index, f"{HOST} - 1003", tree=2)


def test_a_rotation_in_the_middle_of_a_window(site: Site) -> None:
    site.sync()

    def rotates(answer: Any) -> Any:
        site.log.lies.clear()
        site.log.rotate(grow=5)
        return answer

    site.log.lies["retrieve"] = rotates
    done = fetch(site, 3, 20)
    assert (done["origin"], done["fetched"]) == (FIRST, 20)
    assert proves(site, 22) == 42
    site.log.grow(2)
    assert "is followed now" in site.said()
    assert site.sizes() == {"1001": [37, 42], "1002": [2]}


def by_log_index(site: Site, log_index: int, *count: str, expect: int = 0) -> Any:
    site.later()
    found = site.json(
        *("sync", "--backend", "sigstore-prod", "--log-index", str(log_index), *count),
        expect=expect,
    )
    return found if expect else found["backends"][0]["windows"][0]


def test_an_index_over_all_trees_finds_its_tree(site: Site) -> None:
    site.log.rotate(grow=6)
    site.log.rotate(grow=9)
    site.log.grow(4)
    for log_index, tree, index in ((0, 0, 0), (42, 0, 42), (43, 1, 0), (51, 1, 8), (55, 2, 3)):
        done = by_log_index(site, log_index)
        assert (done["origin"], done["first"]) == (f"{HOST} - {1001 + tree}", index)
        assert (done["before"] + done["first"], done["count"]) == (log_index, 1)
        proves(site, index, f"{HOST} - {1001 + tree}", tree=tree)
    done = by_log_index(site, 45, "--count", "3")
    assert (done["first"], done["count"], done["fetched"]) == (2, 3, 3)
    error = by_log_index(site, 50, "--count", "3", expect=5)
    assert (error["reason"], "1002 has 9 entries" in error["message"]) == ("not-covered", True)
    assert by_log_index(site, 56, expect=7)["reason"] == "not-found"
    site.run("sync", "--backend", "sigstore-prod", "--log-index", "1", "--from", "1")
    said = site.run("sync", "--backend", "sigstore-prod", "--log-index", "43")[1]
    assert "(over all trees: from 43 on)" in said


def test_an_entry_that_is_said_to_be_in_another_place(site: Site) -> None:
    site.log.rotate(grow=6)
    site.log.grow(9)
    site.sync()

    def other_place(answer: Any) -> Any:
        [(uuid, entry)] = answer.items()
        proof = entry["verification"]["inclusionProof"]
        return {
            uuid: {
                **entry,
                "verification": {
                    **entry["verification"],
                    "inclusionProof": {**proof, "logIndex": proof["logIndex"] + 1},
                },
            }
        }

    site.log.lies["entry"] = other_place
    assert by_log_index(site, 45, expect=3)["reason"] == "other-entry"
    # A whole answer of another entry, under the index that was asked for.
    honest = site.log.entry

    def other_entry(log_index: int) -> Any:
        if log_index != 45:
            return honest(log_index)
        [(uuid, entry)] = (honest(44) or {}).items()
        return {uuid: {**entry, "logIndex": 45}}

    del site.log.lies["entry"]
    site.log.entry = other_entry  # type: ignore[method-assign]
    error = by_log_index(site, 45, expect=3)
    assert "is said to be number 1 of" in error["message"]
    kept(site, 0)
    site.log.entry = honest  # type: ignore[method-assign]
    site.log.lies["entry"] = lambda answer: json.loads(
        json.dumps(answer).replace("- 1002\\n", "- 4711\\n")
    )
    error = by_log_index(site, 45, expect=5)
    assert (error["reason"], "4711" in error["message"]) == ("other-log", True)


def test_chunks_are_kept_one_by_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "CHUNK_ENTRIES", 8)
    answered = 0

    def fails_later(answer: Any) -> Any:
        nonlocal answered
        answered += 1
        return None if answered > 2 else answer  # None: the server fails

    site.log.lies["retrieve"] = fails_later
    fetch(site, 3, 30, expect=7)
    del site.log.lies["retrieve"]
    assert proves(site, 3 + 15) == 37
    done = fetch(site, 3, 30)
    assert (done["count"], done["fetched"]) == (30, 14)
    assert proves(site, 32) == 37
    assert fetch(site, 3, 30)["fetched"] == 0


def test_a_log_that_grows_meanwhile(site: Site) -> None:
    def grows(answer: Any) -> Any:
        site.log.grow(1)
        return answer

    site.log.lies["entry"] = grows
    done = fetch(site, 4, 12)
    assert done["count"] == 12
    assert proves(site, 9) == 40


def test_entries_that_are_left_out_are_asked_for_alone(site: Site) -> None:
    site.log.lies["retrieve"] = lambda answer: answer[::2][::-1]
    assert fetch(site, 0, 20)["count"] == 20
    assert proves(site, 1) == 37


def test_an_entry_that_is_not_there_at_all(site: Site) -> None:
    site.log.lies["retrieve"] = lambda answer: answer[1:]
    site.log.lies["entry"] = lambda _: None
    fetch(site, 0, 3, expect=7)
    kept(site, 0)


def kept(site: Site, n: int) -> None:
    store = open_store(site.path, write=False)
    assert store.rows("SELECT count(*) AS n FROM entry_window")[0]["n"] == n
    store.close()


def test_an_entry_with_another_body(site: Site) -> None:
    def other(answer: Any) -> Any:
        [(id_, value)] = answer[2].items()
        forged = b'{"apiVersion":"0.0.1","kind":"forged","spec":{}}'
        value = {**value, "body": b64encode(forged).decode()}
        leaf = sha256(b"\x00" + forged).hexdigest()
        answer[2] = {id_[:-64] + leaf: value}
        return answer

    site.log.lies["retrieve"] = other
    assert fetch(site, 4, 6, expect=3)["reason"] == "entry-window"
    kept(site, 0)
    error = site.json("prove", "--origin", FIRST, "--index", "5", expect=5)
    assert error["reason"] == "no-proof"


def test_a_proof_from_another_story(site: Site) -> None:
    site.sync()
    forge(site.log.active, at=1)
    site.log.lies["log"] = lambda _: state
    state = json.loads(json.dumps(honest_state(site)))
    fetch(site, 4, 6, expect=4)
    assert site.alerts() == ["RootHashMismatch"]
    kept(site, 0)


def honest_state(site: Site) -> Any:
    forged = site.log.active.bodies[1]
    site.log.active.bodies[1] = site.log.active.bodies[0].replace(b'"number":0', b'"number":1')
    state = site.log.info()
    site.log.active.bodies[1] = forged
    return state


def test_a_proof_that_leads_nowhere(site: Site) -> None:
    def other(answer: Any) -> Any:
        [value] = answer.values()
        proof = value["verification"]["inclusionProof"]
        proof["hashes"] = proof["hashes"][::-1]
        return answer

    site.sync()
    site.log.lies["entry"] = other
    assert "inclusion proof of leaf 4" in fetch(site, 4, 6, expect=3)["message"]
    kept(site, 0)


def test_a_closed_tree_that_is_quarantined_takes_no_window(site: Site) -> None:
    site.sync()
    site.log.rotate(grow=3)
    site.log.grow(5)
    site.later()
    site.json("sync")
    first = site.log.trees[0]
    honest = list(first.bodies)
    forge(first, at=2)
    site.later()
    site.json("sync", expect=4)
    first.bodies[:] = honest
    site.later()
    error = site.json("sync", "--backend", "sigstore-prod", "--full-tiles", expect=8)
    assert (error["reason"], FIRST in error["message"]) == ("quarantined", True)
    kept(site, 0)


def test_more_than_there_is(site: Site) -> None:
    assert "37 entries, not 40" in fetch(site, 30, 10, expect=5)["message"]


def test_all_of_a_private_instance(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.log.rotate(grow=3)
    site.log.grow(5)
    [done] = site.json("sync", "--backend", "sigstore-prod", "--full-tiles")["backends"]
    assert [(one["count"], one["fetched"]) for one in done["windows"]] == [(40, 40), (5, 5)]
    assert proves(site, 39) == 40
    assert proves(site, 0, f"{HOST} - 1002", tree=1) == 5
    monkeypatch.setattr(sync_run, "MAX_ENTRIES", 44)
    error = site.json("sync", "--backend", "sigstore-prod", "--full-tiles", expect=8)
    assert (error["reason"], "--from INDEX --count N" in error["next"]) == ("no-tiles", True)


@pytest.mark.parametrize(
    "options",
    [
        ("--from", "1"),
        ("--count", "1"),
        ("--from", "1", "--count", "0"),
        ("--from", "1", "--count", "100001"),
        ("--from", "1", "--count", "2", "--dry-run"),
        ("--from", "1", "--count", "2", "--full-tiles"),
    ],
)
def test_options_that_make_no_window(site: Site, options: tuple[str, ...]) -> None:
    site.json("sync", "--backend", "sigstore-prod", *options, expect=2)
