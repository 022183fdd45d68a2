"""Where the trees of a Rekor v1 instance begin, and which of them an index over all trees is in.

An index over all trees is one within its tree and the sizes of all trees before it. The log's
promise for an entry signs the first, the proof of the same entry the second, so one entry of a
tree shows where that begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from appliance.errors import (
    ApplianceError,
    ArgumentError,
    IncompleteError,
    ProofError,
    SignatureError,
)
from appliance.rekor.log_info_v1 import LogInfo
from appliance.rekor.set import verify_set
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.store.database import Store
from appliance.store.mirror.logs import (
    REKOR_V1,
    Log,
    all_backends,
    all_logs,
    find_log,
    is_tree_origin,
    key_name,
    trees_of,
)
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tree_places import (
    BY_THE_LOG,
    TreePlace,
    placed_trees,
    put_tree_place,
    tree_place,
)
from appliance.tlog.checkpoint import open_checkpoint, parse_checkpoint
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.note import parse_note
from appliance.tlog.proof import verify_inclusion
from appliance.value import frozen

EXTENSION: Final = "x-entries-before"  # of a manifest: by origin, where a tree begins


_NAMED: Final = 5  # trees that a message names


class Entries(Protocol):
    """What is asked for an entry. Nothing it returns is trusted."""

    def entry(self, log_index: int) -> TransparencyLogEntry:
        """Return the entry at an index over all trees."""


def learn_places(store: Store, source: Entries, info: LogInfo, host: str) -> Iterator[str]:
    """Find out where trees begin of which that is not known yet; yield what does not add up.

    Where a tree begins is compared with the sizes of the trees that are listed before it.
    """
    before = 0
    for tree in info.trees:
        log = find_log(store, f"{host} - {tree.tree_id}")
        accepted = None if log is None else Mirror(store, log).history.accepted()
        if log is not None and accepted is not None and accepted.head.tree_size:
            yield from _learn(store, source, log, before, accepted.head.tree_size)
        before += parse_checkpoint(parse_note(tree.note).text).head.tree_size


def _learn(store: Store, source: Entries, log: Log, before: int, size: int) -> Iterator[str]:
    place = tree_place(store, log)
    if place is None or place.said_by:
        try:
            place = TreePlace(_entries_before(source, log, before + size - 1), BY_THE_LOG)
        except ApplianceError as error:
            yield f"where {log.origin} begins could not be compared: {error.message}"
            return
        with store.atomic():
            put_tree_place(store, log, place)
    if place.entries_before != before:
        yield (
            f"{log.origin} begins after {place.entries_before:,} entries, as the log signed; the"
            f" sizes of the inactive shards before it add up to {before:,}"
        )


def _entries_before(source: Entries, log: Log, log_index: int) -> int:
    """Return where a tree begins, by an entry of it: signed, and proven in the tree."""
    entry = source.entry(log_index)
    proof = entry.inclusion_proof
    if proof is None:
        raise IncompleteError("the entry came without a proof")
    signed = open_checkpoint(proof.checkpoint.encode(), log.keys, log.origin)
    verify_inclusion(
        proof.entry_index, leaf_hash(entry.canonicalized_body), signed.head, proof.hashes
    )
    signers = [key for key in log.keys if key.log_id == entry.log_id]
    if not signers:
        raise SignatureError(
            f"entry {entry.log_index:,} was promised by another key than {log.origin} has",
            reason="bad-set",
        )
    verify_set(entry, signers[0])
    if entry.log_index < proof.entry_index:
        raise ProofError(
            f"the log promised index {entry.log_index:,} over all trees to number"
            f" {proof.entry_index:,} of {log.origin}",
            reason="other-entry",
        )
    return entry.log_index - proof.entry_index


def begins_before(store: Store, log: Log, other: Log) -> bool:
    """Whether a tree is known to begin before another one of its instance."""
    one, two = tree_place(store, log), tree_place(store, other)
    return one is not None and two is not None and one.entries_before < two.entries_before


def take_place(store: Store, log: Log, said: Mapping[str, Any], site: str) -> tuple[str, ...]:
    """Keep where a tree begins, as a transfer bundle's manifest says; return what contradicts."""
    found = said.get(EXTENSION)
    before = found.get(log.origin) if isinstance(found, Mapping) else None
    if not _is_tree(log) or not isinstance(before, int) or isinstance(before, bool) or before < 0:
        return ()
    known = tree_place(store, log)
    told: tuple[str, ...] = ()
    if known is not None and known.entries_before != before:
        who = known.said_by or "the log"
        told = (
            f"{site} says that {log.origin} begins after {before:,} entries, {who} said after"
            f" {known.entries_before:,}: indices over all trees mean different entries there",
        )
    with store.atomic():
        put_tree_place(store, log, TreePlace(before, site))
    return told


def places_data(store: Store, origins: Iterator[str]) -> dict[str, dict[str, int]]:
    """Return what a manifest says of where the trees among these logs begin; empty: nothing."""
    wanted = set(origins)
    found = {
        log.origin: place.entries_before
        for log, place in placed_trees(store)
        if log.origin in wanted
    }
    return {EXTENSION: found} if found else {}


@frozen
class EntryPlace:
    """An entry by its index over all trees, and by the one within its tree."""

    log: Log
    entry_index: int  # within the tree
    log_index: int  # over all trees
    said_by: str  # whose word it is where the tree begins; BY_THE_LOG

    def __str__(self) -> str:
        """Say which entry of which tree it is."""
        by = f" (where the tree begins, {self.said_by} says)" if self.said_by else ""
        return f"log index {self.log_index} is entry {self.entry_index} of {self.log.origin}{by}"


def log_index_of(store: Store, log: Log, entry_index: int) -> EntryPlace | None:
    """Return the index over all trees of an entry; None: it is not known where its tree begins."""
    place = tree_place(store, log)
    if place is None:
        return None
    return EntryPlace(log, entry_index, place.entries_before + entry_index, place.said_by)


def by_log_index(store: Store, log_index: int, origin: str | None = None) -> EntryPlace:
    """Find the tree that holds an entry, by its index over all trees of one instance.

    `origin` is the host of the instance, or that of one of its trees; it may be left out where
    one instance alone is known here. Raises ArgumentError for a log that is no such tree or
    more than one instance, IncompleteError (not-covered) if no tree that is known here has it.
    """
    host = _instance(store, origin)
    trees = [one for one in placed_trees(store) if key_name(REKOR_V1, one[0].origin) == host]
    at_or_before = [one for one in trees if one[1].entries_before <= log_index]
    if at_or_before:
        log, place = at_or_before[-1]  # a tree that goes on after it was closed counts no further
        entry_index = log_index - place.entries_before
        if entry_index < _size(store, log):
            return EntryPlace(log, entry_index, log_index, place.said_by)
    known = "; ".join(
        f"{log.origin} has {place.entries_before:,} to"
        f" {place.entries_before + _size(store, log) - 1:,}"
        for log, place in trees[-_NAMED:]
    )
    unplaced = {log.origin for log in trees_of(store, host)} - {log.origin for log, _ in trees}
    if unplaced:
        known += f"{'; ' * bool(known)}where {', '.join(sorted(unplaced))} begins is not known here"
    raise IncompleteError(
        f"log index {log_index:,} is in no tree of {host} as it is known here ({known})",
        reason="not-covered",
        next_step=f"run 'attestor sync --backend ID --log-index {log_index}', or import a newer"
        " transfer bundle of a site that has it",
    )


def _instance(store: Store, origin: str | None) -> str:
    hosts = {key_name(REKOR_V1, one.origin) for one in all_logs(store) if _is_tree(one)}
    hosts |= {one.follows for one in all_backends(store) if one.follows is not None}
    if origin is not None:
        host = key_name(REKOR_V1, origin)
        if host in hosts:
            return host
        known = f" (known: {', '.join(sorted(hosts))})" if hosts else ""
        raise IncompleteError(
            f"{origin!r} is no Rekor v1 instance that is known here{known}",
            reason="unknown-log",
            next_step="of a log without trees the index is its own: --origin O --index N",
        )
    if len(hosts) == 1:
        return next(iter(hosts))
    if hosts:
        raise ArgumentError(
            f"expected --origin with --log-index: {len(hosts)} Rekor v1 instances are known here",
            reason="ambiguous",
            next_step=f"name one: --origin {' or --origin '.join(sorted(hosts))}",
        )
    raise IncompleteError(
        "no Rekor v1 instance is known here: an index over all trees names nothing",
        reason="unknown-log",
        next_step="name the log and the index within it: --origin O --index N",
    )


def _is_tree(log: Log) -> bool:
    return log.api_version == REKOR_V1 and is_tree_origin(log.origin)


def _size(store: Store, log: Log) -> int:
    accepted = Mirror(store, log).history.accepted()
    return 0 if accepted is None else accepted.head.tree_size
