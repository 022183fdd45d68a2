"""What an entry that meets a watch means, and the alarms that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from appliance.policy.alarms import Alarm, Severity

MATCHED: Final = "matched"
CLAIMED: Final = "claimed"
WAITING: Final = "waiting"
UNEXPECTED: Final = "unexpected"
UNDECIDED: Final = "undecided"
CLAIM_SECONDS: Final = 86_400  # between two alarms about claims of one watch
TYPES: Final = {  # what is found, and the metric's label of its alarm
    MATCHED: "EntryMatched",
    CLAIMED: "EntryClaimed",
    UNEXPECTED: "EntryUnexpected",
    UNDECIDED: "EntryUndecided",
}
_ACTIONS: Final = {
    MATCHED: "Confirm who signed; if nobody, revoke the identity and quarantine artifacts with"
    " these digests",
    CLAIMED: "Nothing, if nobody trusts certificates without an authority; else find out who"
    " uses the name",
    UNEXPECTED: "Confirm who signed; if nobody, revoke the identity and quarantine artifacts with"
    " these digests. If somebody did: attestor expected add",
    UNDECIDED: "Look at these entries yourself: attestor entries show",
}


def finding_of(
    *, names_somebody: bool, vouched: bool | None, unvouched: str, expectations: str
) -> str:
    """Say what an entry that meets a watch is, before anything explains it.

    `names_somebody`: the watch rests on a name, which anybody can write into a certificate
    of his own making. `vouched`: an authority of the trusted root issued the certificate;
    None: there is no root to tell by, and the louder answer is given.

    >>> finding_of(names_somebody=True, vouched=False, unvouched="info", expectations="required")
    'claimed'
    """
    if names_somebody and vouched is False and unvouched != "same":
        return CLAIMED
    return WAITING if expectations == "required" else MATCHED


def entry_alarm(
    finding: str,
    *,
    watch: str | None,
    severity: str,
    origin: str,
    tree_size: int,
    root_hash: str,
    entries: Sequence[Mapping[str, Any]],
    more: int,
    first_index: int,
) -> Alarm:
    """One alarm for all that a run found of a kind; `more`: how many entries are not in it."""
    count = len(entries) + more
    severity = {CLAIMED: "info", UNEXPECTED: "critical", UNDECIDED: "warning"}.get(
        finding, severity
    )
    named = f"watch {watch}: " if watch else ""
    entry, match = ("entry", "matches") if count == 1 else ("entries", "match")
    said = {
        MATCHED: f"{count:,} {entry} of {origin} {match}",
        CLAIMED: f"{count:,} {entry} of {origin} {match}, by certificates that no authority issued",
        UNEXPECTED: f"{count:,} {entry} of {origin} {match} that nobody expected",
        UNDECIDED: f"of {count:,} {entry} of {origin} no watch can tell",
    }[finding]
    return Alarm(
        " ".join((TYPES[finding], watch or "", origin, str(first_index))),
        TYPES[finding],
        f"rekor.entry.{finding}",
        Severity(severity),
        {
            "watch": watch,
            "origin": origin,
            "treeSize": tree_size,
            "rootHash": root_hash,
            "entries": list(entries),
            "moreEntries": more,
            "description": f"{named}{said}, from index {first_index:,}",
            "recommendedAction": _ACTIONS[finding],
        },
    )
