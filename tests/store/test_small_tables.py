"""Settings, trusted roots, transfers, times: rows that come back as they went in."""

from __future__ import annotations

import pytest

from appliance.errors import ConfigError, StoreError
from appliance.store.database import Store
from appliance.store.home.journal import journal_lines
from appliance.store.home.settings import (
    SITE_NAME,
    put_site_fact,
    read_settings,
    replace_settings,
    require_site_name,
    site_fact,
)
from appliance.store.mirror.logs import add_log
from appliance.store.mirror.sync_times import last_answer, last_sync, record_sync
from appliance.store.transfer.transfers import (
    EXPORTER,
    RECEIPT,
    Transfer,
    TransferredLog,
    add_exporter,
    exporter_keys,
    exports_of,
    record_transfer,
    remove_exporter,
    was_imported,
)
from appliance.store.verify.trust import StoredRoot, current_root, put_root
from appliance.tlog.note import SigningKey


def transfer(number: int, direction: str, at: int, size: int) -> Transfer:
    log = TransferredLog("log.example", None, size, None, size)
    digest = bytes([number]) * 32
    return Transfer(digest.hex(), direction, at, "site", "f.tar", digest, False, (log,))


def test_settings_are_replaced_whole_and_leave_the_site_alone(store: Store) -> None:
    values = {"a.b": 5, "c": [1, {"x": None}], "d": "text", "e": True}
    with store.atomic():
        put_site_fact(store, SITE_NAME, "outside.example")
        replace_settings(store, values)
    assert read_settings(store) == values
    with store.atomic():
        replace_settings(store, {"a.b": 6})
    assert read_settings(store) == {"a.b": 6}
    assert require_site_name(store) == "outside.example"


def test_a_site_without_a_name_is_told_how_to_get_one(store: Store) -> None:
    assert site_fact(store, SITE_NAME) is None
    with pytest.raises(ConfigError) as caught:
        require_site_name(store)
    assert caught.value.reason == "no-site"


def test_a_setting_that_is_no_json_is_damage(store: Store) -> None:
    with store.atomic():
        store.execute("INSERT INTO setting VALUES ('a', '{'), ('site.name', '{')")
    for read in (lambda: read_settings(store), lambda: site_fact(store, SITE_NAME)):
        with pytest.raises(StoreError) as caught:
            read()
        assert caught.value.reason == "corrupt"


def test_the_root_imported_last_counts_and_none_is_forgotten(store: Store) -> None:
    assert current_root(store) is None
    roots = [StoredRoot(name.encode(), f"{name}.json", 100) for name in "abc"]
    for root in (*roots, roots[0]):
        put_root(store, root)
    assert current_root(store) == roots[0]
    assert len(store.rows("SELECT * FROM trusted_root")) == 3


def test_transfers_are_recorded_once(store: Store) -> None:
    assert record_transfer(store, transfer(1, "import", 10, 5))
    assert not record_transfer(store, transfer(1, "import", 10, 5))
    assert was_imported(store, transfer(1, "import", 10, 5).bundle_id)
    assert not was_imported(store, transfer(2, "import", 10, 5).bundle_id)
    for number, at, size in ((3, 20, 7), (4, 30, 7), (5, 30, 9)):
        record_transfer(store, transfer(number, "export", at, size))
    assert [one.head_size for one in exports_of(store, "log.example")] == [9, 7, 7]
    assert exports_of(store, "other.example") == []
    events = [line.event for line in journal_lines(store)]
    assert events == ["transfer.imported", *["transfer.exported"] * 3]
    assert not was_imported(store, transfer(3, "export", 20, 7).bundle_id)


def test_exporters_have_roles(store: Store) -> None:
    key = SigningKey("outside.example", bytes(range(32))).verifier
    for _ in range(2):
        add_exporter(store, key, [EXPORTER, RECEIPT], 5)
    assert exporter_keys(store) == exporter_keys(store, RECEIPT) == (key,)
    assert remove_exporter(store, key, 6)
    assert not remove_exporter(store, key, 6)
    assert exporter_keys(store) == ()


def test_a_sync_that_comes_with_an_older_time_changes_nothing(store: Store) -> None:
    with store.atomic():
        log = add_log(store, "log.example", 2, SigningKey("log.example", bytes(32)).verifier.spki)
    assert last_sync(store, log) is None
    with store.atomic():
        record_sync(store, log, 50, 45)
        record_sync(store, log, 40, 40)
    assert (last_sync(store, log), last_answer(store, log)) == (50, 45)
