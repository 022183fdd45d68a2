"""Signed notes: parse, open, sign (c2sp.org/signed-note).

A note is a text ending in a newline, an empty line, and signature lines:

    text LF LF (— SP name SP base64(key id, 4 bytes || signature) LF)+

What is signed is the text with its last newline, without the empty line. Parsing
believes nothing; opening returns the text only if at least one key we know signed it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from appliance.errors import LimitError, MalformedError, RefusedError, SignatureError
from appliance.tlog.ml_dsa import ml_dsa_44_private, ml_dsa_44_seed
from appliance.tlog.note_keys import (
    KEY_ID_BYTES,
    MAX_NAME_BYTES,
    KeyType,
    VerifierKey,
    check_key_name,
    ed25519_key,
    is_among,
    ml_dsa_44,
)
from appliance.tlog.private_pem import load_private_pem
from appliance.tlog.strict_base64 import decode_base64
from appliance.value import frozen

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

MAX_NOTE_BYTES: Final = 256 * 1024
MAX_SIGNATURES: Final = 100
_SIGNATURE_START: Final = "\N{EM DASH} "
_SKEY_START: Final = "PRIVATE+KEY+"
_SIGNING_TYPES: Final = (KeyType.ED25519.value, KeyType.ML_DSA_44.value)


@frozen
class NoteSignature:
    """One signature line, not yet verified."""

    name: str
    key_id: bytes  # 4 bytes
    signature: bytes  # at least 1 byte, without the key id

    @property
    def line(self) -> str:
        """The line as it stands in a note, with its newline."""
        encoded = b64encode(self.key_id + self.signature).decode()
        return f"{_SIGNATURE_START}{self.name} {encoded}\n"


@frozen
class Note:
    """A note that parsed. Nothing is verified."""

    text: str  # ends in a newline
    signatures: tuple[NoteSignature, ...]  # in order, with those that repeat


@frozen
class OpenedNote:
    """A note that at least one known key signed."""

    text: str  # what was signed
    signers: tuple[VerifierKey, ...]  # the known keys that did, each once, in order
    raw: bytes  # the note byte for byte, unknown signatures included


def parse_note(raw: bytes) -> Note:
    """Parse a note, believing none of it.

    Raises LimitError if it is over 256 KiB or has over 100 signatures, and
    MalformedError unless it has the one form of a note.
    """
    if len(raw) > MAX_NOTE_BYTES:
        raise LimitError(f"a note has at most {MAX_NOTE_BYTES} bytes, this has {len(raw)}")
    try:
        whole = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"note is not UTF-8 at byte {error.start}") from error
    if _holds_control_character(whole):
        raise MalformedError("note holds a control character")
    text, _, block = whole.rpartition("\n\n")
    if not text or not block.endswith("\n"):
        raise MalformedError("note is not text, an empty line and signature lines")
    lines = block.removesuffix("\n").split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise LimitError(f"a note has at most {MAX_SIGNATURES} signatures, this has {len(lines)}")
    return Note(text + "\n", tuple(_parse_signature_line(line) for line in lines))


def _holds_control_character(text: str) -> bool:
    return min(text.replace("\n", " "), default=" ") < " "


def _parse_signature_line(line: str) -> NoteSignature:
    name, separator, encoded = line.removeprefix(_SIGNATURE_START).partition(" ")
    if not line.startswith(_SIGNATURE_START) or not separator:
        raise MalformedError(f"not a signature line: {line[:80]!r}")
    check_key_name(name)
    blob = decode_base64(encoded, f"signature of {name[:80]!r}")
    if len(blob) <= KEY_ID_BYTES:
        raise MalformedError(f"signature of {name[:80]!r} has only {len(blob)} bytes")
    return NoteSignature(name, blob[:KEY_ID_BYTES], blob[KEY_ID_BYTES:])


def open_note(raw: bytes, keys: Sequence[VerifierKey]) -> OpenedNote:
    """Open a note: return its text and which of `keys` signed it.

    A signature by a key we do not know is ignored; so is a second one by the same
    key. Raises SignatureError if a known key's signature does not verify (reason
    bad-signature) or none of the keys signed (reason unknown-signer), and
    MalformedError or LimitError as parse_note does.
    """
    note = parse_note(raw)
    signers = [key for key, _ in verified_signatures(note, keys)]
    if not signers:
        got = ", ".join(_identity(one.name, one.key_id) for one in note.signatures)
        expected = ", ".join(_identity(key.name, key.key_id) for key in keys)
        if not keys:
            raise SignatureError(
                f"signed by {got}, and there is no key to verify it with", reason="unknown-signer"
            )
        raise SignatureError(
            f"no key that counts here signed it: expected {expected}, got {got}",
            reason="unknown-signer",
            next_step="one of them is the wrong key: compare both over another channel",
        )
    return OpenedNote(note.text, tuple(signers), raw)


def verified_signatures(
    note: Note, keys: Sequence[VerifierKey]
) -> tuple[tuple[VerifierKey, NoteSignature], ...]:
    """Return the first signature of each of `keys` that signed, in the order of the note.

    One public key counts once, under however many names it is known and has signed. A
    signature by a key we do not know is ignored. Raises SignatureError (reason
    bad-signature) if a known key's does not verify.
    """
    signed_text = note.text.encode()
    by_identity: dict[tuple[str, bytes], list[VerifierKey]] = {}
    for key in keys:
        by_identity.setdefault((key.name, key.key_id), []).append(key)
    verified: list[tuple[VerifierKey, NoteSignature]] = []
    for signature in note.signatures:
        # Each identity counts once. Two keys of one identity are possible: four bytes collide.
        candidates = by_identity.pop((signature.name, signature.key_id), None)
        if candidates is None:
            continue
        for key in candidates:
            if key.signed(signed_text, signature.signature):
                if not is_among(key, (one for one, _ in verified)):
                    verified.append((key, signature))
                break
        else:
            raise SignatureError(
                f"signature of {_identity(signature.name, signature.key_id)} does not verify",
                reason="bad-signature",
            )
    return tuple(verified)


def has_signed(note: Note, key: VerifierKey) -> bool:
    """Whether this Ed25519 key signed a note, under whatever name its line has."""
    text = note.text.encode()
    return any(
        ed25519_key(line.name, key.key).key_id == line.key_id and key.signed(text, line.signature)
        for line in note.signatures
        if line.name.isprintable() and len(line.name.encode()) <= MAX_NAME_BYTES
    )


def _identity(name: str, key_id: bytes) -> str:
    """Name a signer in a message; a stranger's name is quoted, for it may move the cursor."""
    return f"{name if name.isprintable() else ascii(name)}+{key_id.hex()}"


def add_signatures(text: str, signatures: Sequence[NoteSignature]) -> bytes:
    """Join a text and its signatures to a note; raises ValueError if they cannot be one."""
    if not text.endswith("\n") or text == "\n":
        raise ValueError("a note's text ends in a newline")
    if _holds_control_character(text):
        raise ValueError("a note's text holds no control characters")
    if not signatures:
        raise ValueError("a note has at least one signature")
    return (text + "\n" + "".join(one.line for one in signatures)).encode()


@frozen
class SigningKey:
    """An Ed25519 key that signs notes. Never printed: its repr shows only the name.

    Or an ML-DSA-44 key, which cosigns checkpoints and signs no note.
    """

    name: str
    seed: bytes  # 32 bytes, secret
    key_type: KeyType = KeyType.ED25519  # or ML_DSA_44

    def __repr__(self) -> str:
        return f"SigningKey({self.name!r})"

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        raw = self._private.public_key().public_bytes_raw()
        if self.key_type is KeyType.ML_DSA_44:
            return ml_dsa_44(self.name, raw)
        return ed25519_key(self.name, raw)

    @property
    def _private(self) -> Ed25519PrivateKey | MLDSA44PrivateKey:
        if self.key_type is KeyType.ML_DSA_44:
            return ml_dsa_44_private(self.seed)
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def skey(self) -> str:
        """The secret one-line text form, PRIVATE+KEY+name+id+key."""
        blob = b64encode(bytes([self.key_type.value]) + self.seed).decode()
        return f"{_SKEY_START}{self.name}+{self.verifier.key_id.hex()}+{blob}"

    @property
    def pkcs8(self) -> bytes:
        """The secret as other programs read it: PKCS#8, PEM (RFC 8410, RFC 9881)."""
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, text: str) -> NoteSignature:
        """Sign a note text (which ends in a newline); raises RefusedError (key-role)."""
        if self.key_type is not KeyType.ED25519:
            raise RefusedError(
                f"the key {self.name!r} is an ML-DSA-44 key: it cosigns, and signs nothing else",
                reason="key-role",
            )
        return NoteSignature(self.name, self.verifier.key_id, self.sign_bytes(text.encode()))

    def sign_bytes(self, message: bytes) -> bytes:
        """Return the bare signature over `message`."""
        return self._private.sign(message)


def parse_pkcs8_key(name: str, pem: bytes, passphrase: bytes | None = None) -> SigningKey:
    """Parse an Ed25519 key in PKCS#8; raises as load_private_pem does, never quoting it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    wanted = "an Ed25519 private key in PEM (PKCS#8)"
    if passphrase is None:
        wanted = wanted.replace("an Ed25519", "an unencrypted Ed25519")
    private = load_private_pem(pem, passphrase, expected=wanted)
    if not isinstance(private, Ed25519PrivateKey):
        raise MalformedError(f"not {wanted}")
    return SigningKey(name, private.private_bytes_raw())


def parse_kept_key(name: str, pem: bytes, passphrase: bytes | None = None) -> SigningKey:
    """Parse a key of a home in PKCS#8, of either kind; raises as parse_pkcs8_key does."""
    private = load_private_pem(pem, passphrase, expected="a private key in PEM (PKCS#8)")
    seed = ml_dsa_44_seed(private)
    if seed is not None:
        return SigningKey(name, seed, KeyType.ML_DSA_44)
    return parse_pkcs8_key(name, pem, passphrase)


def parse_signing_key(text: str) -> SigningKey:
    """Parse a secret key line made by SigningKey.skey; raises MalformedError, never quoting it."""
    name, _, rest = text.removeprefix(_SKEY_START).partition("+")
    _, _, encoded = rest.partition("+")
    try:
        blob = decode_base64(encoded)
    except MalformedError:
        blob = b""
    if not text.startswith(_SKEY_START) or len(blob) != 33 or blob[0] not in _SIGNING_TYPES:
        raise MalformedError("not a private key line (expected PRIVATE+KEY+name+id+key)")
    key = SigningKey(name, blob[1:], KeyType(blob[0]))
    if key.skey != text:
        raise MalformedError("not a private key line: its key id does not match")
    return key


def sign_note(text: str, signers: Sequence[SigningKey]) -> bytes:
    """Sign `text` with each key and return the note."""
    return add_signatures(text, [signer.sign(text) for signer in signers])
