"""How a log entry's signers are told, and what is known of it, wherever entries are."""

from __future__ import annotations

from typing import Any, Final

from appliance.cli.members import members
from appliance.cli.output import printable
from appliance.jobs.find.search import Hit
from appliance.rekor.entry_facts import SignerFacts
from appliance.rekor.signing_algorithms import digest_text
from appliance.sigstore.identity import CLAIMS
from appliance.times import utc

_CLAIM_NAMES: Final = {int(oid.rpartition(".")[2]): name for name, oid in CLAIMS.items()}
VOUCHED: Final = {True: "yes", False: "no", None: "unknown"}


def signer_data(signer: SignerFacts, vouched: bool | None) -> dict[str, Any]:
    """Say all that an entry says of one of its signers."""
    certificate = signer.certificate
    return members(
        type="certificate" if signer.is_certificate else "key",
        sha256=signer.fingerprint,
        key_sha256=[key.hex() for key in signer.keys],
        identities=[name for _, name in certificate.identities] if certificate else [],
        issuers=list(certificate.issuers) if certificate else [],
        claims={
            _CLAIM_NAMES[number]: text
            for number, text in (certificate.claims if certificate else ())
            if number in _CLAIM_NAMES
        },
        signed_at=None if certificate is None else certificate.signed_at,
        vouched=vouched,
    )


def signer_lines(signer: SignerFacts, vouched: bool | None) -> list[str]:
    """Say who signed, for people."""
    kind = "certificate" if signer.is_certificate else "key"
    lines = [f"  signer   {kind} {signer.fingerprint.hex()}"]
    if signer.is_certificate:
        lines.append(f"    vouched  {VOUCHED[vouched]}")
    if signer.certificate is not None:
        lines += [f"    identity {printable(name)}" for _, name in signer.certificate.identities]
        lines += [f"    issuer   {printable(name)}" for name in signer.certificate.issuers]
    return lines


def known_lines(hit: Hit) -> list[str]:
    """Say what is known of an entry besides, for people: artifacts, times, and who expected it."""
    lines = [f"  about    {digest_text(one)}" for one in hit.known_statement]
    times = [f"after {utc(at)}" for at in (hit.logged_after,) if at is not None]
    times += [f"before {utc(at)}" for at in (hit.logged_before,) if at is not None]
    lines += [f"  logged   {', '.join(times)}, by our checkpoints"] if times else []
    if hit.expectation is not None:
        lines.append(f"  expected by row {hit.expectation} of the ledger")
    return lines
