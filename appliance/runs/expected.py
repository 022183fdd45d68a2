"""expected: fill the ledger of what should be signed, compare it with the logs, and tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import ApplianceError, CorruptError, IncompleteError, VerificationError
from appliance.jobs.find.expected import (
    Reached,
    State,
    describe_finding,
    describe_terms,
    findings_of,
    join_own,
    judge_ledger,
    reached_verdicts,
    tell,
)
from appliance.jobs.find.known_statements import remember_bundles
from appliance.jobs.find.ledger import find_met
from appliance.jobs.find.remembered import Remembered
from appliance.policy.expected import Standing
from appliance.rekor.entry_facts import read_entry
from appliance.runs.exit_codes import naming
from appliance.runs.session import Session
from appliance.sigstore.attestation_files import parse_attestation_file
from appliance.sigstore.sigstore_bundle import MAX_BUNDLE_BYTES, SigstoreBundle
from appliance.store.database import Store
from appliance.store.files import read_foreign
from appliance.store.find.expectations import (
    OPERATOR,
    Expectation,
    Terms,
    add_expectation,
    cancel_expectation,
    require_expectation,
)
from appliance.store.find.index import Index, open_index
from appliance.store.mirror.logs import require_log
from appliance.tlog.merkle import leaf_hash
from appliance.value import frozen


@frozen
class Added:
    """What was asked for, as it is in the ledger now."""

    expectation: Expectation
    is_new: bool


@frozen
class LedgerRun:
    """The ledger, judged by what the logs hold."""

    states: tuple[State, ...]
    warnings: tuple[str, ...] = ()
    errors: tuple[ApplianceError, ...] = ()


def terms_of_bundle(path: Path) -> tuple[list[Terms], tuple[SigstoreBundle, ...]]:
    """Return what the log entries in a Sigstore bundle are: exactly these are expected.

    And the bundles in the file, for add_expected.
    Raises IncompleteError if it has none, or one that cannot be read; MalformedError or
    LimitError for a file that is none. Nothing in it is verified: whoever adds it vouches.
    """
    with naming(path):
        bundles = parse_attestation_file(read_foreign(path, MAX_BUNDLE_BYTES))
        found = []
        for entry in (one for bundle in bundles for one in bundle.log_entries):
            facts = read_entry(entry.canonicalized_body)
            if not facts.digests or not facts.signers:
                raise IncompleteError(
                    f"its log entry ({facts.kind}) cannot be read",
                    reason="unread-entry",
                    next_step="say what is expected with --digest",
                )
            terms = Terms(
                leaf=leaf_hash(entry.canonicalized_body),
                digest=facts.digests[0][1],
                signer=facts.signers[0].fingerprint,
            )
            found.append(terms)
        if not found:
            raise IncompleteError(
                "the Sigstore bundle has no log entry",
                reason="no-entry",
                next_step="queue it ('attestor queue add' expects what it logs), or give --digest",
            )
    return found, bundles


def add_expected(
    session: Session, wanted: Sequence[Terms], bundles: Sequence[SigstoreBundle] = ()
) -> tuple[Added, ...]:
    """Put what is expected into the ledger; what is there already is found.

    What the attestations among the bundles are about is remembered.
    All or nothing. Raises IncompleteError for a log that is not known here.
    """
    now = session.now()
    with session.writing_unlocked() as store:
        for terms in wanted:
            if terms.origin is not None:
                require_log(store, terms.origin)
        with store.atomic():
            added = [_add(store, terms, now) for terms in wanted]
            remember_bundles(store, bundles)
    return tuple(added)


def _add(store: Store, terms: Terms, now: int) -> Added:
    """Add terms; what was cancelled is asked for anew."""
    reference, number = terms.reference, 1
    while True:
        found, is_new = add_expectation(store, OPERATOR, reference, terms, now)
        if is_new or found.cancelled_at is None:
            return Added(found, is_new)
        number += 1
        reference = f"{terms.reference}.{number}"


def cancel_expected(session: Session, id_: int, reason: str) -> Expectation:
    """Say that something is not expected any more; raises as cancel_expectation does."""
    with session.writing_unlocked() as store, store.atomic():
        return cancel_expectation(store, id_, reason, session.now())


def read_ledger(session: Session) -> LedgerRun:
    """Judge the ledger by what was found so far; without an index nothing is proven missing."""
    with session.reading() as store, _index(session) as index:
        return LedgerRun(judge_ledger(store, index, session.now()))


def show_expected(session: Session, id_: int) -> State:
    """Return one row of the ledger; raises IncompleteError if there is none."""
    with session.reading() as store:
        require_expectation(store, id_)
    return next(state for state in read_ledger(session).states if state.expectation.id == id_)


def check_ledger(session: Session) -> LedgerRun:
    """Compare the ledger with the logs now, tell what follows, and say what is proven.

    Raises IncompleteError (no-index) if there is no index of entries.
    """
    with session.writing_unlocked() as store, _index(session) as index:
        if index is None:
            raise IncompleteError(
                "this home has no index of entries",
                reason="no-index",
                next_step="make it: attestor index build",
            )
        said = _pass(store, index, session.now())
        states = judge_ledger(store, index, session.now())
    errors: list[ApplianceError] = [
        VerificationError(
            describe_finding(finding, state),
            reason=f"expected-{finding.value}",
            next_step=f"see 'attestor expected show {state.expectation.id}'; if it is explained:"
            f" attestor expected cancel {state.expectation.id} --reason TEXT",
        )
        for state in states
        for finding in findings_of(state)
    ]
    errors += [
        IncompleteError(
            f"expectation {state.expectation.id} ({describe_terms(state.expectation.terms)}):"
            f" not logged as far as was looked, but {'; '.join(state.why)}",
            reason="cannot-tell",
            next_step="run 'attestor sync --entries', or import a transfer bundle with entries;"
            " then 'attestor index build'",
        )
        for state in states
        if state.standing is Standing.CANNOT_TELL
    ]
    return LedgerRun(states, said, tuple(errors))


@frozen
class BlastRadius:
    """Artifacts that were verified here by entries that nobody expected."""

    reached: tuple[Reached, ...]
    errors: tuple[ApplianceError, ...]


def blast_radius(session: Session) -> BlastRadius:
    """List recorded verdicts whose entry became unexpected since; each is an error.

    So is a verdict that is damaged here: nobody can tell of it.
    """
    with session.reading() as store:
        reached, unread = reached_verdicts(store)
    errors = tuple(
        VerificationError(
            f"{one.verdict.artifact} was verified by entry {one.match.entry_index} of"
            f" {one.match.origin}, which nobody expected",
            reason="unexpected-entry",
            next_step="quarantine it; confirm who signed; if nobody, revoke the identity",
        )
        for one in reached
    )
    return BlastRadius(reached, (*errors, *(one.error for one in unread)))


def compare_ledger(session: Session, remembered: Remembered | None = None) -> tuple[str, ...]:
    """Compare the ledger with what is mirrored; returns what is to be said."""
    with session.writing_unlocked() as store, _index(session) as index:
        return _pass(store, index, session.now(), remembered)


def _pass(
    store: Store, index: Index | None, now: int, remembered: Remembered | None = None
) -> tuple[str, ...]:
    """Compare and tell; raises CorruptError for damage of ours, after the rest was told."""
    join_own(store)
    try:
        if index is not None:
            find_met(store, index, now, remembered)
    except CorruptError:
        tell(store, index, now)
        raise
    return tell(store, index, now)


@contextmanager
def _index(session: Session) -> Iterator[Index | None]:
    index = open_index(session.home, write=False)
    try:
        yield index
    finally:
        if index is not None:
            index.close()
