"""Each setting of verify changes its answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from tests.cli.homes import NOW
from tests.shared import shared
from tests.verify.test_promise import Site as PromisedSite
from tests.verify.test_verify import Site, site

DAY = 86_400

__all__ = ["site"]


def test_setting_verify_requireMirror(site: Site) -> None:
    assert site.verify()[0] == 0
    site.run("config", "set", "verify.requireMirror", "true")
    assert site.verify()[0] == 5


def test_setting_verify_requireProof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    promised = PromisedSite(tmp_path, capsys, "artifact", proof=False)
    assert promised.verify()[0] == 0
    app = Session(home=tmp_path / "home", now=lambda: NOW)
    assert run(["config", "set", "verify.requireProof", "true"], app) == 0
    capsys.readouterr()
    assert promised.verify()[0] == 8


def test_setting_verify_maxCheckpointAge(site: Site) -> None:
    site.sync()
    verify = ("verify", site.artifact, "--key", site.key)
    site.run("config", "set", "verify.maxCheckpointAge", "10d")
    assert site.run(*verify, now=NOW + 9 * DAY)[0] == 0
    code, _, err = site.run(*verify, now=NOW + 11 * DAY)
    assert (code, "old" in err or "age" in err) == (8, True), err


def import_root(site: Site) -> None:
    root = shared("corpus/root-signing/trusted_root.json")
    assert site.run("trust", "import", root)[0] == 0


def test_setting_verify_maxTrustRootAge_warn(site: Site) -> None:
    import_root(site)
    verify = ("verify", site.artifact, "--key", site.key)
    assert "trusted root" not in site.run(*verify, now=NOW + 2 * DAY)[2]
    site.run("config", "set", "verify.maxTrustRootAge.warn", "1d")
    assert "Warning: the trusted root was imported" in site.run(*verify, now=NOW + 2 * DAY)[2]


def test_setting_verify_maxTrustRootAge_fail(site: Site) -> None:
    import_root(site)
    site.run("config", "set", "verify.maxTrustRootAge.warn", "1d")
    site.run("config", "set", "verify.maxTrustRootAge.fail", "1d")
    verify = ("verify", site.artifact, "--key", site.key, "--json")
    code, out, _ = site.run(*verify, now=NOW + 2 * DAY)
    assert (code, "trust-root-stale" in out) == (8, True)
