"""What whoever is told of a contradiction needs to check it without us (alerts export)."""

from __future__ import annotations

import json
from typing import Any, Final

from appliance.errors import IncompleteError
from appliance.store.database import Store
from appliance.store.divergence.alerts import Alert
from appliance.store.divergence.evidence import Evidence, require_evidence

EVIDENCE: Final = "evidence.json"
CHECK: Final = "check.py"
PAGE: Final = "report.html"

_README: Final = """\
Evidence {number} against the transparency log {origin}.

  ours.note      the signed checkpoint that site {site} held, byte for byte
  theirs.note    the signed checkpoint that contradicts it, byte for byte
  evidence.json  the proof between them, the keys, how theirs came, what was believed before
  alert.json     what was raised about it
  check.py       proves the contradiction from the files above:  python3 -I check.py
  report.html    proves it in a browser, with no network: open the file

check.py needs Python 3.11 and its package cryptography, nothing else. It prints the SHA-256
of the public keys (SubjectPublicKeyInfo) that signed: compare them with keys that came to
you another way, or name such keys: python3 -I check.py KEY.pem
Nothing but the notes and the proof is proven by it; the rest is what {site} observed.
"""


def evidence_pack(store: Store, alert: Alert, site: str, check: bytes) -> dict[str, bytes]:
    """Return the files of the pack for an alert by name; `check` is the program to go with it.

    Raises IncompleteError for an alert of which nothing signed is kept.
    """
    if alert.evidence_id is None:
        raise IncompleteError(
            f"alert {alert.number} ({alert.type}) has no evidence: nothing signed contradicts"
            " itself",
            reason="no-evidence",
            next_step=f"'attestor alerts show {alert.number}' has everything there is",
        )
    kept = require_evidence(store, alert.evidence_id)
    facts = {"rule": kept.rule, "origin": kept.origin, "detectedAt": kept.detected_at, "site": site}
    return {
        "README.txt": _README.format(number=kept.id, origin=kept.origin, site=site).encode(),
        "alert.json": _json(alert.payload),
        CHECK: check,
        EVIDENCE: _json(facts | kept.details),
        "ours.note": kept.ours,
        "theirs.note": kept.theirs,
    }


def contradiction_data(kept: Evidence) -> dict[str, Any]:
    """Describe one piece of evidence in JSON's types, with all that checks it."""
    return {
        "evidence": kept.id,
        "origin": kept.origin,
        "rule": kept.rule,
        "detectedAt": kept.detected_at,
        "ours": kept.ours.decode(),
        "theirs": kept.theirs.decode(),
        "keys": kept.details.get("keys") or [],
        "consistencyProof": kept.details.get("consistencyProof"),
    }


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")
