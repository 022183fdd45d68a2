"""Sliding windows and budget time, against a replay of everything that was let through."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.policy.budget import (
    EDGE,
    GRAPH,
    SETTLE_SECONDS,
    BudgetClock,
    Limits,
    Moment,
    Window,
    free_slots,
    next_slot,
    next_turn,
    slot_times,
    start_clock,
    utilization,
)

START = 1_760_000_000
TOLD = st.lists(st.integers(0, 4000), max_size=60)
WINDOWS = st.lists(
    st.builds(Window, st.just("w"), st.integers(1, 900), st.integers(1, 8)), min_size=1, max_size=3
)


def most_in_any_window(times: Sequence[int], seconds: int) -> int:
    """Count the slow and obvious way; both ends belong to the window."""
    return max((sum(one <= t <= one + seconds for t in times) for one in times), default=0)


def test_the_defaults_are_a_hundred_an_hour_and_a_burst_of_thirty_four() -> None:
    hourly, burst = Limits().windows(GRAPH)
    assert (hourly.seconds, hourly.limit, burst.seconds, burst.limit) == (3600, 100, 600, 34)
    assert Limits().windows(EDGE) == (Window("daily", 86_400, 50),)


def test_a_slot_comes_back_one_second_after_its_window() -> None:
    windows = (Window("w", 60, 2),)
    assert next_slot([0, 10], windows, 20) == 61
    assert free_slots([0, 10], windows, 60) == 0  # sent in second 0, perhaps at its very end
    assert free_slots([0, 10], windows, 61) == 1
    assert next_slot([], (Window("w", 60, 0),), 5) is None
    assert utilization([0, 10], windows, 20) == 1.0


def test_the_turn_is_whose_window_is_emptiest_and_then_alternates() -> None:
    a, b, c = ("a", GRAPH), ("b", GRAPH), ("c", GRAPH)
    assert next_turn({a: 3, b: 2}, {}) == b
    turns: dict[tuple[str, str], int] = {}
    order = []
    counted = {a: 0, b: 0, c: 0}
    for turn in range(9):
        who = next_turn(counted, turns)
        order.append(who[0])
        counted[who] += 1
        turns[who] = turn
    assert order == ["a", "b", "c"] * 3


@given(TOLD, WINDOWS, st.integers(1, 30))
def test_planned_slots_never_fill_a_window_over_its_limit_and_come_no_later_than_needed(
    arrivals: list[int], windows: list[Window], count: int
) -> None:
    spent: list[int] = []
    for now in sorted(arrivals):
        if free_slots(spent, windows, now) > 0:
            assert next_slot(spent, windows, now) == now
            spent.append(now)
        else:
            slot = next_slot(spent, windows, now)
            assert slot is not None
            assert slot > now
            assert free_slots(spent, windows, slot) > 0
            assert free_slots(spent, windows, slot - 1) == 0
    now = max(arrivals, default=0)
    planned = slot_times(spent, windows, now, count)
    assert len(planned) == count
    assert planned == sorted(planned)
    for window in windows:
        assert most_in_any_window([*spent, *planned], window.seconds) <= window.limit


# What happens to a sender: time goes by, the clock is set, the machine restarts, it sends.
STEP = st.one_of(
    st.tuples(st.just("wait"), st.integers(0, 2000)),
    st.tuples(st.just("set"), st.integers(-100_000, 100_000)),
    st.tuples(st.just("send"), st.integers(0, SETTLE_SECONDS)),  # taken so much later
)


class Sender:
    """Sends whenever the budget lets it; remembers in true time what the log took."""

    def __init__(self, windows: Sequence[Window], *, knows_uptime: bool) -> None:
        self.windows = windows
        self.knows_uptime = knows_uptime
        self.true = 0
        self.offset = START
        self.clock = start_clock(self.moment())
        self.spent: list[int] = []  # budget time
        self.logged: list[int] = []  # true time

    def moment(self) -> Moment:
        if self.knows_uptime:
            return Moment(self.true + self.offset, "boot", self.true)
        return Moment(self.true + self.offset)

    def now(self) -> int:
        before = self.clock.budget_time
        self.clock = self.clock.at(self.moment())
        assert self.clock.budget_time >= before
        return self.clock.budget_time

    def send(self, takes: int) -> bool:
        now = self.now()
        self.spent.sort()
        if free_slots(self.spent, self.windows, now) == 0:
            return False
        self.spent.append(now + SETTLE_SECONDS)  # reserved, as if we died right here
        self.true += takes
        self.logged.append(self.true)
        self.spent[-1] = max(now, self.now())  # the answer came
        return True


@settings(max_examples=300)
@given(st.lists(STEP, max_size=80), WINDOWS)
def test_no_step_of_the_clock_lets_more_through_while_the_machine_runs(
    steps: list[tuple[str, int]], windows: list[Window]
) -> None:
    sender = Sender(windows, knows_uptime=True)
    for what, value in steps:
        if what == "wait":
            sender.true += value
        elif what == "set":
            sender.offset += value
        else:
            sender.send(value)
    for window in windows:
        assert most_in_any_window(sender.logged, window.seconds) <= window.limit


@settings(max_examples=300)
@given(st.lists(STEP, max_size=80), WINDOWS)
def test_a_clock_set_back_grants_nothing_even_where_uptime_is_unknown(
    steps: list[tuple[str, int]], windows: list[Window]
) -> None:
    sender = Sender(windows, knows_uptime=False)
    for what, value in steps:
        if what == "wait":
            sender.true += value
        elif what == "set":
            sender.offset -= abs(value)
        else:
            sender.send(value)
    for window in windows:
        assert most_in_any_window(sender.logged, window.seconds) <= window.limit


@settings(max_examples=300)
@given(st.lists(STEP, max_size=40), WINDOWS, st.booleans())
def test_after_the_longest_window_of_quiet_everything_is_free_again(
    steps: list[tuple[str, int]], windows: list[Window], knows_uptime: bool
) -> None:
    sender = Sender(windows, knows_uptime=knows_uptime)
    for what, value in steps:
        if what == "wait":
            sender.true += value
        elif what == "set":
            sender.offset += value
        else:
            sender.send(value)
    sender.now()  # the machine looks at its clock once after the last step
    sender.true += max(window.seconds for window in windows) + 1
    smallest = min(window.limit for window in windows)
    assert free_slots(sorted(sender.spent), windows, sender.now()) == smallest


def test_across_a_restart_only_what_the_clock_says_counts() -> None:
    clock = BudgetClock(1000, Moment(START, "first", 500))
    assert clock.at(Moment(START + 60, "second", 10)).budget_time == 1060
    assert clock.at(Moment(START - 60, "second", 10)).budget_time == 1000
    assert clock.at(Moment(START + 9000, "first", 530)).budget_time == 1030
    assert clock.at(Moment(START, "first", 400)).budget_time == 1000  # a snapshot was restored
