"""Let a private log sign: compare it with what is outside of its home first, where it must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import RefusedError, RemoteError, RestoredError
from appliance.jobs.home.configure import read_configuration
from appliance.jobs.mirror.directory_source import DirectorySource
from appliance.jobs.mirror.mirror_source import MirrorSource
from appliance.jobs.private_log.cosigning import (
    COSIGNATURES,
    COSIGNED,
    Answered,
    Asked,
    Cosign,
    Cosigners,
    Prove,
    uncosigned,
)
from appliance.jobs.private_log.recover import (
    Outside,
    Recovered,
    continue_log,
    reachable,
    recover_log,
)
from appliance.jobs.private_log.sequence import (
    mirrors_of,
    move_of,
    moved_error,
    policy_of,
    recover_command,
    seen_this_boot,
)
from appliance.jobs.progress import Progress
from appliance.runs.network import http_settings
from appliance.runs.session import Session
from appliance.runs.sources import open_backend, served_log
from appliance.store.database import DATABASE_NAME, Store, open_store
from appliance.store.home.counters import count
from appliance.store.home.journal import append_event
from appliance.store.home.key_files import load_signing_key
from appliance.store.mirror.logs import all_logs, put_policy
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.memory import boot_id
from appliance.store.private_log.private_logs import (
    PrivateLog,
    find_private_log,
    require_private_log,
)
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.log_source import LogSource
from appliance.tlog.note_keys import is_among
from appliance.tlog.tlog_policy import Witness, parse_tlog_policy

if TYPE_CHECKING:
    from appliance.fetch.http import HttpSettings


class LogWitnesses:
    """Those who cosign a log of this home, for as long as it is served or for one command."""

    def __init__(
        self, session: Session, private: PrivateLog, complain: Callable[[str], None]
    ) -> None:
        self._private = private
        self._settings: HttpSettings | None = None
        self._complain = complain
        self._failing: set[str] = set()  # of them something was said already
        self._asked: list[Asked] = []
        self._cosigners = Cosigners(self._ask, self._asked.append, session.monotonic)

    def cosign_in(self, store: Store) -> Cosign:
        """Return what has a checkpoint cosigned; `store` is where that is counted.

        Without a policy of the log nobody is asked.
        """
        policy = policy_of(store, self._private)
        if policy is None:
            return uncosigned
        # Of the store that is open: this may be another thread's than the session's.
        configuration = read_configuration(store)
        seconds = configuration.exact_seconds("witness.timeout")
        self._settings = http_settings(configuration, passphrases=store.passphrases)

        def cosign(checkpoint: SignedCheckpoint, prove: Prove) -> SignedCheckpoint:
            self._asked.clear()
            cosigned = self._cosigners.cosign(policy, checkpoint, prove, seconds)
            self._tell(store)
            return cosigned

        return cosign

    def _ask(self, witness: Witness, request: bytes, seconds: float) -> Answered:
        from appliance.fetch.http import HttpClient
        from appliance.fetch.witness import ask_witness

        # In a thread, with connections of its own: one that hangs is nobody else's.
        if self._settings is None:
            raise LookupError("a witness is asked before anybody was to cosign")
        with HttpClient(self._settings, run_seconds=seconds) as http:
            return ask_witness(http, witness.url, request, seconds)

    def _tell(self, store: Store) -> None:
        """Count what came of it, and say once of each witness that it fails."""
        if not self._asked:
            return
        origin = self._private.log.origin
        with store.atomic():
            for one in self._asked:
                labels = {"origin": origin, "witness": one.witness, "outcome": one.outcome}
                count(store, COSIGNATURES, labels)
        for one in self._asked:
            if one.outcome == COSIGNED:
                self._failing.discard(one.witness)
            elif one.witness not in self._failing:
                self._failing.add(one.witness)
                self._complain(f"{self._private.name}: witness {one.witness}: {one.message}")


def set_witnesses(store: Store, private: PrivateLog, raw: bytes | None, now: int) -> None:
    """Let a log be cosigned as a tlog-policy says; None: by nobody.

    Raises MalformedError for a policy that is none, RefusedError (policy-log) for one of other
    logs, or with the log's own key for a witness; (quorum-unreachable) for one whose quorum
    needs witnesses that have no URL.
    """
    if raw is not None:
        policy = parse_tlog_policy(raw)
        if policy.logs and not any(is_among(key, policy.log_keys) for key in private.log.keys):
            raise RefusedError(
                f"the policy is for {', '.join(log.key.name for log in policy.logs)}, not for"
                f" {private.log.origin}",
                reason="policy-log",
                next_step="leave its log lines out, or name this log's key",
            )
        if any(is_among(witness.key, private.log.keys) for witness in policy.witnesses):
            raise RefusedError(
                f"the policy has the key of {private.log.origin} for a witness of it",
                reason="policy-log",
                next_step="name others' keys",
            )
        if not policy.quorum_met([witness.key for witness in policy.witnesses if witness.url]):
            raise RefusedError(
                f"the quorum {policy.quorum!r} cannot be met by the witnesses that have a URL, and"
                " nothing would ever be published",
                reason="quorum-unreachable",
                next_step="write 'quorum none': cosignatures that come as files are added later",
            )
    with store.atomic():
        put_policy(store, private.log, raw)
        append_event(
            store,
            now,
            "log.witnesses",
            {
                "name": private.name,
                "policy": None if raw is None else raw.decode("utf-8", "replace"),
            },
        )


def ready_to_sign(session: Session, store: Store, private: PrivateLog) -> None:
    """Compare a log with its mirrors if the machine was booted since it signed; else do nothing.

    The caller holds the home's lock. Raises RemoteError if no mirror answers, MovedError if
    another server has the log, and as recover_log does.
    """
    move = move_of(store, private)
    if move is not None:
        raise moved_error(private, move)  # whatever a mirror says
    if seen_this_boot(private) or not boot_id() or not mirrors_of(store, private):
        return
    outside = ask_mirrors(session, store, private)
    if all(one.note is None for one in outside):
        raise RemoteError(
            f"{private.log.origin} is compared with its mirror before it signs again after a"
            f" boot, and none answers: {'; '.join(one.error for one in outside)}",
            reason="unreachable",
            next_step="try again when it answers; or, if this is the only and newest home:"
            f" {recover_command(private)} --only-copy",
        )
    key = load_signing_key(store.home, private.log.origin, store.passphrases)
    recover_log(store, private, key, outside, session.now(), only_copy=False)


def recover(
    session: Session,
    name: str | None,
    sources: Sequence[str],
    progress: Progress,
    complain: Callable[[str], None] = lambda _: None,
    *,
    only_copy: bool,
) -> tuple[PrivateLog, Recovered]:
    """Compare a log with all that is outside of its home, continue it from `sources`, sign again.

    A source is a URL, a directory with a log's tiles, or another home. Raises as
    recover_log and continue_log do.
    """
    with session.writing() as store:
        private = find_private_log(store, name)
        if private is None and not sources:
            private = require_private_log(store, name)  # which says what is there instead
        told: list[Outside] = []
        for text in sources:
            private = _continue(session, store, private, name, text, told, progress)
        if private is None:
            raise LookupError("neither a log nor a source")
        key = load_signing_key(store.home, private.log.origin, store.passphrases)
        told += ask_mirrors(session, store, private)
        cosign = LogWitnesses(session, private, complain).cosign_in(store)
        done = recover_log(store, private, key, told, session.now(), cosign, only_copy=only_copy)
        return private, done


def _continue(
    session: Session,
    store: Store,
    private: PrivateLog | None,
    name: str | None,
    text: str,
    told: list[Outside],
    progress: Progress,
) -> PrivateLog:
    now = session.now()
    if text.startswith(("http://", "https://")):
        with session.http() as http:
            source = served_log(http, text)
            private = continue_log(store, private, name, source, now, progress)
            told.append(reachable(source))
        return private
    directory = Path(text)
    if not (directory / DATABASE_NAME).exists():
        tree = DirectorySource(directory)
        private = continue_log(store, private, name, tree, now, progress)
        told.append(reachable(tree))
        return private
    other = open_store(directory, write=False)
    try:
        source_of = _in_home(other, private, session)
        private = continue_log(store, private, name, source_of, now, progress)
        told.append(reachable(source_of))
    finally:
        other.close()
    return private


def _in_home(other: Store, private: PrivateLog | None, session: Session) -> LogSource:
    """Return what another home holds of the log: the one we run, or whose key we have."""
    from appliance.store.home.key_files import key_names

    keys = set(key_names(session.home))
    for log in all_logs(other):
        if log.origin == private.log.origin if private else log.origin in keys:
            return MirrorSource(Mirror(other, log))
    raise RestoredError(
        f"{other.home} mirrors no log of this home",
        next_step="name a home that mirrors it, a directory with its tiles, or a URL",
    )


def ask_mirrors(session: Session, store: Store, private: PrivateLog) -> list[Outside]:
    """Ask each mirror of a log that is configured what it has of it."""
    mirrors = mirrors_of(store, private)
    if not mirrors:
        return []
    with session.http() as http:
        return [reachable(open_backend(http, mirror)) for mirror in mirrors]
