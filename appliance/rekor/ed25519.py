"""Verifying Ed25519 over what is hashed already: Ed25519ph, and Ed25519 of a long file (RFC 8032).

`cryptography` has neither the prehashed variant nor a way to feed a message piece by piece.
Nothing here is secret, so nothing here takes constant time. The equation is the one without
the cofactor, and the point R is compared as bytes, as Go and OpenSSL do.
"""

from __future__ import annotations

from hashlib import sha512
from typing import Final

from appliance.errors import SignatureError

SIGNATURE_BYTES: Final = 64
KEY_BYTES: Final = 32
_P: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE: Final = pow(2, (_P - 1) // 4, _P)
_PREHASH_DOMAIN: Final = b"SigEd25519 no Ed25519 collisions\x01\x00"  # flag 1, no context

# X, Y, Z, T with x = X/Z, y = Y/Z, x*y = T/Z (RFC 8032 5.1.4)
_Point = tuple[int, int, int, int]
_NEUTRAL: Final[_Point] = (0, 1, 1, 0)


def challenge_prefix(key: bytes, signature: bytes) -> bytes:
    """Return what stands before the message in the hash of pure Ed25519: R and the key."""
    return signature[:KEY_BYTES] + key


def verify_hashed(key: bytes, signature: bytes, hashed: bytes) -> bool:
    """Whether a pure signature verifies; `hashed` is SHA-512 of challenge_prefix and message."""
    return _verify(key, signature, hashed)


def verify_prehashed(key: bytes, signature: bytes, digest: bytes) -> bool:
    """Whether an Ed25519ph signature, with no context, verifies; `digest` is SHA-512's."""
    prefix = _PREHASH_DOMAIN + challenge_prefix(key, signature)
    return _verify(key, signature, sha512(prefix + digest).digest())


def check_signature_length(signature: bytes) -> None:
    """Raise SignatureError (reason bad-signature) unless it can be a signature of such a key."""
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureError(
            f"a signature of {len(signature)} bytes is not one of an Ed25519 key:"
            " another key made it",
            reason="bad-signature",
        )


def _verify(key: bytes, signature: bytes, challenge: bytes) -> bool:
    if len(signature) != SIGNATURE_BYTES or len(key) != KEY_BYTES:
        return False
    scalar = int.from_bytes(signature[KEY_BYTES:], "little")
    public = _decode(key)
    if scalar >= _ORDER or public is None:
        return False
    x, y, z, t = public
    negated = (-x % _P, y, z, -t % _P)
    factor = int.from_bytes(challenge, "little") % _ORDER
    return _encode(_combine(scalar, _BASE, factor, negated)) == signature[:KEY_BYTES]


def _decode(raw: bytes) -> _Point | None:
    """Decode a point (RFC 8032 5.1.3); None unless `raw` is the one spelling of one."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    sign = raw[-1] >> 7
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if (v * x * x - u) % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
        if (v * x * x - u) % _P:
            return None
    if x == 0 and sign:
        return None
    if x & 1 != sign:
        x = _P - x
    return (x, y, 1, x * y % _P)


def _encode(point: _Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, -1, _P)
    x, y = x * inverse % _P, y * inverse % _P
    return (y | (x & 1) << 255).to_bytes(KEY_BYTES, "little")


def _combine(one: int, point: _Point, other: int, second: _Point) -> _Point:
    """Return one*point + other*second, in one pass over the bits of both."""
    sums = {(0, 1): second, (1, 0): point, (1, 1): _add(point, second)}
    found = _NEUTRAL
    for bit in range(max(one.bit_length(), other.bit_length()) - 1, -1, -1):
        found = _add(found, found)
        chosen = sums.get((one >> bit & 1, other >> bit & 1))
        if chosen is not None:
            found = _add(found, chosen)
    return found


def _add(left: _Point, right: _Point) -> _Point:
    """Add two points; complete, so it doubles as well."""
    a = (left[1] - left[0]) * (right[1] - right[0]) % _P
    b = (left[1] + left[0]) * (right[1] + right[0]) % _P
    c = 2 * left[3] * right[3] * _D % _P
    d = 2 * left[2] * right[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _base() -> _Point:
    point = _decode((4 * pow(5, -1, _P) % _P).to_bytes(KEY_BYTES, "little"))
    if point is None:  # never: RFC 8032 5.1 says which point it is
        raise AssertionError("the base point is on the curve")
    return point


_BASE: Final = _base()
