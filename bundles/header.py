"""The header text: the one signed part of a transfer bundle (bundles/README.md, section 2).

The text becomes a C2SP signed note in the hands of an injected callable; no
signature is made or checked here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from bundles.errors import FormatError, UnsupportedError

HEADER_PATH: Final = "header"
MAGIC: Final = "attestor-transfer/v1"
DIGEST_BYTES: Final = 32
MAX_HEADER_BYTES: Final = 64 * 1024  # of the whole note, signatures included

_TEXT: Final = re.compile(r"(attestor-transfer/v[0-9]+)\n([0-9a-f]{64})\n([0-9a-f]{64})\n")


@dataclass(frozen=True, slots=True)
class Header:
    """What the exporters signed: two digests that pin everything else.

    `str(header)` is the note text; it and the value determine each other.
    """

    manifest_sha256: bytes  # 32 bytes, of manifest.json
    sums_sha256: bytes  # 32 bytes, of SHA256SUMS

    def __post_init__(self) -> None:
        if len(self.manifest_sha256) != DIGEST_BYTES or len(self.sums_sha256) != DIGEST_BYTES:
            raise ValueError(f"a header holds two digests of {DIGEST_BYTES} bytes")

    @property
    def bundle_id(self) -> str:
        """The name of this transfer bundle: 64 hex digits, the digest of its manifest."""
        return self.manifest_sha256.hex()

    def __str__(self) -> str:
        return f"{MAGIC}\n{self.manifest_sha256.hex()}\n{self.sums_sha256.hex()}\n"


def parse_header(text: str) -> Header:
    """Parse the text of a header note.

    Raises FormatError unless `text` is the one spelling of its header; a later
    format version has the reason "unknown-version".
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise FormatError(
            f"header: expected the line {MAGIC} and two lines of 64 hex digits, got {text[:200]!r}"
        )
    magic, manifest, sums = found.groups()
    if magic != MAGIC:
        raise UnsupportedError(
            f"header: format {magic} is not known here, expected {MAGIC}",
            reason="unknown-version",
            next_step="import it with a version that knows this format",
        )
    return Header(bytes.fromhex(manifest), bytes.fromhex(sums))


def unverified_text(note: bytes) -> str:
    """Return the text of a header note without looking at its signatures.

    For telling what a file claims to be, never for deciding anything. Raises
    FormatError if `note` is not UTF-8 or no empty line ends its text.
    """
    text, empty_line, _ = note.partition(b"\n\n")
    if not empty_line:
        raise FormatError("header: not a signed note, no empty line ends its text")
    try:
        return text.decode() + "\n"
    except UnicodeDecodeError as error:
        raise FormatError(f"header: not UTF-8 at its byte {error.start}") from error
