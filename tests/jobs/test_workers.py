"""Processes that hash: in order, with nothing of ours, from nowhere else, never left behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from appliance.errors import StoreError
from appliance.jobs.workers import Workers

# Functions of a module: what workers can be asked.


def square(number: int) -> int:
    return number * number


def open_files(_: int) -> list[str]:
    links = [Path(f"/proc/self/fd/{number}") for number in range(64)]
    return [str(link.readlink()) for link in links if link.is_symlink()]


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def stumble(number: int) -> int:
    return 1 // number


def sleep(seconds: int) -> None:
    time.sleep(seconds)


def large(number: int) -> bytes:
    return bytes(number)


def own_id(_: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("n_chunks", [0, 1, 2, 50])
def test_chunks_come_back_in_order(count: int, n_chunks: int) -> None:
    with Workers(count) as workers:
        for _ in range(2):
            assert list(workers.map(square, range(n_chunks))) == [
                (number, number * number) for number in range(n_chunks)
            ]


def test_only_a_few_chunks_are_asked_ahead() -> None:
    chunks = iter(range(100))
    with Workers(2) as workers:
        assert next(workers.map(square, chunks)) == (0, 0)
        assert next(chunks) == 4


def test_what_was_asked_and_not_waited_for_answers_nothing_else() -> None:
    with Workers(2) as workers:
        assert next(workers.map(square, range(100))) == (0, 0)
        assert next(workers.map(square, [7])) == (7, 49)


def test_it_is_asked_while_something_else_is_done() -> None:
    with Workers(2) as workers:
        for number in range(4):
            assert not workers.are_busy
            workers.ask(square, number)
        assert workers.are_busy
        assert [workers.answer() for _ in range(4)] == [0, 1, 4, 9]


def test_the_work_is_shared_by_so_many_processes_that_are_gone_after() -> None:
    with Workers(3) as workers:
        ids = {answer for _, answer in workers.map(own_id, range(12))}
    assert len(ids) == 3 and os.getpid() not in ids
    assert not any(Path(f"/proc/{one}").exists() for one in ids)


def test_a_worker_has_the_files_it_is_given_and_no_other(tmp_path: Path) -> None:
    with (tmp_path / "given").open("w+") as given, (tmp_path / "ours").open("w+") as ours:
        os.set_inheritable(ours.fileno(), True)
        with Workers(2, [given.fileno()]) as workers:
            for _, names in workers.map(open_files, range(4)):
                assert str(tmp_path / "given") in names
                assert str(tmp_path / "ours") not in names


@pytest.mark.parametrize("function", [die, stumble])
def test_a_worker_that_dies_is_a_clear_error(function: object) -> None:
    with Workers(2) as workers, pytest.raises(StoreError) as caught:
        list(workers.map(function, [3, 2, 1, 0, 3, 3, 3, 3]))  # type: ignore[arg-type]
    assert caught.value.reason == "worker"
    assert "without --jobs" in caught.value.next_step


@pytest.mark.parametrize("they", ["", "workers.ask(sleep, 60); workers.ask(sleep, 60)"])
def test_workers_do_not_outlive_whoever_started_them(they: str) -> None:
    """Idle or at work: what they still wrote, the next run would find, and take for its own."""
    code = (
        "from appliance.jobs.workers import Workers\n"
        "from tests.jobs.test_workers import own_id, sleep\n"
        "with Workers(2) as workers:\n"
        "    print(*(answer for _, answer in workers.map(own_id, range(2))), flush=True)\n"
        f"    {they}\n"
        "    sleep(60)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        ids = [int(word) for word in parent.stdout.readline().split()]
        assert len(ids) == 2
        assert all(Path(f"/proc/{one}").exists() for one in ids)
        parent.kill()
    deadline = time.monotonic() + 10
    while any(_runs(one) for one in ids):
        assert time.monotonic() < deadline, "they are still there"
        time.sleep(0.02)


def test_who_was_killed_before_its_worker_began_leaves_none() -> None:
    code = "import sys; from appliance.jobs.workers import serve; serve(1); print('answers')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_where_pipes_are_small_nobody_waits_for_each_other() -> None:
    """As for a user who has a thousand of them: Linux gives out smaller ones then."""
    real = fcntl.fcntl

    def small(descriptor: int, command: int, *rest: int) -> int:
        if command != fcntl.F_GETPIPE_SZ:
            return real(descriptor, command, *rest)
        return real(descriptor, fcntl.F_SETPIPE_SZ, 4096)

    with patch("fcntl.fcntl", small), Workers(2) as workers:
        answers = [answer for _, answer in workers.map(large, [40_000] * 20)]
    assert answers == [bytes(40_000)] * 20


def test_after_a_worker_died_no_answer_is_anybody_s() -> None:
    with Workers(2) as workers:
        for number in (3, 1, 1, 1):
            workers.ask(die, number)
        for _ in range(9):
            with pytest.raises(StoreError):
                workers.answer()


def _runs(process_id: int) -> bool:
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(") ")[2][0] != "Z"  # nobody may be there to collect it


def test_nothing_is_imported_from_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pickle", "signal", "hashlib", "struct", "multiprocessing", "appliance"):
        (tmp_path / f"{name}.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", ".")])
    monkeypatch.chdir(tmp_path)
    with Workers(2) as workers:
        assert [answer for _, answer in workers.map(square, [1, 2])] == [1, 4]
    assert not (tmp_path / "ran").exists()
