"""Drills in which the stick, or our own disk, is not what it was."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.errors import (
    CorruptError,
    IncompleteError,
    RefusedError,
    StoreError,
    VerificationError,
)
from appliance.jobs.drill.checks import REFUSALS, Checks
from appliance.jobs.drill.sites import OUTSIDE, DrillSites, Site
from appliance.jobs.home.store_check import check_store
from appliance.jobs.mirror.audit import audit
from appliance.policy.relate import Relation
from appliance.store.files import read_foreign, written_whole
from appliance.store.home.key_files import load_signing_key
from appliance.store.transfer.transfers import (
    EXPORTER,
    add_exporter,
    exporter_keys,
    remove_exporter,
)
from appliance.tlog.note import parse_note, sign_note
from bundles.reader import read_bundle
from bundles.writer import Member, list_members, write_bundle

MAX_STICK_BYTES: Final = 16 * 1024 * 1024
FLIPS: Final = 97  # spread over the file; every single bit is tested in tests/bundles
CUTS: Final = 31


def tampered_bundle(sites: DrillSites, checks: Checks) -> None:
    """Somebody has an hour alone with the stick, and then even with an exporter's key."""
    releases = sites.grow(300)
    sites.sync()
    stick = sites.export("stick.tar")
    whole = read_foreign(stick, MAX_STICK_BYTES)
    before = sites.inside.standing()
    for what, copies in (
        ("a flipped bit", _flipped(whole)),
        ("a file cut short", (whole[: at * len(whole) // CUTS] for at in range(CUTS))),
        ("bytes behind the end", (whole + bytes(n) for n in (1, 512, 10_240))),
        ("blocks that changed places", _swapped(whole)),
    ):
        accepted = [_is_accepted(sites, stick, data) for data in copies]
        found = f"{accepted.count(False)} of {len(accepted)} refused"
        checks.expect(f"import refuses {what}", not any(accepted), found)
    checks.same("nothing of all that was stored", before, sites.inside.standing())
    for what, old in (("an edge tile", "/tile/1/"), ("entries", "/tile/entries/000")):
        _write(stick, _forged(sites, whole, old))
        checks.refused(
            f"import refuses {what} of a trusted exporter that the log does not vouch for",
            *(partial(sites.import_, stick), VerificationError),
        )
    _write(stick, whole)
    [known] = exporter_keys(sites.inside.store)
    remove_exporter(sites.inside.store, known, sites.now)
    checks.refused(
        "import refuses an exporter that was withdrawn",
        *(partial(sites.import_, stick), RefusedError, "unknown-exporter"),
    )
    add_exporter(sites.inside.store, known, [EXPORTER], sites.now)
    head = sites.inside.head
    true = head in (None, sites.outside.head)  # what the log signed may have been accepted
    checks.expect("what any of them left is the log's own", true, head or "nothing")
    checks.same("sticks that count as imported", 0, sites.inside.transfers())
    sites.import_(stick)
    verdict = sites.verify(releases[0])
    checks.expect("the stick as it was is taken", verdict.error is None, verdict.own_view.text)


def replayed_bundle(sites: DrillSites, checks: Checks) -> None:
    """Old sticks come again, late, under other names; one is lost."""
    sizes = (200, 260, 320)
    sticks = []
    held = None
    for size in sizes:
        sites.grow(size - (held or 0))
        sites.sync()
        sticks.append(sites.export(f"{size}.tar", since_size=held))
        sites.import_(sticks[-1])
        held = size
    before = sites.inside.standing()
    for size, stick in zip(sizes, sticks, strict=True):
        renamed = sites.directory / f"newest-{size}.tar"
        _write(renamed, read_foreign(stick, MAX_STICK_BYTES))
        report = sites.import_(renamed)
        checks.expect(
            f"the stick of size {size} is known under any name", report.already, report.bundle_id
        )
    checks.same("nothing moved", before, sites.inside.standing())
    sites.grow(60)
    sites.sync()
    late = sites.export("late.tar", since_size=320)
    sites.grow(60)
    sites.sync()
    sites.import_(sites.export("overtaking.tar", since_size=320))
    moved_to = sites.inside.head
    [one] = sites.import_(late).logs
    relation = one.report.relation.value if one.report else None
    checks.same("one that was overtaken is a proven prefix", Relation.BEHIND.value, relation)
    checks.same("and takes nothing back", moved_to, sites.inside.head)
    sites.grow(20)
    sites.sync()
    sites.export("lost.tar", since_size=440)
    sites.grow(20)
    sites.sync()
    after_lost = sites.export("after-lost.tar", since_size=460)
    try:
        sites.import_(after_lost)
        found = "it was not missed"
    except IncompleteError as error:
        found = error.next_step
    checks.expect(
        "a lost one is named with the command that fills the gap",
        *("attestor export" in found and "--base 440" in found, found),
    )
    sites.import_(sites.export("repeated.tar", since_size=440))
    checks.same("which fills it", sites.outside.head, sites.inside.head)


def bit_rot(sites: DrillSites, checks: Checks) -> None:
    """Bits change on our own disks."""
    releases = sites.grow(600)
    sites.sync()
    stick = sites.export("stick.tar")
    sites.import_(stick)
    rotten = _rot(sites.inside)
    named = check_store(sites.inside.store, read_data=True).damaged
    found = {one.digest for one in named}
    checks.expect("store check names every damaged blob", found == rotten, f"{len(found)} blobs")
    checks.refused(
        "tiles verify says that the tiles do not lead to the signed root",
        *(partial(audit, sites.inside.mirror, full=True), StoreError, "corrupt"),
    )
    asked = [sites.verify(release).error for release in releases[::40]]
    no = sum(error is not None for error in asked)
    checks.same("releases resting on it to which verify says no yes", len(asked), no)
    sites.import_(stick)
    left = check_store(sites.inside.store, read_data=True).damaged
    checks.same("importing the stick again puts everything back", 0, len(left))
    audited = audit(sites.inside.mirror, full=True)
    checks.same("tiles verify rebuilds the signed root", sites.inside.head, audited.head)
    verdict = sites.verify(releases[0])
    checks.expect("verify says yes again", verdict.error is None, verdict.own_view.text)
    _rot(sites.outside)
    checks.refused(
        "a damaged mirror is not exported",
        *(partial(sites.export, "bad.tar"), CorruptError),
    )
    checks.expect(
        "and leaves no file on the stick", not (sites.directory / "bad.tar").exists(), "none"
    )


def _flipped(whole: bytes) -> Iterator[bytes]:
    for number in range(FLIPS):
        damaged = bytearray(whole)
        damaged[number * len(whole) // FLIPS] ^= 1 << number % 8
        yield bytes(damaged)


def _swapped(whole: bytes) -> Iterator[bytes]:
    blocks = [whole[at : at + 512] for at in range(0, len(whole), 512)]
    for at in range(0, len(blocks) - 3, 3):
        if blocks[at] != blocks[at + 1]:
            yield b"".join([*blocks[:at], blocks[at + 1], blocks[at], *blocks[at + 2 :]])


def _is_accepted(sites: DrillSites, stick: Path, data: bytes) -> bool:
    _write(stick, data)
    try:
        sites.import_(stick)
    except REFUSALS as error:
        return isinstance(error, IncompleteError)  # whoever misses something believed the rest
    return True


def _forged(sites: DrillSites, whole: bytes, old: str) -> bytes:
    """Change one member and sign it all again, as a trusted exporter could."""
    key = load_signing_key(sites.outside.store.home, OUTSIDE)
    bundle = read_bundle(io.BytesIO(whole), lambda note: parse_note(note).text)
    victim = next(path for path in bundle.paths() if old in path)
    members = []
    for path in bundle.paths():
        data = bundle.read(path)
        if path == victim:
            data = data[:-1] + bytes([data[-1] ^ 1])
        members.append(Member(path, len(data), sha256(data).digest(), data.__bytes__))
    out = io.BytesIO()
    write_bundle(
        out,
        manifest=bundle.manifest,
        members=members,
        listed=list_members(members),
        sign=lambda text: sign_note(text, [key]),
    )
    return out.getvalue()


def _write(path: Path, data: bytes) -> None:
    with written_whole(path, replace=True) as file:
        file.write(data)


def _rot(site: Site) -> set[bytes]:
    """Flip a bit in every second blob and remove the others; return their digests."""
    rows = site.store.rows("SELECT digest FROM tile UNION SELECT digest FROM entry_bundle")
    digests = sorted(bytes(row["digest"]) for row in rows)
    for number, digest in enumerate(digests):
        path = site.store.blobs.path(digest)
        if number % 2:
            path.unlink()
        else:
            data = site.store.blobs.get(digest)
            _write(path, bytes([data[0] ^ 1]) + data[1:])
    return set(digests)
