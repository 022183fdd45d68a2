"""Follow an instance of Rekor v1 from tree to tree (docs/rekor.md).

An instance signs the heads of all its trees with one key, under its host name. Its active tree
is replaced now and then; the one before it stops growing and stays in the list of inactive
shards. Each tree is a log of its own here. A backend that follows an instance goes on to a new
tree only once the end of the old one is proven: from the size that was seen last to the final.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from appliance.errors import ConfigError, IncompleteError, MalformedError, SignatureError
from appliance.policy.alarms import Anomaly
from appliance.rekor.log_info_v1 import LogInfo, TreeInfo
from appliance.store.database import Store
from appliance.store.divergence.alerts import lasting_alerts_of
from appliance.store.divergence.seen import waiting_seen
from appliance.store.home.journal import append_event
from appliance.store.home.runs import backend_run
from appliance.store.mirror.logs import (
    REKOR_V1,
    Backend,
    Log,
    add_tree,
    all_backends,
    find_log,
    is_tree_origin,
    key_name,
    move_backend,
    put_backend,
    require_backend,
    set_api_version,
    trees_of,
    verifier_key,
)
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.proven_ranges import LackingProofs
from appliance.store.revoked_keys import revoked_keys
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.log_source import ProvingSource
from appliance.tlog.note import parse_note, verified_signatures
from appliance.tlog.note_keys import VerifierKey, is_among
from appliance.value import frozen, replaced

_COMPARE: Final = (
    "ask its operator, and compare over another network; to follow another tree regardless:"
    " attestor backend add ID --origin 'HOST - TREE' ..."
)


_OF_AGE: Final = {
    one.value for one in (Anomaly.STALE_REPLICA, Anomaly.STALE_CHECKPOINT, Anomaly.STALE_TREE_SIZE)
}


class Instance(Protocol):
    """What is asked of an instance. Nothing it returns is trusted."""

    @property
    def description(self) -> str:
        """Its URL."""

    def tree(self, tree_id: str, note: bytes) -> ProvingSource:
        """Return one tree as the source of one log."""


@frozen
class TreeToSync:
    """One tree of an instance: its log, and where it comes from."""

    backend: Backend  # with that tree for a log
    source: ProvingSource
    is_active: bool


@frozen
class Followed:
    """What is to be synced of an instance, the old trees first, and what is to be said."""

    trees: tuple[TreeToSync, ...]
    moves_to: Log | None  # once the trees before it are synced; None: it stands there
    warnings: tuple[str, ...]


def follow(
    store: Store,
    backend: Backend,
    instance: Instance,
    info: LogInfo,
    pinned: Callable[[], None] = lambda: None,
    *,
    dry_run: bool = False,
) -> Followed:
    """Say which trees are to be synced; the logs of new trees are pinned by the keys there are.

    `pinned` is called once they are; in a dry run nothing is pinned, and it is not. A closed
    tree that is as it was is left out, unless checkpoints of it that were seen elsewhere wait to
    be compared, proofs of it are to be fetched, or an alert about its age lasts, which ends now.
    Every head is opened first, by the keys of its own log and those in force where the backend
    stands; for a backend that is pinned to one tree, only that tree's. Raises SignatureError for
    one that no pinned key signed, IncompleteError (shard-missing) if the tree that was followed
    is not in the list of a backend that is no mirror.
    """
    host = key_name(REKOR_V1, backend.origin)
    if is_tree_origin(backend.origin):
        return Followed(_only(backend, host, instance, info), None, ())
    opened = [(tree, _open(store, backend, host, tree)) for tree in info.trees]
    known = {log.origin: log for log in trees_of(store, host)}
    listed = {one.origin for _, one in opened}
    lags = backend.log.origin in known and backend.log.origin not in listed
    if lags and backend.mirror_of is None:
        raise _missing(backend, Mirror(store, backend.log))
    with store.atomic(dry_run=dry_run):
        if backend.follows is None:
            backend = _is_instance(store, backend)
        logs = [add_tree(store, backend, one.origin) for _, one in opened]
    if not dry_run:
        pinned()
    trees, warnings = [], []
    for (tree, checkpoint), log in zip(opened, logs, strict=True):
        is_active = tree is info.active
        accepted = Mirror(store, log).history.accepted()
        if not is_active and accepted is not None:
            is_waited_for = (
                waiting_seen(store, log)
                or LackingProofs(store, log).sizes()
                or any(one.type in _OF_AGE for one in lasting_alerts_of(store, log))
            )
            if accepted.head == checkpoint.head and not is_waited_for:
                continue
            if accepted.head != checkpoint.head and log.id != backend.log.id:
                warnings.append(
                    f"{log.origin} was closed at {accepted.head.tree_size:,} entries, and"
                    f" {checkpoint.head.tree_size:,} are offered now"
                )
        source = instance.tree(tree.tree_id, tree.note)
        trees.append(TreeToSync(replaced(backend, log=log), source, is_active))
    warnings += [
        f"{origin} is not among the inactive shards any more"
        for origin in sorted(known.keys() - listed)
    ]
    if lags:  # a mirror may lag; what it has is compared all the same
        warnings.append(f"{backend.name}, a mirror, has no tree {backend.log.origin} yet")
    moves = None if lags or logs[-1].id == backend.log.id else logs[-1]
    return Followed(tuple(trees), moves, tuple(warnings))


def move_to_next_tree(store: Store, backend: Backend, log: Log, now: int) -> None:
    """Let a backend stand at a tree, now that all before it are proven to their ends."""
    details = {"id": backend.name, "from": backend.log.origin, "to": log.origin}
    with store.atomic():
        move_backend(store, backend, log)
        append_event(store, now, "backend.moved", details)


def adopt_tree(store: Store, origin: str, note: bytes, *, dry_run: bool = False) -> Log | None:
    """Pin a tree of an instance that a backend here stands for, whose pinned key signed `note`.

    So a tree that arrives with a transfer bundle is one of that instance. None: no backend here
    stands for its host. Raises SignatureError if no key of the instance that is in force signed.
    In a dry run the log that is returned is not stored.
    """
    host = key_name(REKOR_V1, origin)
    found = [one for one in all_backends(store) if one.origin == host and one.mirror_of is None]
    if not is_tree_origin(origin) or not found:
        return None
    keys = [key for one in found for key in one.log.keys if key.max_size is None]
    open_checkpoint(note, [verifier_key(REKOR_V1, host, key.spki) for key in keys], origin)
    with store.atomic(dry_run=dry_run):
        for backend in found:
            if backend.follows is None:
                _is_instance(store, backend)
        return add_tree(store, require_backend(store, found[0].name), origin)


def stand_at_newest(store: Store, log: Log, now: int) -> None:
    """Let backends that never reach their instance stand at the tree whose head is the newest."""
    host = key_name(log.api_version, log.origin)
    heads = [(one, Mirror(store, one).history.accepted()) for one in trees_of(store, host)]
    seen = [(head.first_seen_at, one.id, one) for one, head in heads if head is not None]
    for backend in all_backends(store):
        run = backend_run(store, backend.name)
        is_asked = run is not None and run.answered_at is not None
        if backend.follows == host and seen and not is_asked:
            newest = max(seen, key=lambda one: one[:2])[2]
            if newest.id != backend.log.id:
                move_to_next_tree(store, backend, newest, now)


def _is_instance(store: Store, backend: Backend) -> Backend:
    """Record what its key has just signed: the host of an instance is no log of its own."""
    if Mirror(store, backend.log).history.accepted() is not None:
        raise ConfigError(
            f"{backend.log.origin} is a log here whose checkpoints were accepted, and a Rekor v1"
            " instance answers for it now",
            reason="api-version",
            next_step="see whether its URL is right; nothing was taken",
        )
    log = set_api_version(store, backend.log, REKOR_V1)
    put_backend(
        store,
        backend.name,
        log,
        base_url=backend.base_url,
        read_url=backend.read_url,
        enabled=backend.enabled,
        mirror_of=backend.mirror_of,
        follows=log.origin,
    )
    return require_backend(store, backend.name)


def _only(backend: Backend, host: str, instance: Instance, info: LogInfo) -> tuple[TreeToSync, ...]:
    """Return the one tree that a backend is of."""
    tree_id = backend.log.origin.rpartition(" ")[2]
    for tree in info.trees:
        if tree.tree_id == tree_id:
            _opened(backend.log.keys, host, tree)
            source = instance.tree(tree.tree_id, tree.note)
            return (TreeToSync(backend, source, tree is info.active),)
    known = ", ".join(tree.tree_id for tree in info.trees)
    raise IncompleteError(
        f"{instance.description} has no tree {tree_id} (it lists {known})",
        reason="shard-missing",
        next_step=_COMPARE,
    )


def _open(store: Store, backend: Backend, host: str, tree: TreeInfo) -> SignedCheckpoint:
    """Open the head of a tree by the keys that its log has, or will have once it is pinned."""
    log = find_log(store, f"{host} - {tree.tree_id}")
    own = () if log is None else _own_keys(store, log)
    more = (key for key in backend.log.keys if key.max_size is None and not is_among(key, own))
    return _opened((*own, *more), host, tree)


def _own_keys(store: Store, log: Log) -> tuple[VerifierKey, ...]:
    """Return the keys of a log; one that was revoked at another tree signs nothing newer."""
    revoked, accepted = revoked_keys(store), Mirror(store, log).history.accepted()
    size = 0 if accepted is None else accepted.head.tree_size
    return tuple(
        replaced(key, max_size=size) if key.max_size is None and is_among(key, revoked) else key
        for key in log.keys
    )


def _opened(keys: Sequence[VerifierKey], host: str, tree: TreeInfo) -> SignedCheckpoint:
    named = [
        replaced(verifier_key(REKOR_V1, host, key.spki), max_size=key.max_size) for key in keys
    ]
    try:
        return open_checkpoint(tree.note, named, f"{host} - {tree.tree_id}")
    except SignatureError as error:
        _name_another_host(error, named, host, tree)
        error.message = f"tree {tree.tree_id}: {error.message}"
        raise


def _name_another_host(
    error: SignatureError, keys: Sequence[VerifierKey], host: str, tree: TreeInfo
) -> None:
    """Say so where a pinned key signed under another name: the origin is misspelled."""
    name = next((name for name in _other_names(host, tree) if _signed_as(name, keys, tree)), None)
    if name is None:
        return
    error.message = f"the pinned key signs as {name[:200]!r}, the backend's origin is {host!r}"
    error.reason = "wrong-origin"
    error.next_step = (
        "they have to be the same to the letter: add the backend again with"
        f" --origin {shlex.quote(name[:200])}"
    )


def _other_names(host: str, tree: TreeInfo) -> list[str]:
    try:
        return [line.name for line in parse_note(tree.note).signatures if line.name != host]
    except MalformedError:
        return []


def _signed_as(name: str, keys: Sequence[VerifierKey], tree: TreeInfo) -> bool:
    """Whether one of the keys signed under a name; the id on the line is anybody's to write."""
    try:
        renamed = [verifier_key(REKOR_V1, name, key.spki) for key in keys]
        return bool(verified_signatures(parse_note(tree.note), renamed))
    except (MalformedError, SignatureError):
        return False


def _missing(backend: Backend, mirror: Mirror) -> IncompleteError:
    accepted = mirror.history.accepted()
    size = 0 if accepted is None else accepted.head.tree_size
    return IncompleteError(
        f"{backend.log.origin}, seen last with {size:,} entries, is neither the active tree nor"
        " among the inactive shards: that it ended honestly cannot be proven, and no other tree"
        " is followed in its place",
        reason="shard-missing",
        next_step=_COMPARE,
    )
