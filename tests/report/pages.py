"""Homes and logs that reports are made of, and what somebody would change in a page."""

from __future__ import annotations

import base64
import copy
import itertools
import json
from collections.abc import Callable
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import DivergenceError
from appliance.jobs.mirror.checkable import key_described
from appliance.report.page import data_text
from appliance.tlog.checkpoint import Checkpoint
from appliance.tlog.note_keys import VerifierKey, log_key, rekor_v1_key
from tests.mirror.mirrors import NOW, sync_from
from tests.simulator import SimulatedLog
from tests.verify.test_verify import Site

Data = dict[str, Any]
HOSTILE = "</script><script>fetch('http://evil.example')</script><img src=x onerror=alert(1)>"


class Captured:
    """What capsys is, for a fixture that lives longer than one test."""

    def __init__(self, out: StringIO, err: StringIO) -> None:
        self._streams = out, err

    def readouterr(self) -> tuple[str, str]:
        """Return what was printed since the last time."""
        found = []
        for stream in self._streams:
            found.append(stream.getvalue())
            stream.seek(0)
            stream.truncate()
        return found[0], found[1]


def told_site(directory: Path, capsys: Any) -> Site:
    """Make a home with a grown log, a recorded verdict, and a fork that was caught."""
    site = Site(directory, capsys)
    site.sync()
    assert site.verify("--record")[0] == 0
    for more in (20, 300, 1):
        site.log.grow(more)
        site.sync()
    twin = site.log.fork(at=60)
    twin.grow(30)
    with pytest.raises(DivergenceError):
        sync_from(site.mirror, twin)
    assert site.run("tenant", "add", "secret-team")[0] == 0
    line = ["custody", "add", "--action", "sealed", "--who", "Jane Doe", "--medium", HOSTILE]
    assert site.run(*line)[0] == 0
    return site


def report_of(site: Site, *options: str) -> Data:
    """Return a home's report, as --json prints it."""
    code, out, err = site.run("report", "--json", *options)
    assert code == 0, err
    data: Data = json.loads(out)["data"]
    return data


KEYS: dict[str, Any] = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
}


def signed_log(kind: str, *, api_version: int = 2) -> Data:
    """Describe a log of 70 entries, as a report does, that signs with another kind of key."""
    private, origin = KEYS[kind], f"{kind}-v{api_version}.example"
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    make = rekor_v1_key if api_version == 1 else log_key
    key, log = make(origin, spki), SimulatedLog(origin)
    log.grow(70)
    sizes = (1, 8, 64, 70)
    heads = [
        {
            "treeSize": size,
            "rootHash": log.head_at(size).root_hash.hex(),
            "firstSeenAt": NOW,
            "note": _note(log, size, key, private),
        }
        for size in sizes
    ]
    proofs = [
        {
            "from": old,
            "to": new,
            "hashes": [one.hex() for one in log.consistency_proof(old, new)],
        }
        for old, new in itertools.pairwise(sizes)
    ]
    entries = [
        {
            "index": index,
            "treeSize": 70,
            "hashes": [one.hex() for one in log.inclusion_proof(index, 70)],
            "body": base64.b64encode(log.entries[index]).decode(),
        }
        for index in (0, 33, 69)
    ]
    return {
        "origin": origin,
        "apiVersion": api_version,
        "treeSize": 70,
        "mirrorSize": 70,
        "backends": [],
        "coverage": None,
        "entryCoverage": None,
        "growth": [],
        "tilesPerCell": 1,
        "tilesInCells": [],
        "nTiles": 0,
        "quarantine": None,
        "keys": [key_described(key)],
        "heads": heads,
        "consistency": proofs,
        "entries": entries,
        "unproven": [],
    }


def _note(log: SimulatedLog, size: int, key: VerifierKey, private: Any) -> str:
    text = str(Checkpoint(log.origin, log.head_at(size), ()))
    if isinstance(private, rsa.RSAPrivateKey):
        signature = private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        prehash = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
        signature = private.sign(text.encode(), ec.ECDSA(prehash[key.prehash]))
    line = base64.b64encode(key.key_id + signature).decode()
    return f"{text}\n\N{EM DASH} {log.origin} {line}\n"


def every_kind(data: Data) -> Data:
    """Add a log for each other kind of key to a report."""
    logs = [signed_log(kind) for kind in KEYS]
    return {**data, "logs": [*data["logs"], *logs, signed_log("p384", api_version=1)]}


# Forty ways to lie with a page whose digest was made anew. Each has to come out red.


def _cut(text: str, at: int = 0) -> str:
    """Change one character of hex or base64 to another."""
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]


def _signature(note: str) -> str:
    start = note.rindex(" ") + 20
    return note[:start] + ("A" if note[start] != "A" else "B") + note[start + 1 :]


def _other_key(key: Data) -> None:
    """Put in another key, with an id and a fingerprint that are that key's."""
    other = SimulatedLog("other.example").key.spki
    key |= {k: v for k, v in key_described(log_key(key["name"], other)).items() if k != "hash"}


def _note_of_head(data: Data, change: Callable[[str], str], n: int = 0) -> None:
    head = data["logs"][0]["heads"][n]
    head["note"] = change(head["note"])


def _entry(data: Data, n: int = 1) -> Data:
    found: Data = data["logs"][0]["entries"][n]
    return found


def _set(of: Any, name: Any, value: Any) -> None:
    of[name] = value


Change = Callable[[Data], None]
MUTATIONS: dict[str, Change] = {
    "a head's signature": lambda d: _note_of_head(d, _signature),
    "the newest head's signature": lambda d: _note_of_head(d, _signature, -1),
    "a signature line's name": lambda d: _note_of_head(
        d, lambda note: note.replace("\N{EM DASH} log.", "\N{EM DASH} log2.")
    ),
    "a note's origin": lambda d: _note_of_head(d, lambda note: note.replace("log.", "log2.", 1)),
    "a note's size": lambda d: _note_of_head(d, lambda note: note.replace("\n301\n", "\n302\n")),
    "a note's size with a zero before it": lambda d: _note_of_head(
        d, lambda note: note.replace("\n301\n", "\n0301\n")
    ),
    "a note without its signature": lambda d: _note_of_head(
        d, lambda note: note.partition("\n\n")[0] + "\n"
    ),
    "a line more in a note": lambda d: _note_of_head(
        d, lambda note: note.replace("\n\n", "\nmore\n\n")
    ),
    "two heads in the other order": lambda d: d["logs"][0]["heads"].reverse(),
    "a head twice": lambda d: d["logs"][0]["heads"].insert(0, d["logs"][0]["heads"][0]),
    "a head left out": lambda d: d["logs"][0]["heads"].pop(1),
    "the newest head left out": lambda d: d["logs"][0]["heads"].pop(),
    "no head at all": lambda d: d["logs"][0]["heads"].clear(),
    "a head's stated size": lambda d: _set(d["logs"][0]["heads"][0], "treeSize", 300),
    "a head's stated root": lambda d: _set(
        d["logs"][0]["heads"][0], "rootHash", _cut(d["logs"][0]["heads"][0]["rootHash"])
    ),
    "the log's stated size": lambda d: _set(d["logs"][0], "treeSize", 10**6),
    "the log's name": lambda d: _set(d["logs"][0], "origin", "log2.example"),
    "the log's API version": lambda d: _set(d["logs"][0], "apiVersion", 1),
    "the log's key": lambda d: _set(
        d["logs"][0]["keys"][0], "publicKey", _cut(d["logs"][0]["keys"][0]["publicKey"], 30)
    ),
    "another key with its own id": lambda d: _other_key(d["logs"][0]["keys"][0]),
    "a key's name": lambda d: _set(d["logs"][0]["keys"][0], "name", "log2.example"),
    "a key's id": lambda d: _set(d["logs"][0]["keys"][0], "keyId", "00000000"),
    "a key's fingerprint": lambda d: _set(
        d["logs"][0]["keys"][0], "fingerprint", _cut(d["logs"][0]["keys"][0]["fingerprint"])
    ),
    "a key that was retired before": lambda d: _set(d["logs"][0]["keys"][0], "retiredAtSize", 300),
    "no key at all": lambda d: d["logs"][0]["keys"].clear(),
    "a hash of a consistency proof": lambda d: _set(
        d["logs"][0]["consistency"][0]["hashes"],
        0,
        _cut(d["logs"][0]["consistency"][0]["hashes"][0]),
    ),
    "a hash more in a consistency proof": lambda d: d["logs"][0]["consistency"][0]["hashes"].append(
        "00" * 32
    ),
    "a hash less in a consistency proof": lambda d: d["logs"][0]["consistency"][0]["hashes"].pop(),
    "hashes cut at other places": lambda d: _set(
        d["logs"][0]["consistency"][0],
        "hashes",
        [
            d["logs"][0]["consistency"][0]["hashes"][0][:62],
            d["logs"][0]["consistency"][0]["hashes"][0][62:]
            + d["logs"][0]["consistency"][0]["hashes"][1],
            *d["logs"][0]["consistency"][0]["hashes"][2:],
        ],
    ),
    "consistency proofs in the other order": lambda d: d["logs"][0]["consistency"].reverse(),
    "a consistency proof left out": lambda d: d["logs"][0]["consistency"].pop(),
    "a consistency proof between other sizes": lambda d: _set(
        d["logs"][0]["consistency"][0], "from", 300
    ),
    "an entry's body": lambda d: _set(_entry(d), "body", base64.b64encode(b"other").decode()),
    "an entry's index": lambda d: _set(_entry(d), "index", _entry(d)["index"] + 1),
    "an entry beyond the tree": lambda d: _set(_entry(d), "index", 10**6),
    "an entry's tree": lambda d: _set(_entry(d), "treeSize", 301),
    "a hash of an inclusion proof": lambda d: _set(
        _entry(d)["hashes"], 0, _cut(_entry(d)["hashes"][0])
    ),
    "a hash more in an inclusion proof": lambda d: _entry(d)["hashes"].append("00" * 32),
    "a hash less in an inclusion proof": lambda d: _entry(d)["hashes"].pop(),
    "an inclusion proof in upper case": lambda d: _set(
        _entry(d)["hashes"], 0, "AB" + _entry(d)["hashes"][0][2:]
    ),
    "the entry of a verdict": lambda d: _set(
        d["verdicts"][0]["proof"], "body", base64.b64encode(b"other").decode()
    ),
    "the note of a verdict": lambda d: _set(
        d["verdicts"][0]["proof"], "note", _signature(d["verdicts"][0]["proof"]["note"])
    ),
    "the size a verdict's note is for": lambda d: _set(d["verdicts"][0]["proof"], "treeSize", 302),
    "the same note as evidence twice": lambda d: _set(
        d["contradictions"][0], "theirs", d["contradictions"][0]["ours"]
    ),
    "a signature of the evidence": lambda d: _set(
        d["contradictions"][0], "theirs", _signature(d["contradictions"][0]["theirs"])
    ),
    "evidence by another key": lambda d: _set(
        d["contradictions"][0]["keys"][0],
        "publicKey",
        base64.b64encode(SimulatedLog("other.example").key.spki).decode(),
    ),
    "the root that evidence implies": lambda d: _set(
        d["contradictions"][0]["consistencyProof"], "oldRootHash", "sha256:" + "00" * 32
    ),
    "a hash of the evidence": lambda d: _set(
        d["contradictions"][0]["consistencyProof"]["hashes"],
        1,
        _cut(d["contradictions"][0]["consistencyProof"]["hashes"][1]),
    ),
    "a hash less in the evidence": lambda d: d["contradictions"][0]["consistencyProof"][
        "hashes"
    ].pop(),
    "evidence about another log": lambda d: _set(d["contradictions"][0], "origin", "other.example"),
    "an ECDSA signature": lambda d: _set(
        d["logs"][1]["heads"][2], "note", _signature(d["logs"][1]["heads"][2]["note"])
    ),
    "an ECDSA key's hash": lambda d: _set(d["logs"][2]["keys"][0], "hash", "sha256"),
    "an RSA key": lambda d: _set(d["logs"][4]["keys"], 0, d["logs"][3]["keys"][0]),
}


def changed(data: Data, change: Change) -> Data:
    """Return a copy of the data with one change in it."""
    copied = copy.deepcopy(data)
    change(copied)
    assert copied != data
    return copied


_START = b'<script type="application/json" id="data">'


def with_data(raw: bytes, data: Data) -> bytes:
    """Put other data into a page, with the digest it has: what somebody would do who lies."""
    text = data_text(data)
    start, _, rest = raw.partition(_START)
    old, _, end = rest.partition(b"</script>")
    page = (
        start + b'<script type="application/json" id="data">' + text.encode() + b"</script>" + end
    )
    before, after = (sha256(one).hexdigest().encode() for one in (old, text.encode()))
    assert before in page
    return page.replace(before, after)
