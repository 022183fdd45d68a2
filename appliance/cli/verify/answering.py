"""verify: is this artifact what its signer signed, and did the log we mirror see it?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.options import seconds_option
from appliance.cli.output import (
    Result,
    error_line,
    is_json,
    note,
    say,
    stream_json_lines,
    stream_text,
)
from appliance.cli.progress import progress_bar
from appliance.cli.verify.inputs import (
    STDIN,
    Question,
    artifacts_and_bundles,
    claims_of,
    expected_signer,
)
from appliance.cli.verify.verdict_text import answer_data, verdict_text
from appliance.errors import ApplianceError
from appliance.jobs.verify.judged import Answer
from appliance.runs.exit_codes import exit_code, worst
from appliance.runs.session import Session
from appliance.runs.verify import Verifier, VerifyOptions, verifying
from appliance.sigstore.case import OptIns


def answer(
    session: Session,
    *,
    artifacts: tuple[str, ...],
    bundles: tuple[Path, ...],
    from_file: Path | None,
    image_layout: Path | None,
    certificate_identity: str,
    certificate_identity_regexp: str,
    certificate_oidc_issuer: str,
    certificate_oidc_issuer_regexp: str,
    key: Path | None,
    oids: tuple[str, ...],
    workflow_trigger: str,
    workflow_sha: str,
    workflow_name: str,
    workflow_repository: str,
    workflow_ref: str,
    predicate_type: str | None,
    trusted_root: Path | None,
    require_mirror: bool,
    require_proof: bool,
    policy: Path | None,
    max_age: str | None,
    allow_unlogged: bool,
    allow_several_entries: bool,
    allow_subject: bool,
    record: bool,
    jsonl: bool,
) -> Result:
    """Answer what `attestor verify` was asked: its options, by their names."""
    if jsonl and is_json():
        raise click.UsageError("--json and --jsonl exclude each other")
    if predicate_type == "":
        raise click.UsageError("--predicate-type: expected a type, got nothing")
    expected = expected_signer(
        certificate_identity,
        certificate_identity_regexp,
        certificate_oidc_issuer,
        certificate_oidc_issuer_regexp,
        key,
        claims_of(
            oids,
            trigger=workflow_trigger,
            sha=workflow_sha,
            name=workflow_name,
            repository=workflow_repository,
            ref=workflow_ref,
        ),
        may_be_nobody=policy is not None,
    )
    if image_layout is not None and (artifacts or bundles or from_file):
        raise click.UsageError("--image-layout names its artifacts and bundles itself")
    if image_layout is None:
        questions = artifacts_and_bundles(artifacts, bundles, from_file)
    limit = None if max_age is None else seconds_option(max_age, "--max-age", None)
    options = VerifyOptions(
        expected,
        trusted_root,
        policy,
        require_mirror=require_mirror,
        require_proof=require_proof,
        max_age=limit,
        record=record,
        opt_ins=OptIns(allow_unlogged, allow_several_entries, allow_subject),
        predicate_type=predicate_type or "",
    )
    with verifying(session, options, progress_bar) as verifier:
        if str(from_file) == STDIN and not is_json():
            return _stream(verifier, questions, jsonl=jsonl)
        errors: list[ApplianceError] = []
        texts: list[str] = []
        data: list[dict[str, Any]] = []
        answers = (
            verifier.answer_images(image_layout)
            if image_layout is not None
            else (_answer(verifier, question) for question in questions)
        )
        known = image_layout is None and from_file is None
        for answer in _with_progress(answers, len(artifacts) if known else None):
            described = answer_data(answer, verifier.stored_root, verifier.root_age)
            if answer.error is not None:
                errors.append(answer.error)
            if jsonl:
                stream_json_lines(described)
            data.append(described)
            texts.append(_text(verifier, answer))
    warnings = (*verifier.warnings, *verifier.finish())
    text = "" if jsonl else "\n".join(filter(None, texts))
    return Result(members(artifacts=data), text, warnings, tuple(errors))


def _with_progress(answers: Iterable[Answer], total: int | None) -> Iterator[Answer]:
    """Yield each answer; where there are many, say on a terminal how far it is."""
    if total == 1:
        yield from answers
        return
    with progress_bar("verify", total) as advance:
        for answer in answers:
            advance(1)
            yield answer


def _answer(verifier: Verifier, question: Question) -> Answer:
    if question.error is not None:
        return Answer(question.artifact, question.bundle, None, question.error)
    return verifier.answer(question.artifact, question.bundle)


def _stream(verifier: Verifier, questions: Iterable[Question], *, jsonl: bool) -> Result:
    """Answer each question as it comes, in order, and keep none of them.

    One object or one text an answer, flushed; what is wrong goes to stderr at once. The
    code at the end is that of the worst.
    """
    failed: dict[int, ApplianceError] = {}  # the first of each code
    count = n_failed = 0
    for question in questions:
        answer = _answer(verifier, question)
        count += 1
        for warning in verifier.take_warnings():
            note(f"Warning: {warning}")
        if jsonl:
            stream_json_lines(answer_data(answer, verifier.stored_root, verifier.root_age))
        elif text := _text(verifier, answer):
            stream_text(text)
        if answer.error is not None:
            n_failed += 1
            failed.setdefault(exit_code(answer.error), answer.error)
            if not jsonl:
                say(f"Error: {error_line(answer.error)}", err=True)
    warnings = (*verifier.take_warnings(), *verifier.finish())
    if not failed:
        return Result({}, "", warnings)
    worst_error = failed[worst(failed)]
    summary = type(worst_error)(
        f"{n_failed:,} of {count:,} are not verified; the worst: {worst_error.message}",
        reason=worst_error.reason,
    )
    return Result({}, "", warnings, (summary,))


def _text(verifier: Verifier, answer: Answer) -> str:
    if answer.verdict is None:
        return ""
    verdict, root = answer.verdict, verifier.stored_root
    return verdict_text(answer.artifact, verdict, root, verifier.root_age)
