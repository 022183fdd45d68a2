"""index and entries search: what is found is proven, what is not found was looked at."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from appliance.jobs.find.criteria import Criteria
from appliance.jobs.find.indexing import build
from appliance.jobs.find.search import coverage_of, search
from appliance.store.find.index import Index, create_index, index_path, open_index
from appliance.store.lock import INDEX_LOCK_NAME
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.logs import put_backend, require_log
from appliance.store.mirror.tile_cache import entry_spans, forget, mirrored_entries
from appliance.times import utc
from appliance.tlog.checkpoint import Checkpoint, open_checkpoint
from appliance.tlog.merkle import EMPTY_ROOT, TreeHead
from appliance.tlog.note import sign_note
from appliance.tlog.tile import EntryBundle
from tests.cli.mirrored import MirroredHome
from tests.divergence.world import LogServer
from tests.find.logged import key_leaf, leaf
from tests.mirror.mirrors import NOW
from tests.pki.authorities import new_key, spki
from tests.standard_input import standard_input
from tests.transfer.sites import INSIDE, OUTSIDE, Sites

WHO = "release@example.com"
REPOSITORY = "https://github.com/org/app"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


def filler(count: int, first: int = 0) -> list[bytes]:
    """Entries that nobody looks for."""
    key = new_key()
    return [key_leaf(b"filler %d" % number, key) for number in range(first, first + count)]


def logged(home: MirroredHome, *bodies: bytes) -> None:
    home.log.grow(bodies)
    home.sync(0)


def find(home: MirroredHome, *arguments: str | Path, expect: int = 0) -> Any:
    return home.json("entries", "search", *arguments, expect=expect)


def indices(answer: Any) -> list[int]:
    return [hit["index"] for hit in answer["hits"]]


def test_every_condition_finds_its_entry(home: MirroredHome, tmp_path: Path) -> None:
    key = new_key()
    claims = {"12": REPOSITORY, "13": COMMIT}
    logged(
        home,
        *filler(3),
        leaf(WHO, b"app", claims=claims),
        key_leaf(b"by key", key),
        leaf("https://ci.example/job", b"other"),
    )
    home.json("index", "build")
    artifact = tmp_path / "app"
    artifact.write_bytes(b"app")
    digest, fingerprint = sha256(b"app").hexdigest(), sha256(spki(key)).hexdigest()
    listed = tmp_path / "SHA256SUMS"
    listed.write_text(f"{digest}  app\n{sha256(b'other').hexdigest()} *other\n")
    asked = tmp_path / "conditions"
    asked.write_text(
        f"# of ours\n\nidentity-exact {WHO}\n--identity ^https://ci[.]\nissuer-exact "
        "https://issuer.example\n"
    )
    mixed = tmp_path / "mixed"
    mixed.write_text(f"{digest}  app\ndigest sha256:{sha256(b'by key').hexdigest()}\n")
    colons = ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2)).upper()
    for arguments, expected in (
        (["--digest", digest.upper()], [3]),
        (["--digest", f"sha256:{digest}"], [3]),
        (["--artifact", artifact], [3]),
        (["--from-file", listed], [3, 5]),
        (["--from-file", asked], [3, 5]),
        (["--from-file", asked, "--commit", COMMIT], [3]),
        (["--from-file", mixed], [3, 4]),
        (["--fingerprint", fingerprint], [4]),
        (["--fingerprint", colons], [4]),
        (["--identity-exact", WHO], [3]),
        (["--identity-prefix", "https://ci."], [5]),
        (["--identity-prefix", "https://ci.", "--identity-exact", WHO], [3, 5]),
        (["--issuer-exact", "https://issuer.example"], [3, 5]),
        (["--issuer-exact", "https://issuer.example", "--identity-exact", WHO], [3]),
        (["--commit", COMMIT], [3]),
        (["--commit", COMMIT.upper()], [3]),
        (["--oid", f"source-repository-uri={REPOSITORY}"], [3]),
        (["--oid", f"sourceRepositoryURI={REPOSITORY}"], [3]),
        (["--oid", f"1.3.6.1.4.1.57264.1.12={REPOSITORY}"], [3]),
        (["--oid", f"source-repository-digest={COMMIT}"], [3]),
        (["--identity-exact", WHO, "--digest", sha256(b"other").hexdigest()], []),
        (["--identity-exact", "release@example.co"], []),
        (["--identity-exact", WHO, "--kind", "dsse"], []),
    ):
        answer = find(home, *arguments)
        assert indices(answer) == expected, arguments
        assert answer["complete"], arguments
        assert indices(find(home, *arguments, "--rescan")) == expected, arguments


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("color red", "expected a digest, or digest, fingerprint"),
        ("identity-exact", "must not be empty"),
        ("identity (", "pattern"),
        ("oid source-repository-ref~(", "pattern"),
        ("oid source-repository-ref", "expected NAME=VALUE"),
        ("fingerprint 12", "64 hex digits"),
        ("digest 12", "in hex"),
        ("commit HEAD", "git rev-parse"),
        ("identity-exact j\udcfcrgen@example.com", "not UTF-8"),
    ],
)
def test_a_line_that_is_no_condition_is_told_by_its_number(
    home: MirroredHome, tmp_path: Path, line: str, told: str
) -> None:
    asked = tmp_path / "conditions"
    text = f"# of ours\nidentity-exact {WHO}\n{line}\n"
    asked.write_bytes(text.encode("utf-8", "surrogateescape"))
    error = home.json("entries", "search", "--from-file", asked, expect=2)
    assert error["reason"] == "criteria-list"
    assert f"{asked}, line 3: " in error["message"] and told in error["message"]


def test_a_list_names_files_in_any_bytes(home: MirroredHome, tmp_path: Path) -> None:
    logged(home, *filler(1), leaf(WHO, b"app"))
    home.json("index", "build")
    listed = tmp_path / "SHA256SUMS"
    digest = sha256(b"app").hexdigest().encode()
    listed.write_bytes(b"%b  j\xfcrgen\x0c\x85\xe2\x80\xa8app\r\n" % digest)
    assert indices(find(home, "--from-file", listed)) == [1]


def test_a_list_comes_from_standard_input(home: MirroredHome, tmp_path: Path) -> None:
    logged(home, *filler(1), leaf(WHO, b"app"))
    home.json("index", "build")
    listed = tmp_path / "SHA256SUMS"
    listed.write_text(f"{sha256(b'app').hexdigest()}  app\n")
    for words in (["entries", "search"], ["watch", "add", "us"], ["expected", "add"]):
        who = (
            ["--identity-exact", WHO, "--issuer", "https://issuer.example"]
            if words[0] == "expected"
            else []
        )
        with standard_input(listed):
            data = home.json(*words, "--from-file", "-", *who)
        assert words[0] != "entries" or indices(data) == [1]
    [watch] = home.json("watch", "list")["watches"]
    assert watch["criteria"] == {"digest": [sha256(b"app").hexdigest()]}


def test_a_list_in_another_encoding_is_told_and_nothing_said_against_it(
    home: MirroredHome, tmp_path: Path
) -> None:
    logged(home, *filler(1))
    listed = tmp_path / "SHA256SUMS"
    for encoding in ("utf-8-sig", "utf-16"):
        listed.write_text(f"{'ab' * 32}  app\n", encoding=encoding)
        error = home.json("entries", "search", "--from-file", listed, expect=8)
        assert error["reason"] == "text-encoding" and "convert it" in error["next"]


def test_no_answer_about_a_digest_is_one_about_attestations(
    home: MirroredHome, tmp_path: Path
) -> None:
    """Their entries do not say which artifacts they are about."""
    logged(home, *filler(1), leaf(WHO, b"app"))
    home.json("index", "build")
    nothing, found = sha256(b"nothing").hexdigest(), sha256(b"app").hexdigest()
    listed = tmp_path / "SHA256SUMS"
    listed.write_text(f"{nothing}  nothing\n")
    told = "Warning: an attestation about such a digest is logged under another"
    for asked in (("--digest", nothing), ("--from-file", listed), ("--artifact", listed)):
        code, _, err = home.run("entries", "search", *asked)
        assert (code, told in err) == (0, True), asked
        code, _, err = home.run("entries", "search", *asked, "--expect", "found")
        assert (code, told in err) == (3, True), asked
    page, note = tmp_path / "page.html", tmp_path / "note"
    home.json(
        *("entries", "search", "--digest", nothing, "--html", page, "--statement", note),
    )
    assert "</strong>: no entry of the trees below matches. An attestation" in page.read_text()
    assert told in home.run("entries", "statement", "verify", note)[2]
    for asked in (("--digest", found), ("--identity-exact", "nobody@example.com")):
        assert told not in home.run("entries", "search", *asked)[2]
    entries = ("--digest", nothing, "--kind", "hashedrekord")
    assert told not in home.run("entries", "search", *entries)[2]


def test_not_logged_says_below_which_size_and_an_expectation_is_code_3(home: MirroredHome) -> None:
    logged(home, *filler(2), leaf(WHO))
    home.json("index", "build")
    code, text, _ = home.run("entries", "search", "--identity-exact", "nobody@example.com")
    assert code == 0
    assert text == f"not logged: no entry below size 3 of {home.log.origin} matches\n"
    nobody = ("--identity-exact", "nobody@example.com", "--expect")
    assert find(home, *nobody, "none")["hits"] == []
    assert find(home, *nobody, "found", expect=3)["reason"] == "not-logged"
    assert find(home, "--identity-exact", WHO, "--expect", "none", expect=3)["reason"] == (
        "unexpected-entry"
    )


def test_nothing_found_over_a_gap_is_code_5_and_names_it(home: MirroredHome) -> None:
    logged(home, *filler(300), leaf(WHO))
    nobody = ("--identity-exact", "nobody@example.com")
    assert find(home, *nobody, expect=5)["reason"] == "no-index"
    home.json("index", "build", "--limit", "1")
    error = find(home, *nobody, "--expect", "none", expect=5)
    assert error["reason"] == "search-incomplete" and "256 to 300 (not-indexed)" in error["message"]
    assert "index build" in error["next"]
    home.json("index", "build")
    with home.mirror() as mirror:
        forget(mirror, [EntryBundle(0, 256)])
    for rescan in ((), ("--rescan",)):
        error = find(home, *nobody, *rescan, expect=5)
        assert "0 to 255 (no-entry-bundles)" in error["message"]
        code, _, err = home.run("entries", "search", "--identity-exact", WHO, *rescan)
        assert code == 0 and "0 to 255 (no-entry-bundles)" in err


def test_an_entry_that_cannot_be_read_forbids_not_logged(home: MirroredHome) -> None:
    logged(home, leaf(WHO), b"anything")
    home.json("index", "build")
    for rescan in ((), ("--rescan",)):
        error = find(home, "--identity-exact", "nobody@example.com", *rescan, expect=5)
        assert "entries that cannot be read whole: 1" in error["message"]
        assert "entries show" in error["next"]
        assert indices(find(home, "--identity-exact", WHO, *rescan)) == [0]


def test_a_log_without_a_checkpoint_was_not_looked_at(home: MirroredHome) -> None:
    home.json("index", "build")
    error = find(home, "--identity-exact", WHO, expect=5)
    assert "no checkpoint was accepted yet" in error["message"] and "sync" in error["next"]


def test_a_damaged_entry_bundle_is_ours_to_repair(home: MirroredHome) -> None:
    logged(home, leaf(WHO))
    home.json("index", "build")
    with home.mirror() as mirror:
        found = mirror.entry_bundle_blob(EntryBundle(0, 1))
        assert found is not None
        file = mirror.store.blobs.file(found[0])
        assert file is not None
        file.path.chmod(0o600)
        file.path.write_bytes(b"junk")
    for rescan in ((), ("--rescan",)):
        assert find(home, "--identity-exact", WHO, *rescan, expect=6)["reason"] == "corrupt"
    home.json("index", "drop")
    assert home.json("index", "build", expect=6)["reason"] == "corrupt"


def tamper(home: MirroredHome, *statements: str) -> None:
    connection = sqlite3.connect(index_path(home.path))
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_tampered_index_invents_nothing_and_hides_nothing_from_a_rescan(
    home: MirroredHome,
) -> None:
    logged(home, *filler(2), leaf(WHO), leaf("other@example.com"))
    home.json("index", "build")
    tamper(home, "UPDATE identity SET name = 'nobody@example.com' WHERE name LIKE 'release%'")
    assert indices(find(home, "--identity-exact", "nobody@example.com")) == []
    assert indices(find(home, "--identity-exact", WHO)) == []
    assert indices(find(home, "--identity-exact", WHO, "--rescan")) == [2]
    assert home.json("index", "check", expect=6)["reason"] == "index-differs"
    home.json("index", "rebuild")
    assert home.json("index", "check") == {"entries": 4}
    assert indices(find(home, "--identity-exact", WHO)) == [2]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE kind SET name = 'dsse 0.0.1' WHERE id = 0",
        "UPDATE profile_identity SET kind = 1",
        "UPDATE profile_identity SET kind = 99",
        "UPDATE identity SET kind = 2 WHERE name LIKE 'release%'",
        "UPDATE entry SET profile = 1 - profile + 2",
        "DELETE FROM entry",
    ],
)
def test_the_check_compares_kinds_too(home: MirroredHome, statement: str) -> None:
    logged(home, *filler(2), leaf(WHO), leaf("other@example.com"))
    home.json("index", "build")
    tamper(home, "INSERT INTO kind VALUES (1, 'intoto 0.0.2')")
    assert home.json("index", "check") == {"entries": 4}
    tamper(home, statement)
    assert home.json("index", "check", expect=6)["reason"] == "index-differs"


def test_the_check_reads_every_page(home: MirroredHome) -> None:
    """Whatever it asks for: 'sql' reads others."""
    logged(home, *filler(2), leaf(WHO))
    home.json("index", "build")
    with contextlib.closing(sqlite3.connect(index_path(home.path))) as index:
        # No certificate here claims anything.
        ((page,),) = index.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'claim'")
    with index_path(home.path).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 8)
    error = home.json("index", "check", "--every", "1000", expect=6)
    assert (error["reason"], "index rebuild" in error["next"]) == ("corrupt", True)
    home.json("index", "rebuild")
    assert home.json("index", "check") == {"entries": 3}


def test_claims_belong_to_a_certificate_and_not_to_an_identity(home: MirroredHome) -> None:
    first, second = ({"12": f"https://github.com/org/{name}"} for name in ("a", "b"))
    logged(home, leaf(WHO, b"1", claims=first), leaf(WHO, b"2", claims=second))
    home.json("index", "build")
    for name, at in (("a", 0), ("b", 1)):
        claim = f"source-repository-uri=https://github.com/org/{name}"
        assert indices(find(home, "--oid", claim)) == [at]
    assert home.json("index", "check") == {"entries": 2}


def test_coverage_of_other_bytes_does_not_count(home: MirroredHome) -> None:
    logged(home, leaf(WHO))
    home.json("index", "build")
    tamper(home, "UPDATE indexed_span SET stamp = 0")
    assert find(home, "--identity-exact", "x@example.com")["complete"]
    tamper(home, "UPDATE indexed SET digest = zeroblob(32)")
    assert find(home, "--identity-exact", "x@example.com", expect=5)["reason"] == (
        "search-incomplete"
    )
    logged(home, leaf("later@example.com"))  # the same entry bundle, wider
    assert "not-indexed" in find(home, "--identity-exact", "x@example.com", expect=5)["message"]
    home.json("index", "build")
    assert indices(find(home, "--identity-exact", "later@example.com")) == [1]


def test_a_damaged_index_is_code_6_with_its_repair(home: MirroredHome) -> None:
    logged(home, leaf(WHO))
    home.json("index", "build")
    index_path(home.path).write_bytes(b"no database" * 1000)
    error = find(home, "--identity-exact", WHO, expect=6)
    assert "index rebuild" in error["next"]
    assert indices(find(home, "--identity-exact", WHO, "--rescan")) == [0]
    home.json("index", "rebuild")
    assert indices(find(home, "--identity-exact", WHO)) == [0]


def test_status_and_drop(home: MirroredHome) -> None:
    logged(home, *filler(2), b"anything")
    assert home.json("index", "status")["bytes"] is None
    home.json("index", "build")
    (log,) = home.json("index", "status")["logs"]
    assert log == {"origin": home.log.origin, "mirrored": 3, "indexed": 3, "opaque": 1}
    assert home.json("index", "drop") == {"dropped": True}
    assert home.json("index", "drop") == {"dropped": False}
    assert home.json("index", "check", expect=5)["reason"] == "no-index"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--digest", "abc"],
        ["--digest", "md5:" + "0" * 32],
        ["--fingerprint", "0" * 40],
        ["--oid", "nothing=1"],
        ["--oid", "build-signer-uri"],
        ["--identity-exact", ""],
        ["--kind", "dsse"],
        ["--commit", "HEAD"],
        ["--commit", COMMIT[:12]],
        ["--commit", COMMIT + "0"],
        ["--from-file", "-", "--artifact", "-"],
        ["--oid", "run-invocation-uri=https://x"],
    ],
)
def test_what_cannot_be_searched_is_usage(home: MirroredHome, arguments: list[str]) -> None:
    assert home.run("entries", "search", *arguments)[0] == 2


def test_a_window_of_time_leaves_out_only_what_was_certainly_outside(home: MirroredHome) -> None:
    for number in range(3):  # logged before, in and after the hour that is asked for
        home.log.grow([leaf(WHO, b"%d" % number), *filler(1, number)])
        home.sync(0, now=NOW + number * 3600)
    home.run("index", "build")
    who = ("--identity-exact", WHO)
    assert indices(find(home, *who)) == [0, 2, 4]
    assert indices(find(home, *who, "--since", utc(NOW + 1))) == [2, 4]
    assert indices(find(home, *who, "--until", utc(NOW - 1))) == [0]
    within = ("--since", utc(NOW + 1), "--until", utc(NOW + 3599))
    assert indices(find(home, *who, *within)) == [2]
    # Between two of our looks it may have been logged at any time.
    assert indices(find(home, *who, "--since", utc(NOW + 100), "--until", utc(NOW + 200))) == [2]
    code, text, _ = home.run("entries", "search", *who, "--since", utc(NOW + 7201))
    assert code == 0 and f"matches (logged since {utc(NOW + 7201)})" in text
    late = ("--since", utc(NOW + 7201), "--expect", "found")
    assert find(home, *who, *late, expect=3)["reason"] == "not-logged"
    assert home.run("entries", "search", *who, "--since", "yesterday")[0] == 2
    assert home.run("entries", "search", *who, *within, "--statement", "x.note")[0] == 2


def test_a_window_of_what_the_certificate_says(home: MirroredHome) -> None:
    key = new_key()
    logged(home, leaf(WHO, b"app"), key_leaf(b"by key", key))
    home.run("index", "build")
    began = find(home, "--identity-exact", WHO)["hits"][0]["signers"][0]["signedAt"]
    who = ("--identity-exact", WHO)
    assert indices(find(home, *who, "--signed-since", began, "--signed-until", began)) == [0]
    assert indices(find(home, *who, "--signed-until", "2001-01-01T00:00:00Z")) == []
    assert indices(find(home, *who, "--signed-since", "2099-01-01T00:00:00Z")) == []
    digest = sha256(b"by key").hexdigest()
    assert indices(find(home, "--digest", digest)) == [1]
    assert indices(find(home, "--digest", digest, "--signed-since", began)) == []  # no date


def test_hits_are_counted_and_written_for_spreadsheets(home: MirroredHome) -> None:
    other = "release@example.com, with a comma"
    logged(home, *(leaf(WHO, b"%d" % (at % 2)) for at in range(3)), leaf(other, b"0"))
    home.run("index", "build")
    wanted = ("--identity-prefix", "release@")
    groups = find(home, *wanted, "--group-by", "identity")["groups"]
    assert [(one["name"], one["entries"], one["first"], one["last"]) for one in groups] == [
        (WHO, 3, 0, 2),
        (other, 1, 3, 3),
    ]
    groups = find(home, *wanted, "--group-by", "digest")["groups"]
    digests = [f"sha256:{sha256(b'%d' % at).hexdigest()}" for at in range(2)]
    assert [(one["name"], one["entries"]) for one in groups] == [(digests[0], 3), (digests[1], 1)]
    [group] = find(home, *wanted, "--group-by", "log")["groups"]
    assert (group["name"], group["entries"]) == (home.log.origin, 4)
    code, text, _ = home.run("entries", "search", *wanted, "--csv")
    rows = list(csv.DictReader(text.splitlines()))
    assert code == 0 and [row["index"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[3]["identity"] == other and rows[3]["digest"] == digests[0]
    assert rows[0]["loggedBefore"] == utc(NOW) and rows[0]["vouched"] == "unknown"
    code, text, _ = home.run("entries", "search", *wanted, "--csv", "--group-by", "identity")
    assert code == 0 and text.splitlines()[1] == f"{home.log.origin},{WHO},3,0,2"
    code, text, _ = home.run("entries", "search", *wanted, "--group-by", "identity")
    assert code == 0 and text.splitlines()[0].split() == [
        "Origin",
        "Identity",
        "Entries",
        "First",
        "Last",
    ]
    code, text, _ = home.run("entries", "search", *wanted, "--jsonl")
    assert (
        code == 0
        and [json.loads(line) for line in text.splitlines()] == find(home, *wanted)["hits"]
    )
    for more in (("--csv",), ("--group-by", "log"), ("--json",)):
        assert home.run("entries", "search", *wanted, "--jsonl", *more)[0] == 2
    nobody = ("--identity-exact", "nobody@example.com", "--csv")
    code, text, _ = home.run("entries", "search", *nobody)
    assert code == 0 and text.splitlines() == [",".join(rows[0])]


def test_no_name_in_a_log_is_a_formula_of_a_spreadsheet(home: MirroredHome) -> None:
    """Each such cell is text, in a row of its own; --json has the name as it is."""
    names = [f'{start}HYPERLINK("https://x.example";"a")\r=1+1' for start in "=+-@\t\r\n"]
    logged(home, *map(leaf, names))
    home.run("index", "build")
    wanted = [word for name in names for word in ("--identity-exact", name)]
    hits = find(home, *wanted)["hits"]
    assert [hit["signers"][0]["identities"] for hit in hits] == [[name] for name in names]
    for more in ((), ("--group-by", "identity")):
        _, text, _ = home.run("entries", "search", *wanted, *more, "--csv")
        cells = {row["identity"] for row in csv.DictReader(io.StringIO(text, newline=""))}
        # What prints writes a CR as two characters.
        assert cells == {f"'{name}".replace("\r", "\\r") for name in names}


class KilledError(Exception):
    """The process is gone."""


def test_killed_at_any_write_nothing_is_covered_that_cannot_be_found(
    home: MirroredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged(home, *(leaf(f"u{at}@example.com", b"%d" % at) for at in range(4)), b"anything")
    whole, many = Index._execute, Index._execute_many
    at_write = 0
    while True:
        at_write += 1
        left = at_write

        def dying(self: Index, sql: str, values: Any = ()) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                # As a kill leaves it: what committed stays, nothing is rolled back by us.
                raise KilledError
            return whole(self, sql, values)

        def dying_many(self: Index, sql: str, rows: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                many(self, sql, list(rows)[:1])  # dies after the first row of several
                raise KilledError
            many(self, sql, rows)

        home.run("index", "drop")
        monkeypatch.setattr(Index, "_execute", dying)
        monkeypatch.setattr(Index, "_execute_many", dying_many)
        try:
            home.run("index", "build")
        except KilledError:
            pass
        else:
            if left > 0:
                break
        finally:
            monkeypatch.setattr(Index, "_execute", whole)
            monkeypatch.setattr(Index, "_execute_many", many)
        covered_is_findable(home)
    assert at_write > 20


def covered_is_findable(home: MirroredHome) -> None:
    index = open_index(home.path, write=False)
    assert index is not None
    with home.mirror() as mirror:
        if index.stamps(mirror.log):
            assert index.stamps(mirror.log)[0] == entry_spans(mirror.store, mirror.log)[0].stamp
            assert index.covered(mirror.log, 0)[1][1] == 4
        for tile, (_, width) in index.covered(mirror.log, 0).items():
            for at in range(tile * 256, tile * 256 + width):
                if at < 4:
                    assert at in index.with_identity(mirror.log, f"u{at}@example.com")
                    assert at in index.with_term(mirror.log, sha256(b"%d" % at).digest())
                else:
                    assert at in dict(index.opaque(mirror.log))
    index.close()


def test_what_is_covered_is_told_without_looking_at_each_entry_bundle(home: MirroredHome) -> None:
    """Made up: 64 spans of 256 entry bundles, and what the index says of them."""
    spans, head = 64, TreeHead(64 * 65_536, EMPTY_ROOT)
    with home.mirror() as mirror:
        note = sign_note(str(Checkpoint(home.log.origin, head)), [home.log.signer])
        signed = open_checkpoint(note, mirror.log.keys, home.log.origin)
        rows = [(mirror.log.id, at, 256, sha256(b"%d" % at).digest(), 1) for at in range(256)]
        with mirror.store.atomic():
            mirror.history.insert(signed, Arrival("direct", "made up", NOW))
            mirror.store.execute("UPDATE log SET mirror_size = ?", [head.tree_size])
            mirror.store.execute_many("INSERT INTO entry_bundle VALUES (?, ?, ?, ?, ?)", rows)
            # The others as the trigger leaves them, which takes a while for so many.
            mirror.store.execute_many(
                "INSERT INTO entry_span VALUES (?, ?, 256, 65536, ?, 256, 256)",
                [(mirror.log.id, span, span) for span in range(1, spans)],
            )
        assert mirrored_entries(mirror.store, mirror.log) == head.tree_size
        index = create_index(home.path)
        for span, one in entry_spans(mirror.store, mirror.log).items():
            index.add(mirror.log, [], (span, one.stamp))
        whole = coverage_of(mirror, index)
        assert whole.ranges == ((0, head.tree_size),) and not whole.gaps
        assert coverage_of(mirror, None).ranges == whole.ranges
        assert build(mirror.store, index, [mirror.log]) == 0
        forget(mirror, [EntryBundle(3)])
        missing = coverage_of(mirror, None)
        assert missing.ranges == ((0, 768), (1024, head.tree_size))
        assert [one.why for one in missing.gaps] == ["no-entry-bundles"]
        # What changed is looked at, bundle by bundle, and nothing else.
        assert coverage_of(mirror, index).ranges == ((65_536, head.tree_size),)
        index.close()


def test_an_index_of_another_state_of_the_store_covers_nothing(
    home: MirroredHome, tmp_path: Path
) -> None:
    """A store that was put back, and then went on otherwise, is not the one that was indexed."""
    logged(home, *filler(3))
    before = home.path / "attestor.db"
    saved = before.read_bytes()
    logged(home, leaf(WHO))
    home.json("index", "build")
    before.write_bytes(saved)
    logged(home, leaf("other@example.com"), leaf(WHO))
    assert find(home, "--identity-exact", WHO, expect=5)["reason"] == "search-incomplete"
    home.json("index", "build")
    assert indices(find(home, "--identity-exact", WHO)) == [3, 5]


def test_random_lives_never_hide_an_entry(home: MirroredHome) -> None:
    random_ = random.Random(17)  # noqa: S311 repeatable
    names: list[str] = []
    for step in range(40):
        action = random_.randrange(4)
        if action == 0 or not names:
            more = [f"n{len(names) + at}@example.com" for at in range(random_.randint(1, 90))]
            names += more
            logged(home, *(leaf(one, one.encode()) for one in more))
        elif action == 1:
            home.json("index", "build", "--limit", str(random_.randint(1, 2)))
        elif action == 2:
            with home.mirror() as mirror:
                tiles = -(-len(names) // 256)
                place = random_.randrange(tiles)
                forget(mirror, [EntryBundle(place, min(256, len(names) - place * 256))])
        elif random_.random() < 0.3:
            home.run("index", "drop")
        at = random_.randrange(len(names))
        code, text, _ = home.run("entries", "search", "--identity-exact", names[at])
        assert code in (0, 5), step
        assert "not logged" not in text, step
        if code == 0:
            assert f" {at}: " in text, step


def test_a_segment_is_packed_and_all_of_it_is_found(
    home: MirroredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.store.find.index._SEGMENT_BITS", 8)
    monkeypatch.setattr("appliance.store.find.index._SEGMENT_TILES", 1)
    logged(home, *filler(600))
    home.json("index", "build")
    connection = sqlite3.connect(index_path(home.path))
    assert connection.execute("SELECT count(DISTINCT segment) FROM term").fetchone() == (2,)
    assert connection.execute("SELECT DISTINCT segment & 255 FROM tail").fetchall() == [(2,)]
    connection.close()
    for at in (0, 255, 256, 511, 512, 599):
        digest = sha256(b"filler %d" % at).hexdigest()
        assert indices(find(home, "--digest", digest)) == [at]
    assert home.json("index", "check") == {"entries": 600}


def test_what_grows_with_each_sync_is_kept_once(home: MirroredHome) -> None:
    for number in range(6):
        logged(home, *filler(9, 9 * number))
        home.json("index", "build")
    with contextlib.closing(sqlite3.connect(index_path(home.path))) as connection:
        rows = connection.execute("SELECT bucket, segment, postings FROM tail").fetchall()
    kept = [(*row[:2], row[2][at : at + 6]) for row in rows for at in range(0, len(row[2]), 6)]
    assert len(kept) == len(set(kept)) >= 54
    for at in (0, 8, 9, 53):
        digest = sha256(b"filler %d" % at).hexdigest()
        assert indices(find(home, "--digest", digest)) == [at]
    assert home.json("index", "check") == {"entries": 54}


def test_a_hit_is_read_again(home: MirroredHome) -> None:
    """What the index proposes is judged by the entry itself, never by the index."""
    logged(home, leaf(WHO), leaf("other@example.com"))
    home.json("index", "build")
    with home.mirror() as mirror:
        log = require_log(mirror.store, home.log.origin)
        index = open_index(home.path, write=False)
        assert index is not None
        for proposal in (set(), {0}, {0, 1}, {1}, {7}):
            index.with_identity = lambda *_, proposal=proposal, **__: proposal  # type: ignore[method-assign]
            criteria = Criteria(identities=(WHO,))
            found = search(mirror.store, index, [log], criteria, limit=10)
            assert [hit.entry_index for hit in found.hits] == sorted(proposal & {0})
        index.close()


@pytest.fixture
def server() -> Iterator[LogServer]:
    started = LogServer()
    yield started
    started.close()


def serve(home: MirroredHome, server: LogServer) -> None:
    """Let `sync` of a home reach its log."""
    server.logs["sim"] = home.log
    with home.mirror() as mirror, mirror.store.atomic():
        url = f"{server.url}/sim/"
        put_backend(mirror.store, "sim", mirror.log, base_url=None, read_url=url)


def test_what_a_sync_brings_is_indexed_if_there_is_an_index(
    home: MirroredHome, server: LogServer
) -> None:
    serve(home, server)
    home.log.grow([leaf(WHO)])
    home.json("sync", "--entries")
    assert not index_path(home.path).exists()
    home.json("index", "build")
    home.log.grow([leaf("later@example.com")])
    home.json("sync", "--entries")
    assert indices(find(home, "--identity-exact", "later@example.com")) == [1]
    home.log.grow([leaf("third@example.com")])
    with home.app.locked(INDEX_LOCK_NAME):
        code, _, err = home.run("sync", "--entries")
        assert code == 0 and "Warning: the index of entries is behind" in err
    assert find(home, "--identity-exact", "third@example.com", expect=5)["reason"] == (
        "search-incomplete"
    )


def test_what_an_import_brings_is_indexed_if_there_is_an_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sites = Sites(tmp_path, capsys)
    sites.json(INSIDE, "index", "build")
    sites.log.grow([leaf(WHO)])
    sites.grow(0)
    sites.json(OUTSIDE, "export", "--include-entries", "--output", sites.stick("out.tar"))
    sites.json(INSIDE, "import", sites.stick("out.tar"))
    search = ("entries", "search", "--identity-exact", WHO)
    answer = sites.json(INSIDE, *search)
    assert indices(answer) == [0] and answer["complete"]
    sites.log.grow([leaf(WHO, b"later")])
    sites.grow(0)
    sites.json(OUTSIDE, "export", "--include-entries", "--output", sites.stick("more.tar"))
    sites.json(INSIDE, "import", "--no-index", sites.stick("more.tar"))
    late = sites.json(INSIDE, *search, expect=5)
    assert late["reason"] == "search-incomplete" and "not-indexed" in late["message"]
    sites.json(INSIDE, "index", "build")
    assert indices(sites.json(INSIDE, *search)) == [0, 1]
