"""Settings of what is written to logs: the queue, its budget, publishing."""

from __future__ import annotations

from typing import Final

from appliance.config.keys import NAME, Item, ItemList, Key, Setting
from appliance.config.kinds import Count, Duration, Flag, Number, Url, Word
from appliance.errors import ConfigError


def _verify_trigger(item: Item) -> None:
    if len(item) != 1:
        raise ConfigError(
            f"expected one of {', '.join(TRIGGERS.fields)} in each trigger, got {len(item)}",
            reason="bad-trigger",
            next_step="begin each with a dash of its own",
        )


TRIGGERS: Final = ItemList(
    fields={
        "cvssThreshold": Key(Number(0.0, 10.0), None, "reachable, and a CVSS score this high"),
        "policyGate": Key(Word(("require_proof",)), None, "a policy gate asks for proof"),
        "manualEscalation": Key(Flag(), None, "a person asks for it"),
    },
    comment="What makes a submission worth its edge bundle; any of them.",
    example="- cvssThreshold: 9.0\n- policyGate: require_proof\n- manualEscalation: true\n",
    default=[
        {"cvssThreshold": 9.0},
        {"policyGate": "require_proof"},
        {"manualEscalation": True},
    ],
    verify=_verify_trigger,
)

SUBMISSION_KEYS: Final[dict[str, Setting]] = {
    "rekor.enabled": Key(Flag(), True, "Whether `queue drain` sends anything."),
    "rekor.serverUrl": Key(
        Url(),
        None,
        "Where to submit: the baseUrl of a backend, whose key verifies the receipts.",
        "null",
        "https://log.example.org",
    ),
    "rekor.tier": Key(Word(("graph-only", "with-edges")), "graph-only", "What is submitted."),
    "rekor.budget.hourlyLimit": Key(Count(), 100, "Most submissions of a tenant in 60 minutes."),
    "rekor.budget.burstLimit": Key(Count(), 200, "Hourly pace of a burst."),
    "rekor.budget.burstWindow": Key(
        Duration(1000), "10m", "How long a burst may last at that pace."
    ),
    "rekor.budget.edgeBundleDailyLimit": Key(
        Count(), 50, "Most edge bundles of a tenant in 24 hours."
    ),
    "rekor.edgeBundles.enabled": Key(Flag(), True, "Whether tier with-edges has an effect."),
    "rekor.edgeBundles.triggers": TRIGGERS,
    "rekor.retry.maxAttempts": Key(Count(1, 1000), 3, "Tries in one drain."),
    "rekor.retry.initialDelay": Key(Duration(), "5s", "Pause after the first failure."),
    "rekor.retry.maxDelay": Key(Duration(), "5m", "Longest pause."),
    "rekor.retry.backoffMultiplier": Key(
        Number(1.0, 100.0), 2.0, "Each pause is this many times the last."
    ),
    "rekor.offline.queueEnabled": Key(Flag(), True, "Keep what cannot be sent now."),
    "rekor.offline.maxQueueSize": Key(Count(1), 10_000, "Beyond it `queue add` answers 8."),
    "rekor.offline.drainOnConnect": Key(Flag(), True, "Send the queue after a good sync."),
    "rekor.aggregate.enabled": Key(
        Flag(), False, "When the budget is short, submit one root for many items."
    ),
    "rekor.aggregate.minItems": Key(Count(2), 20, "Fewer are not worth a second step."),
    "rekor.aggregate.log": Key(
        NAME, None, "Which log of this home they go into, if it has several.", "null", "build"
    ),
    "publish.rekorUrl": Key(
        Url(),
        None,
        "Where the journal is anchored: the baseUrl of a backend.",
        "null",
        "https://log.example.org",
    ),
    "publish.everyEvents": Key(Count(1), 100, "Anchor after this many journal events,"),
    "publish.everySeconds": Key(Count(1), 300, "or after this many seconds."),
}
