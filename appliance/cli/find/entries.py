"""entries: what is in the logs that this home mirrors."""

from __future__ import annotations

import json
from pathlib import Path

import click

from appliance.cli.entry_place import chosen_entry, log_index_option, place_data
from appliance.cli.find.signers import known_lines, signer_data, signer_lines
from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.cli.output import Result, common_options, printable
from appliance.jobs.find.search import describe
from appliance.jobs.find.vouching import Voucher
from appliance.jobs.mirror.prove import published_as, show_entry, stored_entry
from appliance.rekor.signing_algorithms import digest_text
from appliance.rekor.transparency_log_entry import format_log_entry
from appliance.rekor.verifier_material import pem_text
from appliance.runs.session import Session, pass_session
from appliance.store.files import written_whole
from appliance.store.mirror.mirror import Mirror
from appliance.times import utc


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
@click.option("--origin", help="The log's origin.")
@click.option("--index", "entry_index", type=Whole(0), help="Which entry.")
@log_index_option
@click.option("--pem", is_flag=True, help="Print the signers' keys and certificates, as PEM.")
@click.option(
    "--bundle-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the entry with its proof into a new file, as a Sigstore bundle holds it.",
)
@common_options
@pass_session
def entries_show(
    session: Session,
    origin: str | None,
    entry_index: int | None,
    log_index: int | None,
    pem: bool,
    bundle_out: Path | None,
) -> Result:
    """Show an entry from our own copy of the log, proven: what was logged, and who signed it.

    Needs the entry bundles ('attestor sync --entries'). What this home published itself is
    compared with its journal; another digest there is code 3. Identity, issuer and claims are
    what the certificate says: anybody can write them into one of his own, and "vouched" is
    whether it leads to an authority of the trusted root of this home. --log-index takes the index
    over all trees of a Rekor v1 log and finds the tree, offline, by where the trees begin that
    this home knows; --origin then names the instance, where more than one is known.

    \b
    Example:
        attestor entries show --origin log.example --index 1234
        attestor entries show --log-index 771488337
        attestor entries show --origin log.example --index 1234 --pem
    """

    if (entry_index is None) is (log_index is None):
        raise click.UsageError("exactly one of --index and --log-index is needed")
    with session.reading() as store:
        chosen = chosen_entry(store, origin, entry_index, log_index)
        origin, entry_index = chosen.log.origin, chosen.entry_index
        mirror = Mirror(store, chosen.log)
        shown = show_entry(mirror, entry_index)
        line = published_as(store, origin, entry_index, shown.digest)
        hit = describe(mirror, entry_index, shown.leaf, shown.head, shown.body, Voucher(store))
        entry = None if bundle_out is None else stored_entry(mirror, entry_index)
    if entry is not None and bundle_out is not None:
        with written_whole(bundle_out) as file:
            file.write((json.dumps(format_log_entry(entry), indent=2) + "\n").encode())
    facts, kind = hit.facts, "no Rekor entry"
    if shown.entry is not None:
        kind = f"{shown.entry.kind} {shown.entry.version}"
    signers = list(zip(facts.signers, hit.vouched, strict=True))
    texts = [pem_text(one.der, is_certificate=one.is_certificate) for one in facts.signers]
    data = members(
        shown.head,
        "tree_size",
        "root_hash",
        origin=origin,
        index=entry_index,
        **place_data(chosen.place),
        kind=kind,
        digest=shown.digest or None,
        known_statement=list(map(digest_text, hit.known_statement)),
        expectation=hit.expectation,
        leaf_hash=shown.leaf,
        logged_after=None if hit.logged_after is None else utc(hit.logged_after),
        logged_before=None if hit.logged_before is None else utc(hit.logged_before),
        signers=[signer_data(*one) for one in signers],
        unread=facts.unread,
        body=shown.body.decode("utf-8", "replace"),
        journal_line=None if line is None else line.id,
        **({"pem": texts} if pem else {}),
        **({} if bundle_out is None else {"bundle_out": bundle_out}),
    )
    if pem:
        return Result(data, "".join(texts).removesuffix("\n"))
    lines = [
        f"{origin} {entry_index}: {kind}, proven in the tree of {shown.head.tree_size:,}",
        *([] if chosen.place is None else [f"  {chosen.place}"]),
        f"  digest   {shown.digest or 'none that can be read here'}",
        f"  leaf     {shown.leaf.hex()}",
        *known_lines(hit),
        *(text for one in signers for text in signer_lines(*one)),
        *(f"  unread   {printable(why)}" for why in facts.unread),
    ]
    if line is not None:
        lines.append(f"  journal  line {line.id} says that this home published this digest")
    if bundle_out is not None:
        lines.append(f"  Wrote {bundle_out}")
    return Result(data, "\n".join(lines))
