"""The configuration of rekor-monitor is taken as it is, and ours loads there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.mirrored import MirroredHome
from tests.find.logged import leaf
from tests.find.test_search import WHO, filler, logged
from tests.find.test_watch import matched

# As rekor-monitor's README shows it, with fingerprints that are whole.
README = r"""
startIndex: 1
endIndex: 2000
monitoredValues:
  certIdentities:
    - certSubject: user@domain\.com
    - certSubject: otheruser@domain\.com
      issuers:
        - https://accounts\.google\.com
        - https://github\.com/login
  subjects:
    - subject@domain\.com
  fingerprints:
    - A0B1C2D3E4F5
    - AA66E9ED65DCF0F9DF0CE1DBC05C78A30C4DB4B5FD09A0FDD4E3D9E1C4E2A5B7
  oidMatchers:
    fulcioExtensions:
      build-config-uri:
        - https://example.com/owner/repository/build-config.yml
      issuer:
        - https://one.example
    oidExtensions:
      - objectIdentifier: [1, 3, 6, 1, 4, 1, 57264, 1, 1]
        extensionValues:
          - https://github.com/login/oauth
      - objectIdentifier: [1, 2, 3]
        extensionValues: [x]
    customExtensions:
      - objectIdentifier: 1.3.6.1.4.1.57264.1.9
        extensionValues:
          - https://github.com/generator.yml@v1.4.0
outputIdentities: /var/log/identities.txt
outputIdentitiesFormat: text
logInfoFile: logInfo.txt
identityMetadataFile: metadata.json
githubIssue: {repositoryName: x}
emailNotificationSMTP:
  recipientEmailAddress: ops@example.org
  SMTPHostURL: mail.example.org
  senderSMTPPassword: hunter2
caRootsFile: roots.pem
"""


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MirroredHome:
    return MirroredHome(tmp_path / "home", capsys, "connected")


def taken(home: MirroredHome, text: str, *words: str, expect: int = 0) -> Any:
    path = home.path.parent / "config.yaml"
    path.write_text(text)
    return home.json("watch", "import", path, *words, expect=expect)


def test_the_example_of_its_readme_is_taken_whole(home: MirroredHome) -> None:
    done = taken(home, README)
    conditions = [one["criteria"] for one in done["watches"]]
    fulcio = "1.3.6.1.4.1.57264.1."
    assert conditions == [
        {"identity": [r"user@domain\.com"], "issuer": ["(?s)."]},
        {
            "identity": [r"otheruser@domain\.com"],
            "issuer": [r"https://accounts\.google\.com", r"https://github\.com/login"],
        },
        {"identity": [r"subject@domain\.com"]},
        {"fingerprint": ["aa66e9ed65dcf0f9df0ce1dbc05c78a30c4db4b5fd09a0fdd4e3d9e1c4e2a5b7"]},
        {"issuerExact": ["https://one.example"]},
        {"oid": [f"{fulcio}18=https://example.com/owner/repository/build-config.yml"]},
        {"oid": [f"{fulcio}9=https://github.com/generator.yml@v1.4.0"]},
    ]
    assert {one["from"] for one in done["watches"]} == {"1"}
    notes = "\n".join(done["notes"])
    for named in ("A0B1C2D3E4F5", "lower case", "1.2.3", "endIndex", "logInfoFile", "caRootsFile"):
        assert named in notes, named
    assert "alerts.sinks" in notes and "ops@example.org" in notes and "hunter2" not in notes
    again = taken(home, README)
    assert again["watches"] == [] and len(again["known"]) == 7


def test_what_it_matches_is_what_rekor_monitor_matches(home: MirroredHome) -> None:
    evil = "evil-user@domain.com.attacker.example"
    logged(home, *filler(1), leaf("user@domain.com", b"1"), leaf(evil, b"2"), leaf(WHO, b"3"))
    home.json("index", "build")
    done = taken(home, "monitoredValues: {certIdentities: [{certSubject: 'user@domain\\.com'}]}")
    assert matched(done) == [1, 2]
    (note,) = done["notes"]
    assert "not anchored" in note and evil in note and note.endswith(evil)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("monitoredValues: {certIdentities: [{certSubject: '(?=a)'}]}", "config.yaml:1: certSubj"),
        ("monitoredValues:\n  subjects: ['a', '(b']\n", "config.yaml:2: subjects"),
        ("monitoredValues: {certIdentities: [{issuers: [a]}]}", "expected certSubject"),
        ("monitoredValues: {oidMatchers: {fulcioExtensions: {nope: [a]}}}", "unknown extension"),
        ("monitoredValues: {oidMatchers: {customExtensions: [{extensionValues: [a]}]}}", "objectI"),
        ("monitoredValues: [a]", "expected a mapping"),
        ("monitoredValues: {subjects: {a: b}}", "expected a list"),
        ("startIndex: soon\nmonitoredValues: {subjects: [a]}", "startIndex"),
        ("monitoredValues: {}", "monitors nothing"),
        ("a: [", "config.yaml"),
    ],
)
def test_what_cannot_be_read_is_code_9_and_adds_nothing(
    home: MirroredHome, text: str, named: str
) -> None:
    assert named in taken(home, text, expect=9)["message"]
    assert home.json("watch", "list")["watches"] == []


def test_what_is_exported_is_taken_again_and_the_rest_is_named(home: MirroredHome) -> None:
    taken(home, README)
    home.json("watch", "add", "exact", "--identity-exact", "a+b@example.com")
    home.json("watch", "add", "both", "--identity", "a", "--digest", "0" * 64)
    exported = home.json("watch", "export")
    assert [one.partition(":")[0] for one in exported["leftOut"]] == ["both"]
    written = yaml.safe_load(exported["configuration"])["monitoredValues"]
    assert "^a\\+b@example\\.com$" in written["subjects"]
    assert {"certSubject": r"user@domain\.com", "issuers": []} in written["certIdentities"]
    home.json("watch", "remove", "both")
    before = {str(one["criteria"]) for one in home.json("watch", "list")["watches"]}
    for one in home.json("watch", "list")["watches"]:
        home.json("watch", "remove", one["name"])
    taken(home, exported["configuration"])
    after = {str(one["criteria"]) for one in home.json("watch", "list")["watches"]}
    assert after - before == {str({"identity": ["^a\\+b@example\\.com$"]})}
    assert len(before - after) == 1  # the exact one, now a pattern
