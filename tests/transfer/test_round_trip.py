"""Pending items leave with a transfer bundle, their proofs come back with another one."""

from __future__ import annotations

from contextlib import closing

from appliance.store.database import open_store
from appliance.store.divergence.alerts import NewAlert, raise_alert
from appliance.store.mirror.logs import require_log
from appliance.store.queue.queue import list_items
from tests.queue.queues import NOW, add
from tests.queue.signed_files import write_artifact
from tests.queue.test_round_trip import log_all
from tests.transfer.sites import INSIDE, OUTSIDE, Sites


def states(sites: Sites) -> list[str]:
    with closing(open_store(sites.home(INSIDE), write=False)) as store:
        everything = ("queued", "exported", "proven-inside", "refused")
        return [item.state for item in list_items(store, everything)]


def queued(sites: Sites, *contents: bytes) -> None:
    with closing(open_store(sites.home(INSIDE), write=True)) as store:
        for content in contents:
            add(store, content)


def logged_outside(sites: Sites) -> None:
    with closing(open_store(sites.home(OUTSIDE), write=True)) as store:
        log_all(store, sites.log)
    sites.grow(0)


def test_there_and_back(sites: Sites) -> None:
    sites.grow(100)
    queued(sites, b"one", b"two")
    # Nothing of a log is here yet: what waits goes alone.
    sites.json(INSIDE, "export", "--output", sites.stick("out.tar"))
    assert states(sites) == ["exported"] * 2
    done = sites.json(OUTSIDE, "import", sites.stick("out.tar"))["imports"][0]
    assert len(done["pending"]["taken"]) == 2 and done["proofs"] is None
    logged_outside(sites)
    sites.json(OUTSIDE, "export", "--output", sites.stick("back.tar"))
    done = sites.json(INSIDE, "import", sites.stick("back.tar"))["imports"][0]
    assert len(done["proofs"]["taken"]) == 2
    assert states(sites) == ["proven-inside"] * 2
    assert sites.head(INSIDE) == sites.log.head
    again = sites.json(INSIDE, "import", sites.stick("back.tar"))["imports"][0]
    assert len(again["proofs"]["known"]) == 2


def test_lost_sticks_lose_nothing(sites: Sites) -> None:
    sites.grow(100)
    queued(sites, b"one")
    for name in ("lost.tar", "out.tar"):
        sites.json(INSIDE, "export", "--output", sites.stick(name))
    sites.json(OUTSIDE, "import", sites.stick("out.tar"))
    logged_outside(sites)
    sites.json(OUTSIDE, "export", "--output", sites.stick("lost-back.tar"))
    sites.json(INSIDE, "export", "--output", sites.stick("again.tar"))  # asks for it again
    known = sites.json(OUTSIDE, "import", sites.stick("again.tar"))["imports"][0]["pending"]
    assert len(known["known"]) == 1
    sites.json(OUTSIDE, "export", "--output", sites.stick("back.tar"))
    sites.json(INSIDE, "import", sites.stick("back.tar"))
    assert states(sites) == ["proven-inside"]


def test_a_stick_whose_base_is_missing_still_brings_queue_items_and_proofs(sites: Sites) -> None:
    sites.grow(100)
    queued(sites, b"one")
    sites.json(INSIDE, "export", "--output", sites.stick("out.tar"))
    sites.json(OUTSIDE, "import", sites.stick("out.tar"))
    sites.json(OUTSIDE, "export", "--full", "--output", sites.stick("first.tar"))
    sites.json(INSIDE, "import", sites.stick("first.tar"))
    sites.grow(10)
    sites.json(OUTSIDE, "export", "--output", sites.stick("lost.tar"))
    logged_outside(sites)
    late = sites.stick("late.tar")
    sites.json(OUTSIDE, "export", "--overlap", "1", "--output", late)
    error = sites.answer(INSIDE, "import", late)["error"]
    assert error["reason"] == "missing-base"
    assert error["message"].endswith("(even so: 1 of the queue's items proven)"), error
    assert states(sites) == ["proven-inside"]
    sites.json(INSIDE, "import", sites.stick("lost.tar"))
    again = sites.json(INSIDE, "import", late)["imports"][0]["proofs"]
    assert len(again["known"]) == 1


def test_a_stick_of_logs_that_nobody_here_knows_still_brings_queue_items(sites: Sites) -> None:
    """A private log that is not mirrored here keeps no item from the queue."""
    queued(sites, b"one")
    sites.json(INSIDE, "log", "create", "own", "--origin", "own.example")
    artifact = write_artifact(sites.stick("signed.tar").parent, b"entry")
    sites.json(INSIDE, "log", "add", "--log", "own", *artifact)
    out, bare = sites.stick("out.tar"), sites.stick("bare.tar")
    sites.json(INSIDE, "export", "--no-pending", "--output", bare)
    error = sites.json(OUTSIDE, "import", bare, expect=5)
    assert (error["reason"], "own.example" in error["message"]) == ("unknown-log", True)
    sites.json(INSIDE, "export", "--output", out)
    answer = sites.answer(OUTSIDE, "import", out)
    [done] = answer["data"]["imports"]
    assert (done["skipped"], len(done["pending"]["taken"])) == (["own.example"], 1)
    assert any("own.example is not configured here" in one for one in answer["warnings"])


def test_a_stick_of_a_log_that_is_quarantined_here_still_brings_queue_items(sites: Sites) -> None:
    sites.grow(100)
    sites.json(OUTSIDE, "export", "--output", sites.stick("first.tar"))
    sites.json(INSIDE, "import", sites.stick("first.tar"))
    queued(sites, b"one")
    sites.json(INSIDE, "export", "--output", sites.stick("out.tar"))
    with closing(open_store(sites.home(OUTSIDE), write=True)) as store, store.atomic():
        log = require_log(store, sites.log.origin)
        number, _ = raise_alert(store, NewAlert("c", "T", "e", "critical", {}, log), [], NOW)
        store.execute(
            "INSERT INTO quarantine (log_id, last_common_size, alert_number, since)"
            " VALUES (?, 0, ?, 0)",
            [log.id, number],
        )
    error = sites.json(OUTSIDE, "import", sites.stick("out.tar"), expect=8)
    assert error["message"].endswith("(even so: 1 of the queue's items taken in)"), error


def test_nobody_speaks_for_a_site_unsigned(sites: Sites) -> None:
    sites.grow(100)
    queued(sites, b"one")
    sites.json(INSIDE, "export", "--output", sites.stick("out.tar"))
    done = sites.json(OUTSIDE, "import", "--insecure-unsigned", sites.stick("out.tar"))
    assert done["imports"][0]["pending"] is None


def test_items_that_arrive_where_no_log_is_set_are_not_forgotten_in_silence(sites: Sites) -> None:
    sites.grow(100)
    queued(sites, b"one")
    out = sites.stick("out.tar")
    sites.json(INSIDE, "export", "--output", out)
    [warning] = sites.answer(OUTSIDE, "import", out)["warnings"]
    assert "(1 in the queue)" in warning and "rekor.serverUrl" in warning
    # Inside they are where they should be: what is queued there leaves with an export.
    sites.json(OUTSIDE, "export", "--output", sites.stick("back.tar"))
    assert sites.answer(INSIDE, "import", sites.stick("back.tar"))["warnings"] == []
    sites.json(OUTSIDE, "config", "set", "rekor.enabled", "false")
    assert sites.answer(OUTSIDE, "import", out)["warnings"] == []


def test_pending_items_can_stay(sites: Sites) -> None:
    queued(sites, b"one")
    words = ("export", "--no-pending", "--output", sites.stick("out.tar"))
    assert sites.json(INSIDE, *words, expect=5)["reason"] == "nothing-to-export"
    assert states(sites) == ["queued"]


def test_nothing_at_all_is_nothing_to_export(sites: Sites) -> None:
    error = sites.json(INSIDE, "export", "--output", sites.stick("out.tar"), expect=5)
    assert error["reason"] == "nothing-to-export"
    assert not sites.stick("out.tar").exists()
