"""Checkpoints: what a log says about its tree, signed (c2sp.org/tlog-checkpoint).

    origin LF tree size LF base64(root hash) LF (extension line LF)*

Two checkpoints are the same if origin, size and root are; their bytes may differ
(fresh cosignatures, a freeze line, randomised ECDSA).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from appliance.errors import MalformedError, RefusedError, SignatureError
from appliance.tlog.merkle import TreeHead, as_hash
from appliance.tlog.note import open_note
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.strict_base64 import decode_base64
from appliance.value import frozen

_MAX_SIZE_DIGITS: Final = 19  # of 2^63 - 1
_FREEZE_START: Final = "Log frozen \N{EM DASH} "


@frozen
class Checkpoint:
    """The parsed statement. str() gives the note text it was parsed from."""

    origin: str
    head: TreeHead
    extensions: tuple[str, ...] = ()  # lines, opaque but signed

    def __str__(self) -> str:
        root = b64encode(self.head.root_hash).decode()
        lines = [self.origin, str(self.head.tree_size), root, *self.extensions]
        return "".join(line + "\n" for line in lines)

    @property
    def frozen(self) -> str:
        """When the log says it was frozen (Go's UnixDate), or an empty string."""
        for line in self.extensions:
            if line.startswith(_FREEZE_START):
                return line.removeprefix(_FREEZE_START)
        return ""


@frozen
class SignedCheckpoint:
    """A checkpoint that a key of its log signed."""

    checkpoint: Checkpoint
    note: bytes  # byte for byte, all signature lines
    signers: tuple[VerifierKey, ...]  # known keys that signed, in order

    @property
    def origin(self) -> str:
        """The log's identity."""
        return self.checkpoint.origin

    @property
    def head(self) -> TreeHead:
        """Size and root."""
        return self.checkpoint.head


def parse_checkpoint(text: str) -> Checkpoint:
    """Parse a note text into a checkpoint.

    Raises MalformedError unless `text` is the one spelling of its checkpoint:
    signed bytes and parsed value must determine each other.
    """
    origin, *lines = text.removesuffix("\n").split("\n")
    if len(lines) < 2 or not origin or "" in lines:
        raise MalformedError(f"not a checkpoint: {text[:80]!r}")
    size, root, *extensions = lines
    if len(size) > _MAX_SIZE_DIGITS:
        raise MalformedError(f"not a checkpoint: {text[:80]!r}")
    try:
        head = TreeHead(int(size), as_hash(decode_base64(root, "root hash")))
    except ValueError as error:
        raise MalformedError(f"not a checkpoint ({error}): {text[:80]!r}") from error
    checkpoint = Checkpoint(origin, head, tuple(extensions))
    if str(checkpoint) != text:
        raise MalformedError(f"not a checkpoint: {text[:80]!r}")
    return checkpoint


def open_checkpoint(raw: bytes, keys: Sequence[VerifierKey], origin: str) -> SignedCheckpoint:
    """Open a signed checkpoint of the log `origin`.

    Raises SignatureError if no key of `keys` signed it or it is another log's (reason
    wrong-origin), MalformedError if it is not a checkpoint, RefusedError (retired-key) for a
    tree that is larger than when its signer was retired.
    """
    note = open_note(raw, keys)
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != origin:
        raise SignatureError(
            f"checkpoint of another log: expected origin {origin!r}, got {checkpoint.origin!r}",
            reason="wrong-origin",
        )
    _refuse_retired(checkpoint, note.signers)
    return SignedCheckpoint(checkpoint, raw, note.signers)


def _refuse_retired(checkpoint: Checkpoint, signers: Sequence[VerifierKey]) -> None:
    """Refuse a tree that only retired keys signed, beyond the size they were retired at."""
    sizes = [key.max_size for key in signers if key.max_size is not None]
    tree_size = checkpoint.head.tree_size
    if sizes and len(sizes) == len(signers) and tree_size > max(sizes):
        raise RefusedError(
            f"{checkpoint.origin}: its key {signers[0].key_id.hex()} was retired here at"
            f" {max(sizes):,} entries, and it signed a tree of {tree_size:,}",
            reason="retired-key",
            next_step="see 'attestor backend key list'; what is newer has to be signed by the log's"
            " new key",
        )
