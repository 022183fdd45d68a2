"""What is looked for in the logs, and whether an entry is it: the one judge of a match."""

from __future__ import annotations

from collections.abc import Iterable

from appliance.jobs.find.indexing import COMMIT_CLAIMS, PROFILE_CLAIMS
from appliance.rekor.certificate_facts import CertificateFacts
from appliance.rekor.entry_facts import EntryFacts
from appliance.store.find.index import Index
from appliance.store.mirror.logs import Log
from appliance.value import frozen


@frozen
class Criteria:
    """Conditions: of different kinds all must hold, of one kind any will do."""

    digests: tuple[bytes, ...] = ()  # of the artifact, or of an attestation's payload
    fingerprints: tuple[bytes, ...] = ()  # SHA-256 of a key's or a certificate's DER
    commits: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()  # exact
    prefixes: tuple[str, ...] = ()  # of identities
    issuers: tuple[str, ...] = ()  # exact
    claims: tuple[tuple[int, str], ...] = ()  # last number of the Fulcio OID, exact text
    kinds: tuple[str, ...] = ()  # hashedrekord, dsse, intoto

    @property
    def is_indexed(self) -> bool:
        """Whether the index can propose entries for it."""
        of_entries = (self.digests, self.fingerprints, self.commits)
        of_names = (self.identities, self.prefixes, self.issuers)
        known = PROFILE_CLAIMS.union(COMMIT_CLAIMS)
        return any((*of_entries, *of_names)) or any(number in known for number, _ in self.claims)


def matches(criteria: Criteria, facts: EntryFacts) -> bool:
    """Whether an entry meets all conditions; those on a certificate, one certificate of it."""
    if criteria.digests and not any(value in criteria.digests for _, value in facts.digests):
        return False
    if criteria.kinds and facts.kind.partition(" ")[0] not in criteria.kinds:
        return False
    of_signer = (
        *(criteria.fingerprints, criteria.commits, criteria.identities, criteria.prefixes),
        *(criteria.issuers, criteria.claims),
    )
    if not any(of_signer):
        return True
    return any(
        _by_key(criteria, (one.fingerprint, *one.keys))
        and _by_certificate(criteria, one.certificate)
        for one in facts.signers
    )


def _by_key(criteria: Criteria, digests: tuple[bytes, ...]) -> bool:
    return not criteria.fingerprints or any(one in criteria.fingerprints for one in digests)


def _by_certificate(criteria: Criteria, certificate: CertificateFacts | None) -> bool:
    wanted = (criteria.commits, criteria.identities, criteria.prefixes, criteria.issuers)
    if not any(wanted) and not criteria.claims:
        return True
    if certificate is None:
        return False
    names = [name for _, name in certificate.identities]
    commits = [text for number, text in certificate.claims if number in COMMIT_CLAIMS]
    by_number: dict[int, set[str]] = {}
    for number, text in criteria.claims:
        by_number.setdefault(number, set()).add(text)
    return (
        (
            not (criteria.identities or criteria.prefixes)
            or any(
                name in criteria.identities or name.startswith(criteria.prefixes) for name in names
            )
        )
        and (not criteria.issuers or any(one in criteria.issuers for one in certificate.issuers))
        and (not criteria.commits or any(one in criteria.commits for one in commits))
        and all(
            any(found == number and text in texts for found, text in certificate.claims)
            for number, texts in by_number.items()
        )
    )


def proposed(criteria: Criteria, index: Index, log: Log) -> set[int]:
    """Return the entries that the index proposes: no other of what it covers can match."""
    commits = tuple(one.encode("utf-8") for one in criteria.commits)
    parts = [
        _any(index.with_term(log, one) for one in some)
        for some in (criteria.digests, criteria.fingerprints, commits)
        if some
    ]
    if criteria.identities or criteria.prefixes:
        exact = (index.with_identity(log, one) for one in criteria.identities)
        begins = (index.with_identity(log, one, prefix=True) for one in criteria.prefixes)
        parts.append(_any((*exact, *begins)))
    if criteria.issuers:
        parts.append(_any(index.with_issuer(log, one) for one in criteria.issuers))
    for number in sorted({number for number, _ in criteria.claims}):
        texts = [text for one, text in criteria.claims if one == number]
        if number in PROFILE_CLAIMS:
            parts.append(_any(index.with_claim(log, number, one) for one in texts))
        elif number in COMMIT_CLAIMS:
            parts.append(_any(index.with_term(log, one.encode("utf-8")) for one in texts))
    if not parts:
        raise ValueError("no condition that the index knows")
    return set.intersection(*parts)


def _any(parts: Iterable[set[int]]) -> set[int]:
    return set().union(*parts)
