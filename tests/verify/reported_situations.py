"""Situations from public reports: the answer of the appliance, and of two other clients.

The inputs are reference data (cases/verify). What cosign and sigstore-python answer is measured
by tests/interop/test_reference_clients.py, with the versions named there.
"""

from __future__ import annotations

import json
import lzma
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.shared import SHARED, shared

CASES = "cases/verify"


@dataclass(frozen=True)
class Right:
    """What the appliance says of one case, and what it says once more is allowed."""

    code: int
    reason: str = ""  # empty if it verifies
    words: str = ""  # in the message, or in the warning of a yes
    allow: str = ""  # the option that makes it a yes
    cosign: bool = True  # whether it accepts
    sigstore_python: bool = True
    because: str = ""  # why they differ from us, where one does


RIGHT: dict[str, Right] = {
    "base64url": Right(
        0, sigstore_python=False, because="sigstore-python reads padded base64 of one alphabet"
    ),
    "bundle-utf16": Right(
        8, "text-encoding", "text in UTF-16", cosign=False, sigstore_python=False
    ),
    "bundle-utf8-bom": Right(
        8, "text-encoding", "byte order mark", cosign=False, sigstore_python=False
    ),
    "ed25519-blob": Right(0, sigstore_python=False, because="sigstore-python has no managed keys"),
    "intermediate-eku-email": Right(
        3, "certificate-path", "excludes code signing", cosign=False, sigstore_python=False
    ),
    "jsonl-one-newer-version": Right(
        0,
        words="passed over what could not be read",
        cosign=False,
        sigstore_python=False,
        because="neither reads JSON Lines, which gh writes",
    ),
    "leaf-with-subject": Right(
        8,
        "leaf-certificate",
        "--allow-subject",
        "--allow-subject",
        sigstore_python=False,
        because="cosign does not look at the subject; here it takes an option",
    ),
    "legacy-cosign-bundle": Right(
        8, "cosign-bundle", "cosign bundle create", cosign=False, sigstore_python=False
    ),
    "msg-tsa-certificate-expired": Right(
        3,
        "timestamp-authority-window",
        "its certificate CN=test TSA is valid from",
        cosign=False,
        sigstore_python=False,
    ),
    "msg-wrong-key-hint": Right(
        3,
        "unknown-signer",
        "expected a line with the key id fd5c9fc2",
        cosign=False,
        sigstore_python=False,
    ),
    "root-jsonl-gh": Right(
        0,
        cosign=False,
        sigstore_python=False,
        because="neither reads several roots in one file, which gh writes",
    ),
    "root-utf16": Right(8, "text-encoding", "text in UTF-16", cosign=False, sigstore_python=False),
    "sbom-12.3MB-few-values": Right(0),
    "subject-sha512-digest512": Right(
        0, sigstore_python=False, because="sigstore-python compares SHA-256 alone"
    ),
    "subject-uppercase-hex": Right(
        0, sigstore_python=False, because="sigstore-python compares the text of digests"
    ),
    "tsa-certificates-unsorted": Right(
        0,
        sigstore_python=False,
        because="sigstore-python's parser wants a SET in DER's order",
    ),
    "tsa-only-keyless": Right(
        8,
        "no-log-entry",
        "--allow-unlogged",
        "--allow-unlogged",
        cosign=False,
        sigstore_python=False,
    ),
    "two-tlog-entries": Right(
        8,
        "log-entry-count",
        "--allow-several-entries",
        "--allow-several-entries",
        sigstore_python=False,
        because="cosign takes several entries if one is good; here it takes an option",
    ),
}


def lay_out(name: str, directory: Path) -> dict[str, Any]:
    """Copy a case's files, unpacked, and return its description; skips where there are none."""
    shared(f"{CASES}/{name}")
    for file in (SHARED / CASES / name).iterdir():
        if file.suffix == ".xz":
            (directory / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
        else:
            shutil.copy(file, directory)
    case: dict[str, Any] = json.loads((directory / "case.json").read_bytes())
    return case
