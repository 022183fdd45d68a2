"""What cosign and sigstore-python say of reported and made situations (tables in tests/verify).

Each is asked as its users would ask: cosign with the options that the bundle calls for,
sigstore-python by its library. A line of the table that is not what they answer fails.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.interop.verification_peers import peer
from tests.shared import shared
from tests.verify.made_situations import MADE_SITUATIONS, TYPE, lay_out_made
from tests.verify.reported_situations import RIGHT, lay_out

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_cosign_answers_as_the_table_says(name: str, tmp_path: Path) -> None:
    program = peer("cosign")
    done = ask_cosign(program, lay_out(name, tmp_path)["args"], tmp_path)
    assert (done.returncode == 0) is RIGHT[name].cosign, done.stderr.decode(errors="replace")


@pytest.mark.parametrize("name", list(MADE_SITUATIONS))
def test_cosign_answers_to_made_situations_as_the_table_says(name: str, tmp_path: Path) -> None:
    program = peer("cosign")
    done = ask_cosign(program, lay_out_made(name, tmp_path), tmp_path)
    says_yes = MADE_SITUATIONS[name].cosign
    assert (done.returncode == 0) is says_yes, done.stderr.decode(errors="replace")


def ask_cosign(
    program: str, args: list[str], directory: Path
) -> subprocess.CompletedProcess[bytes]:
    """Ask cosign what our command was asked."""
    artifact, *options = args[1:]
    raw = (directory / "bundle.sigstore.json").read_bytes()
    command = [program, "verify-blob"]
    if b"dsseEnvelope" in raw:
        command = [program, "verify-blob-attestation", "--type", predicate_type(raw)]
    if b"timestampVerificationData" in raw:
        command.append("--use-signed-timestamps")
    if artifact.startswith("sha"):
        algorithm, digest = artifact.split(":")
        question = ["--digest", digest, "--digestAlg", algorithm]
    else:
        question = [artifact]
    return subprocess.run(
        [*command, *options, *question],
        cwd=directory,
        capture_output=True,
        timeout=120,
        check=False,
    )


def predicate_type(raw: bytes) -> str:
    """Return the predicate type that cosign wants to be told; it reads one bundle only."""
    try:
        first = json.loads(raw.splitlines()[0])
    except ValueError:
        return TYPE
    if "dsseEnvelope" not in first:
        return TYPE
    payload = json.loads(base64.b64decode(first["dsseEnvelope"]["payload"]))
    return str(payload["predicateType"])


@pytest.mark.parametrize("name", list(MADE_SITUATIONS))
def test_sigstore_python_answers_to_made_situations_as_the_table_says(
    name: str, tmp_path: Path
) -> None:
    args = lay_out_made(name, tmp_path)
    logging.disable(logging.CRITICAL)
    try:
        said = sigstore_python(args, tmp_path)
    except (KeyError, ValueError) as error:  # which its users meet as a traceback
        said = f"uncaught {error!r}"
    finally:
        logging.disable(logging.NOTSET)
    assert (said == "") is MADE_SITUATIONS[name].sigstore_python, said


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_sigstore_python_answers_as_the_table_says(name: str, tmp_path: Path) -> None:
    case = lay_out(name, tmp_path)
    logging.disable(logging.CRITICAL)
    try:
        said = sigstore_python(case["args"], tmp_path)
    finally:
        logging.disable(logging.NOTSET)
    assert (said == "") is RIGHT[name].sigstore_python, said


def sigstore_python(args: list[str], directory: Path) -> str:
    """Verify by sigstore-python; returns what it has against it, empty if nothing."""
    from pydantic import ValidationError
    from sigstore.errors import Error
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    if "--key" in args:
        return "it has no managed keys"
    given = dict(zip(args[2::2], args[3::2], strict=True))
    policy = Identity(
        identity=given["--certificate-identity"], issuer=given["--certificate-oidc-issuer"]
    )
    try:
        root = TrustedRoot.from_file(str(directory / "trusted_root.json"))
        bundle = Bundle.from_json((directory / "bundle.sigstore.json").read_bytes())
        if "dsseEnvelope" not in json.loads(bundle.to_json()):
            Verifier(trusted_root=root).verify_artifact(
                (directory / "artifact").read_bytes(), bundle, policy
            )
            return ""
        _, payload = Verifier(trusted_root=root).verify_dsse(bundle, policy)
    except (Error, ValidationError) as error:
        return f"{type(error).__name__}: {error}"
    # It leaves the statement to its caller: sigstore verify compares SHA-256, as text.
    subjects: list[dict[str, Any]] = json.loads(payload)["subject"]
    digest = hashlib.sha256((directory / "artifact").read_bytes()).hexdigest()
    if digest not in [one["digest"].get("sha256") for one in subjects]:
        return "no subject has the artifact's SHA-256"
    return ""


def test_the_reference_data_is_the_table() -> None:
    assert {one.name for one in shared("cases/verify").iterdir() if one.is_dir()} == set(RIGHT)
