"""What is looked for in the logs, and whether an entry is it: the one judge of a match."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from appliance.jobs.find.indexing import COMMIT_CLAIMS, PROFILE_CLAIMS
from appliance.jobs.find.patterns import SECONDS, Matcher, OverTimeError, in_time, matcher
from appliance.policy.re2 import parse
from appliance.rekor.certificate_facts import CertificateFacts
from appliance.rekor.entry_facts import EntryFacts
from appliance.store.find.index import Index
from appliance.store.find.watches import Watch, damaged_step
from appliance.store.mirror.logs import Log
from appliance.store.row_form import reading_row
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
    # Patterns in RE2's syntax, each matching anywhere unless it is anchored.
    identity_patterns: tuple[str, ...] = ()
    issuer_patterns: tuple[str, ...] = ()
    claim_patterns: tuple[tuple[int, str], ...] = ()
    pattern_seconds: float = SECONDS  # for one search of one pattern
    # Who may vouch for a name, beside the trusted root; DER. No condition by themselves.
    ca_roots: tuple[bytes, ...] = ()
    ca_intermediates: tuple[bytes, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether every entry meets it."""
        return criteria_data(self).keys() <= AUTHORITY_KINDS.keys()

    @property
    def names_somebody(self) -> bool:
        """Whether it rests on what a certificate says, which anybody can write into his own."""
        of_names = (self.identities, self.prefixes, self.issuers, self.commits, self.claims)
        patterns = (self.identity_patterns, self.issuer_patterns, self.claim_patterns)
        return any((*of_names, *patterns))

    @property
    def is_indexed(self) -> bool:
        """Whether the index can propose entries for it."""
        of_entries = (self.digests, self.fingerprints, self.commits)
        exact = (self.identities, self.prefixes, self.issuers)
        of_names = (*exact, self.identity_patterns, self.issuer_patterns)
        known = PROFILE_CLAIMS.union(COMMIT_CLAIMS)
        return any((*of_entries, *of_names)) or any(number in known for number, _ in self.claims)


_MAX_KNOWN: Final = 50_000  # certificates' names remembered
_MOST_OVER: Final = 20  # certificates that take all patterns too long, until each is asked alone
_FULCIO: Final = "1.3.6.1.4.1.57264.1."
_TEXTS: Final = {  # members of the JSON form, each a list of texts, and their fields
    "identity": "identity_patterns",
    "identityExact": "identities",
    "identityPrefix": "prefixes",
    "issuer": "issuer_patterns",
    "issuerExact": "issuers",
    "commit": "commits",
    "kind": "kinds",
}
# Each DER, in base64.
AUTHORITY_KINDS: Final = {"caRoot": "ca_roots", "caIntermediate": "ca_intermediates"}


def criteria_data(criteria: Criteria) -> dict[str, list[str]]:
    """Return conditions as they are stored and shown: by option, what is empty left out."""
    data = {name: list(getattr(criteria, of)) for name, of in _TEXTS.items()}
    data["digest"] = [one.hex() for one in criteria.digests]
    data["fingerprint"] = [one.hex() for one in criteria.fingerprints]
    data["oid"] = [f"{_FULCIO}{number}={text}" for number, text in criteria.claims]
    data["oid"] += [f"{_FULCIO}{number}~{text}" for number, text in criteria.claim_patterns]
    for name, of in AUTHORITY_KINDS.items():
        data[name] = [b64encode(der).decode() for der in getattr(criteria, of)]
    return {name: values for name, values in data.items() if values}


def criteria_from(data: Mapping[str, Sequence[str]], pattern_seconds: float = SECONDS) -> Criteria:
    """Return the conditions of their JSON form; raises ValueError for what is none."""
    if unknown := data.keys() - {*_TEXTS, *AUTHORITY_KINDS, "digest", "fingerprint", "oid"}:
        raise ValueError(f"unknown conditions: {', '.join(sorted(unknown))}")
    claims: dict[str, list[tuple[int, str]]] = {"=": [], "~": []}
    for one in data.get("oid", ()):
        found = re.fullmatch(r"([0-9]+)([=~])(.*)", one.removeprefix(_FULCIO), re.DOTALL)
        if found is None:
            raise ValueError(f"no claim: {one[:80]!r}")
        claims[found[2]].append((int(found[1]), found[3]))
    texts = {of: tuple(data.get(name, ())) for name, of in _TEXTS.items()}
    roots, more = (
        tuple(b64decode(one, validate=True) for one in data.get(name, ()))
        for name in AUTHORITY_KINDS
    )
    return Criteria(
        digests=tuple(map(bytes.fromhex, data.get("digest", ()))),
        fingerprints=tuple(map(bytes.fromhex, data.get("fingerprint", ()))),
        claims=tuple(claims["="]),
        claim_patterns=tuple(claims["~"]),
        pattern_seconds=pattern_seconds,
        ca_roots=roots,
        ca_intermediates=more,
        **texts,
    )


def conditions_of(watch: Watch, pattern_seconds: float = SECONDS) -> Criteria:
    """Return the conditions of a stored watch; raises StoreError for one that is damaged."""
    with reading_row(f"watch {watch.name}", damaged_step(watch.name)):
        return criteria_from(watch.criteria, pattern_seconds)


def matches(criteria: Criteria, facts: EntryFacts) -> bool:
    """Whether an entry meets all conditions; those on a certificate, one certificate of it.

    Raises OverTimeError if that hangs on a pattern that did not come to an end.
    """
    if criteria.digests and not any(value in criteria.digests for _, value in facts.digests):
        return False
    if criteria.kinds and facts.kind.partition(" ")[0] not in criteria.kinds:
        return False
    if not (criteria.fingerprints or criteria.names_somebody):
        return True
    return bool(matching_signers(criteria, facts))


def matching_signers(criteria: Criteria, facts: EntryFacts) -> tuple[int, ...]:
    """Return which signers of an entry meet the conditions on signers; none asked: all do.

    Raises OverTimeError if none does for all that can be told.
    """
    found: list[int] = []
    over_time: OverTimeError | None = None
    for at, one in enumerate(facts.signers):
        try:
            if _by_key(criteria, (one.fingerprint, *one.keys)) and _by_certificate(
                criteria, one.certificate
            ):
                found.append(at)
        except OverTimeError as error:  # another signer may decide it
            over_time = error
    if over_time is not None and not found:
        raise over_time
    return tuple(found)


def _by_key(criteria: Criteria, digests: tuple[bytes, ...]) -> bool:
    return not criteria.fingerprints or any(one in criteria.fingerprints for one in digests)


def _by_certificate(criteria: Criteria, certificate: CertificateFacts | None) -> bool:
    if not criteria.names_somebody:
        return True
    if certificate is None:
        return False
    names = [name for _, name in certificate.identities]
    commits = [text for number, text in certificate.claims if number in COMMIT_CLAIMS]
    seconds = criteria.pattern_seconds
    return (
        (not criteria.commits or any(one in criteria.commits for one in commits))
        and all(
            any(found == number and text in texts for found, text in certificate.claims)
            for number, texts in _by_number(criteria.claims).items()
        )
        and _has_name(
            names, criteria.identities, criteria.prefixes, criteria.identity_patterns, seconds
        )
        and _has_name(certificate.issuers, criteria.issuers, (), criteria.issuer_patterns, seconds)
        and all(
            _any_found([text for at, text in certificate.claims if at == number], patterns, seconds)
            for number, patterns in _by_number(criteria.claim_patterns).items()
        )
    )


def _by_number(claims: Iterable[tuple[int, str]]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for number, text in claims:
        found.setdefault(number, []).append(text)
    return found


def _has_name(
    names: Sequence[str],
    exact: tuple[str, ...],
    prefixes: tuple[str, ...],
    patterns: tuple[str, ...],
    seconds: float,
) -> bool:
    """Whether any of the names is wanted in any of the three ways; nothing wanted: yes."""
    if not (exact or prefixes or patterns):
        return True
    if any(name in exact or name.startswith(prefixes) for name in names):
        return True
    return bool(patterns) and _any_found(names, patterns, seconds)


def _any_found(texts: Iterable[str], patterns: Iterable[str], seconds: float) -> bool:
    over_time: OverTimeError | None = None
    matchers = [matcher(one, seconds) for one in patterns]
    for text in texts:
        for one in matchers:
            try:
                if one.search(text):
                    return True
            except OverTimeError as error:  # another text or pattern may decide it
                over_time = error
    if over_time is not None:
        raise over_time
    return False


def proposed(criteria: Criteria, index: Index, log: Log) -> set[int]:
    """Return the entries that the index proposes: no other of what it covers can match."""
    commits = tuple(one.encode("utf-8") for one in criteria.commits)
    parts = [
        _any(index.with_term(log, one) for one in some)
        for some in (criteria.digests, criteria.fingerprints, commits)
        if some
    ]
    if criteria.identities or criteria.prefixes or criteria.identity_patterns:
        exact = (index.with_identity(log, one) for one in criteria.identities)
        begins = (index.with_identity(log, one, prefix=True) for one in criteria.prefixes)
        names = _names(index.identities, criteria.identity_patterns, criteria)
        found = [index.with_identities(log, names)] if names else []
        parts.append(_any((*exact, *begins, *found)))
    if criteria.issuers or criteria.issuer_patterns:
        named = _names(index.issuers, criteria.issuer_patterns, criteria)
        parts.append(_any(index.with_issuer(log, one) for one in (*criteria.issuers, *named)))
    for number in sorted({number for number, _ in criteria.claims}):
        texts = [text for one, text in criteria.claims if one == number]
        if number in PROFILE_CLAIMS:
            parts.append(_any(index.with_claim(log, one) for one in texts))
        elif number in COMMIT_CLAIMS:
            parts.append(_any(index.with_term(log, one.encode("utf-8")) for one in texts))
    if not parts:
        raise ValueError("no condition that the index knows")
    return set.intersection(*parts)


def _names(
    listed: Callable[[str], list[str]], patterns: Iterable[str], criteria: Criteria
) -> set[str]:
    """Return the names in the index that a pattern matches, or may match for all we know."""
    found: set[str] = set()
    for text in patterns:
        one = matcher(text, criteria.pattern_seconds)
        names = listed(one.prefix)
        answers = one.search_all(names)
        found |= {
            name for name, is_found in zip(names, answers, strict=True) if is_found is not False
        }
    return found


def _any(parts: Iterable[set[int]]) -> set[int]:
    return set().union(*parts)


class Screen:
    """Many conditions at once: rules out, cheaply, those that an entry cannot meet."""

    def __init__(self, several: Sequence[Criteria]) -> None:
        self._by_digest: dict[bytes, set[int]] = {}
        self._by_fingerprint: dict[bytes, set[int]] = {}
        self._by_name: list[_Names] = []
        self._always: set[int] = set()
        self._groups: list[_Group] = []  # of those by name, once anybody has one
        self._known: dict[tuple[object, ...], frozenset[int]] = {}
        self._over = 0  # certificates whose names took too long for all patterns together
        for at, one in enumerate(several):
            if one.digests:
                for digest in one.digests:
                    self._by_digest.setdefault(digest, set()).add(at)
            elif one.fingerprints:
                for digest in one.fingerprints:
                    self._by_fingerprint.setdefault(digest, set()).add(at)
            elif (names := _names_of(at, one)) is not None:
                self._by_name.append(names)
            else:
                self._always.add(at)

    def candidates(self, facts: EntryFacts) -> set[int]:
        """Return which of the conditions an entry may meet, by their places."""
        found = set(self._always)
        for _, digest in facts.digests:
            found |= self._by_digest.get(digest, set())
        for signer in facts.signers:
            for digest in (signer.fingerprint, *signer.keys):
                found |= self._by_fingerprint.get(digest, set())
            if signer.certificate is not None and self._by_name:
                found |= self._named(signer.certificate)
        return found

    def _named(self, certificate: CertificateFacts) -> frozenset[int]:
        key = (certificate.identities, certificate.issuers)
        known = self._known.get(key)
        if known is None:
            known = self._together(certificate)
            if known is None:  # each pattern has its own time
                known = frozenset(one.place for one in self._by_name if _may_be(one, certificate))
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[key] = known
        return known

    def _together(self, certificate: CertificateFacts) -> frozenset[int] | None:
        """Return which conditions on names a certificate may meet; None: it took too long."""
        if self._over >= _MOST_OVER:
            return None
        self._groups = self._groups or _grouped(self._by_name)
        seconds = min(one.seconds for one in self._by_name)
        names = {False: {name for _, name in certificate.identities}, True: {*certificate.issuers}}
        found: frozenset[int] | None = frozenset()
        some = in_time(
            seconds,
            lambda: [one for one in self._groups if one.may_be_among(names[one.of_issuers])],
        )
        asked = [(one, one.matchers()) for group in some or () for one in group.members]
        if some is None:
            found = None
        elif asked:
            found = in_time(
                seconds,
                lambda: frozenset(
                    one.place
                    for one, matchers in asked
                    if one.may_be_among(names[one.of_issuers], matchers)
                ),
            )
        self._over += found is None
        return found


class _Names(NamedTuple):
    """What one of many conditions wants of the names in a certificate, or of its issuers."""

    place: int
    of_issuers: bool
    exact: tuple[str, ...]
    prefixes: tuple[str, ...]
    patterns: tuple[str, ...]
    seconds: float

    def matchers(self) -> list[Matcher]:
        """Return its patterns, each compiled when it is first wanted."""
        return [matcher(one, self.seconds) for one in self.patterns]

    def may_be_among(self, names: Iterable[str], matchers: Iterable[Matcher]) -> bool:
        """Whether any of these is wanted: only within `in_time`."""
        for name in names:
            if name in self.exact or name.startswith(self.prefixes):
                return True
            for one in matchers:
                if one.search_untimed(name):
                    return True
        return False


class _Group(NamedTuple):
    """Conditions on names that are looked at together."""

    of_issuers: bool
    members: Sequence[_Names]
    any_of_them: re.Pattern[str] | None  # matches what any of them does; None: each is asked

    def may_be_among(self, names: Iterable[str]) -> bool:
        """Whether any of these may be wanted by any of them: only within `in_time`."""
        return self.any_of_them is None or any(map(self.any_of_them.search, names))


def _grouped(several: Sequence[_Names]) -> list[_Group]:
    """Put together what one search can rule out.

    That is patterns that begin with ^: the compiler takes what they have in common to the
    front. Many that match anywhere would be tried at each character.
    """
    groups = []
    for of_issuers in (False, True):
        anchored: list[_Names] = []
        others: list[_Names] = []
        parts: list[str] = []
        for one in several:
            if one.of_issuers != of_issuers:
                continue
            written = [parse(text).python for text in one.patterns]
            if one.exact or one.prefixes or not all(at.startswith(r"\A") for at in written):
                others.append(one)
            else:
                anchored.append(one)
                parts += [f"(?:{at})" for at in written]
        try:
            any_of_them = re.compile("|".join(parts), re.ASCII)
        except (re.error, OverflowError, RecursionError):  # too much at once
            any_of_them = None
        groups += [_Group(of_issuers, anchored, any_of_them), _Group(of_issuers, others, None)]
    return [one for one in groups if one.members]


def _names_of(place: int, criteria: Criteria) -> _Names | None:
    """Return the conditions on identities, else on issuers; None: there are neither."""
    seconds = criteria.pattern_seconds
    for of_issuers, exact, prefixes, patterns in (
        (False, criteria.identities, criteria.prefixes, criteria.identity_patterns),
        (True, criteria.issuers, (), criteria.issuer_patterns),
    ):
        if exact or prefixes or patterns:
            return _Names(place, of_issuers, exact, prefixes, patterns, seconds)
    return None


def _may_be(one: _Names, certificate: CertificateFacts) -> bool:
    names = [name for _, name in certificate.identities]
    try:
        return _has_name(
            certificate.issuers if one.of_issuers else names,
            one.exact,
            one.prefixes,
            one.patterns,
            one.seconds,
        )
    except OverTimeError:
        return True  # it is judged again, and said
