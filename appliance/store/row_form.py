"""The form of what our own rows hold: a row that is not as it was written is damage here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from appliance.errors import StoreError
from appliance.store.failures import CORRUPT, RESTORE


@contextlib.contextmanager
def reading_row(what: str, next_step: str = RESTORE) -> Iterator[None]:
    """Turn what decoding a row of ours raises into StoreError; `what` names the row."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"{what} is damaged in the database: {error}", reason=CORRUPT, next_step=next_step
        ) from error


def json_object(text: str) -> dict[str, Any]:
    """Decode what has to be a JSON object; raises ValueError. Inside reading_row."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, got {text[:80]!r}")
    return found
