"""log add: log one signature without a server."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options, warn
from appliance.cli.private_log.signed_inputs import read_digest, read_signature, read_verifier
from appliance.errors import MalformedError, StoreError
from appliance.jobs.find.expected import expect_logged
from appliance.jobs.mirror.prove import logged_entry, sigstore_bundle, stored_entry
from appliance.jobs.private_log.sequence import sequence
from appliance.rekor.request import (
    MAX_REQUEST_BYTES,
    HashedRekordRequest,
    build_request,
    parse_request,
    verify_request,
)
from appliance.runs.exit_codes import naming
from appliance.runs.private_log import LogWitnesses, ready_to_sign
from appliance.runs.session import Session, pass_session
from appliance.store.files import read_foreign, written_whole
from appliance.store.home.key_files import load_signing_key
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import require_private_log
from appliance.tlog.entries import MAX_ENTRY_BYTES

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("add")
@click.argument("request", type=FILE, required=False)
@click.option("--artifact", type=FILE, help="What was signed.")
@click.option("--signature", type=FILE, help="The signature over it, raw or in base64.")
@click.option("--key", type=FILE, help="The public key it verifies under (PEM or DER).")
@click.option("--certificate", type=FILE, help="Or the certificate (PEM or DER).")
@click.option("--log", "name", metavar="NAME", help="Which log, if there are several.")
@click.option("--output", type=FILE, help="Write the log entry here (TransparencyLogEntry).")
@click.option("--bundle", type=FILE, help="Write a Sigstore bundle here.")
@common_options
@pass_session
def add(
    session: Session,
    request: Path | None,
    artifact: Path | None,
    signature: Path | None,
    key: Path | None,
    certificate: Path | None,
    name: str | None,
    output: Path | None,
    bundle: Path | None,
) -> Result:
    """Log a signature: the JSON a client would post, in REQUEST, or its parts.

    What was logged before is not logged again; the answer is the entry there is, with a
    fresh proof.

    \b
    Example:
        attestor log add --artifact app.tar.gz --signature app.sig --key pub.pem --bundle app.sigstore.json
    """  # noqa: E501 one line, to be copied

    checked = _request(request, artifact, signature, key, certificate)
    for place in filter(None, (output, bundle)):
        _require_place(place)
    body = checked.canonical_body
    with session.writing() as store:
        private = require_private_log(store, name)
        signer = load_signing_key(store.home, private.log.origin, store.passphrases)
        ready_to_sign(session, store, private)
        expect_logged(store, body, session.now())
        cosign = LogWitnesses(session, private, warn).cosign_in(store)
        done = sequence(store, private, signer, [body], session.now(), cosign)
        [placed] = done.placed
        index = placed.entry_index
        if placed.duplicate:
            entry = stored_entry(Mirror(store, private.log), index)
        else:
            hashes = done.tree.prove_inclusion(index, lambda _: {})
            entry = logged_entry(index, body, done.checkpoint, hashes)
    for file_name, document in (
        (output, entry.json),
        (bundle, sigstore_bundle(entry, checked)),
    ):
        if file_name is not None:
            with written_whole(file_name, replace=True) as file:
                file.write(document)
    data = members(
        log=private.name,
        origin=private.log.origin,
        index=index,
        duplicate=placed.duplicate,
        entry=json.loads(entry.json),
        output=output,
        bundle=str(bundle) if bundle else None,
    )
    known = ", which was there already" if placed.duplicate else ""
    return Result(data, f"{private.log.origin}: entry {index}{known}")


def _request(
    request: Path | None,
    artifact: Path | None,
    signature: Path | None,
    key: Path | None,
    certificate: Path | None,
) -> HashedRekordRequest:

    parts = (artifact, signature, key or certificate)
    if request is not None and not any(parts):
        with naming(request):
            checked = parse_request(read_foreign(request, MAX_REQUEST_BYTES))
            verify_request(checked)
    elif artifact and signature and bool(key) != bool(certificate) and request is None:
        verifier = read_verifier(key, certificate)
        digest = read_digest(artifact, verifier).value
        raw = read_signature(signature)
        with naming(f"{signature} over {artifact} by {certificate or key}"):
            checked = build_request(
                digest, raw, verifier.der, is_certificate=verifier.is_certificate
            )
    else:
        raise click.UsageError(
            "give REQUEST, or --artifact, --signature and one of --key and --certificate"
        )
    if len(checked.canonical_body) > MAX_ENTRY_BYTES:
        raise MalformedError(
            f"a log entry has at most {MAX_ENTRY_BYTES} bytes, this would have"
            f" {len(checked.canonical_body)}",
            reason="entry-too-large",
        )
    return checked


def _require_place(file: Path) -> None:
    """Raise StoreError if a file cannot be made there; afterwards would be too late."""

    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise StoreError(
            f"{file} cannot be written: no directory {file.parent} that you may write to",
            reason="file",
            next_step="nothing was logged; name another place",
        )
