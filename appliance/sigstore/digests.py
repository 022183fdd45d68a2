"""Which digests of the artifact a verification needs, and the ones we have.

The file is hashed once, streaming, by the caller, with every algorithm that
digests_needed names. A digest given instead of a file serves only its own algorithm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from appliance.errors import IncompleteError, RefusedError, VerificationError
from appliance.rekor.entry import Digest
from appliance.rekor.signing_algorithms import DIGEST_BYTES
from appliance.sigstore.dsse import DsseEnvelope, parse_statement
from appliance.sigstore.sigstore_bundle import SigstoreBundle
from appliance.value import frozen

_ARGUMENT: Final = re.compile(r"(sha256|sha384|sha512):([0-9a-fA-F]+)")


@frozen
class ArtifactDigests:
    """Raw digests of one artifact, by algorithm: sha256, sha384, sha512."""

    by_algorithm: Mapping[str, bytes]

    def __post_init__(self) -> None:
        if not self.by_algorithm:
            raise ValueError("an artifact is known by at least one digest")
        for algorithm, value in self.by_algorithm.items():
            Digest(algorithm, value)

    def get(self, algorithm: str) -> Digest:
        """Return one digest; raises IncompleteError (digest-algorithm) if we lack it."""
        if algorithm not in self.by_algorithm:
            held = ", ".join(self.by_algorithm)
            raise IncompleteError(
                f"the signature is over the artifact's {algorithm} digest; we hold only {held}",
                reason="digest-algorithm",
                next_step="give the file itself instead of a digest",
            )
        return Digest(algorithm, self.by_algorithm[algorithm])

    def __str__(self) -> str:
        return ", ".join(f"{name}:{raw.hex()}" for name, raw in self.by_algorithm.items())


def parse_digest_argument(text: str) -> ArtifactDigests | None:
    """Parse sha256: and 64 hex digits, sha384: and 96, sha512: and 128; None if it is none."""
    found = _ARGUMENT.fullmatch(text)
    if found is None or len(found[2]) != 2 * DIGEST_BYTES[found[1]]:
        return None
    return ArtifactDigests({found[1]: bytes.fromhex(found[2])})


def digests_needed(bundle: SigstoreBundle) -> frozenset[str]:
    """Return the algorithms to hash the artifact with for this bundle.

    Never empty, and never an error: what is wrong with the bundle, verifying says.
    """
    if isinstance(bundle.content, DsseEnvelope):
        try:
            subjects = parse_statement(bundle.content).subjects
        except (VerificationError, RefusedError):
            subjects = ()
        named = frozenset(name for subject in subjects for name in subject.digests)
        return named or frozenset({"sha256"})
    if bundle.content.digest is not None:
        return frozenset({bundle.content.digest.algorithm})
    return frozenset(DIGEST_BYTES)  # without a hint only the key decides
