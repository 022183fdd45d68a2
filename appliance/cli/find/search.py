"""entries search: who signed, what is in the logs, and what provably is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import click

from appliance.cli.numbers import Whole
from appliance.cli.output import Result, common_options, printable
from appliance.cli.progress import progress_bar
from appliance.errors import MalformedError
from appliance.jobs.find.criteria import Criteria
from appliance.jobs.find.search import Hit, Scanned
from appliance.rekor.signing_algorithms import DIGEST_BYTES
from appliance.runs.find import Query, SearchRun, not_logged, search_entries
from appliance.runs.session import Session, pass_session
from appliance.sigstore.identity import CLAIMS
from appliance.store.files import hash_file, read_foreign
from appliance.times import utc

_FULCIO: Final = "1.3.6.1.4.1.57264.1."
_OIDS: Final = {name: int(oid.removeprefix(_FULCIO)) for name, oid in CLAIMS.items()} | {
    "github-workflow-trigger": 2,
    "github-workflow-sha": 3,
    "github-workflow-name": 4,
    "github-workflow-repository": 5,
    "github-workflow-ref": 6,
}
_BY_HEX_DIGITS: Final = {2 * n_bytes: n_bytes for n_bytes in DIGEST_BYTES.values()}
_MAX_LIST_BYTES: Final = 16 * 1024 * 1024
_KINDS: Final = ("hashedrekord", "dsse", "intoto")


@click.command("search")
@click.option("--origin", "origins", multiple=True, help="Only this log; repeatable.")
@click.option("--digest", "digests", multiple=True, metavar="HEX", help="Of an artifact.")
@click.option(
    "--artifact",
    "artifacts",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file, by its digests.",
)
@click.option(
    "--from-file", type=click.Path(path_type=Path), help="Digests, as sha256sum writes them."
)
@click.option("--identity-exact", "identities", multiple=True, help="In the certificate.")
@click.option("--identity-prefix", "prefixes", multiple=True, help="What an identity begins with.")
@click.option("--issuer", "issuers", multiple=True, help="Of the identity, exactly.")
@click.option(
    "--fingerprint",
    "fingerprints",
    multiple=True,
    metavar="HEX",
    help="SHA-256 of a key or certificate.",
)
@click.option("--commit", "commits", multiple=True, help="Commit in a CI certificate.")
@click.option("--oid", "oids", multiple=True, metavar="NAME=VALUE", help="A certificate's claim.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Of the entry.")
@click.option("--limit", type=Whole(1), default=1000, show_default=True, help="Most hits.")
@click.option("--rescan", is_flag=True, help="Read every entry, without the index.")
@click.option("--expect", type=click.Choice(("found", "none")), help="Anything else is code 3.")
@common_options
@pass_session
def entries_search(
    session: Session,
    origins: tuple[str, ...],
    digests: tuple[str, ...],
    artifacts: tuple[Path, ...],
    from_file: Path | None,
    identities: tuple[str, ...],
    prefixes: tuple[str, ...],
    issuers: tuple[str, ...],
    fingerprints: tuple[str, ...],
    commits: tuple[str, ...],
    oids: tuple[str, ...],
    kinds: tuple[str, ...],
    limit: int,
    rescan: bool,
    expect: str | None,
) -> Result:
    """Find entries in the mirrored logs, offline, and say what was looked at.

    Options of different kinds must all hold; of one given several times, any will do. Each
    hit is read again from its entry bundle and proven in the tree; names are what the
    certificate says, whoever issued it. "not logged" is said only if every entry was looked
    at and read; otherwise nothing found is code 5, with the gaps. The index ('attestor index
    build') can hide an entry if somebody tampered with it, never invent one; --rescan trusts
    nothing but the proven tree. An attestation is logged with the digest of its payload, so
    it is not found by the artifact it is about.

    \b
    Example:
        attestor entries search --artifact app.tar.gz --expect found
        attestor entries search --identity-exact release@example.com
        attestor entries search --oid source-repository-ref=refs/heads/main
    """

    wanted = [_digest(one, "--digest") for one in digests]
    for path in artifacts:
        wanted += hash_file(path, DIGEST_BYTES).values()
    if from_file is not None:
        wanted += _listed(from_file)
    if "" in (*identities, *prefixes, *issuers, *commits):
        raise click.UsageError("what is searched must not be empty")
    criteria = Criteria(
        tuple(wanted),
        tuple(map(_fingerprint, fingerprints)),
        commits,
        identities,
        prefixes,
        issuers,
        tuple(map(_claim, oids)),
        kinds,
    )
    if criteria == Criteria():
        raise click.UsageError("say what to search: --digest, --identity-exact, ...")
    for text in (
        *identities,
        *prefixes,
        *issuers,
        *commits,
        *(text for _, text in criteria.claims),
    ):
        _check_text(text)
    if not criteria.is_indexed and not rescan:
        raise click.UsageError("the index does not have this: add a condition, or --rescan")
    query = Query(criteria, origins, rescan, limit, expect)
    return _result(search_entries(session, query, progress_bar))


def _result(run: SearchRun) -> Result:
    found = run.found
    data = {
        "hits": [_hit_data(one) for one in found.hits],
        "more": found.more,
        "complete": found.is_complete,
        "coverage": [_coverage_data(one) for one in found.coverage],
    }
    lines = [line for one in found.hits for line in _hit_lines(one)]
    if not lines and not run.errors:
        lines = [not_logged(found)]
    return Result(data, "\n".join(lines), run.warnings, run.errors)


def _hit_lines(hit: Hit) -> list[str]:
    lines = [
        f"{hit.origin} {hit.entry_index}: {printable(hit.facts.kind)}, proven in the tree of"
        f" {hit.head.tree_size:,}"
    ]
    lines += [f"  digest   {name}:{value.hex()}" for name, value in hit.facts.digests]
    for signer in hit.facts.signers:
        kind = "certificate" if signer.is_certificate else "key"
        lines.append(f"  signer   {kind} {signer.fingerprint.hex()}")
        certificate = signer.certificate
        if certificate is not None:
            lines += [f"    identity {printable(name)}" for _, name in certificate.identities]
            lines += [f"    issuer   {printable(name)}" for name in certificate.issuers]
    return lines


def _hit_data(hit: Hit) -> dict[str, Any]:
    return {
        "origin": hit.origin,
        "index": hit.entry_index,
        "kind": hit.facts.kind,
        "digests": [f"{name}:{value.hex()}" for name, value in hit.facts.digests],
        "leafHash": hit.leaf.hex(),
        "treeSize": hit.head.tree_size,
        "rootHash": hit.head.root_hash.hex(),
        "signers": [
            {
                "type": "certificate" if one.is_certificate else "key",
                "sha256": one.fingerprint.hex(),
                "keySha256": [key.hex() for key in one.keys],
                "identities": [name for _, name in one.certificate.identities]
                if one.certificate
                else [],
                "issuers": list(one.certificate.issuers) if one.certificate else [],
                "signedAt": utc(one.certificate.signed_at)
                if one.certificate and one.certificate.signed_at is not None
                else None,
            }
            for one in hit.facts.signers
        ],
        "unread": list(hit.facts.unread),
    }


def _coverage_data(one: Scanned) -> dict[str, Any]:
    return {
        "origin": one.origin,
        "treeSize": None if one.head is None else one.head.tree_size,
        "rootHash": None if one.head is None else one.head.root_hash.hex(),
        "firstSeenAt": None if one.first_seen_at is None else utc(one.first_seen_at),
        "basis": one.basis,
        "scanned": [list(part) for part in one.ranges],
        "gaps": [{"from": gap.start, "to": gap.stop, "why": gap.why} for gap in one.gaps],
        "opaque": [{"index": at, "why": why} for at, why in one.opaque],
    }


def _digest(text: str, option: str) -> bytes:
    algorithm, colon, digits = text.rpartition(":")
    n_bytes = _BY_HEX_DIGITS.get(len(digits))
    known = not colon or DIGEST_BYTES.get(algorithm.lower()) == n_bytes
    if n_bytes is None or not known or not re.fullmatch("[0-9a-fA-F]+", digits):
        raise click.BadParameter(
            f"expected a SHA-256, SHA-384 or SHA-512 digest in hex, got {text[:80]!r}",
            param_hint=option,
        )
    return bytes.fromhex(digits)


def _fingerprint(text: str) -> bytes:
    digits = text.replace(":", "")
    if not re.fullmatch("[0-9a-fA-F]{64}", digits):
        raise click.BadParameter(
            f"expected the 64 hex digits of a SHA-256, got {text[:80]!r}",
            param_hint="--fingerprint",
        )
    return bytes.fromhex(digits)


def _claim(text: str) -> tuple[int, str]:
    name, equals, value = text.partition("=")
    dotted = name.removeprefix(_FULCIO)
    kebab = re.sub("(?<=[a-z])(?=[A-Z])", "-", name).lower().replace("-u-r-i", "-uri")
    number = _OIDS.get(kebab)
    if dotted != name and dotted.isascii() and dotted.isdigit():
        number = int(dotted)
    if not equals or number is None or not value:
        raise click.BadParameter(
            f"expected NAME=VALUE with a NAME of {', '.join(sorted(_OIDS))} or a dotted Fulcio"
            f" OID, got {text[:80]!r}",
            param_hint="--oid",
        )
    return number, value


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise click.UsageError(f"not UTF-8: {text[:80]!a}") from error


def _listed(path: Path) -> list[bytes]:
    """Read the digests of a list as sha256sum and sha512sum write it."""
    raw = read_foreign(path, _MAX_LIST_BYTES)
    found = []
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip():
            continue
        match = re.match(r"\\?([0-9a-fA-F]+)(?:$| [ *].)", line)
        if match is None or len(match[1]) not in _BY_HEX_DIGITS:
            raise MalformedError(
                f"{path}, line {number}: expected a digest and a file name, got {line[:80]!r}",
                reason="digest-list",
                next_step="make the list with sha256sum",
            )
        found.append(bytes.fromhex(match[1]))
    if not found:
        raise MalformedError(f"{path}: no digest in it", reason="digest-list")
    return found
