"""The configuration of a site: what was set, and everything else at its default."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from appliance.config.durations import parse_milliseconds
from appliance.config.keys import Item, JsonValue
from appliance.config.kinds import NEVER
from appliance.config.private_log_keys import RESTRICTED
from appliance.config.reading import Reader, node_of
from appliance.config.schema import BACKENDS, HOSTED, ROLES, SETTINGS, Role, default_of, nearest
from appliance.config.sync_keys import BACKENDS as BACKEND_FIELDS
from appliance.errors import ConfigError
from appliance.value import frozen

_Typed = TypeVar("_Typed", bool, int, float, str)
_SHORTEST_SECRET = 8  # characters of a path or a user that may be one


@frozen
class Backend:
    """One item of rekorSync.backends."""

    id: str
    origin: str
    base_url: str | None  # no slash at its end
    read_url: str | None  # no slash at its end; None: derived from base_url
    public_key_path: str | None  # None: the store holds a copy already
    api_version: int | None  # 1 or 2; None: as its origin and its first answer say
    enabled: bool
    mirror_of: str | None  # id of another backend
    policy_file: str | None
    token_file: str | None = None  # sent with every request to it


@frozen
class Sink:
    """One item of alerts.sinks: what its type does not use is None or empty."""

    type: str  # webhook, command, file, syslog or smtp
    url: str | None  # webhook; smtp: the server, None for localhost
    argv: tuple[str, ...]  # command
    path: str | None  # file
    address: str | None  # syslog: /dev/log or host:port; smtp: the person
    secret_file: str | None
    timeout_seconds: float

    @property
    def name(self) -> str:
        """What the outbox calls it: its type and where it delivers to. Not to be shown."""
        target = shlex.join(self.argv) or self.path or self.address or self.url or ""
        return f"{self.type} {target}"


@frozen
class Hosted:
    """One item of privateLog.hosted: a log of our own, where it is asked for and by whom."""

    log: str  # its name
    host: str | None = None  # lower case; None: any
    path: str = ""  # begins with a slash, ends without one; "": the root
    tokens_file: str | None = None
    client_certificates: tuple[str, ...] = ()
    reads_restricted: bool = False  # to whoever may write
    hourly_limit: int | None = None  # entries; None: as many as come


def hiding_url(text: str, url: str | None) -> str:
    """Return a text with a URL in it cut to its scheme and host, however it was spelled."""
    if not url:
        return text
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    shown = f"{parts.scheme}://{place}/…"
    for spelling in (url, url.rstrip("/"), f"{url}/"):
        text = text.replace(spelling, shown)
    for secret in (parts.path.strip("/"), parts.query, user):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "…")
    return text


def shown_sink(name: str) -> str:
    """Return the name of a sink as it may be shown: of a URL no more than its host."""
    kind, _, target = name.partition(" ")
    return f"{kind} {hiding_url(target, target)}" if kind == "webhook" else name


@frozen
class EdgeTriggers:
    """rekor.edgeBundles.triggers: any of them makes an edge bundle due."""

    cvss_threshold: float | None  # and reachable; None: never
    policy_gate: str | None
    manual_escalation: bool


@frozen
class Configuration:
    """The settings of a site. Make one with restore, apply_file or set_one: they verify."""

    role: Role
    stored: Mapping[str, JsonValue]  # by dotted name, what was set; the rest has its default

    @property
    def effective(self) -> dict[str, JsonValue]:
        """Every setting by its dotted name, in the order of the schema."""
        return {name: self.value(name) for name in SETTINGS}

    def value(self, name: str) -> JsonValue:
        """Return one setting as it is stored: durations as text, sizes in bytes, off as None."""
        return self.stored[name] if name in self.stored else default_of(name, self.role)

    def flag(self, name: str) -> bool:
        """Return a setting that is true or false."""
        return _required(name, self.value(name), bool)

    def optional_flag(self, name: str) -> bool | None:
        """Return a setting that is true or false, None if it says neither."""
        return None if self.value(name) is None else self.flag(name)

    def count(self, name: str) -> int:
        """Return a whole number, or a size in bytes."""
        return _required(name, self.value(name), int)

    def optional_count(self, name: str) -> int | None:
        """Return a whole number or a size in bytes, None if it is off."""
        return None if self.value(name) is None else self.count(name)

    def number(self, name: str) -> float:
        """Return a decimal number."""
        return _required(name, self.value(name), float)

    def optional_number(self, name: str) -> float | None:
        """Return a decimal number, None if it is off."""
        return None if self.value(name) is None else self.number(name)

    def text(self, name: str) -> str:
        """Return a text that always has a value."""
        return _required(name, self.value(name), str)

    def optional_text(self, name: str) -> str | None:
        """Return a text, None if there is none."""
        return None if self.value(name) is None else self.text(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a setting that is a list of texts."""
        return _texts(self.value(name))

    def exact_seconds(self, name: str) -> float:
        """Return a duration in seconds, to the millisecond."""
        return self._milliseconds(name) / 1000

    def _milliseconds(self, name: str) -> int:
        return parse_milliseconds(self.text(name))

    def seconds(self, name: str) -> int:
        """Return a duration in whole seconds, rounded up: our clock counts no finer."""
        return _whole_seconds(self._milliseconds(name))

    def optional_seconds(self, name: str) -> int | None:
        """Return a duration in whole seconds, rounded up, None if it is off."""
        return None if self.value(name) is None else self.seconds(name)

    def threshold(self, name: str, backend: str) -> int | None:
        """Return one of THRESHOLDS for a backend, in seconds: its own, else the site's.

        None: it is never reached.
        """
        items = (item for item in self.items(BACKENDS) if item.get("id") == backend)
        own = next((item.get(name) for item in items), None)
        if own is None:
            return self.seconds(f"divergenceDetection.{name}")
        return None if own == NEVER else _whole_seconds(parse_milliseconds(str(own)))

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The logs and where they are reached."""
        return tuple(_backend(item) for item in self.items(BACKENDS))

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """Where alerts go."""
        return tuple(_sink(item) for item in self.items("alerts.sinks"))

    @property
    def hosted(self) -> tuple[Hosted, ...]:
        """The logs of our own that are served under rules; none: the only one, to all."""
        return tuple(_hosted(item) for item in self.items(HOSTED))

    @property
    def mirror_origins(self) -> tuple[str, ...]:
        """The origins whose checkpoints are compared with the primary's."""
        return _texts(self.value("divergenceDetection.mirrorOrigins"))

    @property
    def no_proxy(self) -> tuple[str, ...]:
        """The hosts that are reached without the proxy."""
        return _texts(self.value("http.noProxy"))

    @property
    def edge_triggers(self) -> EdgeTriggers:
        """What makes a submission worth its edge bundle; a later trigger of a kind wins."""
        found: Item = {}
        for item in self.items("rekor.edgeBundles.triggers"):
            found.update(item)
        cvss = found.get("cvssThreshold")
        return EdgeTriggers(
            None if cvss is None else _required("cvssThreshold", cvss, float),
            _optional(found, "policyGate"),
            found.get("manualEscalation") is True,
        )

    def items(self, name: str) -> list[Item]:
        """Return a setting that is a list of mappings."""
        value = self.value(name)
        if not isinstance(value, list):
            raise TypeError(f"{name} is not a list")
        return [item for item in value if isinstance(item, dict)]


def restore(role: str, stored: Mapping[str, JsonValue]) -> Configuration:
    """Make a configuration of what the store holds.

    Raises ConfigError (reason unknown-key) for a setting this program does not know, and
    as reading does for a value it would not accept today.
    """
    known_role = next((one for one in ROLES if one == role), None)
    if known_role is None:
        raise ConfigError(f"site role: expected {' or '.join(ROLES)}, got {role!r}")
    reader = Reader("the store", home="")
    for name, value in stored.items():
        if name not in SETTINGS:
            raise ConfigError(
                f"the store: unknown key {name}, {nearest(name, SETTINGS)}",
                reason="unknown-key",
                next_step="another version of attestor wrote it: use that version",
            )
        value = reader.setting(name, node_of(value))
        if name == BACKENDS and isinstance(value, list):
            value = [BACKEND_FIELDS.complete(item) for item in value if isinstance(item, dict)]
        reader.values[name] = value
    return Configuration(known_role, reader.values)


def _whole_seconds(milliseconds: int) -> int:
    return -(-milliseconds // 1000)


def _required(name: str, value: JsonValue, kind: type[_Typed]) -> _Typed:
    # bool is an int to Python, but not to us.
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise TypeError(f"{name} is not of type {kind.__name__}")
    return value


def _optional(item: Item, name: str) -> str | None:
    value = item.get(name)
    return None if value is None else _required(name, value, str)


def _texts(value: JsonValue) -> tuple[str, ...]:
    return tuple(str(text) for text in value) if isinstance(value, list) else ()


def _backend(item: Item) -> Backend:
    return Backend(
        _required("id", item["id"], str),
        _required("origin", item["origin"], str),
        _optional(item, "baseUrl"),
        _optional(item, "readUrl"),
        _optional(item, "publicKeyPath"),
        None if item["apiVersion"] is None else _required("apiVersion", item["apiVersion"], int),
        _required("enabled", item["enabled"], bool),
        _optional(item, "mirrorOf"),
        _optional(item, "policyFile"),
        _optional(item, "tokenFile"),
    )


def _sink(item: Item) -> Sink:
    return Sink(
        _required("type", item["type"], str),
        _optional(item, "url"),
        _texts(item.get("argv")),
        _optional(item, "path"),
        _optional(item, "address"),
        _optional(item, "secretFile"),
        parse_milliseconds(_optional(item, "timeout") or "10s") / 1000,
    )


def _hosted(item: Item) -> Hosted:
    limit = item.get("hourlyLimit")
    return Hosted(
        _required("log", item["log"], str),
        _optional(item, "host"),
        _optional(item, "path") or "",
        _optional(item, "tokensFile"),
        _texts(item.get("clientCertificates")),
        item.get("reads") == RESTRICTED,
        None if limit is None else _required("hourlyLimit", limit, int),
    )
