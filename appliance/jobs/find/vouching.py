"""Whether an authority of the trusted root issued a certificate that was found in a log.

Anybody can log a certificate of his own making with any name in it. What a search finds is
therefore said with whether the name is vouched for.
"""

from __future__ import annotations

from functools import lru_cache

from appliance.errors import ApplianceError
from appliance.rekor.entry_facts import SignerFacts
from appliance.rekor.x509_certificate import load_certificate
from appliance.sigstore.certificates import verify_path
from appliance.sigstore.trusted_root import TrustedRoot, parse_trusted_root
from appliance.store.database import Store
from appliance.store.verify.trust import current_root


class Voucher:
    """The certificate authorities that this home trusts, if it has a trusted root."""

    def __init__(self, store: Store) -> None:
        stored = current_root(store)
        self._root = None if stored is None else _parse(stored.raw)
        self.digest = None if stored is None else stored.digest  # of the root that decides

    def vouches(self, signer: SignerFacts) -> bool | None:
        """Whether a signer's certificate leads to the trusted root, at the time that it began.

        None: there is no trusted root here, or the signer is a bare key, which claims no name.
        """
        if self._root is None or not signer.is_certificate:
            return None
        try:
            leaf = load_certificate(signer.der, "signer")
            verify_path(leaf, self._root.certificate_authorities, leaf.not_valid_before_utc)
        except (ApplianceError, ValueError, OverflowError):
            return False
        return True


@lru_cache(maxsize=2)
def _parse(raw: bytes) -> TrustedRoot:
    return parse_trusted_root(raw)
