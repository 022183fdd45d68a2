"""Whom TLS believes, and how we show who we are: one context for everything that connects.

The authorities are those of one file (`http.caFile`), else the system's store, which is
what OpenSSL finds, SSL_CERT_FILE and SSL_CERT_DIR included; else the file that
REQUESTS_CA_BUNDLE names where those two say nothing. A machine without any store falls back
on the list that the `certifi` package carries.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NoReturn

from appliance.errors import ConfigError
from appliance.value import frozen

OPENSSL_FILE: Final = "SSL_CERT_FILE"
OPENSSL_DIRECTORY: Final = "SSL_CERT_DIR"
REQUESTS_FILE: Final = "REQUESTS_CA_BUNDLE"
# Where distributions keep it, for an OpenSSL that was built for another place.
_DISTRIBUTIONS: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


@frozen
class TlsSettings:
    """Authorities and client certificate; every path names a PEM file."""

    ca_file: str | None = None  # None: the system's store
    certificate_file: str | None = None  # and its chain, shown to servers that ask
    key_file: str | None = None  # None: it is in certificate_file
    passphrase: Callable[[], bytes] | None = None  # of an encrypted key; None: there is none


@frozen
class Authorities:
    """Where authorities are read from; `source` says why."""

    source: str
    file: str | None = None
    directory: str | None = None

    @property
    def text(self) -> str:
        """One line for people."""
        return f"{self.file or self.directory or 'OpenSSL'} ({self.source})"


def find_authorities(settings: TlsSettings, environment: Mapping[str, str]) -> Authorities:
    """Decide whose certificates are believed; raises ConfigError for a file that is not there."""
    if settings.ca_file is not None:
        return Authorities("http.caFile", _file("http.caFile", settings.ca_file))
    directory = environment.get(OPENSSL_DIRECTORY)
    if directory is not None and not Path(directory).is_dir():
        directory = None
    if named := environment.get(OPENSSL_FILE):
        return Authorities(OPENSSL_FILE, _file(OPENSSL_FILE, named), directory)
    if directory is not None:
        return Authorities(OPENSSL_DIRECTORY, directory=directory)
    if named := environment.get(REQUESTS_FILE):
        if Path(named).is_dir():
            return Authorities(REQUESTS_FILE, directory=named)
        return Authorities(REQUESTS_FILE, _file(REQUESTS_FILE, named))
    paths = ssl.get_default_verify_paths()
    for file in (paths.openssl_cafile, *_DISTRIBUTIONS):
        if Path(file).is_file():
            return Authorities("the system's store", file)
    if Path(paths.openssl_capath).is_dir() and any(Path(paths.openssl_capath).iterdir()):
        return Authorities("the system's store", directory=paths.openssl_capath)
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    source = "the list of the certifi package; this system has no store"
    return Authorities(source, str(DEFAULT_CA_BUNDLE_PATH))


def client_context(
    settings: TlsSettings, environment: Mapping[str, str] | None = None
) -> ssl.SSLContext:
    """Return what every connection over TLS uses.

    Raises ConfigError (reasons bad-ca-file, bad-client-certificate) for files that will not do.
    """
    environment = os.environ if environment is None else environment
    found = find_authorities(settings, environment)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # An intermediate in the file is an anchor; and what Python 3.13 added to the defaults,
    # strictness about extensions that many an internal authority leaves out, is not asked for:
    # the same certificate verifies under every Python.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(found.file, found.directory)
    except (ssl.SSLError, OSError) as error:
        _refuse_authorities(found, error)
    if found.file is not None and not context.cert_store_stats()["x509"]:
        _refuse_authorities(found, "no certificate in it")
    if settings.certificate_file is not None:
        _load_client_certificate(context, settings)
    return context


def _file(name: str, path: str) -> str:
    if not Path(path).is_file():
        raise ConfigError(
            f"{name}: expected a PEM file of certificate authorities, there is none at {path}",
            reason="bad-ca-file",
            next_step="correct the path, or remove the setting to use the system's store",
        )
    return path


def _refuse_authorities(found: Authorities, why: object) -> NoReturn:
    raise ConfigError(
        f"{found.source}: expected PEM certificates of authorities in"
        f" {found.file or found.directory}: {_reason(why)}",
        reason="bad-ca-file",
        next_step="give a file with -----BEGIN CERTIFICATE----- blocks that this user can read",
    )


def _load_client_certificate(context: ssl.SSLContext, settings: TlsSettings) -> None:
    certificate, key = str(settings.certificate_file), settings.key_file

    def ask() -> bytes:  # else OpenSSL would ask whoever sits at the terminal
        if settings.passphrase is not None:
            return settings.passphrase()
        raise ConfigError(
            f"http.clientKeyFile: {key or certificate} is encrypted, and no passphrase file is"
            " named",
            reason="bad-client-certificate",
            next_step="name one: --passphrase-file FILE before the command, or the setting"
            " keys.passphraseFile; or keep the key unencrypted where only this user can read it",
        )

    try:
        context.load_cert_chain(certificate, key, password=ask)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"http.clientCertificateFile: expected a certificate in {certificate} and its key in"
            f" {key or 'the same file'}: {_reason(error)}",
            reason="bad-client-certificate",
            next_step="give PEM files that belong to each other and that this user can read",
        ) from error


def _reason(why: object) -> str:
    """Return what OpenSSL or the system says, in words."""
    if isinstance(why, ssl.SSLError):
        if why.reason == "BAD_DECRYPT":
            return "the passphrase does not open the key"
        if why.reason == "KEY_VALUES_MISMATCH":
            return "the key is another certificate's"
        return "not PEM" if why.reason in (None, "NO_START_LINE") else str(why.reason)
    if isinstance(why, OSError):
        return str(why.strerror or why)
    return str(why)
