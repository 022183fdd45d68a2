"""Which proxy a request goes through, if any: settings first, else the usual variables."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from appliance.errors import ConfigError
from appliance.value import frozen

DIRECT: Final = "direct"  # the value of http.proxy that means: none, whatever variables say
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@frozen
class Proxy:
    """One proxy and where it was named. Its URL may hold a password: show `text`."""

    url: str  # http://[user:password@]host:port
    source: str

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def text(self) -> str:
        """One line for people."""
        user = ", with a user name" if "@" in urlsplit(self.url).netloc else ""
        return f"{self.shown} ({self.source}{user})"


@frozen
class Proxies:
    """The proxies of a run, read once, and the hosts that are reached without one."""

    http: Proxy | None = None
    https: Proxy | None = None
    exempt: tuple[str, ...] = ()  # as in NO_PROXY
    exempt_source: str = ""
    skips_loopback: bool = False

    @property
    def all(self) -> tuple[Proxy, ...]:
        """Every proxy, each once."""
        return tuple(dict.fromkeys(one for one in (self.https, self.http) if one is not None))

    def of(self, url: str) -> Proxy | None:
        """Return the proxy for this URL, None for a direct connection."""
        if self.http is None and self.https is None:
            return None
        parts = urlsplit(url)
        proxy = self.https if parts.scheme == "https" else self.http
        if proxy is None or not parts.hostname:
            return None
        if self.skips_loopback and _is_loopback(parts.hostname):
            return None
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        return None if _is_exempt(parts.hostname, port, self.exempt) else proxy

    @property
    def text(self) -> str:
        """One line for people, without any password."""
        if not self.all:
            return "no proxy"
        used = dict.fromkeys(one.text for one in self.all)
        but = f", not for {' '.join(self.exempt)} ({self.exempt_source})" if self.exempt else ""
        return f"proxy {' and '.join(used)}{but}"


NO_PROXIES: Final = Proxies()


def choose_proxies(
    setting: str | None,
    exempt: Iterable[str],
    credentials: str | None,
    environment: Mapping[str, str],
) -> Proxies:
    """Return the proxies of `http.proxy` and `http.noProxy`, else of the environment.

    `credentials` is USER:PASSWORD for the proxy of the setting. Raises ConfigError (reason
    bad-proxy) for a proxy that is not reached over plain HTTP, and never repeats a password.
    """
    exempt = tuple(exempt)
    source = "http.noProxy"
    if not exempt:
        name, text = _variable(environment, "no_proxy")
        exempt, source = tuple(text.replace(",", " ").split()), name
    if setting == DIRECT:
        return NO_PROXIES
    if setting is not None:
        proxy = _proxy("http.proxy", setting, credentials)
        return Proxies(proxy, proxy, exempt, source)
    found: dict[str, Proxy | None] = {}
    for scheme in ("http", "https"):
        name, text = _variable(environment, f"{scheme}_proxy")
        if not text:
            name, text = _variable(environment, "all_proxy")
        found[scheme] = _proxy(name, text, None) if text else None
    return Proxies(found["http"], found["https"], exempt, source, skips_loopback=True)


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the spelling of a variable that is set, and its text; the lower-case one wins."""
    for spelling in (name, name.upper()):
        if text := environment.get(spelling, "").strip():
            return spelling, text
    return name.upper(), ""


def _proxy(source: str, text: str, credentials: str | None) -> Proxy:
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")  # the resolver raises for a name that none can be
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme != "http" or not host or (parts.path or "/") != "/" or port == 0:
        got = f"one of scheme {parts.scheme or 'none'!r}"
        if url.startswith("http://"):
            got = "a host or port that can be none, or a path"
        raise ConfigError(
            f"{source}: expected a proxy like http://host:port, which is the one kind that this"
            f" program goes through, got {got}",
            reason="bad-proxy",
            next_step="name an HTTP proxy; http.proxy: direct uses none",
        )
    place = f"[{host}]" if ":" in host else host
    user = parts.netloc.rpartition("@")[0]
    if credentials is not None:
        name, colon, password = credentials.partition(":")
        if not name or not colon:
            raise ConfigError(
                "http.proxyCredentialsFile: expected one line USER:PASSWORD",
                reason="bad-proxy",
                next_step="write the line into the file, readable by this user only",
            )
        user = f"{quote(name, safe='')}:{quote(password, safe='')}"
    return Proxy(f"http://{f'{user}@' if user else ''}{place}:{port or 80}", source)


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_exempt(host: str, port: int, patterns: Iterable[str]) -> bool:
    """Whether NO_PROXY covers a host: by name and all below it, address, network or *."""
    host, address = host.lower().rstrip("."), _address(host)
    for pattern in patterns:
        name = pattern.lower().strip("[]") if pattern.endswith("]") else pattern.lower()
        before, colon, after = name.rpartition(":")
        if colon and after.isdigit() and (":" not in before or before.startswith("[")):
            if int(after) != port:
                continue
            name = before.strip("[]")
        if name == "*":
            return True
        if address is not None:
            try:
                if address in ipaddress.ip_network(name, strict=False):
                    return True
            except ValueError:
                pass
            continue
        name = name.removeprefix("*").strip(".")
        if name and (host == name or host.endswith(f".{name}")):
            return True
    return False
