"""The Content-Digest of a request (RFC 9530), compared with the body that came.

What is sent is a dictionary of byte sequences (RFC 8941): sha-256=:BASE64:, sha-512=:BASE64:.
A digest by an algorithm that is not known here says nothing and is passed over; one that is
known has to be right.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from typing import Final

from appliance.errors import DigestError, MalformedError
from appliance.tlog.strict_base64 import decode_base64

_ALGORITHMS: Final = {"sha-256": "sha256", "sha-512": "sha512"}
_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_MEMBER: Final = re.compile(
    rf"[ \t]*(?P<key>[a-z*][a-z0-9_.*-]*)(?:=(?P<value>:[A-Za-z0-9+/=]*:|{_STRING}|[^,;\" \t]+))?"
    rf"(?:;[^,;\"]*(?:{_STRING})?)*[ \t]*(?:,|\Z)"
)


def check_content_digest(header: str, content: bytes) -> None:
    """Compare a body with what its Content-Digest says; "" says nothing.

    Raises DigestError if it is another body, MalformedError if the field is no dictionary or
    a digest in it no byte sequence.
    """
    position = 0
    while position < len(header):
        member = _MEMBER.match(header, position)
        if member is None:
            raise MalformedError(
                f"Content-Digest: expected sha-256=:BASE64:, got {header[:200]!r} (RFC 9530)"
            )
        position = member.end()
        algorithm = _ALGORITHMS.get(member["key"])
        if algorithm is not None:
            _compare(member["key"], member["value"] or "", hashlib.new(algorithm, content).digest())


def _compare(name: str, value: str, expected: bytes) -> None:
    if not (value.startswith(":") and value.endswith(":") and len(value) > 1):
        raise MalformedError(
            f"Content-Digest: {name}: expected :BASE64:, got {value[:120]!r} (RFC 9530)"
        )
    if decode_base64(value[1:-1], f"Content-Digest: {name}") != expected:
        raise DigestError(
            f"Content-Digest: the body has the {name} :{b64encode(expected).decode()}:, the field"
            f" says {value[:120]}: it changed on the way, send it again"
        )
