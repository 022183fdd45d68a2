"""Alerts to a program of the operator's: the payload on its standard input."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

from appliance.errors import RemoteError

_MAX_TEXT = 300  # characters of what it complained


def run_hook(
    argv: Sequence[str], payload: bytes, *, environment: dict[str, str], seconds: float
) -> None:
    """Run a program with one alert on stdin; exit code 0 means that it was taken.

    It gets PATH and what `environment` adds, no more. It and everything it started is
    killed when the time is up. Raises RemoteError if it cannot run or says no.
    """
    kept = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    try:
        process = subprocess.Popen(  # noqa: S603 the operator's own configuration
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=kept | environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise RemoteError(f"{argv[0]}: {error.strerror}", reason="hook") from error
    with process:
        try:
            _, complaint = process.communicate(payload, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            _kill_group(process.pid)
            raise RemoteError(
                f"{argv[0]}: killed, it did not end within {seconds:g} s", reason="timeout"
            ) from error
        except BaseException:
            _kill_group(process.pid)
            raise
    if process.returncode:
        said = complaint.decode("utf-8", "backslashreplace").strip()[-_MAX_TEXT:]
        raise RemoteError(
            f"{argv[0]}: exit code {process.returncode}" + (f": {said}" if said else ""),
            reason="hook",
        )


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)  # it leads a session, so its group has its number
    except ProcessLookupError:
        return
