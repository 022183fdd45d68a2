"""entries: what is in the logs that this home mirrors."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import click

from appliance.cli.output import Result, common_options
from appliance.errors import DigestError
from appliance.jobs.mirror.prove import ShownEntry, published_as, show_entry
from appliance.rekor.entry import Dsse, HashedRekord
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.runs.session import Session, pass_session
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror


@click.group()
def entries() -> None:
    """What is in the logs that this home mirrors.

    \b
    Example:
        attestor entries show --origin log.example --index 1234
    """


@entries.command("show")
@click.option("--origin", required=True, help="The log's origin.")
@click.option("--index", "entry_index", type=click.IntRange(0), required=True, help="Which entry.")
@common_options
@pass_session
def entries_show(session: Session, origin: str, entry_index: int) -> Result:
    """Show an entry from our own copy of the log, proven: what was logged, and who signed it.

    Needs the entry bundles ('attestor sync --entries'). What this home published itself is
    compared with its journal; another digest there is code 3.

    \b
    Example:
        attestor entries show --origin log.example --index 1234
    """

    with session.reading() as store:
        shown = show_entry(Mirror(store, require_log(store, origin)), entry_index)
        line = published_as(store, origin, entry_index)
    kind = "no Rekor entry" if shown.entry is None else f"{shown.entry.kind} {shown.entry.version}"
    signers = _signers(shown)
    data = {
        "origin": origin,
        "index": entry_index,
        "kind": kind,
        "digest": shown.digest or None,
        "leafHash": shown.leaf.hex(),
        "treeSize": shown.head.tree_size,
        "rootHash": shown.head.root_hash.hex(),
        "signers": signers,
        "body": shown.body.decode("utf-8", "replace"),
        "journalLine": None if line is None else line.id,
    }
    lines = [
        f"{origin} {entry_index}: {kind}, proven in the tree of {shown.head.tree_size:,}",
        f"  digest   {shown.digest or 'none that can be read here'}",
        f"  leaf     {shown.leaf.hex()}",
    ]
    lines += [f"  signer   {one['type']} {one['sha256']}" for one in signers]
    if line is not None:
        told = json.loads(line.details)["digest"]
        if told != shown.digest:
            raise _not_published(line.id, told, shown.digest)
        lines.append(f"  journal  line {line.id} says that this home published this digest")
    return Result(data, "\n".join(lines))


def _not_published(line: int, told: str, digest: str) -> Exception:

    return DigestError(
        f"line {line} of the journal says that {told} was logged there, the log has"
        f" {digest or 'none'}",
        reason="not-published",
        next_step="run 'attestor journal verify'; if it is whole, ask the log's operator",
    )


def _signers(shown: ShownEntry) -> list[dict[str, Any]]:

    if not isinstance(shown.entry, HashedRekord | Dsse):
        return []
    return [_signer(one.verifier) for one in shown.entry.signatures]


def _signer(material: VerifierMaterial) -> dict[str, Any]:

    kind = "certificate" if material.is_certificate else "key"
    return {"type": kind, "sha256": sha256(material.der).hexdigest()}
