"""Files and arguments that claim 2^40 and 2^62 of something: no longer, no larger, and never ours.

Each row says one number, as its signer would who means harm: the exporter's key is enrolled
here, the log's key is pinned. The same row with a number of everyday life is what it is compared
with.
"""

from __future__ import annotations

import gzip
import json
import shutil
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, cast

import pytest
import zstandard

from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.mirror.sync import sync
from appliance.jobs.transfer.receipt_text import Receipt, ReceiptLog
from appliance.runs.session import Session
from appliance.store.database import open_store
from appliance.store.mirror.logs import add_log, put_backend, require_backend
from appliance.store.transfer.transfers import EXPORTER, RECEIPT, enrol
from appliance.tlog.note import sign_note
from appliance.tlog.proof import NodeId
from bundles.manifest import (
    MAX_MEMBERS,
    Entries,
    Have,
    LogPart,
    Tiles,
    Totals,
    TreeHeadRef,
    Volume,
    log_directory,
)
from bundles.manifest_json import format_manifest
from bundles.ustar import TRAILER
from tests.bounds.test_claimed_sizes import (
    HUGE,
    MORE_BYTES,
    MORE_SECONDS,
    PATIENCE,
    SMALL,
    bounded,
    peak,
)
from tests.bundles.samples import KEY, MANIFEST, archived, bundle_of, format_sums, signed_front
from tests.cli.homes import NOW, Home
from tests.rig.uniform_log import ENTRY, UniformLog
from tests.signed_artifacts import SIGNER_PEM, log_request, sign_request
from tests.signed_artifacts import bundle_of as sigstore_bundle_of
from tests.simulator import SimulatedLog

HELD: Final = 300
NOBODY: Final = "http://127.0.0.1:9/"
LOG: Final = UniformLog(HELD)
ORIGIN: Final = LOG.origin
PLACE: Final = log_directory(ORIGIN)
# What an answer may be: done, mistyped, a proven no, a contradiction, incomplete, the other
# side's, refused. Never ours (6), never out of memory.
ANSWERS: Final = (0, 2, 3, 4, 5, 7, 8)


def log_of(size: int) -> UniformLog:
    return UniformLog(size)


def part(head: int, base: int | None = None, **more: Any) -> LogPart:
    """What a manifest says of the log: its heads are true ones, of whatever size."""
    bottom = None if base is None else TreeHeadRef(base, log_of(base).head.root_hash)
    made = LogPart(
        origin=ORIGIN,
        vkeys=(LOG.key.vkey,),
        base=bottom,
        head=TreeHeadRef(head, log_of(head).head.root_hash),
        tiles=Tiles(0, 0),
        entries=None,
    )
    return replace(made, **more)


def stick(head: int, one: LogPart, files: dict[str, bytes] | None = None, **more: Any) -> bytes:
    """A transfer bundle by the enrolled exporter, with a checkpoint that the log signed."""
    members = {f"{PLACE}/checkpoint": log_of(head).checkpoint(), **(files or {})}
    return bundle_of(members, manifest=replace(MANIFEST, logs=(one,), have=(), **more))


def tile_path(level: int, index: int) -> str:
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03d}")
    return f"{PLACE}/tile/{level}/{'/'.join(groups)}"


def with_member(path: str, data: bytes = bytes(8192)) -> bytes:
    return stick(HELD, part(HELD), {path: data})


def unlisted(size: int) -> bytes:
    """A manifest whose totals no file has: as many members and bytes as may be said."""
    said = Totals(files=min(size, MAX_MEMBERS), n_bytes=size)
    manifest = format_manifest(replace(MANIFEST, logs=(part(HELD),), have=(), totals=said))
    sums = format_sums([(f"{PLACE}/checkpoint", sha256(LOG.checkpoint()).digest())])
    front = signed_front(manifest, sums)
    return front + archived(f"{PLACE}/checkpoint", LOG.checkpoint()) + TRAILER


def resized(size: int) -> bytes:
    """The first tar header says another size: in octal, else in base 256."""
    data = bytearray(stick(HELD, part(HELD)))
    octal = f"{size:011o}\0".encode()
    data[124:136] = octal if len(octal) == 12 else b"\x80" + size.to_bytes(11, "big")
    block = bytes(data[:148]) + b" " * 8 + bytes(data[156:512])
    data[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(data)


def zstd_frame(size: int) -> bytes:
    """A zstd frame whose header says this content size, and the widest window there is."""
    whole = zstandard.ZstdCompressor(write_content_size=False).compress(stick(HELD, part(HELD)))
    window, single = bytes([0xF8 if size > SMALL else 0x60]), 0xC0  # 8 bytes of content size
    return whole[:4] + bytes([single]) + window + size.to_bytes(8, "little") + whole[6:]


def gzip_trailer(size: int) -> bytes:
    whole = gzip.compress(stick(HELD, part(HELD)))
    return whole[:-4] + (size % 2**32).to_bytes(4, "little")


def receipt(size: int, volumes: int = 1) -> bytes:
    """A receipt that says what the far side holds of the log, by an exporter that is enrolled."""
    held = ReceiptLog(ORIGIN, None, log_of(size).head)
    counts = dict.fromkeys(("files", "tiles", "entryBundles", "healed"), size)
    said = Receipt(
        "00" * 32,
        "set-a",
        (volumes, volumes),
        "00" * 32,
        KEY.verifier.name,
        NOW,
        "",
        unsigned=False,
        counts=counts,
        warnings=(),
        logs=(held,),
    )
    return sign_note(str(said), [KEY])


def signed_bundle(member: str, size: int) -> bytes:
    """A Sigstore bundle of a real entry, one of whose numbers is not the log's."""
    log = SimulatedLog()
    request = sign_request(b"artifact")
    document = json.loads(sigstore_bundle_of(log, request, log_request(log, request)))
    [entry] = document["verificationMaterial"]["tlogEntries"]
    place = entry["inclusionProof"] if member in entry["inclusionProof"] else entry
    place[member] = str(size)
    return json.dumps(document).encode()


def bundle_of_tree(size: int) -> bytes:
    """A Sigstore bundle of an entry that this log really has, in the middle of its tree."""
    log = log_of(size)
    document = json.loads(signed_bundle("logIndex", size // 2))
    [entry] = document["verificationMaterial"]["tlogEntries"]
    entry["inclusionProof"] |= {
        "logIndex": str(size // 2),
        "treeSize": str(size),
        "rootHash": b64encode(log.head.root_hash).decode(),
        "hashes": [b64encode(log._node(NodeId(n, 0))).decode() for n in range(63)],
        "checkpoint": {"envelope": log.checkpoint().decode()},
    }
    return json.dumps(document).encode()


def tlog_proof(size: int) -> bytes:
    hashes = [b64encode(log_of(size)._node(NodeId(n, 0))).decode() for n in range(63)]
    lines = ["c2sp.org/tlog-proof@v1", f"index {size // 2}", *hashes, ""]
    return "\n".join(lines).encode() + b"\n" + log_of(size).checkpoint()


IMPORTS: Final = ("inspect {file}", "import --dry-run {file}", "import {file}", "sync-status")
VERIFIES: Final = (
    f"verify sha256:{sha256(b'artifact').hexdigest()} --bundle {{file}} --key {{signer}}",
    "inspect {file}",
    "queue add --sigstore-bundle {file} --key {signer}",
)

# What is claimed, the file that claims it, and the commands that read it.
FILES: Final[dict[str, tuple[Callable[[int], bytes], tuple[str, ...]]]] = {
    "manifest: head": (lambda n: stick(n, part(n)), IMPORTS),
    "manifest: head, another checkpoint": (lambda n: stick(HELD, part(n)), IMPORTS),
    "manifest: base": (lambda n: stick(n, part(n, base=n - 1)), IMPORTS),
    "manifest: base of what is held": (lambda n: stick(n, part(n, base=HELD)), IMPORTS),
    "manifest: entries": (lambda n: stick(n, part(n, entries=Entries(0, n))), IMPORTS),
    "manifest: tiles": (lambda n: stick(HELD, part(HELD, tiles=Tiles(n, n))), IMPORTS),
    "manifest: volumes": (
        lambda n: stick(HELD, part(HELD), volume=Volume("set-a", n - 1, n)),
        IMPORTS,
    ),
    "manifest: contains": (
        lambda n: stick(HELD, part(HELD), contains=replace(MANIFEST.contains, pending=n)),
        IMPORTS,
    ),
    "manifest: have": (
        lambda n: bundle_of(
            {f"{PLACE}/checkpoint": LOG.checkpoint()},
            manifest=replace(
                MANIFEST,
                logs=(part(HELD),),
                have=(Have(ORIGIN, n, log_of(n).head.root_hash),),
            ),
        ),
        (*IMPORTS, f"export --base site:{KEY.verifier.name} --output {{out}}.tar"),
    ),
    "manifest: totals": (unlisted, IMPORTS),
    "tile coordinate": (lambda n: with_member(tile_path(0, n // 256 - 1)), IMPORTS),
    "entry bundle coordinate": (
        lambda n: with_member(tile_path(0, n // 256 - 1).replace("tile/0", "tile/entries")),
        IMPORTS,
    ),
    "checkpoint seen elsewhere": (
        lambda n: stick(
            HELD,
            part(HELD),
            {
                f"{PLACE}/checkpoints/{sha256(log_of(n).checkpoint()).hexdigest()}": log_of(
                    n
                ).checkpoint()
            },
        ),
        IMPORTS,
    ),
    "tar size": (resized, IMPORTS),
    "zstd content size and window": (zstd_frame, IMPORTS),
    "gzip length": (gzip_trailer, IMPORTS),
    "receipt": (
        receipt,
        (
            "receipt show {file}",
            "receipt accept {file}",
            "export --base receipt:{file} --output {out}.tar",
        ),
    ),
    "receipt: volumes": (
        lambda n: receipt(HELD, n),
        ("receipt show {file}", "receipt accept {file}"),
    ),
    "checkpoint file": (
        lambda n: log_of(n).checkpoint(),
        ("checkpoint add {file}", "inspect {file}", "sync-status", "check"),
    ),
    "bundle: log index": (lambda n: signed_bundle("logIndex", n), VERIFIES),
    "bundle: tree size": (lambda n: signed_bundle("treeSize", n), VERIFIES),
    "bundle: integrated time": (lambda n: signed_bundle("integratedTime", n), VERIFIES),
    "bundle: a tree of that size": (bundle_of_tree, (*VERIFIES, "sync --for {file}")),
    "tlog-proof": (tlog_proof, ("proof verify {file} --entry {entry}", "inspect {file}")),
}

ARGUMENTS: Final = (
    f"entries show --origin {ORIGIN} --index {{n}}",
    f"prove --origin {ORIGIN} --index {{n}}",
    f"prove --origin {ORIGIN} --from-size {{n}}",
    f"checkpoint verify --origin {ORIGIN} --tree-size {{n}}",
    "tiles fetch --backend sim 0 {n}",
    "tiles fetch --backend sim 7 {n}",
    "export --base {n} --output {out}.tar",
    "export --base exports:{n} --output {out}.tar",
    "sync --max-tiles {n} --dry-run",
    "checkpoint list --last {n}",
    "entries list --limit {n}",
    "queue aggregate --min-items {n}",
    "log get --url http://127.0.0.1:9 --log-index {n} --key {key}",
)


class Kept(Home):
    """A home with a little of the log, which knows the exporter and the log's key."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, cast(pytest.CaptureFixture[str], None))
        with closing(open_store(path, write=True)) as store:
            with store.atomic():
                known = add_log(store, ORIGIN, 2, LOG.key.spki)
                put_backend(store, "sim", known, base_url=None, read_url=NOBODY)
                enrol(store, KEY.verifier, [EXPORTER, RECEIPT], NOW)
            sync(store, require_backend(store, "sim"), LOG, Wanted(), NOW)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("kept") / "home"
    Kept(path)
    (path.parent / "entry").write_bytes(ENTRY)
    (path.parent / "signer").write_bytes(SIGNER_PEM)
    (path.parent / "key").write_text(LOG.key.vkey + "\n")
    yield path


def took(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, *commands: str
) -> float:
    """Run commands on a home of their own; return how long that took, in seconds."""
    home = tmp_path / name / "home"
    shutil.copytree(kept, home)
    app = Session(home=home, now=lambda: NOW, sleep=lambda _: None)
    out, began, before = tmp_path / name / "out", time.monotonic(), peak()
    for command in commands:
        words = command.format(
            out=out,
            file=tmp_path / name / "file",
            entry=kept.parent / "entry",
            key=kept.parent / "key",
            signer=kept.parent / "signer",
        )
        with bounded(PATIENCE):
            code = run_in(app, words)
        text = "".join(capsys.readouterr())
        assert code in ANSWERS or command == "check", (words, code, text)
    assert peak() - before < MORE_BYTES
    return time.monotonic() - began


def run_in(app: Session, words: str) -> int:
    from appliance.cli.main import run

    return run(words.split(), app)


@pytest.mark.parametrize("claim", FILES)
def test_a_file_that_claims_a_number(
    claim: str, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, commands = FILES[claim]
    seconds = []
    for size in (SMALL, *HUGE):
        (tmp_path / str(size)).mkdir()
        (tmp_path / str(size) / "file").write_bytes(make(size))
        seconds.append(took(kept, tmp_path, capsys, str(size), *commands))
    assert max(seconds[1:]) < seconds[0] + MORE_SECONDS, seconds


@pytest.mark.parametrize("command", ARGUMENTS)
def test_an_argument_that_is_a_number(
    command: str, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = []
    for size in (SMALL, *HUGE, 2**63 - 1):
        (tmp_path / str(size)).mkdir()
        words = command.replace("{n}", str(size))
        seconds.append(took(kept, tmp_path, capsys, str(size), words))
    assert max(seconds[1:]) < seconds[0] + MORE_SECONDS, seconds
