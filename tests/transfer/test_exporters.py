"""Whose transfer bundles count: thresholds, second signatures, replaced and revoked keys."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest

from appliance.store.database import open_store
from appliance.store.files import open_alone, written_whole
from appliance.store.home.key_files import create_signing_key
from appliance.tlog.note import SigningKey, parse_note
from appliance.tlog.note_keys import ed25519_key
from bundles.reader import peek
from tests.transfer.sites import INSIDE, OUTSIDE, SECOND, Sites


def exported(sites: Sites, name: str = "stick.tar", *options: str) -> Path:
    sites.json(OUTSIDE, "export", *options, "--output", sites.stick(name))
    return sites.stick(name)


def second_key(sites: Sites) -> str:
    """Make another key outside, believed inside; return its verifier key."""
    vkey = create_signing_key(sites.home(OUTSIDE), SECOND, b"\x09" * 32).verifier.vkey
    sites.json(INSIDE, "exporters", "add", vkey)
    return vkey


def signers(file: Path) -> list[str]:
    with file.open("rb") as source:
        return [one.name for one in parse_note(peek(source).note).signatures]


def test_a_revoked_key_is_refused_with_the_reason_and_never_comes_back(sites: Sites) -> None:
    sites.grow(100)
    stick = exported(sites)
    vkey = sites.keys[OUTSIDE].vkey
    sites.json(INSIDE, "exporters", "revoke", vkey, "--reason", "stick was stolen")
    for words in (("import", stick), ("exporters", "add", vkey)):
        error = sites.json(INSIDE, *words, expect=8)
        assert error["reason"] == "revoked-key" and "stick was stolen" in error["message"]
    assert sites.size(INSIDE) == 0
    listed = sites.json(INSIDE, "exporters", "list")
    assert listed["exporters"] == []
    assert listed["revoked"][0]["reason"] == "stick was stolen"
    other = second_key(sites)
    error = sites.json(INSIDE, "exporters", "replace", other, vkey, "--reason", "x", expect=8)
    assert error["reason"] == "revoked-key"
    # Another good signature counts, beside one that does not.
    sites.json(OUTSIDE, "countersign", stick, "--key", SECOND)
    assert sites.json(INSIDE, "import", stick)["imports"][0]["signers"] == [SECOND]


def test_a_dry_run_revokes_nothing(sites: Sites) -> None:
    sites.grow(100)
    vkey = sites.keys[OUTSIDE].vkey
    sites.json(INSIDE, "exporters", "revoke", vkey, "--reason", "x", "--dry-run")
    sites.json(INSIDE, "import", exported(sites))


def test_a_key_is_replaced_in_one_step(sites: Sites) -> None:
    sites.grow(100)
    old, new = sites.keys[OUTSIDE].vkey, SigningKey(OUTSIDE, b"\x08" * 32).verifier.vkey
    done = sites.json(INSIDE, "exporters", "replace", old, new, "--reason", "yearly rotation")
    assert done["roles"] == ["exporter"]
    assert sites.json(INSIDE, "import", exported(sites), expect=8)["reason"] == "revoked-key"
    listed = sites.json(INSIDE, "exporters", "list")["exporters"]
    assert [one["vkey"] for one in listed] == [new]
    words = ("exporters", "replace", old, new, "--reason", "again")
    assert sites.json(INSIDE, *words, expect=5)["reason"] == "unknown-exporter"


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.zst"])
def test_a_second_person_signs_what_the_first_made(sites: Sites, suffix: str) -> None:
    sites.grow(100)
    second_key(sites)
    sites.json(INSIDE, "config", "set", "transfer.threshold", "2")
    stick = exported(sites, f"stick.{suffix}", "--include-entries")
    error = sites.json(INSIDE, "import", stick, expect=8)
    assert error["reason"] == "below-threshold" and "countersign" in error["next"]
    before = sites.json(OUTSIDE, "inspect", stick)
    done = sites.json(OUTSIDE, "countersign", stick, "--key", SECOND)
    assert done["bundleId"] == before["bundleId"] and not done["already"]
    assert signers(stick) == [OUTSIDE, SECOND]
    again = sites.json(OUTSIDE, "countersign", stick, "--key", SECOND)
    assert again["already"] and again["sha256"] == done["sha256"]
    imported = sites.json(INSIDE, "import", stick)["imports"][0]
    assert imported["signers"] == [OUTSIDE, SECOND]
    assert imported["sha256"] == done["sha256"] and sites.size(INSIDE) == 100
    # The receipt speaks of the file as it was carried, and so does our record.
    accepted = sites.answer(OUTSIDE, "receipt", "accept", imported["receipt"])
    assert accepted["warnings"] == []
    # A signature that stopped counting is said to be there, and why it does not.
    vkey = sites.json(OUTSIDE, "key", "show", SECOND)["vkey"]
    sites.json(INSIDE, "exporters", "revoke", vkey, "--reason", "left us")
    message = sites.json(INSIDE, "import", stick, expect=8)["message"]
    assert message.endswith(f"{SECOND} does not count, revoked: left us")


def test_two_keys_can_sign_at_once(sites: Sites) -> None:
    sites.grow(100)
    second_key(sites)
    assert signers(exported(sites, "stick.tar", "--sign", SECOND)) == [OUTSIDE, SECOND]


def test_nobody_countersigns_what_is_damaged_or_a_stranger_made(sites: Sites) -> None:
    sites.grow(100)
    second_key(sites)
    stick = exported(sites)
    whole = stick.read_bytes()
    for position in (600, len(whole) // 2, len(whole) - 1):
        stick.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        damaged = stick.read_bytes()
        sites.json(OUTSIDE, "countersign", stick, "--key", SECOND, expect=3)
        assert stick.read_bytes() == damaged
    stick.write_bytes(whole)
    create_signing_key(sites.home(INSIDE), "third.example", b"\x0a" * 32)
    sites.json(INSIDE, "exporters", "remove", sites.keys[OUTSIDE].vkey)
    error = sites.json(INSIDE, "countersign", stick, "--key", "third.example", expect=8)
    assert error["reason"] == "unknown-exporter"
    assert stick.read_bytes() == whole
    assert [one.name for one in stick.parent.glob(".*")] == []


def test_what_came_unsigned_is_said_for_ever_after(sites: Sites) -> None:
    sites.grow(100)
    stick = exported(sites)
    sites.json(INSIDE, "exporters", "remove", sites.keys[OUTSIDE].vkey)
    assert sites.answer(INSIDE, "sync-status")["warnings"] == []
    done = sites.json(INSIDE, "import", "--insecure-unsigned", stick)["imports"][0]
    assert sites.json(INSIDE, "receipt", "show", done["receipt"])["unsigned"] is True
    sites.json(INSIDE, "exporters", "add", sites.keys[OUTSIDE].vkey)
    for words in (["sync-status"], ["import", stick]):
        [warning] = sites.answer(INSIDE, *words)["warnings"]
        assert "unsigned" in warning and done["bundleId"][:12] in warning


def other_name(sites: Sites, name: str = "other.example") -> str:
    """Return the outer site's own key under another name."""
    return ed25519_key(name, sites.keys[OUTSIDE].key).vkey


def test_one_key_is_not_enrolled_under_two_names(sites: Sites) -> None:
    error = sites.json(INSIDE, "exporters", "add", other_name(sites), expect=8)
    assert error["reason"] == "key-has-another-name" and OUTSIDE in error["message"]
    words = ("exporters", "add", other_name(sites), "--role", "receipt")
    assert sites.json(INSIDE, *words, expect=8)["reason"] == "key-has-another-name"
    # The same name in another role is the same person in both.
    sites.json(INSIDE, "exporters", "add", sites.keys[OUTSIDE].vkey, "--role", "receipt")


def test_one_key_under_two_names_counts_once_in_a_home_that_has_it_so(sites: Sites) -> None:
    sites.grow(100)
    with closing(open_store(sites.home(INSIDE), write=True)) as store, store.atomic():
        store.execute("INSERT INTO exporter VALUES (?, 'exporter', 1)", [other_name(sites)])
    sites.json(INSIDE, "config", "set", "transfer.threshold", "2")
    stick = exported(sites)
    create_signing_key(sites.home(OUTSIDE), "other.example", b"\x01" * 32)
    done = sites.json(OUTSIDE, "countersign", stick, "--key", "other.example")
    assert done["already"] is True  # the same key: nothing would be added
    error = sites.json(INSIDE, "import", stick, expect=8)
    assert error["reason"] == "below-threshold"
    assert sites.size(INSIDE) == 0


def test_a_revoked_key_does_not_come_back_under_another_name(sites: Sites) -> None:
    sites.grow(100)
    vkey = sites.keys[OUTSIDE].vkey
    sites.json(INSIDE, "exporters", "revoke", vkey, "--reason", "stick was stolen")
    for words in (
        ("exporters", "add", other_name(sites)),
        ("exporters", "add", other_name(sites), "--role", "receipt"),
        ("exporters", "replace", second_key(sites), other_name(sites), "--reason", "x"),
    ):
        error = sites.json(INSIDE, *words, expect=8)
        assert error["reason"] == "revoked-key" and "stick was stolen" in error["message"]
    with closing(open_store(sites.home(INSIDE), write=True)) as store, store.atomic():
        store.execute("INSERT INTO exporter VALUES (?, 'exporter', 1)", [other_name(sites)])
    assert sites.json(INSIDE, "exporters", "list")["exporters"][0]["name"] == SECOND
    assert sites.json(INSIDE, "import", exported(sites), expect=8)["reason"] == "revoked-key"


def test_revoking_a_key_under_one_name_revokes_it_under_all(sites: Sites) -> None:
    sites.grow(100)
    sites.json(INSIDE, "exporters", "revoke", other_name(sites), "--reason", "stolen")
    assert sites.json(INSIDE, "exporters", "list")["exporters"] == []
    error = sites.json(INSIDE, "import", exported(sites), expect=8)
    assert error["reason"] == "revoked-key"


def test_whoever_replaces_a_file_waits_for_the_other_and_reads_what_it_wrote(
    tmp_path: Path,
) -> None:
    path, seen = tmp_path / "stick.tar", []
    path.write_bytes(b"one")

    def second() -> None:
        with open_alone(path) as file:
            seen.append(file.read())

    with open_alone(path) as file:
        other = threading.Thread(target=second)
        other.start()
        other.join(0.2)
        assert (other.is_alive(), seen) == (True, [])
        with written_whole(path, replace=True) as out:
            out.write(file.read() + b" and another")
    other.join()
    assert seen == [b"one and another"]
