"""Transparency log proofs: one file proves one entry, offline (c2sp.org/tlog-proof).

    c2sp.org/tlog-proof@v1
    extra BASE64            (left out if there is none; nobody signed it)
    index DECIMAL
    BASE64 HASH             (as many as there are, leaf sibling first)
                            (an empty line)
    the checkpoint, a signed note, byte for byte

Parsing believes nothing; verifying takes the leaf and the log's keys from the caller.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from appliance.errors import LimitError, MalformedError
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.merkle import HASH_BYTES, MAX_TREE_SIZE, Hash, as_hash
from appliance.tlog.note import MAX_NOTE_BYTES
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.proof import verify_inclusion
from appliance.tlog.strict_base64 import decode_base64
from appliance.value import frozen

MAX_PROOF_HASHES: Final = 63  # the height of the largest tree
MAX_EXTRA_BYTES: Final = 64 * 1024
MAX_TLOG_PROOF_BYTES: Final = MAX_NOTE_BYTES + 2 * MAX_EXTRA_BYTES
_FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"


@frozen
class TlogProof:
    """A proof that parsed. Nothing is verified, and `extra` never can be."""

    entry_index: int  # 0..2^63-2
    hashes: tuple[Hash, ...]  # inclusion proof, leaf sibling first, at most 63
    note: bytes  # the signed checkpoint, byte for byte
    extra: bytes = b""  # opaque, at most 64 KiB, authenticated by nobody

    def __post_init__(self) -> None:
        if not 0 <= self.entry_index < MAX_TREE_SIZE:
            raise ValueError(f"no tree has a leaf {self.entry_index}")
        if len(self.hashes) > MAX_PROOF_HASHES or len(self.extra) > MAX_EXTRA_BYTES:
            raise ValueError(
                f"an inclusion proof has at most {MAX_PROOF_HASHES} hashes and {MAX_EXTRA_BYTES} "
                f"bytes of extra data, this has {len(self.hashes)} and {len(self.extra)}"
            )
        if any(len(one) != HASH_BYTES for one in self.hashes) or not self.note:
            raise ValueError("a proof has hashes of 32 bytes and a checkpoint")

    def __bytes__(self) -> bytes:
        extra = [f"extra {b64encode(self.extra).decode()}"] if self.extra else []
        hashes = [b64encode(one).decode() for one in self.hashes]
        lines = [_FIRST_LINE, *extra, f"index {self.entry_index}", *hashes, ""]
        return "".join(line + "\n" for line in lines).encode() + self.note


def parse_tlog_proof(raw: bytes) -> TlogProof:
    """Parse a proof, believing none of it.

    Raises LimitError if it is over 384 KiB, MalformedError unless `raw` is the one
    spelling of its proof. What follows the empty line is not looked at.
    """
    if len(raw) > MAX_TLOG_PROOF_BYTES:
        raise LimitError(f"a proof has at most {MAX_TLOG_PROOF_BYTES} bytes, this has {len(raw)}")
    head, _, note = raw.partition(b"\n\n")
    first, *lines = head.decode("ascii", errors="replace").split("\n")
    if first != _FIRST_LINE:
        raise MalformedError(f"not a proof: expected {_FIRST_LINE!r}, got {first[:80]!r}")
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "), "extra data of the proof")
    if not lines or not lines[0].startswith("index "):
        raise MalformedError(f"not a proof: expected an index, got {lines[:1]!r:.80}")
    index = lines.pop(0).removeprefix("index ")
    hashes = tuple(as_hash(decode_base64(line, "hash of the proof")) for line in lines)
    try:
        proof = TlogProof(int(index), hashes, note, extra)
    except ValueError as error:
        raise MalformedError(f"not a proof ({error})") from error
    if bytes(proof) != raw:
        raise MalformedError(f"not a proof in its one spelling: index {index[:80]!r}")
    return proof


def verify_tlog_proof(
    proof: TlogProof, leaf: Hash, keys: Sequence[VerifierKey], origin: str
) -> SignedCheckpoint:
    """Verify that the log `origin`, by one of `keys`, holds `leaf` where the proof says.

    Returns the checkpoint, whose cosignatures are the caller's to judge. Raises
    ProofError if the proof does not lead to its root, and what open_checkpoint raises.
    """
    checkpoint = open_checkpoint(proof.note, keys, origin)
    verify_inclusion(proof.entry_index, leaf, checkpoint.head, proof.hashes)
    return checkpoint
