"""log create, add, status, recover, trusted-root, signing-config, and serve's refusals."""

from __future__ import annotations

import json
import shutil
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.cli.main import run
from appliance.runs.session import Session
from appliance.sigstore.trusted_root import parse_trusted_root
from appliance.store.database import create_store
from appliance.store.home.key_files import create_signing_key
from tests.serve.signed_requests import signed_request, signer, signer_spki
from tests.shared import vectors

NOW = 1_760_000_000
ORIGIN = "log.example"


class Site:
    """A home and the commands run on it."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.capsys = capsys
        create_store(home).close()

    def __call__(self, *arguments: str | Path, expect: int = 0, home: Path | None = None) -> Any:
        """Run `log ...` with --json; return what it answered."""
        app = Session(home=home or self.home, now=lambda: NOW, random_bytes=lambda n: b"\x07" * n)
        code = run(["log", *map(str, arguments), "--json"], app)
        out, err = self.capsys.readouterr()
        assert code == expect, out + err
        answer = json.loads(out)
        assert answer["exitCode"] == expect
        return answer if expect else answer["data"]


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path / "home", capsys)


@pytest.fixture
def log(site: Site) -> Site:
    site("create", "build", "--origin", ORIGIN)
    return site


def _request_file(directory: Path, artifact: bytes) -> Path:
    file = directory / f"{artifact.decode()}.json"
    file.write_bytes(signed_request(artifact))
    return file


def test_the_published_vector_byte_for_byte(site: Site, tmp_path: Path) -> None:
    vector = vectors()["private_log_first_entry"]
    seed = bytes.fromhex("6b99f145931665e2ff6e99805e1560bf077cb4ae5b5d933795cc15046dd4ba1c")
    create_signing_key(site.home, vector["origin"], seed)
    created = site("create", "build", "--origin", vector["origin"], "--use-key")
    assert created["checkpoint"] == vector["checkpoint_size_0"]
    assert created["logId"] == "2AtEIMfG6Y41yK0tcwRTBS2tjhOrjKGIpDkHFgp65g0="
    (tmp_path / "request.json").write_text(json.dumps(vector["request"]))
    added = site("add", tmp_path / "request.json", "--output", tmp_path / "entry.json")
    entry = added["entry"]
    assert entry == json.loads((tmp_path / "entry.json").read_bytes())
    assert entry["inclusionProof"]["checkpoint"]["envelope"] == vector["checkpoint_size_1"]
    assert entry["canonicalizedBody"] == b64encode(vector["canonical_body"].encode()).decode()


def test_a_new_log_is_empty_and_ready(log: Site) -> None:
    [status] = log("status")["logs"]
    assert (status["name"], status["origin"], status["treeSize"]) == ("build", ORIGIN, 0)
    assert status["state"] == "published"
    assert status["created"] == "2025-10-09T08:53:20Z"
    answer = log("create", "build", "--origin", ORIGIN, expect=9)
    assert answer["error"]["reason"] == "log-exists"


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1])
@pytest.mark.parametrize("spelling", ["base64", "raw"])
def test_an_artifact_is_logged_by_its_parts(
    log: Site, tmp_path: Path, curve: type[ec.EllipticCurve], spelling: str
) -> None:
    key = ec.generate_private_key(curve())
    artifact = b"an artifact\n" * 100_000
    hash_ = SHA256() if curve is ec.SECP256R1 else SHA384()
    signature = key.sign(artifact, ec.ECDSA(hash_))
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "app").write_bytes(artifact)
    (tmp_path / "app.sig").write_bytes(
        b64encode(signature) + b"\n" if spelling == "base64" else signature
    )
    (tmp_path / "pub.pem").write_bytes(pem)
    parts = (
        *("--artifact", tmp_path / "app", "--signature", tmp_path / "app.sig"),
        *("--key", tmp_path / "pub.pem", "--bundle", tmp_path / "app.sigstore.json"),
    )
    added = log("add", *parts)
    assert (added["index"], added["duplicate"]) == (0, False)
    log("trusted-root", "--output", tmp_path / "root.json")
    verify = ("verify", tmp_path / "app", "--bundle", tmp_path / "app.sigstore.json")
    by = ("--key", tmp_path / "pub.pem", "--trusted-root", tmp_path / "root.json")
    arguments = map(str, (*verify, *by, "--require-mirror"))
    assert run(list(arguments), Session(home=log.home, now=lambda: NOW)) == 0
    log.capsys.readouterr()
    again = log("add", *parts)
    assert (again["index"], again["duplicate"]) == (0, True)
    assert again["entry"] == added["entry"]


def test_a_duplicate_gets_todays_proof(log: Site, tmp_path: Path) -> None:
    first = _request_file(tmp_path, b"first")
    log("add", first)
    log("add", _request_file(tmp_path, b"second"))
    again = log("add", first)
    assert (again["index"], again["duplicate"]) == (0, True)
    assert again["entry"]["inclusionProof"]["treeSize"] == "2"
    assert len(again["entry"]["inclusionProof"]["hashes"]) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda raw: raw[:-3], "malformed"),
        (lambda raw: b"{}", "invalid-type"),
        (lambda raw: raw.replace(b"P256_SHA_256", b"P384_SHA_384"), "key-details"),
        (lambda raw: raw.replace(b'"digest": "', b'"digest": "AAAA'), "malformed"),
    ],
)
def test_what_a_server_would_refuse_is_refused(
    log: Site, tmp_path: Path, change: Any, reason: str
) -> None:
    file = tmp_path / "request.json"
    file.write_bytes(change(signed_request(b"changed")))
    answer = log("add", file, expect=3)
    assert answer["error"]["reason"] == reason
    assert log("status")["logs"][0]["treeSize"] == 0


def test_a_signature_over_something_else_is_refused(log: Site, tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(b"an artifact")
    (tmp_path / "app.sig").write_bytes(signer().sign(b"another", ec.ECDSA(SHA256())))
    (tmp_path / "pub.der").write_bytes(signer_spki())
    parts = ("--artifact", tmp_path / "app", "--signature", tmp_path / "app.sig")
    assert (
        log("add", *parts, "--key", tmp_path / "pub.der", expect=3)["error"]["reason"]
        == "bad-signature"
    )
    log("add", *parts, expect=2)
    log("add", expect=2)
    log("add", _request_file(tmp_path, b"x"), "--artifact", tmp_path / "app", expect=2)


def test_trusted_root_and_signing_config_are_what_clients_read(log: Site, tmp_path: Path) -> None:
    file = tmp_path / "trusted_root.json"
    answered = log("trusted-root", "--output", file)
    assert json.loads(file.read_bytes()) == answered["trustedRoot"]
    root = parse_trusted_root(file.read_bytes())
    [known] = root.logs
    assert known.base_url == f"https://{ORIGIN}"
    [status] = log("status")["logs"]
    assert b64encode(known.log_id).decode() == status["logId"]
    config = log("signing-config", "--url", "http://127.0.0.1:3000/")["signingConfig"]
    assert config["rekorTlogUrls"] == [
        {
            "url": "http://127.0.0.1:3000",
            "majorApiVersion": 2,
            "validFor": {"start": "2025-10-09T08:53:20Z"},
            "operator": ORIGIN,
        }
    ]


def test_the_commands_for_mirrors_work_on_it(
    log: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = _request_file(tmp_path, b"proven")
    body = log("add", request)["entry"]["canonicalizedBody"]
    log("add", _request_file(tmp_path, b"another"))
    app = Session(home=log.home, now=lambda: NOW)
    proof = tmp_path / "proof"
    assert run(["prove", "--origin", ORIGIN, "--index", "0", "--output", str(proof)], app) == 0
    (tmp_path / "body").write_bytes(b64decode(body))
    assert run(["proof", "verify", str(proof), "--entry", str(tmp_path / "body")], app) == 0
    capsys.readouterr()


def test_several_logs_are_told_apart_by_name(log: Site, tmp_path: Path) -> None:
    log("create", "release", "--origin", "release.example")
    request = _request_file(tmp_path, b"which")
    assert log("add", request, expect=9)["error"]["reason"] == "which-log"
    assert log("add", request, "--log", "none", expect=5)["error"]["reason"] == "no-private-log"
    assert log("add", request, "--log", "release")["origin"] == "release.example"
    sizes = {one["name"]: one["treeSize"] for one in log("status")["logs"]}
    assert sizes == {"build": 0, "release": 1}


def test_without_a_log_every_command_says_how_to_make_one(site: Site, tmp_path: Path) -> None:
    assert site("status") == {"logs": []}
    for command in (
        ("add", _request_file(tmp_path, b"x")),
        ("trusted-root",),
        ("signing-config", "--url", "http://127.0.0.1:3000"),
        ("recover",),
        ("serve", "--bind", "127.0.0.1:0"),
    ):
        error = site(*command, expect=5)["error"]
        assert error["reason"] == "no-private-log"
        assert "attestor log create" in error["next"]


def test_a_frozen_log_says_so_and_takes_no_more(log: Site, tmp_path: Path) -> None:
    log("add", _request_file(tmp_path, b"the last"))
    frozen = log("freeze", "build", "--yes")
    assert frozen["frozen"] == "Thu Oct  9 08:53:20 UTC 2025"
    assert "Log frozen" in frozen["checkpoint"]
    assert log("status")["logs"][0]["state"] == "frozen"
    assert log("freeze", "build", "--yes")["checkpoint"] == frozen["checkpoint"]
    answer = log("add", _request_file(tmp_path, b"too late"), expect=8)
    assert answer["error"]["reason"] == "frozen"


# What may not sign as it stands ends with 8, whichever command meets it.


def _signers(directory: Path) -> tuple[tuple[str | Path, ...], ...]:
    return (
        ("add", _request_file(directory, b"a fork")),
        ("serve", "--bind", "127.0.0.1:0"),
        ("recover",),
    )


def _check_refused(log: Site, directory: Path, reason: str, home: Path | None = None) -> None:
    for command in _signers(directory):
        assert log(*command, expect=8, home=home)["error"]["reason"] == reason
    answer = log("status", expect=8, home=home)
    assert answer["error"]["reason"] == reason
    assert answer["data"]["logs"][0]["state"] == reason


def test_a_restored_backup_is_refused(log: Site, tmp_path: Path) -> None:
    log("add", _request_file(tmp_path, b"one"))
    shutil.copyfile(log.home / "attestor.db", tmp_path / "backup")
    log("add", _request_file(tmp_path, b"two"))
    log("add", _request_file(tmp_path, b"three"))
    shutil.copyfile(tmp_path / "backup", log.home / "attestor.db")
    _check_refused(log, tmp_path, "restored")
    log("recover", "--only-copy", expect=8)
    answer = log("status", expect=8)
    assert "restored from a backup" in answer["error"]["message"]
    assert "log recover" in answer["error"]["next"]


def test_a_deleted_record_is_refused(log: Site, tmp_path: Path) -> None:
    (log.home / "keys" / f"{ORIGIN}.last").unlink()
    _check_refused(log, tmp_path, "restored")


def test_a_copied_home_is_refused_until_it_is_the_only_one(log: Site, tmp_path: Path) -> None:
    log("add", _request_file(tmp_path, b"one"))
    copy = tmp_path / "copy"
    shutil.copytree(log.home, copy)
    _check_refused(log, tmp_path, "restored", home=copy)
    assert log("recover", "--only-copy", home=copy)["treeSize"] == 1
    assert log("add", _request_file(tmp_path, b"two"), home=copy)["index"] == 1


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", ":80", ""])
def test_an_address_that_is_none_is_a_usage_error(log: Site, bind: str) -> None:
    log("serve", "--bind", bind, expect=2)
