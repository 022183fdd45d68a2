"""Standard base64 with padding, one spelling per value.

Python's decoder drops junk by default and accepts stray bits in the last digit even
when asked to validate; signed text must not have two readings.
"""

from __future__ import annotations

from base64 import b64decode, b64encode

from appliance.errors import MalformedError


def decode_base64(text: str, what: str = "base64") -> bytes:
    """Decode `text`; raises MalformedError, naming `what`, unless it is canonical."""
    try:
        raw = b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:
        raise MalformedError(f"{what}: not base64: {text[:80]!r}") from error
    # The decoder has looked at each digit; what it lets pass is stray bits in the last group.
    last = b64encode(raw[-(len(raw) % 3 or 3) :]).decode()
    if len(text) != -(-len(raw) // 3) * 4 or not text.endswith(last):
        raise MalformedError(f"{what}: not canonical base64: {text[:80]!r}")
    return raw
