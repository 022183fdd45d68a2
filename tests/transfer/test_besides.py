"""What travels besides logs: trust material that nobody trusts, checkpoints seen elsewhere."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from appliance.rekor.client_files import trusted_root
from appliance.store.database import open_store
from appliance.store.divergence.seen import gossip_notes
from appliance.store.mirror.logs import require_log
from tests.queue.signed_files import write_artifact
from tests.transfer.sites import INSIDE, OUTSIDE, Sites


def root_file(sites: Sites) -> Path:
    """Pin a trusted root outside; return its file."""
    file = sites.stick("trusted_root.json")
    file.write_bytes(trusted_root(sites.log.key, "2025-01-01T00:00:00Z"))
    sites.json(OUTSIDE, "trust", "import", file)
    return file


def test_a_trusted_root_arrives_is_shown_and_is_trusted_only_by_its_digest(sites: Sites) -> None:
    sites.grow(100)
    raw = root_file(sites).read_bytes()
    sites.json(OUTSIDE, "export", "--output", sites.stick("stick.tar"))
    answer = sites.answer(INSIDE, "import", sites.stick("stick.tar"))
    [arrived] = sites.json(INSIDE, "trust", "arrived")["arrived"]
    assert arrived["path"] == "trusted_root.json" and not arrived["pinned"]
    assert any(arrived["digest"] in warning for warning in answer["warnings"])
    assert sites.json(INSIDE, "trust", "show", expect=5)["reason"] == "no-trusted-root"
    for wrong in (arrived["digest"][:16], arrived["digest"].upper(), "0" * 64):
        error = sites.json(INSIDE, "trust", "import", "--arrived", wrong, expect=5)
        assert error["reason"] == "not-arrived"
    pinned = sites.json(INSIDE, "trust", "import", "--arrived", arrived["digest"])
    assert pinned["digest"] == arrived["digest"]
    with closing(open_store(sites.home(INSIDE), write=False)) as store:
        assert bytes(store.rows("SELECT raw FROM trusted_root")[0][0]) == raw
    assert sites.json(INSIDE, "trust", "arrived")["arrived"][0]["pinned"]
    assert sites.answer(INSIDE, "import", sites.stick("stick.tar"))["warnings"] == []


def test_a_trusted_root_goes_along_a_few_times_and_then_with_what_is_complete(
    sites: Sites,
) -> None:
    root_file(sites)
    carried = []
    for number in range(6):
        sites.grow(10)
        start = ("--full",) if number == 5 else ("--since-size", "5")
        stick = sites.stick(f"{number}.tar")
        sites.json(OUTSIDE, "export", *start, "--output", stick)
        carried.append(b"trust/trusted_root.json" in stick.read_bytes())
    assert carried == [True, True, True, False, False, True]


def test_a_checkpoint_that_somebody_saw_is_carried_and_compared(sites: Sites) -> None:
    sites.grow(100)
    note = sites.stick("seen.note")
    note.write_bytes(sites.log.checkpoint_at(60))
    sites.json(OUTSIDE, "checkpoint", "add", note)
    sites.json(OUTSIDE, "export", "--output", sites.stick("stick.tar"))
    sites.json(INSIDE, "import", sites.stick("stick.tar"))
    for name in (OUTSIDE, INSIDE):
        with closing(open_store(sites.home(name), write=False)) as store:
            log = require_log(store, sites.log.origin)
            assert gossip_notes(store, log, 9) == [note.read_bytes()]


def test_a_fork_that_was_shown_inside_is_found_outside(sites: Sites) -> None:
    """What the inner site was shown comes back, and contradicts what the outer one mirrors."""
    sites.grow(100)
    sites.json(OUTSIDE, "export", "--output", sites.stick("stick.tar"))
    sites.json(INSIDE, "import", sites.stick("stick.tar"))
    twin = sites.log.fork(at=50)
    twin.grow(100)
    note = sites.stick("shown.note")
    note.write_bytes(twin.checkpoint())  # larger than the tree inside: it waits
    sites.json(INSIDE, "checkpoint", "add", note)
    sites.grow(300)
    sites.json(INSIDE, "export", "--output", sites.stick("back.tar"))
    error = sites.json(OUTSIDE, "import", sites.stick("back.tar"), expect=4)
    assert error["reason"] == "root-mismatch", error
    assert sites.size(OUTSIDE) == 400
    assert sites.json(OUTSIDE, "alerts", "list")["alerts"]


def test_an_export_says_what_travels_besides_logs(sites: Sites) -> None:
    sites.grow(100)
    sites.json(OUTSIDE, "export", "--output", sites.stick("stick.tar"))
    sites.json(INSIDE, "import", sites.stick("stick.tar"))
    options = write_artifact(sites.directory / "in", b"release")
    sites.json(INSIDE, "queue", "add", *options)
    for words in (("--dry-run",), ()):
        said = sites.text(INSIDE, "export", *words, "--output", sites.stick("back.tar"))
        assert "\n  besides 1 pending items, 1 receipts of imports\n" in said + "\n"
    assert "\n  besides 1 pending items," in sites.text(INSIDE, "inspect", sites.stick("back.tar"))
