"""When the budget is short, one root is submitted for many items, and each has its proof."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config.configuration import restore
from appliance.jobs.queue import aggregate as job
from appliance.runs.witness import Witness
from appliance.tlog.note_keys import log_key
from appliance.value import replaced
from tests.cli.homes import Home
from tests.private_log.private_homes import ORIGIN
from tests.queue.short_budget import BUDGET, OWN, ShortHome
from tests.rig.independent import leaf_of
from tests.serve.running_log import RunningLog
from tests.serve.test_witnessed_log import serving

ITEMS = 30
MIN_ITEMS = restore("connected", {}).count("rekor.aggregate.minItems")


def test_nothing_is_aggregated_unless_somebody_asks(home: ShortHome) -> None:
    home.fill(ITEMS)
    home.json("queue", "drain")
    assert home.states() == {"logged": BUDGET, "queued": ITEMS - BUDGET}


def test_one_root_is_logged_for_all_that_has_no_slot(
    home: ShortHome, upstream: tuple[RunningLog, bytes], tmp_path: Path
) -> None:
    requests = home.fill(ITEMS)
    home.json("config", "set", "rekor.aggregate.enabled", "true")
    home.json("queue", "drain")
    assert home.states() == {"logged": BUDGET, "aggregated": ITEMS - BUDGET}
    (root,) = [one for one in home.json("queue", "list")["items"] if one["tenant"] == "system"]
    one = next(one for one in home.items() if one["state"] == "aggregated")
    error = home.json(*("queue", "proof", one["id"], "--output", tmp_path / "early"), expect=7)
    assert error["reason"] == "root-not-logged"
    (told,) = home.json("journal", "list", "--event", "queue.aggregated")["lines"]
    assert told["details"]["items"] == ITEMS - BUDGET and told["details"]["root"] == root["id"]
    # The root is an item like any other, of a tenant of its own; it takes one slot.
    home.wait(60)
    home.json("queue", "drain")
    assert home.json("queue", "show", root["id"])["state"] == "logged"
    assert home.states() == {"logged": ITEMS}
    logged = {leaf_of(request) for request in requests}
    for number, item in enumerate(home.items()):
        proof, entry = tmp_path / f"{number}.tlog-proof", tmp_path / f"{number}.entry"
        files = ("--output", proof, "--entry", entry)
        if item["id"] in {one["id"] for one in home.items()[:BUDGET]}:
            error = home.json("queue", "proof", item["id"], *files, expect=5)
            assert error["reason"] == "not-aggregated"
            continue
        home.json("queue", "proof", item["id"], *files)
        assert entry.read_bytes() in logged
        verified = home.json("proof", "verify", proof, "--entry", entry)
        assert (verified["origin"], verified["upstream"]["origin"]) == (OWN, ORIGIN)
        assert f" of {OWN}, under its checkpoint" in home.run("queue", "show", item["id"])[1]
    assert f" of {ORIGIN}, under its" in home.run("queue", "show", root["id"])[1]
    # With nothing but the two keys, as somebody else would.
    policy = tmp_path / "trust.policy"
    keys = [home.json("log", "status")["logs"][0]["vkey"], log_key(ORIGIN, upstream[1]).vkey]
    policy.write_text("".join(f"log {key}\n" for key in keys) + "quorum none\n")
    home.json("proof", "verify", proof, "--entry", entry, "--policy", policy)
    policy.write_text(f"log {keys[0]}\nquorum none\n")
    home.json("proof", "verify", proof, "--entry", entry, "--policy", policy, expect=3)
    other = tmp_path / f"{BUDGET}.entry"
    assert other != entry
    home.json("proof", "verify", proof, "--entry", other, expect=3)


def test_too_few_are_left_alone(home: ShortHome) -> None:
    home.fill(BUDGET + MIN_ITEMS - 1)
    home.json("config", "set", "rekor.aggregate.enabled", "true")
    home.json("queue", "drain")
    assert home.states() == {"logged": BUDGET, "queued": MIN_ITEMS - 1}
    assert home.json("queue", "aggregate", "--dry-run")["items"] == 0
    assert home.json("queue", "aggregate", "--min-items", "2", "--dry-run")["items"] > 0
    home.json("queue", "aggregate", "--min-items", "2")
    assert home.states() == {"logged": BUDGET, "aggregated": MIN_ITEMS - 1}


def test_items_of_a_root_that_is_cancelled_are_queued_again(home: ShortHome) -> None:
    home.fill(ITEMS)
    home.json("queue", "aggregate")
    (root,) = [one for one in home.json("queue", "list")["items"] if one["tenant"] == "system"]
    home.json("queue", "cancel", root["id"])
    home.json("queue", "aggregate", "--min-items", "1000")
    assert home.states() == {"queued": ITEMS}


def test_dying_after_the_entries_are_logged_here_loses_nothing(
    home: ShortHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.fill(ITEMS)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job, "add_aggregate", die)
        assert home.run("queue", "aggregate")[0] == 130
    assert home.states() == {"queued": ITEMS}
    size = home.json("log", "status")["logs"][0]["treeSize"]
    home.json("queue", "aggregate")
    assert home.json("log", "status")["logs"][0]["treeSize"] == size  # each entry once
    home.wait(60)
    home.json("queue", "drain")
    home.json("queue", "aggregate")
    assert "aggregated" not in home.states()


def test_without_a_log_or_a_key_it_is_a_warning_and_nothing_moves(
    home: ShortHome, tmp_path: Path
) -> None:
    home.fill(ITEMS)
    home.json("config", "set", "rekor.aggregate.enabled", "true")
    (home.path / "keys" / "publisher.example.pem").unlink()
    code, _, err = home.run("queue", "drain")
    assert code == 0 and "nothing was aggregated: there is no publisher key" in err
    assert home.states() == {"logged": BUDGET, "queued": ITEMS - BUDGET}
    assert home.json("queue", "aggregate", expect=9)["reason"] == "no-key"


def test_a_root_is_cosigned_by_the_witnesses_of_the_log(
    home: ShortHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Home(tmp_path / "witness", capsys)
    other.app = replaced(other.app, random_bytes=lambda n: b"\x0b" * n)
    vkey = other.json("key", "generate", "witness.example", "--type", "witness")["vkey"]
    log = home.json("log", "status")["logs"][0]
    pinned, policy = tmp_path / "log.vkey", tmp_path / "policy"
    pinned.write_text(f"{log['vkey']}\n")
    other.json("backend", "add", "log", "--origin", log["origin"], "--public-key", pinned)
    home.fill(ITEMS)
    with serving(Witness(other.app.fresh(), None)) as port:
        policy.write_text(f"witness w {vkey} http://127.0.0.1:{port}/\nquorum w\n")
        home.json("log", "witnesses", policy)
        home.json("queue", "aggregate")
        assert home.json("log", "witnesses")["met"] is True
    assert home.json("log", "status")["logs"][0]["checkpoint"].count("witness.example") == 1
