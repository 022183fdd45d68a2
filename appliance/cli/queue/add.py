"""queue add: verify a signature, and keep it until a log has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from appliance.cli.members import members
from appliance.cli.numbers import Whole
from appliance.cli.output import Result, common_options
from appliance.cli.private_log.signed_inputs import (
    MAX_SMALL_FILE_BYTES,
    read_digest,
    read_signature,
    read_verifier,
)
from appliance.errors import DigestError
from appliance.jobs.queue.enqueue import Enqueued, Wish, enqueue
from appliance.jobs.queue.settings import read_queue_settings
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.runs.exit_codes import naming
from appliance.runs.session import Session, pass_session
from appliance.sigstore.dsse import DsseEnvelope
from appliance.sigstore.sigstore_bundle import (
    MAX_BUNDLE_BYTES,
    MessageSignature,
    parse_sigstore_bundle,
)
from appliance.sigstore.submission import (
    MAX_STORED_BYTES,
    Submission,
    submit_bundled_envelope,
    submit_envelope,
    submit_message,
)
from appliance.sigstore.timestamps import check_stamp
from appliance.store.files import read_foreign
from appliance.times import utc
from appliance.value import replaced

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("add")
@click.option("--artifact", type=FILE, help="What was signed.")
@click.option("--signature", type=FILE, help="The signature over it, raw or in base64.")
@click.option("--key", type=FILE, help="The public key it verifies under (PEM or DER).")
@click.option("--certificate", type=FILE, help="Or the certificate (PEM or DER).")
@click.option("--dsse", type=FILE, help="Or a DSSE envelope, with its key or certificate.")
@click.option("--sigstore-bundle", type=FILE, help="Or a Sigstore bundle without log entry.")
@click.option("--tenant", metavar="NAME", default="system", show_default=True, help="For whom.")
@click.option(
    "--tier",
    type=click.Choice(["graph", "edge"]),
    default="graph",
    show_default=True,
    help="Which budget it counts in.",
)
@click.option("--priority", type=Whole(0), default=0, help="Higher first.  [default: 0]")
@click.option("--cvss", type=click.FloatRange(0, 10), help="Trigger: the score of the finding.")
@click.option("--reachable", is_flag=True, help="And the finding is reachable.")
@click.option("--policy-gate", metavar="WORD", help="Trigger: what the gate asks for.")
@click.option("--escalate", is_flag=True, help="Trigger: a person asks for it.")
@click.option("--timestamp", type=FILE, help="RFC 3161 response over the signature; it travels.")
@click.option("--api-version", type=click.Choice(["1", "2"]), help="Of the Rekor it is for.")
@click.option("--dry-run", is_flag=True, help="Verify everything, store nothing.")
@common_options
@pass_session
def queue_add(
    session: Session,
    artifact: Path | None,
    signature: Path | None,
    key: Path | None,
    certificate: Path | None,
    dsse: Path | None,
    sigstore_bundle: Path | None,
    tenant: str,
    tier: str,
    priority: int,
    cvss: float | None,
    reachable: bool,
    policy_gate: str | None,
    escalate: bool,
    timestamp: Path | None,
    api_version: str | None,
    dry_run: bool,
) -> Result:
    """Verify a signature and keep it until a log has it, proven.

    The exact request is durable when this returns 0; it says when the budget lets it go.
    The same again is found, not queued twice. What is wrong is refused, and nothing stored.
    With -q it prints the item's id and nothing else.

    \b
    Example:
        attestor queue add --artifact app.tar.gz --signature app.sig --key pub.pem
        id=$(attestor queue add -q --artifact app.tar.gz --signature app.sig --key pub.pem)
        attestor queue add --dsse scan.dsse.json --key pub.pem --tenant team-a
        attestor queue add --sigstore-bundle app.sigstore.json --timestamp app.tsr
    """

    if tier != "edge" and (cvss is not None or reachable or policy_gate or escalate):
        raise click.UsageError("--cvss, --reachable, --policy-gate and --escalate need --tier edge")
    given = _Given(artifact, signature, key, certificate, dsse, sigstore_bundle)
    submission, stamps, hint = given.read()
    if timestamp is not None:
        stamps = (*stamps, _stamp(timestamp, submission.content.signature))
    wish = Wish(
        tenant=tenant,
        tier=tier,
        priority=priority,
        cvss=cvss,
        reachable=reachable,
        policy_gate=policy_gate,
        escalate=escalate,
        stamps=tuple(dict.fromkeys(stamps)),
        key_hint=hint,
        api_version=int(api_version) if api_version else None,
    )
    with session.writing_unlocked() as store:
        settings = read_queue_settings(store)
        done = enqueue(store, submission, wish, settings, session.moment(), dry_run=dry_run)
    return _result(done, session.now(), dry_run=dry_run)


class _Given:
    """The files given, of which one of three combinations is right."""

    def __init__(self, *files: Path | None) -> None:
        self._artifact, self._signature, self._key, self._certificate = files[:4]
        self._dsse, self._bundle = files[4:]

    def read(self) -> tuple[Submission, tuple[bytes, ...], str]:
        """Return what was signed, verified; the stamps and the key hint that came with it."""
        if self._bundle is not None:
            if self._dsse or self._signature or self._certificate:
                raise click.UsageError("--sigstore-bundle goes with --artifact and --key only")
            return self._read_bundle(self._bundle)
        signer = bool(self._key) != bool(self._certificate)
        if self._dsse is not None and signer and not (self._artifact or self._signature):
            return self._read_envelope(self._dsse), (), ""
        if self._artifact and self._signature and signer and not self._dsse:
            return self._read_artifact(self._artifact, self._signature), (), ""
        raise click.UsageError(
            "give --artifact, --signature and one of --key and --certificate;"
            " or --dsse and one of them; or --sigstore-bundle (with --key for a managed key)"
        )

    def _verifier(self) -> VerifierMaterial:

        return read_verifier(self._key, self._certificate)

    def _read_artifact(self, artifact: Path, signature: Path) -> Submission:

        verifier = self._verifier()
        message = MessageSignature(read_signature(signature), read_digest(artifact, verifier))
        with naming(f"{signature} over {artifact} by {self._certificate or self._key}"):
            return submit_message(message, verifier)

    def _read_envelope(self, dsse: Path) -> Submission:

        verifier = self._verifier()
        with naming(dsse):
            return submit_envelope(read_foreign(dsse, MAX_STORED_BYTES), verifier)

    def _read_bundle(self, file: Path) -> tuple[Submission, tuple[bytes, ...], str]:

        with naming(file):
            bundle = parse_sigstore_bundle(read_foreign(file, MAX_BUNDLE_BYTES))
        if bundle.certificate is not None:
            verifier = VerifierMaterial(bundle.certificate, is_certificate=True)
        elif self._key is not None:
            verifier = self._verifier()
        else:
            raise click.UsageError(f"{file} is signed with a managed key: give it with --key")
        content = bundle.content
        with naming(file):
            if isinstance(content, DsseEnvelope):
                done = submit_bundled_envelope(content, verifier)
            else:
                if self._artifact is not None:
                    content = self._of_artifact(content, verifier)
                done = submit_message(content, verifier)
            for stamp in bundle.stamps:
                _check_stamp(stamp, content.signature)
        return done, bundle.stamps, bundle.key_hint

    def _of_artifact(
        self, message: MessageSignature, verifier: VerifierMaterial
    ) -> MessageSignature:
        """Put the artifact's digest into a message; raises DigestError if it names another."""

        ours = read_digest(self._artifact or Path(), verifier)
        if message.digest is not None and message.digest != ours:
            raise DigestError(
                f"it is for {message.digest}, {self._artifact} is {ours}", reason="artifact-digest"
            )
        return replaced(message, digest=ours)


def _stamp(file: Path, signature: bytes) -> bytes:

    raw = read_foreign(file, MAX_SMALL_FILE_BYTES)
    with naming(file):
        _check_stamp(raw, signature)
    return raw


def _check_stamp(raw: bytes, signature: bytes) -> None:

    check_stamp(raw, signature)


def _result(done: Enqueued, now: int, *, dry_run: bool) -> Result:
    item, warnings = done.item, list(done.warnings)
    data: dict[str, Any] = members(
        item,
        "id",
        "state",
        new=done.is_new and (not dry_run),
        tenant=item.what.tenant,
        tier=item.what.tier,
        ahead=done.ahead,
        slot_at=done.slot,
        wait_seconds=None if done.slot is None else max(0, done.slot - now),
        dry_run=dry_run,
    )
    if not done.is_new:
        text = f"{item.id}: already queued, {item.state}"
        return Result(data, text, tuple(warnings), essence=item.id)
    if done.slot is None:
        warnings.append(f"the budget of tenant {item.what.tenant} is 0: it will never be sent")
    elif done.slot > now:
        warnings.append(
            f"over budget: {done.ahead} before it, its slot comes at {utc(done.slot)},"
            f" in {done.slot - now} s"
        )
    verb = "would be queued" if dry_run else "queued"
    text = f"{item.id}: {verb} for {item.what.tenant}"
    return Result(data, text, tuple(warnings), essence=item.id)
