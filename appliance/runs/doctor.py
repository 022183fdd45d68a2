"""doctor: the checks of a home and its host, and what the one judgement of health says."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.config.configuration import Configuration
from appliance.errors import ApplianceError
from appliance.jobs.checks import CheckResult, CheckState, ok, run_check, warning
from appliance.jobs.divergence.health import home_health
from appliance.jobs.home.doctor import Examined, examine
from appliance.policy.health import ProblemKind
from appliance.runs.network import network_text, open_client_key
from appliance.runs.session import Session


def examine_home(session: Session) -> Iterator[CheckResult]:
    """Check a home and its host; changes nothing."""
    clock = session.clock
    yield from examine(
        Examined(
            session.home,
            clock,
            lambda: clock.behind,
            session.allow_network_fs,
            session.passphrases,
        )
    )
    yield from _network(session)
    yield from _health(session)


def _network(session: Session) -> Iterator[CheckResult]:
    """Say through which proxy and by whose authorities other hosts are reached."""
    try:
        configuration = session.configuration
    except ApplianceError:
        return  # which is a result already
    yield run_check("network", lambda: _reached(configuration, session))


def _reached(configuration: Configuration, session: Session) -> tuple[CheckState, str]:
    text, shared = network_text(configuration, session.passphrases), open_client_key(configuration)
    if shared is None:
        return ok(text)
    return warning(f"{shared} is open to others: run chmod 600 {shared}; {text}")


def _health(session: Session) -> Iterator[CheckResult]:
    """Say what the one judgement of health says; doctor's own checks have said some of it."""
    try:
        with session.reading() as store:
            found = home_health(store, session.now())
    except ApplianceError:
        return  # which is a result already
    own = (ProblemKind.CLOCK, ProblemKind.DISK, ProblemKind.TRUST_ROOT)
    told = [
        f"{problem.text}; {problem.next_step}"
        for problem in found.problems
        if problem.kind not in own
    ]
    told += [f"{log.backend.name}: {reason}" for log in found.logs for reason in log.reasons]
    if not told:
        yield CheckResult("health", CheckState.OK, "logs, jobs and queue are well")
    for text in told:
        yield CheckResult("health", CheckState.WARNING, text)
