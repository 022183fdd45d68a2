"""Discovering logs: which they are, what is added, retired, and left to the operator."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.errors import ConfigError, MalformedError
from appliance.jobs.mirror.discover import Discovery, Named, discover
from appliance.rekor.client_files import log_instance, trusted_root
from appliance.sigstore.monitor_config import ReadLog, parse_monitor_config
from appliance.sigstore.signing_config import LogService
from appliance.sigstore.trusted_root import parse_trusted_root
from appliance.sigstore.validity import ALWAYS, parse_time
from appliance.store.database import Store, create_store
from appliance.store.mirror.logs import (
    add_log,
    all_backends,
    key_windows,
    put_backend,
    require_backend,
    require_log,
    set_backend_enabled,
)
from appliance.tlog.note_keys import VerifierKey, ed25519_key
from tests.cli.homes import Home
from tests.pki.authorities import new_key, spki
from tests.shared import shared

NOW = 1_760_000_000  # 2025-10-09
START = "2025-01-01T00:00:00Z"
ENDED = "2025-09-01T00:00:00Z"
KEY = ed25519_key("log.example", bytes(range(32)))
OTHER = ed25519_key("log.example", bytes(range(1, 33)))
ONE_WRITE_URL = (LogService("https://log.example/", 2, ALWAYS),)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = create_store(tmp_path / "home")
    yield opened
    opened.close()


def instance(key: VerifierKey, start: str = START, end: str = "", **changes: Any) -> dict[str, Any]:
    made = log_instance(key, start)
    if end:
        made["publicKey"]["validFor"]["end"] = end
    return made | changes


def ecdsa_instance(base_url: str) -> tuple[dict[str, Any], bytes]:
    """A log whose key id is the same for Rekor v1 and v2."""
    key = new_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    raw = spki(key)
    made = log_instance(KEY, START)
    made["baseUrl"] = base_url
    made["publicKey"] |= {
        "rawBytes": b64encode(raw).decode(),
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
    }
    made["logId"]["keyId"] = b64encode(sha256(raw).digest()).decode()
    return made, raw


def run(
    store: Store,
    *instances: dict[str, Any],
    services: tuple[LogService, ...] = (),
    read_logs: tuple[ReadLog, ...] = (),
    dry_run: bool = False,
) -> Discovery:
    document = json.loads(trusted_root(KEY, START)) | {"tlogs": list(instances)}
    root = parse_trusted_root(json.dumps(document).encode())
    return discover(store, Named(root.logs, services, read_logs), NOW, dry_run=dry_run)


def seconds(text: str) -> int:
    return int(parse_time(text, "").timestamp())


def test_a_v2_log_is_added_with_its_key_window_and_url(store: Store) -> None:
    (found,) = run(store, instance(KEY)).logs
    assert (found.action, found.enabled, found.notes) == ("added", True, ())
    backend = require_backend(store, "log.example")
    assert (backend.base_url, backend.read_url) == ("https://log.example", None)
    assert (backend.log.origin, backend.log.api_version, backend.log.keys) == (KEY.name, 2, (KEY,))
    assert key_windows(store, backend.log) == {KEY.spki: (seconds(START), None)}
    (again,) = run(store, instance(KEY)).logs
    assert again.action == "unchanged"


def test_a_dry_run_says_the_same_and_changes_nothing(store: Store) -> None:
    before = list(store.connection.iterdump())
    would = run(store, instance(KEY), dry_run=True)
    assert list(store.connection.iterdump()) == before
    assert run(store, instance(KEY)) == would


def test_a_log_that_ended_is_added_disabled_and_a_known_one_retired(store: Store) -> None:
    (found,) = run(store, instance(KEY, end=ENDED)).logs
    assert (found.action, found.enabled) == ("added", False)
    assert found.notes[0] == f"its window ended {ENDED}"
    set_backend_enabled(store, "log.example", enabled=True)
    (found,) = run(store, instance(KEY, end=ENDED)).logs
    assert (found.action, found.enabled) == ("unchanged", True)


def test_all_backends_of_an_ended_log_stay_enabled_until_all_of_it_is_here(store: Store) -> None:
    log = add_log(store, KEY.name, 2, KEY.spki)
    put_backend(store, "main", log, base_url="https://other.example", read_url=None)
    put_backend(store, "copy", log, base_url=None, read_url="https://m.example", mirror_of="main")
    (found,) = run(store, instance(KEY, end=ENDED)).logs
    assert (found.backends, found.action, found.enabled) == (("copy", "main"), "retired", True)
    assert "until all of it is here" in found.notes[-1]


def test_what_the_operator_set_up_is_left_alone(store: Store) -> None:
    log = add_log(store, KEY.name, 2, KEY.spki)
    put_backend(store, "mine", log, base_url=None, read_url="https://proxy/", enabled=False)
    (found,) = run(store, instance(KEY)).logs
    assert (found.backends, found.action, found.enabled) == (("mine",), "changed", False)
    assert require_backend(store, "mine").read_url == "https://proxy/"
    assert key_windows(store, log) == {KEY.spki: (seconds(START), None)}


def test_a_rotated_key_is_added_and_the_log_goes_on(store: Store) -> None:
    run(store, instance(KEY))
    (found,) = run(store, instance(KEY, end=ENDED), instance(OTHER, start=ENDED)).logs
    assert (found.action, found.enabled) == ("changed", True)
    assert found.notes == ("one more key may sign for it",)
    log = require_log(store, KEY.name)
    assert {key.spki for key in log.keys} == {KEY.spki, OTHER.spki}
    assert key_windows(store, log) == {
        KEY.spki: (seconds(START), seconds(ENDED)),
        OTHER.spki: (seconds(ENDED), None),
    }


def test_one_key_listed_twice_has_the_window_around_both(store: Store) -> None:
    later = "2025-11-01T00:00:00Z"
    (found,) = run(store, instance(KEY, end=ENDED), instance(KEY, ENDED, later)).logs
    assert found.enabled
    windows = key_windows(store, require_log(store, KEY.name))
    assert windows == {KEY.spki: (seconds(START), seconds(later))}


def test_a_v1_log_is_followed_by_its_host(store: Store) -> None:
    made, raw = ecdsa_instance("https://rekor.example")
    (found,) = run(store, made).logs
    assert (found.origin, found.api_version, found.enabled) == ("rekor.example", 1, True)
    assert [one.follows for one in all_backends(store)] == ["rekor.example"]
    assert [key.spki for key in require_log(store, "rekor.example").keys] == [raw]


def test_a_v1_log_is_known_by_each_of_its_trees(store: Store) -> None:
    made, raw = ecdsa_instance("https://rekor.example")
    for tree in ("1", "2"):
        log = add_log(store, f"rekor.example - {tree}", 1, raw)
        put_backend(store, f"tree{tree}", log, base_url=None, read_url=None)
    found = run(store, made).logs
    assert [(one.origin, one.backends) for one in found] == [
        ("rekor.example - 1", ("tree1",)),
        ("rekor.example - 2", ("tree2",)),
    ]


def test_the_signing_config_tells_a_v2_log_with_an_ecdsa_key(store: Store) -> None:
    made, _ = ecdsa_instance("log.example")  # a root may leave the scheme out
    (found,) = run(store, made, services=ONE_WRITE_URL).logs
    assert (found.origin, found.api_version, found.enabled) == ("log.example", 2, True)
    assert require_backend(store, "log.example").base_url == "https://log.example"


def test_the_one_log_is_at_the_url_of_the_signing_config(store: Store) -> None:
    """A private log's trusted root has no other place for it than its origin."""
    services = (LogService("http://127.0.0.1:3000/", 2, ALWAYS),)
    found = run(store, instance(KEY), services=services)
    assert found.warnings == ()
    assert require_backend(store, "log.example").base_url == "http://127.0.0.1:3000"


def test_a_write_url_that_is_no_log_of_the_root_is_named(store: Store) -> None:
    services = (*ONE_WRITE_URL, LogService("https://global.example", 2, ALWAYS))
    (warning,) = run(store, instance(KEY), services=services).warnings
    assert "https://global.example" in warning
    assert [one.name for one in all_backends(store)] == ["log.example"]


WRONG: dict[str, dict[str, Any]] = {
    "is not that of its key": instance(KEY, logId={"keyId": b64encode(b"\0" * 32).decode()}),
    "nothing here can verify": instance(
        KEY, publicKey=log_instance(KEY, START)["publicKey"] | {"keyDetails": "ML_DSA_65"}
    ),
    "expected a URL": instance(KEY, baseUrl="ftp://log.example"),
    "its log id": instance(KEY, baseUrl=""),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_log_nobody_could_mirror_does_not_keep_the_others_out(store: Store, what: str) -> None:
    good = ed25519_key("good.example", bytes(range(2, 34)))
    found = run(store, WRONG[what], instance(good))
    assert [one.origin for one in found.logs] == ["good.example"]
    (warning,) = found.warnings
    assert "is not added" in warning and what in warning


def test_a_name_that_is_taken_stops_it_all(store: Store) -> None:
    log = add_log(store, "mine.example", 2, OTHER.spki)
    put_backend(store, "log.example", log, base_url=None, read_url=None)
    good = ed25519_key("good.example", bytes(range(2, 34)))
    with pytest.raises(ConfigError, match=r"'log\.example' is for mine\.example"):
        run(store, instance(good), instance(KEY))
    assert [one.name for one in all_backends(store)] == ["log.example"]


def test_a_log_with_a_path_gets_a_name_without_slashes(store: Store) -> None:
    key = ed25519_key("host.example/a/log", bytes(range(32)))
    (found,) = run(store, instance(key)).logs
    assert (found.origin, found.backends) == ("host.example/a/log", ("host.example-a-log",))


def test_the_staging_instance_is_understood_whole(store: Store) -> None:
    name = "sigstore-python/sigstore/_store/https%3A%2F%2Ftuf-repo-cdn.sigstage.dev"
    root = parse_trusted_root(shared(f"corpus/{name}/trusted_root.json").read_bytes())
    found = discover(store, Named(root.logs), NOW)
    assert [(one.origin, one.api_version, one.enabled) for one in found.logs] == [
        ("rekor.sigstage.dev", 1, True),
        ("log2025-alpha1.rekor.sigstage.dev", 2, False),
        ("log2025-alpha2.rekor.sigstage.dev", 2, False),
        ("log2025-alpha3.rekor.sigstage.dev", 2, True),
    ]
    assert found.warnings == ()


def test_a_monitor_config_says_where_a_log_is_read(store: Store) -> None:
    found = run(store, instance(KEY), read_logs=(ReadLog(KEY.name, 2, "https://read.example/"),))
    assert (found.logs[0].action, found.warnings) == ("added", ())
    backend = require_backend(store, KEY.name)
    assert (backend.base_url, backend.read_url) == (
        "https://log.example",
        "https://read.example/api/v2",
    )


def test_what_discovery_made_learns_where_it_is_read_and_what_was_set_up_does_not(
    store: Store,
) -> None:
    read_logs = (ReadLog(KEY.name, 2, "read.example"), ReadLog(KEY.name, 2, "https://late.example"))
    run(store, instance(KEY))
    (found,) = run(store, instance(KEY), read_logs=read_logs).logs
    assert (found.action, found.notes) == (
        "changed",
        ("it is read at https://read.example/api/v2",),
    )
    (found,) = run(store, instance(KEY), read_logs=read_logs[1:]).logs
    assert found.action == "unchanged"
    assert require_backend(store, KEY.name).read_url == "https://read.example/api/v2"


def test_a_monitor_config_adds_no_log_that_the_root_does_not_name(store: Store) -> None:
    read_logs = (
        ReadLog("other.example", 2, "https://r.example"),
        ReadLog(KEY.name, 1, "https://r"),
    )
    found = run(store, instance(KEY), read_logs=read_logs)
    assert len(found.warnings) == 2 and "other.example" in found.warnings[0]
    assert require_backend(store, KEY.name).read_url is None


def test_a_monitor_config_as_it_is_spelled() -> None:
    raw = json.dumps(
        {
            "rekor_logs": [
                {"read_url": "https://a.example", "log_origin": "a", "major_api_version": 2}
            ],
            "ctLogs": [{"readUrl": "https://ct.example", "logOrigin": "ct"}],
        }
    ).encode()
    assert parse_monitor_config(raw) == (ReadLog("a", 2, "https://a.example"),)
    for wrong in (b"{}", b"[]", b'{"rekorLogs": [{"readUrl": "https://a"}]}', b'{"rekorLogs": 1}'):
        with pytest.raises(MalformedError):
            parse_monitor_config(wrong)


def test_discover_takes_files_of_one_root_a_line_and_monitor_configs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home", capsys)
    other = ed25519_key("second.example", bytes(range(2, 34)))
    roots = tmp_path / "trusted_root.jsonl"
    lines = [json.dumps(json.loads(trusted_root(key, START))) for key in (KEY, other)]
    roots.write_text("\n".join(lines) + "\n")
    config = tmp_path / "monitor.json"
    read = {"readUrl": "https://read.example", "logOrigin": other.name, "majorApiVersion": 2}
    config.write_text(json.dumps({"rekorLogs": [read]}))
    found = home.json("backend", "discover", "--trusted-root", roots, "--monitor-config", config)
    assert [one["origin"] for one in found["logs"]] == [KEY.name, other.name]
    shown = home.json("backend", "show", other.name)
    assert shown["readUrl"] == "https://read.example/api/v2"
    assert home.json("inspect", config)["kind"] == "a Sigstore monitor config"
