"""Private keys that are encrypted: whoever made them, and wherever their passphrase is from."""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from appliance.errors import ApplianceError
from appliance.jobs.home import keys as keys_module
from appliance.store.home import key_files
from appliance.store.home.key_files import load_signing_key
from appliance.store.passphrases import CREDENTIAL, Passphrases
from appliance.value import replaced
from tests.cli.homes import Home
from tests.serve.running_log import RunningLog
from tests.serve.signed_requests import signed_request

ROOT = Path(__file__).resolve().parents[2]
SECRET = "correct-horse-battery-staple-3141"  # noqa: S105 a test's
ENCRYPTED = "-----BEGIN ENCRYPTED PRIVATE KEY-----"


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    made = Home(tmp_path / "home", capsys)
    made.app = replaced(made.app, random_bytes=os.urandom)  # keys that differ
    return made


def passphrase_file(directory: Path, content: str | bytes = SECRET, mode: int = 0o600) -> Path:
    file = directory / "passphrase"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    file.chmod(mode)
    return file


def key_file(home: Home, name: str) -> Path:
    return next((home.path / "keys").glob(f"{name}.[kp]e[ym]"))


@pytest.fixture
def locked(home: Home, tmp_path: Path) -> Home:
    """A home with one key of each kind, all encrypted, and no passphrase named."""
    opening = ("--passphrase-file", passphrase_file(tmp_path))
    home.json("key", "passphrase", "--all", "--new-file", passphrase_file(tmp_path))
    for name in ("witness", "publisher", "digests"):
        home.json(*opening, "key", "generate", f"{name}.example", "--type", name)
    home.json(*opening, "log", "create", "build", "--origin", "log.example")
    return home


def test_every_key_that_is_made_with_a_passphrase_is_encrypted(locked: Home) -> None:
    files = sorted((locked.path / "keys").glob("*.[kp]e[ym]"))
    assert [file.name for file in files] == [
        *("digests.example.pem", "log.example.key", "publisher.example.pem"),
        *("site.example.key", "witness.example.key"),
    ]
    for file in files:
        assert file.read_text().startswith(ENCRYPTED)
        assert file.stat().st_mode & 0o777 == 0o600
        load_pem_private_key(file.read_bytes(), SECRET.encode())  # as any program does


def test_a_key_stays_the_key_it_is_by_whatever_it_is_opened(home: Home, tmp_path: Path) -> None:
    plain = key_file(home, "site.example").read_text()
    vkey = home.json("key", "show", "site.example")["vkey"]
    first = passphrase_file(tmp_path)
    (tmp_path / "other").mkdir()
    second = passphrase_file(tmp_path / "other", b"another\r\n")

    done = home.json("key", "passphrase", "site.example", "--new-file", first)
    assert done["keys"] == [{"name": "site.example", "wasEncrypted": False, "isEncrypted": True}]
    assert home.json("--passphrase-file", first, "key", "show", "site.example")["vkey"] == vkey
    home.json("--passphrase-file", first, "key", "passphrase", "--all", "--new-file", second)
    assert home.json("--passphrase-file", second, "key", "show", "site.example")["vkey"] == vkey
    error = home.json("--passphrase-file", first, "key", "show", "site.example", expect=9)
    assert error["reason"] == "wrong-passphrase"
    opening = ("--passphrase-file", second)
    home.json(*opening, "key", "passphrase", "--all", "--remove", "--dry-run")
    assert key_file(home, "site.example").read_text().startswith(ENCRYPTED)
    home.json(*opening, "key", "passphrase", "--all", "--remove")
    assert key_file(home, "site.example").read_text() == plain
    assert home.json("journal", "list")["lines"][0]["event"] == "key.passphrase"


def test_a_change_that_was_killed_between_two_keys_is_finished_by_the_same_command(
    locked: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ("--passphrase-file", passphrase_file(tmp_path))
    (tmp_path / "new").mkdir()
    new = passphrase_file(tmp_path / "new", "new")
    real, calls = key_files.change_passphrase, iter(range(3))

    def dies(*arguments: object) -> bool:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(keys_module, "change_passphrase", dies)
    assert locked.run(*old, "key", "passphrase", "--all", "--new-file", new)[0] == 130
    monkeypatch.undo()
    assert len(locked.json(*old, "key", "passphrase", "--all", "--new-file", new)["keys"]) == 5
    assert len(locked.json("--passphrase-file", new, "key", "list")["keys"]) == 5


WRONG: dict[str, tuple[bytes, int, str, str]] = {
    "another": (b"wrong", 0o600, "wrong-passphrase", "does not open"),
    "with a space behind it": (b"wrong ", 0o600, "wrong-passphrase", "ends in white space"),
    "empty": (b"", 0o600, "bad-passphrase", "it is empty"),
    "only a newline": (b"\n", 0o600, "bad-passphrase", "it is empty"),
    "only CRLF": (b"\r\n", 0o600, "bad-passphrase", "it is empty"),
    "two lines": (SECRET.encode() + b"\n\n", 0o600, "bad-passphrase", "several lines"),
    "UTF-16": (SECRET.encode("utf-16"), 0o600, "bad-passphrase", "UTF-16"),
    "a byte order mark": (b"\xef\xbb\xbf" + SECRET.encode(), 0o600, "bad-passphrase", "mark"),
    "too long": (b"x" * 1024, 0o600, "bad-passphrase", "longer than 1023 bytes"),
    "far too long": (b"x" * 5000, 0o600, "bad-passphrase", "larger than 4096 bytes"),
    "open to the group": (SECRET.encode(), 0o640, "key-permissions", "mode 0640"),
    "open to the world": (SECRET.encode(), 0o604, "key-permissions", "mode 0604"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_passphrase_that_will_not_do_has_its_one_line(
    home: Home, tmp_path: Path, name: str
) -> None:
    home.json("key", "passphrase", "--all", "--new-file", passphrase_file(tmp_path))
    content, mode, reason, words = WRONG[name]
    file = passphrase_file(tmp_path, content, mode)
    error = home.json("--passphrase-file", file, "key", "show", "site.example", expect=9)
    assert error["reason"] == reason and words in error["message"], error
    assert str(file) in error["message"]
    code, out, err = home.run("--passphrase-file", file, "key", "show", "site.example")
    assert (code, out, err.count("\n")) == (9, "", 1)
    assert "wrong" not in err.replace(str(tmp_path), "") and SECRET not in err
    if reason != "wrong-passphrase":  # and a key made by it would be nobody's
        assert home.run("--passphrase-file", file, "key", "generate", "new")[0] == 9
        assert home.run("key", "passphrase", "--all", "--new-file", file)[0] == 9
        assert not (home.path / "keys" / "new.key").exists()


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_end_of_the_line_is_no_part_of_a_passphrase(
    locked: Home, tmp_path: Path, end: bytes
) -> None:
    file = passphrase_file(tmp_path, SECRET.encode() + end)
    assert len(locked.json("--passphrase-file", file, "key", "list")["keys"]) == 5


def test_without_a_passphrase_it_says_how_one_is_named(locked: Home, tmp_path: Path) -> None:
    error = locked.json("key", "show", "site.example", expect=5)
    assert error["reason"] == "no-passphrase"
    assert "--passphrase-file FILE" in error["next"] and CREDENTIAL in error["next"]
    missing = tmp_path / "missing"
    error = locked.json("--passphrase-file", missing, "key", "show", "site.example", expect=9)
    assert error["message"] == f"the passphrase file {missing} is not there"
    link = tmp_path / "link"
    link.symlink_to(passphrase_file(tmp_path))
    error = locked.json("--passphrase-file", link, "key", "show", "site.example", expect=9)
    assert error["reason"] == "key-permissions"
    # What needs no key is answered as ever; and it is said what could not be looked at.
    assert locked.json("log", "status")["logs"][0]["origin"] == "log.example"
    [said] = [line for line in locked.run("doctor")[1].split("\n") if "keys" in line.split()[:2]]
    assert "warning" in said.lower() and "not opened" in said and "log.example" in said
    code, _, err = locked.run("config", "validate")
    assert code == 0 and "no passphrase file is named here" in err


def test_a_credential_of_systemd_is_found_by_the_keys_name_or_for_all(
    locked: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "credentials"
    directory.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    locked.json("key", "show", "site.example", expect=5)
    common = directory / CREDENTIAL
    common.write_text(SECRET + "\n")
    common.chmod(0o440)  # root's, with an access list for the service's user: so systemd has it
    locked.json("key", "show", "site.example")
    common.chmod(0o444)
    assert locked.json("key", "show", "site.example", expect=9)["reason"] == "key-permissions"
    common.chmod(0o400)
    own = directory / "site.example.passphrase"
    own.write_text("wrong")
    own.chmod(0o400)
    assert str(own) in locked.json("key", "show", "site.example", expect=9)["message"]
    locked.json("key", "show", "witness.example")
    # An option that is typed goes before what the service has.
    locked.json("--passphrase-file", passphrase_file(tmp_path), "key", "show", "site.example")


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)


MADE_BY_OPENSSL = {
    "AES-256": ("-v2", "aes-256-cbc"),
    "many rounds": ("-v2", "aes-256-cbc", "-iter", "100000"),
    "another hash": ("-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512"),
    "scrypt": ("-scrypt",),
    "not encrypted": ("-nocrypt",),
}


@pytest.mark.parametrize("how", MADE_BY_OPENSSL)
def test_a_key_that_openssl_wrote_is_read(home: Home, tmp_path: Path, how: str) -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
    plain = tmp_path / "plain.pem"
    plain.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file, there = passphrase_file(tmp_path), key_file(home, "site.example")
    vkey = home.json("key", "show", "site.example")["vkey"]
    words = ("-in", plain, "-out", there, "-passout", f"file:{file}")
    openssl("pkcs8", "-topk8", *MADE_BY_OPENSSL[how], *words)
    assert ("ENCRYPTED" in there.read_text()) == (how != "not encrypted")
    assert home.json("--passphrase-file", file, "key", "show", "site.example")["vkey"] == vkey


def test_a_publishers_key_in_the_older_form_is_read(home: Home, tmp_path: Path) -> None:
    vkey = home.json("key", "generate", "p", "--type", "publisher")["vkey"]
    file, there = passphrase_file(tmp_path), key_file(home, "p")
    openssl("ec", "-in", there, "-out", there, "-aes256", "-passout", f"file:{file}")
    assert "Proc-Type: 4,ENCRYPTED" in there.read_text()
    assert home.json("--passphrase-file", file, "key", "show", "p")["vkey"] == vkey


def test_an_encrypted_key_of_another_kind_is_no_key_here(locked: Home, tmp_path: Path) -> None:
    keys = locked.path / "keys"
    (keys / "site.example.key").write_bytes((keys / "publisher.example.pem").read_bytes())
    opening = ("--passphrase-file", passphrase_file(tmp_path))
    message = locked.json(*opening, "key", "show", "site.example", expect=3)["message"]
    assert message.endswith("site.example.key: not an Ed25519 private key in PEM (PKCS#8)")
    (keys / "site.example.key").write_text(f"{ENCRYPTED}\nAAAA\n-----END")
    error = locked.json(*opening, "key", "show", "site.example", expect=9)
    assert error["reason"] == "wrong-passphrase" and "damaged" in error["message"]


def test_whatever_signs_here_does_so_by_encrypted_keys(locked: Home, tmp_path: Path) -> None:
    locked.json("config", "set", "keys.passphraseFile", passphrase_file(tmp_path))
    request = tmp_path / "request.json"
    request.write_bytes(signed_request(b"an artifact"))
    bundle, clients = tmp_path / "bundle.tar", tmp_path / "clients"
    locked.json("log", "add", request)
    locked.json("export", "--output", bundle, "--sign", "site.example")
    locked.json("countersign", bundle, "--key", "witness.example")
    locked.json("journal", "export", "--output", tmp_path / "journal.jsonl")
    locked.json("log", "client-config", "--output", clients)
    made = locked.json("log", "tuf-repository", tmp_path / "tuf", "--client-config", clients)
    for name in made["newKeys"]:
        assert key_file(locked, name).read_text().startswith(ENCRYPTED)
    locked.json("log", "tuf-repository", tmp_path / "tuf", "--refresh")
    locked.json("log", "freeze", "build", "--yes")


def test_a_log_that_moves_takes_its_key_along_as_it_is(locked: Home, tmp_path: Path) -> None:
    opening = ("--passphrase-file", passphrase_file(tmp_path))
    written = tmp_path / "log.key.pem"
    locked.json(*opening, "log", "move", "--to", tmp_path / "there", "--write-key", written)
    assert written.read_bytes() == key_file(locked, "log.example").read_bytes()
    there = Home(tmp_path / "second", locked.capsys)
    words = ("log", "adopt", tmp_path / "there", "--log", "build", "--key", written)
    there.app = replaced(there.app, sleep=lambda _: None)
    assert there.json(*words, expect=5)["reason"] == "no-passphrase"
    there.json(*opening, *words)
    assert key_file(there, "log.example").read_text().startswith(ENCRYPTED)


def test_a_served_log_is_opened_by_its_credential_and_tells_nobody(
    locked: Home, tmp_path: Path
) -> None:
    directory = tmp_path / "credentials"
    directory.mkdir()
    passphrase_file(directory).rename(directory / CREDENTIAL)
    environment = {"CREDENTIALS_DIRECTORY": str(directory)}
    server = RunningLog(locked.path, "--sign-digests", "digests.example", env=environment)
    try:
        proc = Path("/proc") / str(server.process.pid)
        assert server.post(signed_request(b"an artifact"))[0] == 201
        assert server.ask("GET", "/metrics")[0] == 200
        shown = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        assert SECRET.encode() not in shown
    finally:
        code, said = server.stop()
    assert (code, said) == (143, "")
    for file in locked.path.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


def test_no_output_has_the_passphrase(locked: Home, tmp_path: Path) -> None:
    opening = ("--passphrase-file", passphrase_file(tmp_path))
    for words in (
        ("key", "list"),
        ("doctor",),
        ("config", "show"),
        ("config", "validate"),
        ("key", "passphrase", "--all", "--new-file", passphrase_file(tmp_path)),
        ("journal", "list"),
        ("status",),
        ("-v", "key", "show", "site.example"),
    ):
        for form in ((), ("--json",)):
            _, out, err = locked.run(*opening, *words, *form)
            assert SECRET not in out + err, words
    found = Passphrases(passphrase_file(tmp_path)).find("any")
    assert SECRET not in repr(found) + str(found)


def calls_of(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node


def test_nobody_loads_or_makes_a_key_without_saying_where_its_passphrase_is() -> None:
    found = 0
    names = {"load_signing_key", "load_publisher_key", "read_pkcs8_key", "change_passphrase"}
    names |= {"create_signing_key", "create_publisher_key"}
    assert all(hasattr(key_files, name) for name in names)
    for path in sorted((ROOT / "appliance").rglob("*.py")):
        if "drill" in path.parts:  # its homes are made by itself, and thrown away
            continue
        text = path.read_text()
        if not any(f"{name}(" in text for name in names):
            continue
        for call in calls_of(ast.parse(text)):
            if isinstance(call.func, ast.Name) and call.func.id in names:
                given = " ".join(ast.unparse(one) for one in call.args)
                assert "passphrases" in given, f"{path}:{call.lineno}"
                found += 1
    assert found > 20


def test_a_home_without_its_passphrase_refuses_before_it_signs(home: Home, tmp_path: Path) -> None:
    # A key that could not be kept would have signed an empty tree, and nobody could go on.
    file = passphrase_file(tmp_path, b"")
    words = ("log", "create", "build", "--origin", "log.example")
    assert home.json("--passphrase-file", file, *words, expect=9)["reason"] == "bad-passphrase"
    assert not list((home.path / "keys").glob("log.example*"))
    assert home.json("log", "status")["logs"] == []
    home.json("--passphrase-file", passphrase_file(tmp_path), *words)


def test_who_does_not_own_a_passphrase_file_cannot_read_it(home: Home, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    home.json("key", "passphrase", "--all", "--new-file", passphrase_file(tmp_path))
    file = passphrase_file(tmp_path)
    os.chown(file, 1, 1)
    with pytest.raises(ApplianceError, match="belongs to user 1"):
        load_signing_key(home.path, "site.example", Passphrases(file))
