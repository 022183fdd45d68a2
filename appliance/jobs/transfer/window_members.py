"""Windows of entries in a transfer bundle, of a log that serves no tiles (bundles/README.md, 4).

Each member has entries in a row, and the proofs of the first and the last of them under the head
that the transfer bundle brings: together they prove all of them, as they did when they were
fetched (jobs/mirror/window.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import BinaryIO, Final

from appliance.errors import IncompleteError, MalformedError, ProofError
from appliance.jobs.mirror.window import proving_ranges
from appliance.jobs.our_tree import OurTree, is_in_ranges, our_tree
from appliance.jobs.transfer.hash_lists import format_hash_lists, parse_hash_lists
from appliance.store.find.watches import joined_ranges
from appliance.store.mirror.entry_frames import compress_bundle, decompress_bundle
from appliance.store.mirror.entry_windows import EntryWindows
from appliance.store.mirror.mirror import Mirror
from appliance.store.transfer.receipts import is_due
from appliance.tlog.leaf_ranges import of_inclusion
from appliance.tlog.merkle import Hash, TreeHead, leaf_hash
from appliance.tlog.proof import verify_inclusion
from appliance.tlog.tile import WIDTH
from appliance.value import frozen
from bundles.manifest import Manifest
from bundles.manifest_json import WINDOW
from bundles.reader import TransferBundle, peek_members
from bundles.writer import Member

CHUNK_BYTES: Final = 8 * 1024 * 1024  # of the entries of one member; one alone may be larger
_SUFFIX: Final = ".zst"
_LENGTH_BYTES: Final = 4  # before each entry: those of a Rekor v1 log may have over 65,535
_MAX_PROOF_BYTES: Final = 16 * 1024
_NAME: Final = re.compile(r"(0|[1-9][0-9]{0,18})\.zst")


@frozen
class Window:
    """Entries in a row that are here, none of them beyond the 256 they stand among."""

    start: int  # first entry
    stop: int  # one beyond the last
    carried: str = ""  # what is remembered of an export that takes it; empty: nothing


def windows_directory(part_directory: str) -> str:
    """Return where the windows of a log stand."""
    return f"{part_directory}/window/"


def is_window_member(path: str) -> bool:
    """Whether a member is a window of some log."""
    return path.startswith("logs/") and "/window/" in path


def due_windows(mirror: Mirror, *, everything: bool, side: str) -> Iterator[Window]:
    """Yield what of the windows that are here has to leave: what was not carried often enough.

    `side` is a volume set that is made again: what it carried does not count.
    """
    if not is_in_ranges(mirror):
        return
    stored = EntryWindows(mirror.store, mirror.log)
    for index, tile in stored.tiles().items():
        carried = f"window:{mirror.log.id}:{index}:{tile.stamp}"
        is_new = is_due(mirror.store, carried, side)
        if is_new or everything:
            yield from _split(stored.here(index * WIDTH, (index + 1) * WIDTH), carried * is_new)


def window_of(mirror: Mirror, entry_index: int) -> Iterator[Window]:
    """Yield the window of one entry alone, if it is here."""
    if is_in_ranges(mirror) and EntryWindows(mirror.store, mirror.log).count(
        entry_index, entry_index + 1
    ):
        yield Window(entry_index, entry_index + 1)


def _split(sizes: dict[int, int], carried: str) -> Iterator[Window]:
    """Divide entries into windows without a gap, none of them too large."""
    start = stop = -1
    n_bytes = 0
    for index, size in sizes.items():
        if index != stop or n_bytes + size > CHUNK_BYTES:
            if start >= 0:
                yield Window(start, stop, carried)
            start, n_bytes = index, 0
        stop, n_bytes = index + 1, n_bytes + size
    if start >= 0:
        yield Window(start, stop, carried)


def window_member(mirror: Mirror, tree: OurTree, window: Window, part_directory: str) -> Member:
    """Describe a window as a member; its bytes are made again when they are written.

    Raises IncompleteError if what is here does not prove it.
    """

    def read() -> bytes:
        return _pack(mirror, tree, window)

    packed = read()
    path = f"{windows_directory(part_directory)}{window.start}{_SUFFIX}"
    return Member(path, len(packed), sha256(packed).digest(), read)


def _pack(mirror: Mirror, tree: OurTree, window: Window) -> bytes:
    stored = EntryWindows(mirror.store, mirror.log)
    proofs = {at: tree.prove_inclusion(at) for at in {window.start, window.stop - 1}}
    bodies = (stored.read(at) for at in range(window.start, window.stop))
    entries = b"".join(len(body).to_bytes(_LENGTH_BYTES) + body for body in bodies)
    return compress_bundle(format_hash_lists("entry", proofs) + b"\n" + entries)


@frozen
class CarriedWindow:
    """What one member says, believed by nobody yet."""

    start: int  # the first entry
    bodies: tuple[bytes, ...]
    proofs: dict[int, tuple[Hash, ...]]  # inclusion, of the first and the last, by entry


def parse_window(data: bytes, name: str) -> CarriedWindow:
    """Read a member below window/; raises MalformedError or InflationError."""
    named = _NAME.fullmatch(name)
    text, blank, rest = decompress_bundle(data).partition(b"\n\n")
    if named is None or not blank:
        raise _malformed(name, "it is not entries behind their proofs")
    proofs = parse_hash_lists("entry", text + b"\n", _MAX_PROOF_BYTES, f"window {name}")
    start = int(named[1])
    most = WIDTH - start % WIDTH
    bodies: list[bytes] = []
    at = 0
    while at < len(rest):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(rest[at:begin])
        if at > len(rest) or at == begin:
            raise _malformed(name, f"entry {len(bodies)} of it is cut short, or empty")
        if len(bodies) == most:
            raise _malformed(name, "it goes on beyond the 256 entries that its first stands among")
        bodies.append(rest[begin:at])
    if not bodies or set(proofs) != {start, start + len(bodies) - 1}:
        raise _malformed(name, "its proofs are not those of its first and its last entry")
    return CarriedWindow(start, tuple(bodies), proofs)


@frozen
class TakenWindows:
    """What came of the windows that a transfer bundle brings of one log."""

    offered: int = 0  # entries
    new: int = 0  # of them, that were not here
    unproven: int = 0  # of them, that nothing here proves in the accepted tree: not kept


def take_windows(
    mirror: Mirror, bundle: TransferBundle, part_directory: str, head: TreeHead
) -> TakenWindows:
    """Keep the entries of windows, each member proven under `head`, which is of our tree.

    Raises MalformedError or ProofError for a member that is wrong; those before it stay.
    """
    prefix = windows_directory(part_directory)
    offered = new = unproven = 0
    for path in bundle.members.below(prefix):
        carried = parse_window(bundle.read(path), path.removeprefix(prefix))
        ranges = _proven(carried, head, f"{mirror.log.origin}: {path}")
        stored = EntryWindows(mirror.store, mirror.log)
        stop = carried.start + len(carried.bodies)
        known = stored.count(carried.start, stop)
        offered += len(carried.bodies)
        if known == len(carried.bodies):
            continue
        try:
            with mirror.store.atomic():
                stored.put(dict(enumerate(carried.bodies, carried.start)))
                mirror.put_ranges(ranges)
                _require_provable(mirror, carried)
        except IncompleteError:
            unproven += len(carried.bodies)
        else:
            new += len(carried.bodies) - known
    return TakenWindows(offered, new, unproven)


@frozen
class ClaimedWindows:
    """What a file says that it brings of the windows of one log; nothing of it is verified."""

    origin: str
    entries: int
    ranges: tuple[tuple[int, int], ...]  # start and stop, by index within the tree
    n_bytes: int  # of their members, as the file has them


def claimed_windows(file: BinaryIO, manifest: Manifest) -> tuple[ClaimedWindows, ...]:
    """Read a transfer bundle up to the last window in it, and say which there are.

    Raises MalformedError for a window that is none, and what `peek_members` raises.
    """
    if WINDOW not in manifest.requires:
        return ()
    file.seek(0)
    origins = {f"{part.directory}/window": part.origin for part in manifest.logs}
    bounds: dict[str, list[tuple[int, int]]] = {}
    n_bytes: dict[str, int] = {}
    for path, data in peek_members(file, is_window_member):
        directory, _, name = path.rpartition("/")
        if directory not in origins:
            raise _malformed(name, f"it is of no log that the manifest names: {path}")
        carried, origin = parse_window(data, name), origins[directory]
        place = (carried.start, carried.start + len(carried.bodies))
        bounds.setdefault(origin, []).append(place)
        n_bytes[origin] = n_bytes.get(origin, 0) + len(data)
    return tuple(
        ClaimedWindows(origin, sum(b - a for a, b in found), joined_ranges(found), n_bytes[origin])
        for origin, found in bounds.items()
    )


def _proven(carried: CarriedWindow, head: TreeHead, where: str) -> dict[tuple[int, int], Hash]:
    """Return the ranges that the proofs and the entries give; raises ProofError."""
    first, last = carried.start, carried.start + len(carried.bodies) - 1
    leaves = {at: leaf_hash(body) for at, body in enumerate(carried.bodies, first)}
    if last >= head.tree_size:
        raise ProofError(
            f"{where}: entry {last:,} is beyond its head of {head.tree_size:,}",
            reason="entry-window",
        )
    sides = []
    for at in (first, last):
        proof = carried.proofs[at]
        try:
            verify_inclusion(at, leaves[at], head, proof)
        except ProofError as error:
            error.message = f"{where}: {error.message}"
            error.reason = "entry-window"
            raise
        sides.append(of_inclusion(at, leaves[at], head, proof))
    return proving_ranges(sides[0], sides[1], leaves, head, where)


def _require_provable(mirror: Mirror, carried: CarriedWindow) -> None:
    """Raise IncompleteError unless the entries can be proven in the tree that we accepted."""
    accepted = mirror.history.accepted()
    if accepted is None:
        raise ValueError("a window of a log without a head")
    tree = our_tree(mirror, accepted.head)
    for at in carried.proofs:
        tree.prove_inclusion(at)


def _malformed(name: str, message: str) -> MalformedError:
    return MalformedError(f"window {name} in a transfer bundle: {message}", reason="entry-window")
