from __future__ import annotations

import json
from pathlib import Path
from textwrap import indent

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.config.operation_keys import SINKS
from appliance.store.database import open_store
from appliance.store.mirror.logs import all_backends, require_log
from tests.cli.homes import Home

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    return Home(tmp_path / "home", capsys)


def pem_of(byte: int) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(bytes([byte]) * 32).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


TWO_BACKENDS = """\
attestor:
  rekorSync:
    syncInterval: 10m
    backends:
      - {id: copy, origin: log.example, readUrl: "https://m.example/", publicKeyPath: keys/log.pem,
         mirrorOf: main, policyFile: /etc/policy}
      - {id: main, origin: log.example, baseUrl: "https://log.example", publicKeyPath: keys/log.pem}
  rekor:
    serverUrl: https://log.example
"""


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "log.pem").write_bytes(pem_of(1))
    file = tmp_path / "site.yaml"
    file.write_text(TWO_BACKENDS)
    return file


def test_apply_prints_what_changed_and_applying_again_changes_nothing(
    home: Home, site_file: Path
) -> None:
    code, out, err = home.run("config", "apply", site_file)
    assert (code, "has its own schedule" in err) == (0, True)
    lines = out.split("\n")
    assert lines[0] == "rekorSync.syncInterval: 5m -> 10m"
    assert lines[1].startswith('rekorSync.backends[copy]: null -> {"id": "copy"')
    assert lines[3:] == ["rekor.serverUrl: null -> https://log.example", ""]
    assert home.run("config", "apply", site_file) == (0, "no change\n", "")
    store = open_store(home.path, write=False)
    assert [(one.name, one.mirror_of) for one in all_backends(store)] == [
        ("copy", "main"),
        ("main", None),
    ]
    assert len(require_log(store, "log.example").keys) == 1
    store.close()


def test_what_show_prints_can_be_applied_and_changes_nothing(
    home: Home, site_file: Path, tmp_path: Path
) -> None:
    home.run("config", "apply", site_file)
    _, shown, _ = home.run("config", "show")
    (tmp_path / "shown.yaml").write_text(shown)
    (tmp_path / "keys" / "log.pem").unlink()  # it is in the store
    assert "policyFile: /etc/policy" in shown
    assert home.run("config", "apply", "--prune", tmp_path / "shown.yaml") == (0, "no change\n", "")
    settings = home.json("config", "show")["settings"]
    assert settings["rekorSync.syncInterval"] == "10m"
    assert settings["rekorSync.backends"][0]["readUrl"] == "https://m.example"


def test_prune_removes_backends_and_settings(home: Home, site_file: Path) -> None:
    home.run("config", "apply", site_file)
    site_file.write_text("attestor: {http: {connections: 3}}\n")
    changes = home.json("config", "apply", "--prune", site_file)["changes"]
    assert [(one["key"], one["new"]) for one in changes] == [
        ("rekorSync.syncInterval", "5m"),
        ("rekorSync.backends[copy]", None),
        ("rekorSync.backends[main]", None),
        ("http.connections", 3),
        ("rekor.serverUrl", None),
    ]
    store = open_store(home.path, write=False)
    assert all_backends(store) == ()
    store.close()


def test_prune_leaves_the_backends_of_private_logs_alone(home: Home, tmp_path: Path) -> None:
    assert home.run("log", "create", "own", "--origin", "own.example")[0] == 0
    file = tmp_path / "empty.yaml"
    file.write_text("attestor:\n")
    assert home.run("config", "apply", "--prune", file) == (0, "no change\n", "")
    assert home.json("config", "show")["settings"]["rekorSync.backends"] == []
    assert home.json("log", "status")["logs"][0]["name"] == "own"


def test_a_dry_run_changes_nothing(home: Home, site_file: Path) -> None:
    answer = home.json("config", "apply", "--dry-run", site_file)
    assert answer["dryRun"] and len(answer["changes"]) == 4
    assert home.json("config", "set", "http.connections", "9", "--dry-run")["changes"]
    assert home.json("config", "show")["settings"]["rekorSync.backends"] == []
    assert home.json("config", "show")["settings"]["http.connections"] == 16


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"attestor:\n  http:\n    connection: 5\n", 3, "unknown-key"),
        (b"attestor:\n  http: {connections: 0}\n", 2, "bad-value"),
        (b"attestor:\n  rekor: {enabled: no}\n", 2, "ambiguous-yaml"),
        (b"attestor:\n  http:\n    contact: \xff\n", 3, "bad-yaml"),
        (b"attestor: {}\nattestor: {}\n", 2, "duplicate-key"),
        (b"attestor:\n  rekor: {serverUrl: 'https://x.example'}\n", 2, "unknown-server"),
        (
            b"attestor:\n  rekorSync:\n    backends:\n"
            b"      - {id: a, origin: o, publicKeyPath: none.pem}\n",
            4,
            "bad-key-file",
        ),
        (
            b"attestor:\n  rekorSync:\n    backends:\n"
            b"      - {id: a, origin: o, publicKeyPath: site.yaml}\n",
            4,
            "bad-key-file",
        ),
    ],
)
@pytest.mark.parametrize("command", ["apply", "validate"])
def test_a_bad_file_is_9_with_its_line_and_changes_nothing(
    home: Home, tmp_path: Path, command: str, text: bytes, line: int, reason: str
) -> None:
    file = tmp_path / "site.yaml"
    file.write_bytes(text)
    error = home.json("config", command, file, expect=9)
    assert error["message"].startswith(f"{file}:{line}: ")
    assert error["reason"] == reason
    code, out, err = home.run("config", command, file)
    assert (code, out) == (9, "")
    assert err.startswith(f"Error: {file}:{line}: ")
    assert home.json("config", "show")["settings"]["rekorSync.backends"] == []


def test_a_backend_does_not_move_to_another_log(home: Home, site_file: Path) -> None:
    home.run("config", "apply", site_file)
    site_file.write_text(
        "attestor:\n  rekorSync:\n    backends:\n"
        "      - {id: copy, origin: other.example, publicKeyPath: keys/log.pem, mirrorOf: null}\n"
        "      - {id: main, enabled: false}\n"
    )
    before = home.json("config", "show")
    assert home.json("config", "apply", site_file, expect=9)["reason"] == "backend-exists"
    assert home.json("config", "show") == before


@pytest.mark.parametrize("key", ["", ", publicKeyPath: keys/log.pem"])
def test_a_log_does_not_change_its_api_version(home: Home, site_file: Path, key: str) -> None:
    home.run("config", "apply", site_file)
    site_file.write_text(
        f"attestor: {{rekorSync: {{backends: [{{id: main, apiVersion: 1{key}}}]}}}}\n"
    )
    assert home.json("config", "apply", site_file, expect=9)["reason"] == "api-version"


def test_a_new_key_file_adds_a_key(home: Home, site_file: Path, tmp_path: Path) -> None:
    home.run("config", "apply", site_file)
    (tmp_path / "keys" / "log.pem").write_bytes(pem_of(2))
    for words in ((), ("--dry-run",)):  # it may be the wrong file: nothing is believed of it
        refused = home.json("config", "apply", site_file, *words, expect=8)
        assert refused["reason"] == "another-key" and "--another-key" in refused["next"]
    said = ("config", "apply", site_file, "--another-key")
    assert home.json(*said, "--dry-run")["newKeys"] == ["copy", "main"]
    code, out, _ = home.run(*said)
    assert (code, out.split("\n")[1]) == (0, "backend main: one more key is pinned")
    assert home.run("config", "apply", site_file)[1] == "no change\n"
    store = open_store(home.path, write=False)
    assert len(require_log(store, "log.example").keys) == 2
    store.close()


def test_set_one_setting(home: Home) -> None:
    assert home.run("config", "set", "rekorSync.maxTilesPerSync", "200") == (
        0,
        "rekorSync.maxTilesPerSync: 100 -> 200\n",
        "",
    )
    assert home.json("config", "show")["settings"]["rekorSync.maxTilesPerSync"] == 200
    error = home.json("config", "set", "rekorSync.maxTilesPerSyncs", "200", expect=9)
    assert error["message"].endswith("did you mean rekorSync.maxTilesPerSync?")


def test_setting_something_keeps_the_backends(home: Home, site_file: Path) -> None:
    home.run("config", "apply", site_file)
    before = home.json("config", "show")["settings"]["rekorSync.backends"]
    home.run("config", "set", "http.connections", "3")
    assert home.json("config", "show")["settings"]["rekorSync.backends"] == before


def test_warnings_are_on_stderr_and_in_json(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("attestor: {rekor: {edgeBundles: {dailyLimit: 60}}}\n")
    code, out, err = home.run("config", "validate", file)
    assert (code, out) == (0, f"{file} is valid\n")
    assert err.startswith(f"Warning: {file}:1: rekor.edgeBundles.dailyLimit is an old name")
    _, out, _ = home.run("config", "apply", file, "--json")
    assert len(json.loads(out)["warnings"]) == 1


def test_the_store_is_validated_with_its_keys(home: Home) -> None:
    answer = home.json("config", "validate")
    assert answer == {"file": None, "backends": 0, "keys": ["site.example"]}
    (home.path / "keys" / "site.example.key").chmod(0o640)
    assert home.json("config", "validate", expect=9)["reason"] == "key-permissions"


def test_thresholds_out_of_order_in_the_store_are_found(home: Home) -> None:
    store = open_store(home.path, write=True)
    store.execute("INSERT INTO setting VALUES ('verify.maxTrustRootAge.fail', '\"1d\"')")
    store.close()
    error = home.json("config", "validate", expect=9)
    assert error["message"].startswith("the store: verify.maxTrustRootAge.warn is 14d, longer")


def test_an_isolated_site_shows_its_own_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home", capsys, role="isolated")
    answer = home.json("config", "show")
    assert answer["role"] == "isolated"
    assert answer["settings"]["divergenceDetection.staleTreeSizeThreshold"] == "30d"


def test_the_example_applies_and_changes_nothing(home: Home, tmp_path: Path) -> None:
    _, example, _ = home.run("config", "example")
    (tmp_path / "example.yaml").write_text(example)
    assert home.run("config", "apply", tmp_path / "example.yaml") == (0, "no change\n", "")
    assert home.json("config", "example", "--role", "isolated")["yaml"].startswith("# Settings")


def test_the_sinks_that_are_shown_as_examples_are_accepted(home: Home, tmp_path: Path) -> None:
    types = ["webhook", "command", "file", "syslog", "smtp"]
    documented = (ROOT / "docs" / "alerts.md").read_text().split("```yaml\n")[1].split("```")[0]
    shown = indent(SINKS.example, "      ")
    for text in (documented, f"attestor:\n  alerts:\n    sinks:\n{shown}"):
        (tmp_path / "sinks.yaml").write_text(text)
        home.json("config", "apply", tmp_path / "sinks.yaml")
        sinks = home.json("config", "show")["settings"]["alerts.sinks"]
        assert [one["type"] for one in sinks] == types


def test_without_a_store_nothing_but_the_example_works(
    tmp_path: Path, home: Home, site_file: Path
) -> None:
    code, _, err = home.run("--home", tmp_path / "none", "config", "apply", site_file)
    assert code == 6
    assert "no store at" in err
    assert home.run("--home", tmp_path / "none", "config", "example")[0] == 0
