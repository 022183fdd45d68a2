"""Items go out of an air gap, their proofs come back, and nothing is lost on the way."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.jobs.queue.round_trip import (
    absorb_pending,
    absorb_receipts,
    mark_exported,
    mark_returned,
    outbound_pending,
    outbound_receipts,
    outbound_withdrawn,
)
from appliance.store.database import Store
from appliance.store.home.settings import read_settings, replace_settings
from appliance.store.mirror.logs import require_log
from appliance.store.queue.attempts import begin_attempts, leave_sending, put_receipt, receipt_of
from appliance.store.queue.queue import FINAL, WITHDRAWN, QueueItem, list_items, move_item
from appliance.store.transfer.receipts import (
    StoredReceipt,
    carries_item,
    carries_withdrawal,
    record_carried,
)
from appliance.store.transfer.receipts import put_receipt as put_receipt_of_import
from appliance.store.transfer.transfers import Transfer, record_transfer
from tests.queue.queues import NOW, URL, add, answer, new_store, state
from tests.simulator import SimulatedLog

SITE = "inside.example"


@pytest.fixture
def log() -> SimulatedLog:
    return SimulatedLog()


@pytest.fixture
def inside(tmp_path: Path, log: SimulatedLog) -> Iterator[Store]:
    store = new_store(tmp_path / "inside", log)
    yield store
    store.close()


@pytest.fixture
def outside(tmp_path: Path, log: SimulatedLog) -> Iterator[Store]:
    store = new_store(tmp_path / "outside", log)
    yield store
    store.close()


def log_all(store: Store, log: SimulatedLog) -> None:
    """Do what a drain does when all goes well."""
    for item in list_items(store, ["queued"]):
        with store.atomic():
            begin_attempts(store, [item], URL, NOW, NOW)
        with store.atomic():
            entry = answer(log, item.what.request)
            put_receipt(store, item, require_log(store, log.origin).id, 0, entry, NOW)
            leave_sending(store, item, "logged", reason="", message="", now=NOW, next_at=NOW)


def test_there_and_back_again(inside: Store, outside: Store, log: SimulatedLog) -> None:
    item = add(inside, b"one")
    out = outbound_pending(inside, NOW)
    assert list(out) == [item.id]
    member = json.loads(out[item.id])
    assert b64decode(member["request"]["body"]) == item.what.request
    assert member["createdAt"] == "2025-10-09T08:53:20Z"
    mark_exported(inside, out, "ab" * 32, NOW)
    assert state(inside, item) == "exported"

    assert absorb_pending(outside, out, SITE, NOW).taken == (item.id,)
    [there] = list_items(outside, ["queued"])
    assert (there.what.tenant, there.what.site_id) == (f"site:{SITE}", item.id)
    assert there.what.request == item.what.request
    assert outbound_receipts(outside, NOW) == {}
    log_all(outside, log)

    back = outbound_receipts(outside, NOW)
    assert absorb_receipts(inside, back, NOW).taken == (item.id,)
    assert state(inside, item) == "proven-inside"
    assert receipt_of(inside, item) is not None
    mark_returned(outside, back, NOW)
    assert outbound_receipts(outside, NOW) == {}
    assert outbound_pending(inside, NOW) == {}


def test_a_lost_stick_loses_nothing_in_either_direction(
    inside: Store, outside: Store, log: SimulatedLog
) -> None:
    item = add(inside, b"one")
    mark_exported(inside, outbound_pending(inside, NOW), "ab" * 32, NOW)  # and never arrives
    again = outbound_pending(inside, NOW)
    assert list(again) == [item.id]
    absorb_pending(outside, again, SITE, NOW)
    assert absorb_pending(outside, again, SITE, NOW).known == (item.id,)
    log_all(outside, log)
    mark_returned(outside, outbound_receipts(outside, NOW), NOW)  # and never arrives
    assert outbound_receipts(outside, NOW) == {}
    absorb_pending(outside, outbound_pending(inside, NOW), SITE, NOW)
    back = outbound_receipts(outside, NOW)
    assert absorb_receipts(inside, back, NOW).taken == (item.id,)
    assert absorb_receipts(inside, back, NOW).known == (item.id,)


def test_what_comes_from_outside_is_not_sent_on(outside: Store, inside: Store) -> None:
    add(inside, b"one")
    absorb_pending(outside, outbound_pending(inside, NOW), SITE, NOW)
    assert outbound_pending(outside, NOW) == {}


def test_a_bad_item_is_listed_and_the_others_are_taken(inside: Store, outside: Store) -> None:
    good, bad = add(inside, b"one"), add(inside, b"two")
    out = outbound_pending(inside, NOW)
    member = json.loads(out[bad.id])
    cases = {
        "malformed": b"{",
        "schema": json.dumps(member | {"schema": 2}).encode(),
        "malformed id": out[good.id],
        "malformed tier": json.dumps(member | {"tier": "edge"}).encode(),
    }
    for reason, raw in cases.items():
        done = absorb_pending(outside, {good.id: out[good.id], bad.id: raw}, SITE, NOW)
        assert [one.id for one in done.rejected] == [bad.id]
        assert done.rejected[0].error.reason == reason.split()[0]
    assert len(list_items(outside, ["queued"])) == 1


def test_a_full_queue_takes_what_fits(inside: Store, outside: Store) -> None:
    with outside.atomic():
        replace_settings(outside, read_settings(outside) | {"rekor.offline.maxQueueSize": 1})
    add(inside, b"one")
    add(inside, b"two")
    done = absorb_pending(outside, outbound_pending(inside, NOW), SITE, NOW)
    assert (len(done.taken), len(done.rejected)) == (1, 1)
    assert done.rejected[0].error.reason == "queue-full"


def test_one_site_fills_no_more_than_half_of_the_queue(inside: Store, outside: Store) -> None:
    with outside.atomic():
        replace_settings(outside, read_settings(outside) | {"rekor.offline.maxQueueSize": 6})
    for number in range(5):
        add(inside, b"%d" % number)
    out = outbound_pending(inside, NOW)
    done = absorb_pending(outside, out, SITE, NOW)
    assert (len(done.taken), {one.error.reason for one in done.rejected}) == (3, {"queue-share"})
    assert len(absorb_pending(outside, out, "other.example", NOW).taken) == 3
    [first, *_] = absorb_pending(outside, out, "third.example", NOW).rejected
    assert first.error.reason == "queue-full"


def test_a_forged_proof_leaves_the_item_exported(
    inside: Store, outside: Store, log: SimulatedLog
) -> None:
    item, other = add(inside, b"one"), add(inside, b"two")
    out = outbound_pending(inside, NOW)
    mark_exported(inside, out, "ab" * 32, NOW)
    absorb_pending(outside, out, SITE, NOW)
    log_all(outside, log)
    back = outbound_receipts(outside, NOW)
    good = json.loads(back[item.id])
    swapped = good | {"entry": json.loads(back[other.id])["entry"]}
    broken = json.loads(back[item.id])
    broken["entry"]["inclusionProof"]["hashes"] = ["A" * 43 + "="]
    foreign = SimulatedLog("other.example")
    forged = good | {"entry": json.loads(answer(foreign, item.what.request))}
    cases = {
        "entry-mismatch": swapped,
        "proof": broken,
        "no-log-key": forged,
        "malformed": good | {"id": "0" * 64},
    }
    for reason, document in cases.items():
        done = absorb_receipts(inside, {item.id: json.dumps(document).encode()}, NOW)
        assert [(one.id, one.error.reason) for one in done.rejected] == [(item.id, reason)]
        assert state(inside, item) == "exported"
        assert receipt_of(inside, item) is None


def refused_outside(inside: Store, outside: Store, state_there: str = "refused") -> QueueItem:
    """Let an item leave in a transfer bundle, and be refused over there."""
    item = add(inside, b"one")
    out = outbound_pending(inside, NOW)
    with inside.atomic():
        record_carried(inside, map(carries_item, out), "set")
    left = Transfer(
        "ab" * 32, "export", NOW, "inside.example", "a.tar", bytes(32), False, (), "set"
    )
    record_transfer(inside, left)
    mark_exported(inside, out, "ab" * 32, NOW)
    absorb_pending(outside, out, SITE, NOW)
    [there] = list_items(outside, ["queued"])
    with outside.atomic():
        move_item(
            outside,
            there,
            state_there,
            allowed=["queued"],
            now=NOW,
            reason="invalid-request",
            message="the log said no",
        )
    return item


def imported_by(store: Store, site: str) -> None:
    """Say that a site has acknowledged the export of refused_outside."""
    with store.atomic():
        put_receipt_of_import(store, StoredReceipt("ab" * 32, site, False, NOW, b"note"))


@pytest.mark.parametrize("there", ["refused", "cancelled"])
def test_a_no_counts_from_the_site_that_has_the_item_and_only_parks_it(
    inside: Store, outside: Store, log: SimulatedLog, there: str
) -> None:
    item = refused_outside(inside, outside, there)
    back = outbound_receipts(outside, NOW)
    imported_by(inside, "other.example")
    for site, reason in ((None, "unsigned-refusal"), ("outside.example", "foreign-refusal")):
        done = absorb_receipts(inside, back, NOW, site=site)
        assert [one.error.reason for one in done.rejected] == [reason]
        assert (state(inside, item), done.taken, done.refused) == ("exported", (), ())
    imported_by(inside, "outside.example")
    done = absorb_receipts(inside, back, NOW, site="outside.example")
    assert (done.taken, done.refused) == ((), (item.id,))
    [parked] = list_items(inside, ["refused"])
    assert parked.message == f"{there} by outside.example: the log said no"
    assert "refused" not in FINAL and parked.id not in outbound_pending(inside, NOW)
    # What was a mistake over there ends with its proof.
    [other] = list_items(outside, [there])
    move_item(outside, other, "queued", allowed=[there], now=NOW)
    log_all(outside, log)
    assert absorb_receipts(inside, outbound_receipts(outside, NOW), NOW).taken == (item.id,)
    assert state(inside, item) == "proven-inside"


def test_what_is_cancelled_here_after_it_left_is_cancelled_over_there(
    inside: Store, outside: Store
) -> None:
    item = add(inside, b"one")
    out = outbound_pending(inside, NOW)
    mark_exported(inside, out, "ab" * 32, NOW)
    absorb_pending(outside, out, SITE, NOW)
    [exported] = list_items(inside, ["exported"])
    move_item(inside, exported, "cancelled", allowed=["exported"], now=NOW, reason=WITHDRAWN)
    told = outbound_withdrawn(inside, "")
    assert list(told) == [item.id] and outbound_pending(inside, NOW) == {}
    assert absorb_pending(outside, told, "other.example", NOW).known == (item.id,)
    assert len(list_items(outside, ["queued"])) == 1  # that site has no such item
    assert absorb_pending(outside, told, SITE, NOW).taken == (item.id,)
    [there] = list_items(outside, ["cancelled"])
    assert (there.reason, outbound_receipts(outside, NOW)) == ("withdrawn", {})
    assert absorb_pending(outside, told, SITE, NOW).known == (item.id,)
    for number in range(3):
        with inside.atomic():
            record_carried(inside, [carries_withdrawal(item.id)], f"set {number}")
    assert outbound_withdrawn(inside, "") == {}


def test_a_dry_run_changes_nothing(inside: Store, outside: Store) -> None:
    item = add(inside, b"one")
    out = outbound_pending(inside, NOW)
    assert absorb_pending(outside, out, SITE, NOW, dry_run=True).taken == (item.id,)
    assert list_items(outside, ["queued"]) == []
