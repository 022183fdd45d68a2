"""Which digests of the artifact a verification needs, and which we have.

The file is hashed once, streaming, by the caller, with every algorithm that
digests_needed names. A digest given instead of a file serves only its own algorithm.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from appliance.errors import IncompleteError, MalformedError, RefusedError, VerificationError
from appliance.patterns import pattern
from appliance.rekor.ed25519 import challenge_prefix
from appliance.rekor.entry import Digest
from appliance.rekor.signing_algorithms import DIGEST_BYTES, check_digest_length
from appliance.rekor.x509_certificate import load_certificate
from appliance.sigstore.dsse import DsseEnvelope, parse_statement
from appliance.sigstore.identity import ExpectedSigner, ManagedKey
from appliance.sigstore.sigstore_bundle import SigstoreBundle
from appliance.tlog.note_keys import load_spki
from appliance.value import field, frozen

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_AFTER: Final = "sha512-after-"  # and a prefix in hex
_BY_LENGTH: Final = {2 * n_bytes: name for name, n_bytes in DIGEST_BYTES.items()}
_ARGUMENT: Final = pattern(r"(sha256|sha384|sha512):([0-9a-fA-F]+)")


@frozen
class ArtifactDigests:
    """Raw digests of one artifact, by algorithm: sha256, sha384, sha512."""

    by_algorithm: Mapping[str, bytes]
    # SHA-512 of each of these prefixes and the artifact, as pure Ed25519 hashes it.
    by_prefix: Mapping[bytes, bytes] = field(default_factory=dict)

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

    @property
    def named(self) -> dict[str, bytes]:
        """All digests under names, those after a prefix too; read_named reads them."""
        prefixed = {f"{_AFTER}{one.hex()}": raw for one, raw in self.by_prefix.items()}
        return {**self.by_algorithm, **prefixed}

    def __str__(self) -> str:
        return ", ".join(f"{name}:{raw.hex()}" for name, raw in self.by_algorithm.items())


def read_named(named: Mapping[str, bytes]) -> ArtifactDigests:
    """Read what ArtifactDigests.named wrote; raises MalformedError."""
    plain = {name: raw for name, raw in named.items() if not name.startswith(_AFTER)}
    prefixed = {name: raw for name, raw in named.items() if name.startswith(_AFTER)}
    try:
        for raw in prefixed.values():
            check_digest_length("sha512", raw)
        by_prefix = {bytes.fromhex(one.removeprefix(_AFTER)): prefixed[one] for one in prefixed}
        return ArtifactDigests(plain, by_prefix)
    except (ValueError, KeyError) as error:  # no hex, none, or of an algorithm that is none
        raise MalformedError(f"recorded digests: {error}") from error


def parse_digest_argument(text: str) -> ArtifactDigests | None:
    """Parse sha256: and 64 hex digits, sha384: and 96, sha512: and 128; None if it is none."""
    found = _ARGUMENT.fullmatch(text)
    if found is None or len(found[2]) != 2 * DIGEST_BYTES[found[1]]:
        return None
    return ArtifactDigests({found[1]: bytes.fromhex(found[2])})


def as_digest_argument(text: str) -> str:
    """Respell another tool's form of a digest as parse_digest_argument takes it; else empty.

    Bare hex as sha256sum prints it, upper-case names, npm's sha512-BASE64 (Subresource
    Integrity, 3.1), and an image by its digest.
    """
    text = text.rpartition("@")[2]
    name, colon, digits = text.partition(":")
    if not colon:
        name, digits = _BY_LENGTH.get(len(text), ""), text
    given = f"{name.lower()}:{digits}"
    if parse_digest_argument(given) is not None:
        return given
    name, _, encoded = text.partition("-")
    try:
        given = f"{name.lower()}:{b64decode(encoded, validate=True).hex()}"
    except ValueError:
        return ""
    return given if parse_digest_argument(given) is not None else ""


def prefixes_needed(bundle: SigstoreBundle, expected: ExpectedSigner) -> frozenset[bytes]:
    """Return what to hash before the artifact for a pure Ed25519 signature over it, if it is one.

    Never an error: what is wrong with the bundle or the key, verifying says.
    """
    key = _ed25519_key(bundle, expected)
    if key is None or isinstance(bundle.content, DsseEnvelope):
        return frozenset()
    return frozenset({challenge_prefix(key.public_bytes_raw(), bundle.content.signature)})


def _ed25519_key(bundle: SigstoreBundle, expected: ExpectedSigner) -> Ed25519PublicKey | None:
    """Return the key that has to have signed, if it is an Ed25519 key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        if isinstance(expected, ManagedKey):
            key = load_spki(expected.spki)
        else:
            key = load_certificate(bundle.certificate or b"", "signer's certificate").public_key()
    except VerificationError:
        return None
    return key if isinstance(key, Ed25519PublicKey) else None


def digests_needed(bundle: SigstoreBundle, expected: ExpectedSigner) -> frozenset[str]:
    """Return the algorithms to hash the artifact with for this bundle and signer.

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
        # An Ed25519 key signs SHA-512, whatever digest the bundle states beside it.
        signed = {"sha512"} if _ed25519_key(bundle, expected) is not None else set()
        return frozenset({bundle.content.digest.algorithm, *signed})
    return frozenset(DIGEST_BYTES)  # without a hint only the key decides
