"""A home in which something is found, the page of that answer, and ways to lie with it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from appliance.report.page import data_of
from tests.cli.mirrored import MirroredHome
from tests.find.logged import key_leaf, leaf, signed_by_two
from tests.pki.authorities import new_key
from tests.report.pages import Change, Data

WHO = "release@example.com"
CLAIMS = {"12": "https://github.com/org/app", "14": "refs/heads/main"}
WIDE = ("--identity", ".", "--issuer", ".")  # whatever somebody signed by a certificate


def found_home(directory: Path, capsys: Any) -> MirroredHome:
    """Make a home with entries of every kind that a search tells of."""
    home = MirroredHome(directory, capsys, "connected")
    key = new_key()
    home.log.grow([key_leaf(b"filler %d" % at, key) for at in range(300)])
    home.sync(0)
    home.log.grow(
        [
            leaf(WHO, b"app", claims=CLAIMS),
            leaf("https://ci.example/job?a=(1)+[2]", b"other"),
            signed_by_two(b"\x01" * 32),
            leaf(WHO, b"d"),
        ]
    )
    home.sync(0)
    home.json("index", "build")
    return home


def no_text(identity: str, part: bytes, other: bytes) -> bytes:
    """Return an entry in whose certificate other bytes stand, which may be no UTF-8."""
    told = json.loads(leaf(identity, other))
    verifier = told["spec"]["hashedRekordV002"]["signature"]["verifier"]["x509Certificate"]
    der = base64.b64decode(verifier["rawBytes"]).replace(part, other)
    verifier["rawBytes"] = base64.b64encode(der).decode()
    return json.dumps(told).encode()


def page_of(home: MirroredHome, to: Path, *wanted: str) -> bytes:
    """Search, have the page written and return it."""
    home.json("entries", "search", *wanted, "--html", to)
    return to.read_bytes()


def found_data(directory: Path, capsys: Any) -> Data:
    """Return the data of a page with hits."""
    return data_of(page_of(found_home(directory / "home", capsys), directory / "found.html", *WIDE))


def _hit(data: Data, at: int = 0) -> Any:
    return data["search"]["hits"][at]


def _signer(data: Data, at: int = 0, place: int = 0) -> Any:
    return _hit(data, at)["signers"][place]


def _other_entry(data: Data) -> None:
    """Put in another entry of the same log, with its own proof, in the place of a hit's."""
    entries = data["logs"][0]["entries"]
    _hit(data)["index"] = entries[1]["index"]
    data["search"]["hits"].pop(1)
    entries.pop(0)


def _body(data: Data) -> None:
    entry = data["logs"][0]["entries"][0]
    body = json.loads(base64.b64decode(entry["body"]))
    body["kind"] = "dsse"
    entry["body"] = base64.b64encode(json.dumps(body).encode()).decode()


MUTATIONS: dict[str, Change] = {
    "a hit's digest": lambda d: _hit(d).update(digests=["sha256:" + "00" * 32]),
    "a digest more": lambda d: _hit(d)["digests"].append("sha256:" + "11" * 32),
    "a digest without a value": lambda d: _hit(d).update(digests=["sha256:"]),
    "a part of an identity": lambda d: _signer(d).update(identities=[WHO[1:]]),
    "an identity without its end": lambda d: _signer(d).update(identities=[WHO[:-1]]),
    "a digest of another algorithm's length": lambda d: _hit(d).update(digests=["sha256:00"]),
    "a hit's index": lambda d: _hit(d).update(index=7),
    "a hit with another entry": _other_entry,
    "a hit's leaf hash": lambda d: _hit(d).update(leafHash="00" * 32),
    "a hit's tree": lambda d: _hit(d).update(treeSize=301),
    "a hit's root": lambda d: _hit(d).update(rootHash="00" * 32),
    "a hit's kind": lambda d: _hit(d).update(kind="dsse 0.0.2"),
    "a hit of another log": lambda d: _hit(d).update(origin="log2.example"),
    "a hit more": lambda d: d["search"]["hits"].append({**_hit(d), "index": 9}),
    "an identity": lambda d: _signer(d).update(identities=["boss@example.com"]),
    "an identity more": lambda d: _signer(d)["identities"].append("boss@example.com"),
    "an identity's end": lambda d: _signer(d).update(identities=[WHO + ".evil"]),
    "an identity that is a pattern": lambda d: _signer(d).update(
        identities=["release.example.com"]
    ),
    "an identity of the other signer": lambda d: _signer(d, 2).update(identities=[WHO]),
    "an issuer": lambda d: _signer(d).update(issuers=["https://other.example"]),
    "a claim": lambda d: _signer(d)["claims"].update({"source-repository-ref": "refs/heads/evil"}),
    "a fingerprint": lambda d: _signer(d).update(sha256="00" * 32),
    "the fingerprint of another signer": lambda d: _signer(d).update(
        sha256=_signer(d, 1)["sha256"]
    ),
    "a signer of no name": lambda d: _signer(d).update(
        sha256="00" * 32, identities=[], issuers=[], claims={}
    ),
    "the body of a hit": _body,
    "the proof of a hit": lambda d: d["logs"][0]["entries"][1]["hashes"].pop(),
    "the proofs of no hit": lambda d: d["logs"][0]["entries"].clear(),
    "the tree of a proof": lambda d: d["logs"][0]["entries"][0].update(treeSize=300),
}
