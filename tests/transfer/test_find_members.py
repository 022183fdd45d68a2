"""What should be signed, and signed statements, across the gap: told to whoever cannot read it."""

from __future__ import annotations

import json
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

import bundles.manifest_json
from appliance.jobs.transfer.find_members import outbound_expected, outbound_watches
from appliance.store.database import open_store
from appliance.store.home.key_files import load_signing_key
from appliance.tlog.note import sign_note
from tests.find.logged import instance, leaf, stranger
from tests.pki.authorities import ISSUER
from tests.transfer.sites import INSIDE, OUTSIDE, Sites

WHO = "release@example.com"
BY = ("--identity-exact", WHO, "--issuer", ISSUER)
DIGEST = sha256(b"app").hexdigest()


def rows(sites: Sites, name: str = INSIDE) -> list[tuple[str | None, str | None, str]]:
    listed = sites.json(name, "expected", "list")["expectations"]
    return [(row["site"], row["digest"], row["standing"]) for row in listed]


def carried(sites: Sites, *options: str | Path, expect: int = 0) -> Any:
    stick = sites.stick(f"{sites.now}.tar")
    sites.grow(1)
    sites.json(OUTSIDE, "export", "--include-entries", "--output", stick, *options)
    return sites.json(INSIDE, "import", stick, expect=expect)


def test_what_the_operator_expects_crosses_the_gap_and_is_marked(sites: Sites) -> None:
    sites.json(OUTSIDE, "expected", "add", "--digest", DIGEST, *BY, "--note", "release 3")
    window = ("--from", "2026-01-01T00:00:00Z", "--until", "2027-01-01T00:00:00Z")
    sites.json(OUTSIDE, "expected", "add", "--identity", "a|b", "--issuer", ISSUER, *window)
    brought = carried(sites, "--include-expected")
    [file] = brought["imports"]
    assert (file["expected"], file["statements"]) == (2, [])
    assert rows(sites) == [(OUTSIDE, f"sha256:{DIGEST}", "open"), (OUTSIDE, None, "open")]
    inner, outer = (sites.json(name, "expected", "show", "2") for name in (INSIDE, OUTSIDE))
    for name in ("pattern", "issuer", "from", "until", "count", "note", "source"):
        assert inner[name] == outer[name], name
    events = [one["event"] for one in sites.json(INSIDE, "journal", "list")["lines"]]
    assert events.count("expected.added") == 2
    carried(sites, "--include-expected")  # again is the same
    assert len(rows(sites)) == 2
    sites.json(OUTSIDE, "expected", "cancel", "1", "--reason", "withdrawn")
    carried(sites, "--include-expected")
    assert [standing for _, _, standing in rows(sites)] == ["cancelled", "open"]
    assert outbound(sites, INSIDE) == []  # what came from there does not go back


def outbound(sites: Sites, name: str) -> list[object]:
    with closing(open_store(sites.home(name), write=False)) as store:
        return list(outbound_expected(store))


def test_watches_cross_the_gap_under_the_name_of_their_site(sites: Sites) -> None:
    words = ("--severity", "critical", "--expectations", "required", "--grace", "1h")
    sites.json(OUTSIDE, "watch", "add", "ours", "--identity", "^release@", *words)
    sites.log.grow([leaf(WHO, b"app")])
    [file] = carried(sites, "--include-watches")["imports"]
    assert file["watches"] == ["from.outside.example.ours"]
    [inner], [outer] = (sites.json(name, "watch", "list")["watches"] for name in (INSIDE, OUTSIDE))
    for name in ("criteria", "severity", "expectations", "graceSeconds", "unvouched"):
        assert inner[name] == outer[name], name
    [match] = sites.json(INSIDE, "watch", "matches")["matches"]  # at once, of the past as well
    assert match["watch"] == "from.outside.example.ours"
    sites.json(INSIDE, "watch", "add", "own", "--identity", "x")
    [again] = carried(sites, "--include-watches")["imports"]
    assert again["watches"] == []
    with closing(open_store(sites.home(INSIDE), write=False)) as store:
        [member] = outbound_watches(store)
    assert b"ours" not in member.read()


def test_nothing_of_it_goes_unasked_and_then_any_reader_will_do(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites.json(OUTSIDE, "expected", "add", "--digest", DIGEST, *BY)
    monkeypatch.setattr(bundles.manifest_json, "CAPABILITIES", frozenset())
    carried(sites)
    assert rows(sites) == []


@pytest.mark.parametrize("what", ["--include-expected", "--include-watches", "--statement"])
def test_an_older_reader_is_told_that_it_needs_a_newer_one(
    sites: Sites, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    sites.json(OUTSIDE, "expected", "add", "--digest", DIGEST, *BY)
    sites.json(OUTSIDE, "watch", "add", "ours", "--identity", "^release@")
    stick, note = sites.stick("new.tar"), sites.stick("found.note")
    sites.grow(3)
    more = (note,) if what == "--statement" else ()
    if more:
        words = ("--digest", DIGEST, "--rescan", "--statement", note)
        sites.answer(OUTSIDE, "entries", "search", *words)
    sites.json(OUTSIDE, "export", what, *more, "--output", stick)
    monkeypatch.setattr(bundles.manifest_json, "CAPABILITIES", frozenset())
    error = sites.json(INSIDE, "import", stick, expect=8)  # nothing was judged
    assert error["reason"] == "unknown-capability" and "requires find" in error["message"]
    assert "or later" in error["next"] and sites.size(INSIDE) == 0


def test_the_authorities_of_a_watch_cross_the_gap_with_it(sites: Sites, tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    authorities = (stranger().authority, stranger().root_authority)
    roots.write_bytes(b"".join(one.certificate.public_bytes(Encoding.PEM) for one in authorities))
    sites.json(OUTSIDE, "watch", "add", "ours", "--identity-exact", WHO, "--ca-roots", roots)
    sites.log.grow([leaf(WHO, b"1"), leaf(WHO, b"2", other=True)])
    carried(sites, "--include-watches")
    matches = sites.json(INSIDE, "watch", "matches")["matches"]
    assert [one["finding"] for one in matches] == ["claimed", "matched"]


def test_what_is_brought_under_no_believed_name_is_not_taken(sites: Sites) -> None:
    sites.json(OUTSIDE, "expected", "add", "--digest", DIGEST, *BY)
    stick = sites.stick("new.tar")
    sites.grow(3)
    sites.json(OUTSIDE, "export", "--include-expected", "--output", stick)
    answer = sites.answer(INSIDE, "import", "--insecure-unsigned", stick)
    assert answer["exitCode"] == 0 and rows(sites) == []
    assert any("expected.json is not taken" in one for one in answer["warnings"])


def test_a_signed_statement_arrives_as_it_was(sites: Sites, tmp_path: Path) -> None:
    key = load_signing_key(sites.home(OUTSIDE), OUTSIDE)
    note = sign_note("attestor-statement/v1\n{}\n", [key])
    file = tmp_path / "statement.note"
    file.write_bytes(note)
    brought = carried(sites, "--statement", file)
    [imported] = brought["imports"]
    [digest] = imported["statements"]
    kept = sites.home(INSIDE) / "statements" / f"{digest}.note"
    assert digest == sha256(note).hexdigest() and kept.read_bytes() == note
    file.write_bytes(b"no note")
    stick = sites.stick("bad.tar")
    error = sites.json(OUTSIDE, "export", "--statement", file, "--output", stick, expect=3)
    assert str(file) in error["message"] and not stick.exists()


def test_what_came_is_met_over_there(sites: Sites, tmp_path: Path) -> None:
    root = tmp_path / "root.json"
    root.write_text(json.dumps(instance().root()))
    sites.json(INSIDE, "trust", "import", root)
    sites.json(INSIDE, "index", "build")
    sites.json(OUTSIDE, "expected", "add", "--digest", DIGEST, *BY)
    sites.log.grow([leaf(WHO, b"app")])
    carried(sites, "--include-expected")
    assert rows(sites) == [(OUTSIDE, f"sha256:{DIGEST}", "used")]
