"""Loading a foreign X.509 certificate: whole, or a typed error.

`cryptography` decodes lazily and raises late, in several ways. A private log has to load
whatever is posted to it, and a verifier whatever a bundle holds.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from appliance.errors import MalformedError

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
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.utils import CryptographyDeprecationWarning

    load = _load_again if len(der) <= _MAX_KEPT_BYTES else _load
    try:
        return load(der, with_extensions=with_extensions)
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
    from cryptography.utils import CryptographyDeprecationWarning

    # What only draws a warning, such as a negative serial number, RFC 5280 forbids.
    with warnings.catch_warnings(action="error", category=CryptographyDeprecationWarning):
        certificate = x509.load_der_x509_certificate(der)
        # Decoded lazily: ask for every part now, where a broken one is expected.
        certificate.public_key()
        _ = (certificate.issuer, certificate.subject, certificate.version)
        _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        _ = certificate.extensions if with_extensions else None
    return certificate


# One verification asks for the same certificate more than once.
_load_again = lru_cache(maxsize=32)(_load)
