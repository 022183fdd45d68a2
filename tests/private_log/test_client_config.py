"""log client-config: what it is given, what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.cli.main import run
from appliance.runs.session import Session
from appliance.sigstore.signing_config import parse_signing_config
from appliance.sigstore.trusted_root import parse_trusted_root
from tests.pki.authorities import spki
from tests.pki.bundles import Instance, pem
from tests.private_log.private_homes import NOW, ORIGIN, make_home

NAMES = ["client_trust_config.json", "signing_config.v0.2.json", "trusted_root.json"]


class Site:
    """A home with a log, and the files of a CA, its CT log and a TSA beside it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = directory / "home"
        self.capsys = capsys
        make_home(self.home)
        instance = Instance()
        chain = (instance.authority, instance.root_authority)
        self.fulcio = directory / "fulcio.pem"
        self.fulcio.write_bytes(
            b"".join(one.certificate.public_bytes(Encoding.PEM) for one in chain)
        )
        self.ct_key = directory / "ct.pem"
        self.ct_key.write_bytes(pem("PUBLIC KEY", spki(instance.ct_log.key)))
        self.tsa = directory / "tsa.pem"
        stamping = instance.timestamp_authority.chain
        self.tsa.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in stamping))

    @property
    def parts(self) -> tuple[str | Path, ...]:
        return ("--fulcio-root", self.fulcio, "--ct-key", self.ct_key, "--tsa", self.tsa)

    def __call__(self, *arguments: str | Path, expect: int = 0) -> dict[str, Any]:
        words = ["log", "client-config", *map(str, arguments), "--json"]
        code = run(words, Session(home=self.home, now=lambda: NOW))
        out, _ = self.capsys.readouterr()
        answer: dict[str, Any] = json.loads(out)
        assert (code, answer["exitCode"]) == (expect, expect), answer
        return answer


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path, capsys)


def test_three_files_the_same_each_time(site: Site, tmp_path: Path) -> None:
    urls = ("--fulcio-url", "http://127.0.0.1:5555/", "--tsa-url", "http://127.0.0.1:3004/api")
    answer = site(*site.parts, *urls, "--output", tmp_path / "clients")
    assert answer["warnings"] == []
    files = {one.name: one.read_bytes() for one in (tmp_path / "clients").iterdir()}
    assert sorted(files) == NAMES
    site(*site.parts, *urls, "--output", tmp_path / "clients")
    assert {one.name: one.read_bytes() for one in (tmp_path / "clients").iterdir()} == files
    root = parse_trusted_root(files["trusted_root.json"])
    assert answer["data"]["digest"] == root.digest
    [log] = root.logs
    assert (log.origins, str(log.valid)) == ((ORIGIN,), "2025-10-09T08:53:20Z to now on")
    (service,) = parse_signing_config(files["signing_config.v0.2.json"])
    assert service.url == f"https://{ORIGIN}"
    assert json.loads(files["signing_config.v0.2.json"])["caUrls"][0]["url"] == urls[1][:-1]
    modes = {(tmp_path / "clients" / name).stat().st_mode & 0o444 for name in NAMES}
    assert modes == {0o444}, "clients read them"


def test_without_a_directory_it_is_printed(site: Site, tmp_path: Path) -> None:
    site(*site.parts, "--output", tmp_path)
    printed = site(*site.parts)
    assert printed["data"]["clientTrustConfig"] == json.loads(
        (tmp_path / "client_trust_config.json").read_bytes()
    )
    assert run(["log", "client-config"], Session(home=site.home, now=lambda: NOW)) == 0
    alone = json.loads(site.capsys.readouterr().out)
    assert alone["trustedRoot"]["certificateAuthorities"] == []


def test_what_is_not_said_is_warned_of(site: Site) -> None:
    warnings = site(*site.parts)["warnings"]
    assert [one.split(":")[0] for one in warnings] == ["no --fulcio-url", "no --tsa-url"]


def test_halves_are_refused(site: Site) -> None:
    for options, says in (
        (("--fulcio-root", site.fulcio, "--tsa", site.tsa), "go together"),
        (("--ct-key", site.ct_key), "go together"),
        (("--fulcio-root", site.fulcio, "--ct-key", site.ct_key), "needs --tsa"),
        (("--tsa-url", "http://127.0.0.1"), "needs --tsa"),
        (("--fulcio-url", "http://127.0.0.1"), "need --fulcio-root"),
        ((*site.parts, "--url", "127.0.0.1:3000"), "expected a URL"),
        ((*site.parts, "--tsa-url", "http://127.0.0.1/?a"), "expected a URL"),
    ):
        assert says in site(*options, expect=2)["error"]["message"]


def test_each_file_is_named_when_it_is_another(site: Site, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    for option, file, code, says in (
        ("--fulcio-root", site.ct_key, 8, "got BEGIN PUBLIC KEY"),
        ("--fulcio-root", site.tsa, 8, "may not issue certificates"),
        ("--fulcio-root", empty, 3, "got none"),
        ("--ct-key", site.fulcio, 8, "a certificate in PEM"),
        ("--ct-key", empty, 3, ""),
        ("--tsa", site.fulcio, 8, "not for time stamping"),
        ("--tsa", tmp_path / "absent", 5, "is not there"),
    ):
        parts = [str(one) for one in site.parts]
        parts[parts.index(option) + 1] = str(file)
        answer = site(*parts, "--output", tmp_path / "never", expect=code)["error"]
        assert answer["message"].startswith(f"{option} {file}: "), answer
        assert says in answer["message"] and answer["next"]
    assert not (tmp_path / "never").exists()
