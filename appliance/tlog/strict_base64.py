"""Standard base64 with padding, one spelling per value.

Python's decoder drops junk by default and accepts stray bits in the last digit even
when asked to validate; signed text must not have two readings.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import a2b_base64, b2a_base64

from appliance.errors import MalformedError


def decode_base64(text: str, what: str = "base64") -> bytes:
    """Decode `text`; raises MalformedError, naming `what`, unless it is canonical."""
    try:
        raw = a2b_base64(text)
        # What the decoder let pass does not come back: junk, padding, stray bits in the last digit.
        if b2a_base64(raw, newline=False).decode("ascii") == text:
            return raw
        b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:
        raise MalformedError(f"{what}: not base64: {text[:80]!r}") from error
    raise MalformedError(f"{what}: not canonical base64: {text[:80]!r}")
