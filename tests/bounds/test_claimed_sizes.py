"""Every command against a tree that claims 2^40 and 2^62 entries: no longer, no larger."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import pytest

from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.mirror.sync import sync
from appliance.store.database import open_store
from appliance.store.mirror.logs import add_log, put_backend, require_backend
from tests.cli.homes import NOW, Home
from tests.rig.uniform_log import UniformLog, served

SMALL, HUGE = 70_000, (2**40, 2**62 + 70_000)
MORE_SECONDS, MORE_BYTES = 2.0, 64 * 1024 * 1024
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
PATIENCE = 20  # seconds until a command that would never end is stopped

COMMANDS = (
    "sync --backend sim --max-tiles 40",
    "sync --backend sim --max-tiles 40 --entries",
    "sync --backend sim --dry-run",
    "sync-status",
    "check",
    "metrics",
    "checkpoint list",
    "checkpoint show --backend sim",
    "checkpoint verify --backend sim",
    "checkpoint verify --origin log.example --tree-size {size}",
    "checkpoint verify --origin log.example --tree-size {middle}",
    "checkpoint prune --older-than 1s",
    "tiles stats",
    "tiles verify",
    "tiles verify --full",
    "tiles fetch --backend sim 0 {far}",
    "tiles prune --max-size 1KiB --dry-run",
    "entries show --origin log.example --index {middle}",
    "prove --origin log.example --index 0",
    "prove --origin log.example --index {middle}",
    "prove --origin log.example --from-size 1",
    "prove --origin log.example --from-size {middle}",
    "export --full --output {out}/full.tar",
    "export --since-size 1 --output {out}/delta.tar",
    "export --full --include-entries --output {out}/entries.tar",
    "index build",
    "index status",
    "index check",
    "entries search --digest {digest}",
    "entries list --identity-exact a@example.com",
    "watch add w --digest {digest}",
    "watch scan w --rescan",
    "expected add --digest {digest} --identity-exact a@example.com --issuer i --until 2100-01-01T00:00:00Z",  # noqa: E501
    "expected check",
    "tiles publish {out}/tree --backend sim",
    "report --html {out}/report.html",
    "store check --read-data",
    "store gc",
    "doctor",
    "backend list",
    "tiles clear --backend sim",
)


class Claimed(Home):
    """A home that accepted a checkpoint of some size, and holds a few of its tiles."""

    def __init__(self, path: Path, tree_size: int, url: str) -> None:
        super().__init__(path, cast(pytest.CaptureFixture[str], None))
        self.log = UniformLog(1)
        with closing(open_store(path, write=True)) as store:
            with store.atomic():
                known = add_log(store, self.log.origin, 2, self.log.key.spki)
                put_backend(store, "sim", known, base_url=None, read_url=url)
            backend = require_backend(store, "sim")
            for size in (1, tree_size):
                self.log.tree_size = size
                sync(store, backend, self.log, Wanted(limit=20), NOW)


@contextmanager
def bounded(seconds: int) -> Iterator[None]:
    """Raise TimeoutError where the code is after this many seconds."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Claimed]]:
    logs = {str(size): UniformLog(size) for size in (SMALL, *HUGE)}

    def answer(path: str) -> bytes:
        name, _, rest = path.partition("/")
        return logs[name].answer(rest)

    directory = tmp_path_factory.mktemp("claimed")
    with served(answer) as prefix, bounded(PATIENCE):
        made = {n: Claimed(directory / str(n), n, f"{prefix}{n}/") for n in (SMALL, *HUGE)}
        signal.alarm(0)
        yield made


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_on_a_tree_of_a_claimed_size(
    command: str, homes: dict[int, Claimed], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    took = []
    for size, home in homes.items():
        home.capsys = capsys
        out = tmp_path / f"out{size}"
        out.mkdir()
        words = command.format(
            size=size, middle=size // 2 + 3, far=size // 256 - 1, out=out, digest=DIGEST
        )
        before, began = peak(), time.monotonic()
        with bounded(PATIENCE):
            code, text, error = home.run(*words.split())
        took.append(time.monotonic() - began)
        assert command == "check" or code in (0, 5, 8), (code, text + error)
        assert peak() - before < MORE_BYTES
    assert max(took[1:]) < took[0] + MORE_SECONDS, took
