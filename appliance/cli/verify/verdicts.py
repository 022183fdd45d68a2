"""verdicts: what verify --record remembered, and judging all of it again."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.output import Result, common_options, utc
from appliance.runs.app import App, pass_app


@click.group()
def verdicts() -> None:
    """Verdicts that 'verify --record' remembered.

    \b
    Example:
        attestor verdicts list
    """


@verdicts.command("list")
@click.option("--failed", is_flag=True, help="Only those that did not verify.")
@common_options
@pass_app
def verdicts_list(app: App, failed: bool) -> Result:
    """List the recorded verdicts, oldest first.

    \b
    Example:
        attestor verdicts list --failed
    """
    from appliance.store.verify.verdicts import recorded_verdicts

    with app.reading() as store:
        found = [one for one in recorded_verdicts(store) if one.code or not failed]
    data = [
        {
            "id": one.id,
            "at": utc(one.at),
            "artifact": one.artifact,
            "exitCode": one.code,
            "reason": one.reason,
            "coverage": one.coverage,
            "trustRootDigest": one.root_digest or None,
        }
        for one in found
    ]
    lines = [
        f"{one.id:>5} {utc(one.at)} {'yes' if not one.code else f'no ({one.reason})'}"
        f" {one.coverage} {one.artifact}"
        for one in found
    ]
    return Result(
        {"verdicts": data}, "\n".join(lines) or "none: 'attestor verify --record' keeps them"
    )


@verdicts.command("recheck")
@common_options
@pass_app
def verdicts_recheck(app: App) -> Result:
    """Judge every recorded verdict again, with today's trusted root and mirror.

    Ends with the worst code among those that changed for the worse; 0 if none did.

    \b
    Example:
        attestor verdicts recheck
    """
    from appliance.errors import ApplianceError
    from appliance.jobs.verify.recheck import judge_again
    from appliance.jobs.verify.verify import Demands, pinned_keys
    from appliance.runs.exit_codes import exit_code
    from appliance.sigstore.trusted_root import parse_trusted_root
    from appliance.store.verify.trust import current_root
    from appliance.store.verify.verdicts import record_verdict, recorded_verdicts
    from appliance.value import replaced

    lines: list[str] = []
    changes: list[dict[str, Any]] = []
    errors: list[ApplianceError] = []
    count = 0
    with app.writing() as store:
        stored = current_root(store)
        root = parse_trusted_root(stored.raw) if stored else None
        keys = pinned_keys(store)
        demands = Demands(now=app.now())
        for recorded in list(recorded_verdicts(store)):
            count += 1
            verdict = judge_again(store, recorded, root, keys, demands)
            error = verdict.error
            now = replaced(
                recorded,
                at=app.now(),
                code=exit_code(error) if error else 0,
                reason=error.reason if error else "",
                coverage=verdict.own_view.coverage.value,
                root_digest=verdict.verification.trust_root_digest,
            )
            record_verdict(store, now)
            if (now.code, now.reason) == (recorded.code, recorded.reason):
                continue
            if error is not None:
                error.message = f"{recorded.artifact}: {error.message}"
                errors.append(error)
            before = recorded.reason or "verified"
            lines.append(f"{recorded.artifact}: {before} -> {now.reason or 'verified'}")
            changes.append(
                {
                    "id": recorded.id,
                    "artifact": recorded.artifact,
                    "before": recorded.reason or None,
                    "after": now.reason or None,
                }
            )
    lines.append(f"{count} verdicts judged again, {len(changes)} changed")
    return Result({"judged": count, "changed": changes}, "\n".join(lines), (), tuple(errors))
