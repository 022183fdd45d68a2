"""Loading a foreign X.509 certificate: whole, or a typed error.

`cryptography` decodes lazily and raises late, in several ways. A private log has to load
whatever is posted to it, and a verifier whatever a bundle holds.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from functools import cache, lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Final

from appliance.errors import MalformedError
from appliance.imports import LaterModule, import_key_formats, in_place_of, may_stand_in
from appliance.patterns import LaterPattern

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# What `cryptography` raises for DER that is none: a string type it does not know is a
# KeyError.
BROKEN_DER: Final = (ValueError, KeyError, TypeError)
_MAX_KEPT_BYTES: Final = 16 * 1024


def load_certificate(der: bytes, what: str, *, with_extensions: bool = True) -> Certificate:
    """Load a certificate; raises MalformedError (bad-certificate) if it is none.

    A log takes keys, and leaves extensions to those who read them.
    """
    if der.lstrip().startswith(b"-----BEGIN "):
        raise MalformedError(
            f"{what}: expected a certificate in DER, got one in PEM",
            reason="bad-certificate",
            next_step="rawBytes is the base64 of DER: openssl x509 -outform DER",
        )
    load = _load_again if len(der) <= _MAX_KEPT_BYTES else _load
    with _bad_certificate(what):
        return load(der, with_extensions=with_extensions)


def pem_certificate_der(pem: bytes, what: str) -> bytes:
    """Return the first certificate of a PEM file as DER; raises MalformedError (bad-certificate).

    What it says is for load_certificate to look at.
    """
    with _bad_certificate(what):
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


@contextlib.contextmanager
def _bad_certificate(what: str) -> Iterator[None]:
    """Raise MalformedError for whatever `cryptography` raises for bytes that are none."""
    import_x509()
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.utils import CryptographyDeprecationWarning

    try:
        # What only draws a warning, such as a negative serial number, RFC 5280 forbids.
        # A country of three letters it only warns of, on stderr; that is nobody's fault here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter(
                "error", CryptographyDeprecationWarning
            )  # more than a UserWarning
            yield
    except (
        *BROKEN_DER,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        CryptographyDeprecationWarning,
    ) as error:
        raise MalformedError(
            f"{what}: not a certificate: {error}", reason="bad-certificate"
        ) from error


def _load(der: bytes, *, with_extensions: bool) -> Certificate:
    from cryptography import x509

    certificate = x509.load_der_x509_certificate(der)
    # Decoded lazily: ask for every part now, where a broken one is expected.
    certificate.public_key()
    _ = (certificate.issuer, certificate.subject, certificate.version)
    _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    _ = certificate.extensions if with_extensions else None
    return certificate


# One verification asks for the same certificate more than once.
_load_again = lru_cache(maxsize=32)(_load)


# --- importing it


@cache
def import_x509() -> None:
    """Import cryptography.x509 for what is done with it here, which spares a fifth of a verify.

    It compiles patterns over all of Unicode, for names that somebody writes by hand, and imports
    the mail package with sockets, for addresses that somebody writes by hand. Both work as ever
    afterwards; they are made ready when somebody does. Beside other threads, and in a process
    that is not the attestor command, it is imported as usual: others would find these in place
    of what they import themselves.
    """
    import_key_formats()
    if not may_stand_in():
        return
    mail = LaterModule("email.utils", {"parseaddr": _parseaddr})
    with in_place_of("re", _re_of_later(), always=True), in_place_of("email.utils", mail):
        import cryptography.x509  # noqa: F401


def _re_of_later() -> ModuleType:
    """Return re, with patterns that are compiled once they are asked anything."""
    later = ModuleType("re")
    later.__dict__.update(vars(re), compile=LaterPattern)
    return later


def _parseaddr(addr: str) -> tuple[str, str]:
    from email.utils import parseaddr

    return parseaddr(addr)
