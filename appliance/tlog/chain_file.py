"""An exported journal: JSON Lines that need no store to be checked.

Each line but the last wraps the very bytes that the chain is made of,

    {"digest":"<64 hex digits>","line":{"at":…,"details":{…},"event":"…","id":…}}

and the last carries the end of the chain as a note (c2sp.org/signed-note) by the site's key:

    {"head":"attestor-journal/v1\\nsite <name>\\nlines <n>\\ndigest <64 hex digits>\\n\\n— …\\n"}

The bytes between `"line":` and the last brace are hashed as they stand, never read and
written again: whoever has sha256sum can check one. What the events mean is not known here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from appliance.errors import DigestError, IncompleteError, MalformedError, ProofError
from appliance.tlog.hash_chain import START, link
from appliance.tlog.merkle import Hash
from appliance.tlog.note import open_note, parse_note
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

MAGIC: Final = "attestor-journal/v1"
MAX_LINE_BYTES: Final = 4 * 1024 * 1024
_LINE: Final = re.compile(
    rb'\{"digest":"([0-9a-f]{64})","line":'
    rb'(\{"at":\d{1,18},"details":\{.*\},"event":"[!#-~]+","id":([1-9]\d{0,17})\})\}'
)
_HEAD_START: Final = b'{"head":'
_HEAD_TEXT: Final = re.compile(
    rf"{MAGIC}\nsite ([^\s]+)\nlines (0|[1-9]\d{{0,17}})\ndigest ([0-9a-f]{{64}})\n"
)


@frozen
class ChainHead:
    """What a site says of its journal."""

    site: str
    n_lines: int
    digest: Hash

    def __str__(self) -> str:
        """The text that is signed."""
        return f"{MAGIC}\nsite {self.site}\nlines {self.n_lines}\ndigest {self.digest.hex()}\n"


@frozen
class CheckedChain:
    """An exported journal whose every line follows from the one before it."""

    head: ChainHead
    signers: tuple[VerifierKey, ...]  # who signed the head, of the keys that were given
    digests: tuple[Hash, ...]  # after each line, in order


def format_chain(lines: Iterable[tuple[bytes, Hash]], head_note: bytes) -> Iterator[bytes]:
    """Yield the lines of the file, each with its newline; `lines` are texts and digests."""
    for text, digest in lines:
        yield b'{"digest":"%s","line":%s}\n' % (digest.hex().encode(), text)
    yield json.dumps({"head": head_note.decode()}, separators=(",", ":")).encode() + b"\n"


def verify_chain(lines: Iterable[bytes], keys: Sequence[VerifierKey]) -> CheckedChain:
    """Recompute an exported chain from its lines, as a file is read: each with its newline.

    Without `keys` the head's signature is not verified, and it says so by naming no signer.
    Raises MalformedError for what is no such line, DigestError at the first line that does
    not follow from the one before it, IncompleteError if the signed head is missing,
    ProofError if it is another than the lines lead to, SignatureError as open_note does.
    """
    digest, digests = START, list[Hash]()
    reading = iter(lines)
    for raw in reading:
        number = len(digests) + 1
        if raw.startswith(_HEAD_START):
            if next(reading, None) is not None:
                raise MalformedError(f"line {number + 1}: there is more after the signed head")
            return _checked(raw, keys, tuple(digests), digest)
        match = _LINE.fullmatch(raw.removesuffix(b"\n")) if raw.endswith(b"\n") else None
        if match is None:
            raise MalformedError(f"line {number}: not a line of a journal: {raw[:80]!r}")
        claimed, text, counted = match.groups()
        if int(counted) != number:
            raise DigestError(
                f"line {number}: expected the line of that number, got {int(counted)}: lines"
                " were left out, put in or moved",
                reason="journal-broken",
            )
        digest = link(digest, text)
        if digest.hex().encode() != claimed:
            raise DigestError(
                f"line {number}: its digest should be {digest.hex()}, the file says"
                f" {claimed.decode()}: it, or its digest, was changed",
                reason="journal-broken",
            )
        digests.append(digest)
    raise IncompleteError(
        f"the file ends after {len(digests)} lines without its signed head",
        reason="no-head",
        next_step="it was cut off: export it again, or copy it again",
    )


def _checked(
    raw: bytes, keys: Sequence[VerifierKey], digests: tuple[Hash, ...], digest: Hash
) -> CheckedChain:
    number = len(digests) + 1
    value = parse_json(raw, f"line {number}", MAX_LINE_BYTES)
    note = value.get("head") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(note, str):
        raise MalformedError(f"line {number}: not the signed head of a journal")
    opened = open_note(note.encode(), keys) if keys else None
    text = opened.text if opened else parse_note(note.encode()).text
    match = _HEAD_TEXT.fullmatch(text)
    if match is None:
        raise MalformedError(f"line {number}: not the head of a journal: {text[:80]!r}")
    head = ChainHead(match[1], int(match[2]), Hash(bytes.fromhex(match[3])))
    if (head.n_lines, head.digest) != (len(digests), digest):
        raise ProofError(
            f"the signed head: expected {head.n_lines} lines that end in {head.digest.hex()},"
            f" got {len(digests)} that end in {digest.hex()}",
            reason="journal-broken",
        )
    return CheckedChain(head, opened.signers if opened else (), digests)
