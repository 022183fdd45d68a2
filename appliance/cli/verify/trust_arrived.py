"""trust arrived: trust material that transfer bundles brought, which nobody trusts yet."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.errors import ApplianceError, IncompleteError
from appliance.jobs.transfer.side_members import ROOT_MEMBER
from appliance.runs.session import Session, pass_session
from appliance.store.verify.trust import ArrivedFile, arrived_files, current_root
from appliance.tlog.strict_json import parse_json


@click.command("arrived")
@common_options
@pass_session
def trust_arrived(session: Session) -> Result:
    """Show the trust material that came in transfer bundles, and whether it is pinned.

    Exporters can send anything here. Compare the digest with one from another channel, then
    'attestor trust import --arrived DIGEST'.

    \b
    Example:
        attestor trust arrived
    """

    with session.reading() as store:
        files = arrived_files(store)
        pinned = current_root(store)
    digest = pinned.digest if pinned else None
    data = [_data(file, pinned=file.digest == digest) for file in files]
    lines = [_line(file, pinned=file.digest == digest) for file in files]
    return Result(members(arrived=data), "\n".join(lines) or "nothing came yet")


def arrived_root(session: Session, digest: str) -> tuple[bytes, str]:
    """Return the trusted root with this digest that arrived, and where from."""

    with session.reading() as store:
        for file in arrived_files(store):
            if file.path == ROOT_MEMBER and file.digest == digest:
                return file.raw, f"transfer bundle {file.bundle_id[:12]}"
    raise IncompleteError(
        f"no trusted root with SHA-256 {digest[:64]!r} arrived here",
        reason="not-arrived",
        next_step="type all 64 digits; see 'attestor trust arrived'",
    )


def _line(file: ArrivedFile, *, pinned: bool) -> str:
    return f"{file.digest}  {file.path}  {_what(file.raw)}{', pinned' if pinned else ''}"


def _data(file: ArrivedFile, *, pinned: bool) -> dict[str, Any]:
    return members(
        file,
        "path",
        "digest",
        "bundle_id",
        "arrived_at",
        bytes=len(file.raw),
        what=_what(file.raw),
        pinned=pinned,
    )


def _what(raw: bytes) -> str:
    """Say what a file claims to be: of TUF metadata its version and when it runs out."""

    try:
        document = parse_json(raw)
    except ApplianceError:
        return "no JSON"
    signed = document.get("signed") if isinstance(document, dict) else None
    if isinstance(signed, dict):
        claims = (signed.get(name) for name in ("_type", "version", "expires"))
        kind, version, expires = (ascii(claim)[:40].strip("'") for claim in claims)
        return f"tuf {kind} v{version}, expires {expires}"
    media = document.get("mediaType") if isinstance(document, dict) else None
    return media[:80] if isinstance(media, str) and media.isprintable() else "JSON"
