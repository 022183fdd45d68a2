"""Authorities that somebody names as single certificates: which paths there are from them.

A trusted root lists its authorities as paths. Whoever names roots, and intermediates below any
of them, leaves it open which leads where. So the paths are found once, downwards from the
roots, and a signer's certificate is tried against those of its issuer's name alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from appliance.errors import LimitError
from appliance.rekor.x509_certificate import load_certificate
from appliance.sigstore.trusted_root import Authority
from appliance.sigstore.validity import Window

if TYPE_CHECKING:
    from cryptography.x509 import Name

MAX_PATHS: Final = 256  # in all: each certificate may be below several
MAX_OF_A_NAME: Final = 16  # paths that a signer's certificate is tried against
_MAX_CERTIFICATES: Final = 8  # of a path, as those who verify it take at most
_ADVICE: Final = "leave only the authorities that issued what is looked for"


def named_authorities(
    roots: Sequence[bytes], intermediates: Sequence[bytes]
) -> Mapping[Name, tuple[Authority, ...]]:
    """Return each path to one of `roots` (DER) as an authority, by the name of who issues.

    Raises LimitError if there are more than 256, or more than 16 of a name; MalformedError for
    what is no certificate.
    """
    found: dict[Name, list[Authority]] = {}
    paths: list[tuple[bytes, ...]] = [(root,) for root in dict.fromkeys(roots)]
    for number, path in enumerate(paths):  # which grows by what is found below each
        if number >= MAX_PATHS:
            raise LimitError(
                f"the authorities that are named make more than {MAX_PATHS} paths to a root",
                next_step=_ADVICE,
            )
        name = load_certificate(path[0], "authority").subject
        of_name = found.setdefault(name, [])
        if len(of_name) >= MAX_OF_A_NAME:
            raise LimitError(
                f"more than {MAX_OF_A_NAME} paths to a root begin with the name"
                f" {name.rfc4514_string()[:120]!r}",
                next_step=_ADVICE,
            )
        of_name.append(Authority("", path, Window()))
        if len(path) < _MAX_CERTIFICATES:
            below = (one for one in dict.fromkeys(intermediates) if one not in path)
            paths.extend((one, *path) for one in below if _is_issued_by(one, path[0]))
    return {name: tuple(authorities) for name, authorities in found.items()}


@lru_cache(maxsize=4096)
def _is_issued_by(der: bytes, issuer_der: bytes) -> bool:
    """Whether one certificate issued another, by name and signature."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    certificate, issuer = load_certificate(der, "authority"), load_certificate(issuer_der, "root")
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True
