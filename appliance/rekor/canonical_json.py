"""The JSON that Rekor signs and hashes (RFC 8785).

Only what occurs in log entries and signed entry timestamps: objects, arrays, strings
and integers. RFC 8785's number formatting and UTF-16 key order never come into play,
because there are no fractions and every key is ASCII.
"""

from __future__ import annotations

import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Format `value` as the one byte string that stands for it."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")
