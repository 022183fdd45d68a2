"""The logs of one `log serve`: each with its key, its queue, its rule and its budget."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from appliance.cli.output import warn
from appliance.config.configuration import Configuration, Hosted
from appliance.config.private_log_keys import STDERR
from appliance.errors import ApplianceError, MovedError, RefusedError, RemoteError
from appliance.jobs.private_log.digest_key import require_digest_key
from appliance.jobs.private_log.sequence import (
    COMPARE_FIRST,
    FROZEN,
    Sequenced,
    recover,
    sequence,
)
from appliance.runs.private_log import LogWitnesses, ready_to_sign
from appliance.runs.session import Session
from appliance.serve.access import MAX_TOKENS_BYTES, AccessRule, Token, parse_tokens
from appliance.serve.batches import Batches
from appliance.serve.counts import RequestCounts
from appliance.serve.private_log import ENTRIES_PATH, PrivateLogService
from appliance.serve.sites import Site
from appliance.serve.write_budget import WINDOW_SECONDS, WriteBudget
from appliance.store.database import Store
from appliance.store.failures import is_passing
from appliance.store.home.counters import count
from appliance.store.home.key_files import load_signing_key
from appliance.store.line_file import LineFile
from appliance.store.lock import SERVE_LOCK_NAME
from appliance.store.mirror.checkpoints import History
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import PrivateLog, require_private_log
from appliance.store.secret_files import read_secret
from appliance.tlog.growth import Edge
from appliance.tlog.note import SigningKey
from appliance.tlog.publisher_key import PublisherKey

REQUESTS_METRIC = "attestor_log_requests_total"
WRITE_DOWN_SECONDS = 10.0  # counts of requests that a kill loses


class HostedLog:
    """One log, from its key to the requests it answers."""

    def __init__(
        self,
        session: Session,
        private: PrivateLog,
        key: SigningKey,
        witnesses: LogWitnesses,
        digest_key: PublisherKey | None,
        turn: threading.Lock,
        on_end: Callable[[], None],
        complain: Callable[[Exception], None],
    ) -> None:
        """Make it; `turn` is had by one log of the process at a time, `on_end` hears of its end."""
        self.private = private
        self._session = session
        self._key = key
        self._witnesses = witnesses
        self._turn = turn
        self._on_end = on_end
        self._complain = complain
        self._edge: Edge | None = None  # of what was logged last
        self.has_ended = False  # nothing is logged any more
        self.batches = Batches(self._log_batch, on_failure=self._on_failure)
        self.service = PrivateLogService(self.batches, self._reading, digest_key)

    @property
    def lock_name(self) -> str:
        """The lock that keeps the log from being moved while it is served."""
        return SERVE_LOCK_NAME.format(self.private.name)

    def site(self, hosted: Hosted, rule: AccessRule, budget: WriteBudget | None) -> Site:
        """Return it as it is served under a rule."""
        return Site(
            hosted.log,
            self.service.routes.answer,
            hosted.host,
            hosted.path,
            rule,
            budget,
            budgeted_path=ENTRIES_PATH,
        )

    def _log_batch(self, bodies: Sequence[bytes]) -> Sequenced:
        # The lock is taken for a batch, not for good: other commands have their turn. The logs
        # of this process wait for each other here, since who waits for the lock only polls.
        with self._turn:
            own = self._session.fresh()
            with own.writing() as store:
                try:
                    return self._sequenced(store, bodies)
                except RefusedError as error:
                    if error.reason != COMPARE_FIRST:
                        raise
                ready_to_sign(own, store, self.private)  # a runtime directory went while we ran
                return self._sequenced(store, bodies)

    def _sequenced(self, store: Store, bodies: Sequence[bytes]) -> Sequenced:
        cosign = self._witnesses.cosign_in(store)
        now = self._session.now()
        done = sequence(store, self.private, self._key, bodies, now, cosign, self._edge)
        self._edge = done.edge
        return done

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Mirror]:
        with self._session.fresh().reading() as store:
            yield Mirror(store, self.private.log)

    def _on_failure(self, error: Exception) -> bool:
        is_frozen = isinstance(error, RefusedError) and error.reason == FROZEN
        if is_frozen or isinstance(error, MovedError):
            return True  # it is still read
        passing = is_passing(error) or isinstance(error, RemoteError)
        self._complain(error)
        if not passing:
            self.has_ended = True
            self._on_end()
        return passing


def open_logs(
    session: Session,
    name: str | None,
    digest_key: str | None,
    on_end: Callable[[], None],
    complain: Callable[[str, Exception], None],
) -> list[tuple[HostedLog, Site]]:
    """Let each log that is to be served sign again; return them with where they are asked for.

    Which: those of privateLog.hosted, or the only one there is, or the one of that name.
    `digest_key` names the key that signs what comes without a signature. Raises as
    require_private_log, require_digest_key, load_signing_key and ready_to_sign do.
    """
    configuration = session.configuration
    turn = threading.Lock()
    opened = []
    with session.writing() as store:
        signs_digests = require_digest_key(store, digest_key) if digest_key else None
        wanted = _wanted(store, configuration, name)
        for hosted in wanted:
            told = functools.partial(complain, hosted.log if len(wanted) > 1 else "")
            private = require_private_log(store, hosted.log)
            key = load_signing_key(store.home, private.log.origin, store.passphrases)
            witnesses = LogWitnesses(session, private, warn)
            try:
                ready_to_sign(session, store, private)
            except MovedError as error:
                told(error)  # it is read here all the same
            else:
                try:
                    recover(store, private, key, session.now(), witnesses.cosign_in(store))
                except RemoteError as error:
                    told(error)  # what waits for its witnesses is tried again; reads are answered
            log = HostedLog(session, private, key, witnesses, signs_digests, turn, on_end, told)
            budget = _budget(store, private, hosted, session.now())
            opened.append((log, log.site(hosted, _rule(hosted), budget)))
    return opened


def _wanted(store: Store, configuration: Configuration, name: str | None) -> list[Hosted]:
    hosted = configuration.hosted
    if name is None and hosted:
        return list(hosted)
    chosen = require_private_log(store, name).name
    return [next((one for one in hosted if one.log == chosen), Hosted(chosen))]


def _rule(hosted: Hosted) -> AccessRule:
    tokens: tuple[Token, ...] = ()
    if hosted.tokens_file is not None:
        path = Path(hosted.tokens_file)
        text = read_secret(path, MAX_TOKENS_BYTES).decode("utf-8", "replace")
        tokens = parse_tokens(text, str(path))
    return AccessRule(tokens, hosted.client_certificates, hosted.reads_restricted)


def _budget(store: Store, private: PrivateLog, hosted: Hosted, now: int) -> WriteBudget | None:
    """Return the budget of a log, with what its own history says was spent of it."""
    if hosted.hourly_limit is None:
        return None
    history = History(store, private.log)
    size = history.size_at(now - WINDOW_SECONDS)
    spent = []
    for at, grown in history.growth_since(now - WINDOW_SECONDS):
        if grown > size:
            spent.append((max(0, now - at), grown - size))
            size = grown
    return WriteBudget(hosted.hourly_limit, time.monotonic, spent)


def access_log(configuration: Configuration, complain: Callable[[str], None]) -> LineFile | None:
    """Open the access log that is wanted; raises StoreError if it cannot be."""
    wanted = configuration.optional_text("privateLog.accessLog")
    if wanted is None:
        return None
    return LineFile(None if wanted == STDERR else Path(wanted), complain)


class Counting:
    """Writes down what was counted, every few seconds and at the end."""

    def __init__(self, session: Session, counts: RequestCounts) -> None:
        self._session = session
        self._counts = counts
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="counting")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Write down the last counts and end."""
        self._ending.set()
        self._thread.join()
        self.write_down()

    def write_down(self) -> None:
        """Add what was counted to the store; if it cannot be used now, later."""
        taken = self._counts.take()
        if not taken:
            return
        try:
            with self._session.fresh().recording() as store, store.atomic():
                for (log, status), times in taken.items():
                    labels = {"log": log, "status": str(status)}
                    count(store, REQUESTS_METRIC, labels, by=times)
        except ApplianceError:
            self._counts.put_back(taken)

    def _run(self) -> None:
        while not self._ending.wait(WRITE_DOWN_SECONDS):
            self.write_down()


def serves_all(logs: Sequence[HostedLog]) -> bool:
    """Whether every log takes entries, as far as this process can."""
    return all(log.batches.failure is None for log in logs)


def first_failure(logs: Sequence[HostedLog]) -> Exception | None:
    """Return why a log ended that could not go on, if one did."""
    failures = (log.batches.failure for log in logs)
    return next((failure for failure in failures if failure is not None), None)
