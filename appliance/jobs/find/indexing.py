"""Bring the index up to what is mirrored: entry bundle by entry bundle, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from appliance.errors import IncompleteError, VerificationError
from appliance.jobs.local_tiles import corrupt
from appliance.rekor.entry_facts import EntryFacts, read_entry
from appliance.store.database import Store
from appliance.store.find.index import Index, IndexedBundle, IndexEntry, Profile
from appliance.store.mirror.logs import Log
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tile_cache import cached_entry_bundles
from appliance.tlog.entries import parse_entry_bundle
from appliance.tlog.tile import WIDTH, EntryBundle
from appliance.value import frozen

COMMIT_CLAIMS: Final = (3, 10, 13, 19)  # last numbers of the Fulcio OIDs that hold a commit
# What a certificate claims that does not change from run to run.
PROFILE_CLAIMS: Final = frozenset({2, 4, 5, 6, 9, 11, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24})
_TOGETHER: Final = 32  # entry bundles in one transaction

Progress = Callable[[int], None]


@frozen
class LogIndex:
    """How much of one log is indexed."""

    origin: str
    mirrored: int  # entries in stored entry bundles
    indexed: int  # of them, indexed as they are stored
    opaque: int  # of all that was indexed, not read whole


def log_index(store: Store, index: Index | None, log: Log) -> LogIndex:
    """Compare what is indexed of a log with what is stored."""
    covered = {} if index is None else index.covered(log)
    mirrored = indexed = 0
    for bundle, digest in _stored(store, log):
        mirrored += bundle.width
        if covered.get(bundle.index) == (digest, bundle.width):
            indexed += bundle.width
    opaque = 0 if index is None else len(index.opaque(log))
    return LogIndex(log.origin, mirrored, indexed, opaque)


def build(
    store: Store,
    index: Index,
    logs: Sequence[Log],
    progress: Progress = lambda _: None,
    limit: int | None = None,
) -> int:
    """Index the entry bundles that are stored and not indexed as they are; at most `limit`.

    Returns how many entries were read. Killed anywhere, the next run goes on. Raises
    CorruptError for a stored entry bundle that is damaged.
    """
    read = bundles = 0
    for log in logs:
        mirror, waiting = Mirror(store, log), []
        for bundle, digest in _missing(store, index, log):
            if limit is not None and bundles >= limit:
                break
            found = _read(mirror, bundle, digest)
            if found is None:
                continue
            bundles += 1
            waiting.append(found)
            if len(waiting) == _TOGETHER:
                index.add(log, waiting)
                waiting = []
            read += bundle.width
            progress(bundle.width)
        if waiting:
            index.add(log, waiting)
    return read


@frozen
class Compared:
    """What comparing the index with the entries gave."""

    entries: int  # read again
    wrong: tuple[str, ...]  # entry bundles of which something cannot be found


def compare(
    store: Store, index: Index, logs: Sequence[Log], every: int, progress: Progress
) -> Compared:
    """Read every n-th indexed entry bundle again, and ask the index for all that it says."""
    entries, wrong = 0, []
    for log in logs:
        mirror, covered = Mirror(store, log), index.covered(log)
        unread = {at for at, _ in index.opaque(log)}
        for bundle, digest in _stored(store, log)[::every]:
            if covered.get(bundle.index) != (digest, bundle.width):
                continue
            found = _read(mirror, bundle, digest)
            if found is None:
                continue
            if not all(_is_found(index, log, one, unread) for one in found.entries):
                wrong.append(f"{bundle.path} of {log.origin}")
            entries += bundle.width
            progress(bundle.width)
    return Compared(entries, tuple(wrong))


def _is_found(index: Index, log: Log, entry: IndexEntry, unread: set[int]) -> bool:
    at = entry.entry_index
    return (
        bool(entry.unread) == (at in unread)
        and all(at in index.with_term(log, term) for term in entry.terms)
        and all(
            at in index.with_identity(log, name)
            for profile in entry.profiles
            for name in profile.identities
        )
        and all(
            at in index.with_issuer(log, issuer)
            for profile in entry.profiles
            for issuer in profile.issuers
        )
        and all(
            at in index.with_claim(log, number, text)
            for profile in entry.profiles
            for number, text in profile.claims
        )
    )


def _stored(store: Store, log: Log) -> list[tuple[EntryBundle, bytes]]:
    return [
        (one.place, one.digest)
        for one in cached_entry_bundles(store, log)
        if isinstance(one.place, EntryBundle)
    ]


def _missing(store: Store, index: Index, log: Log) -> Iterator[tuple[EntryBundle, bytes]]:
    covered = index.covered(log)
    for bundle, digest in _stored(store, log):
        if covered.get(bundle.index) != (digest, bundle.width):
            yield bundle, digest


def _read(mirror: Mirror, bundle: EntryBundle, digest: bytes) -> IndexedBundle | None:
    """Read what is stored; None if it was pruned meanwhile."""
    try:
        bodies = parse_entry_bundle(mirror.read_entry_bundle(bundle), bundle)
    except IncompleteError:
        return None
    except VerificationError as error:
        raise corrupt(mirror, f"{bundle.path} ({error.message})", [bundle.path]) from error
    first = bundle.index * WIDTH
    entries = [_entry(first + at, read_entry(body)) for at, body in enumerate(bodies)]
    return IndexedBundle(bundle.index, digest, entries)


def _entry(entry_index: int, facts: EntryFacts) -> IndexEntry:
    terms = {value for _, value in facts.digests}
    profiles: dict[Profile, None] = {}  # each once, in order
    for signer in facts.signers:
        terms |= {signer.fingerprint, *signer.keys}
        certificate = signer.certificate
        if certificate is None:
            continue
        terms |= {
            text.encode("utf-8") for number, text in certificate.claims if number in COMMIT_CLAIMS
        }
        claims = tuple(one for one in certificate.claims if one[0] in PROFILE_CLAIMS)
        names = tuple(name for _, name in certificate.identities)
        profiles[Profile(names, certificate.issuers, claims)] = None
    why = f"{facts.kind}: {'; '.join(facts.unread)}" if facts.unread else ""
    return IndexEntry(entry_index, tuple(terms), tuple(profiles), why)
