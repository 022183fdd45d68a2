"""Runs the real program under strace, which counts its system calls and makes one of them fail.

strace counts each system call by itself, so a place in a run is (call, ordinal): the third
rename, the twelfth pwrite64. Threads are counted apart; a place is one of the first thread. Or
it is one of the processes that hash: then they alone run under strace, and the fault strikes
each of them.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from appliance.value import frozen

ROOT: Final = Path(__file__).resolve().parents[2]
# What changes files. openat counts where it creates one.
CHANGING: Final = (
    *("write", "pwrite64", "fsync", "fdatasync", "syncfs", "ftruncate", "fallocate"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "link", "linkat", "openat"),
)
SECONDS: Final = 60  # a run that takes longer hangs
_CALL = re.compile(r"(?P<thread>\d+) +(?P<call>\w+)\((?P<rest>.*)")
_CREATES = re.compile("O_CREAT|O_TMPFILE")
_STRUCK = re.compile(r"\(INJECTED\)|= \?$")  # failed, or never returned
_MAIN: Final = "from appliance.cli.main import main; main()"


@frozen
class Place:
    """A system call in a run that is the same every time."""

    call: str
    ordinal: int  # from 1, among the calls of this name by one thread
    line: str  # what it was in the run that was traced
    is_afterwards: bool = False  # the home's lock was let go of: what was to be done is done

    def __str__(self) -> str:
        return f"{self.call} {self.ordinal}: {self.line}"


@frozen
class Finished:
    """How a run ended."""

    code: int  # negative: killed by this signal
    out: str
    err: str
    trace: str

    def met(self, place: Place) -> bool:
        """Whether the fault that was waiting at a place struck, and what it was meant for.

        Which openat is which depends on what is imported, and where a module's byte code is
        out of date there is one more.
        """
        struck = [line for line in self.trace.splitlines() if _STRUCK.search(line)]
        return any(place.call != "openat" or _CREATES.search(line) for line in struck[:1])


@functools.cache
def require_strace() -> None:
    """Skip the running test, saying why, unless strace may inject faults into our processes."""
    if shutil.which("strace") is None:
        pytest.skip("real faults need strace, which is not installed")
    with Path(sys.executable).open("rb") as interpreter:
        if interpreter.read(4) != b"\x7fELF":
            pytest.skip(f"{sys.executable} is a script; strace would count its calls as ours")
    command = ["strace", "-f", "-o", "/dev/null", "-e", "inject=chdir:error=EIO", "true"]
    tried = subprocess.run(command, check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")


def places(
    arguments: Sequence[str | Path], trace: Path, *, of_workers: bool = False
) -> list[Place]:
    """Run a command to its good end and return every place where it changes files, in order.

    Those of its first thread, or of the processes that hash, one for what several do.
    """
    traced = f"trace={','.join((*CHANGING, 'close'))}"
    finished = run(arguments, trace, traced, options=["--seccomp-bpf"], of_workers=of_workers)
    assert finished.code == 0, finished.err
    found: dict[tuple[str, int], Place] = {}
    counts: Counter[tuple[str, str]] = Counter()
    first_thread = None
    is_afterwards = False
    for line in finished.trace.splitlines():
        seen = _CALL.match(line)
        if seen is None:
            continue
        first_thread = first_thread or seen["thread"]
        if seen["thread"] != first_thread and not of_workers:
            continue
        if "/lock>" in line:
            is_afterwards = seen["call"] == "close"
        if seen["call"] == "close":
            continue
        counts[seen["thread"], seen["call"]] += 1
        if seen["call"] != "openat" or _CREATES.search(line):
            line = f"{seen['call']}({seen['rest']}"
            ordinal = counts[seen["thread"], seen["call"]]
            place = Place(seen["call"], ordinal, line, is_afterwards)
            found.setdefault((place.call, place.ordinal), place)
    return list(found.values())


def run_killed(
    arguments: Sequence[str | Path], place: Place, trace: Path, *, of_workers: bool = False
) -> Finished:
    """Run a command and kill it as it makes this call, which does not happen."""
    inject = f"inject={place.call}:signal=KILL:when={place.ordinal}"
    return run(arguments, trace, inject, f"trace={place.call}", of_workers=of_workers)


def run_failing(
    arguments: Sequence[str | Path],
    place: Place,
    error: str,
    trace: Path,
    *,
    ever_after: bool,
    of_workers: bool = False,
) -> Finished:
    """Run a command in which this call, or with `ever_after` also all later ones, fails."""
    when = f"{place.ordinal}+" if ever_after else f"{place.ordinal}"
    inject = f"inject={place.call}:error={error}:when={when}"
    # The filter makes it quick; with it strace delivers no signals.
    words = (inject, f"trace={place.call}")
    return run(arguments, trace, *words, options=["--seccomp-bpf"], of_workers=of_workers)


def run(
    arguments: Sequence[str | Path],
    trace: Path,
    *expressions: str,
    options: Sequence[str] = (),
    of_workers: bool = False,
) -> Finished:
    """Run the program, or only its processes that hash, under strace with these -e expressions."""
    words = [word for one in expressions for word in ("-e", one)]
    # -B: a run that writes byte code has other system calls than the next.
    python = [sys.executable, "-B"]
    strace = ["strace", "-f", "-y", *options, *words, "-o"]
    trace.unlink(missing_ok=True)
    if of_workers:
        wrapper = trace.with_name("traced-python")
        # -D: what is traced stays the child of who started it, and dies with it.
        strace.insert(1, "-D")
        wrapper.write_text(
            f'#!/bin/sh\nexec {shlex.join(strace)} {trace}.$$ {shlex.join(python)} "$@"'
        )
        wrapper.chmod(0o700)
        command = [*python, "-c", f"import sys; sys.executable = {str(wrapper)!r}; {_MAIN}"]
    else:
        command = [*strace, str(trace), *python, "-c", _MAIN]
    command += map(str, arguments)
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=SECONDS,
        env=environment(),
    )
    traces = sorted(trace.parent.glob(f"{trace.name}.*")) if of_workers else [trace]
    text = "".join(map(_whole, traces))
    for one in traces:
        one.unlink()
    return Finished(done.returncode, done.stdout, done.stderr, text)


def _whole(trace: Path) -> str:
    """Read a trace; a tracer of its own may still be writing it."""
    deadline = time.monotonic() + SECONDS
    while "+++" not in (text := trace.read_text(errors="replace")):
        assert time.monotonic() < deadline, f"{trace} has no end"
        time.sleep(0.01)
    return text


def environment() -> dict[str, str]:
    """Return ours without what would change where the program writes."""
    ours = {"ATTESTOR_HOME", "LD_PRELOAD", "PYTHONPATH"}
    return {name: value for name, value in os.environ.items() if name not in ours}
