"""A verdict in words a tired person understands, and as JSON."""

from __future__ import annotations

from typing import Any

from appliance.cli.members import members
from appliance.jobs.verify.judged import Answer, Verdict
from appliance.runs.exit_codes import exit_code
from appliance.store.verify.trust import StoredRoot
from appliance.times import age_text, utc


def verdict_data(verdict: Verdict, root: StoredRoot | None, root_age: int | None) -> dict[str, Any]:
    """Return the verdict for --json."""
    view = verdict.own_view
    error = verdict.error
    code = exit_code(error) if error is not None else 0
    data = verdict.verification.json | members(
        network="none", ok=error is None, exit_code=code, next=""
    )
    if error is not None:
        data |= members(error, "reason", "message", next=error.next_step)
    data["ownView"] = members(
        view,
        "coverage",
        "text",
        "mirror_size",
        expected_root_hash=view.expected_root if view.expected_root else None,
        first_seen_at=verdict.checkpoint.first_seen_at if verdict.checkpoint else None,
    )
    log, ours = verdict.verification.log, verdict.checkpoint
    if view.expected_root and log and log.checkpoint and ours:
        notes = members(ours=ours.note.decode(), theirs=log.checkpoint.note.decode())
        data["evidence"] = notes
    data["trustRoot"] = members(
        digest=verdict.verification.trust_root_digest or None,
        source=root.source if root else None,
        age_seconds=root_age,
    )
    return data


def answer_data(answer: Answer, root: StoredRoot | None, root_age: int | None) -> dict[str, Any]:
    """Return an answer for --json: the verdict, or why there can be none."""
    # "artifact" becomes the digest, once it is known; "file" stays.
    bundle = str(answer.bundle_path) if answer.bundle_path else None
    artifact = answer.artifact or None  # a line of a list that names none
    asked = members(artifact=artifact, file=artifact, bundle=bundle)
    if answer.verdict is not None:
        return asked | verdict_data(answer.verdict, root, root_age)
    error = answer.error
    assert error is not None  # noqa: S101 no verdict without a reason
    return asked | members(
        error, "reason", "message", next=error.next_step, ok=False, exit_code=exit_code(error)
    )


def verdict_text(
    artifact: str, verdict: Verdict, root: StoredRoot | None, root_age: int | None
) -> str:
    """Return the verdict for people: what was checked and what it means."""
    found = verdict.verification
    yes = verdict.error is None
    log, checks = found.log, found.checks
    by_promise = yes and log is not None and log.rests_on == "promise"
    how = " by the log's promise alone, without a proof" if by_promise else ""
    lines = [f"{artifact}: {'VERIFIED' if yes else 'NOT VERIFIED'}{how}"]
    if verdict.error is not None:
        failed = [
            f"  failed   {check.code}: {check.text}"
            for check in checks
            if check.outcome.value == "failed"
        ]
        # Sigstore's half passed: then it is ours that says no, or cannot tell.
        lines += failed or [f"  failed   {verdict.error.reason}: {verdict.error.message}"]
        if found.fault:
            lines.append(f"  look at  {found.fault}")
    if found.signer is not None and found.signer.kind == "certificate":
        lines.append(f"  signer   {found.signer.identity} (issuer {found.signer.issuer})")
    elif found.signer is not None:
        key = f"key SHA-256 {found.signer.digest} ({found.signer.key_type})"
        made_it = any(one.code == "signature" and one.outcome.value == "passed" for one in checks)
        # One that made no signature is nobody's name; it is only what was asked with.
        unproven = f"  expected {key}: no signature by it was verified"
        lines.append(f"  signer   {key}" if made_it else unproven)
    if found.predicate_type:  # escaped: a line break in it would start a line of its own
        lines.append(f"  predicate  {repr(found.predicate_type[:200])[1:-1]}")
    times = [f"{utc(int(one.time.timestamp()))} by {one.authority}" for one in found.signing_times]
    if yes or times:
        lines.append(f"  signed   {' and '.join(times) or 'at a time that nothing proves'}")
    if found.log is not None and found.log.checkpoint is not None:
        head = found.log.checkpoint.head
        lines.append(
            f"  log      {found.log.origin}, entry {found.log.entry_index:,} "
            f"in a tree of {head.tree_size:,}"
        )
    if found.log is not None and found.log.key_source:
        lines.append(f"  log key  {found.log.key_source}")
    lines.append(f"  mirror   {verdict.own_view.text}")
    if found.trust_root_digest:
        how = (
            f", imported from {root.source} {age_text(root_age or 0)} ago"
            if root
            else ", given by hand"
        )
        lines.append(f"  root     trusted root {found.trust_root_digest[:16]}…{how}")
    lines.append("  network  none")
    return "\n".join(lines)
