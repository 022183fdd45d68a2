"""Bring the index up to what is mirrored: entry bundle by entry bundle, resumable."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from appliance.errors import CorruptError, IncompleteError, LimitError, VerificationError
from appliance.jobs.find.blocks import blocks_in, bodies_in, spans_of
from appliance.jobs.find.remembered import Remembered
from appliance.jobs.local_tiles import corrupt
from appliance.jobs.our_tree import is_in_ranges
from appliance.jobs.progress import SILENT, Progress
from appliance.rekor.certificate_facts import CertificateFacts
from appliance.rekor.entry_facts import read_entry
from appliance.store.database import Store
from appliance.store.find.index import Index, IndexedBundle, Profile
from appliance.store.mirror.logs import Log
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tile_cache import EntrySpan
from appliance.tlog.tile import WIDTH, EntryBundle
from appliance.value import frozen

COMMIT_CLAIMS: Final = (3, 10, 13, 19)  # last numbers of the Fulcio OIDs that hold a commit
# What a certificate claims that does not change from run to run.
PROFILE_CLAIMS: Final = frozenset({2, 4, 5, 6, 9, 11, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24})


@frozen
class LogIndex:
    """How much of one log is indexed."""

    origin: str
    mirrored: int  # entries in stored entry bundles
    indexed: int  # of them, indexed as they are stored
    opaque: int  # of all that was indexed, not read whole


def log_index(store: Store, index: Index | None, log: Log) -> LogIndex:
    """Compare what is indexed of a log with what is stored."""
    mirror = Mirror(store, log)
    spans = spans_of(mirror)
    mirrored = sum(one.n_entries for one in spans.values())
    if index is None:
        return LogIndex(log.origin, mirrored, 0, 0)
    late = sum(
        bundle.width
        for span in changed_spans(spans, index, log)
        for bundle, _ in _missing(mirror, index, span)
    )
    return LogIndex(log.origin, mirrored, mirrored - late, len(index.opaque(log)))


def changed_spans(spans: Mapping[int, EntrySpan], index: Index, log: Log) -> list[int]:
    """Return the spans of which something may be stored that is not indexed, ascending."""
    stamps = index.stamps(log)
    return sorted(span for span, one in spans.items() if stamps.get(span) != one.stamp)


def build(
    store: Store,
    index: Index,
    logs: Sequence[Log],
    progress: Progress = SILENT,
    limit: int | None = None,
    max_bytes: int | None = None,
    remembered: Remembered | None = None,
) -> int:
    """Index the entry bundles that are stored and not indexed as they are; at most `limit`.

    Returns how many entries were read, which are `remembered`. Killed anywhere, the next run
    goes on. Raises CorruptError for a stored entry bundle that is damaged, LimitError
    (index-full) if there is more and the index has `max_bytes` already: looked at before each
    span.
    """
    read = bundles = 0
    for log in logs:
        mirror = Mirror(store, log)
        spans = spans_of(mirror)
        changed = changed_spans(spans, index, log)
        progress.stage("entries", partial(_count_missing, mirror, index, changed, limit))
        for span in changed:
            if max_bytes is not None and index.n_bytes() >= max_bytes:
                raise LimitError(
                    f"the index has {index.n_bytes():,} bytes, entryIndex.maxSizeBytes is"
                    f" {max_bytes:,}: not all of {log.origin} is indexed",
                    reason="index-full",
                    next_step="raise it (attestor config set entryIndex.maxSizeBytes SIZE), or"
                    " search with --rescan",
                )
            waiting: list[IndexedBundle] = []
            try:
                for bundle, digest in _missing(mirror, index, span):
                    if limit is not None and bundles >= limit:
                        break
                    found = _read(mirror, bundle, digest, remembered)
                    if found is None:
                        continue
                    bundles += 1
                    waiting.append(found)
                    read += bundle.width
                    progress(bundle.width)
                else:
                    # The stamp is older than what was read: if more came meanwhile, it is
                    # another by now.
                    index.add(log, waiting, (span, spans[span].stamp))
                    continue
            except CorruptError:
                index.add(log, waiting)  # what is whole can be found, whatever is not
                raise
            index.add(log, waiting)
            return read
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
        mirror, unread = Mirror(store, log), {at for at, _ in index.opaque(log)}
        progress.stage("entries", partial(_count_indexed, mirror, index, every))
        for bundle, digest in itertools.islice(_indexed(mirror, index), 0, None, every):
            found = _read(mirror, bundle, digest)
            if found is None:
                continue
            if not _is_found(index, log, found, unread):
                wrong.append(f"{bundle.path} of {log.origin}")
            entries += bundle.width
            progress(bundle.width)
    return Compared(entries, tuple(wrong))


def _is_found(index: Index, log: Log, bundle: IndexedBundle, unread: set[int]) -> bool:
    """Whether the index proposes each entry of a bundle for all that it says."""
    first = bundle.tile_index * WIDTH
    here = {at - first for at in unread if first <= at < first + WIDTH}
    return (
        here == {at for at, _ in bundle.unread}
        and all(
            first + at in index.with_term(log, term)
            for at, terms in enumerate(bundle.terms)
            for term in terms
        )
        and all(_has_profile(index, log, first + at, one) for one, at in bundle.profiles)
    )


def _has_profile(index: Index, log: Log, entry_index: int, profile: Profile) -> bool:
    return (
        index.has_profile(log, entry_index, profile)
        and all(entry_index in index.with_identity(log, name) for _, name in profile.identities)
        and all(entry_index in index.with_issuer(log, issuer) for issuer in profile.issuers)
        and all(entry_index in index.with_claim(log, text) for _, text in profile.claims)
    )


def _count_missing(mirror: Mirror, index: Index, changed: Sequence[int], limit: int | None) -> int:
    missing = itertools.chain.from_iterable(_missing(mirror, index, span) for span in changed)
    return sum(bundle.width for bundle, _ in itertools.islice(missing, limit))


def _missing(mirror: Mirror, index: Index, span: int) -> Iterator[tuple[EntryBundle, bytes]]:
    covered = index.covered(mirror.log, span)
    for at, (digest, width) in blocks_in(mirror, span).items():
        if covered.get(at) != (digest, width):
            yield EntryBundle(at, width), digest


def _count_indexed(mirror: Mirror, index: Index, every: int) -> int:
    indexed = itertools.islice(_indexed(mirror, index), 0, None, every)
    return sum(bundle.width for bundle, _ in indexed)


def _indexed(mirror: Mirror, index: Index) -> Iterator[tuple[EntryBundle, bytes]]:
    """Yield what is said to be indexed as it is stored, by its stamp or by its digest."""
    stamps = index.stamps(mirror.log)
    for span, one in spans_of(mirror).items():
        is_whole = stamps.get(span) == one.stamp
        covered = index.covered(mirror.log, span)
        for at, (digest, width) in blocks_in(mirror, span).items():
            if is_whole or covered.get(at) == (digest, width):
                yield EntryBundle(at, width), digest


def _read(
    mirror: Mirror, bundle: EntryBundle, digest: bytes, remembered: Remembered | None = None
) -> IndexedBundle | None:
    """Read what is stored; None if it was pruned meanwhile."""
    try:
        bodies = bodies_in(mirror, bundle.index, bundle.width)
    except IncompleteError:
        return None
    except VerificationError as error:
        raise corrupt(mirror, f"{bundle.path} ({error.message})", [bundle.path]) from error
    terms: list[Collection[bytes]] = []
    profiles: list[tuple[Profile, int]] = []
    unread: list[tuple[int, str]] = []
    read = [read_entry(body) for _, body in bodies]
    if remembered is not None and not is_in_ranges(mirror):
        remembered.keep(mirror.log, bundle.index, [body for _, body in bodies], read)
    # By what stays as long as `read` does: certificates of one run have the very same claims.
    claimed: dict[tuple[str, int, int], tuple[Profile, list[bytes]]] = {}
    for (at, _), facts in zip(bodies, read, strict=True):
        said = [value for _, value in facts.digests]
        for signer in facts.signers:
            said.append(signer.fingerprint)
            said += signer.keys
            if (certificate := signer.certificate) is None:
                continue
            which = facts.kind, id(certificate.identities), id(certificate.claims)
            known = claimed.get(which)
            if known is None:
                known = claimed[which] = _claimed(facts.kind, certificate)
            said += known[1]
            profiles.append((known[0], at))
        terms += [()] * (at - len(terms))  # of a window: what is not here of these 256
        terms.append(tuple(said))  # which the collector of garbage need not look at
        if facts.unread:
            unread.append((at, f"{facts.kind}: {'; '.join(facts.unread)}"))
    return IndexedBundle(bundle.index, digest, len(bodies), terms, profiles, unread)


def _claimed(kind: str, certificate: CertificateFacts) -> tuple[Profile, list[bytes]]:
    """Return what repeats of what certificates claim, and the commits."""
    claims = certificate.claims
    kept = tuple([one for one in claims if one[0] in PROFILE_CLAIMS])
    commits = {text.encode() for number, text in claims if number in COMMIT_CLAIMS}
    return Profile(kind, certificate.identities, certificate.issuers, kept), [*commits]
