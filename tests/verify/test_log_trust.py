"""Which source speaks for a log's key: roots, pins, retirement and revocation, from commands."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from appliance.errors import RefusedError, SignatureError
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.note import SigningKey
from tests.mirror.mirrors import sync_from
from tests.pki.authorities import NOON, spki
from tests.pki.logs import V1_ORIGIN
from tests.verify.test_promise import Site as V1Site
from tests.verify.test_verify import Site, site

__all__ = ["site"]
ENDED = "2025-12-01T00:00:00Z"  # before the bundles of these tests were logged


class Rooted(V1Site):
    """A bundle of a v1 log, roots that name its key or not, and a home without a pin."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(directory, capsys, "artifact", proof=True)
        with self.store.atomic():
            self.store.execute("DELETE FROM log_key")
            self.store.execute("DELETE FROM log")

    def root(self, name: str, *, end: str | None = None, named: bool = True) -> Path:
        value = self.made.root()
        if end is not None:
            value["tlogs"][1]["publicKey"]["validFor"]["end"] = end
        if not named:
            del value["tlogs"][1]
        path = self.directory / name
        path.write_text(json.dumps(value))
        return path

    def pin(self) -> None:
        pem = self.directory / "log.pem"
        key = load_der_public_key(spki(self.made.v1_log.key))
        pem.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        origin = ("--origin", V1_ORIGIN, "--api-version", "1")
        assert self.command("backend", "add", "v1", *origin, "--public-key", str(pem)) == 0

    def command(self, *words: str) -> int:
        from appliance.cli.main import run
        from appliance.runs.session import Session

        code = run(list(words), Session(home=self.directory / "home", now=lambda: 1_800_000_000))
        self.capsys.readouterr()
        return code


@pytest.fixture
def rooted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Rooted:
    return Rooted(tmp_path, capsys)


def test_the_bundles_were_logged_after_the_window() -> None:
    assert NOON - timedelta(days=1) > NOON.replace(year=2025, month=12, day=1)


@pytest.mark.parametrize("how", ["alone", "pinned", "discovered"])
def test_a_pin_obeys_the_window_of_the_root(rooted: Rooted, how: str) -> None:
    assert rooted.command("trust", "import", str(rooted.root("root", end=ENDED))) == 0
    if how == "pinned":
        rooted.pin()
    if how == "discovered":
        assert rooted.command("backend", "discover") == 0
    code, one = rooted.verify()
    assert (code, one["reason"]) == (3, "log-key-window")


def test_a_pin_does_not_bring_back_what_the_root_dropped(rooted: Rooted) -> None:
    rooted.pin()
    assert rooted.verify()[1]["log"]["keySource"] == "pin: no trusted root names it"
    assert rooted.command("trust", "import", str(rooted.root("old"))) == 0
    code, one = rooted.verify()
    assert (code, "trusted root" in one["log"]["keySource"]) == (0, True)
    assert rooted.command("trust", "import", str(rooted.root("new", named=False))) == 0
    code, one = rooted.verify()
    assert (code, one["reason"]) == (5, "no-log-key")
    assert "names it no more" in one["message"]


def test_a_root_that_is_given_excludes_pins(rooted: Rooted) -> None:
    rooted.pin()
    assert rooted.verify()[0] == 0
    given = rooted.root("given", named=False)
    code, one = rooted.verify("--trusted-root", str(given))
    assert (code, one["reason"]) == (5, "no-log-key")


def test_a_revoked_key_counts_for_nothing_whoever_names_it(rooted: Rooted) -> None:
    rooted.pin()
    key_id = spki_id(rooted)
    assert rooted.command("backend", "key", "revoke", "v1", key_id, "--reason", "stolen") == 0
    assert rooted.command("trust", "import", str(rooted.root("root"))) == 0
    for more in ((), ("--trusted-root", str(rooted.root("given")))):
        code, one = rooted.verify(*more)
        assert (code, one["reason"]) == (8, "revoked-key")


def spki_id(rooted: Rooted) -> str:
    return rooted.made.v1_log.log_id[:4].hex()


# ---- the life of a key


def rotate(site: Site) -> None:
    """Let the log sign with another key under its old name."""
    site.log.signer = SigningKey(site.log.origin, b"\x21" * 32)


def add(site: Site, *more: str) -> int:
    line = site.directory / "log.vkey"
    line.write_text(site.log.key.vkey + "\n")
    words = ("--origin", site.log.origin, "--public-key", line, "--url", "http://log.invalid/")
    return site.run("backend", "add", "sim", *words, *more)[0]


def keys(site: Site) -> dict[str, Any]:
    _, out, _ = site.run("backend", "key", "list", "sim", "--json")
    return {one["keyId"]: one for one in json.loads(out)["data"]["keys"]}


def again(site: Site) -> Mirror:
    """Return the mirror with the keys as they are now."""
    return Mirror(site.mirror.store, require_log(site.mirror.store, site.log.origin))


def test_a_rotation_from_the_first_key_to_the_second(site: Site) -> None:
    site.sync()
    old = site.log.signer
    rotate(site)
    site.log.grow(10)
    with pytest.raises(SignatureError):
        sync_from(again(site), site.log)
    assert add(site) == 8  # it may be the wrong file: that it is another key has to be said
    assert add(site, "--another-key") == 0
    sync_from(again(site), site.log)
    old_id = old.verifier.key_id.hex()
    code, _, err = site.run("backend", "key", "retire", "sim", old_id, "--reason", "rotated")
    assert (code, err) == (0, "")
    states = keys(site)
    assert states[old_id]["state"] == "retired" and states[old_id]["retiredSize"] == 311
    assert states[site.log.key.key_id.hex()]["state"] == "pinned"
    assert states[site.log.key.key_id.hex()]["sinceSize"] == 301
    assert site.verify("--require-mirror")[0] == 0  # what the old key signed until then is good
    new, site.log.signer = site.log.signer, old
    site.log.grow(10)
    with pytest.raises(RefusedError) as caught:
        sync_from(again(site), site.log)
    assert caught.value.reason == "retired-key"
    site.write_bundle()
    code, answer, _ = site.verify()
    assert (code, answer["error"]["reason"]) == (8, "retired-key")
    site.log.signer = new
    sync_from(again(site), site.log)
    site.write_bundle()
    assert site.verify("--require-mirror")[0] == 0


def test_remove_and_add_leaves_the_old_key_not_in_force(site: Site) -> None:
    site.sync()
    old = site.log.signer
    assert site.run("backend", "remove", "sim")[0] == 0
    rotate(site)
    assert add(site) == 0
    assert keys(site)[old.verifier.key_id.hex()]["state"] == "retired"
    site.log.signer = old
    site.log.grow(10)
    with pytest.raises(RefusedError):
        sync_from(again(site), site.log)
    assert add(site) == 8  # nor does it come back by being pinned again


def test_a_revoked_key_of_a_mirrored_log_signs_nothing_more_and_can_be_looked_at(
    site: Site,
) -> None:
    site.sync()
    key_id = site.log.key.key_id.hex()
    assert site.run("backend", "key", "revoke", "sim", key_id, "--reason", "stolen")[0] == 0
    assert keys(site)[key_id]["state"] == "revoked"
    code, answer, _ = site.verify()
    assert (code, answer["error"]["reason"]) == (8, "revoked-key")
    site.log.grow(10)
    with pytest.raises(RefusedError):
        sync_from(again(site), site.log)
    assert site.run("sync-status")[0] in (0, 8)
    assert "stolen" in site.run("backend", "key", "list")[1]


def test_an_unknown_key_and_a_dry_run_change_nothing(site: Site) -> None:
    site.sync()
    before = keys(site)
    unknown = ("retire", "sim", "00000000", "--reason", "x")
    code, _, err = site.run("backend", "key", *unknown)
    assert code == 5 and "known: " in err
    key_id = site.log.key.key_id.hex()
    for verb in ("retire", "revoke"):
        words = (verb, "sim", key_id, "--reason", "x", "--dry-run")
        assert site.run("backend", "key", *words)[0] == 0
    assert keys(site) == before
