"""The signed entry timestamp: a Rekor v1 log's promise and its clock (docs/rekor.md).

It covers the body, the time, the log and the global index, and nothing else.
"""

from __future__ import annotations

from base64 import b64encode

from appliance.errors import SignatureError
from appliance.rekor.canonical_json import canonical_json
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.tlog.note_keys import VerifierKey


def set_payload(entry: TransparencyLogEntry) -> bytes:
    """Return the bytes that the log signed."""
    return canonical_json(
        {
            "body": b64encode(entry.canonicalized_body).decode("ascii"),
            "integratedTime": entry.integrated_time,
            "logID": entry.log_id.hex(),
            "logIndex": entry.log_index,
        }
    )


def verify_set(entry: TransparencyLogEntry, key: VerifierKey) -> int:
    """Verify the promise and return the time in it, in Unix seconds.

    Raises SignatureError: reason no-set if there is none, bad-set if it does not verify.
    """
    if entry.inclusion_promise is None:
        raise SignatureError("the log entry has no signed entry timestamp", reason="no-set")
    if not key.signed(set_payload(entry), entry.inclusion_promise):
        raise SignatureError(
            f"signed entry timestamp does not verify under the key of {key.name}", reason="bad-set"
        )
    return entry.integrated_time
