"""Settings of alerts, of verification and of the air gap."""

from __future__ import annotations

import re
from typing import Final

from appliance.config.keys import NAME, ORIGIN, PATH, Item, ItemList, Key, Setting, TextList
from appliance.config.kinds import Count, Duration, Flag, Size, Text, Url, Word
from appliance.errors import ConfigError

_TARGETS: Final = {  # the one field that says where a sink delivers
    "webhook": "url",
    "command": "argv",
    "file": "path",
    "syslog": "address",
    "smtp": "address",
}
_EXTRAS: Final = {"webhook": {"secretFile"}, "smtp": {"url", "secretFile"}}
_FORMS: Final = {  # what the shared fields hold, by type
    ("webhook", "url"): ("an http or https URL", r"https?://.*"),
    ("smtp", "url"): ("the mail server, smtp://host:port or smtps://host:port", r"smtps?://.*"),
    ("smtp", "address"): ("a mail address", r"[^\s@]+@[^\s@]+"),
    ("syslog", "address"): ("/dev/log or host:port", r"/\S+|[^\s:]+:[1-9][0-9]{0,4}"),
}


def _verify_sink(item: Item) -> None:
    """Raise ConfigError unless a sink has what its type delivers to, and nothing foreign."""
    kind = item.get("type")
    if not isinstance(kind, str):
        raise _bad_sink(f"a sink needs a type: {', '.join(_TARGETS)}")
    target = _TARGETS[kind]
    if item.get(target) is None:
        raise _bad_sink(f"a {kind} sink needs {target}")
    allowed = {"type", "timeout", target} | _EXTRAS.get(kind, set())
    foreign = [name for name, value in item.items() if value is not None and name not in allowed]
    if foreign:
        raise _bad_sink(
            f"a {kind} sink has no {foreign[0]}", f"it has {', '.join(sorted(allowed))}"
        )
    for (of_type, name), (expected, pattern) in _FORMS.items():
        value = item.get(name)
        if of_type == kind and isinstance(value, str) and not re.fullmatch(pattern, value):
            raise _bad_sink(f"{name} of a {kind} sink: expected {expected}, got {value!r}")
    if kind == "smtp" and item.get("secretFile") is not None and "@" not in str(item.get("url")):
        raise _bad_sink(
            "a smtp sink with a secretFile needs a user in its url", "write url: smtps://user@host"
        )


def _bad_sink(message: str, next_step: str = "") -> ConfigError:
    return ConfigError(message, reason="bad-sink", next_step=next_step)


SINKS: Final = ItemList(
    fields={
        "type": Key(Word(tuple(_TARGETS)), None, "how alerts are delivered"),
        "url": Key(
            Url(("https", "http", "smtp", "smtps"), named=("smtp", "smtps")),
            None,
            "of a webhook",
            "null",
        ),
        "argv": TextList(
            Text("an argument", ".{0,4096}"), "program and arguments", "[/bin/x]", not_empty=True
        ),
        "path": Key(PATH, None, "of a JSON Lines file", "null"),
        "address": Key(Text("an address", ".{1,255}"), None, "of syslog or a person", "null"),
        "secretFile": Key(PATH, None, "holds the HMAC key or the password", "null"),
        "timeout": Key(Duration(100), "10s", "for one delivery"),
    },
    comment="Where alerts go. The list in a file replaces the list before.",
    example=(
        "- type: webhook\n"
        "  url: https://alerts.example.org/attestor\n"
        "  secretFile: /etc/attestor/webhook.secret\n"
        "- type: command\n"
        "  argv: [/usr/local/bin/page-somebody, night-shift]\n"
        "- type: file\n"
        "  path: /var/log/attestor-alerts.jsonl\n"
        "- type: syslog\n"
        "  address: /dev/log\n"
        "- type: smtp\n"
        "  url: smtps://attestor@mail.example.org\n"
        "  address: ops@example.org\n"
        "  secretFile: /etc/attestor/mail.secret\n"
    ),
    verify=_verify_sink,
)

_STREAM: Final = Text("a name without spaces, 128 characters at most", r"[!-~]{1,128}")

OPERATION_KEYS: Final[dict[str, Setting]] = {
    "alerts.enabled": Key(Flag(), True, "Deliver alerts; they are recorded in any case."),
    "alerts.defaultTenant": Key(NAME, "system", "Tenant named in alerts about logs."),
    "alerts.alertOnHighSeverity": Key(Flag(), True, "Deliver critical alerts."),
    "alerts.alertOnWarning": Key(Flag(), True, "Deliver warnings."),
    "alerts.alertOnInfo": Key(
        Flag(), False, "Raise and deliver notices: a replica was stale once."
    ),
    "alerts.stream": Key(_STREAM, "attestor.alerts", "Stream named in alerts."),
    "alerts.sinks": SINKS,
    "entryIndex.enabled": Key(
        Flag(),
        None,
        "Whether sync and import make an index and keep it; null: keep what 'index build' made.",
        "null",
        "true",
    ),
    "entryIndex.maxSizeBytes": Key(
        Size(), None, "An index of this size takes no more entries.", "off", "20GB"
    ),
    "watch.defaultSeverity": Key(
        Word(("critical", "warning", "info")), "warning", "Of a match, unless the watch says."
    ),
    "watch.unvouched": Key(
        Word(("info", "ignore", "same")),
        "info",
        "What a name is that no authority vouched for, unless the watch says.",
    ),
    "watch.grace": Key(Duration(), "0s", "Time for an expectation to come, unless the watch says."),
    "watch.maxEntriesPerAlert": Key(Count(1, 1000), 20, "Entries that one alert describes."),
    "watch.regexTimeout": Key(Duration(1), "100ms", "For one search of one text by one pattern."),
    "verify.maxTrustRootAge.warn": Key(
        Duration(), "14d", "Warn when the trusted root is older.", "off", "14d"
    ),
    "verify.maxTrustRootAge.fail": Key(
        Duration(), None, "Refuse (8) when the trusted root is older.", "off", "90d"
    ),
    "verify.maxCheckpointAge": Key(
        Duration(),
        None,
        "Refuse (8) when nobody vouched for our checkpoint for longer.",
        "off",
        "30d",
    ),
    "verify.requireMirror": Key(Flag(), False, "Every entry must be in the tree we mirror."),
    "verify.requireProof": Key(Flag(), False, "A log's promise without a proof is refused (8)."),
    "transfer.volumeSize": Key(
        Size(), None, "Split exports into volumes of at most this size.", "off", "3900M"
    ),
    "transfer.overlap": Key(Count(1, 1000), 3, "Start a delta this many exports back."),
    "transfer.threshold": Key(Count(1, 100), 1, "Known exporters that must have signed."),
    "keys.passphraseFile": Key(
        PATH,
        None,
        "Opens the encrypted keys of this home, and encrypts new keys.",
        "null",
        "/etc/attestor/passphrase",
    ),
    "witness.logs": TextList(
        ORIGIN,
        "Origins of the logs that a witness here cosigns; none: all that are pinned.",
        "[log.example.org]",
    ),
    "witness.timeout": Key(
        Duration(100), "2s", "How long a batch of our log waits for its witnesses."
    ),
}
