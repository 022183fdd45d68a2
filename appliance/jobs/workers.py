"""Processes of our own that hash, for --jobs: Python hashes one tile at a time in one process.

A worker has no store, no lock and no network: it is started afresh, inherits its two pipes
and the files it is given, and is killed with us, whatever kills us; where the kernel cannot
do that, it ends when its pipe does. It imports from where we do and never from the current
directory, which may be a stick. Not multiprocessing: its processes do both.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Final, Self, TypeVar, cast

from appliance.errors import StoreError
from appliance.value import frozen

if TYPE_CHECKING:
    from subprocess import Popen

# Asked of one worker at a time. Both answers have to fit into its pipe, or we could wait for
# each other: keep them short. Where pipes are smaller, one at a time.
AHEAD: Final = 2
_PIPE_BYTES: Final = 64 * 1024  # as Linux makes them, unless the user has very many
_PR_SET_PDEATHSIG: Final = 1  # of linux/prctl.h

T = TypeVar("T")
R = TypeVar("R")


@frozen
class _Worker:
    process: Popen[bytes]
    questions: IO[bytes]
    answers: IO[bytes]


class Workers:
    """So many processes, started when there is something to do, gone when this is closed."""

    def __init__(self, count: int, files: Sequence[int] = ()) -> None:
        self.count = count
        self._files = files  # descriptors that they inherit, under the same numbers
        self._running: list[_Worker] = []
        self._asked: deque[_Worker] = deque()  # whose answers are still to come, in order
        self._next = 0  # of those running, who is asked next
        self._ahead = AHEAD
        self._failure: StoreError | None = None  # after which no answer is anybody's

    def map(self, function: Callable[[T], R], chunks: Iterable[T]) -> Iterator[tuple[T, R]]:
        """Yield each chunk with what `function`, of a module, makes of it, in order.

        Takes only a few chunks more than were yielded. With one process to do it, that is
        us. Raises StoreError if a worker dies.
        """
        if self.count == 1:
            for chunk in chunks:
                yield chunk, function(chunk)
            return
        while self._asked:  # by a map that was given up
            self.answer()
        asked: deque[T] = deque()
        for chunk in chunks:
            self.ask(function, chunk)
            asked.append(chunk)
            if self.are_busy:
                yield asked.popleft(), self.answer()
        while asked:
            yield asked.popleft(), self.answer()

    @property
    def are_busy(self) -> bool:
        """Whether an answer has to be taken before more is asked."""
        return len(self._asked) >= self._ahead * self.count

    def ask(self, function: Callable[[T], R], chunk: T) -> None:
        """Have a worker apply `function`, of a module, while we go on; raises StoreError as map."""
        self._start()
        worker = self._running[self._next]
        self._next = (self._next + 1) % self.count
        _ask(worker, (function, chunk))
        self._asked.append(worker)

    def answer(self) -> Any:
        """Wait for the answer to what was asked first; raises StoreError as map."""
        if self._failure is not None:
            raise self._failure
        try:
            return _answer(self._asked.popleft())
        except StoreError as error:
            self._failure = error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._running:
            worker.process.kill()  # it has nothing that could be lost
            worker.process.wait()
            for pipe in (worker.questions, worker.answers):
                with suppress(OSError):  # what was not sent is not wanted any more
                    pipe.close()
        self._running.clear()

    def _start(self) -> None:
        if len(self._running) == self.count:
            return
        from fcntl import F_GETPIPE_SZ, fcntl
        from subprocess import PIPE, Popen

        start = f"from {__name__} import serve; serve({os.getpid()})"
        command = [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {sys.path!r}; {start}"]
        while len(self._running) < self.count:
            try:
                with _without_ctrl_c():
                    process = Popen(  # noqa: S603 ourselves
                        command, stdin=PIPE, stdout=PIPE, pass_fds=self._files
                    )
            except OSError as error:
                raise _unable(f"cannot start a process that hashes: {error.strerror}") from error
            questions, answers = cast(
                "tuple[IO[bytes], IO[bytes]]", (process.stdin, process.stdout)
            )
            self._running.append(_Worker(process, questions, answers))
            if fcntl(answers.fileno(), F_GETPIPE_SZ) < _PIPE_BYTES:
                self._ahead = 1


def serve(parent: int) -> None:
    """Be a worker of that process: answer on stdout what is asked on stdin, until that ends."""
    _die_with(parent)
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    try:
        while True:
            function, chunk = pickle.load(questions)  # noqa: S301 our own process wrote it
            _send(answers, function(chunk))
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):  # it is gone, or just goes
        sys.stdout = None  # it would be flushed into a pipe that is gone
        return


def _die_with(parent: int) -> None:
    """Have the kernel kill us with the process that started us: nobody may write on after it."""
    import ctypes
    from signal import SIGKILL

    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:  # it was killed before it was agreed
        raise SystemExit(0)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Have a process started that Ctrl-C does not reach: it is for us, who end it."""
    from signal import SIG_BLOCK, SIG_SETMASK, SIGINT, pthread_sigmask

    before = pthread_sigmask(SIG_BLOCK, {SIGINT})
    try:
        yield
    finally:
        pthread_sigmask(SIG_SETMASK, before)


def _ask(worker: _Worker, question: object) -> None:
    try:
        _send(worker.questions, question)
    except BrokenPipeError as error:
        raise _died(worker) from error


def _answer(worker: _Worker) -> Any:
    try:
        return pickle.load(worker.answers)  # noqa: S301 our own process wrote it
    except (EOFError, pickle.UnpicklingError) as error:
        raise _died(worker) from error


def _send(pipe: IO[bytes], what: object) -> None:
    pipe.write(pickle.dumps(what))
    pipe.flush()


def _died(worker: _Worker) -> StoreError:
    return _unable(f"a process that hashes ended with {worker.process.wait()}")


def _unable(message: str) -> StoreError:
    return StoreError(
        message, reason="worker", next_step="run it again without --jobs; nothing is lost"
    )
