"""Facts about the public-good instance's TUF repository: where it is, and one root document.

Established 2026-11-21 from two places that agree: root version 15 in the history of the
repository github.com/sigstore/root-signing, whose README names the URL, and the document that
sigstore-python 4.5.1 carries for that URL. A test compares it with the latter. The document
itself is fetched on the first update, and refused if it is another.
"""

from __future__ import annotations

from typing import Final

REPOSITORY_URL: Final = "https://tuf-repo-cdn.sigstore.dev/"
ROOT_VERSION: Final = 15
ROOT_DIGEST: Final = bytes.fromhex(  # SHA-256 of 15.root.json
    "73747011d0857ada15479a16c4cae0f3ed03aac698b523b97e1de314ac9d9ca8"
)
