"""What a site demands of every verify, by its settings: each as its option, for all commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mirror.mirrors import NOW
from tests.sigstore.test_mutations import MADE
from tests.verify.test_verify import Site, site

__all__ = ["site"]
DAY = 86_400


def set_up(site: Site, key: str, value: str) -> None:
    code, _, err = site.run("config", "set", key, value)
    assert code == 0, err


def test_require_mirror_as_set_refuses_what_our_mirror_does_not_reach(site: Site) -> None:
    site.sync()
    site.log.grow(500)
    site.write_bundle()
    assert site.verify()[0] == 0
    set_up(site, "verify.requireMirror", "true")
    code, answer, _ = site.verify()
    assert (code, answer["error"]["reason"]) == (5, "not-covered")
    site.sync()
    assert site.verify()[0] == 0


def test_max_checkpoint_age_as_set_refuses_an_old_view(site: Site) -> None:
    site.sync()
    set_up(site, "verify.maxCheckpointAge", "1h")
    words = ("verify", site.artifact, "--key", site.key, "--json")
    assert site.run(*words, now=NOW + 3600)[0] == 0
    code, out, _ = site.run(*words, now=NOW + 3601)
    assert (code, json.loads(out)["error"]["reason"]) == (8, "stale")
    assert site.run(*words, "--max-age", "2h", now=NOW + 3601)[0] == 0


@pytest.fixture
def rooted(site: Site, tmp_path: Path) -> Site:
    """A site with a trusted root, imported now."""
    site.sync()
    root = tmp_path / "trusted_root.json"
    root.write_text(json.dumps(MADE.root()))
    code, _, err = site.run("trust", "import", root)
    assert code == 0, err
    return site


def test_max_trust_root_age_as_set_warns_and_then_refuses(rooted: Site) -> None:
    set_up(rooted, "verify.maxTrustRootAge.warn", "10d")
    set_up(rooted, "verify.maxTrustRootAge.fail", "20d")
    words = ("verify", rooted.artifact, "--key", rooted.key, "--json")

    def after(seconds: int) -> tuple[int, list[str], str]:
        code, out, _ = rooted.run(*words, now=NOW + seconds)
        answer = json.loads(out)
        return code, answer["warnings"], answer.get("error", {}).get("reason", "")

    assert after(10 * DAY) == (0, [], "")
    assert after(11 * DAY) == (0, ["the trusted root was imported 11d 0h ago"], "")
    assert after(20 * DAY)[0] == 0
    assert after(20 * DAY + 1) == (8, [], "trust-root-stale")
