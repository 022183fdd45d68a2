"""Draining: every item ends once, with a proof or a reason, and no window goes over."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import DivergenceError
from appliance.jobs.divergence.gossip import compare_note
from appliance.jobs.divergence.lift import lift
from appliance.jobs.mirror.sync import sync
from appliance.jobs.queue.quota import forecast, queue_figures, read_quota
from appliance.jobs.queue.settings import read_queue_settings
from appliance.policy.budget import SETTLE_SECONDS
from appliance.rekor.log_writer import Written
from appliance.rekor.transparency_log_entry import parse_log_entry
from appliance.store.database import Store, open_store
from appliance.store.divergence.quarantine import quarantines
from appliance.store.home.counters import counters
from appliance.store.home.settings import read_settings, replace_settings
from appliance.store.mirror.logs import require_backend
from appliance.store.queue.attempts import attempts_of, begin_attempts, receipt_of
from appliance.store.queue.queue import list_items, require_item
from appliance.store.queue.tenants import put_tenant
from appliance.value import replaced
from tests.mirror.mirrors import EVERYTHING
from tests.policy.test_budget import most_in_any_window
from tests.queue.queues import NOW, URL, add, answer, new_store, state
from tests.queue.simulated_server import (
    SimulatedServer,
    busy,
    drain,
    foreign,
    frozen,
    half_answer,
    lost_answer,
    refused,
    unavailable,
    unreachable,
)
from tests.simulator import SimulatedLog


@pytest.fixture
def log() -> SimulatedLog:
    return SimulatedLog()


@pytest.fixture
def store(tmp_path: Path, log: SimulatedLog) -> Iterator[Store]:
    opened = new_store(tmp_path / "home", log)
    yield opened
    opened.close()


@pytest.fixture
def server(log: SimulatedLog) -> SimulatedServer:
    return SimulatedServer(log)


def configure(store: Store, **settings: object) -> None:
    given = {f"rekor.{name.replace('__', '.')}": one for name, one in settings.items()}
    with store.atomic():
        replace_settings(store, read_settings(store) | given)


def spent(store: Store, tenant: str = "system") -> int:
    row = store.row("SELECT count(*) AS n FROM budget_spend WHERE tenant = ?", [tenant])
    return 0 if row is None else int(row["n"])


def test_what_is_queued_is_logged_and_its_receipt_kept(
    store: Store, server: SimulatedServer
) -> None:
    items = [add(store, b"%d" % n) for n in range(10)]
    report = drain(store, server)
    assert (report.sent, report.logged, report.errors) == (10, 10, ())
    for item in items:
        assert state(store, item) == "logged"
        receipt = receipt_of(store, item)
        assert receipt is not None
        assert parse_log_entry(receipt).inclusion_proof is not None
        [attempt] = attempts_of(store, item)
        assert (attempt.outcome, attempt.url) == ("logged", URL)
    assert spent(store) == 10
    values = {(one.name, *one.labels.values()): one.value for one in counters(store)}
    assert values["attestor_rekor_submissions_total", "logged", "graph"] == 10
    assert values["attestor_rekor_submission_latency_seconds_count", "graph"] == 10
    assert drain(store, server).sent == 0


def test_what_the_log_had_already_is_completed_from_its_tiles(
    store: Store, server: SimulatedServer, log: SimulatedLog
) -> None:
    items = [add(store, b"%d" % n) for n in range(300)]
    for item in items:
        answer(log, item.what.request)
    configure(store, budget__hourlyLimit=1000, budget__burstLimit=6000)
    report = drain(store, server)
    assert (report.logged, report.duplicates) == (300, 300)
    assert spent(store) == 0  # none of them became an entry
    receipt = receipt_of(store, items[257])
    assert receipt is not None
    assert parse_log_entry(receipt).log_index == 257


def test_a_lost_answer_is_asked_for_again_with_the_same_bytes(
    store: Store, server: SimulatedServer
) -> None:
    item = add(store, b"one")
    server.next(lost_answer, half_answer)
    report = drain(store, server)
    assert (report.logged, report.duplicates) == (1, 1)
    assert server.posted == [item.what.request] * 3
    outcomes = [one.outcome for one in attempts_of(store, item)]
    assert outcomes == ["cut-body", "malformed", "duplicate"]
    assert len(server.taken) == 1


def test_an_unproven_answer_never_makes_an_item_done(store: Store, server: SimulatedServer) -> None:
    """Each way in which the answer can be wrong; the item waits for a better one."""
    item, other = add(store, b"one"), add(store, b"two")
    foreign = SimulatedLog(server.log.origin, salt="x")
    foreign.signer = SimulatedLog("other.example").signer

    def changed(**changes: object) -> Written:
        entry = parse_log_entry(answer(server.log, item.what.request))
        return Written(replaced(entry, **changes))

    good = parse_log_entry(answer(server.log, item.what.request))
    proof = good.inclusion_proof
    assert proof is not None
    answer(server.log, other.what.request)
    wrong = {
        "entry-mismatch": Written(parse_log_entry(answer(server.log, other.what.request))),
        "no-proof": changed(inclusion_proof=None),
        "checkpoint-mismatch": changed(inclusion_proof=replaced(proof, tree_size=7)),
        "index-mismatch": changed(log_index=5),
        "wrong-log": changed(log_id=bytes(32)),
        "unknown-signer": Written(parse_log_entry(answer(foreign, item.what.request))),
    }
    for reason, answered in wrong.items():
        server.next(lambda _, __, told=answered: told)  # type: ignore[misc]
        drain(store, server, limit=1)
        server.clock.now += 3600
        assert state(store, item) == "postponed", reason
        assert attempts_of(store, item)[-1].outcome == reason
        assert receipt_of(store, item) is None
    # Once it is honest: it had it all the time.
    assert drain(store, server).duplicates == 2
    assert state(store, item) == "logged"


def test_a_poison_item_is_parked_and_the_others_go_on(
    store: Store, server: SimulatedServer
) -> None:
    poison = add(store, b"poison")
    items = [add(store, b"%d" % n) for n in range(5)]
    server.trouble = lambda request: refused if request == poison.what.request else None
    report = drain(store, server)
    assert (report.logged, report.refused) == (5, 1)
    assert [one.reason for one in report.errors] == ["invalid-request"]
    assert {state(store, one) for one in items} == {"logged"}
    assert state(store, poison) == "refused"
    assert spent(store) == 5
    drain(store, server)
    assert server.posted.count(poison.what.request) == 1


def test_three_refusals_in_a_row_stop_the_drain_and_an_item_between_them_does_not(
    store: Store, server: SimulatedServer
) -> None:
    items = [add(store, b"%d" % n) for n in range(9)]
    server.next(refused, refused, None, refused, refused, refused)
    report = drain(store, server, threads=1)
    assert (report.sent, report.logged, report.refused) == (6, 1, 5)
    assert report.errors[0].reason == "refused-in-a-row"
    assert [state(store, one) for one in items[6:]] == ["queued"] * 3


@pytest.mark.parametrize("threads", [1, 4])
def test_a_no_that_is_not_the_logs_parks_nothing(
    store: Store, server: SimulatedServer, threads: int
) -> None:
    items = [add(store, b"%d" % n) for n in range(9)]
    server.trouble = lambda request: foreign
    report = drain(store, server, threads=threads)
    assert ([one.reason for one in report.errors], report.refused) == (["foreign-answer"], 0)
    assert report.sent <= 2 * threads
    assert {state(store, one) for one in items} == {"queued"}
    assert spent(store) == 0
    server.trouble = lambda request: None
    assert drain(store, server).logged == 9


def test_many_threads_park_no_more_than_three_of_a_proxys_refusals(
    store: Store, server: SimulatedServer
) -> None:
    items = [add(store, b"%d" % n) for n in range(30)]
    server.trouble = lambda request: refused
    report = drain(store, server, threads=8)
    assert report.refused == 3
    assert [state(store, one) for one in items].count("queued") == 27


def test_a_frozen_log_stops_the_drain_and_parks_nothing(
    store: Store, server: SimulatedServer
) -> None:
    items = [add(store, b"%d" % n) for n in range(30)]
    server.trouble = lambda request: frozen
    report = drain(store, server)
    assert [one.reason for one in report.errors] == ["frozen"]
    assert report.sent <= 8
    assert {state(store, one) for one in items} == {"queued"}
    assert spent(store) == 0


def test_nothing_is_sent_to_a_quarantined_log_until_that_is_lifted(
    store: Store, server: SimulatedServer, log: SimulatedLog
) -> None:
    items = [add(store, b"%d" % n) for n in range(30)]
    log.grow(20)
    twin = log.fork(at=10)
    sync(store, require_backend(store, "server"), log, EVERYTHING, NOW)
    with pytest.raises(DivergenceError):
        compare_note(store, twin.checkpoint(), "a friend", NOW)
    [held] = quarantines(store)
    report = drain(store, server)
    assert [one.reason for one in report.errors] == ["quarantined"]
    assert f"quarantine lift {held.id}" in str(report.errors[0].next_step)
    assert (report.sent, server.posted, spent(store)) == (0, [], 0)
    assert {state(store, one) for one in items} == {"queued"}
    lift(store, held.id, "the friend was wrong", NOW, dry_run=False)
    assert drain(store, server).logged == 30


def test_a_failing_item_is_tried_as_often_as_configured_and_postponed(
    store: Store, server: SimulatedServer
) -> None:
    item = add(store, b"one")
    server.trouble = lambda request: unavailable
    report = drain(store, server)
    assert (report.sent, report.postponed) == (3, 1)
    assert [one.reason for one in report.errors] == ["unavailable"]
    assert sum(server.clock.naps) == pytest.approx(3 + 5)  # half of 5 and of 10 s, rounded up
    assert require_item(store, item.id).next_at > server.clock.now
    server.trouble = lambda request: None
    assert drain(store, server).sent == 0  # not due yet
    server.clock.now += 300
    assert drain(store, server).logged == 1


def test_a_log_that_is_gone_is_left_alone_and_costs_no_budget(
    store: Store, server: SimulatedServer
) -> None:
    for n in range(100):
        add(store, b"%d" % n)
    server.trouble = lambda request: unreachable
    report = drain(store, server)
    assert report.sent < 40
    assert report.errors[0].reason == "unreachable"
    assert spent(store) == 0


def test_retry_after_is_honoured(store: Store, server: SimulatedServer) -> None:
    add(store, b"one")
    server.next(busy(45))
    assert drain(store, server).logged == 1
    assert sum(server.clock.naps) >= 45
    add(store, b"two")
    server.next(busy(900))
    report = drain(store, server)
    assert [one.reason for one in report.errors] == ["rate-limited"]
    assert server.clock.naps == server.clock.naps[:1]  # nobody waits a quarter of an hour


def test_what_was_under_way_when_a_drain_died_goes_out_again_unchanged(
    store: Store, server: SimulatedServer, log: SimulatedLog
) -> None:
    item = add(store, b"one")
    with store.atomic():
        begin_attempts(store, [item], URL, NOW, NOW + 120)
    answer(log, item.what.request)  # the log had taken it
    report = drain(store, server)
    assert (report.interrupted, report.duplicates) == (1, 1)
    assert server.posted == [item.what.request]
    assert [one.outcome for one in attempts_of(store, item)] == ["interrupted", "duplicate"]
    assert spent(store) == 1  # the first one still counts: nobody knows when it was taken


def test_before_a_byte_leaves_it_is_durable_that_it_may(
    store: Store, server: SimulatedServer
) -> None:
    """Whoever dies at any moment after this leaves the item `sending` and its slot spent."""
    item = add(store, b"one")
    seen = []

    def look(request: bytes) -> None:
        other = open_store(store.home, write=False)
        seen.append((state(other, item), spent(other), len(attempts_of(other, item))))
        other.close()

    server.trouble = look
    drain(store, server)
    assert seen == [("sending", 1, 1)]


def test_a_slot_counts_from_when_the_log_can_have_taken_it_at_the_latest(
    store: Store, server: SimulatedServer
) -> None:
    add(store, b"one")
    under_way = []

    def look(request: bytes) -> None:
        other = open_store(store.home, write=False)
        under_way.extend(other.rows("SELECT counts_at FROM budget_spend"))
        other.close()

    server.trouble = look
    drain(store, server)
    # Whoever dies now leaves it so: for two minutes the log may still take what was sent.
    assert [row["counts_at"] for row in under_way] == [NOW + SETTLE_SECONDS]
    assert SETTLE_SECONDS == 120
    # Once the answer is there, it is known.
    assert [row["counts_at"] for row in store.rows("SELECT counts_at FROM budget_spend")] == [NOW]


def test_higher_priorities_go_first_and_tenants_take_turns(
    store: Store, server: SimulatedServer
) -> None:
    with store.atomic():
        put_tenant(store, "a", NOW)
        put_tenant(store, "b", NOW)
    names = {}
    for n in range(4):
        names[add(store, b"a%d" % n, "a", priority=n).what.request] = f"a{n}"
    for n in range(2):
        names[add(store, b"b%d" % n, "b").what.request] = f"b{n}"
    drain(store, server, threads=1)
    assert [names[request] for request in server.posted] == ["a3", "b0", "a2", "b1", "a1", "a0"]


def test_the_budget_holds_through_faults_and_the_queue_runs_dry_when_forecast(
    store: Store, server: SimulatedServer
) -> None:
    """The default limits under a simulated clock; replayed from the log's own record."""
    chances = random.Random(7)  # noqa: S311 chooses faults, not keys
    tenants = {}
    with store.atomic():
        for name in ("a", "b", "c"):
            put_tenant(store, name, NOW)
    for n in range(250):
        tenant = "abc"[n % 3]
        tenants[add(store, b"%d" % n, tenant).what.request] = tenant
    planned = forecast(store, read_queue_settings(store).limits, server.clock.moment())
    assert {one.waiting for one in planned} == {83, 84}
    faults = [None] * 6 + [unavailable, lost_answer, half_answer, unreachable]

    def trouble(request: bytes) -> object:
        server.clock.now += chances.random()
        return chances.choice(faults)

    server.trouble = trouble  # type: ignore[assignment]
    report = drain(store, server, until_empty=True)
    assert report.logged == 250
    assert Counter(one.state for one in list_items(store, ["logged"])) == {"logged": 250}
    assert len(server.taken) == 250
    for name in "abc":
        times = [int(at) for at, request in server.taken if tenants[request] == name]
        assert most_in_any_window(times, 3600) <= 100
        assert most_in_any_window(times, 600) <= 34
    assert server.clock.now - NOW >= 1200  # 84 do not fit into two bursts


def test_a_clock_set_back_by_a_year_blocks_nothing_and_grants_nothing(
    store: Store, server: SimulatedServer
) -> None:
    configure(store, budget__hourlyLimit=2)
    for n in range(5):
        add(store, b"%d" % n)
    assert drain(store, server).logged == 2
    server.clock.set_back = 365 * 86_400
    assert drain(store, server).logged == 0
    server.clock.now += 3601
    assert drain(store, server).logged == 2


def test_figures_for_the_metrics(store: Store, server: SimulatedServer) -> None:
    for n in range(17):
        add(store, b"%d" % n)
    limits = read_queue_settings(store).limits
    assert queue_figures(store, limits, server.clock.moment()).depth == {"graph": 17, "edge": 0}
    drain(store, server)
    figures = queue_figures(store, limits, server.clock.moment())
    assert figures.depth == {"graph": 0, "edge": 0}
    assert figures.remaining == {"system": 17}
    assert figures.utilization == {"system": 0.5}
    quota = read_quota(store, limits, "system", "graph", server.clock.moment(), 18)
    assert quota.slots[17] - quota.slots[16] == 601
