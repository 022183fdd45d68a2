"""A Rekor v1 server on loopback, as far as a client that submits needs it.

Not the real one, which wants a database and a Trillian: this one really builds entries,
with their timestamps signed and included in a tree of its own, by a key of its own. It
reads requests with nothing of the appliance but the tests' own log (tests/pki/logs.py).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from tests.pki.logs import V1Log

ENTRIES: Final = "/api/v1/log/entries"
MAX_RETRIEVED: Final = 10  # entries in one answer


class BadRequestError(Exception):
    """What the server says no to, with its status."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.status = message, status


@dataclass
class V1Server:
    """A running server and what it logged."""

    log: V1Log = field(default_factory=V1Log)
    url: str = ""
    entries: list[TransparencyLogEntry] = field(default_factory=list)  # in order
    requests: list[bytes] = field(default_factory=list)  # bodies of all POSTs that made one
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _known: dict[bytes, TransparencyLogEntry] = field(default_factory=dict)  # by body

    @property
    def public_key(self) -> bytes:
        """PEM."""
        return self.log.key.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def tree_id(self) -> int:
        """As in the origin."""
        return int(self.log.origin.rpartition(" ")[2])

    def uuid(self, entry: TransparencyLogEntry) -> str:
        """Return an entry's id: the tree's and the leaf's hash."""
        leaf = hashlib.sha256(b"\x00" + entry.canonicalized_body).hexdigest()
        return f"{self.tree_id:016x}{leaf}"

    def submit(self, request: bytes) -> tuple[TransparencyLogEntry, bool]:
        """Log a proposal; return its entry, and whether it is new."""
        body = canonical_body(request)
        with self._lock:
            known = self._known.get(body)
            if known is not None:
                return known, False
            entry = self.log.add(body)
            self._known[body] = entry
            self.entries.append(entry)
            self.requests.append(request)
            return entry, True

    def find(self, uuid: str) -> TransparencyLogEntry | None:
        """Return an entry by its id, with or without the tree's."""
        return next((one for one in self.entries if self.uuid(one)[-64:] == uuid[-64:]), None)

    def at(self, log_index: int) -> TransparencyLogEntry | None:
        """Return an entry by its index over all trees."""
        return next((one for one in self.entries if one.log_index == log_index), None)

    def answer(self, entry: TransparencyLogEntry) -> dict[str, Any]:
        """Return an entry as the API does: one key, and what is under it."""
        proof, promise = entry.inclusion_proof, entry.inclusion_promise
        assert proof is not None and promise is not None
        value = {
            "body": b64encode(entry.canonicalized_body).decode(),
            "integratedTime": entry.integrated_time,
            "logID": entry.log_id.hex(),
            "logIndex": entry.log_index,
            "verification": {
                "inclusionProof": {
                    "checkpoint": proof.checkpoint,
                    "hashes": [one.hex() for one in proof.hashes],
                    "logIndex": proof.entry_index,
                    "rootHash": proof.root_hash.hex(),
                    "treeSize": proof.tree_size,
                },
                "signedEntryTimestamp": b64encode(promise).decode(),
            },
        }
        return {self.uuid(entry): value}

    def state(self) -> dict[str, Any]:
        """Return the answer to GET /api/v1/log."""
        head = self.log.tree.head()
        text = f"{self.log.origin}\n{head.tree_size}\n{b64encode(head.root_hash).decode()}\n"
        return {
            "rootHash": head.root_hash.hex(),
            "treeSize": head.tree_size,
            "signedTreeHead": self.log.note(text),
            "treeID": str(self.tree_id),
            "inactiveShards": [],
        }


@contextmanager
def v1_server(log: V1Log | None = None) -> Iterator[V1Server]:
    """Run a new v1 log on a free loopback port until the block ends."""
    served = V1Server(log or V1Log())

    class Handler(_Handler):
        server_log = served

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, name="v1 server")
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds an idle connection is kept
    server_log: V1Server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a read."""
        place = urlsplit(self.path)
        if place.path == "/api/v1/log":
            self._say(200, self.server_log.state())
            return
        if place.path == "/api/v1/log/publicKey":
            self._send(200, self.server_log.public_key, {"Content-Type": "application/x-pem-file"})
            return
        found = None
        if place.path == ENTRIES and (indices := parse_qs(place.query).get("logIndex")):
            found = self.server_log.at(int(indices[0]))
        elif place.path.startswith(f"{ENTRIES}/"):
            found = self.server_log.find(place.path.rpartition("/")[2])
        if found is None:
            self._send(404, b"", {})
        else:
            self._say(200, self.server_log.answer(found))

    def do_POST(self) -> None:
        """Answer a proposal or a search."""
        request = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            if self.path == f"{ENTRIES}/retrieve":
                self._retrieve(request)
                return
            if self.path != ENTRIES:
                raise BadRequestError("path not found", 404)
            if not self.headers.get("Content-Type", "").startswith("application/json"):
                raise BadRequestError("unsupported media type", 415)
            entry, is_new = self.server_log.submit(request)
        except BadRequestError as error:
            self._say(error.status, {"code": error.status, "message": error.message})
            return
        uuid = self.server_log.uuid(entry)
        headers = {"Location": f"{ENTRIES}/{uuid}", "ETag": uuid}
        if is_new:
            self._say(201, self.server_log.answer(entry), headers)
        else:
            message = f"an equivalent entry already exists in the transparency log with UUID {uuid}"
            self._say(409, {"code": 409, "message": message}, headers)

    def _retrieve(self, request: bytes) -> None:
        wanted = json.loads(request)
        indices, uuids = wanted.get("logIndexes", []), wanted.get("entryUUIDs", [])
        if len(indices) + len(uuids) > MAX_RETRIEVED:
            raise BadRequestError("more than max allowed 10 entries in request", 422)
        found = [*map(self.server_log.at, indices), *map(self.server_log.find, uuids)]
        self._say(200, [self.server_log.answer(one) for one in found if one is not None])

    def _say(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json;q=1"}
        self._send(status, json.dumps(value).encode() + b"\n", {**kind, **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def canonical_body(request: bytes) -> bytes:
    """Check a proposal as the server does, and return the leaf that it becomes."""
    try:
        proposal = json.loads(request)
        kind, version, spec = proposal["kind"], proposal["apiVersion"], proposal["spec"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequestError(f"error processing entry: {error}") from error
    if version != "0.0.1" or kind not in ("hashedrekord", "dsse"):
        raise BadRequestError(f"error processing entry: entry kind '{kind}' is not here")
    try:
        made = _hashedrekord(spec) if kind == "hashedrekord" else _dsse(spec["proposedContent"])
    except (ValueError, KeyError, TypeError, InvalidSignature) as error:
        raise BadRequestError(f"error processing entry: {type(error).__name__} {error}") from error
    entry = {"apiVersion": version, "kind": kind, "spec": made}
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _hashedrekord(spec: dict[str, Any]) -> dict[str, Any]:
    hashed, signature = spec["data"]["hash"], spec["signature"]
    if set(spec) != {"data", "signature"} or hashed["algorithm"] != "sha256":
        raise ValueError("not a hashedrekord of sha256")
    if not re.fullmatch("[0-9a-f]{64}", hashed["value"]):
        raise ValueError("not a digest")
    pem = b64decode(signature["publicKey"]["content"], validate=True)
    content = b64decode(signature["content"], validate=True)
    algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    _load(pem).verify(content, bytes.fromhex(hashed["value"]), algorithm)
    return {
        "data": {"hash": {"algorithm": "sha256", "value": hashed["value"]}},
        "signature": {
            "content": b64encode(content).decode(),
            "publicKey": {"content": b64encode(_canonical_pem(pem)).decode()},
        },
    }


def _dsse(proposed: dict[str, Any]) -> dict[str, Any]:
    text = proposed["envelope"]
    envelope = json.loads(text)
    payload = b64decode(envelope["payload"], validate=True)
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    verifiers = [b64decode(one, validate=True) for one in proposed["verifiers"]]
    if not envelope["signatures"] or len(envelope["signatures"]) != len(verifiers):
        raise ValueError("as many verifiers as signatures are needed")
    signatures = []
    for one in envelope["signatures"]:
        raw = b64decode(one["sig"], validate=True)
        pem = next((pem for pem in verifiers if _verifies(pem, raw, signed)), None)
        if pem is None:
            raise ValueError("a signature that none of the verifiers made")
        verifier = b64encode(_canonical_pem(pem)).decode()
        signatures.append({"signature": one["sig"], "verifier": verifier})
    return {
        "envelopeHash": {
            "algorithm": "sha256",
            "value": hashlib.sha256(text.encode()).hexdigest(),
        },
        "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
        "signatures": sorted(signatures, key=lambda one: one["signature"]),
    }


def _verifies(pem: bytes, signature: bytes, signed: bytes) -> bool:
    try:
        _load(pem).verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _load(pem: bytes) -> ec.EllipticCurvePublicKey:
    if b"CERTIFICATE" in pem:
        key = x509.load_pem_x509_certificate(pem).public_key()
    else:
        key = load_pem_public_key(pem)  # type: ignore[assignment]
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("only ECDSA keys are read here")
    return key


def _canonical_pem(pem: bytes) -> bytes:
    if b"CERTIFICATE" in pem:
        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.PEM)
    return _load(pem).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
