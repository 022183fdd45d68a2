"""log client-config: the whole site in the files that Sigstore clients take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from appliance.cli.members import members
from appliance.cli.output import Result, common_options
from appliance.errors import ConfigError
from appliance.fetch.http import url_prefix
from appliance.runs.exit_codes import naming
from appliance.runs.session import Session, pass_session
from appliance.sigstore.client_config import (
    CODE_SIGNING,
    MAX_AUTHORITY_BYTES,
    TIME_STAMPING,
    ClientFiles,
    SiteConfig,
    client_files,
    parse_authority,
    parse_ct_key,
)
from appliance.sigstore.trusted_root import parse_trusted_root
from appliance.store.files import create_directory, read_foreign, written_whole
from appliance.store.private_log.private_logs import PrivateLog, require_private_log
from appliance.times import utc

TRUSTED_ROOT = "trusted_root.json"
SIGNING_CONFIG = "signing_config.v0.2.json"  # the name under which clients look for it
CLIENT_TRUST_CONFIG = "client_trust_config.json"
_FILE = click.Path(path_type=Path, dir_okay=False)
_Parsed = TypeVar("_Parsed")


@click.command("client-config")
@click.option("--log", "name", metavar="NAME", help="Which log, if there are several.")
@click.option(
    "--url", metavar="URL", help="Where clients reach the log.  [default: https://ORIGIN]"
)
@click.option(
    "--fulcio-root",
    "fulcio_roots",
    type=_FILE,
    multiple=True,
    help="Certificates of the CA, PEM; repeatable, for a CA that was replaced.",
)
@click.option("--fulcio-url", metavar="URL", help="Where the CA answers.")
@click.option(
    "--ct-key", "ct_keys", type=_FILE, multiple=True, help="Public key of its CT log; repeatable."
)
@click.option(
    "--tsa",
    "authorities",
    type=_FILE,
    multiple=True,
    help="Certificates of the timestamp authority, PEM; repeatable.",
)
@click.option("--tsa-url", metavar="URL", help="Where it takes RFC 3161 queries, path included.")
@click.option("--oidc-issuer", metavar="URL", help="Who identifies people to the CA.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the three files into this directory.",
)
@common_options
@pass_session
def client_config(
    session: Session,
    name: str | None,
    url: str | None,
    fulcio_roots: tuple[Path, ...],
    fulcio_url: str | None,
    ct_keys: tuple[Path, ...],
    authorities: tuple[Path, ...],
    tsa_url: str | None,
    oidc_issuer: str | None,
    output: Path | None,
) -> Result:
    """Join the log with the CA, the CT log and the timestamp authority of a site, for clients.

    Prints a ClientTrustConfig, or writes it to a directory beside the trusted root and the
    signing config that it consists of: sigstore-python takes it with --trust-config, cosign the
    two with --trusted-root and --signing-config. The same input makes the same bytes.
    Authorities that were replaced stay, for what they once signed; a URL is of the newest.

    \b
    Example:
        attestor log client-config --url http://127.0.0.1:3000 \\
            --fulcio-root fulcio.pem --fulcio-url http://127.0.0.1:5555 --ct-key ct.pem \\
            --tsa tsa.pem --tsa-url http://127.0.0.1:3004/api/v1/timestamp --output clients
    """
    _refuse_halves(fulcio_roots, fulcio_url, ct_keys, authorities, tsa_url, oidc_issuer)
    with session.reading() as store:
        private = require_private_log(store, name)
    site = SiteConfig(
        log_key=private.log.keys[0],
        log_start=utc(private.created_at),
        log_url=_url(url, "--url") or f"https://{private.log.origin}",
        certificate_authorities=_read(
            fulcio_roots, "--fulcio-root", lambda raw: parse_authority(raw, CODE_SIGNING)
        ),
        ct_keys=_read(ct_keys, "--ct-key", parse_ct_key),
        timestamp_authorities=_read(
            authorities, "--tsa", lambda raw: parse_authority(raw, TIME_STAMPING)
        ),
        fulcio_url=_url(fulcio_url, "--fulcio-url"),
        oidc_issuer=_url(oidc_issuer, "--oidc-issuer"),
        tsa_url=_url(tsa_url, "--tsa-url"),
    )
    files = client_files(site)
    if output is not None:
        _write(output, files)
    return _result(private, site, files, output)


def _refuse_halves(
    fulcio_roots: tuple[Path, ...],
    fulcio_url: str | None,
    ct_keys: tuple[Path, ...],
    authorities: tuple[Path, ...],
    tsa_url: str | None,
    oidc_issuer: str | None,
) -> None:
    """Refuse what no client could verify with."""
    if bool(fulcio_roots) != bool(ct_keys):
        raise click.UsageError(
            "--fulcio-root and --ct-key go together: clients want a CT log's timestamp in each"
            " certificate"
        )
    if fulcio_roots and not authorities:
        raise click.UsageError(
            "--fulcio-root needs --tsa: the log tells no time, and a certificate is valid for"
            " minutes"
        )
    if (fulcio_url or oidc_issuer) and not fulcio_roots:
        raise click.UsageError("--fulcio-url and --oidc-issuer need --fulcio-root")
    if tsa_url and not authorities:
        raise click.UsageError("--tsa-url needs --tsa")


def _read(
    paths: tuple[Path, ...], option: str, parse: Callable[[bytes], _Parsed]
) -> tuple[_Parsed, ...]:
    found = []
    for path in paths:
        with naming(f"{option} {path}"):
            found.append(parse(read_foreign(path, MAX_AUTHORITY_BYTES)))
    return tuple(dict.fromkeys(found))


def _url(text: str | None, option: str) -> str:
    if text is None:
        return ""
    try:
        url_prefix(text)
    except ConfigError as error:
        raise click.BadParameter(error.message, param_hint=option) from error
    return text.rstrip("/")


def _write(directory: Path, files: ClientFiles) -> None:

    create_directory(directory, 0o777)  # less what the umask takes: clients read it
    for name, raw in (
        (TRUSTED_ROOT, files.trusted_root),
        (SIGNING_CONFIG, files.signing_config),
        (CLIENT_TRUST_CONFIG, files.client_trust_config),
    ):
        with written_whole(directory / name, replace=True) as file:
            file.write(raw)


def _result(
    private: PrivateLog, site: SiteConfig, files: ClientFiles, output: Path | None
) -> Result:
    root = parse_trusted_root(files.trusted_root)  # what clients are given, we take
    data = members(
        log=private.log.origin,
        digest=root.digest,
        certificate_authorities=len(root.certificate_authorities),
        ct_logs=len(root.ct_logs),
        timestamp_authorities=len(root.timestamp_authorities),
        output=output,
    )
    warnings = [
        f"no {option}: clients verify with this, and cannot sign {how}"
        for option, url, wanted, how in (
            ("--fulcio-url", site.fulcio_url, site.certificate_authorities, "by identity"),
            ("--tsa-url", site.tsa_url, site.timestamp_authorities, "with a timestamp"),
        )
        if wanted and not url
    ]
    if output is None:
        data["clientTrustConfig"] = json.loads(files.client_trust_config)
        text = files.client_trust_config.decode().removesuffix("\n")
    else:
        text = "\n".join(
            [
                f"wrote {output / TRUSTED_ROOT}, {SIGNING_CONFIG} and {CLIENT_TRUST_CONFIG}",
                f"trusted root {root.digest}",
            ]
        )
    return Result(data, text, tuple(warnings))
