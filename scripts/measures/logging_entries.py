"""P10: entries that clients post to a log over HTTP, beside the real server where it can be had."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from scripts.measures.shape import (
    ENVIRONMENT,
    PYTHON,
    ROOT,
    Bench,
    Value,
    calibration,
    data,
    scratch,
    skipped,
)
from tests.interop.rekor_server import server_on
from tests.serve.running_log import ENTRIES, RunningLog
from tests.serve.signed_requests import signed_request

ORIGIN = "log.example"
CLIENTS = (1, 8, 64, 1000)
SHORT_CLIENTS = (8,)
REQUESTS = 12_000  # for one run; it ends early where they are used up
ROUNDS = 3
OURS = "ours"


@dataclass(frozen=True)
class Load:
    """What one server did for so many clients."""

    rate: float  # entries a second
    p50: float  # seconds a client waited
    cpu: float  # seconds of the server's an entry


@dataclass(frozen=True)
class Server:
    """A server that takes entries, and its process."""

    url: str
    pid: int


@contextmanager
def our_log(directory: Path, sources: Path = ROOT) -> Iterator[Server]:
    """Serve a new log of ours, or of an earlier revision of ours."""
    environment = ENVIRONMENT | {"PYTHONPATH": str(sources), "PYTHONSAFEPATH": "1"}
    for words in (
        ("init", "--site", "host.example"),
        ("log", "create", "build", "--origin", ORIGIN),
    ):
        # As RunningLog starts it: every revision has this module.
        command = [PYTHON, "-m", "appliance.cli.main", "--home", directory, *words]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    log = RunningLog(directory, env=environment)
    try:
        yield Server(log.url, log.process.pid)
    finally:
        log.stop()


@contextmanager
def real_log(directory: Path) -> Iterator[Server]:
    """Serve a new log by rekor-server-posix, which remembers what it logged as ours does."""
    home, storage, key = (directory / one for one in ("home", "storage", "key.pem"))
    data("--home", home, "init", "--site", "host.example")
    data("--home", home, "log", "create", "build", "--origin", ORIGIN)
    data("--home", home, "log", "move", "--to", storage, "--write-key", key)
    before = _children()
    options = ("--persistent-antispam=true",)
    with server_on(storage, key, ORIGIN, directory, options=options) as server:
        [pid] = _children() - before
        yield Server(server.url, pid)


def load_of(server: Server, clients: int, seconds: float, label: str) -> Load:
    """Have so many clients post, each after its answer, for that long."""
    requests = [signed_request(f"{label} {number}".encode()) for number in range(REQUESTS)]
    before = _cpu(server.pid)
    waits, took = asyncio.run(_post_all(server.url, requests, clients, seconds))
    spent = _cpu(server.pid) - before
    return Load(len(waits) / took, statistics.median(waits), spent / len(waits))


async def _post_all(
    url: str, requests: Sequence[bytes], clients: int, seconds: float
) -> tuple[list[float], float]:
    where, left = urlsplit(url), iter(requests)
    waits: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        for body in left:
            if time.perf_counter() - began > seconds:
                break
            sent = time.perf_counter()
            head = f"POST {ENTRIES} HTTP/1.1\r\nHost: {where.netloc}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await _read_created(reader)
            waits.append(time.perf_counter() - sent)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return waits, time.perf_counter() - began


async def _read_created(reader: asyncio.StreamReader) -> None:
    """Read one answer, which has to say that the entry was logged."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:  # in chunks
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    if head[0].split()[1] not in ("200", "201"):
        raise SystemExit(f"bench: an entry was not logged: {head[0]}: {body[:300]!r}")


def _children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(one) for one in (task / "children").read_text().split()}
    return found


def _cpu(pid: int) -> float:
    """Return the processor seconds of a process so far (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def logging(bench: Bench) -> Iterator[Value]:
    """P10: entries a second, what a client waits, and processor time an entry."""
    seconds, peer = (2.0 if bench.short else 5.0), bench.peers.get("rekor-server-posix")
    servers: dict[str, Callable[[Path], AbstractContextManager[Server]]] = {OURS: our_log}
    if peer:
        os.environ["ATTESTOR_PEERS"] = str(Path(peer).parent)
        servers["rekor-server-posix"] = real_log
    if bench.before:
        servers["before"] = partial(our_log, sources=bench.before)
    for clients in SHORT_CLIENTS if bench.short else CLIENTS:
        loads: dict[str, list[Load]] = {name: [] for name in servers}
        for turn in range(1 if bench.short else ROUNDS):
            for name in list(servers)[:: 1 if turn % 2 == 0 else -1]:
                with servers[name](scratch(bench, name)) as server:
                    loads[name].append(load_of(server, clients, seconds, f"{clients} {turn}"))
        yield from _values(bench, clients, loads)


def _values(bench: Bench, clients: int, loads: Mapping[str, Sequence[Load]]) -> Iterator[Value]:
    of = f"{clients} client{'s' if clients > 1 else ''}"
    ours = _middle(loads[OURS])
    for name, load in {name: _middle(load) for name, load in loads.items()}.items():
        note = "" if name == OURS else name
        yield Value(f"{of}: logged", load.rate, "entries/s", note=note)
        yield Value(f"{of}: wait, median", load.p50 * 1e3, "ms", note=note)
        yield Value(f"{of}: CPU an entry", load.cpu * 1e3, "ms", note=note)
    if bench.short:  # too little of it, beside the clients, to be held against a bound
        yield Value(f"{of}: CPU an entry", ours.cpu / calibration(), "calibrations")
    elif "rekor-server-posix" not in loads:
        yield skipped(f"{of}: beside the real server", "no rekor-server-posix: scripts/peers")
    for name in loads:
        if name == OURS or bench.short:
            continue
        other, note = _middle(loads[name]), f"of {name}"
        yield Value(f"{of}: logged", ours.rate / other.rate, "x", 1.0, at_least=True, note=note)
        yield Value(f"{of}: wait, median", ours.p50 / other.p50, "x", 1.0, note=note)
        yield Value(f"{of}: CPU an entry", ours.cpu / other.cpu, "x", 1.0, note=note)


def _middle(loads: Sequence[Load]) -> Load:
    """Return the medians, and the least processor time: noise only ever adds to that."""
    return Load(
        statistics.median(one.rate for one in loads),
        statistics.median(one.p50 for one in loads),
        min(one.cpu for one in loads),
    )
