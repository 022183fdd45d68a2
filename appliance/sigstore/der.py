"""DER (X.690), as far as time-stamp tokens need it: a reader that takes one spelling.

Definite lengths in their shortest form, tags of one byte. What the bytes mean, the caller
asks for element by element, so that nothing unread can hide between two that were read. A
SET OF may come in any order: authorities write theirs as they come. Some write BER around
what they sign: definite_form brings that into this form first.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from appliance.errors import MalformedError
from appliance.patterns import pattern
from appliance.value import frozen

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31
MAX_ELEMENTS: Final = 1024  # in one constructed value
MAX_DEPTH: Final = 32  # of what is brought into definite form
_MAX_NESTED: Final = 16 * MAX_ELEMENTS  # elements at all depths of it
_MAX_LENGTH_BYTES: Final = 4
_MAX_INTEGER_BYTES: Final = 512  # no serial number, nonce or version is near it
_MAX_OID_BYTES: Final = 64
_CONSTRUCTED: Final = 0x20
_INDEFINITE: Final = 0x80
_END: Final = b"\x00\x00"
_TIME: Final = pattern(r"([0-9]{4})" + 5 * "([0-9]{2})" + r"(?:\.([0-9]{1,9}))?Z")


def context_tag(number: int, *, constructed: bool = True) -> int:
    """Return the tag of a context-specific element, [number] in ASN.1."""
    return (0xA0 if constructed else 0x80) | number


@frozen
class Element:
    """One element: its tag, what is in it, and all of its bytes."""

    tag: int
    content: bytes
    encoded: bytes  # tag, length and content

    def children(self, what: str) -> Elements:
        """Read the content as elements; raises MalformedError, naming `what`."""
        return Elements(self.content, what)


class Elements:
    """Elements one after another, to be taken in order. `what` names them in messages."""

    def __init__(self, raw: bytes, what: str) -> None:
        self._what = what
        self._left = _split(raw, what)[::-1]

    def take(self, tag: int, name: str) -> Element:
        """Take the next element; raises MalformedError unless it is there and has this tag."""
        if not self._left or self._left[-1].tag != tag:
            got = f"tag {self._left[-1].tag:#04x}" if self._left else "nothing"
            raise MalformedError(f"{self._what}.{name}: expected tag {tag:#04x}, got {got}")
        return self._left.pop()

    def take_if(self, tag: int) -> Element | None:
        """Take the next element if it has this tag."""
        return self._left.pop() if self._left and self._left[-1].tag == tag else None

    def rest(self) -> tuple[Element, ...]:
        """Take all that are left, whatever they are."""
        found, self._left = tuple(reversed(self._left)), []
        return found

    def end(self) -> None:
        """Raise MalformedError if something was not taken."""
        if self._left:
            raise MalformedError(f"{self._what}: unexpected tag {self._left[-1].tag:#04x}")

    def sequence(self, name: str) -> Elements:
        """Take a SEQUENCE and read what is in it."""
        return self.take(SEQUENCE, name).children(f"{self._what}.{name}")

    def integer(self, name: str) -> int:
        """Take an INTEGER."""
        return decode_integer(self.take(INTEGER, name).content, f"{self._what}.{name}")

    def object_identifier(self, name: str) -> str:
        """Take an OBJECT IDENTIFIER, dotted."""
        return _decode_oid(self.take(OBJECT_IDENTIFIER, name).content, f"{self._what}.{name}")

    def boolean_if(self) -> bool:
        """Take the next element if it is a BOOLEAN; false if it is none, as DER omits that."""
        found = self.take_if(BOOLEAN)
        if found is not None and found.content not in (b"\x00", b"\xff"):
            raise MalformedError(
                f"{self._what}: not a BOOLEAN in DER: {found.content[:20].hex() or 'empty'}"
            )
        return found is not None and found.content == b"\xff"

    def octets(self, name: str) -> bytes:
        """Take an OCTET STRING in one piece."""
        return self.take(OCTET_STRING, name).content

    def time(self, name: str) -> datetime:
        """Take a GeneralizedTime in UTC, to the microsecond."""
        return _decode_time(self.take(GENERALIZED_TIME, name).content, f"{self._what}.{name}")


def only_element(raw: bytes, tag: int, what: str) -> Element:
    """Read one element that fills `raw`; raises MalformedError if it does not."""
    elements = Elements(raw, what)
    found = elements.take(tag, "value")
    elements.end()
    return found


def sorted_set(content: bytes, what: str) -> bytes:
    """Return the content of a SET OF in DER's order."""
    return b"".join(sorted(one.encoded for one in _split(content, what)))


def encode(tag: int, content: bytes) -> bytes:
    """Encode one element around its content."""
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def definite_form(raw: bytes, what: str) -> bytes:
    """Return BER with its indefinite lengths counted out and its octet strings in one piece.

    What had neither keeps its bytes (X.690 8.1.3.6, 8.7.3). Raises MalformedError.
    """
    found, end = _Definite(raw, what).element(0, len(raw), 0)
    return found + raw[end:]


class _Definite:
    """One walk over BER, bounded in depth and in elements."""

    def __init__(self, raw: bytes, what: str) -> None:
        self._raw = raw
        self._what = what
        self._n_elements = 0

    def element(self, position: int, limit: int, depth: int) -> tuple[bytes, int]:
        """Return the definite form of the element at `position`, and where it ends."""
        raw = self._raw
        self._n_elements += 1
        if depth > MAX_DEPTH or self._n_elements > _MAX_NESTED:
            raise MalformedError(f"{self._what}: nested too deeply, or too many elements")
        if raw[position + 1 : position + 2] == bytes((_INDEFINITE,)):
            return self._indefinite(position, limit, depth)
        tag, length, start = _header(raw, position, self._what)
        end = start + length
        if end > limit:
            raise MalformedError(f"{self._what}: an element of {length} bytes, fewer are left")
        if not tag & _CONSTRUCTED:
            return raw[position:end], end
        parts = []
        while start < end:
            part, start = self.element(start, end, depth + 1)
            parts.append(part)
        content = b"".join(parts)
        if tag == _CONSTRUCTED | OCTET_STRING:
            return self._joined(content), end
        if content == raw[end - length : end]:
            return raw[position:end], end
        return encode(tag, content), end

    def _indefinite(self, position: int, limit: int, depth: int) -> tuple[bytes, int]:
        tag = self._raw[position]
        if not tag & _CONSTRUCTED or tag & 0x1F == 0x1F:
            raise MalformedError(f"{self._what}: not BER at byte {position}")
        parts, position = [], position + 2
        while self._raw[position : position + 2] != _END or position + 2 > limit:
            if position >= limit:
                raise MalformedError(f"{self._what}: an indefinite length without its end")
            part, position = self.element(position, limit, depth + 1)
            parts.append(part)
        content = b"".join(parts)
        if tag == _CONSTRUCTED | OCTET_STRING:
            return self._joined(content), position + 2
        return encode(tag, content), position + 2

    def _joined(self, content: bytes) -> bytes:
        pieces = Elements(content, self._what).rest()
        if any(piece.tag != OCTET_STRING for piece in pieces):
            raise MalformedError(f"{self._what}: an OCTET STRING of other pieces")
        return encode(OCTET_STRING, b"".join(piece.content for piece in pieces))


def decode_integer(content: bytes, what: str) -> int:
    """Decode the content of an INTEGER; raises MalformedError unless it is the shortest form."""
    if (
        not content
        or len(content) > _MAX_INTEGER_BYTES
        or (len(content) > 1 and content[0] in (0x00, 0xFF) and content[0] >> 7 == content[1] >> 7)
    ):
        raise MalformedError(f"{what}: not an INTEGER in DER: {content[:20].hex() or 'empty'}")
    return int.from_bytes(content, signed=True)


def _split(raw: bytes, what: str) -> list[Element]:
    found: list[Element] = []
    position = 0
    while position < len(raw):
        if len(found) == MAX_ELEMENTS:
            raise MalformedError(f"{what}: more than {MAX_ELEMENTS} elements")
        start = position
        tag, length, position = _header(raw, position, what)
        end = position + length
        if end > len(raw):
            raise MalformedError(
                f"{what}: an element of {length} bytes, {len(raw) - position} left"
            )
        found.append(Element(tag, raw[position:end], raw[start:end]))
        position = end
    return found


def _header(raw: bytes, position: int, what: str) -> tuple[int, int, int]:
    """Return tag and length of the element at `position`, and where its content begins."""
    header = raw[position : position + 2 + _MAX_LENGTH_BYTES]
    if len(header) < 2 or header[0] & 0x1F == 0x1F:
        raise MalformedError(f"{what}: not DER at byte {position}: {header.hex()}")
    tag, length = header[0], header[1]
    if length < 0x80:
        return tag, length, position + 2
    n_bytes = length & 0x7F
    encoded = header[2 : 2 + n_bytes]
    length = int.from_bytes(encoded)
    if not 0 < n_bytes == len(encoded) or encoded[0] == 0 or length < 0x80:
        raise MalformedError(f"{what}: not DER at byte {position}: length {header[1:].hex()}")
    return tag, length, position + 2 + n_bytes


def _decode_oid(content: bytes, what: str) -> str:
    if not content or content[-1] >= 0x80 or len(content) > _MAX_OID_BYTES:
        raise MalformedError(f"{what}: not an OBJECT IDENTIFIER in DER: {content[:40].hex()}")
    arcs: list[int] = []
    value = 0
    for position, byte in enumerate(content):
        if value == 0 and byte == 0x80 and (position == 0 or content[position - 1] < 0x80):
            raise MalformedError(f"{what}: not an OBJECT IDENTIFIER in DER: {content[:40].hex()}")
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def _decode_time(content: bytes, what: str) -> datetime:
    found = _TIME.fullmatch(content.decode("ascii", "replace"))
    try:
        if found is None:
            raise ValueError("expected YYYYMMDDhhmmssZ")
        year, month, day, hour, minute, second = map(int, found.groups()[:6])
        fraction = found[7] or ""
        # Not strptime: it takes longer than all else that is done with a stamp's time.
        whole = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise MalformedError(f"{what}: not a GeneralizedTime: {content[:40]!r}") from error
    return whole + timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
