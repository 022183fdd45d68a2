"""Check the chains of a home, and write the journal to a file that is checked without one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from appliance.errors import ApplianceError, DigestError, SignatureError, StoreError
from appliance.store.database import Store
from appliance.store.files import open_foreign, written_whole
from appliance.store.home.journal import JournalHead, journal_head, journal_lines
from appliance.store.home.settings import require_site_name
from appliance.store.transfer.custody import CUSTODY_ADDED, custody_lines
from appliance.tlog.chain_file import (
    MAX_LINE_BYTES,
    ChainHead,
    CheckedChain,
    format_chain,
    verify_chain,
)
from appliance.tlog.hash_chain import START, link, links
from appliance.tlog.merkle import Hash
from appliance.tlog.note_keys import VerifierKey
from appliance.value import frozen

SignNote = Callable[[str], bytes]  # a note's text to the note, signed by this site
_NEXT = "what was done here can no longer be told from this store: compare with an export"


@frozen
class JournalReport:
    """A journal that is whole."""

    head: JournalHead
    digests: tuple[Hash, ...]  # after each line, in order


def check_journal(store: Store) -> JournalReport:
    """Recompute the chain of the store's journal.

    Raises DigestError (reason journal-broken), naming the first line that is wrong.
    """
    digests: list[Hash] = []
    previous = START
    for line in journal_lines(store):
        number = len(digests) + 1
        if line.id != number:
            raise _broken(f"line {number} is missing")
        previous = link(previous, line.text)
        if previous != line.digest:
            raise _broken(
                f"line {number}: its digest should be {previous.hex()}, the store says"
                f" {line.digest.hex()}: it, or its digest, was changed"
            )
        digests.append(previous)
    head = journal_head(store)
    if (head.id, head.digest) != (len(digests), previous):
        raise _broken(
            f"line {len(digests) + 1} is missing: {head.id} lines were written, ending in"
            f" {head.digest.hex()}"
            if head.id > len(digests)
            else f"line {head.id + 1} was put in: the last line written was {head.id}"
        )
    return JournalReport(head, tuple(digests))


def check_custody(store: Store) -> int:
    """Recompute the chain of the custody list, and compare its lines with the journal's word.

    Returns how many lines there are. Raises DigestError (reason custody-chain), naming the
    first line that is wrong, missing or too many.
    """
    said: dict[int, str | None] = {}  # None: written before the journal had the digest
    for event in journal_lines(store, event=CUSTODY_ADDED):
        details = event.facts
        said[details["id"]] = details.get("digest")
    n_lines, lines = 0, list(custody_lines(store))
    for line, digest in zip(lines, links(line.text for line in lines), strict=True):
        n_lines += 1
        if line.id != n_lines:
            raise _custody_broken(f"line {n_lines} is missing")
        if line.digest != digest or (said.get(line.id) or digest.hex()) != digest.hex():
            raise _custody_broken(f"line {line.id}, or one before it, is not as it was written")
        if line.id not in said:
            raise _custody_broken(f"line {line.id} was put in: the journal does not know it")
    if n_lines < len(said):
        raise _custody_broken(
            f"line {n_lines + 1} is missing: the journal tells of {len(said)} lines"
        )
    return n_lines


def check_chains(store: Store) -> list[ApplianceError]:
    """Check every hash chain of the store; return what is wrong with each."""
    wrong: list[ApplianceError] = []
    for check in (check_journal, check_custody):
        try:
            check(store)
        except (DigestError, StoreError) as error:
            wrong.append(error)
    return wrong


def export_journal(store: Store, output: Path, sign: SignNote) -> ChainHead:
    """Write the whole journal to `output`, its end signed; it appears complete or not at all.

    Raises DigestError as check_journal does: nothing is signed that is not whole.
    """
    report = check_journal(store)
    head = ChainHead(require_site_name(store), report.head.id, report.head.digest)
    # Another run may have written more since.
    known = islice(journal_lines(store), head.n_lines)
    lines = ((line.text, line.digest) for line in known)
    with written_whole(output) as file:
        file.writelines(format_chain(lines, sign(str(head))))
    return head


def check_exported(path: Path, keys: tuple[VerifierKey, ...]) -> CheckedChain:
    """Check an exported journal, with `keys` also who signed it.

    A journal is its site's alone: raises SignatureError if only keys of other names signed
    it, and as verify_chain does.
    """
    with open_foreign(path) as file:
        # A line that is cut off here is none of ours, and refused as that.
        chain = verify_chain(iter(lambda: file.readline(MAX_LINE_BYTES), b""), keys)
    if keys and all(signer.name != chain.head.site for signer in chain.signers):
        raise SignatureError(
            f"it says it is the journal of {chain.head.site}, signed by"
            f" {', '.join(signer.name for signer in chain.signers)}",
            reason="foreign-journal",
            next_step="give the key of the site whose journal it is",
        )
    return chain


def _broken(what: str) -> DigestError:
    return DigestError(f"the journal: {what}", reason="journal-broken", next_step=_NEXT)


def _custody_broken(what: str) -> DigestError:
    return DigestError(
        f"the custody list: {what}",
        reason="custody-chain",
        next_step="somebody changed the database: compare with a backup",
    )
