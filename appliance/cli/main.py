"""The root command, and the one place where a run ends."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import click

from appliance.cli.commands import LOCATIONS, RootGroup
from appliance.cli.output import PROGRESS, command_name, envelope, say, show
from appliance.runs import exit_codes
from appliance.runs.session import Session, default_home
from appliance.value import replaced
from appliance.version import __version__

_COMPLETE: Final = "_ATTESTOR_COMPLETE"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="attestor")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False, readable=False),
    envvar="ATTESTOR_HOME",
    show_envvar=True,
    help="Where the store is.  [default: /var/lib/attestor for root, else below XDG_DATA_HOME]",
)
@click.option("--lock-wait", metavar="DURATION", help="Wait this long for another run, e.g. 5m.")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False, readable=False),
    envvar="ATTESTOR_PASSPHRASE_FILE",
    show_envvar=True,
    help="What opens this home's encrypted keys, and encrypts new keys.",
)
@click.option("--scheduled", is_flag=True, help="For timers and cron: how it ends is watched.")
@click.option("--allow-network-fs", is_flag=True, help="Write to a home on NFS or CIFS.")
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Colour of verdicts, healths and errors; NO_COLOR and CLICOLOR_FORCE are honoured.",
)
@click.option(
    "--progress",
    type=click.Choice(["auto", "json", "never"]),
    default="auto",
    help="How far long work is: auto on a terminal, json as lines of JSON on stderr.",
)
@click.pass_context
def cli(
    ctx: click.Context,
    home: Path | None,
    lock_wait: str | None,
    passphrase_file: Path | None,
    scheduled: bool,
    allow_network_fs: bool,
    color: str,
    progress: str,
) -> None:
    """Keep a proven copy of Rekor logs, carry it across an air gap, verify there."""
    if color != "auto":
        ctx.color = color == "always"
    elif os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False
    elif os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        ctx.color = True
    ctx.meta[PROGRESS] = progress
    session = ctx.obj if isinstance(ctx.obj, Session) else Session(home or _default_home())
    if home is not None:
        session = replaced(session, home=home, is_home_named=True)
    if lock_wait is not None:
        from appliance.cli.options import seconds_option

        session = replaced(session, lock_wait=seconds_option(lock_wait, "--lock-wait", None))
    if passphrase_file is not None:
        session = replaced(session, passphrase_file=passphrase_file)
    if credentials := os.environ.get("CREDENTIALS_DIRECTORY"):
        session = replaced(session, credentials=Path(credentials))
    session = replaced(session, now=session.clock, scheduled=session.scheduled or scheduled)
    allowed = session.allow_network_fs or allow_network_fs
    session = ctx.obj = replaced(session, allow_network_fs=allowed).fresh(kept=True)
    ctx.call_on_close(session.close)


def _default_home() -> Path:
    try:
        return default_home()
    except RuntimeError as error:  # neither HOME nor an entry in passwd
        raise click.UsageError(
            "this user has no home directory: name the store with --home DIR or ATTESTOR_HOME"
        ) from error


def run(arguments: list[str], session: Session | None = None) -> int:
    """Run one command line and return its exit code; prints what there is to print."""
    stdout, stderr = sys.stdout, sys.stderr

    def main() -> object:
        return cli.main(arguments, prog_name="attestor", standalone_mode=False, obj=session)

    try:
        if _named_command(arguments) == "check":
            from appliance.cli.divergence.check import run_as_plugin

            code = run_as_plugin(main, as_json="--json" in arguments)
        else:
            code = main()
        # Our own output may still sit in a buffer whose reader went away.
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        if error.ctx is None or not isinstance(error.ctx.command, click.Group):
            return _usage(error, as_json="--json" in arguments)
        show(error.ctx.get_help())  # a group's name alone asks what there is
        return 0
    except click.UsageError as error:
        return _usage(_with_place_of_option(error), as_json="--json" in arguments)
    except click.ClickException as error:
        say(f"Error: {error.format_message()}", err=True)
        return exit_codes.USAGE
    except (KeyboardInterrupt, click.Abort):
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()
    except OSError as error:
        # One that names no file comes from our own output: all others end as StoreError.
        if error.filename is not None or error.errno not in _NO_ROOM:
            raise
        say(f"Error: standard output: {error.strerror}; what was done is done", err=True)
        _nobody_reads()
        return exit_codes.STORE
    except SystemExit:
        # When its writing fails, click muffles the streams and exits with 1.
        if sys.stdout is stdout:
            raise
        sys.stdout, sys.stderr = stdout, stderr
        return _nobody_reads()
    return code if isinstance(code, int) else 0


def _named_command(arguments: list[str]) -> str | None:
    """Return the first word that is a command's and no value of an option that stands before."""
    with_value = {
        name for param in cli.params if not getattr(param, "is_flag", 0) for name in param.opts
    }
    for before, word in zip(["", *arguments], arguments, strict=False):
        if word in LOCATIONS and before not in with_value:
            return word
    return None


def _usage(error: click.UsageError, *, as_json: bool) -> int:
    program = error.ctx.command_path if error.ctx else "attestor"
    message, see = error.format_message(), f"see '{program} --help'"
    if as_json:
        name = command_name(error.ctx) if error.ctx else ""
        described = {"reason": "usage", "message": message, "next": see}
        say(envelope(name, code=exit_codes.USAGE, data={}, error=described))
    else:  # one line like every other error: cron mails it, journals sort by it
        say(f"Error: {message.removesuffix('.')}; {see}", err=True)
    return exit_codes.USAGE


def _with_place_of_option(error: click.UsageError) -> click.UsageError:
    """Say so if the option exists, but stands before the command."""
    context = error.ctx
    if not isinstance(error, click.NoSuchOption) or context is None or context.command is cli:
        return error
    if error.option_name not in {name for param in cli.params for name in param.opts}:
        return error
    program, _, command = context.command_path.partition(" ")
    right = f"{program} {error.option_name} … {command}"
    return click.UsageError(f"{error.option_name} stands before the command: {right}", context)


def _nobody_reads() -> int:
    # Keep the interpreter from complaining when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exit_codes.BROKEN_PIPE


def main() -> NoReturn:
    """Run the program: the entry point of the attestor command."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGHUP, _terminate)
    _prepare_streams()
    if _COMPLETE in os.environ:  # a shell asks what may stand where somebody pressed Tab
        from appliance.cli.completion import install

        install()
    _leave(run(sys.argv[1:]))


def _prepare_streams() -> None:
    """Have all streams there, and stdout in UTF-8 whatever the locale: scripts read it.

    A file name that is not UTF-8 comes out as the bytes it is.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 until we end
    if isinstance(sys.stdout, io.TextIOWrapper):
        if isinstance(sys.stdout.buffer, io.RawIOBase):
            # With PYTHONUNBUFFERED: a write that a full disk or a reader ends in its middle would
            # be taken for a whole one, and the rest of the output be lost in silence.
            buffered = io.BufferedWriter(sys.stdout.detach())
            sys.stdout = io.TextIOWrapper(buffered, line_buffering=True)
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def _leave(code: int) -> NoReturn:
    """End the process, at once if nothing else is running in it.

    Tearing down three hundred modules one by one takes a seventh of a verify, and frees
    what the kernel frees anyway. Every file is closed and every buffer flushed by now.
    """
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        sys.exit(code)
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def _terminate(number: int, frame: FrameType | None) -> Any:
    # As an exception, so that files are closed and temporary ones removed.
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
