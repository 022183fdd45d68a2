"""verify: is this artifact what its signer signed, and did the log we mirror see it?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.output import Result, as_ours, common_options, is_json, naming, stream_json_lines
from appliance.cli.verify.inputs import (
    artifacts_and_bundles,
    digests_of,
    expected_signer,
    read_bundle,
)
from appliance.cli.verify.verdict_text import verdict_data, verdict_text
from appliance.runs.app import App, pass_app
from appliance.runs.verify import Judged, keep_contradictions, record_verdicts
from appliance.value import frozen

if TYPE_CHECKING:
    from appliance.errors import ApplianceError
    from appliance.jobs.verify.verify import Demands
    from appliance.runs.settings import Settings
    from appliance.sigstore.identity import ExpectedSigner
    from appliance.sigstore.trusted_root import LogKey, TrustedRoot
    from appliance.store.database import Store
    from appliance.store.verify.trust import StoredRoot
    from appliance.tlog.tlog_policy import TlogPolicy

FILE = click.Path(path_type=Path, dir_okay=False)


@frozen
class _Site:
    """What is the same for every artifact of a run."""

    store: Store | None
    settings: Settings
    root: TrustedRoot | None
    stored_root: StoredRoot | None  # None: given by --trusted-root, or there is none
    log_keys: tuple[LogKey, ...]
    expected: ExpectedSigner
    demands: Demands


@click.command()
@click.argument("artifacts", nargs=-1, metavar="ARTIFACT|sha256:HEX...")
@click.option("--bundle", "bundles", type=FILE, multiple=True, help="Sigstore bundle, in order.")
@click.option("--from-file", type=FILE, help="Lines of ARTIFACT <tab> BUNDLE.")
@click.option("--certificate-identity", default="", help="Exact e-mail or URI of the signer.")
@click.option("--certificate-identity-regexp", default="", help="The same, as a whole match.")
@click.option("--certificate-oidc-issuer", default="", help="Exact issuer of that identity.")
@click.option("--certificate-oidc-issuer-regexp", default="", help="The same, as a whole match.")
@click.option("--key", type=FILE, help="Public key of the signer (PEM or DER).")
@click.option("--trusted-root", type=FILE, help="Instead of the one from 'trust import'.")
@click.option("--require-mirror", is_flag=True, help="No answer unless our mirror covers it.")
@click.option("--policy", type=FILE, help="tlog-policy: who must have cosigned the checkpoint.")
@click.option("--max-age", metavar="DURATION", help="Refuse on an older view of the log.")
@click.option("--record", is_flag=True, help="Remember the verdicts: 'attestor verdicts'.")
@click.option("--jsonl", is_flag=True, help="Print one JSON object a line for each artifact.")
@common_options
@pass_app
def verify(
    app: App,
    artifacts: tuple[str, ...],
    bundles: tuple[Path, ...],
    from_file: Path | None,
    certificate_identity: str,
    certificate_identity_regexp: str,
    certificate_oidc_issuer: str,
    certificate_oidc_issuer_regexp: str,
    key: Path | None,
    trusted_root: Path | None,
    require_mirror: bool,
    policy: Path | None,
    max_age: str | None,
    record: bool,
    jsonl: bool,
) -> Result:
    """Verify artifacts against their Sigstore bundles and our own copy of the log.

    No network, no lock, and a read-only store will do. Without --bundle the one beside the
    artifact is taken. Several artifacts: the worst outcome is the exit code.

    \b
    Example:
        attestor verify app.tar.gz --bundle app.sigstore.json --key signer.pem
        attestor verify app.tar.gz --certificate-identity me@example.org \\
            --certificate-oidc-issuer https://accounts.example.org --require-mirror
    """
    from appliance.errors import ApplianceError
    from appliance.store.transfer.unsigned import unsigned_imports

    if jsonl and is_json():
        raise click.UsageError("--json and --jsonl exclude each other")
    expected = expected_signer(
        certificate_identity,
        certificate_identity_regexp,
        certificate_oidc_issuer,
        certificate_oidc_issuer_regexp,
        key,
    )
    pairs = artifacts_and_bundles(artifacts, bundles, from_file)
    errors: list[ApplianceError] = []
    recorded: list[Judged] = []
    texts: list[str] = []
    data: list[dict[str, Any]] = []
    warnings: list[str] = []
    with _open_site(app, expected, trusted_root, require_mirror, max_age, policy) as site:
        warnings.extend(_root_warnings(app, site))
        if site.store is not None and (unsigned := unsigned_imports(site.store)):
            warnings.append(str(unsigned))
        for artifact, bundle in pairs:
            failure: ApplianceError | None
            try:
                judged = _judge(site, artifact, bundle)
            except ApplianceError as error:
                one: dict[str, Any] = _asked(artifact, bundle) | {"ok": False}
                one["reason"], one["message"] = error.reason, error.message
                text, failure = "", error
            else:
                verdict, age = judged.verdict, _root_age(app, site)
                recorded.append(judged)
                one = _asked(artifact, bundle)
                one |= verdict_data(verdict, site.stored_root, age)
                text = verdict_text(artifact, verdict, site.stored_root, age)
                failure = verdict.error
            if failure is not None:
                errors.append(as_ours(failure, prefix=f"{artifact}: "))
            if jsonl:
                stream_json_lines(one)
            data.append(one)
            texts.append(text)
    warnings.extend(keep_contradictions(app, recorded))
    if record:
        warnings.extend(record_verdicts(app, expected, recorded))
    text = "" if jsonl else "\n".join(filter(None, texts))
    return Result({"artifacts": data}, text, tuple(warnings), tuple(errors))


@contextlib.contextmanager
def _open_site(
    app: App,
    expected: ExpectedSigner,
    trusted_root: Path | None,
    require_mirror: bool,
    max_age: str | None,
    policy: Path | None,
) -> Iterator[_Site]:
    from appliance.errors import StoreError
    from appliance.jobs.verify.verify import Demands, pinned_keys
    from appliance.runs.settings import Settings, read_settings_of, seconds_option
    from appliance.sigstore.trusted_root import parse_trusted_root
    from appliance.store.files import read_foreign
    from appliance.store.verify.trust import current_root

    with contextlib.ExitStack() as stack:
        try:
            store = stack.enter_context(app.reading())
        except StoreError as error:
            if error.reason != "no-store":
                raise
            store = None  # a bundle, a root and a key are enough for the Sigstore half
        settings = read_settings_of(store) if store else Settings()
        stored = current_root(store) if store and trusted_root is None else None
        raw = stored.raw if stored else None
        if trusted_root is not None:
            raw = read_foreign(trusted_root, 2 * 1024 * 1024)
        limit = seconds_option(max_age, "--max-age", settings.max_checkpoint_age)
        yield _Site(
            store,
            settings,
            parse_trusted_root(raw) if raw is not None else None,
            stored,
            pinned_keys(store) if store else (),
            expected,
            Demands(
                require_mirror=require_mirror or settings.require_mirror,
                max_age=int(limit) if limit else None,
                policy=_policy(policy),
                now=app.now(),
            ),
        )


def _policy(path: Path | None) -> TlogPolicy | None:
    if path is None:
        return None
    from appliance.store.files import read_foreign
    from appliance.tlog.tlog_policy import MAX_POLICY_BYTES, parse_tlog_policy

    return parse_tlog_policy(read_foreign(path, MAX_POLICY_BYTES))


def _asked(artifact: str, bundle: Path | None) -> dict[str, Any]:
    # "artifact" becomes the digest, once it is known; "file" stays.
    return {"artifact": artifact, "file": artifact, "bundle": str(bundle) if bundle else None}


def _judge(site: _Site, artifact: str, bundle_path: Path | None) -> Judged:
    from appliance.jobs.verify.verify import verify_artifact
    from appliance.sigstore.attestation_files import parse_attestation_file

    raw = read_bundle(artifact, bundle_path)
    with naming(bundle_path):
        bundles = parse_attestation_file(raw)
    digests = digests_of(artifact, bundles)
    verdict = verify_artifact(
        site.store, bundles, digests, site.expected, site.root, site.log_keys, site.demands
    )
    return Judged(artifact, digests, raw, verdict, bundle_path)


def _root_age(app: App, site: _Site) -> int | None:
    return None if site.stored_root is None else app.now() - site.stored_root.imported_at


def _root_warnings(app: App, site: _Site) -> Iterator[str]:
    """Warn about an old trusted root, or refuse to go on with it."""
    age = _root_age(app, site)
    if age is None:
        return
    from appliance.config.durations import format_duration
    from appliance.errors import RefusedError

    limit = site.settings.fail_trust_root_age
    if limit is not None and age > limit:
        raise RefusedError(
            f"the trusted root was imported {format_duration(int(age))} ago, "
            f"at most {format_duration(int(limit))} allowed",
            reason="trust-root-stale",
            next_step="attestor trust import a newer trusted_root.json",
        )
    warn = site.settings.warn_trust_root_age
    if warn is not None and age > warn:
        yield f"the trusted root was imported {format_duration(int(age))} ago"
