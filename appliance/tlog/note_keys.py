"""The keys that sign notes: their ids, their text forms, what they verify (c2sp.org/signed-note).

A signer is known by its name and its key id together. How the id is made differs by kind
of key, and for Rekor v1 by the server's generation; nothing else in the project computes it.
"""

from __future__ import annotations

import enum
from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from appliance.errors import MalformedError, RefusedError
from appliance.imports import import_key_formats
from appliance.patterns import pattern
from appliance.tlog.foreign_files import PUBLIC_KEY, foreign_file, foreign_object
from appliance.tlog.ml_dsa import load_ml_dsa_44, signed_subtree
from appliance.tlog.rsa_exponent import long_exponent
from appliance.tlog.strict_base64 import decode_base64
from appliance.tlog.strict_json import check_encoding, parse_json
from appliance.value import frozen

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes


class KeyType(enum.Enum):
    """The type byte of a signed-note key."""

    ED25519 = 0x01
    ECDSA = 0x02
    COSIGNATURE = 0x04  # Ed25519 over a timestamped checkpoint
    ML_DSA_44 = 0x06  # over a timestamped subtree, by a log or a witness
    RSA = 0xFF  # rekor-tiles' own


ED25519_KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 4
MAX_NAME_BYTES: Final = 255  # of a key we enrol; what c2sp.org/tlog-cosignature can carry
COSIGNATURE_BYTES: Final = 8 + 64  # timestamp, Ed25519 signature
# The types whose signatures begin with a time, as a witness's have to.
COSIGNATURE_TYPES: Final = frozenset({KeyType.COSIGNATURE, KeyType.ML_DSA_44})
MAX_TIMESTAMP: Final = 2**63 - 1  # POSIX seconds
_SPKI_ED25519: Final = bytes.fromhex("302a300506032b6570032100")  # DER up to the raw key
_SPKI_ML_DSA_44: Final = bytes.fromhex("30820532300b06096086480165030403110382052100")
_PUBLIC_BLOCK: Final = pattern(rb"-----BEGIN (?:RSA )?PUBLIC KEY-----[^-]*")
_RSA_LABEL: Final = b"PKIX-RSA-PKCS#1v1.5"
_PRIME: Final = 2**255 - 19
_ORDER_8_Y: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# y coordinates of the eight points of low order: under such a key anybody can sign.
_LOW_ORDER_Y: Final = frozenset({0, 1, _PRIME - 1, _ORDER_8_Y, _PRIME - _ORDER_8_Y})


@frozen
class VerifierKey:
    """A key whose signature lines we believe. Make one with the functions of this module."""

    name: str  # as on its signature lines
    key_type: KeyType
    key: bytes  # raw for Ed25519, cosignatures and ML-DSA, else SubjectPublicKeyInfo DER
    log_id: bytes  # 32 bytes: the whole hash of which the key id is the start
    prehash: str = ""  # sha256, sha384 or sha512 for ECDSA and RSA
    max_size: int | None = None  # a log's key that was retired at that tree size; None: in force

    @property
    def key_id(self) -> bytes:
        """The four bytes that stand before each signature."""
        return self.log_id[:KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The one-line text form, name+id+key."""
        blob = b64encode(bytes([self.key_type.value]) + self.key).decode()
        return f"{self.name}+{self.key_id.hex()}+{blob}"

    @property
    def spki(self) -> bytes:
        """The key as SubjectPublicKeyInfo DER."""
        if self.key_type in (KeyType.ED25519, KeyType.COSIGNATURE):
            return _SPKI_ED25519 + self.key
        if self.key_type is KeyType.ML_DSA_44:
            return _SPKI_ML_DSA_44 + self.key
        return self.key

    def signed(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` (without the key id) is this key's over `text`.

        For a cosignature key `signature` starts with its timestamp, and `text` is the
        checkpoint's (cosignature.py).
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

        if self.key_type in COSIGNATURE_TYPES:
            timestamp = int.from_bytes(signature[:8])
            if timestamp > MAX_TIMESTAMP:
                return False
            if self.key_type is KeyType.ML_DSA_44:
                return signed_subtree(self.key, self.name, text, signature)
            if len(signature) != COSIGNATURE_BYTES:
                return False
            text, signature = cosigned_message(text, timestamp), signature[8:]
        prehash = {"sha384": hashes.SHA384, "sha512": hashes.SHA512}.get(
            self.prehash, hashes.SHA256
        )()
        try:
            key = load_spki(self.spki)
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, text)
            elif isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, text, ec.ECDSA(prehash))
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, text, padding.PKCS1v15(), prehash)
            else:
                return False
        except InvalidSignature:
            return False
        return True


def same_key(one: VerifierKey | bytes, other: VerifierKey | bytes) -> bool:
    """Whether two keys, or their SubjectPublicKeyInfo DER, are the same public key.

    This is what a signer is counted, revoked and given a role by: never a name, a key id or
    the text of a verifier key, which anybody can choose. A note key and a cosignature key of
    the same bytes are one key, and so are the keys of a Rekor v1 and a v2 log.
    """
    return _public_bytes(one) == _public_bytes(other)


def is_among(key: VerifierKey | bytes, keys: Iterable[VerifierKey | bytes]) -> bool:
    """Whether `keys` holds the same public key, under whatever name."""
    return any(same_key(key, other) for other in keys)


def distinct_keys(keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """Return each public key once, the first name it has, in order."""
    found: list[VerifierKey] = []
    for key in keys:
        if not is_among(key, found):
            found.append(key)
    return tuple(found)


def _public_bytes(key: VerifierKey | bytes) -> bytes:
    # Every key that is enrolled has one spelling as DER (_spki_key), so these are the key.
    return key if isinstance(key, bytes) else key.spki


def ml_dsa_44(name: str, raw: bytes) -> VerifierKey:
    """Make an ML-DSA-44 key, of a log or a witness; raises as load_ml_dsa_44 does."""
    _check_own_name(name)
    load_ml_dsa_44(raw)
    hashed = name.encode() + b"\n" + bytes([KeyType.ML_DSA_44.value]) + raw
    return VerifierKey(name, KeyType.ML_DSA_44, raw, sha256(hashed).digest())


def cosigned_message(text: bytes, timestamp: int) -> bytes:
    """Return what a witness signs: the checkpoint's text after two lines."""
    return f"cosignature/v1\ntime {timestamp}\n".encode() + text


def parse_vkey(text: str) -> VerifierKey:
    """Parse a verifier key line (name+id+base64).

    Raises MalformedError unless it is the one spelling of a key we can use, and its
    id is the hash of it.
    """
    try:
        name, key_id, encoded = text.split("+", 2)
    except ValueError as error:
        raise MalformedError(f"verifier key {text[:200]!r}: expected name+id+key") from error
    blob = decode_base64(encoded, f"verifier key {name[:80]!r}")
    kind, key = blob[:1], blob[1:]
    if kind in (b"\x01", b"\x04"):
        parsed = ed25519_key(name, key, KeyType(kind[0]))
    elif kind == b"\x06":
        parsed = ml_dsa_44(name, key)
    elif kind == b"\x02":
        parsed = _spki_key(name, key, hash_name=False)
        if parsed.key_type is not KeyType.ECDSA:
            raise MalformedError(f"verifier key {name!r}: type 2 is ECDSA, the key is not")
    else:
        raise MalformedError(
            f"verifier key {name[:80]!r}: expected type 1, 2, 4 or 6, got {kind.hex() or 'nothing'}"
        )
    if parsed.vkey != text:
        raise MalformedError(
            # Not which id it should be: whoever mistyped the key would put that in, and pin it.
            f"verifier key {name!r}: key id {key_id[:40]!r} is not that of this name and key",
            next_step="something in the line was mistyped or cut: copy the whole line again",
        )
    return parsed


def parse_stored_key(text: str) -> VerifierKey:
    """Parse the `vkey` of any key, also of those whose text form is of no standard.

    Those are RSA keys, and Ed25519 keys of Rekor v1. Raises MalformedError if it is none.
    """
    name, _, rest = text.partition("+")
    blob = decode_base64(rest.partition("+")[2], f"verifier key {name[:80]!r}")
    if blob[:1] == bytes([KeyType.COSIGNATURE.value]):
        return parse_vkey(text)
    ed25519 = blob[:1] == bytes([KeyType.ED25519.value])
    spki = _SPKI_ED25519 + blob[1:] if ed25519 else blob[1:]
    for key in (log_key(name, spki), rekor_v1_key(name, spki)):
        if key.vkey == text:
            return key
    raise MalformedError(f"verifier key {name!r}: key id is not that of this name and key")


def ed25519_key(name: str, raw: bytes, key_type: KeyType = KeyType.ED25519) -> VerifierKey:
    """Make a key from 32 raw bytes; raises MalformedError for a wrong length or low order."""
    _check_own_name(name)
    check_ed25519_key(raw, name)
    hashed = name.encode() + b"\n" + bytes([key_type.value]) + raw
    return VerifierKey(name, key_type, raw, sha256(hashed).digest())


def log_key(origin: str, spki: bytes) -> VerifierKey:
    """Make the key of a Rekor v2 log: an Ed25519 or RSA id hashes the origin, ECDSA does not."""
    return _spki_key(origin, spki, hash_name=True)


def rekor_v1_key(name: str, spki: bytes) -> VerifierKey:
    """Make the key of a Rekor v1 log: whatever the key, the id is SHA-256(SPKI)."""
    key = _spki_key(name, spki, hash_name=False)
    # v1 signs with SHA-256 on every curve.
    prehash = "sha256" if key.prehash else ""
    return VerifierKey(key.name, key.key_type, key.key, key.log_id, prehash)


def _spki_key(name: str, spki: bytes, *, hash_name: bool) -> VerifierKey:
    import_key_formats()
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    _check_own_name(name)
    key = load_spki(spki)
    if spki != key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        # Key ids and duplicates go by these bytes: one key, one spelling.
        raise MalformedError(f"key of {name!r} is not canonical SPKI DER: {spki[:24].hex()}")
    prefix = name.encode() + b"\n"
    bare_id = sha256(spki).digest()
    if isinstance(key, ed25519.Ed25519PublicKey):
        raw = key.public_bytes_raw()
        check_ed25519_key(raw, name)
        log_id = sha256(prefix + b"\x01" + raw).digest() if hash_name else bare_id
        return VerifierKey(name, KeyType.ED25519, raw, log_id)
    if spki.startswith(_SPKI_ML_DSA_44):
        made = ml_dsa_44(name, spki.removeprefix(_SPKI_ML_DSA_44))
        return made if hash_name else VerifierKey(name, made.key_type, made.key, bare_id)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVE_PREHASH:
        return VerifierKey(name, KeyType.ECDSA, spki, bare_id, _CURVE_PREHASH[key.curve.name])
    if isinstance(key, rsa.RSAPublicKey):
        if slow := long_exponent(key):
            raise RefusedError(f"key of {name!r}: {slow}", reason="unsupported-key")
        log_id = sha256(prefix + b"\xff" + _RSA_LABEL + spki).digest() if hash_name else bare_id
        return VerifierKey(name, KeyType.RSA, spki, log_id, "sha256")
    raise MalformedError(
        f"key of {name!r}: expected Ed25519, P-256, P-384, P-521, RSA or ML-DSA-44, "
        f"got {type(key).__name__}"
    )


_CURVE_PREHASH: Final = {"secp256r1": "sha256", "secp384r1": "sha384", "secp521r1": "sha512"}


@lru_cache(maxsize=256)  # a batch of a thousand bundles has a handful of keys
def load_spki(spki: bytes) -> PublicKeyTypes:
    """Load SubjectPublicKeyInfo DER; raises MalformedError if it is not that."""
    import_key_formats()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        return load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        begin = spki[:24].hex() or "nothing"
        raise MalformedError(f"not a public key (SPKI DER): {begin}") from error


def load_public_key_file(data: bytes) -> bytes:
    """Return the SPKI DER inside a PEM or DER public key file, re-encoded canonically.

    Text and other blocks before PEM are passed over. Raises RefusedError (other-file,
    text-encoding) for a file of another kind that is known, or of several keys (several-keys),
    MalformedError if it holds no public key.
    """
    check_encoding(data, "public key")
    blocks = _PUBLIC_BLOCK.findall(data)
    if len(set(blocks)) > 1:
        raise RefusedError(
            f"public key: expected one, got {len(blocks)} in one file",
            reason="several-keys",
            next_step="give each key a file of its own, and name the signer's",
        )
    begin = data.find(blocks[0] if blocks else b"-----BEGIN ")
    if begin > 0 and data[begin - 1 : begin] == b"\n":
        data = data[begin:]
    try:
        return _load_key_file(data)
    except MalformedError as error:
        raise foreign_file(data, PUBLIC_KEY) or _foreign_json(data) or error from error


def _foreign_json(data: bytes) -> RefusedError | None:
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        value = parse_json(data, "public key")
    except (MalformedError, RefusedError):
        return None
    return foreign_object(value, PUBLIC_KEY) if isinstance(value, dict) else None


def _load_key_file(data: bytes) -> bytes:
    import_key_formats()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_public_key,
    )

    if data.lstrip().startswith(b"-----BEGIN"):
        try:
            key = load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            label = data.lstrip()[len("-----") :].split(b"-----")[0][:40].decode("ascii", "replace")
            got = "a damaged one" if label == "BEGIN PUBLIC KEY" else repr(label)
            step = "its public half: openssl pkey -in KEY -pubout" if "PRIVATE" in label else ""
            raise MalformedError(
                f"not a PEM public key: expected BEGIN PUBLIC KEY, got {got}", next_step=step
            ) from error
    else:
        key = load_spki(data)
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def check_key_name(name: str) -> None:
    """Raise MalformedError unless `name` may stand on a signature line."""
    if not name or "+" in name or any(map(str.isspace, name)):
        raise MalformedError(f"not a key name (no spaces, no +): {name[:80]!r}")


def _check_own_name(name: str) -> None:
    """Of the keys we enrol, and print, ask more than of strangers' on a note."""
    check_key_name(name)
    if not name.isprintable():
        raise MalformedError(f"key name with unprintable characters: {name[:80]!r}")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise MalformedError(f"key name of over {MAX_NAME_BYTES} bytes: {name[:80]!r}")


def check_ed25519_key(raw: bytes, name: str) -> None:
    """Raise MalformedError unless `raw` is the one spelling of a key only one can sign with."""
    if len(raw) != ED25519_KEY_BYTES:
        raise MalformedError(f"key of {name!r}: expected 32 bytes, got {len(raw)}")
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y % _PRIME in _LOW_ORDER_Y:
        raise MalformedError(
            f"key of {name!r} has low order: anybody can sign for it", reason="low-order-key"
        )
    if y >= _PRIME:
        raise MalformedError(f"key of {name!r} is not a canonical Ed25519 key: {raw.hex()}")
