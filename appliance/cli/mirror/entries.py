"""entries: what is in the logs that this home mirrors."""

from __future__ import annotations

from typing import Any, Final

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.output import Result, common_options, printable
from appliance.jobs.mirror.prove import published_as, show_entry
from appliance.rekor.entry_facts import SignerFacts, read_entry
from appliance.runs.session import Session, pass_session
from appliance.sigstore.identity import CLAIMS
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.times import utc

_CLAIM_NAMES: Final = {int(oid.rpartition(".")[2]): name for name, oid in CLAIMS.items()}


@click.group(
    cls=LazyGroup,
    lazy={
        "search": "find.search:entries_search",
        "list": "find.search:entries_list",
        "statement": "find.search:statement_group",
    },
)
def entries() -> None:
    """What is in the logs that this home mirrors.

    \b
    Example:
        attestor entries search --identity-exact release@example.com
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
    compared with its journal; another digest there is code 3. Identity, issuer and claims are
    what the certificate says: whether an authority vouches for it is not looked at.

    \b
    Example:
        attestor entries show --origin log.example --index 1234
    """

    with session.reading() as store:
        shown = show_entry(Mirror(store, require_log(store, origin)), entry_index)
        line = published_as(store, origin, entry_index, shown.digest)
    kind = "no Rekor entry" if shown.entry is None else f"{shown.entry.kind} {shown.entry.version}"
    facts = read_entry(shown.body)
    signers = [_signer(one) for one in facts.signers]
    data = members(
        shown.head,
        "tree_size",
        "root_hash",
        origin=origin,
        index=entry_index,
        kind=kind,
        digest=shown.digest or None,
        leaf_hash=shown.leaf,
        signers=signers,
        unread=facts.unread,
        body=shown.body.decode("utf-8", "replace"),
        journal_line=None if line is None else line.id,
    )
    lines = [
        f"{origin} {entry_index}: {kind}, proven in the tree of {shown.head.tree_size:,}",
        f"  digest   {shown.digest or 'none that can be read here'}",
        f"  leaf     {shown.leaf.hex()}",
    ]
    for one in signers:
        lines.append(f"  signer   {one['type']} {one['sha256']}")
        lines += [f"    identity {printable(name)}" for name in one.get("identities", [])]
        lines += [f"    issuer   {printable(name)}" for name in one.get("issuers", [])]
    lines += [f"  unread   {printable(why)}" for why in facts.unread]
    if line is not None:
        lines.append(f"  journal  line {line.id} says that this home published this digest")
    return Result(data, "\n".join(lines))


def _signer(facts: SignerFacts) -> dict[str, Any]:
    kind = "certificate" if facts.is_certificate else "key"
    signer: dict[str, Any] = members(type=kind, sha256=facts.fingerprint)
    certificate = facts.certificate
    if certificate is not None:
        signer["identities"] = [name for _, name in certificate.identities]
        signer["issuers"] = list(certificate.issuers)
        signer["claims"] = {
            _CLAIM_NAMES[number]: text
            for number, text in certificate.claims
            if number in _CLAIM_NAMES
        }
        at = certificate.signed_at
        signer["signedAt"] = None if at is None else utc(at)
    return signer
