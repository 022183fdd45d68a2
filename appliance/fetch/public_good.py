"""Facts about Sigstore's own instances: where the TUF repository of each is, and one root document.

Established 2026-11-21 (public good) and 2026-11-29 (staging), each from two places that agree:
the root in the history of github.com/sigstore/root-signing and root-signing-staging, whose
READMEs name the URLs, and the document that sigstore-python 4.5.1 carries for that URL. A
test compares them with the latter. The documents themselves are fetched on the first update,
and refused if they are others.
"""

from __future__ import annotations

from typing import Final

from appliance.value import frozen


@frozen
class Instance:
    """One instance of Sigstore that is run by its community."""

    name: str
    repository_url: str  # of its TUF metadata
    root_version: int
    root_digest: bytes  # SHA-256 of that version of root.json, 32 bytes
    stale_tree_size: str | None = None  # threshold for its logs; None: the site's own


PUBLIC_GOOD: Final = Instance(
    "public good",
    "https://tuf-repo-cdn.sigstore.dev/",
    15,
    bytes.fromhex("73747011d0857ada15479a16c4cae0f3ed03aac698b523b97e1de314ac9d9ca8"),
)
STAGING: Final = Instance(
    "staging",
    "https://tuf-repo-cdn.sigstage.dev/",
    14,
    bytes.fromhex("353d172f05f9e73b4a647b1a464f16726d929cbfd030cc42bffb86cd742fb61f"),
    stale_tree_size="48h",  # nobody's releases go there: a night without an entry is no fault
)


def instance_at(url: str) -> Instance | None:
    """Return the instance whose repository is at this URL."""
    return next((one for one in (PUBLIC_GOOD, STAGING) if one.repository_url == url), None)
