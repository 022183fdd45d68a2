"""receipt: what the far side says it imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.options import typed
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table, table_time
from appliance.errors import ApplianceError, MalformedError
from appliance.jobs.transfer.receipt_text import (
    MAGIC,
    MAX_RECEIPT_BYTES,
    Receipt,
    parse_code,
    parse_receipt,
)
from appliance.jobs.transfer.receipts import Accepted, accept_code, accept_receipt
from appliance.runs.exit_codes import naming
from appliance.runs.session import Session, pass_session
from appliance.store.files import read_foreign
from appliance.store.transfer.receipts import all_receipts
from appliance.times import utc
from appliance.tlog.merkle import TreeHead
from appliance.tlog.note import parse_note

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=LazyGroup)
def receipt() -> None:
    """Receipts of imports: the next export continues from what they say.

    \b
    Example:
        attestor receipt list
    """


@receipt.command("list")
@headings_option
@common_options
@pass_session
def receipt_list(session: Session) -> Result:
    """List receipts: ours, and those that were accepted.

    \b
    Example:
        attestor receipt list --json
    """

    with session.reading() as store:
        found = all_receipts(store)
    data = [members(one, "bundle_id", "site", "ours", "at", by_phone=not one.note) for one in found]
    rows = (
        (
            *(table_time(one.at), "ours" if one.ours else one.site),
            *("file" if one.note else "phone", one.bundle_id),
        )
        for one in found
    )
    lines = table(("Time (UTC)", "Site", "By", "Transfer Bundle"), rows)
    return Result(members(receipts=data), "\n".join(lines) or "none")


@receipt.command("show")
@click.argument("file", type=FILE)
@common_options
def receipt_show(file: Path) -> Result:
    """Say what the receipt FILE claims. Needs no key and verifies nothing.

    \b
    Example:
        attestor receipt show receipt-4f1a….note
    """

    with naming(file):
        note = parse_note(_read(file))
        claimed = parse_receipt(note.text)
    signers = [signature.name for signature in note.signatures]
    data = members(verified=False, claimed_signers=signers) | _data(claimed)
    lines = [f"{file}: a receipt, NOT VERIFIED", f"  signed  {', '.join(signers)} (says the file)"]
    return Result(data, "\n".join([*lines, *_lines(claimed)]))


@receipt.command("verify")
@click.argument("file", type=FILE)
@common_options
@pass_session
def receipt_verify(session: Session, file: Path) -> Result:
    """Check the receipt FILE as accept does, and change nothing.

    A key of that site, enrolled by 'exporters add', must have signed it, and the trees it
    names must be ours.

    \b
    Example:
        attestor receipt verify receipt-4f1a….note
    """

    with session.reading() as store, naming(file):
        accepted = accept_receipt(store, _read(file), session.now(), dry_run=True)
    return _accepted(accepted, "verified")


@receipt.command("accept")
@click.argument("files", type=FILE, nargs=-1)
@click.option("--code", help="What was read over the phone instead: XXXX-XXXX-…")
@click.option("--site", help="With --code: who read it.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@common_options
@pass_session
def receipt_accept(
    session: Session, files: tuple[Path, ...], code: str | None, site: str | None, dry_run: bool
) -> Result:
    """Remember what the far side imported: exports continue from there.

    A receipt comes back by itself in the far side's next transfer bundle; this is for those
    that were carried alone, in any order, or read over the phone. The code authenticates
    nobody: make sure who is speaking.

    \b
    Example:
        attestor receipt accept /media/stick/receipt-*.note
        attestor receipt accept --code 7Q2M-90XD-K3TB-AA1Z-8FHE-WS6R --site inside.example
    """

    if bool(files) == (code is not None):
        raise click.UsageError("either FILES or --code is needed")
    if (code is None) != (site is None):
        raise click.UsageError("--code and --site go together")
    done: list[Accepted] = []
    errors: list[ApplianceError] = []
    with session.writing() as store:
        if code is not None:
            with typed("--code"):
                read = parse_code(code)
            done.append(accept_code(store, read, site or "", session.now(), dry_run=dry_run))
        for file in files:
            try:
                with naming(file):
                    done.append(accept_receipt(store, _read(file), session.now(), dry_run=dry_run))
            except ApplianceError as error:
                errors.append(error)
    found = [_accepted(one, "would be accepted" if dry_run else "accepted") for one in done]
    return Result(
        members(accepted=[one.data for one in found]) | (found[0].data if len(found) == 1 else {}),
        "\n".join(one.text for one in found),
        tuple(f"{one.bundle_id[:12]}: {text}" for one in done for text in _warnings(one)),
        tuple(errors),
    )


def _warnings(accepted: Accepted) -> tuple[str, ...]:
    other = () if accepted.is_ours else ("this home wrote no such transfer bundle",)
    return (*accepted.warnings, *other)


def _read(file: Path) -> bytes:

    raw = read_foreign(file, MAX_RECEIPT_BYTES)
    if not raw.startswith(f"{MAGIC}\n".encode()):
        raise MalformedError(
            f"not a receipt: it begins with {raw[:16]!r}, expected {MAGIC}",
            reason="not-a-receipt",
            next_step="'attestor import' wrote one, receipt-….note; look whether it is the right"
            " file",
        )
    return raw


def _accepted(accepted: Accepted, what: str) -> Result:
    heads = {origin: _head_data(head) for origin, head in accepted.heads.items()}
    data: dict[str, Any] = members(accepted, "bundle_id", "site", heads=heads)
    if accepted.receipt is not None:
        data |= members(verified=True) | _data(accepted.receipt)
    lines = [f"{what}: {accepted.site} imported {accepted.bundle_id}"]
    lines += [
        f"  {origin}: holds {head.tree_size:,}" if head else f"  {origin}: holds nothing whole yet"
        for origin, head in accepted.heads.items()
    ]
    return Result(data, "\n".join(lines), _warnings(accepted))


def _head_data(head: TreeHead | None) -> dict[str, Any] | None:
    return members(head, "tree_size", "root_hash") if head else None


def _data(one: Receipt) -> dict[str, Any]:
    return members(
        one,
        "bundle_id",
        "site",
        "sha256",
        "volume",
        "clock",
        "handler",
        "unsigned",
        "counts",
        "warnings",
        "code",
        logs=[
            members(origin=log.origin, old=_head_data(log.old), new=_head_data(log.new))
            for log in one.logs
        ],
    )


def _lines(one: Receipt) -> list[str]:
    return [
        f"  site    {one.site}, at {utc(one.clock)} by its clock",
        f"  bundle  {one.bundle_id} (volume {one.volume[0]} of {one.volume[1]})",
        f"  sha256  {one.sha256}",
        *([f"  handler {one.handler}"] if one.handler else []),
        *(
            f"  {log.origin}: {log.old.tree_size if log.old else 'nothing'} ->"
            f" {log.new.tree_size if log.new else 'nothing'}"
            for log in one.logs
        ),
        *(f"  warning {text}" for text in one.warnings),
        f"  code    {one.code}",
    ]
