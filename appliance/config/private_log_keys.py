"""Settings of the logs of this home's own: who may ask them, where, and how much."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Final

from appliance.config.keys import NAME, PATH, Item, ItemList, Key, Setting, TextList
from appliance.config.kinds import Count, Text, Word, unexpected
from appliance.config.yaml_scalars import ScalarValue
from appliance.errors import ConfigError
from appliance.value import frozen

STDERR: Final = "stderr"
OPEN: Final = "open"
RESTRICTED: Final = "restricted"
LOOPBACK: Final = "loopback"
ANYBODY: Final = "anybody"
OFF: Final = "nobody"

_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = Text("a host name in lower case, without a port", rf"{_LABEL}(\.{_LABEL}){{0,9}}")
_PREFIX: Final = Text(
    "a path such as /build, without a slash at its end", r"(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){1,8}"
)
_LOG_FILE: Final = Text(f"an absolute path, or {STDERR}", rf"/\S(.{{0,1022}}\S)?|{STDERR}")
_HEADER: Final = Text("the name of a header", r"[A-Za-z][A-Za-z0-9-]{0,63}")
_CERTIFICATE: Final = Text(
    "sha256: and the 64 hex digits of a certificate's digest, or dns:, email: or uri: and a name"
    " in it",
    r"sha256:[0-9a-f]{64}|(dns|email|uri):\S{1,255}",
)
_RESERVED: Final = re.compile(r"/(api|healthz|metrics|checkpoint|tile)(/.*)?")


@frozen
class Network:
    """An address, or a network of them."""

    expected: str = "an address such as 127.0.0.1, or a network such as 10.0.0.0/8"

    def read(self, value: ScalarValue) -> str:
        if not isinstance(value, str):
            raise unexpected(self, value, "quote it")
        try:
            return str(ip_network(value))
        except ValueError as error:
            raise unexpected(self, value) from error


def _verify_hosted(item: Item) -> None:
    """Raise ConfigError for an item whose own fields do not go together."""
    protected = item.get("tokensFile") or item.get("clientCertificates")
    if item.get("reads") == RESTRICTED and not protected:
        raise _bad("reads are restricted to nobody: no tokensFile, no clientCertificates")
    path = item.get("path")
    if isinstance(path, str) and _RESERVED.fullmatch(path):
        raise _bad(f"path {path} is where a log at the root of a host is read", "choose another")


def _bad(message: str, next_step: str = "") -> ConfigError:
    return ConfigError(
        message, reason="bad-hosted", next_step=next_step or "see 'attestor config example'"
    )


HOSTED: Final = ItemList(
    fields={
        "log": Key(NAME, None, "the log, as `log create` named it"),
        "host": Key(_HOST, None, "asked for under this name; null: under any", "null"),
        "path": Key(_PREFIX, None, "asked for below this path; null: at the root", "null"),
        "tokensFile": Key(PATH, None, "who may write: a name and a token's SHA-256 a line", "null"),
        "clientCertificates": TextList(
            _CERTIFICATE, "or by these certificates, which a proxy verified", "[]"
        ),
        "reads": Key(Word((OPEN, RESTRICTED)), OPEN, "who may read: all, or who may write"),
        "hourlyLimit": Key(Count(1), None, "most entries in any 60 minutes", "off"),
    },
    comment="The logs that `log serve` serves, and to whom. Without any: its one log, to all.",
    example=(
        "- log: build\n"
        "  host: build.log.example.org\n"
        "  tokensFile: /etc/attestor/build.tokens\n"
        "  hourlyLimit: 5000\n"
        "- log: release\n"
        "  path: /release\n"
        "  clientCertificates: [dns:release.example.org]\n"
        "  reads: restricted\n"
    ),
    verify=_verify_hosted,
    identity="log",
)

PRIVATE_LOG_KEYS: Final[dict[str, Setting]] = {
    "privateLog.hosted": HOSTED,
    "privateLog.accessLog": Key(
        _LOG_FILE, None, "One line of JSON a request.", "null", "/var/log/attestor/access.log"
    ),
    "privateLog.metrics": Key(
        Word((LOOPBACK, ANYBODY, OFF)),
        LOOPBACK,
        "Who is answered at /metrics; loopback: this host, and not through a proxy.",
    ),
    "privateLog.trustedProxies": TextList(
        Network(), "Whose X-Forwarded-For and certificate header are believed.", "[127.0.0.1]"
    ),
    "privateLog.clientCertificateHeader": Key(
        _HEADER,
        None,
        "Where a trusted proxy puts the certificate that it verified.",
        "null",
        "Client-Cert",
    ),
}
