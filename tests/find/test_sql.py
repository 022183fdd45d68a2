"""sql: the views stay what they are, and nothing but reading them is possible."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from appliance.store.find.index import index_path
from appliance.store.find.views import VIEWS
from tests.cli.mirrored import MirroredHome
from tests.find.logged import key_leaf, leaf
from tests.find.test_expected import BY, logged

WHO = "release@example.com"
DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "sql.md"
REPOSITORY = "https://github.com/org/app"
# What other people's queries rest on: a column may be added at the end, never renamed or moved.
FROZEN = {
    "v_entries": "origin entry_index identity issuer logged_after logged_before kind identity_kind",
    "v_identities": "origin identity issuer entries first_index last_index",
    "v_coverage": "origin tree_size mirror_size entries indexed unread",
    "v_opaque": "origin entry_index why",
    "v_expected": "id source reference site created_at leaf_hash digest signer identity pattern"
    " issuer origin count met valid_from valid_until note cancelled_at cancel_reason",
    "v_watches": "name criteria severity expectations grace_seconds unvouched begins added_at",
    "v_matches": "watch origin entry_index finding found_at leaf_hash alert_number entry",
    "v_checkpoints": "origin tree_size root_hash first_seen_at notes",
    "v_alerts": "number id type event_type severity origin evidence_id count detected_at"
    " last_seen_at ended_at acked_at payload",
    "v_queue": "number id tenant tier edge_trigger priority kind api_version state created_at"
    " changed_at next_at attempts reason message site origin log_index",
    "v_quota": "tenant hourly_count daily_bundle_count hour_from day_from",
}


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    made = MirroredHome(tmp_path / "home", capsys, "connected")
    logged(made, key_leaf(b"k"), leaf(WHO, b"app", claims={"12": REPOSITORY}), b"anything")
    made.json("expected", "add", "--digest", sha256(b"app").hexdigest(), *BY)
    return made


def ask(home: MirroredHome, sql: str, *words: str, expect: int = 0) -> Any:
    answer = home.json("sql", sql, *words, expect=expect)
    return answer if expect else answer["rows"]


def test_the_columns_of_each_view_are_frozen_and_documented(home: MirroredHome) -> None:
    documented = dict(
        re.findall(r"(?m)^\| `(v_\w+)` \| ((?:`\w+`(?:, )?)+) \|$", DOCUMENT.read_text())
    )
    described = re.findall(r"(?m)^\| `(v_\w+)` \| [^`]", DOCUMENT.read_text())
    assert list(documented) == list(FROZEN) == list(VIEWS) == described
    for name, columns in FROZEN.items():
        found = home.json("sql", f"SELECT * FROM {name}")["columns"]  # noqa: S608 ours
        assert found == columns.split() == re.findall(r"\w+", documented[name]), name


def test_each_view_says_what_is_there(home: MirroredHome) -> None:
    origin = home.log.origin
    [entry] = ask(home, "SELECT * FROM v_entries")
    assert entry[:4] == [origin, 1, WHO, "https://issuer.example"]
    assert entry[4] is None and entry[5].endswith("Z")
    [hit] = home.json("entries", "search", "--identity-exact", WHO)["hits"]
    assert entry[6:] == ["hashedrekord 0.0.2", "email"]
    when = "SELECT signed_at(origin, entry_index), signed_at(origin, 0), signed_at('x', 0)"
    assert ask(home, f"{when} FROM v_entries") == [[hit["signers"][0]["signedAt"], None, None]]
    assert ask(home, "SELECT * FROM v_identities") == [
        [origin, WHO, "https://issuer.example", 1, 1, 1]
    ]
    assert ask(home, "SELECT * FROM v_coverage") == [[origin, 3, 3, 3, 3, 1]]
    assert ask(home, "SELECT entry_index FROM v_opaque") == [[2]]
    assert ask(home, "SELECT identity, met FROM v_expected") == [[WHO, 0]]
    assert ask(home, "SELECT tree_size, notes FROM v_checkpoints") == [[3, 1]]
    home.json("watch", "add", "ours", "--identity-exact", WHO)
    assert ask(home, "SELECT name, severity FROM v_watches") == [["ours", "warning"]]
    assert ask(home, "SELECT watch, entry_index FROM v_matches") == [["ours", 1]]
    home.log.grow([leaf("later@example.com")])
    home.sync(0)  # the entry bundle is another now: what was indexed of it does not count
    assert ask(home, "SELECT * FROM v_entries") == []
    assert ask(home, "SELECT entries, indexed FROM v_coverage") == [[4, 0]]
    home.json("index", "drop")
    assert ask(home, "SELECT entries, indexed FROM v_coverage") == [[4, 0]]


def test_functions_read_and_prove(home: MirroredHome) -> None:
    origin = home.log.origin
    [[body]] = ask(home, "SELECT entry_body(:log, 1)", "-p", f"log={origin}")
    assert json.loads(body)["kind"] == "hashedrekord"
    assert ask(home, f"SELECT entry_body('{origin}', 99), entry_body('x', 0)") == [[None, None]]
    wanted = "SELECT claim(origin, entry_index, 'source-repository-uri') FROM v_entries"
    assert ask(home, wanted) == [[REPOSITORY]]
    assert ask(home, "SELECT claim('x', 0, 'nothing')", expect=8)["reason"] == "sql-error"
    where = "SELECT identity FROM v_entries WHERE identity REGEXP :re"
    assert ask(home, where, "-p", r"re=^rel.*\.com$") == [[WHO]]
    assert ask(home, where, "-p", r"re=^com") == []
    assert ask(home, where, "-p", "re=(?=x)", expect=9)["reason"] == "bad-pattern"


def test_views_of_an_index_that_is_not_there_are_told(home: MirroredHome, tmp_path: Path) -> None:
    told = "Warning: this home has no index of entries"
    asked = [f"SELECT count(*) FROM {one}" for one in ("v_entries", "v_identities", "v_opaque")]  # noqa: S608 ours
    assert [home.run("sql", one)[2] for one in asked] == ["", "", ""]
    home.json("index", "drop")
    for sql in (*asked, "WITH a AS (SELECT * FROM v_entries) SELECT count(*) FROM a"):
        assert told in home.run("sql", sql)[2]
    assert told in home.run("sql", "--export", tmp_path / "views.db")[2]
    assert home.run("sql", "SELECT indexed FROM v_coverage")[2] == "", "it says so itself"


@pytest.mark.parametrize("index", ["'x'", "'1'", "0.5", "9e999", "x'00'"])
@pytest.mark.parametrize(
    "call", ["entry_body('x', {})", "claim('x', {}, 'build-trigger')", "signed_at('x', {})"]
)
def test_what_is_no_index_of_an_entry_is_told(home: MirroredHome, call: str, index: str) -> None:
    error = ask(home, f"SELECT {call.format(index)}", expect=8)
    assert (error["reason"], "the index of an entry" in error["message"]) == ("sql-error", True)
    assert ask(home, f"SELECT {call.format('NULL')}") == [[None]]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM attestor.alert",
        "UPDATE v_alerts SET id = 1",
        "INSERT INTO attestor.setting VALUES ('a', 'b')",
        "DROP TABLE attestor.log",
        "ATTACH '/tmp/x.db' AS x",
        "DETACH attestor",
        "PRAGMA attestor.user_version = 5",
        "PRAGMA query_only = OFF",
        "PRAGMA table_info(v_alerts)",
        "VACUUM INTO '/tmp/x.db'",
        "CREATE TABLE x (y)",
        "CREATE TEMP TABLE x AS SELECT 1",
        "CREATE TEMP VIEW x AS SELECT * FROM attestor.setting",
        "BEGIN EXCLUSIVE",
        "SAVEPOINT a",
        "REINDEX",
        "ANALYZE",
        "SELECT load_extension('x')",
        "SELECT * FROM attestor.setting",
        "SELECT * FROM entry_index.identity",
        "SELECT * FROM attestor.sqlite_schema",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM v_alerts, attestor.exporter",
        "SELECT (SELECT value FROM attestor.setting)",
        "EXPLAIN DELETE FROM attestor.alert",
    ],
)
def test_nothing_but_reading_views_is_possible(home: MirroredHome, statement: str) -> None:
    before = (home.path / "attestor.db").read_bytes(), index_path(home.path).read_bytes()
    error = ask(home, statement, expect=8)
    assert error["reason"] in ("sql-forbidden", "sql-error"), error
    assert before == ((home.path / "attestor.db").read_bytes(), index_path(home.path).read_bytes())


@pytest.mark.parametrize("statement", ["", "SELEC 1", "SELECT 1; SELECT 2", "SELECT :x", "/* */"])
def test_what_sqlite_does_not_understand_is_refused(home: MirroredHome, statement: str) -> None:
    assert ask(home, statement, expect=8)["reason"] == "sql-error"


def test_time_rows_and_the_length_of_a_value_are_bounded(home: MirroredHome) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} FROM n"
    error = ask(home, endless.format("count(*)"), "--timeout", "50ms", expect=8)
    assert error["reason"] == "sql-timeout"
    answer = home.json("sql", endless.format("i"), "--max-rows", "3")
    assert (answer["rows"], answer["more"]) == ([[1], [2], [3]], True)
    assert ask(home, "SELECT zeroblob(100000000)", expect=8)["reason"] == "sql-limit"
    assert ask(home, "SELECT i FROM (SELECT 1 AS i) WHERE i = :n", "-p", "n=1") == [[1]]
    assert ask(home, "SELECT value FROM json_each('[1, 2]')") == [[1], [2]]


def test_the_same_as_a_table_csv_and_lines_of_json(home: MirroredHome) -> None:
    statement = "SELECT entry_index AS n, identity, NULL AS absent, x'00ff' AS raw FROM v_entries"
    assert home.run("sql", statement) == (
        0,
        f"n  identity             absent  raw\n-  -------------------  ------  ----\n"
        f"1  {WHO}          00ff\n",
        "",
    )
    rows = list(csv.reader(io.StringIO(home.run("sql", statement, "--csv")[1])))
    assert rows == [["n", "identity", "absent", "raw"], ["1", WHO, "", "00ff"]]
    texts = "SELECT '=1+1' AS a, -1 AS b, char(65309) AS c, 'x' || char(13) || '=1' AS d"
    rows = list(csv.reader(io.StringIO(home.run("sql", texts, "--csv")[1], newline="")))
    # A spreadsheet would run them; a number is none.
    assert rows == [["a", "b", "c", "d"], ["'=1+1", "-1", "'\uff1d", "x\\r=1"]]
    assert json.loads(home.run("sql", texts, "--jsonl")[1])["a"] == "=1+1"
    line = json.loads(home.run("sql", statement, "--jsonl")[1])
    assert line == {"n": 1, "identity": WHO, "absent": None, "raw": "00ff"}
    assert home.run("sql", "SELECT char(27, 91, 50, 74) AS x")[1] == "x\n-------\n\\x1b[2J\n"


def test_what_init_prints_and_export_writes_has_the_same_views(
    home: MirroredHome, tmp_path: Path
) -> None:
    output = tmp_path / "out.db"
    counts = home.json("sql", "--export", output)["rows"]
    assert list(counts) == list(FROZEN) and counts["v_entries"] == 1
    assert output.stat().st_mode & 0o777 == 0o600
    script = home.json("sql", "--init")["script"]
    assert home.run("sql", "--init")[1] == script
    with (
        closing(sqlite3.connect(":memory:", uri=True)) as plain,
        closing(sqlite3.connect(output)) as exported,
    ):
        plain.executescript(script)
        for name, columns in FROZEN.items():
            for connection in (plain, exported):
                found = connection.execute(f"SELECT * FROM {name}")  # noqa: S608 ours
                assert [one[0] for one in found.description] == columns.split()
                assert len(found.fetchall()) == counts[name], name
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            plain.execute("DELETE FROM attestor.expectation")
    assert home.json("sql", "--export", output, expect=6)["reason"] == "file-exists"
    with closing(sqlite3.connect(output)) as exported:
        assert exported.execute("SELECT count(*) FROM v_entries").fetchone() == (1,)


def test_a_damaged_index_is_named_with_its_repair(home: MirroredHome, tmp_path: Path) -> None:
    index_path(home.path).write_bytes(b"no database" * 1000)
    assert "index rebuild" in ask(home, "SELECT * FROM v_entries", expect=6)["next"]
    output = tmp_path / "out.db"
    assert home.json("sql", "--export", output, expect=6) and not output.exists()
    home.json("index", "rebuild")
    with closing(sqlite3.connect(index_path(home.path))) as index:
        index.execute("PRAGMA user_version = 99")
    assert ask(home, "SELECT 1", expect=6)["reason"] == "index-format"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["SELECT 1", "--init"],
        ["SELECT 1", "--csv", "--jsonl"],
        ["SELECT 1", "-p", "x"],
        ["SELECT 1", "--timeout", "soon"],
        ["--init", "--csv"],
    ],
)
def test_what_contradicts_itself_is_usage(home: MirroredHome, words: list[str]) -> None:
    assert home.run("sql", *words)[0] == 2
