"""Whatever somebody with an hour alone with the stick puts on it.

tests/bundles shows what the reader refuses; here it is the import that is given it, with a
store to lose: nothing is accepted, nothing outside staging is touched, none takes two
seconds or more memory than a manifest may have.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from appliance.cli.main import run as run_command
from appliance.errors import ApplianceError, IncompleteError
from appliance.jobs.transfer.ingest import Rules
from appliance.runs.session import Session
from appliance.store.transfer.transfers import EXPORTER, add_exporter
from bundles.errors import BundleError
from tests.bundles.samples import KEY
from tests.bundles.test_malicious import PLAIN, WRAPPED
from tests.bundles.test_wrap import BAD, STARTS, gzip_of, zstd_of
from tests.faults.attempts import SOAK
from tests.faults.strace import CHANGING, ROOT, environment, require_strace, run
from tests.mirror.mirrors import NOW, stored_state
from tests.transfer.test_transfer import SITE_KEY, Gap, make_gap

MIB: Final = 1024 * 1024
REFUSALS: Final = (ApplianceError, BundleError)
SWAPS: Final = 2000
SECONDS: Final = 2.0  # of processor time, for one import


@pytest.fixture
def gap(tmp_path: Path) -> Gap:
    """Two sites that share a small log; the inside trusts the samples' exporter as well."""
    gap = make_gap(tmp_path, 2)
    add_exporter(gap.inner.store, KEY.verifier, [EXPORTER], NOW)
    return gap


@contextmanager
def nothing_stored(gap: Gap) -> Iterator[None]:
    """What happens within must leave the inner store as it is."""
    before = stored_state(gap.inner.store)
    blobs = sorted(path for path in (gap.directory / "inner" / "blobs").rglob("*"))
    yield
    assert stored_state(gap.inner.store) == before
    assert gap.inner.store.rows("SELECT * FROM transfer") == []
    assert sorted(path for path in (gap.directory / "inner" / "blobs").rglob("*")) == blobs
    assert list((gap.directory / "inner" / "staging").iterdir()) == []


def accepted(gap: Gap, damaged: Iterable[bytes]) -> list[int]:
    """Import each; return the numbers of those that were not refused as what they are."""
    path = gap.directory / "damaged.tar"
    passed = []
    for number, data in enumerate(damaged):
        path.write_bytes(data)
        started = time.process_time()
        try:
            gap.import_(path)
        except IncompleteError:
            passed.append(number)  # whoever misses something believed the rest
        except REFUSALS:
            pass
        else:
            passed.append(number)
        assert time.process_time() - started < SECONDS, number
    return passed


def test_every_flipped_bit_is_refused(gap: Gap) -> None:
    """All of them in a soak; else the bits that test_transfer leaves out, of every 48th byte."""
    whole = gap.export().path.read_bytes()
    assert len(whole) <= 16 * 1024

    def flipped() -> Iterator[bytes]:
        data = bytearray(whole)
        for position in range(0, len(whole), 1 if SOAK else 48):
            for bit in range(8):
                data[position] ^= 1 << bit
                yield bytes(data)
                data[position] ^= 1 << bit

    with nothing_stored(gap):
        assert accepted(gap, flipped()) == []


def test_every_truncation_insertion_and_deletion_is_refused(gap: Gap) -> None:
    whole = gap.export().path.read_bytes()
    step = 1 if SOAK else 23
    places = range(0, len(whole), step)

    def damaged() -> Iterator[bytes]:
        yield from (whole[:at] for at in places)
        yield from (whole[:at] + whole[at + 1 :] for at in places)
        yield from (whole[:at] + b"\0" + whole[at:] for at in places)
        yield from (whole + bytes(length) for length in range(1, 2049, step))

    with nothing_stored(gap):
        assert accepted(gap, damaged()) == []


def test_5000_shuffles_are_refused(gap: Gap) -> None:
    whole = gap.export().path.read_bytes()
    blocks = [whole[at : at + 512] for at in range(0, len(whole), 512)]
    seeded = random.Random(20260101)  # noqa: S311 the same shuffles every time
    shuffled = (b"".join(seeded.sample(blocks, len(blocks))) for _ in range(5000))
    with nothing_stored(gap):
        assert accepted(gap, (data for data in shuffled if data != whole)) == []


def test_every_malicious_archive_is_refused(gap: Gap) -> None:
    archives = {**PLAIN, **WRAPPED, **{name: data for name, (data, _) in BAD.items()}}
    assert len(archives) > 60
    with nothing_stored(gap):
        assert accepted(gap, archives.values()) == []


def test_inspect_shows_claims_or_refuses_and_never_shows_what_a_terminal_would_obey(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It believes nothing, so some of these show what they claim; no answer is a crash."""
    app = Session(home=tmp_path / "no-home")
    stick = tmp_path / "stick.tar"
    shown = 0
    for name, data in {**PLAIN, **WRAPPED, **{one: bad for one, (bad, _) in BAD.items()}}.items():
        stick.write_bytes(data)
        started = time.process_time()
        code = run_command(["inspect", str(stick)], app)
        assert time.process_time() - started < SECONDS, name
        out, err = capsys.readouterr()
        assert code in (0, 3, 8), (name, out, err)
        assert all(line.isprintable() for line in (out + err).splitlines()), name
        assert ("NOT VERIFIED" in out) == (code == 0), name
        shown += code == 0
    assert 20 < shown < len(PLAIN)


def test_the_command_touches_nothing_but_staging(gap: Gap, tmp_path: Path) -> None:
    """Every malicious archive in one run under strace; what it opens for writing is looked at."""
    require_strace()
    sticks = tmp_path / "sticks"
    sticks.mkdir()
    for number, data in enumerate((*PLAIN.values(), *WRAPPED.values())):
        (sticks / f"{number:03}.tar").write_bytes(data)
    home = tmp_path / "inner"
    around = listing(tmp_path, home)
    with nothing_stored(gap):
        words: list[str | Path] = ["--home", home, "import", *sorted(sticks.iterdir())]
        done = run(words, tmp_path / "trace", f"trace={','.join((*CHANGING, 'open', 'creat'))}")
    assert done.code == 3
    assert done.err.count("Error: ") == len(list(sticks.iterdir()))
    assert listing(tmp_path, home) == around
    written = {line for line in done.trace.splitlines() if writes(line)}
    # Statistics of the run go to the database; its journal's directory is flushed with it.
    ours = (f"{home}/staging", f"{home}/lock", f"{home}/attestor.db", f"<{home}>", "pipe:")
    assert [line for line in written if not any(one in line for one in ours)] == []
    assert any(f"{home}/staging" in line for line in written)


def writes(line: str) -> bool:
    """Whether a line of a trace is about a file that is changed, and by its success."""
    if " = -1 " in line or "(" not in line:
        return False
    call = line.split("(")[0].split()[-1]
    if call in ("open", "openat"):
        return any(flag in line for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"))
    return call in CHANGING or call == "creat"


def listing(directory: Path, side: Path) -> list[tuple[str, int, int]]:
    """Everything below a directory but for one home: name, size, time of change."""
    found = []
    for path in sorted(directory.rglob("*")):
        if side not in (path, *path.parents):
            status = path.lstat()
            size = status.st_size if path.is_file() else 0
            found.append((str(path), size, status.st_mtime_ns if path.is_file() else 0))
    return found


CHILD: Final = """
import resource, sys, time
from pathlib import Path
from appliance.errors import ApplianceError
from appliance.jobs.transfer.ingest import Rules, ingest
from appliance.store.database import open_store
from bundles.errors import BundleError

home, good, *bombs = map(Path, sys.argv[1:])
store = open_store(home, write=True)
ingest(store, good, Rules(dry_run=True), 1_800_000_000)  # so that all is imported and warm
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (1024 * 1024 * 1024, -1))
resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024 * 1024, -1))
for bomb in bombs:
    started = time.process_time()
    try:
        ingest(store, bomb, Rules(), 1_800_000_000)
    except (ApplianceError, BundleError) as error:
        if not 10 < len(str(error)) < 1000:
            raise SystemExit(f"{bomb.name}: {error}")
    else:
        raise SystemExit(f"{bomb.name} was accepted")
    if time.process_time() - started > 2:
        raise SystemExit(f"{bomb.name} took {time.process_time() - started} s")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_bombs_cost_no_more_than_a_manifest_may_and_two_seconds(gap: Gap, tmp_path: Path) -> None:
    good = gap.export().path
    bombs = tmp_path / "bombs"
    bombs.mkdir()
    for number, (start, _) in enumerate(STARTS.values()):
        (bombs / f"{number}.gz").write_bytes(gzip_of(start, 32 * MIB))
        (bombs / f"{number}.zst").write_bytes(zstd_of(start, 1024 * MIB))
    for number, data in enumerate((*PLAIN.values(), *WRAPPED.values())):
        (bombs / f"{number}.tar").write_bytes(data)
    with nothing_stored(gap):
        files = sorted(map(str, bombs.iterdir()))
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path / "inner"), str(good), *files],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=ROOT,
            env=environment(),
        )
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) < (16 + 32) * 1024  # KiB: a manifest of 16 MiB, and 32 MiB


def test_what_is_no_file_is_refused_at_once_by_the_command(gap: Gap, tmp_path: Path) -> None:
    stick = gap.export().path
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "link.tar").symlink_to(stick)
    (odd / "dangling.tar").symlink_to(tmp_path / "nothing")
    os.mkfifo(odd / "fifo.tar")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(odd / "socket.tar"))
        for path in (*odd.iterdir(), Path("/dev/zero"), Path("/dev/null"), Path("/dev/tty")):
            command = [sys.executable, "-m", "appliance.cli.main", "--home", tmp_path / "inner"]
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            done = subprocess.run(
                [*map(str, command), "import", str(path)],
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
                cwd=ROOT,
                env=environment(),
            )
            spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
            assert done.returncode == 8, (path, done)
            said = [line for line in done.stderr.splitlines() if not line.startswith("Warning: ")]
            assert len(said) == 1 and said[0].startswith(f"Error: {path} is "), done.stderr
            assert spent < SECONDS, path
    assert gap.inner_size() is None


def swap_by_rename(path: Path, good: bytes, bad: bytes, stop: threading.Event) -> None:
    """Let one file take the other's place, again and again."""
    spare = path.with_name("spare.tar")
    while not stop.is_set():
        for data in (bad, good):
            spare.write_bytes(data)
            spare.replace(path)


def swap_in_place(path: Path, good: bytes, bad: bytes, stop: threading.Event) -> None:
    """Overwrite the one file, as another program on a shared mount could."""
    with path.open("r+b", buffering=0) as file:
        while not stop.is_set():
            for data in (bad, good):
                file.seek(0)
                file.write(data)


@pytest.mark.parametrize("swap", [swap_by_rename, swap_in_place])
def test_a_file_that_is_swapped_all_the_time_is_taken_only_as_it_was_signed(
    gap: Gap, swap: Callable[[Path, bytes, bytes, threading.Event], None]
) -> None:
    """What was checked is what is used: the copy. 2,000 tries."""
    path = gap.export().path
    good = path.read_bytes()
    bad = bytearray(good)
    bad[-2000] ^= 1
    digest = hashlib.sha256(good).hexdigest()
    stop = threading.Event()
    attacker = threading.Thread(target=swap, args=(path, good, bytes(bad), stop))
    attacker.start()
    taken = refused = 0
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)  # so that the other thread comes in between
    try:
        for _ in range(SWAPS // 2):
            try:
                report = gap.import_(path, Rules(dry_run=True))
            except IncompleteError as error:
                assert error.reason == "no-file"
            except REFUSALS:
                refused += 1
            else:
                taken += 1
                assert report.sha256 == digest
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        attacker.join()
    assert taken > 5 and refused > 5, (taken, refused)
    path.write_bytes(good)
    assert gap.import_(path).sha256 == digest


def test_the_exporters_own_key_brings_only_what_the_log_signed(gap: Gap) -> None:
    """What the samples' exporter signs is of another log, which is not configured here."""
    from tests.bundles.samples import FILES, bundle_of

    assert KEY != SITE_KEY
    path = gap.directory / "other.tar"
    path.write_bytes(bundle_of(FILES))
    report = gap.import_(path)  # it brings receipts as well, which are for no log's mirror
    assert report.logs == () and len(report.skipped) == 1
    with suppress(FileNotFoundError):
        path.unlink()
