"""What a log says last about one size: its newest note, with every signature seen for it.

A log may sign one tree head many times: with fresh cosignatures, and at the end with the
line that says it is frozen. The first note of a size is then true, and out of date.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.errors import SignatureError
from appliance.tlog.checkpoint import parse_checkpoint
from appliance.tlog.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    NoteSignature,
    add_signatures,
    parse_note,
    verified_signatures,
)
from appliance.tlog.note_keys import KeyType, VerifierKey


def newest_note(notes: Sequence[bytes], keys: Sequence[VerifierKey]) -> bytes:
    """Return what was said last in `notes`, which are of one tree head, oldest first.

    Text with the freeze line is the last word whenever it came; otherwise the last note's is.
    Signatures that `keys` made under that text in other notes are added, and of a witness
    that cosigned several times the newest stays. Raises ValueError if there are no notes.
    """
    if not notes:
        raise ValueError("no note was stored for this size")
    if len(notes) == 1:
        return notes[0]
    parsed = [parse_note(note) for note in notes]
    frozen = [note for note in parsed if parse_checkpoint(note.text).frozen]
    last = (frozen or parsed)[-1]
    same = [(raw, note) for raw, note in zip(notes, parsed, strict=True) if note.text == last.text]
    if len(same) == 1:
        return same[0][0]
    known = {(key.name, key.key_id): key for key in keys}
    best = _verified([note for _, note in same], keys)
    own = [line for line in last.signatures if (line.name, line.key_id) not in known]
    lines = [*best, *own][:MAX_SIGNATURES]
    merged = add_signatures(last.text, lines) if lines else same[-1][0]
    return merged if len(merged) <= MAX_NOTE_BYTES else same[-1][0]


def needed_notes(notes: Sequence[bytes], keys: Sequence[VerifierKey]) -> tuple[bytes, ...]:
    """Return those of `notes`, of one tree head and oldest first, that say what no other says.

    The first; of each key the newest good signature, over all and under the text that is the
    last word. What nobody known here signed tells no notes apart: whoever adds lines to a note
    adds nothing. At most one note, and two for each key.
    """
    if len(notes) < 2:
        return tuple(notes)
    parsed = [parse_note(note) for note in notes]
    texts = list(dict.fromkeys(note.text for note in parsed))  # in the order they first came
    last = [text for text in texts if parse_checkpoint(text).frozen] or texts
    needed = {0}
    for text in (None, last[-1]):
        best: dict[VerifierKey, tuple[int, int]] = {}
        for position, note in enumerate(parsed):
            if text is not None and note.text != text:
                continue
            for key, line in _by_key([note], keys).items():
                at = _timestamp(key, line)
                if key not in best or at > best[key][0]:
                    best[key] = (at, position)
        needed |= {position for _, position in best.values()}
    return tuple(notes[position] for position in sorted(needed))


def _verified(notes: Sequence[Note], keys: Sequence[VerifierKey]) -> list[NoteSignature]:
    """Return the newest good signature of each key, in the order of `keys`."""
    best = _by_key(notes, keys)
    return [best[key] for key in keys if key in best]


def _by_key(notes: Sequence[Note], keys: Sequence[VerifierKey]) -> dict[VerifierKey, NoteSignature]:
    """Return the newest good signature of each key."""
    best: dict[VerifierKey, NoteSignature] = {}
    for note in notes:
        for key in keys:
            try:
                found = verified_signatures(note, [key])
            except SignatureError:
                continue  # of this key in this note; another note may have a good one
            for _, line in found:
                if key not in best or _timestamp(key, line) >= _timestamp(key, best[key]):
                    best[key] = line
    return best


def _timestamp(key: VerifierKey, line: NoteSignature) -> int:
    """Return the seconds of a cosignature; 0 for a signature that tells no time."""
    return int.from_bytes(line.signature[:8]) if key.key_type is KeyType.COSIGNATURE else 0
