"""backend verify-key: whether a log still signs with the key that is pinned for it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.jobs.mirror.backends import KeyReport, examine_key
from appliance.runs.session import Session, pass_session
from appliance.runs.sources import offered_checkpoint
from appliance.sigstore.trusted_root import parse_trusted_root
from appliance.store.database import Store
from appliance.store.mirror.logs import Backend, require_backend
from appliance.store.verify.trust import current_root
from appliance.tlog.note_keys import VerifierKey


@click.command("verify-key")
@click.argument("name", metavar="ID")
@common_options
@pass_session
def verify_key(session: Session, name: str) -> Result:
    """Say whether the pinned key verifies the log's checkpoint: the current one if it has a URL.

    Otherwise the last stored one is taken. Also says since which size each pinned key
    signed, and whether the imported trusted root lists it.

    \b
    Example:
        attestor backend verify-key public
    """

    with session.reading() as store:
        found = require_backend(store, name)
        current, source, found = _fetch_checkpoint(session, found)
        report = examine_key(store, found, current, source)
        listed = _listed(store, found)
    return _key_result(found, report, listed)


def _fetch_checkpoint(session: Session, found: Backend) -> tuple[bytes | None, str, Backend]:
    if not (found.base_url or found.read_url):
        return None, "", found

    with session.http() as http:
        return offered_checkpoint(http, found)


def _listed(store: Store, found: Backend) -> dict[bytes, bool] | None:
    """Say of each pinned key whether the trusted root lists it; None: there is no root."""

    stored = current_root(store)
    if stored is None:
        return None
    listed = {log.log_id for log in parse_trusted_root(stored.raw).logs}
    return {key.log_id: key.log_id in listed for key in found.log.keys}


def _key_result(found: Backend, report: KeyReport, listed: dict[bytes, bool] | None) -> Result:
    head = report.checkpoint.head
    signers = {key.log_id for key in report.checkpoint.signers}
    keys, lines, warnings = [], [], []
    for term in report.terms:
        in_root = None if listed is None else listed[term.key.log_id]
        keys.append(
            key_data(term.key)
            | members(
                term,
                "first_size",
                "last_size",
                signed=term.key.log_id in signers,
                in_trusted_root=in_root,
            )
        )
        sizes = (
            "" if term.first_size is None else f", sizes {term.first_size:,}..{term.last_size:,}"
        )
        did = "signed it" if term.key.log_id in signers else "did not sign it"
        lines.append(f"  key id {term.key.key_id.hex()} {did}{sizes}")
        if in_root is False:
            warnings.append(f"key id {term.key.key_id.hex()} is not in the trusted root")
    lines.insert(0, f"{found.name}: checkpoint {head.tree_size:,} from {report.source} verifies")
    data = members(
        backend=found.name,
        origin=found.log.origin,
        tree_size=head.tree_size,
        source=report.source,
        keys=keys,
    )
    return Result(data, "\n".join(lines), tuple(warnings))


def key_data(key: VerifierKey) -> dict[str, Any]:
    """Describe a pinned key."""
    return members(key, "name", "key_id", log_id=log_id(key))


def log_id(key: VerifierKey) -> str:
    """Return the log id as trusted roots and Sigstore bundles spell it."""

    return b64encode(key.log_id).decode()
