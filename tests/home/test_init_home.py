"""Naming a home: whenever it dies, the next try completes it, and no key is made twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import ConfigError
from appliance.jobs.home.init import Site, init_home
from appliance.store.database import open_store
from appliance.store.home.key_files import key_names
from appliance.store.home.settings import require_site_name
from tests.jobs.faults import Faults, PowerCutError, injected
from tests.private_log.private_homes import home_in_memory


def init(home: Path, name: str | None = "site.example", role: str | None = None) -> Site:
    return init_home(home, name, role, lambda n_bytes: b"\x05" * n_bytes)


@pytest.mark.parametrize("after", [False, True])
def test_a_power_cut_anywhere_is_completed_by_the_next_try(after: bool) -> None:
    with home_in_memory() as home, injected(Faults()) as counted:
        init(home)
    assert counted.calls.count("commit") > 1
    for fail_at in range(1, len(counted.calls) + 1):
        with home_in_memory() as home:
            with injected(Faults(fail_at, after=after)), pytest.raises(PowerCutError):
                init(home)
            before = key_names(home) if (home / "keys").is_dir() else ()
            site = init(home)
            assert site.name == "site.example"
            assert site.key_is_new is (before == ())
            assert key_names(home) == ("site.example",)
            store = open_store(home, write=False)
            assert require_site_name(store) == "site.example"
            store.close()


def test_a_failure_while_writing_the_key_leaves_none() -> None:
    with home_in_memory() as home:
        init(home, None)
        with (
            injected(Faults(1, error=OSError(28, "No space left on device"))),
            pytest.raises(Exception, match="No space left"),
        ):
            init(home)
        assert key_names(home) == ()
        assert init(home).key_is_new


def test_a_name_is_for_ever_a_role_is_not() -> None:
    with home_in_memory() as home:
        assert init(home).role == "connected"
        assert init(home, None, "isolated").role == "isolated"
        assert init(home).role == "isolated"
        with pytest.raises(ConfigError) as caught:
            init(home, "other.example")
        assert caught.value.reason == "site-name"
        assert key_names(home) == ("site.example",)
