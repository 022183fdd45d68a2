"""The measurements that scripts/bench-verify prints: who verifies the same files how fast.

All bundles are made here, of a throwaway instance. Nobody reaches a network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

from appliance.rekor.canonical_json import canonical_json  # noqa: E402
from scripts.measures.shape import ATTESTOR, ENVIRONMENT  # noqa: E402
from tests.pki.authorities import IDENTITY, ISSUER, NOON  # noqa: E402
from tests.pki.bundles import (  # noqa: E402
    V2_TYPE,
    Instance,
    hashedrekord_v1,
    statement,
)
from tests.pki.logs import base64  # noqa: E402

SIGNER = ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER]
PREDICATE = "https://example.com/predicate"
MIB = 1 << 20
ROUNDS = 3
COSIGN_SHARE = 10  # every tenth bundle: a process of it each


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    seconds: float
    cpu: float
    mebibytes: float  # at most at once


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundles", type=int, default=1000)
    parser.add_argument("--mebibytes", type=int, default=16)
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        instance = Instance()
        (directory / "trusted_root.json").write_text(json.dumps(instance.root()))
        for kind in ("few", "many"):
            statements(directory, instance, given.mebibytes * MIB, kind)
        stream(directory, instance, given.bundles)


def statements(directory: Path, instance: Instance, n_bytes: int, kind: str) -> None:
    """Verify a statement of some bytes, with few values or with as many as fit."""
    content = statement(b"an artifact\n")
    if kind == "few":
        content["predicate"] = {"files": ["x" * 1000] * (n_bytes // 1004)}
    else:
        content["predicate"] = {"packages": [{"a": 1, "b": "2"}] * (n_bytes // 18)}
    payload = json.dumps(content).encode()
    bundle = instance.v2_bundle(instance.sign_statement(payload=payload))
    (directory / "artifact").write_bytes(b"an artifact\n")
    (directory / "statement.json").write_text(json.dumps(bundle))
    commands = {"attestor verify": ask_attestor(directory, "statement.json")}
    if program := cosign():
        commands["cosign verify-blob-attestation"] = ask_cosign(
            directory,
            "statement.json",
            (program, "verify-blob-attestation", "--type", PREDICATE, "--use-signed-timestamps"),
        )
    measured: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            measured[name].append(run(command))
    n_values = payload.count(b",") + 1
    print(f"\na statement of {len(payload) / MIB:.1f} MiB, about {n_values} values")
    print(f"{'command':34} {'seconds':>8} {'cpu':>8} {'MiB':>8}   (medians of {ROUNDS})")
    for name, costs in measured.items():
        seconds, cpu = (statistics.median(getattr(one, at) for one in costs) for at in FIELDS)
        peak = max(one.mebibytes for one in costs)
        print(f"{name:34} {seconds:8.2f} {cpu:8.2f} {peak:8.0f}")


FIELDS = ("seconds", "cpu")


def stream(directory: Path, instance: Instance, n_bundles: int) -> None:
    """Verify many small bundles: by one process of ours, by theirs, and in process."""
    names = [write_release(directory, instance, number) for number in range(n_bundles)]
    print(f"\n{n_bundles} bundles of keyless signatures over files, as CPython has them")
    print(f"{'who':46} {'answers/s':>10} {'ms of cpu each':>15}")

    asked = [*ATTESTOR, "--home", str(directory / "home"), "verify", "--from-file", "-", "--jsonl"]
    asked += ["--trusted-root", str(directory / "trusted_root.json"), *SIGNER]
    started, before = time.perf_counter(), os.times()
    waits: list[float] = []
    with subprocess.Popen(
        asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=directory, env=ENVIRONMENT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for name in names:
            sent = time.perf_counter()
            process.stdin.write(f"{name}\t{name}.sigstore.json\n".encode())
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            waits.append(time.perf_counter() - sent)
            if not answer["ok"]:
                raise SystemExit(f"bench-verify: {answer}")
        process.stdin.close()
        process.wait()
    report("attestor verify --from-file -, one by one", len(names), started, before)
    print(f"{'    from question to answer':46} {statistics.median(waits) * 1e3:9.1f} ms (median)")

    started, before = time.perf_counter(), os.times()
    few = names[::COSIGN_SHARE]
    for name in few:
        run(ask_attestor(directory, f"{name}.sigstore.json", name))
    report(f"attestor verify, a process each ({len(few)})", len(few), started, before)

    if program := cosign():
        started, before = time.perf_counter(), os.times()
        for name in few:
            blob = (program, "verify-blob")
            run(ask_cosign(directory, f"{name}.sigstore.json", blob, name))
        report(f"cosign verify-blob, a process each ({len(few)})", len(few), started, before)
    else:
        print("cosign: not to be had here")
    in_process(directory, names)


def in_process(directory: Path, names: Sequence[str]) -> None:
    """Verify all by sigstore-python, in this process."""
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    started, before = time.perf_counter(), os.times()
    root = TrustedRoot.from_file(str(directory / "trusted_root.json"))
    verifier, policy = Verifier(trusted_root=root), Identity(identity=IDENTITY, issuer=ISSUER)
    for name in names:
        bundle = Bundle.from_json((directory / f"{name}.sigstore.json").read_bytes())
        verifier.verify_artifact((directory / name).read_bytes(), bundle, policy)
    report("sigstore-python, in one process", len(names), started, before)


def report(who: str, count: int, started: float, before: os.times_result) -> None:
    """Print answers a second, and the processor time of each, children included."""
    seconds, after = time.perf_counter() - started, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    print(f"{who:46} {count / seconds:10.1f} {1e3 * cpu / count:15.1f}")


def write_release(directory: Path, instance: Instance, number: int) -> str:
    """Write a file and its bundle: P-256, Rekor v1 with promise and proof."""
    name = f"release-{number}.tgz"
    artifact = f"release {number}\n".encode() * 1000
    signed = instance.sign_artifact(
        ec.generate_private_key(ec.SECP256R1()), algorithm="sha256", artifact=artifact
    )
    digest = hashlib.sha256(artifact).digest()
    entry = instance.v1_log.add(canonical_json(hashedrekord_v1(signed, digest)), NOON)
    bundle: dict[str, Any] = instance.bundle(signed, entry, media_type=V2_TYPE, stamps=[])
    bundle["messageSignature"]["messageDigest"]["digest"] = base64(digest)
    (directory / name).write_bytes(artifact)
    (directory / f"{name}.sigstore.json").write_text(json.dumps(bundle))
    return name


def ask_attestor(directory: Path, bundle: str, artifact: str = "artifact") -> list[str]:
    """Return our command."""
    return [
        *ATTESTOR,
        *("--home", str(directory / "home"), "verify", str(directory / artifact)),
        *("--bundle", str(directory / bundle)),
        *("--trusted-root", str(directory / "trusted_root.json"), *SIGNER),
    ]


def ask_cosign(
    directory: Path, bundle: str, command: Sequence[str], artifact: str = "artifact"
) -> list[str]:
    """Return cosign's command."""
    return [
        *command,
        *("--bundle", str(directory / bundle)),
        *("--trusted-root", str(directory / "trusted_root.json"), *SIGNER),
        str(directory / artifact),
    ]


def cosign() -> str:
    """Return where cosign is; empty if nowhere."""
    program = Path(os.environ.get("ATTESTOR_VERIFICATION_PEERS") or "/nonexistent") / "cosign"
    return str(program) if program.exists() else ""


def run(command: Sequence[str]) -> Cost:
    """Run a command that has to end with 0."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"bench-verify: {' '.join(command)}: {said.decode()[-500:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(time.perf_counter() - started, cpu, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
