"""RSA keys that are made to be slow: a public exponent nearly as long as the modulus.

Verifying costs by its bits: a hundred times as much with a key of 3,072 bits. Exponents below 3
and even ones do not load as keys at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

MAX_BITS: Final = 31  # as Go's crypto/rsa takes; nearly all keys have 65537


def long_exponent(key: RSAPublicKey) -> str:
    """Say what a key is that nothing here verifies with; empty for any other."""
    bits = key.public_numbers().e.bit_length()
    if bits <= MAX_BITS:
        return ""
    return f"RSA with a public exponent of {bits:,} bits (at most {MAX_BITS})"
