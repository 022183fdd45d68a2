"""Being a witness, online and by file; and asking one by file."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError, IncompleteError, RefusedError, RestoredError
from appliance.jobs.local_tiles import told_apart
from appliance.jobs.witness.witness import (
    Cosigned,
    cosign_request,
    cosigned_heads,
    open_request,
    recover_witness,
    require_witness_key,
    witnessed_logs,
)
from appliance.runs.session import Session
from appliance.store.files import read_given
from appliance.store.home.counters import count
from appliance.store.lock import WITNESS_LOCK_NAME
from appliance.store.mirror.logs import require_backend
from appliance.store.mirror.mirror import Mirror
from appliance.store.witness.cosigned import CosignedRow, cosigned_rows
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.cosignature import cosigner_key, open_cosignatures, parse_witness_vkey
from appliance.tlog.merkle import TreeHead
from appliance.tlog.note import SigningKey
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.tile_tree import TileTree
from appliance.tlog.tlog_policy import parse_tlog_policy
from appliance.tlog.witness_request import (
    MAX_REQUEST_BYTES,
    WitnessRequest,
    parse_witness_request,
)

LOGS: Final = "witness.logs"
REQUESTS: Final = "attestor_witness_requests_total"
WRITE_DOWN_SECONDS: Final = 10.0  # what of the counts a kill loses


class Witness:
    """One witness key at work, in as many threads as there are."""

    def __init__(self, session: Session, name: str | None) -> None:
        """Load the key; raises as require_witness_key does, and RestoredError.

        The lock of the home is not needed: a sync, or a log of this home, goes on beside it.
        """
        self._session = session
        self._turn = threading.Lock()  # threads wait here; only processes poll for the lock
        self._origins = session.configuration.texts(LOGS)
        with session.reading() as store:
            self.key: SigningKey = require_witness_key(store, name)
            cosigned_heads(store, self.key)
            self.logs = tuple(log.origin for log in witnessed_logs(store, self._origins))

    @property
    def verifier(self) -> VerifierKey:
        """The key that its cosignatures verify by."""
        return cosigner_key(self.key)

    def cosign(self, request: WitnessRequest) -> Cosigned:
        """Cosign, or raise as cosign_request does, and LockedError."""
        session = self._session
        with session.fresh().reading() as store:
            # Before anybody waits: whoever has no log's signature costs us little.
            open_request(store, request, self._origins)
        with (
            self._turn,
            session.locked(WITNESS_LOCK_NAME),
            session.fresh().writing_unlocked() as store,
        ):
            return cosign_request(store, self.key, request, self._origins, session.now())

    def cosigned(self) -> tuple[CosignedRow, ...]:
        """List what the key cosigned last."""
        with self._session.fresh().reading() as store:
            return cosigned_rows(store, self.key.name)


class RequestTally:
    """Counts what requests were answered with, and writes it down now and then."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._turn = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._due_at = session.monotonic() + WRITE_DOWN_SECONDS

    def add(self, status: str) -> None:
        """Count one answer, of any thread."""
        with self._turn:
            self._counts[status] += 1
            is_due = self._session.monotonic() >= self._due_at
        if is_due:
            self.write_down()

    def write_down(self) -> None:
        """Add what was counted to the store; if it cannot be used now, later."""
        with self._turn:
            taken, self._counts = self._counts, Counter()
            self._due_at = self._session.monotonic() + WRITE_DOWN_SECONDS
        try:
            with self._session.fresh().recording() as store, store.atomic():
                for status, times in taken.items():
                    count(store, REQUESTS, {"status": status}, by=times)
        except ApplianceError:
            with self._turn:
                self._counts.update(taken)


def sign_file(session: Session, name: str | None, path: Path) -> Cosigned:
    """Answer a request that came as a file."""
    request = parse_witness_request(read_given(path, MAX_REQUEST_BYTES))
    return Witness(session, name).cosign(request)


def recover(session: Session, name: str | None) -> tuple[str, dict[str, TreeHead]]:
    """Let a witness cosign here again; raises RestoredError never: the operator answers for it."""
    with session.locked(WITNESS_LOCK_NAME), session.writing_unlocked() as store:
        key = require_witness_key(store, name)
        return key.name, recover_witness(store, key, session.now())


def status(session: Session) -> tuple[tuple[CosignedRow, ...], tuple[RefusedError, ...]]:
    """List what the keys of this home cosigned last, and which of them may not go on here."""
    with session.reading() as store:
        rows = cosigned_rows(store)
        failures = []
        for name in dict.fromkeys(row.key_name for row in rows):
            try:
                cosigned_heads(store, require_witness_key(store, name))
            except RestoredError as error:
                failures.append(error)
    return rows, tuple(failures)


def request_for(
    session: Session, backend: str, witness: str | None, old_size: int | None
) -> tuple[WitnessRequest, SignedCheckpoint]:
    """Make a request for the newest tree of a log that is complete here.

    It goes on from `old_size`, or from the newest tree here that the witness cosigned; that is
    found by the witness's verifier key, or by its name in the log's policy. Without either, from
    nothing. Raises IncompleteError for tiles that are not here.
    """
    with session.reading() as store:
        mirror = Mirror(store, require_backend(store, backend).log)
        newest = mirror.history.mirror_checkpoint()
        if newest is None:
            raise IncompleteError(
                f"no tree of {mirror.log.origin} is complete here", reason="no-checkpoint"
            )
        size = newest.head.tree_size
        note = mirror.history.newest_note(size)
        signed = open_checkpoint(note, mirror.log.keys, mirror.log.origin)
        if old_size is None:
            old_size = _cosigned_size(mirror, witness) if witness else 0
        if old_size > size:
            raise RefusedError(
                f"{mirror.log.origin}: the witness is at {old_size:,} entries, this home at"
                f" {size:,}",
                reason="larger-tree",
                next_step="bring this home up to date first",
            )
        tree, old = TileTree(newest.head), old_size
        proof = told_apart(mirror, lambda: tree.prove_consistency(old, mirror.read_tiles))
    return WitnessRequest(old_size, proof, note), signed


def _cosigned_size(mirror: Mirror, witness: str) -> int:
    """Return the size of the newest checkpoint here that a witness cosigned; 0: none."""
    policy = None if mirror.log.policy is None else parse_tlog_policy(mirror.log.policy)
    known = [one.key for one in policy.witnesses if one.name == witness] if policy else []
    if not known:
        known = [parse_witness_vkey(witness)]
    for size in reversed(mirror.history.accepted_sizes()):
        note = mirror.history.newest_note(size)
        signed = open_checkpoint(note, mirror.log.keys, mirror.log.origin)
        if open_cosignatures(signed, known):
            return size
    return 0
