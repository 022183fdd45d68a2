"""A log's promise without a proof: for what it is good, and what refuses or replaces it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.cli.main import run
from appliance.runs.session import Session
from appliance.store.database import Store, create_store
from appliance.store.divergence.quarantine import begin_quarantine
from appliance.store.mirror.logs import Log, add_log, put_backend
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import Checkpoint
from tests.mirror.mirrors import NOW, sync_from
from tests.pki.authorities import spki
from tests.pki.bundles import ARTIFACT, Instance, Signed, managed
from tests.pki.logs import V1_ORIGIN
from tests.simulator import SimulatedLog

Json = dict[str, Any]
Form = Callable[[Instance], Signed]
FORMS: dict[str, Form] = {
    "artifact": lambda made: made.sign_artifact(managed=True),
    "attestation": lambda made: made.sign_statement(managed=True),
}


class V1Tree(SimulatedLog):
    """A simulated log that signs with the key of a Rekor v1 log."""

    def __init__(self, made: Instance) -> None:
        super().__init__(V1_ORIGIN)
        self.v1 = made.v1_log

    def checkpoint_at(self, tree_size: int, *extensions: str) -> bytes:
        return self.v1.note(str(Checkpoint(self.origin, self.head_at(tree_size)))).encode()

    def checkpoint(self) -> bytes:
        return self.checkpoint_at(self.tree_size)


class Site:
    """A home with a v1 log's key pinned for two trees, and a bundle of that log."""

    def __init__(
        self, directory: Path, capsys: pytest.CaptureFixture[str], form: str, *, proof: bool
    ) -> None:
        self.directory, self.capsys = directory, capsys
        self.made = Instance()
        self.signed = FORMS[form](self.made)
        self.bundle: Json = self.made.v1_bundle(self.signed)
        self.entry: Json = self.bundle["verificationMaterial"]["tlogEntries"][0]
        if not proof:
            del self.entry["inclusionProof"]
        self.store: Store = create_store(directory / "home")
        key = spki(self.made.v1_log.key)
        with self.store.atomic():
            self.log: Log = add_log(self.store, V1_ORIGIN, 1, key)
            self.older: Log = add_log(self.store, "rekor.example.com - 7", 1, key)
        (directory / "app").write_bytes(ARTIFACT)
        (directory / "key.pem").write_bytes(
            managed_key(self.signed).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )

    def verify(self, *more: str, text: bool = False) -> Any:
        (self.directory / "bundle").write_text(json.dumps(self.bundle))
        words = ["verify", str(self.directory / "app"), "--key", str(self.directory / "key.pem")]
        words += ["--bundle", str(self.directory / "bundle"), *more, *([] if text else ["--json"])]
        code = run(words, Session(home=self.directory / "home", now=lambda: NOW))
        out, _ = self.capsys.readouterr()
        if text:
            return code, out
        (one,) = json.loads(out)["data"]["artifacts"]
        return code, one

    def quarantine(self, log: Log) -> None:
        with self.store.atomic():
            self.store.execute(
                "INSERT INTO alert (number, id, condition, type, event_type, severity, log_id,"
                " detected_at, last_seen_at, payload) VALUES"
                " (1, 'a', 'c', 'RootHashMismatch', 'e', 'critical', ?, 0, 0, '{}')",
                [log.id],
            )
            self.store.execute(
                "INSERT INTO evidence (id, log_id, rule, detected_at, ours, theirs, details)"
                " VALUES (1, ?, 'RootHashMismatch', 0, x'00', x'01', '{}')",
                [log.id],
            )
            begin_quarantine(self.store, log, 1, 1, NOW)


def managed_key(signed: Signed) -> Any:
    assert managed(signed)
    return signed.key.public_key()


@pytest.fixture(params=list(FORMS))
def site(request: pytest.FixtureRequest, tmp_path: Path, capsys: Any) -> Site:
    return Site(tmp_path, capsys, request.param, proof=False)


def test_a_promise_is_good_and_says_that_it_is_one(site: Site) -> None:
    code, out = site.verify(text=True)
    assert code == 0
    assert out.splitlines()[0].endswith("VERIFIED by the log's promise alone, without a proof")
    code, one = site.verify()
    assert (code, one["log"]["restsOn"]) == (0, "promise")
    assert one["log"]["keySource"].startswith("pin")


def test_a_demand_for_a_proof_or_a_mirror_refuses_it(site: Site) -> None:
    code, one = site.verify("--require-proof")
    assert (code, one["reason"]) == (8, "promise-only")
    code, one = site.verify("--require-mirror")
    assert (code, one["reason"]) == (5, "not-covered")


@pytest.mark.parametrize("which", ["log", "older"])
def test_quarantine_of_any_tree_of_its_key_refuses_it(site: Site, which: str) -> None:
    site.quarantine(getattr(site, which))
    code, one = site.verify()
    assert (code, one["reason"]) == (8, "quarantined")


def test_junk_beside_a_promise_changes_nothing(site: Site) -> None:
    junk = {"logIndex": "0", "treeSize": "1", "rootHash": "AA" * 21 + "A=", "hashes": []}
    site.entry["inclusionProof"] = junk
    code, one = site.verify()
    assert (code, one["log"]["restsOn"]) == (0, "promise")
    assert site.verify("--require-proof")[0] == 8
    assert site.verify("--require-mirror")[0] == 5
    site.quarantine(site.log)
    assert site.verify()[0] == 8


def test_our_own_copy_takes_the_place_of_a_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path, capsys, "artifact", proof=True)
    tree = V1Tree(site.made)
    tree.grow(site.made.v1_log.tree.bodies)
    with site.store.atomic():
        put_backend(site.store, "sim", site.log, base_url="http://log.invalid/", read_url=None)
    sync_from(Mirror(site.store, site.log), tree)
    del site.entry["inclusionProof"]["checkpoint"]  # what is left says only where to look
    place = site.entry["inclusionProof"]["logIndex"]
    code, one = site.verify("--require-proof", "--require-mirror")
    assert (code, one["log"]["restsOn"], one["log"]["entryIndex"]) == (0, "mirror", int(place))
    assert one["ownView"]["coverage"] == "covered"
    site.entry["inclusionProof"]["logIndex"] = "0"  # a claim that leads nowhere proves nothing
    code, one = site.verify()
    assert (code, one["log"]["restsOn"]) == (0, "promise")
    site.entry["inclusionProof"]["logIndex"] = place
    site.quarantine(site.log)  # its stories share nothing
    code, one = site.verify()
    assert (code, one["reason"]) == (8, "quarantined")


def test_the_key_of_a_v2_log_promises_nothing_and_is_no_clock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ed25519, or ECDSA: that has one log id in both versions, and only the pin tells them."""
    site = Site(tmp_path, capsys, "attestation", proof=False)
    with site.store.atomic():
        site.store.execute("UPDATE log SET api_version = 2")
    code, one = site.verify()
    assert (code, one["reason"]) == (3, "set-in-v2")
    assert one["signingTimes"] == []
