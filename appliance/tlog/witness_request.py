"""What a log asks of a witness, and what the witness answers (c2sp.org/tlog-witness).

    old DECIMAL LF
    (base64(hash) LF)*          (0 to 63 lines: consistency proof, RFC 6962 section 2.1.2)
    LF
    the checkpoint, a signed note

The answer is signature lines: cosignatures of that checkpoint.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Final

from appliance.errors import LimitError, MalformedError, SignatureError
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.merkle import Hash, as_hash
from appliance.tlog.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    NoteSignature,
    add_signatures,
    parse_note,
    verified_signatures,
)
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.strict_base64 import decode_base64
from appliance.value import frozen

MAX_PROOF_LINES: Final = 63
MAX_REQUEST_BYTES: Final = MAX_NOTE_BYTES + 45 * MAX_PROOF_LINES + 32
SIZE_TYPE: Final = "text/x.tlog.size"  # of the answer that names the size the witness is at
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@frozen
class WitnessRequest:
    """An add-checkpoint request. Nothing in it is verified."""

    old_size: int  # of the checkpoint that the witness cosigned last
    proof: tuple[Hash, ...]  # from the old size to the checkpoint's
    note: bytes

    def __bytes__(self) -> bytes:
        lines = [f"old {self.old_size}", *(b64encode(one).decode() for one in self.proof)]
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.note


def parse_witness_request(raw: bytes) -> WitnessRequest:
    """Parse a request; raises LimitError for one that is too long, MalformedError."""
    if len(raw) > MAX_REQUEST_BYTES:
        raise LimitError(f"a request has at most {MAX_REQUEST_BYTES} bytes, this has {len(raw)}")
    head, blank, note = raw.partition(b"\n\n")
    try:
        old, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedError("witness request: its first lines are not ASCII") from error
    size = parse_size(old.removeprefix("old "))
    if not blank or not old.startswith("old ") or size is None:
        raise MalformedError(f"witness request: expected 'old SIZE', got {old[:80]!r}")
    if len(lines) > MAX_PROOF_LINES:
        raise MalformedError(
            f"witness request: expected at most {MAX_PROOF_LINES} proof lines, got {len(lines)}"
        )
    proof = tuple(as_hash(decode_base64(line, "proof hash")) for line in lines)
    return WitnessRequest(size, proof, note)


def parse_size(text: str) -> int | None:
    """Return a tree size from its one spelling; None if it is none."""
    found = int(text) if _SIZE.fullmatch(text) else None
    return found if found is not None and found < 2**63 else None


def parse_size_answer(raw: bytes) -> int | None:
    """Return the size that a witness says it is at; None if its answer is no such thing."""
    return parse_size(raw[:32].decode("ascii", "replace").removesuffix("\n"))


def cosignature_of(
    checkpoint: SignedCheckpoint, answer: bytes, witness: VerifierKey
) -> NoteSignature:
    """Return the cosignature of `witness` in an answer, verified; other lines are ignored.

    Raises MalformedError if the answer is not signature lines, SignatureError if none is the
    witness's (unknown-signer) or its own does not verify.
    """
    text = parse_note(checkpoint.note).text
    note = parse_note(text.encode() + b"\n" + answer)
    if note.text != text:
        raise MalformedError("answer of a witness: expected signature lines, got more")
    found = verified_signatures(note, [witness])
    if not found:
        names = ", ".join(signature.name for signature in note.signatures)
        raise SignatureError(
            f"answer of a witness: expected a line of {witness.name}, got {names[:200]!r}",
            reason="unknown-signer",
        )
    return found[0][1]


def with_cosignatures(
    checkpoint: SignedCheckpoint, cosignatures: list[NoteSignature]
) -> SignedCheckpoint:
    """Append verified cosignatures to a checkpoint's note, each line once, as many as may be."""
    note = parse_note(checkpoint.note)
    lines = list(dict.fromkeys([*note.signatures, *cosignatures]))[:MAX_SIGNATURES]
    return SignedCheckpoint(
        checkpoint.checkpoint, add_signatures(note.text, lines), checkpoint.signers
    )
