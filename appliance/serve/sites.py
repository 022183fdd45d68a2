"""Several services behind one address: which is asked, by whom, and how much it takes.

A request is for the site of its host and path: a site with a host goes before one without,
a longer path before a shorter one. What no site is asked for is answered 404, as is a client
of one log that asks for another: it need not hear that there is one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Final

from appliance.serve.access import AccessRule, token_of
from appliance.serve.access_log import Served
from appliance.serve.answers import (
    NOT_FOUND,
    Answer,
    ErrorCode,
    Later,
    Outcome,
    error_answer,
)
from appliance.serve.counts import RequestCounts
from appliance.serve.proxies import Proxies
from appliance.serve.requests import Request
from appliance.serve.routes import Handler, Routes
from appliance.serve.write_budget import WriteBudget
from appliance.value import frozen

HEALTH_PATH: Final = "/healthz"
OVER_BUDGET: Final = ErrorCode(429, 8)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,255}?)\.?(:[0-9]{0,5})?")
_MAYBE_LOGGED: Final = (201, 500)  # it was, or the client was not waited for


@frozen
class Site:
    """One log as it is served: where, to whom, how much."""

    log: str
    answer: Handler  # of requests below its path
    host: str | None = None  # None: any
    path: str = ""
    rule: AccessRule = AccessRule()
    budget: WriteBudget | None = None
    budgeted_path: str = ""  # a POST here costs a slot


class Sites:
    """Answers every request of a server, counts it and tells it."""

    def __init__(
        self,
        sites: Sequence[Site],
        own: Routes,
        *,
        proxies: Proxies,
        counts: RequestCounts,
        tell: Callable[[Served], None] | None,
    ) -> None:
        # The first that fits is the closest.
        self._sites = sorted(sites, key=lambda site: (site.host is None, -len(site.path)))
        self._own = own  # of the process, at the root
        self._proxies = proxies
        self._counts = counts
        self._tell = tell

    def answer(self, request: Request) -> Outcome:
        """Answer a request."""
        began, at = time.perf_counter_ns(), time.time()
        request = self._proxies.spoken_for(request)
        site = self._site_of(request)
        if self._own.knows(request.path) and (site is None or request.path != HEALTH_PATH):
            site = None  # the process is asked
        caller = ""

        def told(answer: Answer | None) -> None:
            status, size = (500, 0) if answer is None else (answer.status, len(answer.body))
            log = site.log if site else ""
            microseconds = (time.perf_counter_ns() - began) // 1000
            self.tell(request, log, at, status, size, microseconds, caller)

        outcome: Outcome | None = None  # of a bug, which the server answers
        try:
            caller, outcome = self._answer(request, site)
        finally:
            if not isinstance(outcome, Later):
                told(outcome)
        return outcome.then(told) if isinstance(outcome, Later) else outcome

    def tell(
        self,
        request: Request,
        log: str,
        at: float,
        status: int,
        size: int,
        microseconds: int,
        caller: str = "",
    ) -> None:
        """Count a request and write its line."""
        self._counts.add(log, status)
        if self._tell is not None:
            self._tell(
                Served(
                    *(at, log, request.client, caller, request.method, request.path),
                    *(status, size, microseconds),
                )
            )

    def _answer(self, request: Request, site: Site | None) -> tuple[str, Outcome]:
        """Return who asked, if anybody had to say so, and what is answered."""
        if site is None:
            return "", self._own.answer(request)
        below = request.below(request.path.removeprefix(site.path)) if site.path else request
        caller = ""
        if site.rule.asks(below) and below.path != HEALTH_PATH:
            caller = site.rule.caller(below, self._proxies.certificate(below))
            if not caller:
                return "", self._refusal(below, site)
        return caller, self._within_budget(below, site)

    def _refusal(self, request: Request, site: Site) -> Answer:
        others = (
            token for other in self._sites if other is not site for token in other.rule.tokens
        )
        if token_of(request, others):
            return error_answer(NOT_FOUND, "Not Found")
        return site.rule.refusal(request)

    def _within_budget(self, request: Request, site: Site) -> Outcome:
        costs = request.method == "POST" and request.path == site.budgeted_path
        budget = site.budget
        if budget is None or not costs:
            return site.answer(request)
        wait = budget.take()
        if wait:
            return error_answer(
                OVER_BUDGET,
                f"this log takes {budget.limit} entries an hour; try again in {wait} seconds",
                (("Retry-After", str(wait)),),
            )

        def settle(answer: Answer | None) -> None:
            if answer is None or answer.status not in _MAYBE_LOGGED:
                budget.give_back()

        outcome: Outcome | None = None
        try:
            outcome = site.answer(request)
        finally:
            if not isinstance(outcome, Later):
                settle(outcome)
        return outcome.then(settle) if isinstance(outcome, Later) else outcome

    def _site_of(self, request: Request) -> Site | None:
        host = host_of(request)
        for site in self._sites:
            if site.host is not None and site.host != host:
                continue
            if not site.path or request.path == site.path:
                return site
            if request.path.startswith(f"{site.path}/"):
                return site
        return None


def host_of(request: Request) -> str:
    """Return the host a request asks for, in lower case and without its port; "" if unclear."""
    found = _HOST.fullmatch(request.headers("Host"))
    return found[1].lower() if found else ""
