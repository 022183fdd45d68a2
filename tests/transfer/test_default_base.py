"""Where an export starts if nobody says: at what the far side holds, else some exports back."""

from __future__ import annotations

from tests.transfer.sites import INSIDE, OUTSIDE, Sites


def base(sites: Sites, name: str, *options: str) -> int | None:
    """Let the log grow by ten and export; return the size it continues from, None: complete."""
    sites.grow(10)
    done = sites.json(OUTSIDE, "export", *options, "--output", sites.stick(name))
    found = done["logs"][0]["baseSize"]
    return None if found is None else int(found)


def test_without_receipts_it_starts_as_many_exports_back_as_transfer_overlap_says(
    sites: Sites,
) -> None:
    sites.json(OUTSIDE, "config", "set", "transfer.overlap", "2")
    assert [base(sites, f"{number}.tar") for number in range(4)] == [None, None, 10, 20]
    sites.json(OUTSIDE, "config", "set", "transfer.overlap", "1")
    assert base(sites, "near.tar") == 40


def test_what_the_far_side_holds_goes_before_overlap_but_not_through_a_diode(sites: Sites) -> None:
    sites.json(OUTSIDE, "config", "set", "transfer.overlap", "5")
    assert base(sites, "first.tar") is None
    receipt = sites.json(INSIDE, "import", sites.stick("first.tar"))["imports"][0]["receipt"]
    sites.json(OUTSIDE, "receipt", "accept", receipt)
    assert base(sites, "second.tar") == 10
    assert base(sites, "diode.tar", "--no-ack") is None
    assert base(sites, "named.tar", "--to", INSIDE) == 10
