"""What verify writes down after it has answered: best effort, the answers stand without it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.runs.app import App
from appliance.value import frozen

if TYPE_CHECKING:
    from appliance.jobs.verify.verify import Verdict
    from appliance.sigstore.digests import ArtifactDigests
    from appliance.sigstore.identity import ExpectedSigner
    from appliance.store.database import Store


@frozen
class Judged:
    """One question and its answer."""

    artifact: str
    digests: ArtifactDigests
    bundle: bytes
    verdict: Verdict
    bundle_path: Path | None  # None: none was there


def keep_contradictions(app: App, judged: list[Judged]) -> Iterator[str]:
    """Keep both notes of every contradiction as evidence; it is in the JSON in any case."""
    from appliance.errors import ApplianceError
    from appliance.jobs.verify.recheck import keep_contradiction
    from appliance.policy.own_view import Coverage
    from appliance.runs.tell import deliver_due

    found = [one for one in judged if one.verdict.own_view.coverage is Coverage.CONTRADICTION]
    if not found:
        return
    try:
        with app.writing() as store:
            for one in found:
                number = keep_contradiction(store, one.verdict, str(one.bundle_path), app.now())
                yield f"{one.artifact}: both signed notes are kept as evidence {number}"
    except ApplianceError as error:
        yield f"the evidence could not be stored, keep this output: {error.message}"
    # To programs and files only: there is no way from a verify to the network.
    yield from deliver_due(app, local_only=True)


def record_verdicts(app: App, expected: ExpectedSigner, judged: list[Judged]) -> Iterator[str]:
    """Remember verdicts; the answers stand whether or not that succeeds."""
    from appliance.errors import ApplianceError
    from appliance.jobs.verify.recheck import describe_signer
    from appliance.runs.exit_codes import exit_code
    from appliance.store.verify.verdicts import RecordedVerdict, record_verdict

    try:
        with app.writing() as store:
            for one in judged:
                error = one.verdict.error
                record_verdict(
                    store,
                    RecordedVerdict(
                        id=0,
                        at=app.now(),
                        artifact=one.artifact,
                        digests=dict(one.digests.by_algorithm),
                        bundle=one.bundle,
                        expected=describe_signer(expected),
                        root_digest=one.verdict.verification.trust_root_digest,
                        code=exit_code(error) if error else 0,
                        reason=error.reason if error else "",
                        coverage=one.verdict.own_view.coverage.value,
                    ),
                )
                _hear(store, one, app.now())
    except ApplianceError as error:
        yield f"the verdicts could not be recorded: {error.message}"


def _hear(store: Store, judged: Judged, now: int) -> None:
    """Take the log's checkpoint in a Sigstore bundle for what it is: one shown to others."""
    from appliance.errors import ApplianceError
    from appliance.jobs.divergence.gossip import compare_note

    log = judged.verdict.verification.log
    if log is None or log.checkpoint is None:
        return
    # A log that is not mirrored here; or a contradiction, which the verdict has said already.
    with contextlib.suppress(ApplianceError):
        compare_note(store, log.checkpoint.note, str(judged.bundle_path), now)
