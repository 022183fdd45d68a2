"""Our log before a real witness, and a real log before ours: unmodified, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.fetch.http import HttpClient, HttpSettings
from appliance.fetch.witness import ask_witness
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.cosignature import open_cosignatures, parse_witness_vkey
from appliance.tlog.note_keys import VerifierKey, log_key, parse_vkey
from appliance.tlog.witness_request import WitnessRequest
from tests.interop.attestor import COMMAND, Site
from tests.interop.litewitness import litewitness
from tests.interop.private_log import private_log
from tests.interop.rekor_client import log_all
from tests.interop.rekor_server import ORIGIN, peer, rekor_server
from tests.interop.service import service
from tests.interop.signed_artifact import sign_artifact

pytestmark = pytest.mark.interop
SECONDS = 30.0


def grow(url: str, first: int, count: int) -> list[bytes]:
    """Log so many artifacts; return the checkpoints that were answered."""
    signer = ec.generate_private_key(ec.SECP256R1())
    fresh = [sign_artifact(signer, f"{n}\n".encode()) for n in range(first, first + count)]
    answers = log_all(url, fresh)
    return [one["inclusionProof"]["checkpoint"]["envelope"].encode() for one in answers]


def cosigned(note: bytes, log: VerifierKey, witness: str) -> bool:
    signed = open_checkpoint(note, [log], log.name)
    return bool(open_cosignatures(signed, [parse_witness_vkey(witness)]))


def test_our_log_is_cosigned_by_litewitness(tmp_path: Path) -> None:
    with private_log(tmp_path / "log") as log:
        [status] = log.site.run("log", "status")["logs"]
        key = parse_vkey(status["vkey"])
        with litewitness(tmp_path / "witness", log.origin, key.vkey) as (url, vkey):
            policy = tmp_path / "policy"
            policy.write_text(f"witness lite {vkey} {url}\nquorum lite\n")
            log.site.run("log", "witnesses", policy)
            for first, count in ((0, 3), (3, 40), (43, 1)):
                notes = grow(log.url, first, count)
                assert all(cosigned(note, key, vkey) for note in notes)
            described = log.site.run("log", "witnesses")
            assert (described["met"], described["treeSize"]) == (True, 44)
            # What it refuses of us is what it has to: another size, a proof that is none.
            note = notes[-1]
            with HttpClient(HttpSettings()) as http:
                again = ask_witness(http, url, bytes(WitnessRequest(3, (), note)), SECONDS)
                assert (again.status, again.size) == (409, 44)
                same = ask_witness(http, url, bytes(WitnessRequest(44, (), note)), SECONDS)
                assert same.status == 200
        # It is gone now: nothing is published, nobody is told, and nothing is lost.
        log.site.run("config", "set", "witness.timeout", "300ms")
        with pytest.raises(AssertionError):
            grow(log.url, 100, 1)
        assert log.site.run("log", "status")["logs"][0]["state"] == "signed"


@pytest.mark.parametrize("entries", [25])
def test_the_real_rekor_server_is_cosigned_by_our_witness(tmp_path: Path, entries: int) -> None:
    peer("rekor-server-posix")
    site = Site(tmp_path / "home")
    site.run("init", "--site", "witness-host")
    vkey = site.run("key", "generate", "witness.example", "--type", "witness")["vkey"]

    def command(ports: Sequence[int]) -> list[str | Path]:
        bind = f"127.0.0.1:{ports[0]}"
        return [COMMAND, "--home", site.home, "witness", "serve", "--bind", bind]

    key = Ed25519PrivateKey.generate()
    with service(command, 1, tmp_path / "witness.log") as url:
        policy = tmp_path / "policy"
        policy.write_text(f"witness ours {vkey} {url}\nquorum ours\n")
        options = [f"--witness-policy-path={policy}"]
        with rekor_server(tmp_path / "rekor", key, options=options) as server:
            site.run(
                *("backend", "add", "rekor", "--origin", ORIGIN, "--url", server.url),
                *("--read-url", server.read_url, "--public-key", server.public_key),
            )
            log = log_key(ORIGIN, server.spki)
            grow(server.url, 0, entries)
            grow(server.url, entries, 1)
            deadline = time.monotonic() + SECONDS
            while not cosigned((server.storage / "checkpoint").read_bytes(), log, vkey):
                assert time.monotonic() < deadline, (tmp_path / "witness.log").read_text()
                time.sleep(0.5)
            [row] = site.run("witness", "status")["cosigned"]
            assert row["treeSize"] == entries + 1
            # And what it serves with our cosignature is mirrored as any log is.
            [synced] = site.run("sync", "--full-tiles", "--entries")["backends"]
            assert synced["mirrorSize"] == entries + 1
