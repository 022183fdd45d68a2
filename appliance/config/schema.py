"""Every setting by its dotted name: defaults, aliases, and the nearest name to a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, get_args

from appliance.config.keys import JsonValue, Setting
from appliance.config.operation_keys import OPERATION_KEYS
from appliance.config.private_log_keys import PRIVATE_LOG_KEYS
from appliance.config.submission_keys import SUBMISSION_KEYS
from appliance.config.sync_keys import SYNC_KEYS

Role: TypeAlias = Literal["connected", "isolated"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
ROOT: Final = "attestor"
BACKENDS: Final = "rekorSync.backends"
HOSTED: Final = "privateLog.hosted"
SECTIONS: Final[dict[str, str]] = {  # in the order in which they are shown
    "rekorSync": "Mirroring",
    "http": "How servers are talked to",
    "checkpointStore": "The store: always this home's own",
    "tileCache": "Tiles: always this home's own",
    "divergenceDetection": "What is alarming",
    "alerts": "Who is told",
    "entryIndex": "The index that searches go by",
    "watch": "Watching the logs for names and digests",
    "rekor": "The submission queue",
    "publish": "Anchoring the journal",
    "privateLog": "Logs of our own, as they are served",
    "verify": "What a verification demands",
    "transfer": "Crossing the gap",
    "keys": "The private keys of this home",
    "witness": "Witnesses: those of our logs, and being one",
}
_UNORDERED: Final[dict[str, Setting]] = {
    **SYNC_KEYS,
    **OPERATION_KEYS,
    **SUBMISSION_KEYS,
    **PRIVATE_LOG_KEYS,
}
SETTINGS: Final[dict[str, Setting]] = {
    name: setting
    for section in SECTIONS
    for name, setting in _UNORDERED.items()
    if name.startswith(f"{section}.")
}
ALIASES: Final = {"rekor.edgeBundles.dailyLimit": "rekor.budget.edgeBundleDailyLimit"}
IGNORED: Final = "checkpointStore.schema"

# Bundles cross a gap every week or two, not every few minutes.
_ISOLATED_DEFAULTS: Final[dict[str, JsonValue]] = {
    "divergenceDetection.staleCheckpointThreshold": "14d",
    "divergenceDetection.staleTreeSizeThreshold": "30d",
    "divergenceDetection.degradedCheckpointAgeThreshold": "14d",
    "divergenceDetection.unhealthyCheckpointAgeThreshold": "30d",
}


def default_of(name: str, role: Role) -> JsonValue:
    """Return the value of a setting that nobody set, on a site of this role."""
    if role == "isolated" and name in _ISOLATED_DEFAULTS:
        return _ISOLATED_DEFAULTS[name]
    return SETTINGS[name].default


def keys_below(prefix: str) -> list[str]:
    """List the keys that may stand directly in a section: '' lists the sections."""
    start = f"{prefix}." if prefix else ""
    below = (name[len(start) :] for name in [*SETTINGS, *ALIASES] if name.startswith(start))
    return list(dict.fromkeys(rest.partition(".")[0] for rest in below))


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of the known names was probably meant, or what they are.

    >>> nearest("syncInterval", ["rekorSync", "http"])
    'did you mean rekorSync.syncInterval?'
    """
    from difflib import get_close_matches  # only where something is wrong

    known = list(known)
    folded = {one.lower(): one for one in known}
    if close := get_close_matches(name.lower(), folded, n=1):
        return f"did you mean {folded[close[0]]}?"
    last = name.rpartition(".")[2].lower()
    if elsewhere := [one for one in SETTINGS if one.rpartition(".")[2].lower() == last]:
        return f"did you mean {elsewhere[0]}?"
    return f"expected one of {', '.join(known)}"
