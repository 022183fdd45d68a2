"""What a transfer bundle is and what it brings (bundles/README.md, section 3).

The value; manifest_json.py has its spelling. Signed by way of its digest in the
header, and still nothing in it has to be believed: tree heads, counts and ages
are claims of the exporter, for planning and for people; what a log's own
signature does not allow is refused later, by the importer.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, Final

MAX_MEMBERS: Final = 2_000_000

_SITE: Final = re.compile(r"[^\s+]+")
_SET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class CreatedBy:
    """The program that wrote the transfer bundle."""

    tool: str
    version: str


@dataclass(frozen=True, slots=True)
class TreeHeadRef:
    """A tree head as the exporter claims it; the signed checkpoint is a member."""

    tree_size: int  # leaves
    root_hash: bytes  # 32 bytes


@dataclass(frozen=True, slots=True)
class Tiles:
    """How many hash tiles of a log are members."""

    count: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Entries:
    """A range of entries whose entry bundles are members, half open."""

    start: int  # first entry index
    stop: int  # one beyond the last entry index

    def __post_init__(self) -> None:
        if self.start >= self.stop:
            raise ValueError(f"entries from {self.start} to {self.stop} are none: use null")


@dataclass(frozen=True, slots=True)
class LogPart:
    """What a transfer bundle brings of one log: from `base` to `head`."""

    origin: str  # first line of the log's checkpoints
    vkeys: tuple[str, ...]  # its verifier keys: information, never trusted for being here
    base: TreeHeadRef | None  # what the importing site must hold already; None: nothing
    head: TreeHeadRef
    tiles: Tiles
    entries: Entries | None  # None: no entry bundles

    def __post_init__(self) -> None:
        if not self.origin:
            raise ValueError("a log has an origin")
        if self.base and self.base.tree_size > self.head.tree_size:
            raise ValueError(
                f"{self.origin}: base of {self.base.tree_size} leaves is beyond "
                f"the head of {self.head.tree_size}"
            )
        if self.entries and self.entries.stop > self.head.tree_size:
            raise ValueError(
                f"{self.origin}: entries to {self.entries.stop} are beyond "
                f"the head of {self.head.tree_size}"
            )

    @property
    def directory(self) -> str:
        """Where the members of this log stand, without a slash at the end."""
        return log_directory(self.origin)


@dataclass(frozen=True, slots=True)
class Volume:
    """Which of a set of transfer bundles this is; each can be imported by itself."""

    set_name: str  # the same for all volumes of a set
    number: int  # from 1
    of: int

    def __post_init__(self) -> None:
        if not _SET.fullmatch(self.set_name):
            raise ValueError(f"not the name of a volume set: {self.set_name[:200]!r}")
        if not 1 <= self.number <= self.of:
            raise ValueError(f"there is no volume {self.number} of {self.of}")


@dataclass(frozen=True, slots=True)
class Totals:
    """What SHA256SUMS lists, summed up; bounds what a reader inflates."""

    files: int  # members after SHA256SUMS
    n_bytes: int  # their sizes, without headers and padding

    def __post_init__(self) -> None:
        if not 1 <= self.files <= MAX_MEMBERS:
            raise ValueError(f"{self.files} files: expected 1 to {MAX_MEMBERS}")


@dataclass(frozen=True, slots=True)
class DataAge:
    """How fresh the exporter's own data was, as far as it knows."""

    newest_checkpoint: int | None  # Unix seconds
    trust_root_fetched: int | None  # Unix seconds


@dataclass(frozen=True, slots=True)
class Have:
    """A tree head the exporting site has proven for itself."""

    origin: str
    tree_size: int  # leaves
    root_hash: bytes  # 32 bytes


@dataclass(frozen=True, slots=True)
class Contains:
    """How many of these are members."""

    pending: int
    receipts: int
    acks: int
    checkpoints_seen: int


@dataclass(frozen=True, slots=True)
class Custody:
    """Who carries it on what. An empty text: not said."""

    handler: str
    media_id: str
    seal: str
    ticket: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole of manifest.json; bytes and value determine each other."""

    created_at: int  # Unix seconds
    created_by: CreatedBy
    site: str  # name of the exporting site, and of its key
    purpose: str  # may be empty
    logs: tuple[LogPart, ...]
    volume: Volume
    totals: Totals
    data_age: DataAge
    have: tuple[Have, ...]
    contains: Contains
    custody: Custody
    requires: tuple[str, ...] = ()  # capabilities; sorted, distinct
    not_before: int | None = None  # Unix seconds
    expires: int | None = None  # Unix seconds
    extensions: dict[str, Any] = field(default_factory=dict)  # keys start with x-

    def __post_init__(self) -> None:
        if not _SITE.fullmatch(self.site):
            raise ValueError(f"not the name of a site: {self.site[:200]!r}")
        if list(self.requires) != sorted(set(self.requires)):
            raise ValueError("requires is not sorted and distinct")
        for name, origins in (
            ("logs", [log.origin for log in self.logs]),
            ("have", [have.origin for have in self.have]),
        ):
            if len(set(origins)) != len(origins):
                raise ValueError(f"{name} has one origin twice")
        if self.not_before is not None and self.not_before > (self.expires or self.not_before):
            raise ValueError("it expires before it may be used")


def log_directory(origin: str) -> str:
    """Where the members of a log stand: logs/ and the digest of its origin, in hex."""
    return f"logs/{hashlib.sha256(origin.encode()).hexdigest()}"
