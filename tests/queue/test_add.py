"""queue add: what is right is stored whole, what is wrong is refused and nothing stored."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.rekor.request import parse_request, verify_request
from appliance.store.database import open_store
from appliance.store.queue.queue import find_item, held_count, require_item
from tests.cli.homes import NOW, Home
from tests.pki.bundles import Instance
from tests.queue.signed_files import (
    KEY,
    OTHER_KEY,
    envelope,
    pem,
    write_artifact,
    write_envelope,
)


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    return Home(tmp_path / "home", capsys)


def held(home: Home) -> int:
    store = open_store(home.path, write=False)
    try:
        return held_count(store)
    finally:
        store.close()


def test_an_artifact_is_queued_once_with_the_exact_request(home: Home, tmp_path: Path) -> None:
    options = write_artifact(tmp_path / "in", b"one")
    first = home.json("queue", "add", *options, "--priority", "5")
    assert (first["new"], first["state"], first["waitSeconds"]) == (True, "queued", 0)
    assert home.json("queue", "add", *options)["new"] is False
    assert held(home) == 1
    store = open_store(home.path, write=False)
    item = require_item(store, first["id"])
    store.close()
    assert item.id == sha256(b"system\n" + item.what.request).hexdigest()
    assert item.what.priority == 5
    request = parse_request(item.what.request)
    verify_request(request)
    assert request.digest == sha256(b"one").digest()


def test_two_inputs_at_once_are_wrong_usage(home: Home, tmp_path: Path) -> None:
    options = write_artifact(tmp_path / "in", b"one")
    for word in ("--dsse", "--certificate", "--signature"):
        both = ["--sigstore-bundle", "app.sigstore.json", word, tmp_path / "other"]
        error = home.json("queue", "add", *both, expect=2)
        assert error["message"] == "--sigstore-bundle goes with --artifact and --key only"
    home.json("queue", "add", *options, "--dsse", tmp_path / "other", expect=2)
    assert held(home) == 0


def test_an_envelope_goes_out_as_its_digest_alone(home: Home, tmp_path: Path) -> None:
    added = home.json("queue", "add", *write_envelope(tmp_path / "in", envelope(b"secret scan")))
    store = open_store(home.path, write=False)
    item = require_item(store, added["id"])
    store.close()
    assert b64encode(b"secret scan") not in item.what.request
    assert item.what.unfinished is not None
    bundle = json.loads(item.what.unfinished)
    assert bundle["verificationMaterial"]["tlogEntries"] == []
    assert bundle["dsseEnvelope"]["payload"] == b64encode(b"secret scan").decode()


def test_for_a_v1_log_the_envelope_itself_goes_out(home: Home, tmp_path: Path) -> None:
    options = write_envelope(tmp_path / "in", envelope(b"scan"))
    added = home.json("queue", "add", *options, "--api-version", "1")
    store = open_store(home.path, write=False)
    item = require_item(store, added["id"])
    store.close()
    content = json.loads(item.what.request)["spec"]["proposedContent"]
    assert json.loads(content["envelope"]) == envelope(b"scan") | {
        "signatures": json.loads(content["envelope"])["signatures"]
    }
    assert (item.what.kind, item.what.api_version) == ("dsse", 1)


def _broken(**changes: Any) -> Callable[[Path], list[str]]:
    return lambda directory: write_envelope(directory, envelope(b"scan") | changes)


def _cut(directory: Path) -> list[str]:
    options = write_envelope(directory, envelope(b"scan"))
    file = Path(options[1])
    file.write_bytes(file.read_bytes()[:-3])
    return options


def _two_signatures(directory: Path) -> list[str]:
    document = envelope(b"scan")
    return write_envelope(directory, document | {"signatures": document["signatures"] * 2})


def _bundle_with(digest: bytes) -> Callable[[Path], list[str]]:
    def make(directory: Path) -> list[str]:
        directory.mkdir()
        signature = KEY.sign(b"one", ec.ECDSA(hashes.SHA256()))
        document = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": "k"}, "tlogEntries": []},
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": b64encode(digest).decode()},
                "signature": b64encode(signature).decode(),
            },
        }
        (directory / "one.json").write_text(json.dumps(document))
        (directory / "key.pem").write_bytes(pem())
        return ["--sigstore-bundle", str(directory / "one.json"), "--key", f"{directory}/key.pem"]

    return make


REFUSED: dict[str, tuple[Callable[[Path], list[str]], list[str], int, str]] = {
    "not JSON": (_cut, [], 3, "malformed"),
    "no payload": (_broken(payload=None), [], 3, "malformed"),
    "two signatures": (_two_signatures, [], 3, "signature-count"),
    "payload over a mebibyte": (
        lambda d: write_envelope(d, envelope(bytes(1024 * 1024 + 1))),
        [],
        8,
        "payload-too-large",
    ),
    "envelope changed after signing": (
        _broken(payload=b64encode(b"scam").decode()),
        [],
        3,
        "bad-signature",
    ),
    "envelope of another key": (
        lambda d: write_envelope(d, envelope(b"scan", OTHER_KEY)),
        [],
        3,
        "bad-signature",
    ),
    "signature of another key": (
        lambda d: write_artifact(d, b"one", OTHER_KEY),
        [],
        3,
        "bad-signature",
    ),
    "digest of the wrong length": (_bundle_with(bytes(20)), [], 3, "malformed"),
    "digest of something else": (_bundle_with(bytes(32)), [], 3, "bad-signature"),
    "unknown tenant": (
        lambda d: write_artifact(d, b"one"),
        ["--tenant", "nobody"],
        5,
        "unknown-tenant",
    ),
    "negative priority": (lambda d: write_artifact(d, b"one"), ["--priority", "-1"], 2, "usage"),
    "edge where edges are off": (
        lambda d: write_artifact(d, b"one"),
        ["--tier", "edge", "--escalate"],
        8,
        "edges-disabled",
    ),
    "a trigger without its tier": (
        lambda d: write_artifact(d, b"one"),
        ["--cvss", "9.9", "--reachable"],
        2,
        "usage",
    ),
    "a stamp that is none": (
        lambda d: [*write_artifact(d, b"one"), "--timestamp", str(d / "key.pem")],
        [],
        3,
        "bad-stamp-form",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_and_nothing_stored(home: Home, tmp_path: Path, case: str) -> None:
    make, options, code, reason = REFUSED[case]
    error = home.json("queue", "add", *make(tmp_path / "in"), *options, expect=code)
    assert error["reason"] == reason
    assert error["next"] or code == 3
    assert held(home) == 0


def test_a_sigstore_bundle_without_its_entry_is_queued(home: Home, tmp_path: Path) -> None:
    options = _bundle_with(sha256(b"one").digest())(tmp_path / "in")
    assert home.json("queue", "add", *options)["new"] is True


def _keyless(instance: Instance, file: Path, *, stamped: bool) -> dict[str, object]:
    document = instance.bundle(instance.sign_artifact(), None, stamps=None if stamped else [])
    file.write_text(json.dumps(document))
    return document


def test_a_stamp_travels_and_short_lived_certificates_are_warned_about(
    home: Home, tmp_path: Path
) -> None:
    instance, file = Instance(), tmp_path / "keyless.json"
    document = _keyless(instance, file, stamped=True)
    code, _, err = home.run("queue", "add", "--sigstore-bundle", file)
    assert (code, err) == (0, "")
    [listed] = home.json("queue", "list")["items"]
    assert listed["timestamped"] is True
    store = open_store(home.path, write=False)
    unfinished = require_item(store, listed["id"]).what.unfinished
    store.close()
    assert unfinished is not None
    carried = json.loads(unfinished)["verificationMaterial"]["timestampVerificationData"]
    material = document["verificationMaterial"]
    assert isinstance(material, dict)
    assert carried == material["timestampVerificationData"]

    _keyless(instance, file, stamped=False)
    code, _, err = home.run("queue", "add", "--sigstore-bundle", file)
    assert (code, "give the RFC 3161 stamp" in err) == (0, True)
    code, _, err = home.run("queue", "add", "--sigstore-bundle", file, "--api-version", "1")
    assert (code, "a Rekor v1 log's own time has to be before that" in err) == (0, True)


def test_a_stamp_over_something_else_is_refused(home: Home, tmp_path: Path) -> None:
    instance, file, stamp = Instance(), tmp_path / "keyless.json", tmp_path / "stamp.tsr"
    _keyless(instance, file, stamped=False)
    stamp.write_bytes(instance.timestamp_authority.stamp(b"another signature"))
    command: list[str | Path] = ["queue", "add", "--sigstore-bundle", file, "--timestamp", stamp]
    assert home.json(*command, expect=3)["reason"] == "stamp-of-something-else"
    assert held(home) == 0


def test_an_edge_bundle_needs_one_of_its_triggers(home: Home, tmp_path: Path) -> None:
    home.json("config", "set", "rekor.tier", "with-edges")
    options = [*write_artifact(tmp_path / "in", b"one"), "--tier", "edge"]
    for missing in ([], ["--cvss", "9.8"], ["--cvss", "8.9", "--reachable"]):
        error = home.json("queue", "add", *options, *missing, expect=8)
        assert error["reason"] == "no-trigger"
    assert held(home) == 0
    added = home.json("queue", "add", *options, "--cvss", "9.8", "--reachable")
    shown = home.json("queue", "show", added["id"])
    assert (shown["tier"], shown["trigger"]) == ("edge", "cvss")


def test_a_full_queue_says_so_and_stores_nothing(home: Home, tmp_path: Path) -> None:
    home.json("config", "set", "rekor.offline.maxQueueSize", "2")
    two = write_artifact(tmp_path / "in", b"two")
    for options in (write_artifact(tmp_path / "in", b"one"), two):
        home.json("queue", "add", *options)
    error = home.json("queue", "add", *write_artifact(tmp_path / "in", b"three"), expect=8)
    assert error["reason"] == "queue-full"
    assert held(home) == 2
    # What is there already is found even then.
    assert home.json("queue", "add", *two)["new"] is False


def test_over_budget_the_caller_is_told_when(home: Home, tmp_path: Path) -> None:
    home.json("config", "set", "rekor.budget.hourlyLimit", "1")
    home.json("queue", "add", *write_artifact(tmp_path / "in", b"one"))
    code, out, err = home.run("queue", "add", *write_artifact(tmp_path / "in", b"two"))
    assert code == 0
    assert "queued for system" in out
    assert "its slot comes at 2025-10-09T09:53:21Z, in 3601 s" in err
    error = home.json("budget", "check", "--count", "1", expect=8)
    assert error["reason"] == "over-budget"
    assert home.json("budget", "check", "--tier", "edge", "--count", "50")["free"] == 50


def test_queue_add_works_while_another_run_holds_the_lock(home: Home, tmp_path: Path) -> None:
    options = write_artifact(tmp_path / "in", b"one")
    with home.app.locked():
        assert home.json("queue", "add", *options)["new"] is True


def test_list_cancel_and_retry(home: Home, tmp_path: Path) -> None:
    added = home.json("queue", "add", *write_artifact(tmp_path / "in", b"one"))
    short = added["id"][:8]
    home.json("queue", "cancel", short, "--dry-run")
    assert [one["state"] for one in home.json("queue", "list")["items"]] == ["queued"]
    home.json("queue", "cancel", short)
    assert home.json("queue", "list")["items"] == []
    assert home.json("queue", "cancel", short, expect=8)["reason"] == "wrong-state"
    home.json("queue", "retry", short)
    assert home.json("queue", "show", short)["state"] == "queued"
    assert home.json("queue", "show", "ffffff", expect=5)["reason"] == "unknown-item"


def test_tenants(home: Home, tmp_path: Path) -> None:
    assert home.json("tenant", "add", "team-a")["new"] is True
    options = [*write_artifact(tmp_path / "in", b"one"), "--tenant", "team-a"]
    home.json("tenant", "disable", "team-a")
    assert home.json("queue", "add", *options, expect=8)["reason"] == "tenant-disabled"
    home.json("tenant", "enable", "team-a")
    home.json("queue", "add", *options)
    assert home.json("tenant", "remove", "team-a", expect=8)["reason"] == "tenant-in-use"
    home.json("tenant", "add", "team-b")
    home.json("tenant", "remove", "team-b")
    assert [one["name"] for one in home.json("tenants", "list")["tenants"]] == ["system", "team-a"]
    assert home.json("tenant", "add", "Team A", expect=2)["reason"] == "usage"


def test_the_documented_views(home: Home, tmp_path: Path) -> None:
    added = home.json("queue", "add", *write_artifact(tmp_path / "in", b"one"))
    store = open_store(home.path, write=False)
    [row] = store.rows("SELECT * FROM rekor_offline_queue")
    assert row.keys() == ["id", "tenant_id", "tier", "payload", "created_at", "priority"]
    found = find_item(store, added["id"])
    assert found is not None
    assert (row["id"], row["payload"]) == (added["id"], found.what.request)
    [quota] = store.rows("SELECT * FROM rekor_quotas")
    assert quota.keys() == [
        *("tenant_id", "hourly_count", "daily_bundle_count"),
        *("last_reset_hour", "last_reset_day"),
    ]
    [shown] = store.rows("SELECT * FROM v_queue")
    assert (shown["state"], shown["created_at"]) == ("queued", "2025-10-09T08:53:20Z")
    store.close()
    assert NOW == 1_760_000_000
