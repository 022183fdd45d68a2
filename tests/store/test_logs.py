"""Logs, their pinned keys, and backends: what is remembered and what is refused."""

from __future__ import annotations

from hashlib import sha256

import pytest

from appliance.errors import ConfigError, IncompleteError, MalformedError
from appliance.store.database import Store
from appliance.store.divergence import evidence
from appliance.store.divergence.evidence import (
    Kept,
    evidence_of,
    put_evidence,
    require_evidence,
)
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.logs import (
    Log,
    add_log,
    all_backends,
    all_logs,
    find_log,
    key_name,
    put_backend,
    put_policy,
    remove_backend,
    require_backend,
    require_log,
    select_backends,
    set_backend_enabled,
)
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import Checkpoint, open_checkpoint
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.note import SigningKey, sign_note
from tests.simulator import SimulatedLog

LOW_ORDER_SPKI = bytes.fromhex("302a300506032b6570032100") + bytes(32)
V1_ORIGIN = "rekor.example - 1193050959916656506"


def spki(number: int) -> bytes:
    return SigningKey("log.example", bytes([number]) * 32).verifier.spki


def pin(store: Store, origin: str = "log.example", version: int = 2) -> Log:
    with store.atomic():
        return add_log(store, origin, version, spki(1))


def put(store: Store, name: str, log: Log, mirror_of: str | None = None) -> None:
    with store.atomic():
        put_backend(
            store, name, log, base_url=f"https://{name}/", read_url=None, mirror_of=mirror_of
        )


def test_a_pinned_log_is_found_by_its_origin(store: Store) -> None:
    log = pin(store)
    assert find_log(store, "log.example") == log == require_log(store, "log.example")
    assert [key.name for key in log.keys] == ["log.example"]
    assert (log.api_version, log.policy) == (2, None)


def test_an_unknown_log_is_named_beside_the_known_ones(store: Store) -> None:
    pin(store)
    assert find_log(store, "other.example") is None
    with pytest.raises(IncompleteError, match=r"other\.example.*known: log\.example"):
        require_log(store, "other.example")


def test_a_rotated_key_is_pinned_beside_the_old_one_and_none_twice(store: Store) -> None:
    first = pin(store)
    with store.atomic():
        assert add_log(store, "log.example", 2, spki(1)) == first
        both = add_log(store, "log.example", 2, spki(2))
    assert {key.spki for key in both.keys} == {spki(1), spki(2)}
    assert all_logs(store) == (both,)


def test_v1_and_v2_give_one_key_different_ids(store: Store) -> None:
    v2, v1 = pin(store), pin(store, V1_ORIGIN, 1)
    assert v1.keys[0].name == key_name(1, V1_ORIGIN) == "rekor.example"
    assert key_name(2, V1_ORIGIN) == V1_ORIGIN
    assert v1.keys[0].key_id != v2.keys[0].key_id
    with pytest.raises(ConfigError, match="v2 log here, not v1"), store.atomic():
        add_log(store, "log.example", 1, spki(1))


def test_a_key_that_anybody_can_sign_for_is_refused(store: Store) -> None:
    with pytest.raises(MalformedError) as caught, store.atomic():
        add_log(store, "log.example", 2, LOW_ORDER_SPKI)
    assert caught.value.reason == "low-order-key"
    assert all_logs(store) == ()


def test_backends_are_put_listed_and_selected(store: Store) -> None:
    log = pin(store)
    put(store, "b", log)
    put(store, "a", log, mirror_of="b")
    assert [one.name for one in all_backends(store)] == ["a", "b"]
    assert require_backend(store, "a").mirror_of == "b"
    with store.atomic():
        set_backend_enabled(store, "b", enabled=False)
    assert [one.name for one in select_backends(store, [])] == ["a"]
    assert [one.name for one in select_backends(store, ["b", "a"])] == ["b", "a"]
    with store.atomic():
        set_backend_enabled(store, "a", enabled=False)
    with pytest.raises(ConfigError, match="no backend is enabled"):
        select_backends(store, [])
    for call in (
        lambda: require_backend(store, "c"),
        lambda: select_backends(store, ["c"]),
        lambda: set_backend_enabled(store, "c", enabled=True),
        lambda: remove_backend(store, "c"),
    ):
        with pytest.raises(IncompleteError, match=r"no backend 'c' \(known: a, b\)"):
            call()


def test_a_backend_never_moves_to_another_log(store: Store) -> None:
    put(store, "a", pin(store))
    with pytest.raises(ConfigError) as caught:
        put(store, "a", pin(store, "other.example"))
    assert caught.value.reason == "backend-exists"


def test_a_mirror_is_of_another_backend_of_the_same_log(store: Store) -> None:
    log = pin(store)
    put(store, "primary", log)
    put(store, "mirror", log, mirror_of="primary")
    for name, of_log, mirror_of in (
        ("primary", log, "primary"),
        ("chain", log, "mirror"),
        ("foreign", pin(store, "other.example"), "primary"),
    ):
        with pytest.raises(ConfigError) as caught:
            put(store, name, of_log, mirror_of=mirror_of)
        assert caught.value.reason == "mirror-of"
    with pytest.raises(IncompleteError, match="no backend 'none'"):
        put(store, "lost", log, mirror_of="none")
    with pytest.raises(ConfigError, match="mirrored by mirror"):
        remove_backend(store, "primary")


def test_a_log_of_which_nothing_was_accepted_goes_with_its_last_backend(store: Store) -> None:
    log = pin(store)
    put(store, "a", log)
    put(store, "b", log)
    with store.atomic():
        put_policy(store, log, b"quorum none\n")
        assert not remove_backend(store, "a")
        assert remove_backend(store, "b")
    assert all_logs(store) == ()
    assert store.rows("PRAGMA foreign_key_check") == []


def test_what_a_log_said_is_never_forgotten(store: Store) -> None:
    simulated = SimulatedLog()
    simulated.grow(3)
    with store.atomic():
        log = add_log(store, simulated.origin, 2, simulated.key.spki)
    put(store, "a", log)
    checkpoint = open_checkpoint(simulated.checkpoint(), log.keys, log.origin)
    Mirror(store, log).accept(checkpoint, Arrival("direct", "url", 1), {})
    with store.atomic():
        assert not remove_backend(store, "a")
    assert require_log(store, log.origin).keys == log.keys


JUNK = "\N{EM DASH} stranger.example AAAAAAAAAAAA\n".encode()


def note(root: str) -> bytes:
    head = TreeHead(9, Hash(sha256(root.encode()).digest()))
    return sign_note(str(Checkpoint("log.example", head)), [SigningKey("log.example", b"k" * 32)])


def keep(store: Store, log: Log, ours: bytes, theirs: bytes, at: int) -> tuple[int, Kept]:
    with store.atomic():
        return put_evidence(
            store,
            log,
            rule="TreeFork",
            ours=ours,
            theirs=theirs,
            details={"n": at},
            detected_at=at,
        )


@pytest.mark.parametrize("limit", ["MAX_PIECES", "MAX_BYTES"])
def test_evidence_has_an_end_but_each_log_has_some(
    store: Store, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, other = pin(store), pin(store, "other.example")
    keep(store, log, note("a"), note("b"), 1)
    keep(store, log, note("a"), note("c"), 2)
    monkeypatch.setattr(evidence, limit, 2)
    assert keep(store, log, note("a"), note("d"), 3) == (2, Kept.FULL)
    assert keep(store, log, note("a"), note("b"), 4) == (1, Kept.KNOWN)
    assert keep(store, other, note("a"), note("d"), 5) == (3, Kept.NEW)
    assert len(evidence_of(store, log)) == 2


def test_evidence_is_kept_once_and_contradicts_its_log(store: Store) -> None:
    log, other = pin(store), pin(store, "other.example")
    ours, theirs = note("ours"), note("theirs")
    kept = [keep(store, log, ours, one, at) for at, one in ((5, theirs), (6, theirs + JUNK))]
    assert kept == [(1, Kept.NEW), (1, Kept.KNOWN)]
    assert [(one.detected_at, one.details) for one in evidence_of(store, log)] == [(5, {"n": 5})]
    assert evidence_of(store, other) == ()
    assert require_evidence(store, 1).origin == log.origin
    with pytest.raises(IncompleteError):
        require_evidence(store, 2)
    put(store, "a", log)
    with store.atomic():
        assert not remove_backend(store, "a")


def test_a_policy_is_the_log_s_and_can_be_lifted(store: Store) -> None:
    log = pin(store)
    with store.atomic():
        put_policy(store, log, b"quorum none\n")
        put_policy(store, log, b"# new\nquorum none\n")
    assert require_log(store, log.origin).policy == b"# new\nquorum none\n"
    with store.atomic():
        put_policy(store, log, None)
    assert require_log(store, log.origin).policy is None
