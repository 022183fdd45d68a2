"""What made people stumble who crossed the gap from the documents alone."""

from __future__ import annotations

from appliance.store.home.key_files import create_signing_key
from appliance.times import utc
from tests.transfer.sites import INSIDE, OUTSIDE, SECOND, Sites


def test_an_export_that_expired_is_not_the_same_that_is_there_already(sites: Sites) -> None:
    sites.grow(100)
    stick = sites.stick("stick.tar")
    words = ("export", "--expires", "10s", "--output", stick)
    sites.json(OUTSIDE, *words)
    expired_at = sites.now + 10
    assert sites.json(OUTSIDE, *words)["already"]
    sites.now += 60
    error = sites.json(OUTSIDE, *words, expect=6)
    assert error["reason"] == "file-exists" and utc(expired_at) in error["message"]
    assert error["next"] == "choose another name"


def test_an_export_says_until_when_it_is_good(sites: Sites) -> None:
    sites.grow(100)
    stick = sites.stick("stick.tar")
    for more in (["--dry-run"], []):
        text = sites.text(OUTSIDE, "export", "--expires", "1d", *more, "--output", stick)
        assert f"  valid   until {utc(sites.now + 24 * 60 * 60)}\n" in text


def test_a_second_signature_whose_key_is_not_known_is_named(sites: Sites) -> None:
    sites.grow(100)
    stick = sites.stick("stick.tar")
    sites.json(OUTSIDE, "export", "--output", stick)
    sites.json(INSIDE, "config", "set", "transfer.threshold", "2")
    error = sites.json(INSIDE, "import", stick, expect=8)
    assert error["reason"] == "below-threshold" and "countersign" in error["next"]
    vkey = create_signing_key(sites.home(OUTSIDE), SECOND, b"\x09" * 32).verifier.vkey
    sites.json(OUTSIDE, "countersign", stick, "--key", SECOND)
    error = sites.json(INSIDE, "import", stick, expect=8)
    assert SECOND in error["next"] and "attestor exporters add" in error["next"]
    sites.json(INSIDE, "exporters", "add", vkey)
    sites.json(INSIDE, "import", stick)


def test_a_second_signature_by_a_revoked_key_is_not_offered_for_enrolment(sites: Sites) -> None:
    sites.grow(100)
    stick = sites.stick("stick.tar")
    sites.json(OUTSIDE, "export", "--output", stick)
    vkey = create_signing_key(sites.home(OUTSIDE), SECOND, b"\x09" * 32).verifier.vkey
    sites.json(OUTSIDE, "countersign", stick, "--key", SECOND)
    sites.json(INSIDE, "config", "set", "transfer.threshold", "2")
    sites.json(INSIDE, "exporters", "add", vkey)
    sites.json(INSIDE, "exporters", "revoke", vkey, "--reason", "left the company")
    error = sites.json(INSIDE, "import", stick, expect=8)
    assert "left the company" in error["message"] and "exporters add" not in error["next"]


def test_what_proves_some_entries_only_does_not_look_like_a_failure(sites: Sites) -> None:
    sites.grow(1000)
    stick = sites.stick("heads.tar")
    sites.json(OUTSIDE, "export", "--no-tiles", "--output", stick)
    text = sites.text(INSIDE, "import", stick)
    assert "nothing -> nothing, proven up to 1,000 (first;" in text


def test_an_old_code_says_that_it_takes_a_step_back(sites: Sites) -> None:
    codes = []
    for number in (1, 2):
        sites.grow(100)
        stick = sites.stick(f"{number}.tar")
        sites.json(OUTSIDE, "export", "--output", stick)
        [done] = sites.json(INSIDE, "import", stick)["imports"]
        codes.append(done["receiptCode"])
    accepting = ("receipt", "accept", "--site", INSIDE, "--code")
    assert sites.answer(OUTSIDE, *accepting, codes[0])["warnings"] == []
    assert sites.answer(OUTSIDE, *accepting, codes[1])["warnings"] == []
    [warning] = sites.answer(OUTSIDE, *accepting, codes[0])["warnings"]
    assert "known to hold 200" in warning and "says 100" in warning


def test_what_comes_back_for_another_site_is_no_alarm(sites: Sites) -> None:
    """A receipt in a transfer bundle goes to everybody; only its addressee has a use for it."""
    sites.grow(100)
    first, back = sites.stick("first.tar"), sites.stick("back.tar")
    sites.json(OUTSIDE, "export", "--output", first)
    [done] = sites.json(INSIDE, "import", first)["imports"]
    sites.json(INSIDE, "export", "--no-tiles", "--output", back)
    # Another home with the same name and keys, that did not write the first one.
    forget = (
        "UPDATE transfer SET direction = 'import'",
        "UPDATE transfer_log SET direction = 'import'",
    )
    sites.change(OUTSIDE, *forget)
    answer = sites.answer(OUTSIDE, "import", back)
    assert answer["exitCode"] == 0 and "wrote no" not in str(answer["warnings"])
    # Carried by itself it is somebody's mistake.
    warnings = sites.answer(OUTSIDE, "receipt", "accept", done["receipt"])["warnings"]
    assert "wrote no such transfer bundle" in warnings[0]


def test_a_log_that_is_not_configured_is_named_beside_those_that_are(sites: Sites) -> None:
    sites.grow(100)
    stick = sites.stick("stick.tar")
    sites.json(OUTSIDE, "export", "--output", stick)
    sites.change(INSIDE, "UPDATE log SET origin = 'log.exampl'")
    error = sites.json(INSIDE, "import", stick, expect=5)
    assert "known here: log.exampl;" in error["next"]
    assert f"--origin {sites.log.origin} " in error["next"]
