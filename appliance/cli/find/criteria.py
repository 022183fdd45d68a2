"""The options that say what is looked for: of 'entries search' and of 'watch add'."""

from __future__ import annotations

import functools
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from appliance.cli.find.digests import (
    check_commit,
    empty_list,
    lines_of,
    listed_digest,
    read_digest,
    read_fingerprint,
)
from appliance.cli.output import printable
from appliance.errors import ArgumentError, ConfigError, MalformedError
from appliance.jobs.find.criteria import AUTHORITY_KINDS, Criteria
from appliance.policy.re2 import translate
from appliance.rekor.certificate_facts import key_digests
from appliance.rekor.signing_algorithms import DIGEST_BYTES
from appliance.rekor.verifier_material import parse_pem_material
from appliance.runs.authorities import read_authorities
from appliance.runs.exit_codes import naming
from appliance.sigstore.identity import CLAIMS
from appliance.store.files import hash_file, read_foreign

F = TypeVar("F", bound=Callable[..., Any])

_FULCIO: Final = "1.3.6.1.4.1.57264.1."
OIDS: Final = {name: int(oid.removeprefix(_FULCIO)) for name, oid in CLAIMS.items()} | {
    "deployment-environment": 23,
    "token-subject": 24,
}
# Names that other programs have for them.
_OTHER_NAMES: Final = {"source-repository-visibility-at-signing": 22}
_MAX_PEM_BYTES: Final = 64 * 1024
_KINDS: Final = ("hashedrekord", "dsse", "intoto")
_STDIN: Final = Path("-")
_FILE: Final = click.Path(path_type=Path)
# What a line of --from-file can hold.
_LISTED: Final = (
    *("digest", "fingerprint", "identity", "identity-exact", "identity-prefix"),
    *("issuer", "issuer-exact", "commit", "oid"),
)


class NoConditionError(click.UsageError):
    """No option said what is looked for."""


def _repeated(name: str, **settings: Any) -> Callable[[F], F]:
    return click.option(f"--{name}", f"by_{name.replace('-', '_')}", multiple=True, **settings)


_OPTIONS: Final = (
    _repeated("identity", metavar="RE", help="Pattern found in a certificate's identity."),
    _repeated("identity-exact", metavar="TEXT", help="Identity in the certificate."),
    _repeated("identity-prefix", metavar="TEXT", help="What an identity begins with."),
    _repeated("issuer", metavar="RE", help="Pattern found in the identity's issuer."),
    _repeated("issuer-exact", metavar="TEXT", help="Issuer of the identity."),
    _repeated("digest", metavar="HEX", help="Of an artifact, or of an attestation's payload."),
    _repeated("artifact", metavar="FILE", type=_FILE, help="A file, by its digests."),
    click.option("--from-file", type=_FILE, help="Digests as sha256sum writes, or options."),
    _repeated("fingerprint", metavar="HEX", help="SHA-256 of a key or certificate."),
    _repeated("key", metavar="FILE", type=_FILE, help="A public key, as PEM."),
    _repeated("certificate", metavar="FILE", type=_FILE, help="A certificate, as PEM."),
    _repeated("commit", metavar="SHA", help="Commit in a CI certificate, all its digits."),
    _repeated("oid", metavar="NAME=VALUE", help="A certificate's claim; NAME~RE: a pattern."),
    _repeated("kind", type=click.Choice(_KINDS), help="Of the entry."),
    _repeated("ca-roots", metavar="FILE", type=_FILE, help="Who may vouch, too, as PEM."),
    _repeated("ca-intermediates", metavar="FILE", type=_FILE, help="Below any of those, as PEM."),
)


def criteria_options(command: F) -> F:
    """Give a command the options of what is looked for; it is called with `given`.

    That reads what was given and returns the Criteria: the files among them are read where the
    command's errors are told.
    """

    @functools.wraps(command)
    def run(*args: Any, from_file: Path | None, **kwargs: Any) -> Any:
        given = {name: value for name, value in kwargs.items() if name.startswith("by_")}
        rest = {name: value for name, value in kwargs.items() if name not in given}
        read = functools.partial(_read, given, from_file)
        return command(*args, given=read, **rest)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run  # type: ignore[return-value]


def _read(given: Mapping[str, Any], from_file: Path | None) -> Criteria:
    if from_file is None:
        return _criteria(**given)
    if from_file == _STDIN and _STDIN in given["by_artifact"]:
        raise click.UsageError("only one of the artifacts and the list can be standard input")
    listed: dict[str, list[Any]] = {name: [*values] for name, values in given.items()}
    for option, text in read_criteria_list(from_file):
        listed[f"by_{option.replace('-', '_')}"].append(text)
    return _criteria(**{name: tuple(values) for name, values in listed.items()})


def read_criteria_list(path: Path) -> list[tuple[str, str]]:
    """Read a list of what is looked for: option and text of each line; raises ArgumentError.

    A line is as sha256sum writes it, or one of _LISTED with its value.
    """
    found = []
    for number, line in lines_of(path):
        option, _, text = line.strip().partition(" ")
        digest = listed_digest(line)
        if digest is not None:
            option, text = "digest", digest.hex()
        option, text = option.removeprefix("--"), text.strip()
        if option.startswith("#"):
            continue
        if option not in _LISTED:
            raise _bad_line(
                path, number, f"expected a digest, or {', '.join(_LISTED)} with a value", line
            )
        try:
            _check_condition(option, text)
        except (click.UsageError, ConfigError) as error:
            raise _bad_line(path, number, error.message, line) from error
        found.append((option, text))
    if not found:
        raise empty_list(path, "digest and no other condition")
    return found


def _check_condition(option: str, text: str) -> None:
    """Raise UsageError or ConfigError unless an option takes this text."""
    _check_text(text)
    if option == "digest":
        read_digest(text, option)
    elif option == "fingerprint":
        read_fingerprint(text)
    elif option == "commit":
        check_commit(text)
    elif option in ("identity", "issuer"):
        translate(text)
    elif option == "oid":
        _, sign, value = read_claim(text)
        if sign == "~":
            translate(value)


def _bad_line(path: Path, number: int, why: str, line: str) -> ArgumentError:
    return ArgumentError(
        f"{path}, line {number}: {why}: {line[:80]!r}",
        reason="criteria-list",
        next_step="write one condition a line, as docs/finding.md has it; or make the list with"
        " sha256sum",
    )


def _criteria(
    *,
    by_identity: tuple[str, ...],
    by_identity_exact: tuple[str, ...],
    by_identity_prefix: tuple[str, ...],
    by_issuer: tuple[str, ...],
    by_issuer_exact: tuple[str, ...],
    by_digest: tuple[str, ...],
    by_artifact: tuple[Path, ...],
    by_fingerprint: tuple[str, ...],
    by_key: tuple[Path, ...],
    by_certificate: tuple[Path, ...],
    by_commit: tuple[str, ...],
    by_oid: tuple[str, ...],
    by_kind: tuple[str, ...],
    by_ca_roots: tuple[Path, ...],
    by_ca_intermediates: tuple[Path, ...],
) -> Criteria:
    digests = [read_digest(one, "--digest") for one in by_digest]
    for path in by_artifact:
        digests += hash_file(path, DIGEST_BYTES).values()
    fingerprints = [read_fingerprint(one) for one in by_fingerprint]
    fingerprints += [one for path in by_key for one in _fingerprints(path, "key")]
    fingerprints += [one for path in by_certificate for one in _fingerprints(path, "certificate")]
    texts = (*by_identity_exact, *by_identity_prefix, *by_issuer_exact, *by_commit)
    for text in (*texts, *by_identity, *by_issuer):
        _check_text(text)
    for text in by_commit:
        check_commit(text)
    claims = [read_claim(one) for one in by_oid]
    patterns = [("--identity", one) for one in by_identity]
    patterns += [("--issuer", one) for one in by_issuer]
    patterns += [("--oid", text) for _, sign, text in claims if sign == "~"]
    for option, text in patterns:
        try:
            translate(text)
        except ConfigError as error:
            raise click.BadParameter(error.message, param_hint=option) from error
    if by_ca_intermediates and not by_ca_roots:
        raise click.UsageError("--ca-intermediates goes with --ca-roots")
    roots, intermediates = read_authorities(by_ca_roots, by_ca_intermediates)
    criteria = Criteria(
        digests=tuple(dict.fromkeys(digests)),
        fingerprints=tuple(dict.fromkeys(fingerprints)),
        # Certificates of an authority that writes them so have capitals; git has none.
        commits=tuple(dict.fromkeys(one for text in by_commit for one in (text.lower(), text))),
        identities=by_identity_exact,
        prefixes=by_identity_prefix,
        issuers=by_issuer_exact,
        claims=tuple((number, text) for number, sign, text in claims if sign == "="),
        kinds=by_kind,
        identity_patterns=by_identity,
        issuer_patterns=by_issuer,
        claim_patterns=tuple((number, text) for number, sign, text in claims if sign == "~"),
        ca_roots=roots,
        ca_intermediates=intermediates,
    )
    if criteria.is_empty:
        raise NoConditionError("say what to look for, as with --digest or --identity-exact")
    return criteria


def condition_texts(criteria: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield kind and text of each condition, for people: an authority by its fingerprint."""
    for kind, texts in criteria.items():
        for text in texts:
            if kind in AUTHORITY_KINDS:
                yield kind, f"sha256:{sha256(b64decode(text)).hexdigest()}"
            else:
                yield kind, printable(text)


def _fingerprints(path: Path, wanted: str) -> tuple[bytes, ...]:
    """Return the fingerprints of a PEM file: a key's in each of its spellings."""
    with naming(path):
        material = parse_pem_material(read_foreign(path, _MAX_PEM_BYTES), wanted)
    if material.is_certificate is not (wanted == "certificate"):
        raise MalformedError(
            f"{path}: expected a {wanted}, got a {'certificate' if wanted == 'key' else 'key'}",
            reason="malformed",
            next_step="use --certificate for a certificate, --key for a public key",
        )
    if material.is_certificate:
        return (sha256(material.der).digest(),)
    return key_digests(material.der)


def read_claim(text: str) -> tuple[int, str, str]:
    """Read NAME=VALUE or NAME~RE: the claim's number, the sign, and what it is compared with."""
    found = re.match("([^=~]*)([=~])(.*)", text, re.DOTALL)
    name, sign, value = found.groups() if found else (text, "", "")
    dotted = name.removeprefix(_FULCIO)
    kebab = re.sub("(?<=[a-z])(?=[A-Z])", "-", name).lower().replace("-u-r-i", "-uri")
    number = OIDS.get(kebab, _OTHER_NAMES.get(kebab))
    if dotted != name and dotted.isascii() and dotted.isdigit():
        number = int(dotted)
    if not sign or number is None or not value:
        raise click.BadParameter(
            f"expected NAME=VALUE or NAME~RE with a NAME of {', '.join(sorted(OIDS))} or a dotted"
            f" Fulcio OID, got {text[:80]!r}",
            param_hint="--oid",
        )
    _check_text(value)
    return number, sign, value


def _check_text(text: str) -> None:
    if not text:
        raise click.UsageError("what is searched must not be empty")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise click.UsageError(f"not UTF-8: {text[:80]!a}") from error
