"""What a tired person types at two in the morning, and what they are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli.main import run
from appliance.errors import IncompleteError, StoreError
from appliance.store.files import written_whole
from tests.cli.homes import Home
from tests.serve.signed_requests import signed_request

ROOT = Path(__file__).resolve().parents[2]
START = "from appliance.cli.main import main; main()"


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    return Home(tmp_path / "home", capsys)


def shell(script: str, home: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script in which $A is the program, on a home."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ATTESTOR_HOME": str(home)} | variables
    program = f"{sys.executable} -c '{START}'"
    return subprocess.run(
        ["/bin/sh", "-c", script.replace("$A", program)],
        capture_output=True,
        env=environment,
        cwd=home.parent,
        check=False,
        timeout=60,
    )


def test_a_mistyped_command_is_answered_with_the_right_one(home: Home) -> None:
    code, _, err = home.run("synk")
    assert code == 2
    assert "no such command 'synk'; did you mean sync" in err
    message = home.json("exprot", expect=2)["message"]
    assert message == "no such command 'exprot'; did you mean export or exporters?"


def test_home_after_the_command_is_told_where_it_stands(home: Home) -> None:
    code, _, err = home.run("tiles", "stats", "--home", "/srv/attestor")
    assert code == 2
    assert "--home stands before the command: attestor --home … tiles stats" in err


def test_a_usage_error_in_json_names_the_command_and_its_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["key", "show", "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["command"] == "key show"
    assert answer["error"]["next"] == "see 'attestor key show --help'"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["config show", "config show --json", "--help"])
def test_a_full_disk_under_our_output_is_said_in_one_line(home: Home, command: str) -> None:
    done = shell(f"$A {command} > /dev/full", home.path)
    assert done.returncode == 6
    assert done.stderr.startswith(b"Error: standard output: No space left on device")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    ("command", "code"),
    [("synk", 2), ("sync", 9), ("verify /absent --key /absent", 5), ("key list > /dev/full", 6)],
)
def test_what_standard_error_does_not_take_changes_no_exit_code(
    home: Home, command: str, code: int
) -> None:
    assert shell(f"$A {command} 2> /dev/full", home.path).returncode == code


COUNT = (
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 99999)"
    " SELECT * FROM c"
)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_in_the_middle_is_told(home: Home, unbuffered: str) -> None:
    """As in images of containers: Python takes a write that ended in its middle for a whole one."""
    shown = f'$A sql "{COUNT}" --max-rows 100000'
    whole = shell(f"{shown} | wc -l", home.path, PYTHONUNBUFFERED=unbuffered)
    assert whole.stdout.split() == [b"100001"]
    cut = shell(f"{{ {shown}; echo $? >&2; }} | head -n 1", home.path, PYTHONUNBUFFERED=unbuffered)
    assert (cut.stdout, cut.stderr) == (b"x\n", b"141\n")


def test_closed_streams_are_no_error(home: Home) -> None:
    assert shell("$A key list >&- 2>&- <&-", home.path).returncode == 0
    assert shell("$A sync 2>&-", home.path).returncode == 9


def test_a_file_name_need_not_be_utf_8(home: Home) -> None:
    odd = os.fsdecode(b"caf\xe9.tar")
    message = home.json("import", odd, expect=5)["message"]
    assert odd in message  # JSON has the byte as \\udce9
    for locale in ("C", "en_US.UTF-8", "POSIX"):
        done = shell(f"$A store backup {odd}-{locale}", home.path, LC_ALL=locale)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(b"Wrote caf\xe9.tar-")


def test_an_argument_that_is_not_utf_8_is_looked_up_like_any_other(home: Home) -> None:
    answer = home.json("prove", "--origin", os.fsdecode(b"caf\xe9"), "--index", "0", expect=5)
    assert answer["reason"] == "unknown-log"


def test_the_store_keeps_a_name_that_is_not_utf_8_with_escapes(home: Home) -> None:
    name = os.fsdecode(b"caf\xe9.tar")
    with home.app.writing() as store:
        store.execute("INSERT INTO setting VALUES (?, 'x')", [name])
        kept = store.rows("SELECT key FROM setting WHERE key = ?", [name])
    assert [row["key"] for row in kept] == ["caf\\udce9.tar"]


def test_a_private_key_in_place_of_the_public_one_is_named_with_the_remedy(
    home: Home, tmp_path: Path
) -> None:
    key = tmp_path / "signer.key"
    key.write_text("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n")
    pinned = ("--origin", "log.example", "--public-key", key)
    signed = ("--artifact", key, "--signature", key, "--key", key)
    commands: list[list[str | Path]] = [
        ["backend", "add", "public", *pinned],
        ["log", "add", *signed],
        ["verify", key, "--bundle", key, "--key", key],
    ]
    for command in commands:
        error = home.json(*command, expect=8)
        assert error["message"].startswith(f"{key}: expected a public key, got a file that is")
        assert "private key in PEM" in error["message"]
        assert "openssl pkey" in error["next"]


def test_a_missing_file_is_named_once(home: Home) -> None:
    assert home.json("import", "no.tar", expect=5)["message"] == "no.tar is not there"


def test_a_missing_directory_may_be_a_medium_that_is_not_mounted(tmp_path: Path) -> None:
    stick = tmp_path / "nostick"
    with pytest.raises(IncompleteError) as caught, written_whole(stick / "x.tar"):
        pass
    assert caught.value.message == f"the directory {stick} is not there"
    mounted, _, made = caught.value.next_step.partition("; else ")
    assert mounted == "look whether its medium is mounted"
    assert made == f"make it: mkdir -p {stick}"


def test_a_file_in_the_place_of_a_key_is_told_how_its_content_is_given(
    home: Home, tmp_path: Path
) -> None:
    home.run("init", "--site", "inside.example")
    file = tmp_path / "the exporter.vkey"
    file.write_text("anything\n")
    error = home.json("exporters", "add", str(file), expect=2)
    assert f"\"$(cat '{file}')\", or --vkey-file '{file}'" in error["next"]
    for text in ("garbage", "g" * 5000):  # the name of nothing, and no name at all
        assert home.json("exporters", "add", text, expect=2)["next"] == "see --help"


def test_half_a_digest_and_half_an_identity_are_usage(home: Home) -> None:
    error = home.json("verify", "sha256:abc", "--key", "k.pem", "--bundle", "b", expect=5)
    assert error["message"] == "k.pem is not there"
    identity = ("--certificate-identity", "me@example.org")
    assert "--certificate-oidc-issuer" in home.json("verify", "x", *identity, expect=2)["message"]
    issuer = ("--certificate-oidc-issuer", "https://accounts.example.org")
    error = home.json("verify", "sha256:abc", *identity, *issuer, "--bundle", "b", expect=2)
    assert error["message"].startswith("expected sha256: and 64 hex digits, got 'sha256:abc'")


def test_one_artifact_without_a_bundle_does_not_hide_the_others(home: Home, tmp_path: Path) -> None:
    (tmp_path / "app.bin").write_bytes(b"app")
    (tmp_path / "bad.bin").write_bytes(b"bad")
    (tmp_path / "bad.bin.sigstore.json").write_bytes(b"\xff")
    identity = ("--certificate-identity", "me@example.org")
    issuer = ("--certificate-oidc-issuer", "https://accounts.example.org")
    names = [tmp_path / name for name in ("app.bin", "bad.bin", "none.bin")]
    code, out, _ = home.run("verify", *names, *identity, *issuer, "--json")
    answer = json.loads(out)
    assert code == 3
    assert [one["reason"] for one in answer["data"]["artifacts"]] == [
        *("no-bundle", "malformed", "no-file"),
    ]
    assert [one["file"] for one in answer["data"]["artifacts"]] == list(map(str, names))
    assert f"{tmp_path}/bad.bin.sigstore.json: " in answer["error"]["message"]


def test_json_and_jsonl_exclude_each_other(home: Home) -> None:
    assert "exclude" in home.json("verify", "x", "--jsonl", expect=2)["message"]


def test_a_file_that_is_no_transfer_bundle_is_named(home: Home, tmp_path: Path) -> None:
    (tmp_path / "app.bin").write_bytes(b"app")
    for command in ("import", "inspect"):
        error = home.json(command, tmp_path / "app.bin", expect=3)
        assert error["message"].startswith(f"{tmp_path}/app.bin: not a transfer bundle")
        assert error["next"] == "look whether it is the right file"


def test_a_damaged_stick_says_what_helps(home: Home, tmp_path: Path) -> None:
    stick = tmp_path / "stick.tar"
    stick.write_bytes(b"header" + bytes(148) + b"\1" + bytes(2000))
    error = home.json("import", stick, expect=3)
    assert error["next"] == "copy the file to the medium again, and compare its SHA-256"
    assert len(error["message"]) < 400


def test_the_example_of_an_isolated_home_changes_nothing_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = Home(tmp_path / "inside", capsys, role="isolated")
    (tmp_path / "site.yaml").write_text(inside.run("config", "example")[1])
    assert inside.run("config", "apply", tmp_path / "site.yaml") == (0, "no change\n", "")
    nowhere = Home(tmp_path / "outside", capsys)
    assert inside.run("config", "example")[1] != nowhere.run("config", "example")[1]


def test_a_name_is_never_empty_and_a_home_without_one_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--home", str(tmp_path / "new"), "init", "--site", ""]) == 2
    assert "''" in capsys.readouterr().err
    assert run(["--home", str(tmp_path / "new"), "init"]) == 0
    assert "init --site NAME" in capsys.readouterr().out


def test_what_is_no_exporter_key_is_not_called_a_missing_file(home: Home) -> None:
    for command in ("add", "remove"):
        error = home.json("exporters", command, "outside.example", expect=2)
        assert "verifier key" in error["message"]


def test_nothing_is_logged_if_the_answer_has_no_place(home: Home, tmp_path: Path) -> None:
    home.json("log", "create", "build", "--origin", "log.example")
    request = tmp_path / "request.json"
    request.write_bytes(signed_request(b"app"))
    where = tmp_path / "nowhere" / "entry.json"
    error = home.json("log", "add", request, "--output", where, expect=6)
    assert error["next"] == "nothing was logged; name another place"
    assert home.json("log", "status")["logs"][0]["treeSize"] == 0


def test_the_holder_of_the_lock_is_named_by_its_command_and_a_readable_time(home: Home) -> None:
    with home.app.locked():
        message = home.json("config", "set", "http.contact", "me", expect=75)["message"]
    assert "since 2025-10-09T08:53:20Z" in message


def test_an_output_that_cannot_be_written_is_named_as_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)  # with what is put around it too long for a name
    with pytest.raises(StoreError) as caught, written_whole(path):
        pass
    assert caught.value.message == f"{path}: File name too long"


def test_freezing_a_log_asks_for_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path / "home")]
    assert run([*home, "init", "--site", "a.example"]) == 0
    assert run([*home, "log", "create", "build", "--origin", "log.example"]) == 0
    assert run([*home, "log", "freeze", "build"]) == 2
    assert "cannot be undone" in capsys.readouterr().err
    assert run([*home, "log", "freeze", "build", "--yes"]) == 0


def test_wrong_usage_is_one_line_that_says_where_to_look(home: Home) -> None:
    for words, told in (
        (("snyc",), "no such command 'snyc'; did you mean sync?; see 'attestor --help'"),
        (("quarantine", "lift", "1"), "Missing option '--reason'; see 'attestor quarantine lift"),
        (("alerts", "ack"), "Missing argument 'ID...'; see 'attestor alerts ack --help'"),
        (("quarantine", "lift", "abc", "--reason", "x"), "'abc' is not a whole number; see"),
        (("check-point",), "see 'attestor --help'"),
    ):
        code, out, err = home.run(*words)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith("Error: ") and told in err
    assert home.run("alerts")[1].startswith("Usage: attestor alerts")  # nothing wrong: help


@pytest.mark.parametrize(
    "words",
    [
        ("quarantine", "lift", "HUGE", "--reason", "x"),
        ("checkpoint", "show", "--origin", "log.example", "--tree-size", "HUGE"),
        ("prove", "--origin", "log.example", "--index", "1", "--tree-size", "HUGE"),
        ("queue", "list", "--limit", "HUGE"),
        ("queue", "add", "--dsse", "x", "--key", "x", "--priority", "HUGE"),
    ],
)
def test_a_number_that_no_store_can_hold_is_a_usage_error(home: Home, words: list[str]) -> None:
    code, _, err = home.run(*(one.replace("HUGE", str(2**63)) for one in words))
    assert code == 2
    assert "is too large; at most 9223372036854775807" in err


def test_a_watch_without_a_pause_is_refused_and_a_pause_without_a_watch(home: Home) -> None:
    code, _, err = home.run("sync", "--watch", "--initial-delay", "0s", "--interval", "0s")
    assert code == 2 and "--interval: expected 1s or more" in err
    code, _, err = home.run("sync", "--interval", "5m")
    assert code == 2 and "--interval and --initial-delay need --watch" in err
