"""Roots and proofs by golang.org/x/mod, which nobody here wrote (oracle/main.go)."""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from tests.interop.rekor_server import peer


@dataclass(frozen=True, slots=True)
class OracleAnswer:
    """One tree's root, and a proof for each question in the order they were asked."""

    root_hash: bytes
    inclusion: list[list[bytes]]
    consistency: list[list[bytes]]


def ask_go(
    entries: Sequence[bytes],
    inclusion: Sequence[tuple[int, int]],  # entry index, tree size
    consistency: Sequence[tuple[int, int]],  # smaller size, larger size
) -> OracleAnswer:
    """Ask for the root over `entries` and for proofs in its trees."""
    leaf_hashes = [b64encode(sha256(b"\x00" + entry).digest()).decode() for entry in entries]
    questions = {"LeafHashes": leaf_hashes, "Inclusion": inclusion, "Consistency": consistency}
    ran = subprocess.run(
        [peer("proof-oracle")],
        input=json.dumps(questions).encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    answer = json.loads(ran.stdout)
    return OracleAnswer(
        b64decode(answer["RootHash"]),
        [_hashes(proof) for proof in answer["Inclusion"] or []],
        [_hashes(proof) for proof in answer["Consistency"] or []],
    )


def _hashes(proof: list[str] | None) -> list[bytes]:  # Go writes an empty slice as null
    return [b64decode(one) for one in proof or []]
