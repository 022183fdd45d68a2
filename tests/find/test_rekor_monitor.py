"""The configuration of rekor-monitor is taken as it is, and ours loads there."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from appliance.sigstore import certificates
from appliance.sigstore.trusted_root import Authority
from tests.cli.mirrored import MirroredHome
from tests.find.logged import leaf, stranger
from tests.find.test_search import WHO, filler, logged
from tests.find.test_watch import matched, trust
from tests.pki.authorities import new_authority, new_key

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
    for named in ("A0B1C2D3E4F5", "lower case", "1.2.3", "endIndex", "logInfoFile"):
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


def authority_files(directory: Path) -> tuple[Path, Path]:
    """Write the root and the intermediate of the strangers' authority."""
    roots, more = directory / "roots.pem", directory / "intermediates.pem"
    for path, issuer in ((roots, stranger().root_authority), (more, stranger().authority)):
        path.write_bytes(b"# one\n" + issuer.certificate.public_bytes(Encoding.PEM))
    return roots, more


def findings(home: MirroredHome, *name: str) -> list[tuple[int, str]]:
    matches = home.json("watch", "matches", *name)["matches"]
    return [(one["index"], one["finding"]) for one in matches]


def test_whom_its_authorities_certified_is_vouched_for_and_nobody_is_passed_over(
    home: MirroredHome, tmp_path: Path
) -> None:
    trust(home, tmp_path)
    roots, more = authority_files(tmp_path)
    logged(home, leaf(WHO, b"1"), leaf(WHO, b"2", other=True))
    values = f"monitoredValues: {{subjects: ['^{WHO}$']}}\n"
    taken(home, values)
    assert findings(home) == [(0, "matched"), (1, "claimed")]
    named = f"{values}caRootsFile: {roots}\n"
    # Its intermediate is not in the entry: without it nothing leads to the root.
    [alone] = taken(home, named)["watches"]
    assert findings(home, alone["name"]) == [(0, "matched"), (1, "claimed")]
    [both] = taken(home, f"{named}caIntermediatesFile: {more}\n")["watches"]
    # Beside the trusted root, not instead of it.
    assert findings(home, both["name"]) == [(0, "matched"), (1, "matched")]
    shown = home.run("watch", "show", both["name"])[1]
    der = stranger().root_authority.certificate.public_bytes(Encoding.DER)
    assert f"caRoot         sha256:{sha256(der).hexdigest()}" in shown
    assert both["criteria"]["caRoot"] == [b64encode(der).decode()]
    exported = home.json("watch", "export")
    assert sum("caRootsFile" in one for one in exported["leftOut"]) == 2


def test_without_a_trusted_root_its_authorities_decide(home: MirroredHome, tmp_path: Path) -> None:
    roots, more = authority_files(tmp_path)
    logged(home, leaf(WHO, b"1"), leaf(WHO, b"2", other=True))
    home.json("index", "build")
    named = ("--ca-roots", roots, "--ca-intermediates", more)
    added = home.json("watch", "add", "a", "--identity-exact", WHO, *named)
    assert [one["finding"] for one in added["matches"]] == ["claimed", "matched"]
    search = ("entries", "search", "--identity-exact", WHO)
    assert [one["signers"][0]["vouched"] for one in home.json(*search)["hits"]] == [None, None]
    assert [one["index"] for one in home.json(*search, *named, "--vouched")["hits"]] == [1]
    assert home.run("entries", "search", *named)[0] == 2  # they are no condition
    assert home.run("watch", "add", "b", "--identity", "a", "--ca-intermediates", more)[0] == 2


def test_a_signer_costs_as_many_tries_as_authorities_have_its_issuers_name(
    home: MirroredHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots, more = authority_files(tmp_path)
    others = [new_authority(f"root {at}") for at in range(31)]
    below = [new_authority(f"issuing {at}", one) for at, one in enumerate(others)]
    for path, issuers in ((roots, others), (more, below)):
        pem = [one.certificate.public_bytes(Encoding.PEM) for one in issuers]
        path.write_bytes(path.read_bytes() + b"".join(pem))
    logged(home, leaf(WHO, b"1", other=True))
    home.json("index", "build")
    tried, real = [], certificates.path_to

    def path_to(signer: Certificate, authority: Authority, *rest: Any) -> tuple[Certificate, ...]:
        tried.append(authority)
        return real(signer, authority, *rest)

    monkeypatch.setattr(certificates, "path_to", path_to)
    named = ("--ca-roots", roots, "--ca-intermediates", more)
    [hit] = home.json("entries", "search", "--identity-exact", WHO, *named, "--vouched")["hits"]
    assert hit["signers"][0]["vouched"]
    assert len(set(tried)) == 1


def renewed_roots(count: int) -> list[bytes]:
    """Return certificates of one authority's one key, as PEM: who signs with it is below each."""
    name, key = "renewed", new_key()
    renewed = (new_authority(name, key=key) for _ in range(count))
    return [one.certificate.public_bytes(Encoding.PEM) for one in renewed]


def test_authorities_in_several_files_are_counted_together(
    home: MirroredHome, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.pem", tmp_path / "second.pem"
    roots = [new_authority(f"root {at}").certificate.public_bytes(Encoding.PEM) for at in range(33)]
    first.write_bytes(b"".join(roots[:30]))
    second.write_bytes(b"".join(roots[30:]))
    search = ("entries", "search", "--identity", "a", "--ca-roots", first, "--ca-roots", second)
    code, _, err = home.run(*search)
    assert code == 8, err
    assert "second.pem: 33 certificates with those of the files before it, at most 32" in err


@pytest.mark.parametrize(
    ("told", "code", "named"),
    [
        ("caRootsFile: absent.pem", 5, "absent.pem"),
        ("caRootsFile: none.pem", 3, "expected certificates as PEM, found none"),
        ("caRootsFile: broken.pem", 3, "certificate 1"),
        ("caRootsFile: cut.pem", 3, "expected certificates as PEM, found 1 of the 2 that begin"),
        ("caRootsFile: wide.pem", 8, "it is text in UTF-16"),
        ("caRootsFile: many.pem", 8, "at most 32"),
        ("caRootsFile: namesakes.pem", 8, "more than 16 paths to a root begin with the name 'CN="),
        ("caIntermediatesFile: many.pem", 9, "caRootsFile is not"),
    ],
)
def test_authorities_that_cannot_be_read_are_told_and_nothing_is_added(
    home: MirroredHome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: str,
    code: int,
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    pem = stranger().authority.certificate.public_bytes(Encoding.PEM)
    (tmp_path / "none.pem").write_text("nothing")
    (tmp_path / "broken.pem").write_bytes(pem.replace(b"MII", b"MIA", 1))
    (tmp_path / "cut.pem").write_bytes(pem + pem[:-30])
    (tmp_path / "wide.pem").write_text(pem.decode(), encoding="utf-16")
    (tmp_path / "many.pem").write_bytes(pem * 33)
    (tmp_path / "namesakes.pem").write_bytes(b"".join(renewed_roots(17)))
    path = tmp_path / "config.yaml"
    path.write_text(f"monitoredValues: {{subjects: [a]}}\n{told}\n")
    found, _, err = home.run("watch", "import", path)
    assert found == code and named in err, (found, err)
    assert home.json("watch", "list")["watches"] == []
