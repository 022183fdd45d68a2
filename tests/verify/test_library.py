"""The library: three lines verify an artifact offline, with the answer that --json gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import appliance
from appliance import ApplianceError, ArgumentError, Verdict, verify
from appliance.cli.main import run
from appliance.runs.session import Session
from tests.mirror.mirrors import NOW, make_mirror, sync_from
from tests.pki.authorities import IDENTITY, ISSUER
from tests.pki.bundles import ARTIFACT, Instance, digests
from tests.signed_artifacts import SIGNER_PEM, bundle_of, log_request, sign_request
from tests.simulator import SimulatedLog

ROOT = Path(__file__).resolve().parents[2]
MADE = Instance()
WHO: dict[str, Any] = {"identity": IDENTITY, "issuer": ISSUER}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.tar.gz").write_bytes(ARTIFACT)
    (tmp_path / "app.tar.gz.sigstore.json").write_text(json.dumps(MADE.v2_bundle()), "utf-8")
    (tmp_path / "trusted_root.json").write_text(json.dumps(MADE.root()), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def example() -> str:
    """Return the Python example of docs/library.md."""
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    return text.partition("```python\n")[2].partition("```")[0]


def test_the_documented_example_runs(desk: Path) -> None:
    code = (
        example()
        .replace("me@example.org", IDENTITY)
        .replace("https://accounts.example.org", ISSUER)
    )
    assert IDENTITY in code
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=desk,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("verified, signed at ['2026-01-01T12:01:00Z']")


def test_the_documented_example_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    file = tmp_path / "example.py"
    file.write_text(example(), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert (ROOT / "appliance" / "py.typed").is_file()


def test_the_answer_is_the_commands(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for artifact in ("app.tar.gz", "none"):
        verdict = verify(artifact, trusted_root="trusted_root.json", **WHO)
        words = ["verify", artifact, "--trusted-root", "trusted_root.json", "--json"]
        words += ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER]
        code = run(words, Session(home=desk / "home", now=lambda: NOW))
        answer = json.loads(capsys.readouterr().out)
        assert verdict.code == code
        assert verdict.ok is answer["ok"]
        assert verdict.json == answer["data"]["artifacts"][0]
        if not verdict.ok:
            assert verdict.reason == answer["error"]["reason"]


def test_a_no_is_a_value_with_its_reason(desk: Path) -> None:
    verdict = verify("app.tar.gz", trusted_root="trusted_root.json", identity="x", issuer=ISSUER)
    assert isinstance(verdict, Verdict)
    assert (verdict.ok, verdict.code, verdict.reason) == (False, 3, "identity")
    assert "expected 'x'" in verdict.message
    (desk / "app.tar.gz").write_bytes(b"another")
    assert verify("app.tar.gz", trusted_root="trusted_root.json", **WHO).code == 3


def test_a_digest_is_given_as_one_and_a_path_is_a_path(desk: Path) -> None:
    digest = "sha256:" + digests().by_algorithm["sha256"].hex()
    more: dict[str, Any] = {"bundle": "app.tar.gz.sigstore.json", **WHO}
    more["trusted_root"] = desk / "trusted_root.json"
    assert verify(digest=digest, **more).ok
    assert verify(digest, **more).reason == "no-file"
    (desk / digest).write_bytes(b"another")
    assert verify(digest, **more).reason == "artifact-digest"


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"artifact": "app.tar.gz"},
        {"artifact": "app.tar.gz", "digest": "sha256:" + "00" * 32, **WHO},
        {"digest": "sha256:00", **WHO},
        {"artifact": "app.tar.gz", "key": "key.pem", **WHO},
        {"artifact": "app.tar.gz", "claims": {"nonsense": "x"}, **WHO},
    ],
)
def test_a_question_that_is_none_is_an_error(desk: Path, question: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError) as caught:
        verify(**question)
    assert isinstance(caught.value, ApplianceError)


def test_a_home_brings_its_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SimulatedLog()
    request = sign_request(ARTIFACT)
    index = log_request(log, request)
    mirror = make_mirror(tmp_path / "home", log)
    sync_from(mirror, log)
    (tmp_path / "app").write_bytes(ARTIFACT)
    (tmp_path / "app.sigstore.json").write_bytes(bundle_of(log, request, index))
    (tmp_path / "key.pem").write_bytes(SIGNER_PEM)
    monkeypatch.chdir(tmp_path)
    verdict = verify("app", key="key.pem", home="home", require_mirror=True)
    assert (verdict.ok, verdict.json["ownView"]["coverage"]) == (True, "covered")
    assert verify("app", key="key.pem").reason == "no-log-key"


def test_the_package_offers_this_and_imports_it_when_asked() -> None:
    assert set(appliance.__all__) == {
        "ApplianceError",
        "ArgumentError",
        "Verdict",
        "__version__",
        "verify",
    }
    code = "import sys, appliance; sys.exit('appliance.api' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    with pytest.raises(AttributeError):
        getattr(appliance, "nonsense")  # noqa: B009 as a name that is not there
