"""What a receipt says, and the code that stands for it on the phone
(bundles/README.md, section 9).

A receipt is a signed note by the importing site; its text is two lines:

    attestor-receipt/v1
    <JSON object, keys sorted, no spaces>

The code commits to the site, to the transfer bundle and to the heads after it.
It authenticates nobody: that is what the voice on the phone is for.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any, Final

from appliance.errors import MalformedError
from appliance.times import MAX_SECONDS
from appliance.tlog.merkle import HASH_BYTES, Hash, TreeHead
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

MAGIC: Final = "attestor-receipt/v1"
MAX_RECEIPT_BYTES: Final = 256 * 1024
CODE_CHARACTERS: Final = 24
NAMED_VOLUMES: Final = 100  # of those still to come: how many there are is the exporter's claim
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O, U
_MISHEARD: Final = str.maketrans("ILO", "110", "- ")
_CODE_BITS: Final = 5 * CODE_CHARACTERS


@frozen
class ReceiptLog:
    """What an import did to one log: heads up to which every tile is there."""

    origin: str
    old: TreeHead | None  # None: nothing
    new: TreeHead | None


@frozen
class Receipt:
    """What a site says about one import."""

    bundle_id: str  # SHA-256 of the manifest, 64 hex digits
    volume_set: str
    volume: tuple[int, int]  # number and of how many
    sha256: str  # of the file, 64 hex digits
    site: str  # that imported it, and signs this
    clock: int  # Unix seconds, that site's
    handler: str  # who imported it; empty: not said
    unsigned: bool  # --insecure-unsigned
    counts: Mapping[str, int]  # files, tiles, entryBundles, healed
    warnings: tuple[str, ...]
    logs: tuple[ReceiptLog, ...]

    def __str__(self) -> str:
        """The text that is signed."""
        document = {
            "bundleId": self.bundle_id,
            "clock": self.clock,
            "counts": dict(self.counts),
            "handler": self.handler,
            "logs": [
                {"origin": log.origin, "old": _head_data(log.old), "new": _head_data(log.new)}
                for log in self.logs
            ],
            "sha256": self.sha256,
            "site": self.site,
            "unsigned": self.unsigned,
            "volume": list(self.volume),
            "volumeSet": self.volume_set,
            "warnings": list(self.warnings),
        }
        return f"{MAGIC}\n{json.dumps(document, sort_keys=True, separators=(',', ':'))}\n"

    @property
    def code(self) -> str:
        """What can be read over the phone instead."""
        heads = {log.origin: log.new for log in self.logs}
        return receipt_code(self.site, self.bundle_id, heads)


def volumes_to_come(of: int, here: Collection[int]) -> tuple[int, ...]:
    """Return which of a set of `of` volumes are not `here`: the first NAMED_VOLUMES of them."""
    missing = (number for number in range(1, of + 1) if number not in here)
    return tuple(islice(missing, NAMED_VOLUMES))


def volumes_text(numbers: Sequence[int]) -> str:
    """Name the volumes that are still to come, for people."""
    return ", ".join(map(str, numbers)) + (", …" if len(numbers) == NAMED_VOLUMES else "")


def parse_receipt(text: str) -> Receipt:
    """Parse the text of a receipt; raises MalformedError unless it is spelled as we spell it."""
    magic, _, body = text.partition("\n")
    if magic != MAGIC:
        raise MalformedError(
            f"not a receipt: expected {MAGIC}, got {magic[:80]!r}",
            next_step="a receipt is a receipt-….note file that 'attestor import' wrote",
        )
    document = parse_json(body.encode(), "receipt", MAX_RECEIPT_BYTES)
    try:
        receipt = _receipt(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalformedError(f"receipt: {type(error).__name__}: {error}") from error
    if str(receipt) != text:
        raise MalformedError("receipt: not in its one spelling")
    return receipt


def receipt_code(site: str, bundle_id: str, heads: Mapping[str, TreeHead | None]) -> str:
    """Return the code by which a site names a transfer bundle and its heads, by origin."""
    lines = [f"{MAGIC} code", json.dumps(site), bundle_id]
    for origin, head in sorted(heads.items()):
        stands = "-" if head is None else f"{head.tree_size} {head.root_hash.hex()}"
        lines.append(f"{stands} {json.dumps(origin)}")
    digest = sha256("".join(f"{line}\n" for line in lines).encode()).digest()
    number = int.from_bytes(digest, "big") >> (8 * len(digest) - _CODE_BITS)
    digits = (_ALPHABET[number >> shift & 31] for shift in range(_CODE_BITS - 5, -1, -5))
    return _grouped(digits)


def parse_code(text: str) -> str:
    """Read a code as somebody typed it; raises MalformedError if it cannot be one."""
    characters = text.upper().translate(_MISHEARD)
    if len(characters) != CODE_CHARACTERS or not set(characters) <= set(_ALPHABET):
        raise MalformedError(
            f"not a receipt's code: expected {CODE_CHARACTERS} letters and digits,"
            f" got {text[:80]!r}",
            next_step="have it read again; it has no I, L, O and U",
        )
    return _grouped(characters)


def _grouped(characters: Iterable[str]) -> str:
    text = "".join(characters)
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _head_data(head: TreeHead | None) -> dict[str, Any] | None:
    return {"treeSize": head.tree_size, "rootHash": head.root_hash.hex()} if head else None


def _receipt(document: dict[str, Any]) -> Receipt:
    number, of = document["volume"]
    clock = document["clock"]
    if type(clock) is not int or not 0 <= clock <= MAX_SECONDS:
        raise ValueError(f"clock: expected seconds before the year 10000, got {clock!r:.40}")
    for name in ("bundleId", "sha256"):
        _digest(document[name])
    return Receipt(
        document["bundleId"],
        _text(document["volumeSet"]),
        (int(number), int(of)),
        document["sha256"],
        _text(document["site"]),
        document["clock"],
        _text(document["handler"]),
        document["unsigned"],
        {_text(name): int(count) for name, count in document["counts"].items()},
        tuple(map(_text, document["warnings"])),
        tuple(
            ReceiptLog(_text(log["origin"]), _head(log["old"]), _head(log["new"]))
            for log in document["logs"]
        ),
    )


def _text(value: object) -> str:
    """Take printable text: it is shown to people."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"not printable text: {ascii(value)[:80]}")
    return value


def _digest(value: object) -> bytes:
    raw = bytes.fromhex(_text(value))
    if len(raw) != HASH_BYTES:
        raise ValueError(f"not a SHA-256 in hex: {ascii(value)[:80]}")
    return raw


def _head(value: dict[str, Any] | None) -> TreeHead | None:
    if value is None:
        return None
    return TreeHead(int(value["treeSize"]), Hash(_digest(value["rootHash"])))
