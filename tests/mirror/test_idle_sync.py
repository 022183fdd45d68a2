"""What a sync with nothing new costs, counted by a profile hook and not by reading.

Nine of ten syncs find nothing new, and each of them is a process of its own.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from appliance.config.configuration import restore
from appliance.errors import RefusedError, SignatureError
from appliance.jobs.opened_notes import open_note_of
from appliance.store.home.settings import read_settings
from appliance.store.mirror.logs import require_log
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.cosignature import cosign, cosigner_key
from appliance.tlog.note import SigningKey, open_note, parse_note
from appliance.tlog.note_keys import VerifierKey
from appliance.value import replaced
from tests.divergence.world import LogServer, World
from tests.simulator import SimulatedLog

# Python functions, by code object, and which of their arguments tells calls apart.
COUNTED = {
    read_settings.__code__: ("settings read", ()),
    restore.__code__: ("configuration validated", ()),
    parse_note.__code__: ("note parsed", ("raw",)),
    open_note.__code__: ("note opened", ("raw",)),
    VerifierKey.signed.__code__: ("signature verified", ("text", "signature")),
}


class Calls:
    """How often something was called, and from where: (what, its arguments) -> places."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, Any], list[str]] = {}

    def hook(self, frame: FrameType, event: str, arg: object) -> None:
        """See every call there is; sys.setprofile calls this."""
        if event == "c_call" and arg is sqlite3.connect:
            self._add("store opened", (), frame)
        elif event == "call" and frame.f_code in COUNTED:
            what, names = COUNTED[frame.f_code]
            self._add(what, tuple(frame.f_locals[name] for name in names), frame.f_back)

    def _add(self, what: str, arguments: object, frame: FrameType | None) -> None:
        place: list[str] = []
        while frame is not None and len(place) < 6:  # enough to see who it was
            file = frame.f_code.co_filename
            if "/appliance/" in file:
                place.append(f"{file.rpartition('/appliance/')[2]}:{frame.f_lineno}")
            frame = frame.f_back
        self.places.setdefault((what, arguments), []).append(" < ".join(place))

    def count(self, what: str) -> Counter[object]:
        """Return how often each different thing had this done to it."""
        return Counter(
            {which: len(places) for (kind, which), places in self.places.items() if kind == what}
        )

    def told(self, what: str) -> str:
        """Say which calls these were, for the message of a failing test."""
        return "\n".join(
            line for (kind, _), places in self.places.items() if kind == what for line in places
        )


@contextmanager
def counted() -> Iterator[Calls]:
    """Count calls in this thread and in those that it starts."""
    calls = Calls()
    threading.setprofile(calls.hook)
    sys.setprofile(calls.hook)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@pytest.fixture
def world(capsys: pytest.CaptureFixture[str]) -> Iterator[World]:
    server = LogServer()
    memory = Path("/dev/shm")  # noqa: S108 a directory below it is ours alone
    try:
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
            yield World(Path(directory), server, capsys)
    finally:
        server.close()


def idle_sync(world: World) -> Calls:
    """Return the calls of a sync that finds nothing new."""
    world.log.grow(700)
    world.sync()
    with counted() as calls:
        [report] = world.sync()["data"]["backends"]
    assert (report["relation"], report["change"]) == ("same", False)
    return calls


@pytest.mark.parametrize("what", ["store opened", "settings read", "configuration validated"])
def test_an_idle_sync_opens_the_store_and_reads_the_configuration_once(
    world: World, what: str
) -> None:
    calls = idle_sync(world)
    assert calls.count(what).total() == 1, calls.told(what)


@pytest.mark.parametrize("what", ["note parsed", "note opened", "signature verified"])
def test_an_idle_sync_opens_each_note_once(world: World, what: str) -> None:
    calls = idle_sync(world)
    assert set(calls.count(what).values()) == {1}, calls.told(what)


def test_an_idle_sync_verifies_each_cosignature_once(world: World) -> None:
    world.log.grow(700)
    witness = SigningKey("witness.example", bytes(range(32)))
    opened = open_checkpoint(world.log.checkpoint(), [world.log.key], world.log.origin)
    line = cosign(opened, witness, world.now)
    world.log.lie("checkpoint", world.log.checkpoint() + line.line.encode())
    policy = world.directory / "policy"
    policy.write_text(f"witness w {cosigner_key(witness).vkey}\nquorum w\n")
    world.add("primary", world.log, "--policy", str(policy))
    world.sync()
    with counted() as calls:
        [report] = world.sync()["data"]["backends"]
    assert report["relation"] == "same"
    verified = calls.count("signature verified")
    assert len(verified) == 2  # the log's and the witness's
    assert set(verified.values()) == {1}, calls.told("signature verified")


def test_a_note_that_was_opened_is_opened_again_for_other_keys(world: World) -> None:
    world.log.grow(7)
    world.sync()
    with closing(world.store()) as store:
        log = require_log(store, world.log.origin)
        note = world.log.checkpoint()
        assert open_note_of(store, log, note) is open_note_of(store, log, note)
        other = replaced(log, keys=(SimulatedLog("other.example").key,))
        with pytest.raises(SignatureError):
            open_note_of(store, other, note)
        retired = replaced(log, keys=(replaced(world.log.key, max_size=6),))
        with pytest.raises(RefusedError):
            open_note_of(store, retired, note)


def test_the_hook_counts_what_happens_twice(world: World) -> None:
    with counted() as calls:
        world.cli("config", "show")
        world.cli("config", "show")
    assert calls.count("store opened").total() == calls.count("settings read").total() == 2
    assert "jobs/home/configure.py:" in calls.told("settings read")
