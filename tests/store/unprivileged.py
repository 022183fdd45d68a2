"""Run a function as a user without rights, in a process of its own."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534


def as_nobody(function: Callable[[], Any]) -> Any:
    """Return what `function` returns, or raise what it raises, with no rights to root's files.

    Everything it imports must be imported already: the interpreter's own files may be
    out of reach. Skips the test unless it runs as root.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody without rights")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        answer: tuple[bool, Any]
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer = True, function()
        except BaseException as error:  # noqa: BLE001 it is raised again by the parent
            answer = False, error
        with os.fdopen(write_end, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        raw = pipe.read()
    os.waitpid(child, 0)
    worked, result = pickle.loads(raw)  # noqa: S301 our own child's
    if not worked:
        raise result
    return result


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """Yield a directory that everybody can look into, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp(prefix="attestor-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
