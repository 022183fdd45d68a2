"""Receipts and codes: what comes back decides where the next delta starts."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import MalformedError
from appliance.jobs.transfer.receipt_text import (
    Receipt,
    parse_code,
    parse_receipt,
    receipt_code,
)
from appliance.store.database import open_store
from appliance.store.transfer.receipts import receipts_to_carry
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.note import SigningKey, parse_note, sign_note
from tests.transfer.sites import INSIDE, OUTSIDE, SECOND, Sites


def carried(sites: Sites, name: str = "stick.tar") -> dict[str, object]:
    """Export everything new and import it; return what the import said."""
    sites.json(OUTSIDE, "export", "--output", sites.stick(name))
    done: dict[str, object] = sites.json(INSIDE, "import", sites.stick(name))["imports"][0]
    return done


def base_of_next(sites: Sites, *options: str) -> int | None:
    planned = sites.json(OUTSIDE, "export", "--dry-run", *options, "--output", sites.stick("x.tar"))
    base: int | None = planned["logs"][0]["baseSize"]
    return base


@pytest.mark.parametrize("by_phone", [False, True])
def test_a_receipt_moves_the_next_delta(sites: Sites, by_phone: bool) -> None:
    sites.grow(300)
    done = carried(sites)
    sites.grow(50)
    assert base_of_next(sites) is None  # one export so far, and nothing heard
    if by_phone:
        code = str(done["receiptCode"]).lower().replace("0", "o").replace("-", " ")
        sites.json(OUTSIDE, "receipt", "accept", "--code", code, "--site", INSIDE)
    else:
        shown = sites.json(OUTSIDE, "receipt", "show", str(done["receipt"]))
        assert shown["verified"] is False and shown["code"] == done["receiptCode"]
        assert sites.json(OUTSIDE, "receipt", "verify", str(done["receipt"]))["verified"]
        assert base_of_next(sites) is None  # verify remembers nothing
        assert base_of_next(sites, "--since-receipt", str(done["receipt"])) == 300
        sites.json(OUTSIDE, "receipt", "accept", str(done["receipt"]))
    assert base_of_next(sites) == 300
    assert base_of_next(sites, "--to", INSIDE) == 300
    assert base_of_next(sites, "--full") is None
    [listed] = sites.json(OUTSIDE, "receipt", "list")["receipts"]
    assert (listed["site"], listed["byPhone"]) == (INSIDE, by_phone)
    assert carried(sites, "next.tar")["logs"][0]["newSize"] == 350  # type: ignore[index]


def test_receipts_and_what_is_held_come_back_by_themselves_three_times(sites: Sites) -> None:
    sites.grow(300)
    carried(sites)
    with closing(open_store(sites.home(INSIDE), write=False)) as store:
        assert len(receipts_to_carry(store)) == 1
    for number in range(4):
        back = sites.stick(f"back-{number}.tar")
        sites.json(INSIDE, "export", "--output", back)
        with closing(open_store(sites.home(INSIDE), write=False)) as store:
            assert len(receipts_to_carry(store)) == (1 if number < 2 else 0)
    assert base_of_next(sites) is None
    sites.json(OUTSIDE, "import", sites.stick("back-0.tar"))
    assert base_of_next(sites) == 300
    listed = sites.json(OUTSIDE, "receipt", "list")["receipts"]
    assert [one["site"] for one in listed if not one["ours"]] == [INSIDE]
    sites.grow(20)
    # The receipt went three times; what is held says the same in the fourth.
    sites.json(OUTSIDE, "import", sites.stick("back-3.tar"))
    assert base_of_next(sites) == 300


def test_a_receipt_counts_only_by_the_site_it_speaks_for(sites: Sites) -> None:
    sites.grow(300)
    receipt = str(carried(sites)["receipt"])
    note = sites.stick("x").with_name("forged.note")
    text = parse_note(Path(receipt).read_bytes()).text
    stranger = SigningKey(INSIDE, bytes(range(32)))
    note.write_bytes(sign_note(text, [stranger]))
    error = sites.json(OUTSIDE, "receipt", "accept", note, expect=8)
    assert error["reason"] == "unknown-exporter" and "--role receipt" in error["next"]
    other = SigningKey("other.example", bytes(range(32)))
    sites.json(OUTSIDE, "exporters", "add", "--role", "receipt", other.verifier.vkey)
    note.write_bytes(sign_note(text, [other]))
    assert sites.json(OUTSIDE, "receipt", "accept", note, expect=8)["reason"] == "foreign-receipt"
    damaged = bytearray(Path(receipt).read_bytes())
    damaged[100] ^= 1
    note.write_bytes(damaged)
    assert sites.answer(OUTSIDE, "receipt", "accept", note)["exitCode"] in (3, 8)
    assert sites.json(OUTSIDE, "receipt", "list")["receipts"] == []


def test_a_receipt_for_another_tree_is_refused_loudly(sites: Sites) -> None:
    sites.grow(300)
    receipt = parse_receipt(parse_note(Path(str(carried(sites)["receipt"])).read_bytes()).text)
    text = str(receipt).replace(sites.log.head.root_hash.hex(), bytes(32).hex())
    assert text != str(receipt)
    key = SigningKey(INSIDE, b"\x02" * 32)
    note = sites.stick("forged.note")
    note.write_bytes(sign_note(text, [key]))
    error = sites.json(OUTSIDE, "receipt", "accept", note, expect=8)
    assert error["reason"] == "other-tree" and "fork" in error["next"]


def test_a_code_is_found_only_if_it_fits(sites: Sites) -> None:
    sites.grow(300)
    carried(sites)
    wrong = "0000-0000-0000-0000-0000-0000"
    error = sites.json(OUTSIDE, "receipt", "accept", "--code", wrong, "--site", INSIDE, expect=5)
    assert error["reason"] == "unknown-code"
    sites.json(OUTSIDE, "receipt", "accept", "--code", "0000-U", "--site", INSIDE, expect=2)


def test_a_mistyped_site_holds_no_delta_back_for_good(sites: Sites) -> None:
    sites.grow(300)
    code = str(carried(sites)["receiptCode"])
    words = ("receipt", "accept", "--code", code, "--site", "insde.example")
    error = sites.json(OUTSIDE, *words, expect=5)
    assert error["reason"] == "unknown-site" and INSIDE in error["message"]
    assert sites.json(OUTSIDE, "receipt", "list")["receipts"] == []
    sites.json(OUTSIDE, *words[:-1], INSIDE)
    to = ("export", "--dry-run", "--output", sites.stick("next.tar"), "--to")
    [warning] = sites.answer(OUTSIDE, *to, "insde.example")["warnings"]
    assert f"(who did: {INSIDE})" in warning
    assert sites.answer(OUTSIDE, *to, INSIDE)["warnings"] == []


def test_all_receipts_on_the_stick_are_accepted_in_any_order(sites: Sites) -> None:
    done = []
    for number in range(3):
        sites.grow(100)
        done.append(Path(str(carried(sites, f"{number}.tar")["receipt"])))
    other = sites.stick("other.note")
    other.write_bytes(b"no receipt")
    answer = sites.answer(OUTSIDE, "receipt", "accept", done[2], other, done[0], done[1])
    assert (answer["exitCode"], answer["error"]["reason"]) == (3, "not-a-receipt")
    accepted = answer["data"]["accepted"]
    assert [one["heads"][sites.log.origin]["treeSize"] for one in accepted] == [300, 100, 200]
    sites.grow(1)
    assert base_of_next(sites) == 300
    sites.json(OUTSIDE, "receipt", "accept", expect=2)


def test_a_far_side_that_is_no_more_holds_no_delta_back(sites: Sites) -> None:
    sites.grow(300)
    receipt = str(carried(sites)["receipt"])
    sites.grow(50)
    vkey = sites.keys[INSIDE].vkey
    sites.json(OUTSIDE, "exporters", "add", vkey, "--role", "receipt")
    sites.json(OUTSIDE, "receipt", "accept", receipt)
    sites.json(OUTSIDE, "exporters", "remove", vkey, "--dry-run")
    assert base_of_next(sites) == 300
    sites.json(OUTSIDE, "exporters", "remove", vkey)
    assert base_of_next(sites) is None  # as before it said anything


def test_what_is_no_receipt_is_told_what_one_is(sites: Sites) -> None:
    other = sites.stick("other.tar")
    other.write_bytes(b"\xff" * 600)
    for command in ("accept", "show", "verify"):
        error = sites.json(OUTSIDE, "receipt", command, other, expect=3)
        assert error["reason"] == "not-a-receipt" and "receipt-….note" in error["next"]


def test_a_clock_beyond_every_calendar_is_a_typed_error() -> None:
    receipt = Receipt("00" * 32, "", (1, 1), "11" * 32, "in", 1, "", False, {}, (), ())
    assert parse_receipt(str(receipt)) == receipt
    for clock in (2**60, 253402300800, True, -1):
        bad = str(receipt).replace('"clock":1,', f'"clock":{str(clock).lower()},')
        with pytest.raises(MalformedError, match="clock"):
            parse_receipt(bad)


def test_codes_commit_to_bundle_and_heads() -> None:
    head = TreeHead(7, Hash(bytes(32)))
    codes = {
        receipt_code(site, bundle, {"log.example": one})
        for site in (INSIDE, SECOND)
        for bundle in ("00" * 32, "11" * 32)
        for one in (head, TreeHead(8, Hash(bytes(32))), TreeHead(7, Hash(b"\x01" * 32)), None)
    }
    assert len(codes) == 16
    for code in codes:
        assert parse_code(code) == code
        assert parse_code(code.replace("-", "").lower()) == code
    with pytest.raises(MalformedError):
        parse_code("")


def test_importing_again_writes_the_same_receipt_again(sites: Sites) -> None:
    sites.grow(300)
    done = carried(sites)
    path = Path(str(done["receipt"]))
    first = path.read_bytes()
    path.unlink()
    again = sites.json(INSIDE, "import", sites.stick("stick.tar"))["imports"][0]
    assert again["already"] and path.read_bytes() == first
    elsewhere = sites.stick("receipts")
    elsewhere.mkdir()
    words = ("import", "--receipt-dir", elsewhere, sites.stick("stick.tar"))
    sites.json(INSIDE, *words)
    assert [one.read_bytes() for one in elsewhere.iterdir()] == [first]


def test_files_given_in_any_order_are_all_imported(sites: Sites) -> None:
    names = []
    for size in (100, 200, 300):
        sites.grow(100)
        names.append(sites.stick(f"{size}.tar"))
        start = ("--since-size", str(size - 100)) if size > 100 else ("--full",)
        sites.json(OUTSIDE, "export", *start, "--output", names[-1])
    done = sites.json(INSIDE, "import", *reversed(names))
    assert len(done["imports"]) == 3 and sites.size(INSIDE) == 300


def test_a_diode_gets_a_full_one_every_so_often(sites: Sites) -> None:
    bases = []
    for number in range(9):
        sites.grow(10)
        words = ("export", "--no-ack", "--full-every", "4", "--overlap", "2")
        done = sites.json(OUTSIDE, *words, "--output", sites.stick(f"{number}.tar"))
        bases.append(done["logs"][0]["baseSize"])
    assert bases == [None, None, 10, 20, 30, None, 50, 60, 70]


def test_the_receipt_of_a_volume_names_the_others(sites: Sites) -> None:
    sites.grow(20_000)
    words = ("export", "--volume-size", "400K", "--output", sites.stick("set.tar"))
    files = [one["path"] for one in sites.json(OUTSIDE, *words)["volumes"]]
    said = []
    for file in files:
        done = sites.json(INSIDE, "import", file)["imports"][0]
        shown = sites.json(OUTSIDE, "receipt", "show", done["receipt"])
        said.append([one for one in shown["warnings"] if not one.startswith("alert")])
    assert said == [["volumes still to come: 2"], []]
    assert len(files) == 2


def test_a_size_of_volumes_that_nobody_can_read_is_wrong_usage(sites: Sites) -> None:
    sites.grow(10)
    words = ("export", "--output", sites.stick("set.tar"), "--volume-size", "huge")
    error = sites.json(OUTSIDE, *words, expect=2)
    assert error["message"].startswith("--volume-size: expected a size such as")
