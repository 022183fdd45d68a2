"""The scripts of the verifier: the throwaway instance on disk, and what verifying opens."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pki.authorities import IDENTITY, ISSUER
from tests.sigstore.conformance import SCRIPT, run

SIGNER = ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    command = [sys.executable, str(SCRIPT.with_name("test-pki")), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"identity {IDENTITY}\nissuer {ISSUER}\n"
    return directory


def arguments(instance: Path, bundle: str, *signer: str) -> list[str]:
    root = ["--trusted-root", str(instance / "trusted_root.json")]
    named = ["verify-bundle", "--bundle", str(instance / bundle)]
    return [*named, *signer, *root, str(instance / "artifact")]


@pytest.mark.parametrize("name", ["keyless-v2", "keyless-v1", "attestation-v2"])
def test_a_written_instance_verifies(instance: Path, name: str) -> None:
    assert run(arguments(instance, f"{name}.json", *SIGNER)) is None


def test_a_written_key_verifies(instance: Path) -> None:
    key = ["--key", str(instance / "key.pub")]
    assert run(arguments(instance, "managed-v2.json", *key)) is None
    error = run(arguments(instance, "keyless-v2.json", *key))
    assert error is not None
    assert error.reason == "signer-kind"


def test_staging_needs_its_root(instance: Path) -> None:
    command = arguments(instance, "keyless-v2.json", *SIGNER)
    position = command.index("--trusted-root")
    without = [*command[:position], "--staging", command[-1]]
    error = run(without)
    assert error is not None
    assert "staging" in str(error)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_verifying_opens_no_network_socket(instance: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=network", "-o", str(trace), sys.executable]
    command += [str(SCRIPT), *arguments(instance, "keyless-v2.json", *SIGNER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr[:120]}")
    assert done.returncode == 0, done.stderr
    assert "AF_INET" not in trace.read_text()
