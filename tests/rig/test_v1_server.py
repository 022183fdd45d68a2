"""The v1 server builds entries that verify, by our own verifier and by docs/rekor.md."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.rekor.set import verify_set
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.merkle import Hash, leaf_hash
from appliance.tlog.note_keys import rekor_v1_key
from appliance.tlog.proof import verify_inclusion
from tests.pki.authorities import new_key, spki
from tests.pki.logs import EARLIER_TREES, V1_HOST
from tests.rig.v1_proposals import dsse, hashedrekord
from tests.rig.v1_server import ENTRIES, V1Server, v1_server


@pytest.fixture(scope="module")
def server() -> Iterator[V1Server]:
    with v1_server() as running:
        yield running


def ask(
    server: V1Server, method: str, path: str, body: bytes | None = None
) -> tuple[int, dict[str, str], Any]:
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, dict(answer.getheaders()), json.loads(text) if text else None
    finally:
        connection.close()


@pytest.mark.parametrize("make", [hashedrekord, dsse])
def test_an_entry_verifies_in_every_part(
    server: V1Server, make: Callable[[ec.EllipticCurvePrivateKey, bytes], bytes]
) -> None:
    status, headers, answer = ask(server, "POST", ENTRIES, make(new_key(), b"content"))
    assert status == 201
    ((uuid, value),) = answer.items()
    assert headers["Location"] == f"{ENTRIES}/{uuid}"
    body = b64decode(value["body"])
    leaf = leaf_hash(body)
    assert uuid == f"{server.tree_id:016x}{leaf.hex()}"
    assert value["logID"] == sha256(spki(server.log.key)).hexdigest()
    proof = value["verification"]["inclusionProof"]
    key = rekor_v1_key(V1_HOST, spki(server.log.key))
    checkpoint = open_checkpoint(proof["checkpoint"].encode(), [key], server.log.origin)
    assert value["logIndex"] == EARLIER_TREES + proof["logIndex"]
    hashes = [Hash(bytes.fromhex(one)) for one in proof["hashes"]]
    verify_inclusion(proof["logIndex"], leaf, checkpoint.head, hashes)
    entry = server.find(uuid)
    assert entry is not None
    assert verify_set(entry, key) == value["integratedTime"]
    assert ask(server, "GET", f"{ENTRIES}/{uuid}")[2] == answer
    assert ask(server, "GET", f"{ENTRIES}?logIndex={value['logIndex']}")[2] == answer
    wanted = json.dumps({"logIndexes": [value["logIndex"], 1]}).encode()
    assert ask(server, "POST", f"{ENTRIES}/retrieve", wanted)[2] == [answer]


def test_the_same_again_is_a_409_that_says_where(server: V1Server) -> None:
    proposal = hashedrekord(new_key(), b"twice")
    _, first, _ = ask(server, "POST", ENTRIES, proposal)
    status, again, told = ask(server, "POST", ENTRIES, proposal)
    assert (status, again["Location"]) == (409, first["Location"])
    assert told["message"].endswith(first["ETag"])


def broken() -> Iterator[tuple[str, bytes]]:
    good = json.loads(hashedrekord(new_key(), b"content"))
    other = json.loads(hashedrekord(new_key(), b"content"))
    yield "no JSON", b"{"
    yield "another kind", json.dumps({**good, "kind": "rpm"}).encode()
    yield (
        "another key",
        json.dumps(
            {
                **good,
                "spec": {
                    **good["spec"],
                    "signature": {
                        **good["spec"]["signature"],
                        "publicKey": other["spec"]["signature"]["publicKey"],
                    },
                },
            }
        ).encode(),
    )
    envelope = json.loads(dsse(new_key(), b"{}"))
    envelope["spec"]["proposedContent"]["verifiers"] = json.loads(dsse(new_key(), b"{}"))["spec"][
        "proposedContent"
    ]["verifiers"]
    yield "another verifier", json.dumps(envelope).encode()


@pytest.mark.parametrize("request_", [pytest.param(raw, id=name) for name, raw in broken()])
def test_what_does_not_verify_is_a_400(server: V1Server, request_: bytes) -> None:
    before = len(server.entries)
    status, _, answer = ask(server, "POST", ENTRIES, request_)
    assert (status, answer["code"]) == (400, 400)
    assert len(server.entries) == before


def test_what_is_not_here_is_a_404_without_a_body(server: V1Server) -> None:
    assert ask(server, "GET", f"{ENTRIES}/{'0' * 80}")[::2] == (404, None)


def test_the_state_is_the_trees(server: V1Server) -> None:
    state = ask(server, "GET", "/api/v1/log")[2]
    key = rekor_v1_key(V1_HOST, spki(server.log.key))
    head = open_checkpoint(state["signedTreeHead"].encode(), [key], server.log.origin).head
    assert (head.tree_size, head.root_hash.hex()) == (state["treeSize"], state["rootHash"])
