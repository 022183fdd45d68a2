"""How this home reaches other hosts: its settings, and what the environment adds to them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from appliance.config.configuration import Configuration
from appliance.errors import ConfigError
from appliance.fetch.http import HttpSettings
from appliance.fetch.proxies import Proxies, choose_proxies
from appliance.fetch.tls import TlsSettings, client_context, find_authorities
from appliance.store.files import is_file, read_foreign
from appliance.store.filesystem import access_of
from appliance.store.passphrases import NO_PASSPHRASES, Passphrases
from appliance.store.secret_files import read_secret
from appliance.tlog.private_pem import is_encrypted

MAX_CREDENTIALS_BYTES: Final = 1024
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{1,1000}=*")
CLIENT_KEY: Final = "http.client"  # what the key of the client certificate is called here
_MAX_KEY_FILE_BYTES: Final = 1024 * 1024


def http_settings(
    configuration: Configuration,
    environment: Mapping[str, str] | None = None,
    passphrases: Passphrases = NO_PASSPHRASES,
) -> HttpSettings:
    """Return what the HTTP client is told by the section `http` and by the environment.

    Raises ConfigError for a proxy that is none, for credentials that others could read, and as
    Passphrases.find does where the client's key is encrypted.
    """
    proxies = _proxies(configuration, os.environ if environment is None else environment)
    return HttpSettings(
        connections=configuration.count("http.connections"),
        max_requests_per_second=configuration.optional_number("http.maxRequestsPerSecond"),
        contact=configuration.optional_text("http.contact") or "",
        proxies=proxies,
        tls=tls_settings(configuration, passphrases),
        # The longest first: below a log's URL may be another's, with a token of its own.
        tokens=tuple(sorted(_tokens(configuration, proxies), key=lambda one: -len(one[0]))),
    )


def _tokens(
    configuration: Configuration, proxies: Proxies
) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield each URL of a backend that asks for a token, and what gives it: never a text."""
    for backend in configuration.backends:
        if backend.token_file is None or not backend.enabled:
            continue
        path = Path(backend.token_file)
        token = read_secret(path, MAX_CREDENTIALS_BYTES).decode("utf-8", "replace").strip()
        if not _TOKEN.fullmatch(token):
            raise ConfigError(
                f"{path}: expected one line with a bearer token (RFC 6750)",
                reason="bad-token",
                next_step="write the token alone into it, and: chmod 600",
            )
        for url in (backend.base_url, backend.read_url):
            if url is None or not url.startswith(("http://", "https://")):
                continue
            proxy = proxies.of(url)  # which reads what is not HTTPS, wherever it leads
            if url.startswith("http://") and (proxy is not None or not is_loopback(url)):
                through = "" if proxy is None else f" through the proxy {proxy.text}"
                raise ConfigError(
                    f"{backend.id}: its token would be sent to {url}{through} for everybody on the"
                    " way to read",
                    reason="open-token",
                    next_step="give it an https:// URL, or take its tokenFile away; a log on this"
                    " host needs no proxy: name the host in http.noProxy",
                )
            yield f"{url.rstrip('/')}/", lambda token=token: token  # type: ignore[misc]


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this host and nowhere else."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, and whoever answers for names decides where it leads
        return False


def tls_settings(configuration: Configuration, passphrases: Passphrases) -> TlsSettings:
    """Return whom TLS believes and what it shows, as the section `http` says."""
    certificate = configuration.optional_text("http.clientCertificateFile")
    key = configuration.optional_text("http.clientKeyFile")
    passphrase = None
    holds_key = key or certificate
    if holds_key is not None and _is_encrypted_key(Path(holds_key)):
        passphrase = passphrases.find(CLIENT_KEY)
    return TlsSettings(
        ca_file=configuration.optional_text("http.caFile"),
        certificate_file=certificate,
        key_file=key,
        passphrase=None if passphrase is None else lambda: passphrase.secret,
    )


def _is_encrypted_key(path: Path) -> bool:
    """Whether a file that TLS will load asks for a passphrase; it says itself what is wrong."""
    return is_file(path) and is_encrypted(read_foreign(path, _MAX_KEY_FILE_BYTES))


def open_client_key(configuration: Configuration) -> str | None:
    """Return the file of the client's key if others can read it; None: nobody can."""
    key = configuration.optional_text("http.clientKeyFile")
    access = None if key is None else access_of(Path(key))
    return key if access is not None and access.others_read else None


def network_text(configuration: Configuration, passphrases: Passphrases = NO_PASSPHRASES) -> str:
    """Say in one line how other hosts are reached; raises ConfigError for what cannot be used."""
    settings = http_settings(configuration, passphrases=passphrases)
    client_context(settings.tls)
    authorities = find_authorities(settings.tls, os.environ)
    shown = settings.tls.certificate_file
    rate = settings.max_requests_per_second
    return "; ".join(
        (
            settings.proxies.text,
            f"authorities of {authorities.text}",
            f"client certificate {shown}" if shown else "no client certificate",
            "no limit of requests" if rate is None else f"at most {rate:g} requests/s",
            f"contact {settings.contact}" if settings.contact else "no contact",
        )
    )


def _proxies(configuration: Configuration, environment: Mapping[str, str]) -> Proxies:
    path = configuration.optional_text("http.proxyCredentialsFile")
    setting = configuration.optional_text("http.proxy")
    credentials = None
    if path is not None and setting is not None:
        try:
            credentials = read_secret(Path(path), MAX_CREDENTIALS_BYTES).decode().strip()
        except UnicodeDecodeError as error:
            raise ConfigError(
                "http.proxyCredentialsFile: expected one line USER:PASSWORD in UTF-8",
                reason="bad-proxy",
            ) from error
    return choose_proxies(setting, configuration.no_proxy, credentials, environment)
