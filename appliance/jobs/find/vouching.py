"""Whether an authority of the trusted root issued a certificate that was found in a log.

Anybody can log a certificate of his own making with any name in it. What a search finds is
therefore said with whether the name is vouched for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from appliance.errors import ApplianceError
from appliance.rekor.entry_facts import SignerFacts
from appliance.rekor.x509_certificate import load_certificate
from appliance.sigstore.certificates import verify_path
from appliance.sigstore.named_authorities import named_authorities
from appliance.sigstore.trusted_root import Authority, TrustedRoot, parse_trusted_root
from appliance.store.database import Store
from appliance.store.verify.trust import current_root


class Voucher:
    """The certificate authorities that this home trusts, if it has a trusted root.

    And those that somebody named beside it: `roots` and `intermediates` are certificates in DER,
    any of the latter below any of the former. Raises LimitError for too many of them.
    """

    def __init__(
        self, store: Store, roots: Sequence[bytes] = (), intermediates: Sequence[bytes] = ()
    ) -> None:
        stored = current_root(store)
        self.digest = None if stored is None else stored.digest  # of the root that decides
        self._authorities: tuple[Authority, ...] = ()
        if stored is not None:
            self._authorities = _parse(stored.raw).certificate_authorities
        self._is_told = stored is not None or bool(roots)
        self._named = named_authorities(roots, intermediates)

    def vouches(self, signer: SignerFacts) -> bool | None:
        """Whether a signer's certificate leads to the trusted root, at the time that it began.

        None: there is no trusted root here and no authority was named, or the signer is a bare key,
        which claims no name.
        """
        if not self._is_told or not signer.is_certificate:
            return None
        try:
            leaf = load_certificate(signer.der, "signer")
            authorities = (*self._authorities, *self._named.get(leaf.issuer, ()))
            verify_path(leaf, authorities, leaf.not_valid_before_utc)
        except (ApplianceError, ValueError, OverflowError):
            return False
        return True


@lru_cache(maxsize=2)
def _parse(raw: bytes) -> TrustedRoot:
    return parse_trusted_root(raw)
