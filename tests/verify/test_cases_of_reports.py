"""Situations from public reports, asked as their reporters would: the answer, its reason, its code.

The inputs are reference data (cases/verify); without them each case is skipped, by name. Beside our
answer stands what cosign and sigstore-python say of the same files, where they differ.
"""

from __future__ import annotations

import json
import lzma
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.cli.main import run
from appliance.runs.session import Session
from tests.mirror.mirrors import NOW
from tests.shared import SHARED, shared

CASES = "cases/verify"


@dataclass(frozen=True)
class Right:
    """What the appliance says of one case, and what it says once more is allowed."""

    code: int
    reason: str = ""  # empty if it verifies
    words: str = ""  # in the message, or in the warning of a yes
    allow: str = ""  # the option that makes it a yes
    others: str = ""  # cosign and sigstore-python, where they answer otherwise, and why


RIGHT: dict[str, Right] = {
    "base64url": Right(0, others="sigstore-python refuses: strict base64"),
    "bundle-utf16": Right(8, "text-encoding", "text in UTF-16", others="both: parse error"),
    "bundle-utf8-bom": Right(8, "text-encoding", "byte order mark", others="both: parse error"),
    "ed25519-blob": Right(0, others="sigstore-python has no managed keys"),
    "intermediate-eku-email": Right(3, "certificate-path", "excludes code signing"),
    "jsonl-one-newer-version": Right(
        0, words="passed over what could not be read", others="neither reads JSON Lines"
    ),
    "leaf-with-subject": Right(
        8, "leaf-certificate", "--allow-subject", "--allow-subject", "both accept any subject"
    ),
    "legacy-cosign-bundle": Right(
        8, "cosign-bundle", "cosign bundle create", others="cosign reads it by --bundle alone"
    ),
    "msg-tsa-certificate-expired": Right(
        3, "timestamp-authority-window", "its certificate CN=test TSA is valid from"
    ),
    "msg-wrong-key-hint": Right(3, "unknown-signer", "expected a line with the key id fd5c9fc2"),
    "root-jsonl-gh": Right(0, others="neither reads several roots in one file; gh writes them"),
    "root-utf16": Right(8, "text-encoding", "text in UTF-16", others="both: parse error"),
    "sbom-12.3MB-few-values": Right(0),
    "subject-sha512-digest512": Right(0, others="both take sha256 digests only"),
    "subject-uppercase-hex": Right(0, others="sigstore-python compares text"),
    "tsa-certificates-unsorted": Right(
        0, others="sigstore-python refuses: rfc3161-client wants the set in DER's order"
    ),
    "tsa-only-keyless": Right(
        8, "no-log-entry", "--allow-unlogged", "--allow-unlogged", "cosign: --insecure-ignore-tlog"
    ),
    "two-tlog-entries": Right(
        8,
        "log-entry-count",
        "--allow-several-entries",
        "--allow-several-entries",
        "cosign accepts if enough are good; sigstore-python refuses",
    ),
}


def test_no_case_is_left_out() -> None:
    there = {one.name for one in shared(CASES).iterdir() if one.is_dir()}
    assert there == set(RIGHT)


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_the_answer_to_a_reported_situation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = RIGHT[name]
    shared(f"{CASES}/{name}")
    for file in (SHARED / CASES / name).iterdir():
        if file.suffix == ".xz":
            (tmp_path / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
        else:
            shutil.copy(file, tmp_path)
    case = json.loads((tmp_path / "case.json").read_bytes())
    monkeypatch.chdir(tmp_path)

    def ask(*more: str) -> tuple[int, str, str]:
        session = Session(home=tmp_path / "home", now=lambda: NOW)
        code = run([*case["args"], *more], session)
        return (code, *capsys.readouterr())

    code, out, err = ask()
    assert code == right.code
    if code == 0:
        assert ": VERIFIED" in out
        assert right.words in err
    else:
        assert right.words in err
        assert err.count("\n") == 1
    code, out, _ = ask("--json")
    answer = json.loads(out)
    reason = answer["error"]["reason"] if "error" in answer else ""
    assert (code, reason) == (right.code, right.reason)
    # What the reporters wrote down, where they wrote it down.
    assert case["right"] in (None, code == 0)
    assert case["rc"] in (None, code)
    if case["reason"] is not None and code != 0:
        assert case["reason"] == reason
    if right.allow:
        code, out, _ = ask(right.allow)
        assert code == 0
        assert ": VERIFIED" in out
