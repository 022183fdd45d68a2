"""When the budget is short, one root is submitted for many items, and each has its proof."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.jobs import aggregate as job
from appliance.jobs.enqueue import Wish, enqueue
from appliance.jobs.queue_settings import DEFAULTS, read_queue_settings
from appliance.rekor.entry import Digest
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.sigstore.sigstore_bundle import MessageSignature
from appliance.sigstore.submission import submit_message
from appliance.store.key_files import load_signing_key
from appliance.tlog.note_keys import log_key
from appliance.value import replaced
from tests.cli.homes import NOW, Home
from tests.interop.signed_artifact import sign_artifact
from tests.jobs.private_homes import ORIGIN, home_in_memory, make_home
from tests.rig.independent import leaf_of
from tests.serve.running_log import RunningLog, running_log

OWN = "own.example"
ITEMS = 30
BUDGET = 4  # an hour
MIN_ITEMS = DEFAULTS["rekor.aggregate.minItems"]


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[RunningLog, bytes]]:
    with home_in_memory() as home:
        make_home(home)
        spki = load_signing_key(home, ORIGIN).verifier.spki
        with running_log(home) as server:
            yield server, spki


class Short(Home):
    """A home whose budget is short, with a log of its own."""

    def wait(self, seconds: int) -> None:
        now = self.app.now() + seconds
        self.app = replaced(self.app, now=lambda: now, uptime=lambda: ("boot", now - NOW))

    def fill(self, count: int) -> list[bytes]:
        """Queue so many artifacts; return their requests."""
        key = ec.generate_private_key(ec.SECP256R1())
        requests = []
        with self.app.queueing() as store:
            settings = read_queue_settings(store)
            for number in range(count):
                artifact = sign_artifact(key, f"scan {number}\n".encode())
                message = MessageSignature(
                    artifact.signature, Digest("sha256", sha256(artifact.content).digest())
                )
                verifier = VerifierMaterial(artifact.spki, is_certificate=False)
                submission = submit_message(message, verifier)
                wish = Wish(tenant="acme", tier="graph")
                added = enqueue(store, submission, wish, settings, self.app.moment())
                requests.append(added.item.what.request)
        return requests

    def states(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for one in self.json("queue", "list", "--all")["items"]:
            if one["tenant"] == "acme":
                found[one["state"]] = found.get(one["state"], 0) + 1
        return found

    def items(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.json("queue", "list", "--all")["items"]
        return [one for one in listed if one["tenant"] == "acme"]


@pytest.fixture
def home(
    upstream: tuple[RunningLog, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Short:
    server, spki = upstream
    made = Short(tmp_path / "home", capsys)
    made.app = replaced(made.app, uptime=lambda: ("boot", 0), random_bytes=_dice())
    (tmp_path / "log.key").write_bytes(spki)
    made.json(
        *("backend", "add", "upstream", "--origin", ORIGIN, "--url", server.url),
        *("--public-key", tmp_path / "log.key"),
    )
    made.json("log", "create", "own", "--origin", OWN)
    made.json("key", "generate", "publisher.example", "--type", "publisher")
    made.json("tenant", "add", "acme")
    made.json("config", "set", "rekor.serverUrl", server.url)
    made.json("config", "set", "rekor.budget.hourlyLimit", str(BUDGET))
    made.json("config", "set", "rekor.budget.burstLimit", str(BUDGET * 6))
    return made


def _dice() -> Any:
    from random import Random

    return Random(11).randbytes  # noqa: S311 a test's dice


def test_nothing_is_aggregated_unless_somebody_asks(home: Short) -> None:
    home.fill(ITEMS)
    home.json("queue", "drain")
    assert home.states() == {"logged": BUDGET, "queued": ITEMS - BUDGET}


def test_one_root_is_logged_for_all_that_has_no_slot(
    home: Short, upstream: tuple[RunningLog, bytes], tmp_path: Path
) -> None:
    requests = home.fill(ITEMS)
    home.json("config", "set", "rekor.aggregate.enabled", "true")
    home.json("queue", "drain")
    assert home.states() == {"logged": BUDGET, "aggregated": ITEMS - BUDGET}
    (root,) = [one for one in home.json("queue", "list")["items"] if one["tenant"] == "system"]
    one = next(one for one in home.items() if one["state"] == "aggregated")
    error = home.json(*("queue", "proof", one["id"], "--output", tmp_path / "early"), expect=5)
    assert error["reason"] == "root-not-logged"
    # The root is an item like any other, of a tenant of its own; it takes one slot.
    home.wait(60)
    home.json("queue", "drain")
    assert home.json("queue", "show", root["id"])["state"] == "logged"
    assert home.states() == {"logged": ITEMS}
    logged = {leaf_of(request) for request in requests}
    for number, item in enumerate(home.items()):
        proof, entry = tmp_path / f"{number}.tlog-proof", tmp_path / f"{number}.entry"
        files = ("--output", proof, "--entry", entry)
        if item["id"] in {one["id"] for one in home.items()[:BUDGET]}:
            error = home.json("queue", "proof", item["id"], *files, expect=5)
            assert error["reason"] == "not-aggregated"
            continue
        home.json("queue", "proof", item["id"], *files)
        assert entry.read_bytes() in logged
        verified = home.json("proof", "verify", proof, "--entry", entry)
        assert (verified["origin"], verified["upstream"]["origin"]) == (OWN, ORIGIN)
    # With nothing but the two keys, as somebody else would.
    policy = tmp_path / "trust.policy"
    keys = [home.json("log", "status")["logs"][0]["vkey"], log_key(ORIGIN, upstream[1]).vkey]
    policy.write_text("".join(f"log {key}\n" for key in keys) + "quorum none\n")
    home.json("proof", "verify", proof, "--entry", entry, "--policy", policy)
    policy.write_text(f"log {keys[0]}\nquorum none\n")
    home.json("proof", "verify", proof, "--entry", entry, "--policy", policy, expect=3)
    other = tmp_path / f"{BUDGET}.entry"
    assert other != entry
    home.json("proof", "verify", proof, "--entry", other, expect=3)


def test_too_few_are_left_alone(home: Short) -> None:
    home.fill(BUDGET + MIN_ITEMS - 1)
    home.json("config", "set", "rekor.aggregate.enabled", "true")
    home.json("queue", "drain")
    assert home.states() == {"logged": BUDGET, "queued": MIN_ITEMS - 1}
    assert home.json("queue", "aggregate", "--dry-run")["items"] == 0
    assert home.json("queue", "aggregate", "--min-items", "2", "--dry-run")["items"] > 0
    home.json("queue", "aggregate", "--min-items", "2")
    assert home.states() == {"logged": BUDGET, "aggregated": MIN_ITEMS - 1}


def test_items_of_a_root_that_is_cancelled_are_queued_again(home: Short) -> None:
    home.fill(ITEMS)
    home.json("queue", "aggregate")
    (root,) = [one for one in home.json("queue", "list")["items"] if one["tenant"] == "system"]
    home.json("queue", "cancel", root["id"])
    home.json("queue", "aggregate", "--min-items", "1000")
    assert home.states() == {"queued": ITEMS}


def test_dying_after_the_entries_are_logged_here_loses_nothing(
    home: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.fill(ITEMS)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job, "add_aggregate", die)
        assert home.run("queue", "aggregate")[0] == 130
    assert home.states() == {"queued": ITEMS}
    size = home.json("log", "status")["logs"][0]["treeSize"]
    home.json("queue", "aggregate")
    assert home.json("log", "status")["logs"][0]["treeSize"] == size  # each entry once
    home.wait(60)
    home.json("queue", "drain")
    home.json("queue", "aggregate")
    assert "aggregated" not in home.states()


def test_without_a_log_or_a_key_it_is_a_warning_and_nothing_moves(
    home: Short, tmp_path: Path
) -> None:
    home.fill(ITEMS)
    home.json("config", "set", "rekor.aggregate.enabled", "true")
    (home.path / "keys" / "publisher.example.pem").unlink()
    code, _, err = home.run("queue", "drain")
    assert code == 0 and "nothing was aggregated: there is no publisher key" in err
    assert home.states() == {"logged": BUDGET, "queued": ITEMS - BUDGET}
    assert home.json("queue", "aggregate", expect=9)["reason"] == "no-key"
