"""verify: is this artifact what its signer signed, and did the log we mirror see it?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.app import App, pass_app
from appliance.cli.output import Result, common_options, stream_json_lines
from appliance.cli.verdict_text import verdict_data, verdict_text
from appliance.value import frozen

if TYPE_CHECKING:
    from appliance.cli.settings import Settings
    from appliance.errors import ApplianceError
    from appliance.jobs.verify import Demands, Verdict
    from appliance.sigstore.digests import ArtifactDigests
    from appliance.sigstore.identity import ExpectedSigner
    from appliance.sigstore.sigstore_bundle import SigstoreBundle
    from appliance.sigstore.trusted_root import LogKey, TrustedRoot
    from appliance.store.database import Store
    from appliance.store.trust import StoredRoot

FILE = click.Path(path_type=Path, dir_okay=False)
MAX_KEY_BYTES = 64 * 1024
MAX_LIST_BYTES = 64 * 1024 * 1024
BUNDLE_SUFFIXES = (".sigstore.json", ".sigstore", ".bundle")


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
@click.option("--max-age", metavar="DURATION", help="Refuse on an older view of the log.")
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
    max_age: str | None,
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

    expected = _expected(
        certificate_identity,
        certificate_identity_regexp,
        certificate_oidc_issuer,
        certificate_oidc_issuer_regexp,
        key,
    )
    pairs = _pairs(artifacts, bundles, from_file)
    errors: list[ApplianceError] = []
    texts: list[str] = []
    data: list[dict[str, Any]] = []
    warnings: list[str] = []
    with _open_site(app, expected, trusted_root, require_mirror, max_age) as site:
        warnings.extend(_root_warnings(app, site))
        for artifact, bundle in pairs:
            failure: ApplianceError | None
            try:
                verdict = _judge(site, artifact, bundle)
            except ApplianceError as error:
                one: dict[str, Any] = {"artifact": artifact, "bundle": str(bundle), "ok": False}
                one["reason"], one["message"] = error.reason, error.message
                text, failure = "", error
            else:
                age = _root_age(app, site)
                one = {"artifact": artifact, "bundle": str(bundle)}
                one |= verdict_data(verdict, site.stored_root, age)
                text = verdict_text(artifact, verdict, site.stored_root, age)
                failure = verdict.error
            if failure is not None:
                failure.message = f"{artifact}: {failure.message}"
                errors.append(failure)
            if jsonl:
                stream_json_lines(one)
            data.append(one)
            texts.append(text)
    text = "" if jsonl else "\n".join(filter(None, texts))
    return Result({"artifacts": data}, text, tuple(warnings), tuple(errors))


def _expected(
    identity: str, identity_regexp: str, issuer: str, issuer_regexp: str, key: Path | None
) -> ExpectedSigner:
    from appliance.sigstore.identity import CertificateIdentity, ManagedKey
    from appliance.store.files import read_foreign
    from appliance.tlog.note_keys import load_public_key_file

    keyless = identity or identity_regexp or issuer or issuer_regexp
    if key is not None and keyless:
        raise click.UsageError("--key and --certificate-… exclude each other")
    if key is not None:
        return ManagedKey(load_public_key_file(read_foreign(key, MAX_KEY_BYTES)))
    if not keyless:
        raise click.UsageError(
            "who should have signed it? give --key FILE, or --certificate-identity and "
            "--certificate-oidc-issuer"
        )
    return CertificateIdentity(identity, issuer, identity_regexp, issuer_regexp)


def _pairs(
    artifacts: tuple[str, ...], bundles: tuple[Path, ...], from_file: Path | None
) -> list[tuple[str, Path]]:
    from appliance.errors import MalformedError
    from appliance.store.files import read_foreign

    pairs = []
    if bundles and len(bundles) != len(artifacts):
        raise click.UsageError(f"{len(artifacts)} artifacts, but {len(bundles)} bundles")
    for number, artifact in enumerate(artifacts):
        pairs.append((artifact, bundles[number] if bundles else _beside(artifact)))
    if from_file is not None:
        text = read_foreign(from_file, MAX_LIST_BYTES).decode("utf-8", "surrogateescape")
        for number, line in enumerate(text.split("\n"), 1):
            artifact, tab, bundle = line.partition("\t")
            if line and not tab:
                raise MalformedError(f"{from_file}:{number}: expected ARTIFACT <tab> BUNDLE")
            if line:
                pairs.append((artifact, Path(bundle)))
    if not pairs:
        raise click.UsageError("name an artifact, or --from-file")
    return pairs


def _beside(artifact: str) -> Path:
    for suffix in BUNDLE_SUFFIXES:
        candidate = Path(artifact + suffix)
        if candidate.is_file():
            return candidate
    raise click.UsageError(f"{artifact} has no Sigstore bundle beside it: give --bundle")


@contextlib.contextmanager
def _open_site(
    app: App,
    expected: ExpectedSigner,
    trusted_root: Path | None,
    require_mirror: bool,
    max_age: str | None,
) -> Iterator[_Site]:
    from appliance.cli.settings import Settings, read_settings_of, seconds_option
    from appliance.errors import StoreError
    from appliance.jobs.verify import Demands, pinned_keys
    from appliance.sigstore.trusted_root import parse_trusted_root
    from appliance.store.files import read_foreign
    from appliance.store.trust import current_root

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
        yield _Site(
            store,
            settings,
            parse_trusted_root(raw) if raw is not None else None,
            stored,
            pinned_keys(store) if store else (),
            expected,
            Demands(
                require_mirror or settings.require_mirror,
                int(seconds_option(max_age, "--max-age", settings.max_checkpoint_age) or 0) or None,
                app.now(),
            ),
        )


def _judge(site: _Site, artifact: str, bundle_path: Path) -> Verdict:
    from appliance.jobs.verify import verify_artifact
    from appliance.sigstore.sigstore_bundle import parse_sigstore_bundle
    from appliance.store.files import read_foreign

    bundle = parse_sigstore_bundle(read_foreign(bundle_path, 16 * 1024 * 1024))
    digests = _digests(artifact, bundle)
    return verify_artifact(
        site.store, bundle, digests, site.expected, site.root, site.log_keys, site.demands
    )


def _digests(artifact: str, bundle: SigstoreBundle) -> ArtifactDigests:
    from appliance.sigstore.digests import (
        ArtifactDigests,
        digests_needed,
        parse_digest_argument,
    )
    from appliance.store.files import hash_file

    given = parse_digest_argument(artifact)
    if given is not None and not Path(artifact).exists():
        return given
    return ArtifactDigests(hash_file(Path(artifact), digests_needed(bundle)))


def _root_age(app: App, site: _Site) -> int | None:
    return None if site.stored_root is None else app.now() - site.stored_root.imported_at


def _root_warnings(app: App, site: _Site) -> Iterator[str]:
    """Warn about an old trusted root, or refuse to go on with it."""
    from appliance.config.durations import format_duration
    from appliance.errors import RefusedError

    age = _root_age(app, site)
    if age is None:
        return
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
