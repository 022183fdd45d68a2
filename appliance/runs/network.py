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
from appliance.store.files import is_file, read_foreign
from appliance.store.filesystem import access_of
from appliance.store.passphrases import NO_PASSPHRASES, Passphrases
from appliance.store.secret_files import read_secret
from appliance.tlog.private_pem import is_encrypted

MAX_CREDENTIALS_BYTES: Final = 1024
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
    return HttpSettings(
        connections=configuration.count("http.connections"),
        max_requests_per_second=configuration.optional_number("http.maxRequestsPerSecond"),
        contact=configuration.optional_text("http.contact") or "",
        proxies=_proxies(configuration, os.environ if environment is None else environment),
        tls=tls_settings(configuration, passphrases),
    )


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
