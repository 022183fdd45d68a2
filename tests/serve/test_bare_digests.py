"""Digests without a signature: signed by the log's own publisher key, by opt-in alone."""

from __future__ import annotations

import json
import shutil
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from appliance.jobs.home.keys import generate_key, home_key
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.merkle import as_hash, leaf_hash
from appliance.tlog.note import SigningKey
from appliance.tlog.proof import verify_inclusion
from tests.cli.homes import Home
from tests.private_log.private_homes import NOW, ORIGIN, SEED, check_home, make_home, writing
from tests.serve.running_log import ENTRIES, RunningLog, running_log
from tests.serve.signed_requests import signed_request

KEY = SigningKey(ORIGIN, SEED).verifier
NAME = "digests.example"


def bare(digest: str, **changed: Any) -> bytes:
    """Ask for a digest as aevum-publish does; `changed` are members of the hash."""
    named = {"algorithm": "sha256", "value": digest} | changed
    spec = {"data": {"hash": named}}
    return json.dumps({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}).encode()


def digest_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("log") / "home"
    make_home(made)
    with writing(made) as store:
        generate_key(store, NAME, "digests", NOW, lambda count: b"\x05" * count)
    return made


@pytest.fixture(scope="module")
def log(home: Path) -> Iterator[RunningLog]:
    with running_log(home, "--sign-digests", NAME) as server:
        yield server


def test_a_digest_is_signed_logged_and_answered_as_by_version_one(
    log: RunningLog, home: Path
) -> None:
    submitted = bare(digest_of("one"))
    status, answer = log.post(submitted)
    assert status == 201
    [(name, entry)] = answer.items()
    assert b64decode(entry["body"]) == submitted
    body = b64decode(entry["canonicalizedBody"])
    assert name == leaf_hash(body).hex()
    # What is proven is the entry that was logged, by nothing but the log's key.
    proof = entry["verification"]["inclusionProof"]
    head = open_checkpoint(proof["checkpoint"].encode(), [KEY], ORIGIN).head
    assert (proof["treeSize"], proof["rootHash"]) == (head.tree_size, head.root_hash.hex())
    assert entry["logIndex"] == proof["logIndex"]
    assert entry["logID"] == KEY.log_id.hex()
    hashes_ = [as_hash(bytes.fromhex(one)) for one in proof["hashes"]]
    verify_inclusion(entry["logIndex"], leaf_hash(body), head, hashes_)
    # It is an ordinary entry: a hashedrekord 0.0.2 by the key that was made for it.
    leaf = json.loads(body)
    assert (leaf["kind"], leaf["apiVersion"]) == ("hashedrekord", "0.0.2")
    record = leaf["spec"]["hashedRekordV002"]
    assert b64decode(record["data"]["digest"]).hex() == digest_of("one")
    spki = b64decode(record["signature"]["verifier"]["publicKey"]["rawBytes"])
    with writing(home) as store:
        assert spki == home_key(store, NAME).public.spki
    public = load_der_public_key(spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    digest, prehashed = bytes.fromhex(digest_of("one")), utils.Prehashed(hashes.SHA256())
    public.verify(b64decode(record["signature"]["content"]), digest, ec.ECDSA(prehashed))
    assert body in check_home(home)


def test_the_same_digest_again_is_a_duplicate_however_it_is_spelled(log: RunningLog) -> None:
    digest = digest_of("twice")
    _, first = log.post(bare(digest))
    [entry] = first.values()
    for again in (bare(digest), bare(digest.upper())):
        status, headers, answer = log.ask("POST", ENTRIES, again)
        assert (status, headers["X-Log-Index"]) == (409, str(entry["logIndex"]))
        assert json.loads(answer)["code"] == 6


_UNKNOWN = bare(digest_of("x")).replace(b'"data"', b'"more": 1, "data"')
_SIGNED = bare(digest_of("x")).replace(
    b'"data"', b'"signature": {"content": "AAAA", "publicKey": {"content": "AAAA"}}, "data"'
)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (bare("00"), "expected sha256 and 64 hex digits"),
        (bare(digest_of("x"), algorithm="sha512"), "expected sha256"),
        (bare("zz" * 32), "64 hex digits"),
        (bare(digest_of("x"), more=1), "unknown field 'more'"),
        (bare(digest_of("x")).replace(b"0.0.1", b"0.0.2"), "expected a hashedrekord 0.0.1"),
        (bare(digest_of("x")).replace(b"hashedrekord", b"dsse"), "expected a hashedrekord"),
        (_UNKNOWN, "unknown field 'more'"),
        (_SIGNED, "hashedRekordRequestV002"),
        (bare(digest_of("x")) + b"{}", "unknown field"),  # of a v2 request, which it is not
    ],
    ids=range(9),
)
def test_what_is_no_bare_digest_is_refused(log: RunningLog, body: bytes, words: str) -> None:
    status, answer = log.post(body)
    assert (status, answer["code"]) == (400, 3)
    assert words in answer["message"]


def test_without_the_option_a_digest_is_refused_and_the_option_named(home: Path) -> None:
    other = home.parent / "other"
    make_home(other)
    with running_log(other) as plain:
        status, answer = plain.post(bare(digest_of("one")))
        assert (status, answer["code"]) == (400, 3)
        assert "attestor log serve --sign-digests KEY" in answer["message"]
        assert plain.post(signed_request(b"signed"))[0] == 201
    assert len(check_home(other)) == 1


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("none.example", 5, "no-key"),
        ("publisher.example", 8, "key-role"),
        ("site.example", 8, "key-role"),
        ("own.example", 8, "key-role"),  # the log's
        ("witness.example", 8, "key-role"),
        ("copy.example", 8, "key-role"),  # made for it, but a publisher's key by now
    ],
)
def test_the_key_signs_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, code: int, reason: str
) -> None:
    home = Home(tmp_path / "home", capsys)
    home.json("log", "create", "own", "--origin", "own.example")
    home.json("key", "generate", "publisher.example", "--type", "publisher")
    home.json("key", "generate", "witness.example", "--type", "witness")
    if name == "copy.example":  # else every publisher's key is refused as a copy of it
        home.json("key", "generate", "copy.example", "--type", "digests")
        keys = home.path / "keys"
        shutil.copy(keys / "publisher.example.pem", keys / "copy.example.pem")
    # Open to all at every address, it would be refused next: a served log would not end.
    everywhere = ("--bind", "0.0.0.0:0")
    error = home.json("log", "serve", "--sign-digests", name, *everywhere, expect=code)
    assert error["reason"] == reason


def test_a_key_that_a_pinned_log_has_signs_no_digests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home", capsys)
    home.json("log", "create", "own", "--origin", "own.example")
    home.json("key", "generate", NAME, "--type", "digests")
    pem = tmp_path / "log.pem"
    pem.write_text(home.json("key", "show", NAME)["pem"])
    home.json("backend", "add", "other", "--origin", "other.example", "--public-key", pem)
    # Open to all at every address, it would be refused next: a served log would not end.
    everywhere = ("--bind", "0.0.0.0:0")
    error = home.json("log", "serve", "--sign-digests", NAME, *everywhere, expect=8)
    assert (error["reason"], "other.example" in error["message"]) == ("key-role", True)


def test_a_key_for_digests_publishes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home", capsys)
    generated = home.json("key", "generate", NAME, "--type", "digests")
    assert generated["type"] == "digests"
    assert ("digests", NAME) in [
        (one["type"], one["name"]) for one in home.json("key", "list")["keys"]
    ]
    (tmp_path / "log.key").write_bytes(KEY.spki)
    home.json(
        *("backend", "add", "own", "--origin", ORIGIN, "--url", "http://127.0.0.1:1"),
        *("--public-key", tmp_path / "log.key"),
    )
    home.json("config", "set", "publish.rekorUrl", "http://127.0.0.1:1")
    digest = digest_of("one")
    assert home.json("publish", digest, expect=9)["reason"] == "no-key"
    assert home.json("publish", digest, "--key", NAME, expect=8)["reason"] == "key-role"


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "log.example:0"])
def test_off_loopback_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bind: str
) -> None:
    home = Home(tmp_path / "home", capsys)
    home.json("log", "create", "own", "--origin", "own.example")
    home.json("key", "generate", NAME, "--type", "digests")
    error = home.json("log", "serve", "--bind", bind, "--sign-digests", NAME, expect=8)
    assert error["reason"] == "open-digests"


def test_off_loopback_a_log_that_asks_for_a_token_signs_digests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home", capsys)
    home.json("log", "create", "own", "--origin", "own.example")
    home.json("key", "generate", NAME, "--type", "digests")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"ci {'0' * 64}\n")
    tokens.chmod(0o600)
    home.json("config", "set", "privateLog.hosted", f'[{{"log": "own", "tokensFile": "{tokens}"}}]')
    # It comes as far as the address, which is nobody's here.
    error = home.json("log", "serve", "--bind", "192.0.2.1:0", "--sign-digests", NAME, expect=9)
    assert error["reason"] == "bind"
