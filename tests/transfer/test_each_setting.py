"""Each setting of the transfer changes what a command does."""

from __future__ import annotations

from tests.transfer.sites import INSIDE, OUTSIDE, Sites


def test_setting_transfer_threshold(sites: Sites) -> None:
    sites.grow(3)
    sites.json(INSIDE, "config", "set", "transfer.threshold", "2")
    sites.json(OUTSIDE, "export", "--output", sites.stick("a.tar"))
    refused = sites.json(INSIDE, "import", sites.stick("a.tar"), expect=8)
    assert "2" in refused["message"]


def test_setting_transfer_volumeSize(sites: Sites) -> None:
    sites.grow(5000)
    sites.json(OUTSIDE, "config", "set", "transfer.volumeSize", "100K")
    sites.stick("stick").mkdir()
    done = sites.json(OUTSIDE, "export", "--full", "--output", sites.stick("stick"))
    assert len(done["volumes"]) > 1


def test_setting_transfer_overlap(sites: Sites) -> None:
    def base_of_third(overlap: str, name: str) -> int | None:
        sites.json(OUTSIDE, "config", "set", "transfer.overlap", overlap)
        done = sites.json(OUTSIDE, "export", "--dry-run", "--output", sites.stick(name))
        found = done["logs"][0]["baseSize"]
        return None if found is None else int(found)

    for number in (1, 2):
        sites.grow(10)
        sites.json(OUTSIDE, "export", "--output", sites.stick(f"{number}.tar"))
    sites.grow(10)
    assert base_of_third("1", "x.tar") != base_of_third("2", "y.tar")
