"""What the command line used to decide, decided in jobs and runs: each with a small home."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import ConfigError, DigestError, IncompleteError, RefusedError
from appliance.jobs.divergence.acknowledge import acknowledge
from appliance.jobs.home.keys import generate_key, home_key, require_free
from appliance.jobs.mirror.backends import forget_backend, switch_backend
from appliance.jobs.mirror.prove import published_as
from appliance.jobs.queue.move import UNFINISHED, cancel_items, retry_items
from appliance.jobs.queue.quota import Forecast, empty_at, room_for
from appliance.jobs.queue.round_trip import Absorbed, Rejected
from appliance.jobs.queue.settings import read_queue_settings
from appliance.jobs.queue.tenants import add_tenant, forget_tenant, is_tenant_name, switch_tenant
from appliance.jobs.transfer.exporters import replace_exporter
from appliance.policy.budget import Moment
from appliance.runs.session import Session
from appliance.runs.tell import send_alerts
from appliance.store.database import Store
from appliance.store.divergence.alerts import NewAlert, raise_alert
from appliance.store.divergence.outbox import undelivered
from appliance.store.home.journal import append_event, last_lines
from appliance.store.mirror.logs import require_backend
from appliance.store.queue.publications import PUBLISHED
from appliance.store.queue.queue import LOGGED, REFUSED, WITHDRAWN, move_item, require_item
from appliance.store.queue.tenants import SITE_PREFIX, TenantBudget, all_tenants
from appliance.store.transfer.transfers import EXPORTER, RECEIPT, add_exporter, exporter_keys
from appliance.tlog.note import SigningKey
from appliance.tlog.note_keys import KeyType
from tests.queue.queues import NOW, add, new_store, state
from tests.simulator import SimulatedLog


@pytest.fixture
def store() -> Iterator[Store]:
    memory = Path("/dev/shm")  # noqa: S108 a directory below it is ours alone
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        opened = new_store(Path(directory) / "home", SimulatedLog(), budget__hourlyLimit=2)
        yield opened
        opened.close()


def events(store: Store) -> list[str]:
    return [one.event for one in last_lines(store, 100, None)]


# --- queue


def test_only_what_left_in_a_transfer_bundle_is_withdrawn(store: Store) -> None:
    here, gone = add(store, b"here"), add(store, b"gone")
    move_item(store, gone, "exported", allowed=("queued",), now=NOW)
    before = cancel_items(store, [here.id, gone.id], NOW)
    assert [one.state for one in before] == ["queued", "exported"]
    assert [require_item(store, one.id).reason for one in (here, gone)] == ["", WITHDRAWN]
    assert [state(store, one) for one in (here, gone)] == ["cancelled", "cancelled"]


def test_of_several_items_all_are_moved_or_none(store: Store) -> None:
    refused, logged = add(store, b"refused"), add(store, b"logged")
    move_item(store, refused, REFUSED, allowed=("queued",), now=NOW)
    move_item(store, logged, LOGGED, allowed=("queued",), now=NOW)
    for move in (retry_items, cancel_items):
        with pytest.raises(RefusedError):
            move(store, [refused.id, logged.id], NOW)
        assert state(store, refused) == REFUSED
    retry_items(store, [refused.id], NOW, dry_run=True)
    assert state(store, refused) == REFUSED
    retry_items(store, [refused.id], NOW)
    assert state(store, refused) == "queued"


def test_what_was_refused_is_unfinished_and_what_is_logged_is_not() -> None:
    assert REFUSED in UNFINISHED and LOGGED not in UNFINISHED


def test_what_waits_goes_before_what_is_asked_about(store: Store) -> None:
    limits = read_queue_settings(store).limits
    assert room_for(store, limits, "system", "graph", 2, Moment(NOW)).fits
    add(store, b"waits")
    room = room_for(store, limits, "system", "graph", 2, Moment(NOW))
    assert (room.fits, room.waiting, room.free_now) == (False, 1, 1)
    assert room.next_free == room.slots[1] > NOW
    with pytest.raises(IncompleteError):
        room_for(store, limits, "nobody", "graph", 1, Moment(NOW))


def test_a_queue_is_empty_when_the_last_slot_came_or_never() -> None:
    known = Forecast("a", "graph", 1, NOW, NOW + 60)
    never = Forecast("b", "graph", 1, None, None)
    assert empty_at([], NOW) == NOW
    assert empty_at([known], NOW) == NOW + 60
    assert empty_at([known, never], NOW) is None


def test_a_receipt_for_an_item_of_another_site_is_nothing_to_look_at() -> None:
    def rejected(reason: str) -> Rejected:
        return Rejected("ab" * 32, RefusedError("no", reason=reason))

    absorbed = Absorbed((), (), (rejected("unknown-item"), rejected("quota")))
    assert [one.error.reason for one in absorbed.untaken] == ["quota"]


@pytest.mark.parametrize(
    ("name", "good"),
    [("team-a", True), ("", False), ("Team", False), (f"{SITE_PREFIX}x", False), ("a b", False)],
)
def test_a_tenant_is_not_called_as_another_site_is(name: str, good: bool) -> None:
    assert is_tenant_name(name) is good


def test_what_changes_of_a_tenant_is_an_event_and_what_does_not_is_none(store: Store) -> None:
    assert add_tenant(store, "team-a", NOW).is_new
    assert not add_tenant(store, "team-a", NOW).is_new
    given = add_tenant(store, "team-a", NOW, TenantBudget(hourly=7))
    assert (given.is_new, given.is_change, given.budget.hourly) == (False, True, 7)
    switch_tenant(store, "team-a", NOW, enabled=False)
    forget_tenant(store, "team-a", NOW, dry_run=True)
    assert events(store)[-2:] == ["tenant.changed", "tenant.disabled"]
    assert any(one.name == "team-a" and not one.enabled for one in all_tenants(store))
    forget_tenant(store, "team-a", NOW)
    assert events(store)[-1] == "tenant.removed"


# --- home, mirror


def test_a_key_is_known_by_what_it_signs(store: Store) -> None:
    def random_bytes(count: int) -> bytes:
        return bytes(range(1, count + 1))

    for name, key_type in (("w.example", "witness"), ("b.example", "bundle")):
        made = generate_key(store, name, key_type, NOW, random_bytes)
        assert home_key(store, name) == made
        with pytest.raises(ConfigError, match="exists already"):
            require_free(store, name)
    witness, bundle = home_key(store, "w.example"), home_key(store, "b.example")
    assert witness.public.key_type is KeyType.COSIGNATURE
    assert bundle.public.key_type is KeyType.ED25519
    publisher = generate_key(store, "p.example", "publisher", NOW, random_bytes)
    assert publisher.type == "publisher" and publisher.public.key_type is KeyType.ECDSA


def test_switching_and_forgetting_a_backend_are_events(store: Store) -> None:
    switch_backend(store, "server", NOW, enabled=False)
    assert not require_backend(store, "server").enabled
    assert forget_backend(store, "server", NOW, dry_run=True)  # nothing was stored of its log
    require_backend(store, "server")
    forget_backend(store, "server", NOW)
    assert events(store)[-2:] == ["backend.disabled", "backend.removed"]


def test_what_the_journal_says_was_published_has_to_be_what_is_logged(store: Store) -> None:
    told = {"origin": "log.example", "rekor_log_index": 7, "digest": "sha256:aa"}
    with store.atomic():
        append_event(store, NOW, PUBLISHED, told)
    line = published_as(store, "log.example", 7, "sha256:aa")
    assert line is not None and json.loads(line.details) == told
    assert published_as(store, "log.example", 8, "sha256:bb") is None
    with pytest.raises(DigestError, match="sha256:aa"):
        published_as(store, "log.example", 7, "sha256:bb")


# --- transfer


def test_a_new_key_takes_every_role_of_the_old_one(store: Store) -> None:
    old, new = (SigningKey(name, bytes([at] * 32)).verifier for at, name in enumerate("ab", 1))
    with pytest.raises(IncompleteError, match="no exporter"):
        replace_exporter(store, old, new, "lost", NOW, dry_run=False)
    add_exporter(store, old, [EXPORTER, RECEIPT], NOW)
    with pytest.raises(ConfigError, match="same key"):
        replace_exporter(store, old, old, "lost", NOW, dry_run=False)
    assert replace_exporter(store, old, new, "lost", NOW, dry_run=True) == [EXPORTER, RECEIPT]
    assert exporter_keys(store, EXPORTER) == (old,)
    replace_exporter(store, old, new, "lost", NOW, dry_run=False)
    assert exporter_keys(store, EXPORTER) == exporter_keys(store, RECEIPT) == (new,)
    with pytest.raises(RefusedError):
        replace_exporter(store, new, old, "found", NOW, dry_run=False)


# --- alerts


def raised(store: Store, *sinks: str) -> None:
    what = NewAlert("TreeFork log.example", "TreeFork", "rekor.test", "critical", {"a": 1})
    with store.atomic():
        raise_alert(store, what, sinks, NOW)


def test_who_acknowledges_lets_alerts_wait_for_known_sinks_only(store: Store) -> None:
    raised(store, "gone")
    [first] = acknowledge(store, ["1"], "seen", NOW, dry_run=True)
    assert first.is_new and len(undelivered(store)) == 1
    [done] = acknowledge(store, ["1"], "seen", NOW)
    assert (done.alert.number, done.is_new, undelivered(store)) == (1, True, ())
    assert not acknowledge(store, ["1"], "again", NOW)[0].is_new
    with pytest.raises(IncompleteError):
        acknowledge(store, ["1", "2"], None, NOW)


def test_alerts_for_a_sink_that_is_no_longer_configured_are_a_warning(store: Store) -> None:
    raised(store, "gone", "gone-too")
    run = send_alerts(Session(store.home, now=lambda: NOW), early=False, dry_run=True)
    assert [one.sink for one in run.waiting] == ["gone", "gone-too"]
    assert (run.arrived, run.errors) == ((), ())
    assert ["gone-too" in one for one in run.warnings] == [False, True]
