"""P1 to P3: starts, one verification, many verifications."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from scripts.measures.shape import (
    PYTHON,
    ROOT,
    Bench,
    Cost,
    Value,
    attestor,
    cpu,
    in_turns,
    run,
    skipped,
)

# The same setting as the tests have.
CORPUS = Path(os.environ.get("ATTESTOR_REFERENCE_DATA") or ROOT.parent / "shared") / "corpus"
CASES = CORPUS / "sigstore-conformance" / "test" / "assets" / "bundle-verify"
PRODUCTION_ROOT = CORPUS / "root-signing" / "trusted_root.json"
IDENTITY = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/"
    "workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
ISSUER = "https://token.actions.githubusercontent.com"
KEYLESS = ("--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER)
V1 = "happy-path-v0.3-new-mediaType"
EMPTY = "python -c pass"
NO_CORPUS = f"{CORPUS} is not here"


def verify(case: str, *signer: str) -> list[str]:
    """Return the arguments that verify one case of the conformance suite."""
    own_root = CASES / case / "trusted_root.json"
    root = own_root if own_root.exists() else PRODUCTION_ROOT
    return [
        *("--home", "/nonexistent", "verify", str(CASES / "a.txt")),
        *("--bundle", str(CASES / case / "bundle.sigstore.json"), "--trusted-root", str(root)),
        *signer,
    ]


def _ratios(
    bench: Bench, commands: dict[str, list[str]], targets: dict[str, tuple[float, float]]
) -> Iterator[Value]:
    """Yield the processor time of each command as a multiple of an empty Python."""
    rounds = 5 if bench.short else 15
    todo: dict[str, Callable[[], Cost]] = {EMPTY: partial(run, [PYTHON, "-c", "pass"])}
    todo |= {name: partial(run, words) for name, words in commands.items()}
    costs = in_turns(rounds, todo)
    base = cpu(costs[EMPTY])
    for name in commands:
        full, short = targets.get(name, (None, None))
        bound = None if full is None else bench.bound(full, short)
        yield Value(name, cpu(costs[name]) / base, "x", bound, note=f"CPU of {EMPTY}")


def starting(bench: Bench) -> Iterator[Value]:
    """P1: what it takes to say something."""
    commands = {
        "--version": attestor("--version"),
        "--help": attestor("--help"),
        "verify --help": attestor("verify", "--help"),
    }
    yield from _ratios(
        bench,
        commands,
        {"--version": (4.5, 1.1), "--help": (4.5, 4.0), "verify --help": (4.5, 4.2)},
    )


def one(bench: Bench) -> Iterator[Value]:
    """P2: one verification in a fresh process."""
    if not CASES.is_dir():
        yield skipped("verify", NO_CORPUS)
        return
    key = str(CASES / "managed-key-happy-path" / "key.pub")
    commands = {
        "verify, managed key": attestor(*verify("managed-key-happy-path", "--key", key)),
        "verify, keyless v1": attestor(*verify(V1, *KEYLESS)),
        "verify, keyless v2": attestor(*verify("rekor2-happy-path", *KEYLESS)),
    }
    targets = {
        "verify, managed key": (7.5, 7.9),
        "verify, keyless v1": (9.5, 7.9),
        "verify, keyless v2": (10.0, 8.2),
    }
    ours = list(_ratios(bench, commands, targets))
    yield from ours
    if bench.short:
        return
    bundle, artifact = str(CASES / V1 / "bundle.sigstore.json"), str(CASES / "a.txt")
    sigstore = [
        *(str(ROOT / ".venv" / "bin" / "sigstore"), "verify", "identity", "--offline"),
        *("--cert-identity", IDENTITY, "--cert-oidc-issuer", ISSUER, "--bundle", bundle, artifact),
    ]
    peers = {"sigstore verify identity --offline": (sigstore, 0.22)}
    if cosign := bench.peers.get("cosign"):
        words = [
            *(cosign, "verify-blob", "--new-bundle-format", "--offline", *KEYLESS),
            *("--trusted-root", str(PRODUCTION_ROOT), "--bundle", bundle, artifact),
        ]
        peers["cosign verify-blob --offline"] = (words, 2.8)
    else:
        yield skipped("verify beside cosign", "scripts/verification-peers built none")
    for name, (words, target) in peers.items():
        us = partial(run, commands["verify, keyless v1"])
        costs = in_turns(9, {"ours": us, name: partial(run, words)})
        yield Value(
            "verify, keyless v1", cpu(costs["ours"]) / cpu(costs[name]), "x", target, note=name
        )


def many(bench: Bench) -> Iterator[Value]:
    """P3: a warm batch of the CPython release bundles, the first pass of each."""
    if not CASES.is_dir():
        yield skipped("warm batch", NO_CORPUS)
        return
    from sigstore.hashes import HashAlgorithm, Hashed  # type: ignore[attr-defined]
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
    if bench.short:
        cases = cases[:60]
    ours_root = parse_trusted_root(PRODUCTION_ROOT.read_bytes())
    verifier = Verifier(trusted_root=TrustedRoot.from_file(str(PRODUCTION_ROOT)))
    spent = [0.0, 0.0]
    for digest, raw, expected in cases:  # in turns, so that load falls on both alike
        started = time.process_time()
        digests = ArtifactDigests({"sha256": digest})
        verify_bundle(parse_sigstore_bundle(raw), digests, expected, ours_root)
        between = time.process_time()
        hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest)
        policy = Identity(identity=expected.identity, issuer=expected.issuer)
        verifier.verify_artifact(hashed, Bundle.from_json(raw), policy)
        spent[0] += between - started
        spent[1] += time.process_time() - between
    bound = bench.bound(1.0, 1.18)
    note = f"CPU of sigstore-python in process, {len(cases)} bundles"
    yield Value("warm batch, first pass", spent[0] / spent[1], "x", bound, note=note)
    yield from _lines(bench)


def _lines(bench: Bench) -> Iterator[Value]:
    """Measure `verify --from-file -` by what a line more costs."""
    home = bench.directory / "no-home"
    bundle = CASES / V1 / "bundle.sigstore.json"
    line = f"{CASES / 'a.txt'}\t{bundle}\n"
    costs = {}
    for count in (1, 101):
        listed = bench.directory / f"lines-{count}"
        listed.write_text(line * count)
        words = ("--home", home, "verify", "--from-file", listed, "--jsonl")
        root = ("--trusted-root", PRODUCTION_ROOT)
        costs[count] = min(run(attestor(*words, *root, *KEYLESS)).cpu for _ in range(2))
    each = (costs[101] - costs[1]) / 100
    cosign = bench.peers.get("cosign")
    if cosign is None or bench.short:
        yield Value("verify --from-file -, a line", each * 1e3, "ms of CPU")
        return
    blob = [cosign, "verify-blob", "--new-bundle-format", "--offline", *KEYLESS]
    blob += ["--trusted-root", str(PRODUCTION_ROOT), "--bundle", str(bundle), str(CASES / "a.txt")]
    theirs = min(run(blob).cpu for _ in range(5))
    yield Value("verify --from-file -, a line", each / theirs, "x", 0.1, note="a cosign process")
