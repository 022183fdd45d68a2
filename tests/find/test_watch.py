"""Watches: each matching entry is told once, of the past as well, and nothing holds them up."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from contextlib import closing
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from appliance.jobs.find import watching
from appliance.jobs.find.search import rescan
from appliance.jobs.find.watching import judge_watches
from appliance.jobs.mirror.fill import Wanted
from appliance.store.database import Store, open_store
from appliance.store.find.watches import (
    Watch,
    all_watches,
    behind,
    joined_ranges,
    matches_of,
    scanned_ranges,
    without_ranges,
)
from appliance.store.lock import WATCH_LOCK_NAME
from appliance.store.mirror.logs import Log, all_logs, put_backend
from appliance.store.mirror.tile_cache import forget
from appliance.tlog.tile import EntryBundle
from appliance.value import replaced
from tests.cli.homes import NOW
from tests.cli.mirrored import MirroredHome
from tests.divergence.world import LogServer
from tests.find.logged import instance, key_leaf, leaf, signed_by_two
from tests.find.test_patterns import HOSTILE, SLOW
from tests.find.test_search import WHO, filler, logged
from tests.mirror.mirrors import sync_from
from tests.pki.authorities import new_key, spki
from tests.transfer.sites import INSIDE, OUTSIDE, Sites

DAY = 86_400


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


@pytest.fixture(scope="module")
def server() -> Iterator[LogServer]:
    found = LogServer()
    yield found
    found.close()


def matched(answer: Any) -> list[int]:
    return [one["index"] for one in answer["matches"]]


def test_a_watch_of_many_conditions_is_one_line_of_a_list(
    home: MirroredHome, tmp_path: Path
) -> None:
    listed = tmp_path / "conditions"
    listed.write_text("".join(f"identity-exact {at}@example.com\n" for at in range(2000)))
    home.json("watch", "add", "many", "--from-file", listed)
    out = home.run("watch", "list")[1]
    assert "identityExact 4@example.com and 1,995 more (attestor watch show many)\n" in out
    assert len(out) < 1000
    assert "identityExact  1999@example.com\n" in home.run("watch", "show", "many")[1]
    listed.write_text("".join(f"identity-exact {at}@example.com\n" for at in range(5)))
    home.json("watch", "add", "few", "--from-file", listed)
    assert "identityExact 4@example.com\n" in home.run("watch", "list")[1]


def alerts(home: MirroredHome) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = home.json("alerts", "list")["alerts"]
    return [one["payload"] for one in found if one["payload"]["eventType"].startswith("rekor.e")]


def judge(home: MirroredHome, now: int = NOW) -> tuple[str, ...]:
    with closing(open_store(home.path, write=True)) as store:
        return judge_watches(store, None, all_watches(store), now).said


def trust(home: MirroredHome, tmp_path: Path) -> None:
    """Let the home have a trusted root that vouches for what `leaf` makes."""
    root = tmp_path / "root.json"
    root.write_text(json.dumps(instance().root()))
    home.json("trust", "import", root)


def test_the_past_is_looked_at_when_a_watch_is_added_and_told_in_one_alert(
    home: MirroredHome,
) -> None:
    logged(home, *filler(3), leaf(WHO, b"1"), leaf("x@example.com"), leaf(WHO, b"2"))
    added = home.json("watch", "add", "releases", "--identity-exact", WHO)
    assert matched(added) == [3, 5] and added["compared"] == 6
    (alert,) = alerts(home)
    assert alert["eventType"] == "rekor.entry.matched" and alert["severity"] == "warning"
    assert (alert["watch"], alert["origin"], alert["treeSize"]) == ("releases", home.log.origin, 6)
    assert [one["index"] for one in alert["entries"]] == [3, 5] and alert["moreEntries"] == 0
    first = alert["entries"][0]
    assert first["identity"] == WHO and first["matched"] == ["releases"]
    assert first["digest"] == f"sha256:{sha256(b'1').hexdigest()}"
    assert first["loggedBefore"] is not None and first["vouched"] is None
    assert "2 entries" in alert["description"] and "revoke" in alert["recommendedAction"]
    assert home.json("watch", "scan") == {"compared": 0, "matches": []}
    assert len(alerts(home)) == 1


def test_what_comes_later_is_told_whatever_was_found_before(home: MirroredHome) -> None:
    home.json("watch", "add", "releases", "--identity-exact", WHO)
    for number in range(4):
        logged(home, *filler(2, 10 * number), leaf(WHO, b"%d" % number))
        assert matched(home.json("watch", "scan")) == [3 * number + 2]
        assert len(alerts(home)) == number + 1
    (one,) = home.json("watch", "list")["watches"]
    assert (one["behind"], one["matches"]) == (0, 4)


def test_a_match_does_not_make_the_log_ill_and_lasts_no_longer_than_it_is_told(
    home: MirroredHome,
) -> None:
    logged(home, leaf(WHO))
    before = home.json("sync-status")["backends"][0]["health"]
    home.json("watch", "add", "releases", "--identity-exact", WHO, "--severity", "critical")
    assert home.json("sync-status")["backends"][0]["health"] == before
    (alert,) = home.json("alerts", "list")["alerts"]
    assert alert["endedAt"] is not None and alert["ackedAt"] is None


@pytest.mark.parametrize("has_index", [False, True])
def test_a_watch_may_begin_now_or_at_an_index(home: MirroredHome, has_index: bool) -> None:
    logged(home, leaf(WHO, b"0"), leaf(WHO, b"1"), leaf(WHO, b"2"))
    if has_index:
        home.json("index", "build")
    now = home.json("watch", "add", "now", "--identity-exact", WHO, "--from", "now")
    assert matched(now) == []
    assert matched(home.json("watch", "add", "at", "--identity-exact", WHO, "--from", "1")) == [
        1,
        2,
    ]
    logged(home, leaf(WHO, b"3"))
    assert sorted(matched(home.json("watch", "scan"))) == [3, 3]


def test_every_kind_of_condition_is_watched(home: MirroredHome, tmp_path: Path) -> None:
    key = new_key()
    claims = {"12": "https://github.com/org/app", "13": "0123456789" * 4}
    logged(home, *filler(2), leaf(WHO, b"app", claims=claims), key_leaf(b"by key", key))
    fingerprint = sha256(spki(key)).hexdigest()
    for name, arguments, expected in (
        ("digest", ["--digest", sha256(b"app").hexdigest()], [2]),
        ("fingerprint", ["--fingerprint", fingerprint.upper()], [3]),
        ("pattern", ["--identity", "^release@"], [2]),
        ("prefix", ["--identity-prefix", "rel"], [2]),
        ("issuer", ["--issuer-exact", "https://issuer.example"], [2]),
        ("commit", ["--commit", "0123456789" * 4], [2]),
        ("claim", ["--oid", "source-repository-uri=https://github.com/org/app"], [2]),
        ("both", ["--identity", "release", "--digest", sha256(b"by key").hexdigest()], []),
        ("kind", ["--kind", "hashedrekord"], [0, 1, 2, 3]),
    ):
        assert matched(home.json("watch", "add", name, *arguments)) == expected, name
    home.json("index", "build")
    again = home.json("watch", "scan", "--rescan")
    assert again["compared"] == 4 and matched(again) == []  # nothing is told twice
    shown = home.json("watch", "show", "fingerprint")
    assert shown["criteria"] == {"fingerprint": [fingerprint]}


def test_a_watch_for_a_shortened_commit_is_refused_and_a_stored_one_still_loads(
    home: MirroredHome,
) -> None:
    logged(home, leaf(WHO))
    code, _, err = home.run("watch", "add", "head", "--commit", "HEAD")
    assert code == 2 and "all 40 or 64 hex digits" in err and "git rev-parse" in err
    home.json("watch", "add", "old", "--commit", "ab" * 32)
    with home.mirror() as mirror:
        mirror.store.execute("UPDATE watch SET criteria = ?", ['{"commit": ["HEAD"]}'])
    assert home.json("watch", "scan", "--rescan")["compared"] == 1
    assert home.json("watch", "show", "old")["criteria"] == {"commit": ["HEAD"]}


def test_a_damaged_watch_is_named_and_can_be_removed(home: MirroredHome) -> None:
    logged(home, leaf(WHO))
    home.json("watch", "add", "us", "--identity-exact", WHO)
    home.json("watch", "add", "spoilt", "--identity-exact", WHO)
    for text in ('{"digest": ["zz"]}', "{"):
        with home.mirror() as mirror:
            mirror.store.execute("UPDATE watch SET criteria = ? WHERE name = 'spoilt'", [text])
        error = home.json("watch", "scan", "--rescan", expect=6)
        assert "watch spoilt is damaged" in error["message"]
        assert "attestor watch remove spoilt" in error["next"]
    home.json("watch", "remove", "spoilt")
    assert home.json("watch", "scan", "--rescan")["compared"] == 1
    assert [one["name"] for one in home.json("watch", "list")["watches"]] == ["us"]


def test_the_index_is_asked_for_much_of_the_past_and_finds_the_same(
    home: MirroredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "READ_AT_MOST", 0)
    logged(home, *filler(300), leaf(WHO), b"anything")
    home.json("index", "build")
    logged(home, leaf(WHO, b"not indexed"))
    read: list[Any] = []

    def noted(mirror: Any, head: Any, ranges: Any, *more: Any) -> Any:
        read.append(ranges)
        return rescan(mirror, head, ranges, *more)

    monkeypatch.setattr(watching, "rescan", noted)
    found = home.json("watch", "add", "releases", "--identity-exact", WHO)
    assert matched(found) == [300, 302]
    assert read == [[(256, 303)]]  # only the entry bundle that is not indexed as it is stored
    assert [one["eventType"] for one in alerts(home)] == [
        "rekor.entry.matched",
        "rekor.entry.undecided",
    ]


def test_an_index_that_invents_a_match_is_not_believed(
    home: MirroredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "READ_AT_MOST", 0)
    logged(home, *filler(3))
    home.json("index", "build")
    monkeypatch.setattr(watching, "proposed", lambda *_: {0, 1, 2})
    assert matched(home.json("watch", "add", "releases", "--identity-exact", WHO)) == []


def test_a_name_that_no_authority_vouched_for_is_a_claim_and_at_most_one_notice_a_day(
    home: MirroredHome, tmp_path: Path
) -> None:
    logged(home, leaf(WHO, b"vouched"))
    home.json("watch", "add", "names", "--identity-exact", WHO)
    trust(home, tmp_path)
    stranger = leaf(WHO, b"forged", other=True)
    logged(home, stranger, leaf(WHO, b"also vouched"))
    judge(home)
    logged(home, leaf(WHO, b"forged again", other=True))
    judge(home, NOW + 60)
    assert [one["eventType"] for one in alerts(home)] == [
        *("rekor.entry.matched",) * 2,
        "rekor.entry.claimed",
    ]
    claimed = alerts(home)[-1]
    assert claimed["severity"] == "info" and [e["index"] for e in claimed["entries"]] == [1]
    assert claimed["entries"][0]["vouched"] is False
    judge(home, NOW + DAY)
    assert [e["index"] for e in alerts(home)[-1]["entries"]] == [3]
    home.json("watch", "add", "loud", "--identity-exact", WHO, "--unvouched", "same")
    home.json("watch", "add", "quiet", "--identity-exact", WHO, "--unvouched", "ignore")
    by_watch = {(one["watch"], one["finding"]) for one in home.json("watch", "matches")["matches"]}
    assert ("loud", "claimed") not in by_watch and ("quiet", "claimed") in by_watch
    assert [one["watch"] for one in alerts(home)[-2:]] == ["loud", "quiet"]


def test_another_signer_with_a_good_certificate_vouches_for_nobody_else(
    home: MirroredHome, tmp_path: Path
) -> None:
    """Whoever has a certificate of his own can add a forged one to the same entry."""
    trust(home, tmp_path)
    logged(home, signed_by_two(b"\x01" * 32))
    (found,) = home.json("watch", "add", "names", "--identity-exact", WHO)["matches"]
    assert (found["finding"], found["vouched"], found["identity"]) == ("claimed", False, WHO)


def test_what_no_watch_can_tell_is_told_once(home: MirroredHome) -> None:
    home.json("config", "set", "watch.regexTimeout", "20ms")
    logged(home, leaf(WHO), b"anything", leaf(f"https://{HOSTILE}"))
    home.json("watch", "add", "slow", "--identity", SLOW)
    home.json("watch", "add", "other", "--identity-exact", WHO)
    (alert,) = [one for one in alerts(home) if one["eventType"] == "rekor.entry.undecided"]
    assert [one["index"] for one in alert["entries"]] == [1, 2]
    assert "did not end within" in alert["entries"][1]["why"]


def test_a_damaged_entry_bundle_spoils_only_itself_and_is_compared_once_repaired(
    home: MirroredHome,
) -> None:
    logged(home, leaf(WHO, b"0"), *filler(255), leaf(WHO, b"256"), *filler(255), leaf(WHO, b"512"))
    with home.mirror() as mirror:
        found = mirror.entry_bundle_blob(EntryBundle(1, 256))
        assert found is not None
        file = mirror.store.blobs.file(found[0])
        assert file is not None
        whole = file.path.read_bytes()
        file.path.chmod(0o600)
        file.path.write_bytes(b"junk")
    assert home.json("watch", "add", "w", "--identity-exact", WHO, expect=6)["reason"] == "corrupt"
    assert matched(home.json("watch", "matches", "w")) == [0, 512]
    (one,) = home.json("watch", "list")["watches"]
    assert one["behind"] == 256
    file.path.write_bytes(whole)
    assert matched(home.json("watch", "scan")) == [256]
    assert [len(one["entries"]) for one in alerts(home)] == [2, 1]


class KilledError(Exception):
    """The process is gone."""


def test_killed_at_any_write_each_match_is_told_exactly_once(
    home: MirroredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged(home, leaf(WHO, b"0"), *filler(2), b"anything", leaf(WHO, b"4"))
    home.json("watch", "add", "names", "--identity-exact", WHO, "--from", "now")
    with closing(open_store(home.path, write=True)) as store, store.atomic():
        store.execute("DELETE FROM watch_scan")
    whole, at_write = Store.execute, 0
    while True:
        at_write += 1
        left = at_write

        def dying(self: Store, sql: str, parameters: Any = ()) -> Any:
            nonlocal left
            if not sql.lstrip().upper().startswith("SELECT"):
                left -= 1
                if left == 0:
                    raise KilledError
            return whole(self, sql, parameters)

        with closing(open_store(home.path, write=True)) as store:
            monkeypatch.setattr(Store, "execute", dying)
            try:
                judge_watches(store, None, all_watches(store), NOW)
            except KilledError:
                pass
            else:
                break
            finally:
                monkeypatch.setattr(Store, "execute", whole)
            with store.atomic():  # begin anew, but with what died left as it was
                covered = scanned_ranges(store, *only(store))
                held = [one.entry_index for one in matches_of(store)]
                assert held == ([0, 4] if covered else []), at_write
        judge(home)
        told = [e["index"] for a in alerts(home) if a["watch"] for e in a["entries"]]
        assert told == [0, 4], at_write
        with closing(open_store(home.path, write=True)) as store, store.atomic():
            for table in ("watch_match", "watch_scan", "watch_undecided", "delivery", "alert"):
                store.execute(f"DELETE FROM {table}")  # noqa: S608
    assert at_write > 8


def only(store: Store) -> tuple[Watch, Log]:
    (watch,), (log,) = all_watches(store), all_logs(store)
    return watch, log


def test_random_lives_tell_each_matching_entry_once(home: MirroredHome) -> None:
    random_ = random.Random(4)  # noqa: S311 repeatable
    home.json("watch", "add", "names", "--identity-exact", WHO)
    size, expected, now = 0, set(), NOW
    key = new_key()
    forgotten: set[int] = set()
    for _ in range(25):
        action = random_.randrange(4)
        now += 60
        if action < 2:
            bodies = []
            for at in range(size, size + random_.randint(1, 120)):
                if random_.random() < 0.1:
                    expected.add(at)
                    bodies.append(leaf(WHO, b"%d" % at))
                else:
                    bodies.append(key_leaf(b"%d" % at, key))
            size += len(bodies)
            logged(home, *bodies)
        elif action == 2 and size:
            # Pruned before it was looked at: nobody can have been told of it.
            place = random_.randrange(-(-size // 256))
            with home.mirror() as mirror:
                late = without_ranges(
                    [(place * 256, min(size, place * 256 + 256))],
                    scanned_ranges(mirror.store, all_watches(mirror.store)[0], mirror.log),
                )
                forget(mirror, [EntryBundle(place, min(256, size - place * 256))])
            forgotten |= {at for at in expected for low, high in late if low <= at < high}
        else:
            judge(home, now)
    logged(home, key_leaf(b"last", key))
    judge(home, now)
    told = [one["index"] for one in home.json("watch", "matches")["matches"] if one["alert"]]
    assert sum(len(one["entries"]) + one["moreEntries"] for one in alerts(home)) == len(told)
    assert set(told) <= expected
    # What was forgotten is fetched again by a sync, and told then.
    assert expected - set(told) <= forgotten


def served(home: MirroredHome, server: LogServer) -> None:
    server.logs["sim"] = home.log
    with home.mirror() as mirror, mirror.store.atomic():
        url = f"{server.url}/sim/"
        put_backend(mirror.store, "sim", mirror.log, base_url=None, read_url=url)


def test_a_sync_compares_what_it_brings_with_and_without_an_index(
    home: MirroredHome, server: LogServer
) -> None:
    served(home, server)
    home.json("watch", "add", "names", "--identity-exact", WHO)
    home.log.grow([leaf(WHO)])
    code, _, err = home.run("sync", "--entries")
    assert code == 0 and "alert 1: watch names: 1 entry of log.example matches" in err
    home.json("index", "build")
    home.log.grow([leaf(WHO, b"2")])
    home.run("sync", "--entries")
    assert matched(home.json("watch", "matches", "names")) == [0, 1]
    with home.app.locked(WATCH_LOCK_NAME):
        home.log.grow([leaf(WHO, b"3")])
        assert home.run("sync", "--entries")[0] == 0
    (one,) = home.json("watch", "list")["watches"]
    assert one["behind"] == 1
    home.run("sync", "--entries")
    assert matched(home.json("watch", "matches", "names")) == [0, 1, 2]


def test_an_import_compares_what_it_brings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sites = Sites(tmp_path, capsys)
    sites.json(INSIDE, "watch", "add", "names", "--identity-exact", WHO)
    sites.log.grow([leaf(WHO)])
    sites.grow(0)
    sites.json(OUTSIDE, "export", "--include-entries", "--output", sites.stick("out.tar"))
    sites.json(INSIDE, "import", sites.stick("out.tar"))
    assert matched(sites.json(INSIDE, "watch", "matches")) == [0]
    sites.json(INSIDE, "import", sites.stick("out.tar"))
    assert matched(sites.json(INSIDE, "watch", "matches")) == [0]


def test_watches_are_named_listed_and_removed(home: MirroredHome) -> None:
    logged(home, leaf(WHO))
    assert home.json("watch", "add", "a", "--identity-exact", WHO, "--dry-run")["dryRun"]
    assert home.json("watch", "list")["watches"] == []
    home.json("watch", "add", "a", "--identity-exact", WHO)
    assert (
        home.json("watch", "add", "a", "--digest", "0" * 64, expect=8)["reason"] == "watch-exists"
    )
    code, text, _ = home.run("watch", "list")
    assert (code, text.splitlines()[1].split()[:4]) == (0, ["a", "warning", "1", "0"])
    assert "identityExact release@" in text
    home.json("watch", "remove", "a", "--dry-run")
    home.json("watch", "remove", "a")
    assert home.json("watch", "remove", "a", expect=5)["reason"] == "unknown-watch"
    assert home.json("watch", "matches")["matches"] == [] and len(alerts(home)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["a"],
        ["a/b", "--digest", "0" * 64],
        ["a", "--digest", "0" * 64, "--from", "yesterday"],
        ["a", "--identity", "(?=x)"],
        ["a", "--digest", "0" * 64, "--grace", "soon"],
    ],
)
def test_what_cannot_be_watched_is_usage(home: MirroredHome, arguments: list[str]) -> None:
    assert home.run("watch", "add", *arguments)[0] == 2


def as_set(ranges: Iterable[tuple[int, int]]) -> set[int]:
    return {one for low, high in ranges for one in range(low, high)}


def test_ranges_are_joined_and_taken_away() -> None:
    random_ = random.Random(5)  # noqa: S311 repeatable
    for _ in range(300):
        some, others = (
            [(at, at + random_.randint(0, 6)) for at in random_.choices(range(40), k=5)]
            for _ in range(2)
        )
        assert as_set(joined_ranges(some)) == as_set(some)
        assert as_set(without_ranges(some, others)) == as_set(some) - as_set(others)
        joined = joined_ranges(some)
        assert all(one[1] < two[0] for one, two in pairwise(joined))


def test_how_far_a_watch_is_behind_is_counted_by_entries(home: MirroredHome) -> None:
    home.json("watch", "add", "a", "--identity-exact", WHO)
    logged(home, *filler(300))
    with home.mirror() as mirror:
        (watch,) = all_watches(mirror.store)
        assert behind(mirror.store, watch, mirror.log) == 300
    judge(home)
    with home.mirror() as mirror:
        assert behind(mirror.store, watch, mirror.log) == 0


def test_entries_that_a_larger_tree_needs_again_are_not_what_a_watch_is_behind(
    home: MirroredHome,
) -> None:
    """What is stored of the last tile is narrower than the tree: nobody can look at it yet."""
    home.json("watch", "add", "a", "--identity-exact", WHO)
    logged(home, *filler(104))
    home.log.grow(filler(20, 104))
    with home.mirror() as mirror:
        sync_from(mirror, home.log, Wanted(entries=False))
        (watch,) = all_watches(mirror.store)
        assert behind(mirror.store, watch, mirror.log) == 0
        sync_from(mirror, home.log, Wanted(entries=True))
        assert behind(mirror.store, watch, mirror.log) == 124
    judge(home)
    with home.mirror() as mirror:
        assert behind(mirror.store, watch, mirror.log) == 0


RELEASE = ("--identity-exact", WHO, "--expectations", "required")


def expect(home: MirroredHome, artifact: bytes) -> None:
    digest = sha256(artifact).hexdigest()
    issuer = ("--identity-exact", WHO, "--issuer", "https://issuer.example")
    home.json("expected", "add", "--digest", digest, *issuer)


def findings(home: MirroredHome) -> list[str]:
    return [one["finding"] for one in home.json("watch", "matches")["matches"]]


def test_only_what_nobody_expected_is_told(home: MirroredHome, tmp_path: Path) -> None:
    trust(home, tmp_path)
    expect(home, b"before")
    logged(home, leaf(WHO, b"before"), leaf(WHO, b"never"))
    home.json("watch", "add", "releases", *RELEASE)
    assert findings(home) == ["expected", "unexpected"]
    (alert,) = home.json("alerts", "list", "--lasting")["alerts"]
    assert (alert["eventType"], alert["severity"]) == ("rekor.entry.unexpected", "critical")
    assert [one["index"] for one in alert["payload"]["entries"]] == [1]


def test_a_release_that_is_still_running_pages_nobody(home: MirroredHome, tmp_path: Path) -> None:
    """Thirteen entries are logged before the ledger has them: once a monitor's false page."""
    trust(home, tmp_path)
    home.json("watch", "add", "releases", *RELEASE, "--grace", "1h")
    artifacts = [b"v0.19.0 %d" % number for number in range(13)]
    logged(home, *(leaf(WHO, one) for one in artifacts))
    judge(home)
    assert set(findings(home)) == {"waiting"} and alerts(home) == []
    for one in artifacts:
        expect(home, one)
    judge(home, NOW + 7200)
    assert set(findings(home)) == {"expected"} and alerts(home) == []


def test_a_grace_that_ends_is_told_while_every_log_rests(
    home: MirroredHome, tmp_path: Path
) -> None:
    """By whatever delivers alerts, without a new entry; and check does not wait for that."""
    trust(home, tmp_path)
    home.json("watch", "add", "releases", *RELEASE, "--grace", "1h")
    logged(home, leaf(WHO, b"app"))
    judge(home)
    home.json("alerts", "send")
    assert findings(home) == ["waiting"] and alerts(home) == []
    assert "nobody expected" not in home.run("check")[1]
    home.app = replaced(home.app, now=lambda: NOW + 3600)
    code, out, _ = home.run("check")
    assert code == 2 and "watch releases: 1 that nobody expected" in out
    home.json("alerts", "send")
    assert findings(home) == ["unexpected"]
    assert [one["eventType"] for one in alerts(home)] == ["rekor.entry.unexpected"]
    assert "that nobody expected" not in home.run("check")[1]


def test_a_legitimate_release_does_not_wedge_the_watch(home: MirroredHome, tmp_path: Path) -> None:
    """A monitor that never advances past a hit looks at nothing that comes after it."""
    trust(home, tmp_path)
    home.json("watch", "add", "releases", *RELEASE)
    expect(home, b"good")
    logged(home, leaf(WHO, b"good"))
    judge(home)
    logged(home, leaf(WHO, b"bad"))
    judge(home)
    assert findings(home) == ["expected", "unexpected"]


def test_weather_is_no_finding_of_a_watch(home: MirroredHome) -> None:
    """A log that cannot be reached paged like tampering elsewhere: here it is a failed sync."""
    home.json("watch", "add", "releases", *RELEASE)
    logged(home, leaf(WHO, b"app"))
    judge(home)
    told = alerts(home)
    with home.mirror() as mirror, mirror.store.atomic():
        url = "http://127.0.0.1:1/"  # nothing listens there
        put_backend(mirror.store, "sim", mirror.log, base_url=None, read_url=url)
    assert home.run("sync", "--entries")[0] == 7
    judge(home)
    assert findings(home) == ["unexpected"] and alerts(home) == told


def test_a_late_explanation_ends_the_alert_with_its_last_entry(
    home: MirroredHome, tmp_path: Path
) -> None:
    trust(home, tmp_path)
    logged(home, leaf(WHO, b"one"), leaf(WHO, b"two"))
    home.json("watch", "add", "releases", *RELEASE)
    expect(home, b"one")
    judge(home)
    assert findings(home) == ["expected", "unexpected"]
    assert len(home.json("alerts", "list", "--lasting")["alerts"]) == 1
    expect(home, b"two")
    judge(home)
    assert home.json("alerts", "list", "--lasting")["alerts"] == []
    lines = home.json("journal", "list", "--event", "expected.explained")["lines"]
    assert len(lines) == 2


def test_an_unexpected_entry_of_a_quarantined_log_keeps_no_watch_from_being_told(
    home: MirroredHome, tmp_path: Path
) -> None:
    trust(home, tmp_path)
    logged(home, leaf(WHO, b"one"))
    home.json("watch", "add", "releases", *RELEASE)
    expect(home, b"another")
    with home.mirror() as mirror, mirror.store.atomic():
        mirror.store.execute(
            "INSERT INTO quarantine (log_id, last_common_size, alert_number, since)"
            " SELECT id, 0, 1, 0 FROM log"
        )
    judge(home)
    assert findings(home) == ["unexpected"]


def test_a_claim_explains_nothing_and_is_not_unexpected(home: MirroredHome, tmp_path: Path) -> None:
    trust(home, tmp_path)
    expect(home, b"x")
    logged(home, leaf(WHO, b"x", other=True))
    home.json("watch", "add", "releases", *RELEASE)
    assert findings(home) == ["claimed"]


def test_a_program_is_told_of_the_first_entry(home: MirroredHome, tmp_path: Path) -> None:
    told, hook = tmp_path / "told", tmp_path / "hook"
    names = ("WATCH", "ORIGIN", "INDEX", "DIGEST", "IDENTITY")
    lines = "; ".join(f'echo "$ATTESTOR_{one}"' for one in names)
    hook.write_text(f"#!/bin/sh\n{{ {lines}; }} > {told}\n")
    hook.chmod(0o700)
    home.json(
        "config", "set", "alerts.sinks", json.dumps([{"type": "command", "argv": [str(hook)]}])
    )
    logged(home, *filler(1), leaf(WHO, b"app"))
    home.json("watch", "add", "releases", "--identity-exact", WHO)
    digest = f"sha256:{sha256(b'app').hexdigest()}"
    assert told.read_text().split() == ["releases", home.log.origin, "1", digest, WHO]


def test_how_far_watches_and_index_are_is_in_the_metrics_doctor_and_check(
    home: MirroredHome,
) -> None:
    logged(home, *filler(2), leaf(WHO), b"anything")
    home.json("index", "build")
    home.json("watch", "add", "names", "--identity-exact", WHO)
    logged(home, *filler(5, 10))
    origin = home.log.origin
    said = home.json("metrics")["text"]
    for line in (
        f'attestor_index_entries{{origin="{origin}"}} 0.0',  # the one entry bundle is another now
        f'attestor_index_behind_entries{{origin="{origin}"}} 9.0',
        f'attestor_index_opaque_entries{{origin="{origin}"}} 1.0',
        f'attestor_watch_behind_entries{{origin="{origin}",watch="names"}} 5.0',
        'attestor_watch_matches_total{finding="matched",watch="names"} 1.0',
        'attestor_watch_matches_total{finding="unexpected",watch="names"} 0.0',
        "attestor_expected_open 0.0",
        "attestor_expected_missing 0.0",
    ):
        assert line in said
    code, text, _ = home.run("doctor")
    assert "4 of 9 mirrored entries indexed" in text
    home.app = replaced(home.app, now=lambda: NOW + 7200)
    late = f"watch names was not compared with 5 mirrored entries of {origin}"
    code, text, _ = home.run("check")
    assert code >= 1 and late in text
    assert late in home.run("doctor")[1]
    home.json("watch", "scan")
    assert late not in home.run("check")[1]
