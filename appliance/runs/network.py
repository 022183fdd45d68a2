"""How this home reaches other hosts: its settings, and what the environment adds to them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from appliance.config.configuration import Configuration
from appliance.errors import ConfigError
from appliance.fetch.http import HttpSettings
from appliance.fetch.proxies import Proxies, choose_proxies
from appliance.fetch.tls import TlsSettings, client_context, find_authorities
from appliance.store.home.key_files import read_secret

MAX_CREDENTIALS_BYTES: Final = 1024


def http_settings(
    configuration: Configuration, environment: Mapping[str, str] | None = None
) -> HttpSettings:
    """Return what the HTTP client is told by the section `http` and by the environment.

    Raises ConfigError for a proxy that is none, and for credentials that others could read.
    """
    return HttpSettings(
        connections=configuration.count("http.connections"),
        max_requests_per_second=configuration.optional_number("http.maxRequestsPerSecond"),
        contact=configuration.optional_text("http.contact") or "",
        proxies=_proxies(configuration, os.environ if environment is None else environment),
        tls=tls_settings(configuration),
    )


def tls_settings(configuration: Configuration) -> TlsSettings:
    """Return whom TLS believes and what it shows, as the section `http` says."""
    return TlsSettings(
        ca_file=configuration.optional_text("http.caFile"),
        certificate_file=configuration.optional_text("http.clientCertificateFile"),
        key_file=configuration.optional_text("http.clientKeyFile"),
    )


def network_text(configuration: Configuration) -> str:
    """Say in one line how other hosts are reached; raises ConfigError for what cannot be used."""
    settings = http_settings(configuration)
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
