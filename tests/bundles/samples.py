"""A small transfer bundle, signed with a real key, and the pieces to bend it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import BinaryIO, Final

from appliance.errors import VerificationError
from appliance.tlog.note import SigningKey, open_note, sign_note
from bundles.errors import BundleError
from bundles.manifest import (
    Contains,
    CreatedBy,
    Custody,
    DataAge,
    Entries,
    Have,
    LogPart,
    Manifest,
    Tiles,
    Totals,
    TreeHeadRef,
    Volume,
    log_directory,
)
from bundles.manifest_json import format_manifest
from bundles.reader import TransferBundle, read_bundle
from bundles.sums import format_sum
from bundles.ustar import TRAILER, format_member_header, padding_bytes
from bundles.wrap import Wrap
from bundles.writer import Member, Written, list_members, write_bundle

# What refuses a file: this package, or the note that the header is.
REFUSALS: Final = (BundleError, VerificationError)

KEY: Final = SigningKey("site-a.example", bytes(range(32)))
ORIGIN: Final = "log.example/2025"
LOG: Final = log_directory(ORIGIN)
NOW: Final = 1_767_225_600  # 2026-01-01T00:00:00Z

FILES: Final = {
    f"{LOG}/checkpoint": b"log.example/2025\n7\nroot\n",
    f"{LOG}/tile/0/000.p/7": bytes(range(224)),
    "pending/a.json": b"",
    "pending/b.json": b"x" * 1025,
}

MANIFEST: Final = Manifest(
    created_at=NOW,
    created_by=CreatedBy("attestor", "0.1.0"),
    site="site-a.example",
    purpose="daily",
    logs=(
        LogPart(
            origin=ORIGIN,
            vkeys=("log.example/2025+0a1b2c3d+AQ==",),
            base=TreeHeadRef(3, bytes(32)),
            head=TreeHeadRef(7, bytes([7]) * 32),
            tiles=Tiles(count=1, n_bytes=224),
            entries=Entries(3, 7),
        ),
    ),
    volume=Volume("site-a-20260101", 1, 1),
    totals=Totals(files=4, n_bytes=1273),
    data_age=DataAge(newest_checkpoint=NOW - 60, trust_root_fetched=None),
    have=(Have(ORIGIN, 7, bytes([7]) * 32),),
    contains=Contains(pending=2, receipts=0, acks=0, checkpoints_seen=0),
    custody=Custody(handler="Zoë", media_id="stick 4", seal="", ticket=""),
)


def sign(text: str) -> bytes:
    return sign_note(text, [KEY])


@cache  # the sweeps open the same good note a hundred thousand times
def open_header(note: bytes) -> str:
    return open_note(note, [KEY.verifier]).text


def read(data: bytes) -> TransferBundle:
    return read_bundle(io.BytesIO(data), open_header)


def contents(bundle: TransferBundle) -> dict[str, bytes]:
    return {path: bundle.read(path) for path in bundle.paths()}


def members(files: Mapping[str, bytes]) -> list[Member]:
    return [
        Member(path, len(data), hashlib.sha256(data).digest(), data.__bytes__)
        for path, data in files.items()
    ]


def write_members(
    out: BinaryIO,
    given: Sequence[Member],
    manifest: Manifest = MANIFEST,
    totals: Totals | None = None,
    note: bytes | None = None,
    wrap: Wrap = Wrap.PLAIN,
) -> Written:
    """Write members with the manifest that says so, unless other totals are given."""
    listed = list_members(given)
    return write_bundle(
        out,
        manifest=replace(manifest, totals=totals or listed.totals),
        members=given,
        listed=listed,
        sign=lambda text: note or sign(text),
        wrap=wrap,
    )


def bundle_of(
    files: Mapping[str, bytes], wrap: Wrap = Wrap.PLAIN, manifest: Manifest = MANIFEST
) -> bytes:
    out = io.BytesIO()
    listed = members(files)
    write_members(out, listed, manifest, wrap=wrap)
    return out.getvalue()


def format_sums(digests: Iterable[tuple[str, bytes]]) -> bytes:
    """SHA256SUMS of members given as (path, digest)."""
    return b"".join(format_sum(path, digest) for path, digest in digests)


def padded(data: bytes) -> bytes:
    return data + bytes(padding_bytes(len(data)))


def archived(path: str, data: bytes) -> bytes:
    """A member as it stands in the archive."""
    return format_member_header(path, len(data)) + padded(data)


def signed_front(manifest: bytes, sums: bytes) -> bytes:
    """The first three members, correctly signed, whatever is in them."""
    digests = "".join(f"{hashlib.sha256(data).hexdigest()}\n" for data in (manifest, sums))
    return (
        archived("header", sign(f"attestor-transfer/v1\n{digests}"))
        + archived("manifest.json", manifest)
        + archived("SHA256SUMS", sums)
    )


def forged(
    tail: bytes,
    listed: Sequence[tuple[str, bytes]] = tuple(FILES.items()),
    *,
    totals: Totals | None = None,
    end: bytes = TRAILER,
) -> bytes:
    """A transfer bundle by a known exporter who means harm: signed, then `tail`."""
    actual = Totals(len(listed), sum(len(data) for _, data in listed))
    manifest = format_manifest(replace(MANIFEST, totals=totals or actual))
    sums = format_sums((path, hashlib.sha256(data).digest()) for path, data in listed)
    return signed_front(manifest, sums) + tail + end
