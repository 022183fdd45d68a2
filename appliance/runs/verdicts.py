"""What is remembered of verdicts, and judging all of it again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from appliance.errors import (
    ApplianceError,
    MalformedError,
    RefusedError,
    StoreError,
    VerificationError,
)
from appliance.jobs.divergence.gossip import compare_note
from appliance.jobs.find.known_statements import remember_file
from appliance.jobs.verify.asked import (
    Asked,
    describe_demands,
    describe_signer,
    policy_of,
    read_asked,
    trust_of,
)
from appliance.jobs.verify.judged import Answer, Demands, Verdict
from appliance.jobs.verify.recheck import judge_again, keep_contradiction
from appliance.policy.own_view import Coverage
from appliance.runs.demands import demands_of
from appliance.runs.exit_codes import exit_code
from appliance.runs.session import Session
from appliance.runs.tell import deliver_due
from appliance.sigstore.log_trust import LogTrust
from appliance.store.database import Store
from appliance.store.divergence.quarantine import quarantines
from appliance.store.home.clock import SIGNED, raise_floor
from appliance.store.verify.trust import current_root
from appliance.store.verify.verdicts import (
    RecordedVerdict,
    UnreadVerdict,
    forget_verdicts,
    read_given_root,
    record_verdict,
    recorded_verdicts,
)
from appliance.value import frozen, replaced

# Reads recorded demands (JSON): under what they are asked, and what is demanded.
Question = Callable[[str], tuple[tuple[LogTrust, ...], Demands]]


@frozen
class ChangedVerdict:
    """A verdict that is another one today."""

    before: RecordedVerdict
    after: RecordedVerdict
    error: ApplianceError | None  # None: it is verified now


@frozen
class Recheck:
    """What came of judging every recorded verdict again."""

    judged: int
    changed: tuple[ChangedVerdict, ...]
    unread: tuple[UnreadVerdict, ...]

    @property
    def worse(self) -> tuple[ApplianceError, ...]:
        """Why verdicts that changed are a no, or another no, today; and why some are not judged."""
        changed = (one.error for one in self.changed if one.error is not None)
        return (*changed, *(one.error for one in self.unread))


def keep_contradictions(session: Session, answers: Sequence[Answer]) -> Iterator[str]:
    """Keep both notes of every contradiction as evidence; it is in the JSON in any case."""
    try:
        with session.writing() as store:
            for answer in answers:
                verdict = answer.verdict
                if verdict is None or verdict.own_view.coverage is not Coverage.CONTRADICTION:
                    continue
                number = keep_contradiction(store, verdict, str(answer.bundle_path), session.now())
                yield f"{answer.artifact}: both signed notes are kept as evidence {number}"
    except ApplianceError as error:
        yield f"the evidence could not be stored, keep this output: {error.message}"
    # To programs and files only: there is no way from a verify to the network.
    yield from deliver_due(session, local_only=True)


def record_answers(session: Session, asked: Asked, answers: Sequence[Answer]) -> Iterator[str]:
    """Remember the verdicts of a run; yields a warning if that does not succeed."""
    if asked.expected is None:
        return
    try:
        with session.writing() as store:
            for answer in answers:
                verdict = answer.verdict
                if verdict is None or answer.digests is None:
                    continue
                recorded = RecordedVerdict(
                    id=0,
                    at=session.now(),
                    artifact=answer.artifact,
                    digests=answer.digests.named,
                    bundle=answer.bundle,
                    expected=describe_signer(asked.expected),
                    demands=describe_demands(asked),
                    **_outcome(verdict),
                )
                record_verdict(store, recorded, asked.given_root)
                remember_file(store, answer.bundle)
                _record_times(store, verdict)
                _compare_checkpoint(store, answer, session.now())
    except ApplianceError as error:
        yield f"the verdicts could not be recorded: {error.message}"


def recheck(session: Session) -> Recheck:
    """Ask every recorded question again, with today's settings, trusted root, keys and mirror.

    What was asked under a trusted root that was given as a file is asked under that one. A
    verdict whose own root, policy or bundle cannot be read keeps no other from being judged.
    """
    changed: list[ChangedVerdict] = []
    unread: list[UnreadVerdict] = []
    judged = 0
    with session.writing() as store:
        question = _question(session, store)
        for before in list(recorded_verdicts(store)):
            if isinstance(before, UnreadVerdict):
                unread.append(_not_judged(before, before.error))
                continue
            verdict = _ask_again(store, before, question)
            if isinstance(verdict, ApplianceError):
                unread.append(_not_judged(before, verdict))
                continue
            judged += 1
            after = replaced(before, at=session.now(), **_outcome(verdict))
            record_verdict(store, after)
            remember_file(store, before.bundle)  # of before statements were remembered
            if (after.code, after.reason) == (before.code, before.reason):
                continue
            if verdict.error is not None:
                verdict.error.message = f"{before.artifact}: {verdict.error.message}"
            changed.append(ChangedVerdict(before, after, verdict.error))
    return Recheck(judged, tuple(changed), tuple(unread))


def _not_judged(recorded: RecordedVerdict | UnreadVerdict, error: ApplianceError) -> UnreadVerdict:
    error.message = f"{recorded.artifact}: not judged: {error.message}"
    return UnreadVerdict(recorded.id, recorded.artifact, error)


def _ask_again(
    store: Store, recorded: RecordedVerdict, question: Question
) -> Verdict | ApplianceError:
    """Judge a recorded question; return what of it cannot be read, if that is its own alone."""
    try:
        read_asked(recorded.expected, recorded.demands, None)
    except MalformedError as error:
        return _damaged(error)
    try:
        trusts, demands = question(json.dumps(recorded.demands))
    except (VerificationError, RefusedError, StoreError) as error:
        if not recorded.demands.keys() & {"trustedRoot", "policy"}:
            raise  # today's root: without it nothing can be judged
        return _damaged(error)
    try:
        return judge_again(store, recorded, trusts, demands)
    except (VerificationError, RefusedError) as error:
        return _damaged(error)


def _damaged(error: ApplianceError) -> ApplianceError:
    """Return what is told: what could be read when it was recorded has become damaged here."""
    if not isinstance(error, VerificationError):
        return error
    return StoreError(
        error.message,
        reason="corrupt",
        next_step="attestor store check; ask again with the file itself: attestor verify --record",
    )


def _question(session: Session, store: Store) -> Question:
    """Return what reads recorded demands (JSON), each only once."""
    stored = current_root(store)

    @lru_cache(maxsize=64)
    def read(described: str) -> tuple[tuple[LogTrust, ...], Demands]:
        demands = json.loads(described)
        digest = demands.get("trustedRoot")
        asked = read_asked(None, demands, read_given_root(store, digest) if digest else None)
        trusts = trust_of(store, asked, stored.raw if stored else None)
        return trusts, demands_of(session, asked, policy_of(store, asked), has_store=True)

    return read


def prune_verdicts(session: Session, older_than: int, *, dry_run: bool) -> int:
    """Forget what was judged last more than so many seconds ago; returns how many.

    Raises RefusedError (quarantined) while a log is quarantined.
    """
    now = session.now()
    with session.writing() as store, store.atomic(dry_run=dry_run):
        held = quarantines(store)
        if held:
            raise RefusedError(
                f"{held[0].origin} is quarantined: what was verified under it has to be known",
                reason="quarantined",
                next_step="see 'attestor quarantine list'; prune once it is lifted",
            )
        return forget_verdicts(store, now - older_than, now)


def _outcome(verdict: Verdict) -> dict[str, Any]:
    error = verdict.error
    return {
        "root_digest": verdict.verification.trust_root_digest,
        "code": exit_code(error) if error else 0,
        "reason": error.reason if error else "",
        "coverage": verdict.own_view.coverage.value,
    }


def _record_times(store: Store, verdict: Verdict) -> None:
    """Remember that the times at which authorities that we trust signed have come."""
    if verdict.verification.error is not None:
        return
    with store.atomic():
        for one in verdict.verification.signing_times:
            raise_floor(store, SIGNED, int(one.time.timestamp()), f"a signature of {one.authority}")


def _compare_checkpoint(store: Store, answer: Answer, now: int) -> None:
    """Take the log's checkpoint in a Sigstore bundle for what it is: one shown to others."""
    log = answer.verdict.verification.log if answer.verdict else None
    if log is None or log.checkpoint is None:
        return
    # A log that is not mirrored here; or a contradiction, which the verdict has said already.
    with contextlib.suppress(ApplianceError):
        compare_note(store, log.checkpoint.note, str(answer.bundle_path), now)
