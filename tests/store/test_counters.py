"""Counters add up over runs; a histogram is its buckets, its sum and its count."""

from __future__ import annotations

from appliance.store.database import Store
from appliance.store.home.counters import Counter, count, counters, observe


def test_a_counter_adds_up_whatever_the_order_of_its_labels(store: Store) -> None:
    count(store, "a_total", {"x": "1", "y": "2"})
    count(store, "a_total", {"y": "2", "x": "1"}, by=2)
    count(store, "a_total", {"x": "other"}, by=0)
    assert list(counters(store)) == [
        Counter("a_total", {"x": "1", "y": "2"}, 3.0),
        Counter("a_total", {"x": "other"}, 0.0),
    ]


def test_a_prefix_is_no_pattern(store: Store) -> None:
    count(store, "axb", {})
    count(store, "a_b", {})
    assert [one.name for one in counters(store, "a_")] == ["a_b"]


def test_a_histogram_counts_cumulatively(store: Store) -> None:
    for value in (0.5, 1.0, 7.0):
        observe(store, "age", {"b": "p"}, value, [1, 5])
    found = {(one.name, one.labels.get("le")): one.value for one in counters(store)}
    assert found == {
        ("age_bucket", "1"): 2.0,
        ("age_bucket", "5"): 2.0,
        ("age_bucket", "+Inf"): 3.0,
        ("age_sum", None): 8.5,
        ("age_count", None): 3.0,
    }
