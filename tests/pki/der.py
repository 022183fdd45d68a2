"""As much DER as RFC 3161 and certificate timestamps need, written by hand."""

from __future__ import annotations

from datetime import UTC, datetime

from appliance.sigstore.der import Elements


def tlv(tag: int, *content: bytes) -> bytes:
    """Encode one element."""
    body = b"".join(content)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + body


def sequence(*content: bytes) -> bytes:
    """Encode a SEQUENCE."""
    return tlv(0x30, *content)


def set_of(*content: bytes) -> bytes:
    """Encode a SET OF, whose elements DER wants in order."""
    return tlv(0x31, *sorted(content))


def tagged(number: int, *content: bytes) -> bytes:
    """Encode a constructed, context-specific element."""
    return tlv(0xA0 | number, *content)


def integer(value: int) -> bytes:
    """Encode a non-negative INTEGER."""
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1))


def octets(value: bytes) -> bytes:
    """Encode an OCTET STRING."""
    return tlv(0x04, value)


def null() -> bytes:
    """Encode NULL."""
    return tlv(0x05)


def utf8_string(value: str) -> bytes:
    """Encode a UTF8String."""
    return tlv(0x0C, value.encode())


def generalized_time(value: datetime) -> bytes:
    """Encode a GeneralizedTime in whole seconds."""
    return tlv(0x18, value.astimezone(UTC).strftime("%Y%m%d%H%M%SZ").encode())


def in_ber(raw: bytes, *, chunk: int = 0) -> bytes:
    """Write DER with indefinite lengths throughout, and octet strings in chunks of some bytes."""
    out = []
    for one in Elements(raw, "value").rest():
        if one.tag & 0x20:
            out.append(bytes((one.tag, 0x80)) + in_ber(one.content, chunk=chunk) + b"\0\0")
        elif one.tag == 0x04 and chunk and one.content:
            cut = [one.content[at : at + chunk] for at in range(0, len(one.content), chunk)]
            out.append(b"\x24\x80" + b"".join(map(octets, cut)) + b"\0\0")
        else:
            out.append(one.encoded)
    return b"".join(out)


def object_identifier(dotted: str) -> bytes:
    """Encode an OBJECT IDENTIFIER."""
    first, second, *rest = map(int, dotted.split("."))
    return tlv(0x06, *map(_base128, (first * 40 + second, *rest)))


def _base128(value: int) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | value & 0x7F)
    return bytes(reversed(digits))
