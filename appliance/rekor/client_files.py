"""The two files that tell Sigstore clients about a log: trusted root, signing config.

What all of them accept: an Ed25519 key, the 32-byte note hash as log id, https:// and the
bare origin as base URL (a name, not an address to read from), and a start of validity.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Final

from appliance.tlog.note_keys import VerifierKey

TRUSTED_ROOT_TYPE: Final = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
SIGNING_CONFIG_TYPE: Final = "application/vnd.dev.sigstore.signingconfig.v0.2+json"


def log_instance(key: VerifierKey, start: str) -> dict[str, Any]:
    """Describe an Ed25519 log whose key's name is its origin; `start` is an RFC 3339 time."""
    return {
        "baseUrl": f"https://{key.name}",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": b64encode(key.spki).decode("ascii"),
            "keyDetails": "PKIX_ED25519",
            "validFor": {"start": start},
        },
        "logId": {"keyId": b64encode(key.log_id).decode("ascii")},
    }


def trusted_root(key: VerifierKey, start: str) -> bytes:
    """Make a trusted root with this log and nothing else: it verifies managed keys."""
    document = {
        "mediaType": TRUSTED_ROOT_TYPE,
        "tlogs": [log_instance(key, start)],
        "certificateAuthorities": [],
        "ctlogs": [],
        "timestampAuthorities": [],
    }
    return _format(document)


def signing_config(url: str, start: str, operator: str) -> bytes:
    """Make a signing config that sends entries to `url` and to no other service."""
    service = {
        "url": url,
        "majorApiVersion": 2,
        "validFor": {"start": start},
        "operator": operator,
    }
    document = {
        "mediaType": SIGNING_CONFIG_TYPE,
        "caUrls": [],
        "oidcUrls": [],
        "rekorTlogUrls": [service],
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": [],
        "tsaConfig": {"selector": "ANY"},
    }
    return _format(document)


def _format(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode("ascii") + b"\n"
