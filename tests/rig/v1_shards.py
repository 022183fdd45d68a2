"""A Rekor v1 instance of several trees on loopback, which can lie.

    with v1_instance("rekor.example") as log:
        log.grow(300)            # entries in the active tree
        log.rotate(grow=7)       # it gets 7 more, is closed, and a new tree is active
        log.lies["proof"] = lambda answer: {**answer, "hashes": answer["hashes"][::-1]}

Written from the API's description alone: nothing of the appliance is used, neither for trees
nor for notes, so that both may disagree.
"""

from __future__ import annotations

import json
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@cache
def _root(leaves: tuple[bytes, ...]) -> bytes:
    """RFC 6962 section 2.1, word for word, over leaf hashes."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return sha256(b"\x01" + _root(leaves[:k]) + _root(leaves[k:])).digest()


def _split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def _path(m: int, leaves: tuple[bytes, ...]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if m < k:
        return [*_path(m, leaves[:k]), _root(leaves[k:])]
    return [*_path(m - k, leaves[k:]), _root(leaves[:k])]


def _subproof(m: int, leaves: tuple[bytes, ...], whole: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [_root(leaves)]
    k = _split(len(leaves))
    if m <= k:
        return [*_subproof(m, leaves[:k], whole), _root(leaves[k:])]
    return [*_subproof(m - k, leaves[k:], False), _root(leaves[:k])]


@dataclass(frozen=True)
class Raw:
    """What a lie makes of a whole answer."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json;q=1"),)


@dataclass
class Tree:
    """One tree: its id and the bodies in it."""

    tree_id: int
    bodies: list[bytes] = field(default_factory=list)

    @property
    def leaves(self) -> tuple[bytes, ...]:
        return tuple(sha256(b"\x00" + body).digest() for body in self.bodies)


@dataclass
class V1Instance:
    """A running instance; `trees` in their order, the last one active."""

    host: str = "rekor.example"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    trees: list[Tree] = field(default_factory=lambda: [Tree(1001)])
    url: str = ""
    asked: list[str] = field(default_factory=list)  # paths, in order
    # What is done to an answer before it goes out: log, proof, entry, retrieve.
    lies: dict[str, Callable[[Any], Any]] = field(default_factory=dict)

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def active(self) -> Tree:
        return self.trees[-1]

    def origin(self, tree: Tree | None = None) -> str:
        return f"{self.host} - {(tree or self.active).tree_id}"

    def grow(self, n: int, tree: Tree | None = None) -> None:
        tree = tree or self.active
        for _ in range(n):
            number = len(tree.bodies)
            spec = {"tree": tree.tree_id, "number": number}
            entry = {"apiVersion": "0.0.1", "kind": "example", "spec": spec}
            tree.bodies.append(json.dumps(entry, sort_keys=True, separators=(",", ":")).encode())

    def rotate(self, grow: int = 0) -> None:
        """Close the active tree after so many more entries, and begin another."""
        self.grow(grow)
        self.trees.append(Tree(self.active.tree_id + 1))

    def note(self, tree: Tree, size: int | None = None, extension: str = "") -> str:
        """Sign a head; anew at each call, as such instances do."""
        leaves = tree.leaves if size is None else tree.leaves[:size]
        text = f"{self.origin(tree)}\n{len(leaves)}\n{b64encode(_root(leaves)).decode()}\n"
        text += extension
        signature = self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        line = b64encode(sha256(spki).digest()[:4] + signature).decode()
        return f"{text}\n\N{EM DASH} {self.host} {line}\n"

    def info(self) -> dict[str, Any]:
        """Answer GET /api/v1/log."""
        return {
            **self._state(self.active),
            "inactiveShards": list(map(self._state, self.trees[:-1])),
        }

    def _state(self, tree: Tree) -> dict[str, Any]:
        return {
            "rootHash": _root(tree.leaves).hex(),
            "treeSize": len(tree.bodies),
            "signedTreeHead": self.note(tree),
            "treeID": str(tree.tree_id),
        }

    def proof(self, first: int, last: int, tree_id: str) -> dict[str, Any] | None:
        """Answer GET /api/v1/log/proof; None: it is a 400."""
        tree = next((one for one in self.trees if str(one.tree_id) == tree_id), None)
        if tree is None or not 1 <= first <= last <= len(tree.bodies):
            return None
        hashes = _subproof(first, tree.leaves[:last], True)
        # The root of the tree as it is, not of the size that was asked for: as they do it.
        return {"rootHash": _root(tree.leaves).hex(), "hashes": [one.hex() for one in hashes]}

    def entry(self, log_index: int) -> dict[str, Any] | None:
        """Answer for one entry, by its index over all trees."""
        before = 0
        for tree in self.trees:
            if 0 <= log_index - before < len(tree.bodies):
                return self.signed_entry(tree, log_index - before, log_index)
            before += len(tree.bodies)
        return None

    def signed_entry(self, tree: Tree, local: int, log_index: int) -> dict[str, Any]:
        """Answer with an entry of a tree, promised at an index over all trees."""
        body, spki = (
            tree.bodies[local],
            self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        )
        signed = {
            "body": b64encode(body).decode(),
            "integratedTime": 1_700_000_000 + local,
            "logID": sha256(spki).hexdigest(),
            "logIndex": log_index,
        }
        promise = self.key.sign(
            json.dumps(signed, sort_keys=True, separators=(",", ":")).encode(),
            ec.ECDSA(hashes.SHA256()),
        )
        proof = {
            "checkpoint": self.note(tree),
            "hashes": [one.hex() for one in _path(local, tree.leaves)],
            "logIndex": local,
            "rootHash": _root(tree.leaves).hex(),
            "treeSize": len(tree.bodies),
        }
        verification = {
            "inclusionProof": proof,
            "signedEntryTimestamp": b64encode(promise).decode(),
        }
        uuid = f"{tree.tree_id:016x}{tree.leaves[local].hex()}"
        return {uuid: {**signed, "verification": verification}}

    def answer(self, what: str, value: Any) -> Any:
        """Tell the truth, or what a test has it say."""
        return self.lies[what](value) if what in self.lies else value


@contextmanager
def v1_instance(host: str = "rekor.example", first_tree: int = 1001) -> Iterator[V1Instance]:
    """Run an instance on a free port of loopback until the block ends."""
    served = V1Instance(host, trees=[Tree(first_tree)])

    class Handler(_Handler):
        instance = served

    with _Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where the client has read enough of a lie and is gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    instance: V1Instance

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a read."""
        place, log = urlsplit(self.path), self.instance
        log.asked.append(self.path)
        query = {name: values[0] for name, values in parse_qs(place.query).items()}
        if place.path == "/api/v1/log":
            self._say(200, log.answer("log", log.info()))
        elif place.path == "/api/v1/log/proof":
            tree_id = query.get("treeID", str(log.active.tree_id))
            found = log.proof(int(query.get("firstSize", 1)), int(query["lastSize"]), tree_id)
            if found is None:
                message = "the tree size requested was greater than what is currently observable"
                self._say(400, {"code": 400, "message": message})
            else:
                self._say(200, log.answer("proof", found))
        elif place.path == "/api/v1/log/entries" and (
            entry := log.entry(int(query.get("logIndex", -1)))
        ):
            answered = log.answer("entry", entry)
            self._say(404 if answered is None else 200, answered)
        else:
            self._say(404, None)

    def do_POST(self) -> None:
        """Answer a search for entries: at most ten, without a word on those that are not there."""
        log = self.instance
        log.asked.append(self.path)
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["logIndexes"]
        if self.path != "/api/v1/log/entries/retrieve" or len(wanted) > 10:
            self._say(422, {"code": 422, "message": "more than max allowed 10 entries in request"})
            return
        found = log.answer("retrieve", [one for one in map(log.entry, wanted) if one is not None])
        self._say(500 if found is None else 200, found)

    def _say(self, status: int, value: Any) -> None:
        if not isinstance(value, Raw):
            value = Raw(b"" if value is None else json.dumps(value).encode(), status)
        self.send_response(value.status)
        for name, text in value.headers:
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(value.body)))
        self.end_headers()
        self.wfile.write(value.body)
