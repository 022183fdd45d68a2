"""How well a log's mirror and the home around it are doing. Decided from values, in one place.

A log is judged by what it answered, what is covered of it, whether its syncs succeed and
which alerts last; the home by its jobs, its queue, its alerts, its disk and its clock.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Final

from appliance.times import age_text
from appliance.value import frozen

HOUR: Final = 3600
DAY: Final = 24 * HOUR
JOB_SECONDS: Final = DAY  # a scheduled job that has not succeeded for longer
QUEUE_WARNING_SECONDS: Final = DAY  # the oldest item that waits to be logged
QUEUE_CRITICAL_SECONDS: Final = 2 * DAY
FAILURES_BEFORE_ALERT: Final = 3  # in a row, with tiles missing; the next may complete it
WATCH_SECONDS: Final = HOUR  # for what was mirrored to be compared with the watches
UNDELIVERED_SECONDS: Final = HOUR  # an alert that did not reach its sink
MIN_FREE_BYTES: Final = 16 * 1024 * 1024  # below this no command can be sure to finish
LOW_FREE_BYTES: Final = 512 * 1024 * 1024
LOW_FREE_FILES: Final = 10_000


class Health(enum.Enum):
    """From good to bad; a frozen log is neither."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNHEALTHY = "UNHEALTHY"
    QUARANTINED = "QUARANTINED"
    FROZEN = "FROZEN"


@frozen
class AgeLimits:
    """Beyond which age of its last valid answer a log's health drops. Seconds."""

    degraded: float
    unhealthy: float


@frozen
class Lasting:
    """An alert about the log that is not over."""

    number: int
    type: str
    is_critical: bool


@frozen
class Syncs:
    """How the syncs of a backend have gone. Times are Unix seconds; None: never, or not so."""

    attempted_at: int | None = None
    succeeded_at: int | None = None
    failing_since: int | None = None
    error: str | None = None  # why the last one failed
    moved_at: int | None = None  # when tiles last came, or nothing was left to come
    failures: int = 0  # in a row


class ProblemKind(enum.Enum):
    """What is wrong; the `kind` label of attestor_problems, and an alert's `problem`."""

    SYNC = "sync"
    COVERAGE = "coverage"
    JOB = "job"
    QUEUE = "queue"
    ALERTS = "alerts"
    TRUST_ROOT = "trust-root"
    CLOCK = "clock"
    DISK = "disk"
    OWNER = "owner"
    STORE = "store"
    WATCH = "watch"
    MIRROR_LOG = "mirror-log"


@frozen
class Problem:
    """One thing that is wrong, with what to do about it."""

    kind: ProblemKind
    is_critical: bool
    text: str
    next_step: str
    about: str = ""  # which backend, job or file, where there may be several
    age: int | None = None  # seconds; None: it has none
    threshold: int | None = None  # seconds
    is_new: bool = False  # seen, but too lately for an alert


def health(
    age: float | None,
    limits: AgeLimits,
    *,
    is_frozen: bool = False,
    quarantined_beyond: int | None = None,
    lasting: Sequence[Lasting] = (),
    problems: Sequence[Problem] = (),
    fresh_elsewhere: bool = False,
) -> tuple[Health, tuple[str, ...]]:
    """Judge a log, with reasons, by the age of its last valid answer; None: there is none.

    `quarantined_beyond`: it signed heads that cannot all be true, and nobody has explained
    them; up to this size they agree. `is_frozen`: it is not going to grow again, so age
    means nothing. An alert that lasts, or a problem, makes it worse than its age does.
    `fresh_elsewhere`: another backend of the log answered lately, so that it is only this
    backend that is silent.
    """
    reasons = [problem.text for problem in problems]
    reasons += [f"alert {one.number}: {one.type}" for one in lasting]
    if quarantined_beyond is not None:
        beyond = f"it contradicted itself; believed up to {quarantined_beyond:,} entries"
        return Health.QUARANTINED, (beyond, *reasons)
    if age is None:
        return Health.UNHEALTHY, ("no checkpoint was accepted yet", *reasons)
    too_old = age > limits.unhealthy and not is_frozen and not fresh_elsewhere
    if not is_frozen and age > limits.degraded:
        limit = limits.unhealthy if age > limits.unhealthy else limits.degraded
        but = "; another backend of its log answers" if fresh_elsewhere else ""
        reasons.insert(
            0,
            f"its last valid answer is {age_text(age)} old, allowed are {age_text(limit)}{but}",
        )
    critical = [problem for problem in problems if problem.is_critical]
    if any(one.is_critical for one in lasting) or critical or too_old:
        return Health.UNHEALTHY, tuple(reasons)
    if is_frozen and not problems:
        return Health.FROZEN, tuple(reasons)
    return (Health.DEGRADED if reasons else Health.HEALTHY), tuple(reasons)


def judge_syncs(
    backend: str, syncs: Syncs, now: int, *, percent: float | None
) -> Iterator[Problem]:
    """Judge the syncs of a backend. `percent`: of the tiles wanted; None: none are wanted."""
    sync = f"attestor sync --backend {backend}"
    why = f": {syncs.error}" if syncs.error else ""
    if percent is not None and percent < 100:
        is_failing = syncs.failing_since is not None
        stuck = None if syncs.moved_at is None else now - syncs.moved_at
        is_stuck = stuck is not None and stuck > JOB_SECONDS
        if is_failing or is_stuck:
            since = "" if stuck is None else f", nothing came for {age_text(stuck)}"
            yield Problem(
                ProblemKind.COVERAGE,
                False,
                f"its tiles cover {percent:.1f}% of the accepted checkpoint{since}{why}",
                f"run: {sync} --full-tiles",
                backend,
                stuck,
                JOB_SECONDS,
                is_new=not is_stuck and syncs.failures < FAILURES_BEFORE_ALERT,
            )
    if syncs.failing_since is None:
        return
    begun = syncs.failing_since if syncs.succeeded_at is None else syncs.succeeded_at
    if now - begun > JOB_SECONDS:
        yield Problem(
            ProblemKind.SYNC,
            False,
            f"no sync has succeeded for {age_text(now - begun)}{why}",
            f"run: {sync} -v",
            backend,
            now - begun,
            JOB_SECONDS,
        )


@frozen
class Job:
    """How the scheduled runs of a command ended. Times are Unix seconds."""

    command: str
    exit_code: int  # of the last
    first_failed_at: int | None  # None: the last did not fail
    succeeded_at: int | None  # None: never


@frozen
class Uncompared:
    """A mirror log (divergenceDetection.mirrorOrigins) that nothing is compared with."""

    origin: str
    why: str

    def __str__(self) -> str:
        """Say which, and why."""
        return f"divergenceDetection.mirrorOrigins: {self.origin} is not compared: {self.why}"


@frozen
class LateWatch:
    """A watch that was not compared with all that is mirrored of a log."""

    name: str
    origin: str
    entries: int  # it was not compared with
    age: int  # seconds, since the log's mirror last moved


@frozen
class HomeFacts:
    """What a home is judged by. Times are Unix seconds; None: there is nothing to judge."""

    now: int
    jobs: Sequence[Job] = ()
    queue_depth: int = 0
    oldest_item_at: int | None = None
    sends_itself: bool = True  # False: what waits goes out with an export
    undelivered_since: int | None = None
    undelivered_sink: str = ""
    root_at: int | None = None
    root_warn: int | None = None  # seconds
    root_fail: int | None = None  # seconds
    clock_behind: str | None = None  # in words; None: the clock is not behind
    free_bytes: int | None = None
    free_files: int | None = None
    total_bytes: int = 0  # of the disk
    foreign: Sequence[str] = ()  # what of the home belongs to somebody else than the home
    uncompared: Sequence[Uncompared] = ()
    frozen_target: tuple[str, str] | None = None  # the queue's log takes nothing; the way on
    late_watches: Sequence[LateWatch] = ()


def judge_home(facts: HomeFacts) -> Iterator[Problem]:
    """Judge a home; yield what is wrong, nothing if all is well."""
    if facts.clock_behind is not None:
        yield Problem(
            ProblemKind.CLOCK,
            True,
            facts.clock_behind,
            "set the clock; if it was ahead and is right now: attestor doctor --reset-clock REASON",
        )
    yield from _judge_disk(facts)
    if facts.foreign:
        yield Problem(
            ProblemKind.OWNER,
            True,
            f"{facts.foreign[0]} belongs to another user than the home"
            + (f", and so do {len(facts.foreign) - 1} more" if len(facts.foreign) > 1 else ""),
            "give everything below the home to its owner: chown -R --reference=HOME HOME",
        )
    for job in facts.jobs:
        begun = job.succeeded_at if job.succeeded_at is not None else job.first_failed_at
        if begun is None or facts.now - begun <= JOB_SECONDS:
            continue
        ended = "" if job.first_failed_at is None else f"; the last run ended with {job.exit_code}"
        yield Problem(
            ProblemKind.JOB,
            False,
            f"the scheduled '{job.command}' has not succeeded for"
            f" {age_text(facts.now - begun)}{ended}",
            f"run: attestor {job.command}; and see that its timer, service or cron line is there",
            job.command,
            facts.now - begun,
            JOB_SECONDS,
        )
    yield from _judge_queue(facts)
    if facts.undelivered_since is not None:
        waited = facts.now - facts.undelivered_since
        if waited > UNDELIVERED_SECONDS:
            yield Problem(
                ProblemKind.ALERTS,
                False,
                f"alerts have not reached {facts.undelivered_sink} for {age_text(waited)}",
                "run: attestor alerts send --all",
                age=waited,
                threshold=UNDELIVERED_SECONDS,
            )
    yield from _judge_root(facts)
    for late in facts.late_watches:
        yield Problem(
            ProblemKind.WATCH,
            False,
            f"watch {late.name} was not compared with {late.entries:,} mirrored entries of"
            f" {late.origin}",
            "run: attestor watch scan",
            f"{late.name} {late.origin}",
            late.age,
            WATCH_SECONDS,
            is_new=late.age <= WATCH_SECONDS,
        )
    for one in facts.uncompared:
        yield Problem(
            ProblemKind.MIRROR_LOG,
            False,
            str(one),
            "add it with 'attestor backend add', enable the log that it copies, or take it out of"
            " divergenceDetection.mirrorOrigins",
            one.origin,
        )


def _judge_disk(facts: HomeFacts) -> Iterator[Problem]:
    if facts.free_bytes is None:
        return
    no_files = facts.free_files == 0
    few_files = facts.free_files is not None and facts.free_files < LOW_FREE_FILES
    # A small disk that is mostly empty is small, not full.
    low = min(LOW_FREE_BYTES, facts.total_bytes // 10)
    if facts.free_bytes < max(low, MIN_FREE_BYTES) or few_files:
        critical = facts.free_bytes < MIN_FREE_BYTES or no_files
        files = f", {facts.free_files:,} files" if few_files else ""
        yield Problem(
            ProblemKind.DISK,
            critical,
            f"the disk of the home has {facts.free_bytes:,} bytes{files} free",
            "free space; 'attestor store gc' and 'attestor tiles prune' may help",
        )


def _judge_queue(facts: HomeFacts) -> Iterator[Problem]:
    if facts.frozen_target is not None and facts.queue_depth and facts.sends_itself:
        origin, way_on = facts.frozen_target
        yield Problem(
            ProblemKind.QUEUE,
            True,
            f"{facts.queue_depth:,} in the queue, and {origin} is frozen: it takes nothing more",
            way_on,
            origin,
        )
    if facts.oldest_item_at is None or not facts.sends_itself:
        return
    waited = facts.now - facts.oldest_item_at
    if waited > QUEUE_WARNING_SECONDS:
        critical = waited > QUEUE_CRITICAL_SECONDS
        yield Problem(
            ProblemKind.QUEUE,
            critical,
            f"{facts.queue_depth:,} in the queue, the oldest has waited {age_text(waited)}",
            "see why: attestor queue list, then attestor queue drain",
            age=waited,
            threshold=QUEUE_CRITICAL_SECONDS if critical else QUEUE_WARNING_SECONDS,
        )


def _judge_root(facts: HomeFacts) -> Iterator[Problem]:
    if facts.root_at is None:
        return
    age = facts.now - facts.root_at
    for limit, is_critical in ((facts.root_fail, True), (facts.root_warn, False)):
        if limit is not None and age > limit:
            yield Problem(
                ProblemKind.TRUST_ROOT,
                is_critical,
                f"the trusted root came {age_text(age)} ago, allowed are {age_text(limit)}",
                "run: attestor trust update, or attestor trust import FILE",
                age=age,
                threshold=limit,
            )
            return
