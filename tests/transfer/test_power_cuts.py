"""Import and export with everything that travels besides logs, and the power fails anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.store.database import open_store
from tests.jobs.faults import Faults, PowerCutError, injected
from tests.queue.queues import add
from tests.transfer.sites import INSIDE, OUTSIDE, Sites
from tests.transfer.test_round_trip import logged_outside

TABLES = ("transfer", "transfer_log", "receipt", "carried", "far_head", "queue_item", "journal")


def counts(sites: Sites, name: str) -> dict[str, int]:
    """Count the rows that a transfer makes."""
    with closing(open_store(sites.home(name), write=False)) as store:
        return {
            table: store.rows(f"SELECT count(*) FROM {table}")[0][0]  # noqa: S608 fixed names
            for table in TABLES
        }


def prepared(sites: Sites) -> None:
    """Both sites have something for each other of every kind."""
    sites.grow(300)
    with closing(open_store(sites.home(INSIDE), write=True)) as store:
        add(store, b"one")
    for here, there, name in ((OUTSIDE, INSIDE, "out.tar"), (INSIDE, OUTSIDE, "back.tar")):
        sites.json(here, "export", "--output", sites.stick(name))
        sites.json(there, "import", sites.stick(name))
    logged_outside(sites)


def failures(sites: Sites, name: str, *words: str | Path) -> Iterator[None]:
    """Let each durable call of a command fail, before and after; yield with the home as it is."""
    home, kept, now = sites.home(name), sites.stick("kept"), sites.now
    shutil.copytree(home, kept)
    with injected(Faults()) as counted:
        sites.json(name, *words)
    assert len(counted.calls) > 3
    for fail_at in range(1, len(counted.calls) + 1):
        for after in (False, True):
            shutil.rmtree(home)
            shutil.copytree(kept, home)
            for file in words:
                if isinstance(file, Path) and words[0] == "export":
                    file.unlink(missing_ok=True)
            sites.now = now
            with pytest.raises(PowerCutError), injected(Faults(fail_at, after=after)):
                sites.json(name, *words)
            sites.capsys.readouterr()
            yield


def test_an_import_is_whole_after_the_next_run(sites: Sites) -> None:
    prepared(sites)
    sites.grow(300)
    stick = sites.stick("next.tar")
    sites.json(OUTSIDE, "export", "--output", stick)
    expected: dict[str, int] = {}
    for _ in failures(sites, INSIDE, "import", stick):
        done = sites.json(INSIDE, "import", stick)["imports"][0]
        found = counts(sites, INSIDE)
        journal = found.pop("journal")
        expected = expected or found
        assert found == expected
        assert sites.head(INSIDE) == sites.log.head
        assert Path(done["receipt"]).exists() and done["proofs"] is not None
        assert sites.json(INSIDE, "journal", "verify")
        again = sites.json(INSIDE, "import", stick)["imports"][0]
        assert again["receiptCode"] == done["receiptCode"]
        assert counts(sites, INSIDE)["journal"] >= journal


def test_an_export_is_whole_after_the_next_run(sites: Sites) -> None:
    prepared(sites)
    with closing(open_store(sites.home(INSIDE), write=True)) as store:
        add(store, b"two")
    stick = sites.stick("again.tar")
    for _ in failures(sites, INSIDE, "export", "--output", stick):
        sites.json(INSIDE, "export", "--output", stick)
        shutil.copytree(sites.home(OUTSIDE), sites.stick("outside"))
        done = sites.json(OUTSIDE, "import", stick)["imports"][0]
        assert len(done["pending"]["taken"]) == 1
        shutil.rmtree(sites.home(OUTSIDE))
        sites.stick("outside").rename(sites.home(OUTSIDE))


def test_an_export_of_proofs_is_whole_after_the_next_run(sites: Sites) -> None:
    prepared(sites)
    stick = sites.stick("proofs.tar")
    for _ in failures(sites, OUTSIDE, "export", "--output", stick):
        sites.json(OUTSIDE, "export", "--output", stick)
        shutil.copytree(sites.home(INSIDE), sites.stick("inside"))
        done = sites.json(INSIDE, "import", stick)["imports"][0]
        assert len(done["proofs"]["taken"]) == 1
        shutil.rmtree(sites.home(INSIDE))
        sites.stick("inside").rename(sites.home(INSIDE))
