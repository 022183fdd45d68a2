"""journal: what this home did, in a list that nobody can change unnoticed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from re import fullmatch
from typing import Any

import click

from appliance.cli.groups import LazyGroup
from appliance.cli.members import members
from appliance.cli.options import verifier_key
from appliance.cli.output import Result, common_options
from appliance.cli.table import headings_option, table, table_time
from appliance.errors import DigestError
from appliance.jobs.home.journal import check_exported, check_journal, export_journal
from appliance.runs.exit_codes import naming
from appliance.runs.revoked import refuse_keys_revoked_here
from appliance.runs.session import Session, pass_session
from appliance.store.home.journal import JournalLine, last_lines
from appliance.store.home.key_files import load_signing_key
from appliance.store.home.settings import require_site_name
from appliance.tlog.hash_chain import START
from appliance.tlog.merkle import Hash
from appliance.tlog.note import sign_note
from appliance.tlog.note_keys import VerifierKey

FILE = click.Path(path_type=Path, dir_okay=False)
SHOWN = 300  # characters of a line's details; a proof is a thousand and more
_UNSIGNED = "who signed the file was not verified; --key VKEY says whose it must be"


@click.group(cls=LazyGroup)
def journal() -> None:
    """What this home did: append-only, each line bound to all before it.

    \b
    Example:
        attestor journal list --last 20
    """


@journal.command("list")
@click.option(
    "--last",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    metavar="N",
    help="How many lines.",
)
@click.option("--event", help="Only those of this event, e.g. config.changed.")
@headings_option
@common_options
@pass_session
def journal_list(session: Session, last: int, event: str | None) -> Result:
    """List what was done, the newest last.

    Long details are cut; --json has all of them.

    \b
    Example:
        attestor journal list --last 20 --event config.changed
    """

    with session.reading() as store:
        found = last_lines(store, last, event)
    rows = ((str(one.id), table_time(one.at), one.event, _cut(one.details)) for one in found)
    lines = table(("Line", "Time (UTC)", "Event", "Details"), rows, right=("Line",))
    return Result(members(lines=[_data(one) for one in found]), "\n".join(lines) or "no line")


@journal.command("verify")
@click.argument("file", type=FILE, required=False)
@click.option("--head", metavar="HEX", help="A digest that the journal had once: 64 hex digits.")
@click.option("--key", metavar="VKEY", help="With FILE: whose key must have signed it.")
@click.option("--key-file", type=FILE, help="The same; VKEY is the line in this file.")
@common_options
@pass_session
def journal_verify(
    session: Session, file: Path | None, head: str | None, key: str | None, key_file: Path | None
) -> Result:
    """Recompute the journal of this home, or of the exported FILE, which needs no home.

    What was changed, left out or put in is named by its line, with code 3. That the whole
    journal was made anew only a digest from elsewhere can show: give it with --head, from
    an older export, or from what 'attestor publish' logged.

    \b
    Example:
        attestor journal verify
        attestor journal verify journal.jsonl --key site.example+4d3a1b2c+AWx0c2...
    """

    keys: tuple[VerifierKey, ...] = ()
    if file is None:
        if key is not None or key_file is not None:
            raise click.UsageError(
                "--key and --key-file are for an exported FILE; this home's own has no signature"
            )
        with session.reading() as store:
            report = check_journal(store)
        known = report.digests
        what = f"{len(known):,} lines, each bound to all before it"
        data: dict[str, Any] = members(file=None, lines=len(known), signers=[])
    else:
        if key is not None or key_file is not None:
            keys = (verifier_key(key, key_file, name="--key", option="--key-file"),)
        refuse_keys_revoked_here(session, keys)
        with naming(file):
            chain = check_exported(file, keys)
        known = chain.digests
        who = ", ".join(signer.vkey for signer in chain.signers) or "nobody whose key was given"
        what = f"{len(known):,} lines of {chain.head.site}, signed by {who}"
        data = members(
            file=file,
            lines=len(known),
            site=chain.head.site,
            signers=[signer.vkey for signer in chain.signers],
        )
    end = known[-1].hex() if known else None
    data["head"] = end
    text = what if end is None else f"{what}\nhead {end}"
    if head is not None:
        number = _line_of(known, head)
        data["knownHeadLine"] = number
        text += f"\n{head.lower()} is its line {number}: nothing up to there was changed"
    return Result(data, text, () if file is None or keys else (_UNSIGNED,))


@journal.command("export")
@click.option("--output", type=FILE, required=True, metavar="F", help="Where to write it.")
@common_options
@pass_session
def journal_export(session: Session, output: Path) -> Result:
    """Write the whole journal to a file, its end signed by this site's key.

    'attestor journal verify FILE' checks it anywhere, without this home.

    \b
    Example:
        attestor journal export --output journal.jsonl
    """

    with session.reading() as store:
        key = load_signing_key(store.home, require_site_name(store), store.passphrases)
        head = export_journal(store, output, lambda text: sign_note(text, [key]))
    data = members(
        output=output, site=head.site, lines=head.n_lines, head=head.digest, vkey=key.verifier.vkey
    )
    return Result(data, f"wrote {output}: {head.n_lines:,} lines, head {head.digest.hex()}")


def _line_of(known: Sequence[Hash], head: str) -> int:
    """Return the number of the line with that digest; raises what says that there is none."""

    if not fullmatch("[0-9a-fA-F]{64}", head):
        raise click.UsageError(f"--head: expected 64 hex digits, got {head[:80]!r}")
    wanted = Hash(bytes.fromhex(head))
    if wanted == START:
        return 0
    if wanted not in known:
        raise DigestError(
            f"no line of the journal has the digest {head.lower()}: since it was noted, the"
            " journal was cut off before it, or made anew",
            reason="journal-broken",
            next_step="compare with an older export",
        )
    return known.index(wanted) + 1


def _cut(details: str) -> str:
    return details if len(details) <= SHOWN else f"{details[:SHOWN]}…"


def _data(one: JournalLine) -> dict[str, Any]:

    return members(one, "id", "at", "event", "digest", details=one.facts)
