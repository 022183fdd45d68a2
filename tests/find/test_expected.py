"""expected: what was to be signed is told from what was not, and from what is not known."""

from __future__ import annotations

import contextlib
import json
import random
from base64 import b64decode, b64encode
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from appliance.jobs.find import ledger
from appliance.jobs.find.expected import findings_of, judge_ledger
from appliance.jobs.find.search import Hit, read_again
from appliance.jobs.find.vouching import Voucher
from appliance.policy.expected import Standing, condition
from appliance.store.database import open_store
from appliance.store.divergence.alerts import alerts
from appliance.store.find.expectations import count_open
from appliance.store.find.index import create_index
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tile_cache import forget
from appliance.times import utc
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.tile import EntryBundle
from appliance.value import replaced
from tests.cli.homes import NOW
from tests.cli.mirrored import MirroredHome
from tests.find.logged import instance, key_leaf, leaf, signed_by_two
from tests.pki.authorities import IDENTITY, ISSUER, LeafPlan, new_key, spki
from tests.pki.bundles import ARTIFACT, Instance, hashedrekord_v2

WHO = "release@example.com"
BY = ("--identity-exact", WHO, "--issuer", ISSUER)
DAY = 86_400


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    made = MirroredHome(tmp_path / "home", capsys, "connected")
    root = tmp_path / "root.json"
    root.write_text(json.dumps(instance().root()))
    made.json("trust", "import", root)
    return made


def at(home: MirroredHome, seconds: int) -> None:
    """Let it be another time."""
    home.app = replaced(home.app, now=lambda: seconds)


def logged(home: MirroredHome, *bodies: bytes, now: int = NOW) -> None:
    """Let the log hold more, and the index with it."""
    home.log.grow(bodies)
    home.sync(0, now)
    home.json("index", "build")


def hex_of(artifact: bytes) -> str:
    return sha256(artifact).hexdigest()


def check(home: MirroredHome, expect: int = 0) -> Any:
    return home.json("expected", "check", expect=expect)


def standings(home: MirroredHome) -> dict[int, str]:
    rows = home.json("expected", "list")["expectations"]
    return {row["id"]: row["standing"] for row in rows}


def lasting(home: MirroredHome) -> list[tuple[str, str]]:
    return [
        (one["eventType"], one["severity"])
        for one in home.json("alerts", "list")["alerts"]
        if one["endedAt"] is None and one["eventType"].startswith("rekor.expected")
    ]


def test_what_was_expected_before_and_after_it_is_logged_is_used(home: MirroredHome) -> None:
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY)
    assert standings(home) == {1: "open"}
    logged(home, key_leaf(b"other"), leaf(WHO, b"app"), leaf(WHO, b"late"))
    check(home)
    home.json("expected", "add", "--digest", hex_of(b"late"), *BY)
    check(home)
    assert standings(home) == {1: "used", 2: "used"}
    [entry] = home.json("expected", "show", "1")["entries"]
    assert (entry["origin"], entry["index"]) == (home.log.origin, 1)
    assert lasting(home) == []


def test_the_same_again_changes_nothing_and_what_was_cancelled_can_be_asked_for_anew(
    home: MirroredHome,
) -> None:
    wanted = ("expected", "add", "--digest", hex_of(b"app"), *BY, "--note")
    assert home.json(*wanted, "first")["expectations"][0]["new"]
    again = home.json(*wanted, "second")["expectations"][0]
    assert (again["new"], again["id"], again["note"]) == (False, 1, "first")
    assert home.json("expected", "cancel", "1", "--reason", "withdrawn")["cancelledAt"]
    assert (
        home.json("expected", "cancel", "1", "--reason", "x", expect=8)["reason"] == "wrong-state"
    )
    assert home.json(*wanted, "third")["expectations"][0]["id"] == 2
    assert standings(home) == {1: "cancelled", 2: "open"}
    assert home.json("expected", "show", "9", expect=5)["reason"] == "unknown-expectation"
    events = [one["event"] for one in home.json("journal", "list")["lines"]]
    assert [one for one in events if one.startswith("expected")] == [
        *("expected.added", "expected.cancelled", "expected.added"),
    ]


def forged(identity: str, artifact: bytes) -> bytes:
    """An entry by somebody else's authority, with our name in the certificate."""
    from cryptography import x509

    plan = LeafPlan((x509.RFC822Name(identity),))
    signed = Instance().sign_artifact(None, plan, artifact=artifact)
    return json.dumps(hashedrekord_v2(signed, sha256(artifact).digest())).encode()


def test_a_name_that_nobody_vouched_for_meets_no_expectation(home: MirroredHome) -> None:
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY)
    logged(home, forged(WHO, b"app"))
    check(home)
    assert standings(home) == {1: "open"}
    logged(home, leaf(WHO, b"app"))
    check(home)
    [entry] = home.json("expected", "show", "1")["entries"]
    assert entry["index"] == 1 and standings(home) == {1: "used"}


def test_another_signer_who_is_vouched_for_meets_no_expectation(home: MirroredHome) -> None:
    payload = sha256(b"payload").digest()
    home.json("expected", "add", "--digest", payload.hex(), *BY)
    logged(home, signed_by_two(payload, WHO))
    check(home)
    assert standings(home) == {1: "open"}


def test_an_identity_counts_only_with_its_issuer(home: MirroredHome) -> None:
    other = ("--identity-exact", WHO, "--issuer", "https://another.example")
    home.json("expected", "add", "--digest", hex_of(b"app"), *other)
    logged(home, leaf(WHO, b"app"))
    check(home)
    assert standings(home) == {1: "open"}
    for words in (("--identity-exact", WHO), ("--issuer", ISSUER), ()):
        assert home.run("expected", "add", "--digest", hex_of(b"app"), *words)[0] == 2


def test_another_signer_or_another_artifact_meets_no_expectation(home: MirroredHome) -> None:
    key = new_key()
    mine = sha256(spki(key)).hexdigest().upper()
    home.json("expected", "add", "--digest", hex_of(b"app"), "--fingerprint", mine)
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY)
    logged(home, leaf("other@example.com", b"app"), leaf(WHO, b"another"), key_leaf(b"app"))
    check(home)
    assert standings(home) == {1: "open", 2: "open"}
    logged(home, key_leaf(b"app", key))
    check(home)
    assert standings(home) == {1: "used", 2: "open"}


def test_more_than_was_expected_is_a_duplicate_until_it_is_explained(home: MirroredHome) -> None:
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY)
    logged(home, leaf(WHO, b"app"))
    check(home)
    logged(home, leaf(WHO, b"app"))
    error = check(home, expect=3)
    assert error["reason"] == "expected-duplicate" and "2 entries, expected 1" in error["message"]
    assert standings(home) == {1: "duplicate"}
    assert lasting(home) == [("rekor.expected.duplicate", "warning")]
    [alert] = home.json("alerts", "list")["alerts"]
    said = alert["payload"]
    assert [one["index"] for one in said["entries"]] == [0, 1]
    assert said["entries"][0]["identity"] == WHO and said["entries"][0]["vouched"] is True
    check(home, expect=3)
    assert home.json("alerts", "list")["alerts"][0]["count"] == 1  # told once
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY, "--count", "2")
    check(home)  # the second entry has a row of its own now
    assert lasting(home) == [] and standings(home) == {1: "used", 2: "used"}


def test_a_hit_and_an_alert_name_the_row_that_expected_the_entry(home: MirroredHome) -> None:
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY)
    logged(home, leaf(WHO, b"app"), leaf(WHO, b"other"))
    check(home)
    hits = home.json("entries", "search", "--identity-exact", WHO)["hits"]
    assert [one["expectation"] for one in hits] == [1, None]
    _, text, _ = home.run("entries", "search", "--digest", hex_of(b"app"))
    assert "expected by row 1 of the ledger" in text
    shown = home.json("entries", "show", "--origin", home.log.origin, "--index", "0")
    assert shown["expectation"] == 1
    home.json("watch", "add", "us", "--identity-exact", WHO)
    [alert] = home.json("alerts", "list")["alerts"]
    assert [one["expectation"] for one in alert["payload"]["entries"]] == [1, None]
    home.json("expected", "cancel", "1", "--reason", "of a test")
    hits = home.json("entries", "search", "--identity-exact", WHO)["hits"]
    assert [one["expectation"] for one in hits] == [None, None]


def damage(home: MirroredHome, bundle: EntryBundle) -> None:
    """Write something else where an entry bundle is stored."""
    with home.mirror() as mirror:
        found = mirror.entry_bundle_blob(bundle)
        assert found is not None
        file = mirror.store.blobs.file(found[0])
        assert file is not None
        file.path.chmod(0o600)
        file.path.write_bytes(b"junk")


@pytest.mark.parametrize("how", ["pruned", "damaged", "quarantined"])
def test_an_entry_that_cannot_be_read_again_is_told_by_what_the_ledger_kept(
    home: MirroredHome, how: str
) -> None:
    home.json("config", "set", "divergenceDetection.enabled", "false")
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY)
    logged(home, leaf(WHO, b"app"), leaf(WHO, b"app"))
    check(home, expect=3)
    assert lasting(home) == []
    if how == "damaged":
        damage(home, EntryBundle(0, 2))
    with home.mirror() as mirror:
        if how == "pruned":
            forget(mirror, [EntryBundle(0, 2)])
        elif how == "quarantined":
            mirror.store.execute("PRAGMA foreign_keys = OFF")
            with mirror.store.atomic():
                mirror.store.execute(
                    "INSERT INTO quarantine (log_id, last_common_size, alert_number, since)"
                    " SELECT id, 0, 1, 0 FROM log"
                )
    home.json("config", "set", "divergenceDetection.enabled", "true")
    check(home, expect=3)
    assert lasting(home) == [("rekor.expected.duplicate", "warning")]
    entries = home.json("alerts", "list")["alerts"][0]["payload"]["entries"]
    assert [one["index"] for one in entries] == [0, 1]
    first = entries[0]
    assert first["origin"] == home.log.origin and len(first["leafHash"]) == 64
    assert first["kind"] is first["identity"] is first["vouched"] is None


def test_a_damaged_entry_keeps_no_other_from_being_compared_and_told(home: MirroredHome) -> None:
    until = utc(NOW + DAY)
    for artifact in (b"damaged", b"good"):
        home.json("expected", "add", "--digest", hex_of(artifact), *BY, "--until", until)
    good, others = leaf(WHO, b"good"), (key_leaf(b"other"),) * 255
    logged(home, leaf(WHO, b"damaged"), *others, good, good, now=NOW + 2 * DAY)
    damage(home, EntryBundle(0, 256))
    at(home, NOW + 2 * DAY)
    assert check(home, expect=6)["reason"] == "corrupt"
    assert lasting(home) == [("rekor.expected.duplicate", "warning")]  # and nothing as missing


def test_missing_is_said_only_after_everything_was_looked_at(home: MirroredHome) -> None:
    logged(home, key_leaf(b"first"))
    until = utc(NOW + DAY)
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY, "--until", until)
    check(home)
    at(home, NOW + 2 * DAY)
    error = check(home, expect=5)
    assert (
        error["reason"] == "cannot-tell"
        and f"nothing was heard of it after {until}" in (error["message"])
    )
    assert standings(home) == {1: "cannot-tell"} and lasting(home) == []
    logged(home, key_leaf(b"second"), now=NOW + 2 * DAY)
    assert check(home, expect=3)["reason"] == "expected-missing"
    assert standings(home) == {1: "missing"}
    assert lasting(home) == [("rekor.expected.missing", "warning")]
    at(home, NOW + 3 * DAY)
    logged(home, leaf(WHO, b"app"), now=NOW + 3 * DAY)
    check(home)  # late, and there
    assert standings(home) == {1: "used"} and lasting(home) == []


@pytest.mark.parametrize("gap", ["no-entry-bundles", "not-indexed", "unread", "no-index"])
def test_missing_over_a_gap_says_cannot_tell_and_why(home: MirroredHome, gap: str) -> None:
    until = utc(NOW + DAY)
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY, "--until", until)
    at(home, NOW + 2 * DAY)
    body = b"anything" if gap == "unread" else key_leaf(b"first")
    logged(home, body, now=NOW + 2 * DAY)
    if gap == "no-entry-bundles":
        with home.mirror() as mirror:
            forget(mirror, [EntryBundle(0, 1)])
    elif gap == "not-indexed":
        home.log.grow([key_leaf(b"second")])
        home.sync(0, NOW + 2 * DAY)
    elif gap == "no-index":
        home.json("index", "drop")
        assert check(home, expect=5)["reason"] == "no-index"
        [row] = home.json("expected", "list", "--missing")["expectations"]
        assert (row["standing"], row["why"]) == (
            *("cannot-tell", ["this home has no index of entries"]),
        )
        return
    error = check(home, expect=5)
    named = {"unread": "entries that cannot be read whole: 0"}.get(gap, gap)
    assert error["reason"] == "cannot-tell" and named in error["message"]
    assert standings(home) == {1: "cannot-tell"} and lasting(home) == []


def test_a_frozen_log_that_was_read_whole_is_no_gap(home: MirroredHome) -> None:
    home.log.grow([key_leaf(b"first")])
    home.log.freeze()
    home.sync(0)
    home.json("index", "build")
    until = utc(NOW + DAY)
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY, "--until", until)
    at(home, NOW + 30 * DAY)
    assert check(home, expect=3)["reason"] == "expected-missing"


def test_a_window_counts_entries_by_somebody_in_a_time(home: MirroredHome) -> None:
    # The certificates of these tests are of 2026-01-01, 12:00.
    window = ("--from", "2026-01-01T00:00:00Z", "--until", "2026-01-02T00:00:00Z")
    other = ("--from", "2025-01-01T00:00:00Z", "--until", "2025-01-02T00:00:00Z")
    home.json("expected", "add", *BY, *window, "--count", "2")
    home.json("expected", "add", *BY, *other, "--count", "2")
    noon = 1_767_268_800
    logged(home, leaf(WHO, b"1"), leaf(WHO, b"2"), leaf("x@example.com", b"3"), now=noon)
    at(home, noon)
    check(home, expect=3)
    assert standings(home) == {1: "used", 2: "missing"}
    logged(home, leaf(WHO, b"4"), now=noon)
    assert "3 entries, expected 2" in check(home, expect=3)["message"]


def test_a_pattern_is_for_all_of_the_identity(home: MirroredHome) -> None:
    for pattern in ("release@example", r"(release|x)@example\.com", "x|release@example"):
        words = ("--identity", pattern, "--issuer", ISSUER)
        home.json("expected", "add", "--digest", hex_of(b"app"), *words)
    logged(home, leaf(WHO, b"app"))
    check(home)
    assert standings(home) == {1: "open", 2: "used", 3: "open"}
    words = ("--identity", "(?=x)", "--issuer", ISSUER)
    assert home.run("expected", "add", "--digest", "0" * 64, *words)[0] == 2


def test_a_bundle_expects_exactly_its_entry(home: MirroredHome, tmp_path: Path) -> None:
    made = instance()
    signed = made.sign_artifact(None, LeafPlan())
    bundle = made.v2_bundle(signed)
    entry = bundle["verificationMaterial"]["tlogEntries"][0]
    file = tmp_path / "app.sigstore.json"
    file.write_text(json.dumps(bundle))
    [row] = home.json("expected", "add", "--bundle", file)["expectations"]
    body = b64decode(entry["canonicalizedBody"])
    assert row["leafHash"] == leaf_hash(body).hex()
    respelled = json.dumps(json.loads(body), indent=1).encode()  # the same, as another leaf
    logged(home, respelled)
    check(home)
    assert standings(home) == {1: "open"}
    logged(home, body)
    check(home)
    assert standings(home) == {1: "used"}
    bundle["verificationMaterial"]["tlogEntries"] = []
    file.write_text(json.dumps(bundle))
    assert home.json("expected", "add", "--bundle", file, expect=5)["reason"] == "no-entry"
    file.write_text("{}")
    assert home.json("expected", "add", "--bundle", file, expect=3)


@pytest.fixture
def queued(home: MirroredHome, tmp_path: Path) -> bytes:
    """Something that this home queued, and the body that it becomes."""
    from appliance.rekor.request import parse_request

    key = new_key()
    signed = instance().sign_artifact(key, managed=True, artifact=b"queued")
    for name, content in (
        *(("app", b"queued"), ("sig", b64encode(signed.signature)), ("key", spki(key))),
    ):
        (tmp_path / name).write_bytes(content)
    words = ("--artifact", tmp_path / "app", "--signature", tmp_path / "sig")
    at(home, NOW + 10)
    home.json("queue", "add", *words, "--key", tmp_path / "key")
    store = open_store(home.path, write=False)
    [row] = store.rows("SELECT request FROM queue_item")
    store.close()
    return parse_request(row["request"]).canonical_body


def test_what_was_queued_is_expected_by_itself(home: MirroredHome, queued: bytes) -> None:
    logged(home, queued, now=NOW + 20)
    check(home)
    [row] = home.json("expected", "list")["expectations"]
    assert (row["source"], row["standing"], row["early"]) == ("queue", "used", False)
    logged(home, queued, now=NOW + 30)
    assert check(home, expect=3)["reason"] == "expected-duplicate"


def test_what_was_logged_before_it_was_queued_is_early(home: MirroredHome, queued: bytes) -> None:
    logged(home, queued, now=NOW + 9)
    error = check(home, expect=3)
    assert error["reason"] == "expected-early"
    assert lasting(home) == [("rekor.expected.early", "critical")]


def test_what_is_logged_here_by_hand_is_expected_by_itself(
    home: MirroredHome, tmp_path: Path
) -> None:
    key = new_key()
    signed = instance().sign_artifact(key, managed=True, artifact=b"ours")
    for name, content in (
        *(("app", b"ours"), ("sig", b64encode(signed.signature)), ("key", spki(key))),
    ):
        (tmp_path / name).write_bytes(content)
    home.json("log", "create", "mine", "--origin", "mine.example")
    words = ("--artifact", tmp_path / "app", "--signature", tmp_path / "sig")
    home.json("log", "add", *words, "--key", tmp_path / "key", "--log", "mine")
    home.json("index", "build")
    check(home)
    [row] = home.json("expected", "list")["expectations"]
    assert (row["source"], row["standing"]) == ("log-add", "used")
    assert row["entries"][0]["origin"] == "mine.example"
    by_key = ("--fingerprint", sha256(spki(key)).hexdigest(), "--until", utc(NOW - DAY))
    home.json("expected", "add", "--digest", hex_of(b"ours"), *by_key)
    check(home)  # an entry that another row stands for is not missing
    assert standings(home) == {1: "used", 2: "used"} and lasting(home) == []


def test_a_sync_compares_the_ledger_whoever_runs_it(home: MirroredHome, queued: bytes) -> None:
    from appliance.store.mirror.logs import put_backend
    from tests.divergence.world import LogServer

    server = LogServer()
    try:
        server.logs["sim"] = home.log
        with home.mirror() as mirror, mirror.store.atomic():
            url = f"{server.url}/sim/"
            put_backend(mirror.store, "sim", mirror.log, base_url=None, read_url=url)
        home.json("index", "build")
        at(home, NOW + 20)
        home.log.grow([queued, queued])
        code, out, err = home.run("sync", "--entries")
        assert code == 0 and "2 entries, expected 1" in out + err
        assert lasting(home) == [("rekor.expected.duplicate", "warning")]
    finally:
        server.close()


def test_verdicts_that_rest_on_an_unexpected_entry_are_listed_until_it_is_explained(
    home: MirroredHome, tmp_path: Path
) -> None:
    made = instance()
    bundle = made.v2_bundle(made.sign_artifact(None, LeafPlan()))
    (tmp_path / "app").write_bytes(ARTIFACT)
    file = tmp_path / "app.sigstore.json"
    file.write_text(json.dumps(bundle))
    signer = ("--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER)
    home.json("verify", tmp_path / "app", "--bundle", file, *signer, "--record")
    assert home.json("expected", "verdicts") == {"verdicts": []}
    body = b64decode(bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"])
    logged(home, body, leaf("other@example.com", b"other"))
    home.json("watch", "add", "us", "--identity-exact", IDENTITY, "--expectations", "required")
    error = home.json("expected", "verdicts", expect=3)
    assert error["reason"] == "unexpected-entry" and str(tmp_path / "app") in error["message"]
    code, out, _ = home.run("expected", "verdicts")
    assert code == 3 and "entry 0 of" in out and "watch us" in out
    with home.mirror() as mirror:  # one more, which is damaged: it hides no other
        mirror.store.execute(
            "INSERT INTO verdict (id, at, artifact, digests, bundle, expected, demands,"
            " root_digest, code, reason, coverage) SELECT 9, at, 'spoilt', '{', bundle, expected,"
            " demands, root_digest, code, reason, coverage FROM verdict"
        )
    code, out, err = home.run("expected", "verdicts")
    assert "entry 0 of" in out and "recorded verdict 9 (spoilt) is damaged" in err
    with home.mirror() as mirror:
        mirror.store.execute("DELETE FROM verdict WHERE id = 9")
    home.json("expected", "add", "--bundle", file)
    check(home)
    home.json("watch", "scan")
    assert home.json("expected", "verdicts") == {"verdicts": []}
    ended = [one["event"] for one in home.json("journal", "list")["lines"]]
    assert "expected.explained" in ended


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which entries the ledger reads again."""
    places: list[int] = []

    def counting(mirror: Mirror, at: int, voucher: Voucher) -> Hit:
        places.append(at)
        return read_again(mirror, at, voucher)

    monkeypatch.setattr(ledger, "read_again", counting)
    return places


@pytest.mark.parametrize("way", ["ask", "read"])
def test_an_entry_is_compared_once_with_each_row(
    home: MirroredHome, read: list[int], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """However many of the same digest do not meet it; and whether read or asked for."""
    monkeypatch.setattr(ledger, "_a_lookup", lambda _: 0 if way == "ask" else 1000)
    stranger = leaf(WHO, b"app", other=True)
    logged(home, stranger, key_leaf(b"app"), key_leaf(b"other"))
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY)
    check(home)
    assert read == [0, 1]
    check(home)
    logged(home, key_leaf(b"third"))
    check(home)
    assert read == [0, 1] and standings(home) == {1: "open"}
    home.json("expected", "add", "--digest", hex_of(b"other"), *BY)
    check(home)
    assert read == [0, 1, 2]
    logged(home, leaf(WHO, b"app"), leaf(WHO, b"other"))
    check(home)
    assert read == [0, 1, 2, 4, 5] and standings(home) == {1: "used", 2: "used"}


def test_under_another_trusted_root_all_is_compared_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = MirroredHome(tmp_path / "home", capsys, "connected")
    logged(home, leaf(WHO, b"app"))
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY)
    check(home)
    assert standings(home) == {1: "open"}
    root = tmp_path / "root.json"
    root.write_text(json.dumps(instance().root()))
    home.json("trust", "import", root)
    check(home)
    assert standings(home) == {1: "used"}


def test_what_was_pruned_is_compared_when_it_is_back(home: MirroredHome) -> None:
    logged(home, leaf(WHO, b"app"))
    home.json("expected", "add", "--digest", hex_of(b"other"), *BY)
    check(home)
    with home.mirror() as mirror:
        forget(mirror, [EntryBundle(0, 1)])
    home.json("expected", "add", "--digest", hex_of(b"app"), *BY)
    check(home)
    assert standings(home) == {1: "open", 2: "open"}
    logged(home, key_leaf(b"more"))
    check(home)
    assert standings(home) == {1: "open", 2: "used"}


def test_a_pattern_without_an_end_is_cannot_tell_and_not_silence(home: MirroredHome) -> None:
    until = utc(NOW + DAY)
    slow = ("--identity", "https://(a+)+", "--issuer", ISSUER, "--until", until)
    home.json("expected", "add", "--digest", hex_of(b"app"), *slow)
    home.json("expected", "add", "--digest", hex_of(b"other"), *slow)
    home.json("config", "set", "watch.regexTimeout", "20ms")
    at(home, NOW + 2 * DAY)
    hostile = f"https://{'a' * 40}!"
    entries = [leaf(hostile, b"app"), leaf(hostile, b"other", other=True)]
    logged(home, *entries, now=NOW + 2 * DAY)
    error = check(home, expect=3)
    assert "expectation 2" in error["message"]  # nobody vouches for what hangs it
    [row] = home.json("expected", "list")["expectations"][:1]
    assert row["standing"] == "cannot-tell"
    assert "did not end within 0.02 s" in row["why"][0]


def test_what_is_judged_by_what_changed_is_what_judging_all_gives(home: MirroredHome) -> None:
    """Random lives of a ledger: alerts are those of all its rows, and the figures count them."""
    chance = random.Random(5)  # noqa: S311 repeatable
    now, artifacts, rows = NOW, [b"%d" % number for number in range(6)], 0
    for step in range(30):
        now += chance.choice((0, DAY // 3))
        at(home, now)
        what = chance.randrange(5)
        if what < 2:
            window = ("--until", utc(now + DAY)) if chance.random() < 0.5 else ()
            words = ("--digest", hex_of(chance.choice(artifacts)), *BY, *window)
            count = str(chance.randint(1, 3))
            rows = home.json("expected", "add", *words, "--count", count)["expectations"][0]["id"]
        elif what == 2 and rows:
            home.run("expected", "cancel", str(chance.randint(1, rows)), "--reason", "x")
        else:
            some = [leaf(WHO, chance.choice(artifacts)) for _ in range(chance.randint(1, 3))]
            logged(home, *some, now=now)
        home.run("expected", "check")
        with (
            closing(open_store(home.path, write=False)) as store,
            contextlib.closing(create_index(home.path)) as index,
        ):
            states = judge_ledger(store, index, now)
            told = {one.condition for one in alerts(store, lasting=True)}
            wanted = {
                condition(finding, state.expectation.id)
                for state in states
                for finding in findings_of(state)
            }
            assert {one for one in told if one.startswith("Expected")} == wanted, step
            standing = [one.standing for one in states]
            assert count_open(store, now) == standing.count(Standing.OPEN), step


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--digest", "abc", *BY],
        [*BY],
        [*BY, "--until", "2026-01-01T00:00:00Z"],
        [*BY, "--from", "2026-01-02T00:00:00Z", "--until", "2026-01-01T00:00:00Z"],
        [*BY, "--from", "today", "--until", "tomorrow"],
        ["--digest", "0" * 64, *BY, "--fingerprint", "0" * 64],
        ["--bundle", "x", "--digest", "0" * 64],
        ["--digest", "0" * 64, *BY, "--note", "\x1b[2J"],
        ["--digest", "0" * 64, *BY, "--count", "0"],
    ],
)
def test_what_says_too_little_or_too_much_is_usage(home: MirroredHome, words: list[str]) -> None:
    assert home.run("expected", "add", *words)[0] == 2
    unknown = ("--digest", "0" * 64, *BY, "--origin", "unknown.example")
    assert home.json("expected", "add", *unknown, expect=5)["reason"] == "unknown-log"
