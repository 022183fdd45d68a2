"""backend: pinned keys and where logs are reached, by commands."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.store.database import open_store
from appliance.store.verify.trust import StoredRoot, put_root
from appliance.tlog.note import SigningKey
from appliance.value import replaced
from tests.cli.homes import NOW, Home
from tests.cli.mirrored import MirroredHome
from tests.simulator import SimulatedLog

ORIGIN = "log2.example"
KEY = SigningKey(ORIGIN, b"\x03" * 32).verifier


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    made = MirroredHome(tmp_path / "home", capsys, "connected")
    made.sync(30)
    return made


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "log.pem"
    body = b64encode(KEY.spki).decode()
    path.write_text(f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    return path


def add(home: Home, key_file: Path, *more: str | Path, expect: int = 0) -> Any:
    arguments = ("backend", "add", "public", "--origin", ORIGIN, "--public-key", key_file)
    return home.json(*arguments, *more, expect=expect)


def backends(home: Home) -> list[str]:
    return [one["id"] for one in home.json("backend", "list")["backends"]]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve a directory on a loopback port."""
    handler = functools.partial(_Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_add_prints_the_key_id_and_for_v2_the_log_id(home: MirroredHome, key_file: Path) -> None:
    words = ("backend", "add", "public", "--origin", ORIGIN, "--public-key", str(key_file))
    code, out, err = home.run(*words, "--url", "https://log2.example/")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"public: {ORIGIN}, key id {KEY.key_id.hex()} is pinned",
        f"log id {b64encode(KEY.log_id).decode()}",
    ]
    [one] = [one for one in home.json("backend", "list")["backends"] if one["id"] == "public"]
    assert one == home.json("backend", "show", "public")
    assert (one["origin"], one["apiVersion"], one["enabled"]) == (ORIGIN, None, True)
    assert one["baseUrl"] == "https://log2.example"
    assert one["keys"][0]["keyId"] == KEY.key_id.hex()
    code, out, _ = home.run("backend", "show", "public")
    assert code == 0 and "Rekor of a version that its first answer says, enabled" in out


def test_a_second_key_for_a_known_log_is_pointed_out(
    home: MirroredHome, key_file: Path, tmp_path: Path
) -> None:
    add(home, key_file)
    other = tmp_path / "other.vkey"
    other.write_text(SigningKey(ORIGIN, b"\x04" * 32).verifier.vkey)
    words = ("backend", "add", "public", "--origin", ORIGIN, "--public-key", str(other))
    assert home.json(*words, expect=8)["reason"] == "another-key"
    code, _, err = home.run(*words, "--another-key")
    assert code == 0
    assert "now either key may sign" in err and KEY.key_id.hex() in err


def test_a_second_primary_of_one_log_is_refused_before_it_locks_the_settings(
    home: MirroredHome, key_file: Path
) -> None:
    add(home, key_file)
    twin = ("backend", "add", "twin", "--origin", ORIGIN, "--public-key", key_file)
    error = home.json(*twin, expect=9)
    assert error["reason"] == "duplicate-origin"
    assert "--mirror-of public" in error["next"]
    assert "twin" not in backends(home)
    home.json(*twin, "--mirror-of", "public")
    home.json("config", "set", "alerts.enabled", "true")  # what is here is valid
    assert (
        home.json(*twin, expect=9)["reason"] == "duplicate-origin"
    )  # nor does a mirror become one


def test_what_cannot_be_added_has_its_code(
    home: MirroredHome, key_file: Path, tmp_path: Path
) -> None:
    weak = tmp_path / "weak.der"
    weak.write_bytes(KEY.spki[:12] + bytes(32))
    bad_policy = tmp_path / "policy"
    bad_policy.write_text("nonsense\n")
    assert add(home, weak, expect=3)["reason"] == "low-order-key"
    assert add(home, tmp_path / "none", expect=5)["reason"] == "no-file"
    assert add(home, key_file, "--policy", bad_policy, expect=3)["reason"] == "malformed"
    assert add(home, key_file, "--mirror-of", "sim", expect=9)["reason"] == "mirror-of"
    assert add(home, key_file, "--url", "log2.example", expect=2)["reason"] == "bad-value"
    assert backends(home) == ["sim"]


def test_a_dry_run_changes_nothing(home: MirroredHome, key_file: Path) -> None:
    assert add(home, key_file, "--dry-run")["dryRun"] is True
    home.json("backend", "disable", "sim", "--dry-run")
    home.json("backend", "remove", "sim", "--dry-run")
    [one] = home.json("backend", "list")["backends"]
    assert (one["id"], one["enabled"]) == ("sim", True)


def test_a_policy_is_kept_and_shown(home: MirroredHome, key_file: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    policy.write_text("# ours\nquorum none\n")
    assert add(home, key_file, "--policy", policy)["policy"] == "# ours\nquorum none\n"
    assert "    quorum none" in home.run("backend", "show", "public")[1]


def test_enable_disable_remove(home: MirroredHome, key_file: Path) -> None:
    add(home, key_file)
    home.json("backend", "disable", "public")
    assert home.json("backend", "show", "public")["enabled"] is False
    assert "disabled" in home.run("backend", "list")[1]
    home.json("backend", "enable", "public")
    assert home.json("backend", "show", "public")["enabled"] is True
    assert home.json("backend", "remove", "public")["logRemoved"] is True
    assert home.json("backend", "remove", "sim")["logRemoved"] is False  # it has a history
    assert backends(home) == []
    assert home.run("backend", "list")[1].startswith("no backend yet")
    for command in ("show", "enable", "disable", "remove", "verify-key"):
        assert home.json("backend", command, "public", expect=5)["reason"] == "unknown-backend"


# --- verify-key


def test_verify_key_without_a_url_takes_the_stored_checkpoint(home: MirroredHome) -> None:
    data = home.json("backend", "verify-key", "sim")
    assert (data["treeSize"], data["origin"]) == (30, home.log.origin)
    assert data["source"].startswith("stored")
    [key] = data["keys"]
    assert (key["signed"], key["firstSize"], key["lastSize"]) == (True, 30, 30)
    assert key["inTrustedRoot"] is None


def test_verify_key_fetches_the_current_one_where_there_is_a_url(
    home: MirroredHome, tmp_path: Path
) -> None:
    home.app = replaced(home.app, sleep=lambda _: None)  # between attempts
    www = tmp_path / "www"
    home.log.grow(12)
    home.log.write_static(www)
    key_file = tmp_path / "key"
    key_file.write_text(home.log.key.vkey)
    words = ("backend", "add", "sim", "--origin", home.log.origin, "--public-key", str(key_file))
    with served(www) as url:
        home.json(*words, "--read-url", url)
        data = home.json("backend", "verify-key", "sim")
        assert (data["treeSize"], data["source"]) == (42, url)
        stranger = SimulatedLog()
        stranger.signer = SigningKey(home.log.origin, b"\x09" * 32)
        stranger.grow(50)
        stranger.write_static(www)
        error = home.json("backend", "verify-key", "sim", expect=3)
        assert error["reason"] == "unknown-signer"
        for key in (home.log.key, stranger.key):  # ours and theirs
            assert key.key_id.hex() in error["message"]
        (www / "checkpoint").write_text("no checkpoint")
        answer = home.json("backend", "verify-key", "sim", expect=7)
        assert answer["reason"] == "not-what-was-asked"
        (www / "checkpoint").unlink()
        home.json("backend", "verify-key", "sim", expect=7)
    assert home.json("backend", "verify-key", "sim", expect=7)["reason"] == "unreachable"


def test_verify_key_without_any_checkpoint_cannot_say(home: MirroredHome, key_file: Path) -> None:
    add(home, key_file)
    assert home.json("backend", "verify-key", "public", expect=5)["reason"] == "no-checkpoint"


def test_verify_key_says_whether_the_trusted_root_lists_the_key(home: MirroredHome) -> None:
    for keys, listed in (([], False), ([home.log.key], True)):
        tlogs = [
            {
                "baseUrl": "https://log.example",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": b64encode(key.spki).decode(),
                    "keyDetails": "PKIX_ED25519",
                    "validFor": {"start": "2025-01-01T00:00:00Z"},
                },
                "logId": {"keyId": b64encode(key.log_id).decode()},
            }
            for key in keys
        ]
        document = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": tlogs,
            "certificateAuthorities": [],
            "ctlogs": [],
            "timestampAuthorities": [],
        }
        store = open_store(home.path, write=True)
        put_root(store, StoredRoot(json.dumps(document).encode(), "test", NOW + len(keys)))
        store.close()
        [key] = home.json("backend", "verify-key", "sim")["keys"]
        assert key["inTrustedRoot"] is listed
        _, _, err = home.run("backend", "verify-key", "sim")
        assert ("is not in the trusted root" in err) is not listed
