"""A second place where a Rekor v1 instance is reached: it lags, it leads, it lies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mirror.test_rekor_v1 import HOST, Site, forge
from tests.rig.v1_shards import Tree, V1Instance, v1_instance


@pytest.fixture
def log() -> Iterator[V1Instance]:
    with v1_instance(HOST) as running:
        running.grow(5)
        running.rotate(grow=3)
        running.grow(4)
        yield running


@pytest.fixture
def copy(log: V1Instance) -> Iterator[V1Instance]:
    with v1_instance(HOST) as running:
        running.key = log.key
        catch_up(running, log)
        yield running


def catch_up(copy: V1Instance, log: V1Instance) -> None:
    copy.trees = [Tree(one.tree_id, list(one.bodies)) for one in log.trees]


class Sites(Site):
    """A home with both."""

    def add_copy(self, copy: V1Instance, *options: str, expect: int = 0) -> Any:
        added = ("--origin", HOST, "--url", copy.url, "--public-key", self.key)
        return self.json("backend", "add", "copy", *added, *options, expect=expect)

    def both(self, expect: int = 0) -> str:
        """Sync both; return what was said."""
        self.later()
        code, out, err = self.run("sync")
        assert code == expect, out + err
        return out + err

    def stand(self) -> set[str]:
        return {one["origin"] for one in self.json("backend", "list")["backends"]}


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance) -> Sites:
    return Sites(tmp_path, capsys, log)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_mirror_lags_over_a_rotation_and_catches_up(
    site: Sites, copy: V1Instance, when: str
) -> None:
    if when == "after":
        site.sync()
    site.add_copy(copy, "--mirror-of", "sigstore-prod")
    site.both()
    site.log.grow(2)
    site.both()
    assert "copy: behind" in site.both()
    site.log.rotate(grow=1)
    site.both()
    said = site.both()
    assert f"copy, a mirror, has no tree {HOST} - 1003 yet" in said
    assert "followed now" not in said, "not even for a moment"
    assert site.stand() == {f"{HOST} - 1003"}, "an empty one as well"
    site.log.grow(3)
    site.both()
    assert site.stand() == {f"{HOST} - 1003"}
    catch_up(copy, site.log)
    assert "copy: same, accepted 3" in site.both()


def test_a_mirror_that_leads_moves_both(site: Sites, copy: V1Instance) -> None:
    site.sync()
    site.add_copy(copy, "--mirror-of", "sigstore-prod")
    site.log.rotate(grow=1)
    site.log.grow(3)
    catch_up(copy, site.log)
    site.later()
    site.json("sync", "--backend", "copy")
    assert site.stand() == {f"{HOST} - 1003"}
    assert site.sync()["relation"] == "same"


def test_a_mirror_that_answers_first_of_all(site: Sites, copy: V1Instance) -> None:
    site.add_copy(copy, "--mirror-of", "sigstore-prod")
    site.json("sync", "--backend", "copy")
    site.log.rotate(grow=1)
    site.log.grow(3)
    assert site.sync()["origin"] == f"{HOST} - 1003"
    assert site.stand() == {f"{HOST} - 1003"}


@pytest.mark.parametrize("tree", [0, 1])
def test_a_mirror_that_shows_another_tree(site: Sites, copy: V1Instance, tree: int) -> None:
    site.sync()
    site.add_copy(copy, "--mirror-of", "sigstore-prod")
    site.both()
    forge(copy.trees[tree])
    assert f"{HOST} - {1001 + tree} contradicts itself" in site.both(expect=4)
    assert len(site.json("quarantine", "list")["quarantines"]) == 1


def test_one_instance_has_one_primary(site: Sites, copy: V1Instance) -> None:
    site.sync()
    error = site.add_copy(copy, expect=9)
    assert "--mirror-of sigstore-prod" in f"{error['message']} {error['next']}"
