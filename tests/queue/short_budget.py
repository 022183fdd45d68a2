"""A home whose tenant may submit four an hour, with a log of its own and one elsewhere."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.jobs.queue.enqueue import Wish, enqueue
from appliance.jobs.queue.settings import read_queue_settings
from appliance.rekor.entry import Digest
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.sigstore.sigstore_bundle import MessageSignature
from appliance.sigstore.submission import submit_message
from appliance.value import replaced
from tests.cli.homes import NOW, Home
from tests.interop.signed_artifact import sign_artifact
from tests.private_log.private_homes import ORIGIN

OWN = "own.example"
BUDGET = 4  # an hour


class ShortHome(Home):
    """A home whose budget is short. Its clock stands still until it is told to wait."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str], url: str, key: Path) -> None:
        super().__init__(path, capsys)
        dice = Random(11)  # noqa: S311 a test's
        self.app = replaced(self.app, uptime=lambda: ("boot", 0), random_bytes=dice.randbytes)
        self.json(
            *("backend", "add", "upstream", "--origin", ORIGIN, "--url", url),
            *("--public-key", key),
        )
        self.json("log", "create", "own", "--origin", OWN)
        self.json("key", "generate", "publisher.example", "--type", "publisher")
        self.json("tenant", "add", "acme")
        self.json("config", "set", "rekor.serverUrl", url)
        self.json("config", "set", "rekor.budget.hourlyLimit", str(BUDGET))
        self.json("config", "set", "rekor.budget.burstLimit", str(BUDGET * 6))

    def wait(self, seconds: int) -> None:
        now = self.app.now() + seconds
        self.app = replaced(self.app, now=lambda: now, uptime=lambda: ("boot", now - NOW))

    def fill(self, count: int) -> list[bytes]:
        """Queue so many artifacts; return their requests."""
        key = ec.generate_private_key(ec.SECP256R1())
        requests = []
        with self.app.writing_unlocked() as store:
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
