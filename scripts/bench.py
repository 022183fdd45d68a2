"""The measurements that scripts/bench prints: ratios of one run, and what ran beside it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The same setting as the tests have.
REFERENCE_DATA = os.environ.get("ATTESTOR_REFERENCE_DATA") or ROOT.parent / "shared"
CORPUS = Path(REFERENCE_DATA) / "corpus"
CASES = CORPUS / "sigstore-conformance" / "test" / "assets" / "bundle-verify"
PRODUCTION_ROOT = CORPUS / "root-signing" / "trusted_root.json"
IDENTITY = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/"
    "workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
ISSUER = "https://token.actions.githubusercontent.com"
ROUNDS = 15
PYTHON = str(ROOT / ".venv" / "bin" / "python")
ATTESTOR = str(ROOT / ".venv" / "bin" / "attestor")
SIGSTORE = str(ROOT / ".venv" / "bin" / "sigstore")


def verify(case: str, *signer: str) -> list[str]:
    """Return the command that verifies one case of the conformance suite."""
    own_root = CASES / case / "trusted_root.json"
    root = own_root if own_root.exists() else PRODUCTION_ROOT
    return [
        *(ATTESTOR, "--home", "/nonexistent", "verify", str(CASES / "a.txt")),
        *("--bundle", str(CASES / case / "bundle.sigstore.json"), "--trusted-root", str(root)),
        *signer,
    ]


KEYLESS = ("--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER)


def commands() -> dict[str, list[str]]:
    """Return what is measured, by name; the first is what everything is compared with."""
    key = str(CASES / "managed-key-happy-path" / "key.pub")
    v1 = "happy-path-v0.3-new-mediaType"
    found = {
        "python -c pass": [PYTHON, "-c", "pass"],
        "attestor --version": [ATTESTOR, "--version"],
        "attestor --help": [ATTESTOR, "--help"],
        "attestor verify, managed key": verify("managed-key-happy-path", "--key", key),
        "attestor verify, keyless v1": verify(v1, *KEYLESS),
        "attestor verify, keyless v2": verify("rekor2-happy-path", *KEYLESS),
        "sigstore verify identity --offline": [
            *(SIGSTORE, "verify", "identity", "--offline", "--cert-identity", IDENTITY),
            *("--cert-oidc-issuer", ISSUER, "--bundle", str(CASES / v1 / "bundle.sigstore.json")),
            str(CASES / "a.txt"),
        ],
    }
    if cosign := shutil.which("cosign"):
        found["cosign verify-blob --offline"] = [
            *(cosign, "verify-blob", "--new-bundle-format", "--offline"),
            *("--trusted-root", str(PRODUCTION_ROOT), "--certificate-identity", IDENTITY),
            *("--certificate-oidc-issuer", ISSUER),
            *("--bundle", str(CASES / v1 / "bundle.sigstore.json"), str(CASES / "a.txt")),
        ]
    return found


def environment() -> dict[str, str]:
    return {name: one for name, one in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(command: Sequence[str]) -> tuple[float, float, int]:
    """Run a command once; returns wall seconds, processor seconds and peak KiB of memory."""
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True)\n"
        "sys.stderr.buffer.write(done.stderr)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False, env=environment())
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"bench: {' '.join(command)}: {done.stderr.decode()[-500:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = subprocess.run([PYTHON, "-c", code, *command], capture_output=True, check=True)
    return wall, cpu, int(peak.stdout)


def processes() -> None:
    """Measure every command, interleaved."""
    measured: dict[str, list[tuple[float, float, int]]] = {name: [] for name in commands()}
    for _ in range(ROUNDS):
        for name, command in commands().items():
            measured[name].append(run(command))
    base = statistics.median(one[0] for one in measured["python -c pass"])
    base_cpu = statistics.median(one[1] for one in measured["python -c pass"])
    print(f"{'command':38} {'ms':>7} {'wall':>7} {'cpu':>7} {'MiB':>6}   (medians of {ROUNDS})")
    for name, runs in measured.items():
        wall, cpu = (statistics.median(one[at] for one in runs) for at in (0, 1))
        peak = max(one[2] for one in runs) / 1024
        print(f"{name:38} {wall * 1e3:7.1f} {wall / base:6.1f}x {cpu / base_cpu:6.1f}x {peak:6.1f}")


def batch() -> None:
    """Measure a warm batch of the CPython release bundles against sigstore-python."""
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    from appliance.sigstore.digests import ArtifactDigests
    from appliance.sigstore.sigstore_bundle import parse_sigstore_bundle
    from appliance.sigstore.trusted_root import parse_trusted_root
    from appliance.sigstore.verification import verify_bundle
    from tests.sigstore.test_corpus import cpython_releases

    cases = [
        (bytes.fromhex(record["sha256"]), json.dumps(record["sigstore"]).encode(), expected)
        for _, record, expected in cpython_releases()
    ]
    ours_root = parse_trusted_root(PRODUCTION_ROOT.read_bytes())
    verifier = Verifier(trusted_root=TrustedRoot.from_file(str(PRODUCTION_ROOT)))

    def ours() -> None:
        for digest, raw, expected in cases:
            digests = ArtifactDigests({"sha256": digest})
            verify_bundle(parse_sigstore_bundle(raw), digests, expected, ours_root)

    def theirs() -> None:
        from sigstore.hashes import HashAlgorithm, Hashed

        for digest, raw, expected in cases:
            hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest)
            policy = Identity(identity=expected.identity, issuer=expected.issuer)
            verifier.verify_artifact(hashed, Bundle.from_json(raw), policy)

    ours_ms, theirs_ms = (
        min(_seconds(one) for _ in range(3)) * 1e3 / len(cases) for one in (ours, theirs)
    )
    print(
        f"\nwarm batch of {len(cases)}: ours {ours_ms:.2f} ms a bundle, "
        f"sigstore-python {theirs_ms:.2f} ms: {ours_ms / theirs_ms:.2f}x"
    )


def _seconds(function: Callable[[], None]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main() -> None:
    if not CORPUS.is_dir():
        raise SystemExit(f"bench: skipped: {CORPUS} is not here")
    sys.path.insert(0, str(ROOT))
    load = Path("/proc/loadavg").read_text().split()[0]
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, load {load} before\n")
    if shutil.which("go") and not shutil.which("cosign"):
        print(
            "cosign is not on the PATH: go install github.com/sigstore/cosign/v3/cmd/cosign@latest"
        )
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home  # sigstore-python keeps a cache there
        processes()
        batch()


if __name__ == "__main__":
    main()
