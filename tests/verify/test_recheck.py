"""verdicts recheck: a recorded question is asked again as it was asked, not only whom it is of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from appliance.store.database import create_store, open_store
from appliance.store.verify.verdicts import RecordedVerdict, recorded_verdicts
from tests.mirror.mirrors import NOW
from tests.pki.authorities import LeafPlan
from tests.pki.bundles import Instance
from tests.verify.test_verify import Site, site
from tests.verify.test_verify_inputs import KEYLESS, MADE, Desk, desk

__all__ = ["desk", "site"]
TYPE = "https://example.com/predicate"
# Columns that are not of the form they were written in. None is an answer about the artifact.
SPOILT = (
    """digests = '{"sha256":"zz"}'""",
    """digests = '{"sha256":"aa"}'""",
    """digests = '{"sha1":"aa"}'""",
    "digests = '{'",
    "expected = '[]'",
    """expected = '{"key":"?"}'""",
    """expected = '{"identity":7,"issuer":"https://issuer.example"}'""",
    """expected = '{"identity":"a","issuer":"b","claims":{"trigger":7}}'""",
    "demands = '{'",
    """demands = '{"policy":"?"}'""",
    """demands = '{"maxAge":"1h"}'""",
    """demands = '{"trustedRoot":"zz"}'""",
)


class Home:
    """A desk with a home, in which verdicts are recorded and judged again."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.later = NOW
        assert self.run("init")[0] == 0

    def run(self, *words: str | Path) -> tuple[int, str, str]:
        session = Session(home=self.desk.directory / "home", now=lambda: self.later)
        code = run(list(map(str, words)), session)
        return (code, *self.desk.capsys.readouterr())

    def record(self, *words: str | Path) -> int:
        return self.run("verify", self.desk.artifact, *KEYLESS, "--record", *words)[0]

    def recheck(self) -> tuple[int, list[Any]]:
        code, out, _ = self.run("verdicts", "recheck", "--json")
        return code, json.loads(out)["data"]["changed"]


@pytest.fixture
def home(desk: Desk) -> Iterator[Home]:
    home = Home(desk)
    assert home.run("trust", "import", desk.root)[0] == 0
    yield home


def test_a_predicate_type_is_asked_again_and_is_another_question(home: Home) -> None:
    home.desk.write(MADE.v2_bundle(MADE.sign_statement()))
    assert home.record() == 0
    assert home.record("--predicate-type", TYPE) == 0
    assert home.record("--predicate-type", "https://spdx.dev/Document") == 3
    _, out, _ = home.run("verdicts", "list", "--json")
    listed = json.loads(out)["data"]["verdicts"]
    assert [one["exitCode"] for one in listed] == [0, 0, 3]
    assert [one["demands"].get("predicateType", "") for one in listed] == [
        *("", TYPE, "https://spdx.dev/Document"),
    ]
    assert home.recheck() == (0, [])  # the no stays one


@pytest.mark.parametrize("option", ["--allow-unlogged", "--allow-subject"])
def test_what_was_allowed_is_allowed_again(home: Home, option: str) -> None:
    if option == "--allow-unlogged":
        home.desk.write(MADE.bundle(MADE.sign_artifact(), None))
    else:
        plan = LeafPlan(subject="release")
        home.desk.write(MADE.v2_bundle(MADE.sign_artifact(plan=plan)))
    assert home.record(option) == 0
    assert home.recheck() == (0, [])


@pytest.mark.parametrize("option", ["--require-mirror", "--require-proof", "--max-age"])
def test_what_was_demanded_is_demanded_again(home: Home, option: str) -> None:
    home.desk.write(MADE.bundle(MADE.sign_artifact(), None))
    more = [option, *(["1h"] if option == "--max-age" else [])]
    code = home.record("--allow-unlogged", *more)
    assert code in (5, 8)
    assert home.recheck() == (0, [])


def test_less_than_a_second_is_an_age_that_is_demanded(home: Home) -> None:
    home.desk.write(MADE.bundle(MADE.sign_artifact(), None))
    assert home.record("--allow-unlogged", "--max-age", "500ms") in (5, 8)
    assert home.recheck() == (0, [])
    assert home.run("config", "set", "verify.maxCheckpointAge", "500ms")[0] == 0
    assert home.record("--allow-unlogged") in (5, 8)


def test_that_any_age_was_allowed_is_asked_again(home: Home) -> None:
    home.desk.write(MADE.bundle(MADE.sign_artifact(), None))
    assert home.run("config", "set", "verify.maxCheckpointAge", "1h")[0] == 0
    assert home.record("--allow-unlogged", "--max-age", "0s") == 0
    assert home.recheck() == (0, [])


def test_a_policy_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.sync()
    policy = tmp_path / "policy"
    policy.write_text(f"log {site.log.key.vkey}\nquorum none\n", "utf-8")
    assert site.verify("--policy", policy, "--record")[0] == 0
    policy.unlink()
    code, out, _ = site.run("verdicts", "recheck")
    assert (code, out) == (0, "1 verdicts judged again, 0 changed\n")
    store = open_store(site.directory / "home", write=True)
    (found,) = recorded_verdicts(store)
    assert isinstance(found, RecordedVerdict) and "policy" in found.demands
    store.close()


def test_settings_are_those_of_today(site: Site) -> None:
    assert site.verify("--record")[0] == 0
    assert site.run("config", "set", "verify.requireMirror", "true")[0] == 0
    code, out, _ = site.run("verdicts", "recheck")
    assert code == 5 and "verified -> not-covered" in out


def test_a_root_that_was_given_is_the_root_it_is_asked_under_again(desk: Desk) -> None:
    home = Home(desk)
    assert home.record("--trusted-root", desk.root) == 0
    other = desk.directory / "other.json"
    other.write_text(json.dumps(Instance().root()), "utf-8")
    assert home.run("trust", "import", other)[0] == 0
    desk.root.unlink()
    assert home.recheck() == (0, [])
    home.later += 10 * 366 * 86400  # the newest signed time is a floor of the clock
    assert home.run("verdicts", "prune", "--older-than", "1h")[0] == 0
    store = open_store(desk.directory / "home", write=False)
    assert store.rows("SELECT * FROM given_root") == []
    store.close()


def test_verdicts_of_an_older_home_have_no_demands_and_are_judged_again(home: Home) -> None:
    assert home.record() == 0
    store = open_store(home.desk.directory / "home", write=True)
    with store.atomic():
        store.execute("ALTER TABLE verdict RENAME TO newer")
        store.execute(
            "CREATE TABLE verdict (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, artifact TEXT NOT"
            " NULL, digests TEXT NOT NULL, bundle BLOB NOT NULL, expected TEXT NOT NULL,"
            " root_digest TEXT NOT NULL, code INTEGER NOT NULL, reason TEXT NOT NULL, coverage"
            " TEXT NOT NULL, UNIQUE (artifact, digests, bundle, expected)) STRICT"
        )
        store.execute(
            "INSERT INTO verdict SELECT id, at, artifact, digests, bundle, expected, root_digest,"
            " code, reason, coverage FROM newer"
        )
        for table in ("newer", "given_root"):
            store.execute(f"DROP TABLE {table}")
        store.execute("DELETE FROM _sqlite_migrations WHERE name = '045_verdict_question'")
    store.close()
    create_store(home.desk.directory / "home").close()
    assert home.recheck() == (0, [])
    assert json.loads(home.run("verdicts", "list", "--json")[1])["data"]["verdicts"][0]["id"] == 1


def listed(home: Home) -> list[Any]:
    found: list[Any] = json.loads(home.run("verdicts", "list", "--json")[1])["data"]["verdicts"]
    return found


def given_roots(home: Home) -> int:
    store = open_store(home.desk.directory / "home", write=False)
    try:
        return len(store.rows("SELECT * FROM given_root"))
    finally:
        store.close()


def test_a_root_is_kept_with_a_verdict_or_not_at_all(desk: Desk) -> None:
    home = Home(desk)
    desk.bundle.write_text("{}", "utf-8")
    assert home.record("--trusted-root", desk.root) not in (0, 5)
    assert given_roots(home) == 0
    desk.write(MADE.v2_bundle())
    assert home.record("--trusted-root", desk.root) == 0
    assert given_roots(home) == 1


def test_a_root_that_was_kept_without_a_verdict_goes_with_the_next_prune(desk: Desk) -> None:
    home = Home(desk)
    store = open_store(desk.directory / "home", write=True)
    store.execute("INSERT INTO given_root VALUES (?, ?)", [bytes(32), b"{}"])
    store.close()
    assert home.run("verdicts", "prune", "--older-than", "1h", "--dry-run")[0] == 0
    assert given_roots(home) == 1
    assert home.run("verdicts", "prune", "--older-than", "1h")[0] == 0
    assert given_roots(home) == 0


@pytest.mark.parametrize(
    ("spoil", "code", "reason"),
    [
        *((f"UPDATE verdict SET {one} WHERE id = 1", 6, "corrupt") for one in SPOILT),  # noqa: S608 ours
        ("DELETE FROM given_root", 6, "corrupt"),
        ("UPDATE given_root SET raw = CAST('{}' AS BLOB)", 6, "corrupt"),
        ("UPDATE verdict SET bundle = CAST('x' AS BLOB) WHERE id = 1", 6, "corrupt"),
    ],
)
def test_what_cannot_be_read_of_a_verdict_keeps_no_other_from_being_judged(
    home: Home, spoil: str, code: int, reason: str
) -> None:
    desk = home.desk
    assert home.record("--trusted-root", desk.root) == 0
    assert home.record() == 0
    store = open_store(desk.directory / "home", write=True)
    store.execute(spoil)
    store.close()
    before = stored_row(desk)
    other = desk.directory / "other.json"
    other.write_text(json.dumps(Instance().root()), "utf-8")
    assert home.run("trust", "import", other)[0] == 0
    answer = json.loads(home.run("verdicts", "recheck", "--json")[1])
    assert answer["data"]["judged"] == 1
    [one] = answer["data"]["notJudged"]
    assert (one["id"], one["reason"]) == (1, reason)
    assert [(one["id"], one["before"]) for one in answer["data"]["changed"]] == [(2, None)]
    # Told each time, and not taken for an answer.
    again, out, err = home.run("verdicts", "recheck")
    assert (again, out) == (code, "1 verdicts judged again, 0 changed, 1 could not be\n")
    assert "not judged" in err
    assert stored_row(desk) == before


def test_another_root_in_the_place_of_a_given_one_is_damage(home: Home) -> None:
    assert home.record("--trusted-root", home.desk.root) == 0
    store = open_store(home.desk.directory / "home", write=True)
    store.execute("UPDATE given_root SET raw = ?", [json.dumps(Instance().root()).encode()])
    store.close()
    code, out, _ = home.run("verdicts", "recheck", "--json")
    [one] = json.loads(out)["data"]["notJudged"]
    assert (code, one["id"], one["reason"]) == (6, 1, "corrupt")
    assert "which is damaged" in home.run("verdicts", "recheck")[2]


def stored_row(desk: Desk) -> tuple[Any, ...]:
    store = open_store(desk.directory / "home", write=False)
    try:
        return tuple(store.rows("SELECT * FROM verdict ORDER BY id")[0])
    finally:
        store.close()


@pytest.mark.parametrize(
    "spoil", ["""digests = '{"sha256":"zz"}'""", "demands = '{'", "expected = '7'"]
)
def test_a_damaged_verdict_is_named_and_the_others_are_listed(home: Home, spoil: str) -> None:
    assert home.record() == 0
    assert home.record("--predicate-type", TYPE) == 3
    place = home.desk.directory / "home"
    store = open_store(place, write=True)
    store.execute(f"UPDATE verdict SET {spoil}, at = at + 9999999999 WHERE id = 1")  # noqa: S608 ours
    store.execute("INSERT INTO given_root VALUES (?, ?)", [bytes(32), b"{}"])
    store.close()
    code, out, err = home.run("verdicts", "list")
    assert (code, "no: " in out) == (6, True)
    assert f"recorded verdict 1 ({home.desk.artifact}) is damaged in the database" in err
    assert "restore a backup" in err and "verify --record" in err
    code, out, _ = home.run("verdicts", "list", "--json")
    assert [one["id"] for one in json.loads(out)["data"]["verdicts"]] == [2]
    assert code == 6 and "recorded verdict 1" in out
    # Whose root it is nobody can tell of damaged demands: it is kept.
    home.later += 10 * 366 * 86400
    assert home.run("verdicts", "prune", "--older-than", "1h")[0] == 0
    assert given_roots(home) == int("demands" in spoil)


def test_a_root_of_today_that_cannot_be_read_ends_it(home: Home) -> None:
    assert home.record() == 0
    store = open_store(home.desk.directory / "home", write=True)
    store.execute("UPDATE trusted_root SET raw = CAST('{}' AS BLOB)")
    store.close()
    code, out, _ = home.run("verdicts", "recheck")
    assert code not in (0, 1) and out == ""
