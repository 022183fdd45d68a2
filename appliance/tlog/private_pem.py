"""Private keys in PEM, as other programs write them: PKCS#8 (RFC 5958), encrypted or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.errors import ConfigError, MalformedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


def is_pem(raw: bytes) -> bool:
    """Whether these bytes want to be PEM."""
    return raw.lstrip().startswith(b"-----BEGIN ")


def is_encrypted(pem: bytes) -> bool:
    """Whether a private key in PEM says that it is encrypted (RFC 7468 section 11, RFC 1421)."""
    return b"ENCRYPTED" in pem


def load_private_pem(pem: bytes, passphrase: bytes | None, *, expected: str) -> PrivateKeyTypes:
    """Load a private key; `passphrase` opens it if it is encrypted, and is not asked otherwise.

    Raises MalformedError for what is no private key, `expected` in words, or is encrypted where
    there is no passphrase; ConfigError (wrong-passphrase) if the passphrase does not open it.
    Neither quotes anything.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    opens_by = passphrase if is_encrypted(pem) else None
    try:
        return load_pem_private_key(pem, opens_by)
    except UnsupportedAlgorithm as error:
        raise MalformedError(f"not {expected}: {error}") from error
    except (ValueError, TypeError) as error:
        if opens_by is None:
            raise MalformedError(f"not {expected}") from error
        raise ConfigError(
            "the passphrase does not open it, or it is damaged", reason="wrong-passphrase"
        ) from error
