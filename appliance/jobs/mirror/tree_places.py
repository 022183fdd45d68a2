"""Where the trees of a Rekor v1 instance begin, and which of them an index over all trees is in.

An index over all trees is one within its tree and the sizes of all trees before it. The log's
promise for an entry signs the first, the proof of the same entry the second, so one entry of a
tree shows where that begins, and a second one that the first was not a body of two trees.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from appliance.errors import (
    ApplianceError,
    ArgumentError,
    IncompleteError,
    ProofError,
    SignatureError,
)
from appliance.jobs.mirror.place_conflicts import conflicts, disputed, usable_place
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
    require_log,
    trees_of,
)
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tree_places import (
    BY_THE_LOG,
    PlacedTree,
    TreePlace,
    drop_tree_place,
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


@frozen
class _Listed:
    """A tree of which something was accepted here."""

    log: Log
    size: int  # accepted
    before: int  # sizes of the trees that are listed before it, which nobody signed together


def learn_places(
    store: Store,
    source: Entries,
    info: LogInfo,
    host: str,
    random_bytes: Callable[[int], bytes],
) -> Iterator[str]:
    """Find out where trees begin of which that is not known yet; yield what does not add up.

    Where a tree begins is compared with the sizes of the trees that are listed before it, and
    with where the others begin. What cannot be so is not kept, and asked for again next time.
    """
    listed = tuple(_listed(store, info, host))
    doubted = disputed(store, host)
    for tree in listed:
        yield from _learn(store, source, tree, tree.log.id in doubted, random_bytes)
    yield from _drop_conflicts(store, host)
    for tree in listed:
        place = tree_place(store, tree.log)
        if place is not None and not place.said_by and place.entries_before != tree.before:
            yield _does_not_add_up(tree, place.entries_before)


def _listed(store: Store, info: LogInfo, host: str) -> Iterator[_Listed]:
    before = 0
    for tree in info.trees:
        log = find_log(store, f"{host} - {tree.tree_id}")
        accepted = None if log is None else Mirror(store, log).history.accepted()
        if log is not None and accepted is not None and accepted.head.tree_size:
            yield _Listed(log, accepted.head.tree_size, before)
        before += parse_checkpoint(parse_note(tree.note).text).head.tree_size


def _learn(
    store: Store,
    source: Entries,
    tree: _Listed,
    is_doubted: bool,
    random_bytes: Callable[[int], bytes],
) -> Iterator[str]:
    """Ask for entries of a tree unless it is known where that begins, and nothing speaks against.

    What an older version kept by one entry alone is asked for again where it does not add up.
    """
    log, place = tree.log, tree_place(store, tree.log)
    is_known = place is not None and not place.said_by and not is_doubted
    if place is not None and is_known and place.entries_before == tree.before:
        return
    hints = [tree.before] if place is None else [place.entries_before, tree.before]
    try:
        found = _asked(source, tree, hints, random_bytes)
    except ApplianceError as error:
        yield f"where {log.origin} begins could not be compared: {error.message}"
        if place is not None and is_doubted and not place.said_by:
            with store.atomic():
                drop_tree_place(store, log.id)
            yield _forgotten(log.origin, place.entries_before, "another tree has those indices")
        return
    if place is not None and not place.said_by and place.entries_before != found:
        yield _forgotten(log.origin, place.entries_before, f"the log signed {found:,}")
    with store.atomic():
        put_tree_place(store, log, TreePlace(found, BY_THE_LOG))


def _forgotten(origin: str, entries_before: int, why: str) -> str:
    return (
        f"that {origin} begins after {entries_before:,} entries was kept here and is not so: {why}"
    )


def _does_not_add_up(tree: _Listed, entries_before: int) -> str:
    return (
        f"{tree.log.origin} begins after {entries_before:,} entries, as the log signed; the"
        f" sizes of the inactive shards before it add up to {tree.before:,}"
    )


def _drop_conflicts(store: Store, host: str) -> Iterator[str]:
    """Forget which trees begin within what was accepted of others, as far as the log signed it."""
    for first, second in conflicts(store, host):
        if first.place.said_by or second.place.said_by:
            continue  # what an exporter claims is not used; that is said where it arrives
        is_same = first.place == second.place
        with store.atomic():
            for one in (first, second) if is_same else (second,):
                drop_tree_place(store, one.log_id)
        outcome = "neither" if is_same else "that"
        yield (
            f"{second.origin} begins after {second.place.entries_before:,} entries, as the log"
            f" signed, but {first.origin} begins after {first.place.entries_before:,} and has"
            f" {first.size:,}: {outcome} is {'' if is_same else 'not '}kept; the next sync asks"
            " again"
        )


def _asked(
    source: Entries, tree: _Listed, hints: Sequence[int], random_bytes: Callable[[int], bytes]
) -> int:
    """Return where a tree begins, asked for where it may; raises what the last answer was."""
    for hint in hints[:-1]:
        with contextlib.suppress(ApplianceError):
            return _entries_before(source, tree, hint, random_bytes)
    return _entries_before(source, tree, hints[-1], random_bytes)


def _entries_before(
    source: Entries, tree: _Listed, hint: int, random_bytes: Callable[[int], bytes]
) -> int:
    """Return where a tree begins, by two entries of it: signed, and proven in the tree.

    One does not do: whoever had one body logged in two trees can pair the promise of the one
    with the proof of the other. So the second is any, and has to be where the first says.
    """
    before, index = _places_of(source, tree.log, hint + tree.size - 1)
    n_others = tree.size - (index < tree.size)
    if not n_others:
        if before != tree.before:
            raise ProofError(
                f"its only entry says after {before:,} entries, the sizes of the trees before it"
                f" add up to {tree.before:,}: a second entry has to show which",
                reason="other-entry",
            )
        return before
    other = int.from_bytes(random_bytes(16), "big") % n_others
    other += other >= index
    if _places_of(source, tree.log, before + other) != (before, other):
        raise ProofError(
            f"entry {index:,} says that it begins after {before:,} entries, entry {other:,} was"
            " asked for there, and another came",
            reason="other-entry",
        )
    return before


def _places_of(source: Entries, log: Log, log_index: int) -> tuple[int, int]:
    """Return where a tree begins by an entry of it, and which that is within the tree."""
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
    return entry.log_index - proof.entry_index, proof.entry_index


def begins_before(store: Store, log: Log, other: Log) -> bool:
    """Whether a tree is known to begin before another one of its instance."""
    one, two = usable_place(store, log), usable_place(store, other)
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
    return (*told, *_claims_in_conflict(store, log))


def _claims_in_conflict(store: Store, log: Log) -> Iterator[str]:
    """Say which places of other trees that of a tree cannot be true with."""
    for first, second in conflicts(store, key_name(REKOR_V1, log.origin)):
        if log.id in (first.log_id, second.log_id):
            yield (
                f"{_who(first)} says that {first.origin} begins after"
                f" {first.place.entries_before:,} entries, it has {first.size:,}, and"
                f" {_who(second)} that {second.origin} begins after"
                f" {second.place.entries_before:,}: both cannot be, and no such claim is used"
            )


def _who(tree: PlacedTree) -> str:
    return tree.place.said_by or "the log"


def places_data(store: Store, origins: Iterator[str]) -> dict[str, dict[str, int]]:
    """Return what a manifest says of where the trees among these logs begin; empty: nothing."""
    wanted = set(origins)
    hosts = {key_name(REKOR_V1, origin) for origin in wanted if is_tree_origin(origin)}
    found = {
        tree.origin: tree.place.entries_before
        for host in sorted(hosts)
        for tree in _undisputed(store, host)
        if tree.origin in wanted
    }
    return {EXTENSION: found} if found else {}


def _undisputed(store: Store, host: str) -> tuple[PlacedTree, ...]:
    out = disputed(store, host)
    return tuple(tree for tree in placed_trees(store, host) if tree.log_id not in out)


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
    place = usable_place(store, log)
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
    trees = placed_trees(store, host)
    found = [tree for tree in trees if log_index in tree.indices]
    found = [tree for tree in found if not tree.place.said_by] or found
    if found:
        tree = found[-1]  # one that goes on after it was closed counts no further
        if tree.log_id in disputed(store, host):
            raise _ambiguous(log_index, trees, tree)
        log = require_log(store, tree.origin)
        return EntryPlace(log, log_index - tree.indices.start, log_index, tree.place.said_by)
    known = "; ".join(
        f"{tree.origin} has {tree.indices.start:,} to {tree.indices.stop - 1:,}"
        for tree in trees[-_NAMED:]
    )
    unplaced = {log.origin for log in trees_of(store, host)} - {tree.origin for tree in trees}
    if unplaced:
        known += f"{'; ' * bool(known)}where {', '.join(sorted(unplaced))} begins is not known here"
    raise IncompleteError(
        f"log index {log_index:,} is in no tree of {host} as it is known here ({known})",
        reason="not-covered",
        next_step=f"run 'attestor sync --backend ID --log-index {log_index}', or import a newer"
        " transfer bundle of a site that has it",
    )


def _ambiguous(log_index: int, trees: Sequence[PlacedTree], one: PlacedTree) -> IncompleteError:
    """Return what is said of an index in a tree that would share indices with others."""
    shared = [tree for tree in trees if _share(tree.indices, one.indices)]
    known = "; ".join(
        f"{tree.origin} has {tree.indices.start:,} to {tree.indices.stop - 1:,}, {_who(tree)} says"
        for tree in shared[:_NAMED]
    )
    return IncompleteError(
        f"log index {log_index:,} is ambiguous: an index is in a single tree, and {known}",
        reason="ambiguous",
        next_step="run 'attestor sync' where the log is reached, or import a newer transfer bundle"
        " of a site that did; the index within a tree stays: --origin O --index N",
    )


def _share(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)


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
