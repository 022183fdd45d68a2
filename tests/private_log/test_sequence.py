"""A private log never loses what it acknowledged and never signs two trees, wherever it dies."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import (
    ArgumentError,
    ConfigError,
    CorruptError,
    RefusedError,
    RestoredError,
    StoreError,
    VerificationError,
)
from appliance.jobs.mirror.prove import logged_entry
from appliance.jobs.private_log.create import create_log, freeze_log
from appliance.jobs.private_log.recover import recover_log
from appliance.jobs.private_log.sequence import Placed, Standing, recover, standing
from appliance.rekor.request import parse_request, verify_request
from appliance.store.database import create_store
from appliance.store.failures import is_passing
from appliance.store.home.key_files import create_signing_key, load_signing_key
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.last_signed import (
    parse_last_signed,
    read_last_signed,
    staged_blobs,
)
from appliance.store.private_log.private_logs import require_private_log
from tests.jobs.faults import Faults, PowerCutError, injected
from tests.private_log.private_homes import (
    NOW,
    ORIGIN,
    SEED,
    check_home,
    check_proofs,
    checkpoint_of,
    home_in_memory,
    log_bodies,
    make_home,
    reboot,
    writing,
)
from tests.shared import vectors

OLD = [b"old %d" % number for number in range(3)]
NEW = [b"new %d" % number for number in range(4)]


@pytest.fixture
def home() -> Iterator[Path]:
    with home_in_memory() as directory:
        yield directory


def _record(home: Path, origin: str = ORIGIN) -> Path:
    return home / "keys" / f"{origin}.last"


def test_the_first_entry_is_the_published_vector_byte_for_byte(home: Path) -> None:
    vector = vectors()["private_log_first_entry"]
    seed = bytes.fromhex("6b99f145931665e2ff6e99805e1560bf077cb4ae5b5d933795cc15046dd4ba1c")
    make_home(home, origin=vector["origin"], seed=seed)
    assert read_last_signed(home, vector["origin"]).note.decode() == vector["checkpoint_size_0"]  # type: ignore[union-attr]
    request = parse_request(json.dumps(vector["request"]).encode())
    verify_request(request)
    body = request.canonical_body
    assert body.decode() == vector["canonical_body"]
    done = log_bodies(home, [body])
    assert done.placed == (Placed(0, duplicate=False),)
    assert done.checkpoint.note.decode() == vector["checkpoint_size_1"]
    entry = logged_entry(0, body, done.checkpoint, ())
    assert entry.log_id.hex().startswith("d80b4420")
    assert check_home(home) == (body,)


def test_batches_of_every_kind_make_the_tree_of_their_entries(home: Path) -> None:
    make_home(home)
    bodies: list[bytes] = []
    for count in (1, 1, 2, 250, 3, 256, 100):
        batch = [b"entry %d" % (len(bodies) + number) for number in range(count)]
        done = log_bodies(home, batch)
        assert [one.entry_index for one in done.placed] == list(
            range(len(bodies), len(bodies) + count)
        )
        check_proofs(done, batch)
        bodies += batch
    assert check_home(home) == tuple(bodies)


def test_a_body_is_logged_once_however_often_it_comes(home: Path) -> None:
    make_home(home)
    done = log_bodies(home, [b"a", b"b", b"a"])
    assert done.placed == (Placed(0, False), Placed(1, False), Placed(0, True))
    done = log_bodies(home, [b"b", b"c"])
    assert done.placed == (Placed(1, True), Placed(2, False))
    before = _record(home).read_bytes()
    assert log_bodies(home, [b"c", b"a"]).placed == (Placed(2, True), Placed(0, True))
    assert log_bodies(home, []).placed == ()
    assert _record(home).read_bytes() == before
    assert check_home(home) == (b"a", b"b", b"c")


def _durable_calls(home: Path) -> list[str]:
    make_home(home)
    log_bodies(home, OLD)
    with injected(Faults()) as counted:
        log_bodies(home, NEW)
    return counted.calls


def test_what_is_signed_is_durable_before_and_published_after_the_record(home: Path) -> None:
    calls = _durable_calls(home)
    # A tile, an entry bundle, the batch and their directories; the record; the database.
    blobs, record = calls[:-4], calls[-4:]
    assert blobs == ["fsync"] * len(blobs) and 4 <= len(blobs) <= 6
    assert record == ["fsync", "rename", "fsync", "commit"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_power_cut_at_any_durable_call_loses_and_forks_nothing(after: bool) -> None:
    with home_in_memory() as home:
        total = len(_durable_calls(home))
    outcomes = set()
    for fail_at in range(1, total + 1):
        with home_in_memory() as home:
            make_home(home)
            log_bodies(home, OLD)
            with pytest.raises(PowerCutError), injected(Faults(fail_at, after=after)):
                log_bodies(home, NEW)
            # The next run knows nothing of it and asks for the same again.
            done = log_bodies(home, NEW)
            assert [one.entry_index for one in done.placed] == [3, 4, 5, 6]
            outcomes.add(done.placed[0].duplicate)
            log_bodies(home, [b"one more"])
            assert check_home(home) == (*OLD, *NEW, b"one more"), fail_at
    assert outcomes == {False, True}  # some cuts left it unsigned, some signed


def test_a_power_cut_during_recovery_is_recovered_from() -> None:
    with home_in_memory() as home:
        signed_at = len(_durable_calls(home))  # the record is swapped, the commit is not done

    def cut_after_signing(home: Path) -> None:
        make_home(home)
        log_bodies(home, OLD)
        with pytest.raises(PowerCutError), injected(Faults(signed_at)):
            log_bodies(home, NEW)

    with home_in_memory() as home:
        cut_after_signing(home)
        with injected(Faults()) as counted:
            log_bodies(home, [])
        total = len(counted.calls)
    assert total > 3
    for fail_at in range(1, total + 1):
        for after in (False, True):
            with home_in_memory() as home:
                cut_after_signing(home)
                with pytest.raises(PowerCutError), injected(Faults(fail_at, after=after)):
                    log_bodies(home, [])
                assert [one.duplicate for one in log_bodies(home, NEW).placed] == [True] * 4
                assert check_home(home) == (*OLD, *NEW), (fail_at, after)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_is_reported_and_the_next_run_completes(number: int, after: bool) -> None:
    with home_in_memory() as home:
        calls = _durable_calls(home)
    for fail_at, name in enumerate(calls, 1):
        with home_in_memory() as home:
            make_home(home)
            log_bodies(home, OLD)
            failure = OSError(number, os.strerror(number))
            with (
                injected(Faults(fail_at, after=after, error=failure)),
                pytest.raises(StoreError) as caught,
            ):
                log_bodies(home, NEW)
            if name != "commit":
                assert is_passing(caught.value) == (number == errno.ENOSPC)
            assert [one.entry_index for one in log_bodies(home, NEW).placed] == [3, 4, 5, 6]
            assert check_home(home) == (*OLD, *NEW), fail_at


def test_a_full_database_passes_and_a_failing_one_does_not() -> None:
    for code, passes in ((sqlite3.SQLITE_FULL, True), (sqlite3.SQLITE_IOERR_WRITE, False)):
        cause = sqlite3.OperationalError("it says")
        cause.sqlite_errorcode = code
        error = StoreError("it says")
        error.__cause__ = cause
        assert is_passing(error) is passes


def _cut_after_signing(home: Path) -> None:
    """Leave a home whose last batch is signed and not published."""
    with home_in_memory() as other:
        total = len(_durable_calls(other))
    make_home(home)
    log_bodies(home, OLD)
    with pytest.raises(PowerCutError), injected(Faults(total)):
        log_bodies(home, NEW)


def test_a_signed_batch_is_seen_without_changing_anything(home: Path) -> None:
    _cut_after_signing(home)
    before = (_record(home).read_bytes(), (home / "attestor.db").read_bytes())
    with writing(home) as store:
        private = require_private_log(store, None)
        assert standing(store, private) is Standing.SIGNED
    assert (_record(home).read_bytes(), (home / "attestor.db").read_bytes()) == before
    assert checkpoint_of(home).head.tree_size == 3
    with writing(home) as store:
        key = load_signing_key(home, ORIGIN)
        assert recover(store, private, key, NOW).head.tree_size == 7
        assert standing(store, private) is Standing.PUBLISHED


def test_the_staged_batch_is_named_for_the_sweep_to_spare(home: Path) -> None:
    _cut_after_signing(home)
    [staged] = staged_blobs(home)
    with writing(home) as store:
        store.blobs.path(staged).unlink()
    with pytest.raises(CorruptError):
        log_bodies(home, NEW)
    assert checkpoint_of(home).head.tree_size == 3


# What must never sign again.


def _restore(home: Path, backup: Path) -> None:
    shutil.copyfile(backup, home / "attestor.db")


def test_a_restored_database_never_signs_again(home: Path, tmp_path: Path) -> None:
    make_home(home)
    log_bodies(home, OLD)
    shutil.copyfile(home / "attestor.db", tmp_path / "backup")
    log_bodies(home, NEW)
    log_bodies(home, [b"one more"])
    record = _record(home).read_bytes()
    _restore(home, tmp_path / "backup")
    for bodies in (NEW, [b"a fork"], []):
        with pytest.raises(RestoredError) as refused:
            log_bodies(home, bodies)
        assert refused.value.reason == "restored"
        assert refused.value.evidence_id == 1
    assert _record(home).read_bytes() == record
    assert check_home_is_at(home, 3)


def check_home_is_at(home: Path, size: int) -> bool:
    return checkpoint_of(home).head.tree_size == size


def test_a_backup_from_just_before_the_last_batch_only_completes_it(
    home: Path, tmp_path: Path
) -> None:
    make_home(home)
    log_bodies(home, OLD)
    shutil.copyfile(home / "attestor.db", tmp_path / "backup")
    log_bodies(home, NEW)
    record = _record(home).read_bytes()
    _restore(home, tmp_path / "backup")
    log_bodies(home, [])
    assert _record(home).read_bytes() == record
    assert check_home(home) == (*OLD, *NEW)


def test_a_database_of_another_history_never_signs(home: Path) -> None:
    with home_in_memory() as other:
        for place, bodies in ((home, OLD), (other, NEW[:3])):
            make_home(place)
            log_bodies(place, bodies)
        shutil.copyfile(other / "attestor.db", home / "attestor.db")
        with pytest.raises(RestoredError) as refused:
            log_bodies(home, [b"a fork"])
    assert refused.value.reason == "restored"
    assert refused.value.evidence_id is not None


def test_an_older_record_under_a_newer_database_never_signs(home: Path) -> None:
    make_home(home)
    log_bodies(home, OLD)
    older = _record(home).read_bytes()
    log_bodies(home, NEW)
    _record(home).write_bytes(older)
    reboot()
    with pytest.raises(RestoredError, match="restored"):
        log_bodies(home, [b"a fork"])


def test_an_older_record_of_a_machine_that_remembers_the_newer_one_is_brought_up(
    home: Path,
) -> None:
    make_home(home)
    log_bodies(home, OLD)
    older = _record(home).read_bytes()
    log_bodies(home, NEW)
    _record(home).write_bytes(older)
    log_bodies(home, [b"no fork"])
    assert check_home(home) == (*OLD, *NEW, b"no fork")


@pytest.mark.parametrize("logged", [False, True], ids=["empty", "with entries"])
def test_without_its_record_a_log_never_signs(home: Path, logged: bool) -> None:
    make_home(home)
    if logged:
        log_bodies(home, OLD)
    _record(home).unlink()
    with pytest.raises(RestoredError) as refused:
        log_bodies(home, NEW)
    assert refused.value.reason == "restored"


def test_a_copied_home_signs_only_once_somebody_says_it_is_the_only_one(
    home: Path, tmp_path: Path
) -> None:
    make_home(home)
    log_bodies(home, OLD)
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    with pytest.raises(RestoredError) as refused:
        log_bodies(copy, [b"a fork"])
    assert refused.value.reason == "restored"
    with writing(copy) as store:
        private = require_private_log(store, None)
        key = load_signing_key(copy, ORIGIN)
        with pytest.raises(RestoredError, match="anything outside"):
            recover_log(store, private, key, (), NOW, only_copy=False)
        recover_log(store, private, key, (), NOW, only_copy=True)
    log_bodies(copy, [b"going on"])
    assert check_home(copy) == (*OLD, b"going on")
    with pytest.raises(RestoredError, match="put back"):  # on one machine both are remembered
        log_bodies(home, NEW)


def test_a_copy_does_not_sign_what_the_old_home_signed_since(home: Path, tmp_path: Path) -> None:
    make_home(home)
    log_bodies(home, OLD)
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    log_bodies(home, NEW)
    with writing(copy) as store, pytest.raises(RestoredError, match="remembers"):
        private = require_private_log(store, None)
        key = load_signing_key(copy, ORIGIN)
        recover_log(store, private, key, (), NOW, only_copy=True)


def test_a_moved_home_goes_on(home: Path) -> None:
    make_home(home)
    log_bodies(home, OLD)
    moved = home.with_name("moved")
    home.rename(moved)
    log_bodies(moved, NEW)
    assert check_home(moved) == (*OLD, *NEW)


def test_taking_over_does_not_help_a_restored_database(home: Path, tmp_path: Path) -> None:
    make_home(home)
    log_bodies(home, OLD)
    shutil.copyfile(home / "attestor.db", tmp_path / "backup")
    log_bodies(home, NEW)
    log_bodies(home, [b"one more"])
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    _restore(copy, tmp_path / "backup")
    for _ in range(2):
        with writing(copy) as store, pytest.raises(RestoredError, match="what it signed next"):
            key = load_signing_key(copy, ORIGIN)
            recover_log(store, require_private_log(store, None), key, (), NOW, only_copy=True)


def test_every_damage_to_the_record_is_refused_or_changes_nothing(home: Path) -> None:
    make_home(home)
    log_bodies(home, OLD)
    record = _record(home)
    whole = record.read_bytes()
    assert bytes(parse_last_signed(whole)) == whole
    accepted = []
    with writing(home) as store:
        private = require_private_log(store, None)
        for position in range(len(whole)):
            damaged = bytearray(whole)
            damaged[position] ^= 1
            record.write_bytes(damaged)
            try:
                assert standing(store, private) is Standing.PUBLISHED
            except (RestoredError, VerificationError):
                continue
            accepted.append(position)
        for cut in range(len(whole)):
            record.write_bytes(whole[:cut])
            with pytest.raises((RestoredError, VerificationError)):
                standing(store, private)
    # Where the batch started and lies is not looked at once it is published.
    batch = range(whole.index(b"base"), whole.index(b"\n\n"))
    assert accepted
    assert set(accepted) <= set(batch)
    record.write_bytes(whole)
    log_bodies(home, NEW)
    assert check_home(home) == (*OLD, *NEW)


def test_another_key_is_refused_before_anything_is_written(home: Path) -> None:
    make_home(home)
    key_file = home / "keys" / f"{ORIGIN}.key"
    key_file.unlink()
    create_signing_key(home, ORIGIN, bytes(32))
    with pytest.raises(ConfigError) as refused:
        log_bodies(home, NEW)
    assert refused.value.reason == "wrong-key"


# Creating a log.


def test_creating_can_be_cut_anywhere_and_run_again() -> None:
    with home_in_memory() as home:
        create_store(home).close()
        with injected(Faults()) as counted, writing(home) as store:
            create_log(store, "build", ORIGIN, SEED, NOW)
        total = len(counted.calls)
    for fail_at in range(1, total + 1):
        for after in (False, True):
            with home_in_memory() as home:
                reboot()
                create_store(home).close()
                with (
                    pytest.raises(PowerCutError),
                    injected(Faults(fail_at, after=after)),
                    writing(home) as store,
                ):
                    create_log(store, "build", ORIGIN, SEED, NOW)
                with writing(home) as store:
                    try:
                        create_log(store, "build", ORIGIN, bytes(32), NOW)
                    except ConfigError as error:
                        assert error.reason == "log-exists"
                        assert (fail_at, after) == (total, True)
                log_bodies(home, OLD)
                assert check_home(home) == tuple(OLD), (fail_at, after)


def test_a_key_of_unknown_past_is_taken_only_on_request(home: Path) -> None:
    store = create_store(home)
    create_signing_key(home, ORIGIN, SEED)
    with pytest.raises(ConfigError) as refused:
        create_log(store, "build", ORIGIN, bytes(32), NOW)
    assert refused.value.reason == "key-exists"
    create_log(store, "build", ORIGIN, bytes(32), NOW, use_key=True)
    store.close()
    assert load_signing_key(home, ORIGIN).seed == SEED
    assert log_bodies(home, OLD).checkpoint.head.tree_size == 3


def test_a_log_that_signed_entries_is_not_created_again(home: Path) -> None:
    make_home(home)
    log_bodies(home, OLD)
    (home / "attestor.db").unlink()
    with pytest.raises(StoreError) as refused:
        create_store(home)
    assert refused.value.reason == "database-lost"


@pytest.mark.parametrize(
    ("name", "origin", "reason"),
    [
        ("build", "other.example", "log-exists"),
        ("other", ORIGIN, "log-exists"),
        ("a b", "other.example", "log-name"),
        ("", "other.example", "log-name"),
        ("other", "Other.example", "origin"),
        ("other", "other.example:443", "origin"),
        ("other", "https://other.example", "origin"),
        ("other", "other.example/log", "origin"),
        ("other", "rekor - 123", "origin"),
        ("other", "-.example", "origin"),
        ("other", "other..example", "origin"),
        ("other", "x" * 101, "origin"),
        ("other", "", "origin"),
    ],
)
def test_names_that_cannot_be_had(home: Path, name: str, origin: str, reason: str) -> None:
    make_home(home)
    with writing(home) as store, pytest.raises((ConfigError, ArgumentError)) as refused:
        create_log(store, name, origin, bytes(32), NOW)
    assert refused.value.reason == reason
    assert sorted(file.name for file in (home / "keys").iterdir()) == [
        f"{ORIGIN}.key",
        f"{ORIGIN}.last",
    ]


# Freezing a log.


def test_a_frozen_log_signs_the_published_vector_and_nothing_after_it(home: Path) -> None:
    vector = vectors()["private_log_first_entry"]
    seed = bytes.fromhex("6b99f145931665e2ff6e99805e1560bf077cb4ae5b5d933795cc15046dd4ba1c")
    make_home(home, origin=vector["origin"], seed=seed)
    log_bodies(home, [vector["canonical_body"].encode()])
    for _ in range(2):
        with writing(home) as store:
            private = require_private_log(store, None)
            frozen = freeze_log(store, private, 1767225600)
            assert Mirror(store, private.log).history.notes(1)[1:] == [frozen.note]
        assert frozen.note.decode() == vector["checkpoint_size_1_frozen"]
        assert frozen.checkpoint.frozen == "Thu Jan  1 00:00:00 UTC 2026"
    for bodies in ([b"one more"], [vector["canonical_body"].encode()]):
        with pytest.raises(RefusedError) as refused:
            log_bodies(home, bodies)
        assert refused.value.reason == "frozen"
    assert check_home(home) == (vector["canonical_body"].encode(),)


@pytest.mark.parametrize("n_entries", [0, 3])
def test_freezing_can_be_cut_anywhere_and_run_again(n_entries: int) -> None:
    with home_in_memory() as home:
        make_home(home)
        with injected(Faults()) as counted, writing(home) as store:
            freeze_log(store, require_private_log(store, None), NOW)
        total = len(counted.calls)
    for fail_at in range(1, total + 1):
        for after in (False, True):
            with home_in_memory() as home:
                make_home(home)
                log_bodies(home, OLD[:n_entries])
                with (
                    pytest.raises(PowerCutError),
                    injected(Faults(fail_at, after=after)),
                    writing(home) as store,
                ):
                    freeze_log(store, require_private_log(store, None), NOW)
                with writing(home) as store:
                    private = require_private_log(store, None)
                    frozen = freeze_log(store, private, NOW)
                    assert frozen.note in Mirror(store, private.log).history.notes(n_entries)
                assert check_home(home) == tuple(OLD[:n_entries])
