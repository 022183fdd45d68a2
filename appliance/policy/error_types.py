"""Which kind of error a failed sync or submission is: the error_type label of the metrics."""

from __future__ import annotations

from typing import Final

from appliance import errors

_TYPES: Final[dict[type[errors.ApplianceError], str]] = {
    errors.SignatureError: "signature",
    errors.ProofError: "proof",
    errors.DigestError: "proof",
    errors.VerificationError: "malformed",
    errors.LimitError: "malformed",
    errors.IncompleteError: "malformed",
    errors.StoreError: "storage",
    errors.LockedError: "locked",
}
_REMOTE: Final = {  # reasons of RemoteError; the others are the network's
    "not-what-was-asked": "malformed",
    **dict.fromkeys(("timeout", "run-timeout", "stopped"), "timeout"),
    **dict.fromkeys(
        (
            "not-found",
            "http-status",
            "unauthorized",
            "unavailable",
            "rate-limited",
            "redirect",
            "bad-response",
        ),
        "http",
    ),
}


def error_type(error: errors.ApplianceError) -> str | None:
    """Return the label of an error; None for a no that is counted elsewhere or is ours to say."""
    if isinstance(error, errors.RemoteError):
        return _REMOTE.get(error.reason, "network")
    if isinstance(error, errors.RefusedError) and error.reason in ("quorum", "log-not-in-policy"):
        return "signature"
    return next((_TYPES[family] for family in type(error).__mro__ if family in _TYPES), None)
