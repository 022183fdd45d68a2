"""Windows of entries of a log without tiles cross the gap, and are used there."""

from __future__ import annotations

import json
import random
import sqlite3
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import zstandard

from appliance.errors import IncompleteError, MalformedError
from appliance.jobs.transfer import plan, window_members
from appliance.jobs.transfer.hash_lists import format_hash_lists
from appliance.jobs.transfer.window_members import Window, parse_window
from appliance.store import schema
from appliance.store.database import open_store
from appliance.store.mirror.entry_frames import compress_bundle
from appliance.store.mirror.entry_windows import EntryWindows
from appliance.store.mirror.logs import require_log
from bundles import manifest_json
from bundles.writer import Member
from tests.mirror.test_rekor_v1 import HOST, Signed, Site
from tests.rig.v1_shards import V1Instance, v1_instance
from tests.transfer.test_without_tiles import Inside

ORIGIN = f"{HOST} - 1001"


@pytest.fixture
def log() -> Iterator[V1Instance]:
    with v1_instance(HOST) as running:
        running.grow(700)
        yield running


@pytest.fixture
def outside(tmp_path: Path, capsys: pytest.CaptureFixture[str], log: V1Instance) -> Site:
    return Site(tmp_path, capsys, log)


@pytest.fixture
def inside(tmp_path: Path, capsys: pytest.CaptureFixture[str], outside: Site) -> Inside:
    outside.sync()
    return Inside(tmp_path / "inside", capsys, outside)


def fetch(outside: Site, first: int, count: int) -> None:
    outside.later()
    outside.json(
        *("sync", "--backend", "sigstore-prod", "--from", str(first), "--count", str(count))
    )


def proves(inside: Inside, index: int, expect: int = 0) -> Any:
    """Prove an entry inside, check the proof by the key alone, and read the entry."""
    proof, entry = inside.path.parent / "proof", inside.path.parent / "entry"
    entry.write_bytes(inside.outside.log.trees[0].bodies[index])
    proof.unlink(missing_ok=True)
    said = inside.json(
        *("prove", "--origin", ORIGIN, "--index", str(index), "--output", proof), expect=expect
    )
    if expect:
        return said
    verified = inside.json("proof", "verify", proof, "--entry", entry)
    shown = inside.json("entries", "show", "--origin", ORIGIN, "--index", str(index))
    assert shown["leafHash"] == sha256(b"\x00" + entry.read_bytes()).hexdigest()
    return verified


def windows_in(outside: Site, file: str) -> list[str]:
    """List the members of a transfer bundle that are windows, without our code's help."""
    with tarfile.open(outside.path.parent / file) as archive:
        names = [one.removeprefix("./") for one in archive.getnames()]
    return [name.rpartition("/")[2] for name in names if "/window/" in name]


def requires(home: Inside, file: str) -> list[str]:
    with tarfile.open(home.path.parent / file) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        found: list[str] = json.load(manifest)["requires"]
    return found


def test_a_window_is_proven_and_read_inside(inside: Inside, outside: Site) -> None:
    fetch(outside, 250, 20)
    fetch(outside, 600, 3)
    [done] = inside.carry("a.tar")["logs"]
    assert done["windows"] == {"offered": 23, "new": 23, "unproven": 0}
    assert requires(inside, "a.tar") == ["consistency", "window"]
    assert windows_in(outside, "a.tar") == ["250.zst", "256.zst", "600.zst"]
    for index in (250, 255, 256, 269, 600, 602):
        proves(inside, index)
    error = proves(inside, 270 + 100, expect=5)
    assert "its next export brings it here" in error["next"]
    # The tree grows: what is here is proven in every tree that is proven later.
    outside.log.grow(77)
    outside.sync()
    inside.carry("b.tar")
    for index in (250, 269, 601):
        assert proves(inside, index)["treeSize"] == 777
    [again] = inside.take(inside.path.parent / "a.tar")["logs"]
    assert (again["windows"]["new"], again["relation"]) == (0, "behind")


def test_inspect_names_the_windows(inside: Inside, outside: Site) -> None:
    fetch(outside, 250, 20)
    for first in range(400, 412, 2):
        fetch(outside, first, 1)
    file = outside.path.parent / "a.tar"
    outside.json("export", "--output", file)
    n_bytes = 0
    with tarfile.open(file) as archive:
        n_bytes = sum(one.size for one in archive.getmembers() if "/window/" in one.name)
    ranges = [[250, 270], *([first, first + 1] for first in range(400, 412, 2))]
    [told] = inside.json("inspect", file)["windows"]
    assert told == {"origin": ORIGIN, "entries": 26, "ranges": ranges, "bytes": n_bytes}
    said = inside.run("inspect", file)[1]
    named = "250..270, 400..401, 402..403, 404..405, 406..407 and 2 more ranges"
    assert f"{ORIGIN}: windows of 26 entries, {named} ({n_bytes:,} bytes)" in said
    packed = outside.path.parent / "b.tar.zst"
    packed.write_bytes(
        zstandard.ZstdCompressor(write_content_size=True).compress(file.read_bytes())
    )
    assert inside.json("inspect", packed)["windows"] == [told]
    whole = file.read_bytes()
    for spoilt in (
        whole[: len(whole) - 2048],
        whole.replace(b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfe"),
    ):
        file.write_bytes(spoilt)
        code, out, err = inside.run("inspect", file)
        assert (code, "a transfer bundle, NOT VERIFIED" in out, str(file) in err) == (3, True, True)


def test_a_window_leaves_with_three_exports_and_with_every_complete_one(
    inside: Inside, outside: Site
) -> None:
    fetch(outside, 0, 2)
    for number in range(5):
        outside.later()
        outside.json("export", "--output", outside.path.parent / f"{number}.tar")
    assert [len(windows_in(outside, f"{n}.tar")) for n in range(5)] == [1, 1, 1, 0, 0]
    fetch(outside, 1, 4)  # what is new leaves with what stands beside it
    outside.later()
    outside.json("export", "--output", outside.path.parent / "new.tar")
    assert windows_in(outside, "new.tar") == ["0.zst"]
    outside.later()
    outside.json("export", "--base", "all", "--output", outside.path.parent / "all.tar")
    [done] = inside.take(inside.path.parent / "all.tar")["logs"]
    assert done["windows"]["new"] == 5
    proves(inside, 4)
    outside.later()
    outside.json("export", "--base", "all", "--output", outside.path.parent / "again.tar")
    outside.json("export", "--base", "all", "--output", outside.path.parent / "again.tar")


def test_what_could_not_be_proven_leaves_once_it_can_with_what_stands_beside_it(
    outside: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(outside, 0, 2)
    fetch(outside, 5, 2)
    good = window_members.window_member

    def lacking(mirror: Any, tree: Any, window: Window, directory: str) -> Member:
        if window.start == 5:
            raise IncompleteError("no proof", reason="no-proof")
        return good(mirror, tree, window, directory)

    monkeypatch.setattr(plan, "window_member", lacking)
    for number in range(4):
        outside.later()
        outside.json("export", "--output", outside.path.parent / f"{number}.tar")
        assert windows_in(outside, f"{number}.tar") == ["0.zst"]
    monkeypatch.undo()
    outside.later()
    outside.json("export", "--output", outside.path.parent / "whole.tar")
    assert windows_in(outside, "whole.tar") == ["0.zst", "5.zst"]


def test_a_window_of_an_older_stick_is_kept_if_it_can_be_proven(
    inside: Inside, outside: Site
) -> None:
    fetch(outside, 300, 5)
    outside.later()
    outside.json("export", "--output", outside.path.parent / "old.tar")
    outside.json("export", "--base", "700", "--output", outside.path.parent / "base.tar")
    outside.log.grow(41)
    outside.sync()
    inside.carry("new.tar", "--base", "all")
    [known] = inside.take(inside.path.parent / "old.tar")["logs"]
    assert (known["relation"], known["windows"]["new"]) == ("behind", 0)
    proves(inside, 302)


def test_what_nothing_here_proves_is_not_kept(
    inside: Inside, outside: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside.json("export", "--output", outside.path.parent / "plain.tar")
    fetch(outside, 300, 5)
    outside.later()
    outside.json("export", "--output", outside.path.parent / "old.tar")
    outside.log.grow(41)
    outside.sync()
    monkeypatch.setattr(plan, "due_windows", lambda *_, **__: iter(()))
    for name in ("plain.tar", "new.tar"):
        outside.later()
        if name == "new.tar":
            outside.json("export", "--output", outside.path.parent / name)
        inside.take(outside.path.parent / name)
    with sqlite3.connect(inside.path / "attestor.db") as database:  # a home of an older version
        database.execute("DELETE FROM proven_range")
    file = outside.path.parent / "old.tar"
    code, out, err = inside.run("import", file)
    assert (code, "5 entries of windows are not kept" in err) == (0, True), out + err
    proves(inside, 302, expect=5)
    monkeypatch.undo()
    inside.carry("all.tar", "--base", "all")
    proves(inside, 302)


@pytest.mark.parametrize("spoilt", ["entry", "order", "proof", "name", "cut", "junk"])
def test_a_window_that_is_not_what_its_proofs_say(
    inside: Inside, outside: Site, monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    inside.carry("first.tar")
    fetch(outside, 40, 6)
    good = window_members.window_member

    def other(*arguments: Any) -> Member:
        member = good(*arguments)
        raw = zstandard.ZstdDecompressor().decompress(member.read())
        text, _, entries = raw.partition(b"\n\n")
        half = len(entries) // 6
        path = member.path
        if spoilt == "entry":
            entries = entries.replace(b'"number":42', b'"number":43')
        elif spoilt == "order":
            entries = entries[:half] + entries[2 * half : 3 * half] + entries[half : 2 * half]
            entries += raw.partition(b"\n\n")[2][3 * half :]
        elif spoilt == "proof":
            lines = text.split(b"\n")
            lines[2] = lines[3]
            text = b"\n".join(lines)
        elif spoilt == "name":
            path = path.replace("/40.zst", "/41.zst")
        elif spoilt == "cut":
            entries = entries[:-1]
        else:
            entries += b"\0\0\0\0"
        data = compress_bundle(text + b"\n\n" + entries)
        return Member(path, len(data), sha256(data).digest(), lambda: data)

    monkeypatch.setattr(plan, "window_member", other)
    error = inside.carry("bad.tar", expect=3)
    assert error["reason"] in ("entry-window", "proof"), error
    assert proves(inside, 41, expect=5)
    monkeypatch.undo()
    inside.carry("good.tar")
    proves(inside, 42)


@pytest.mark.parametrize(
    "raw", [b"", b"entry 1\n", b"\n\n\0\0\0\1a", b"entry 7\n\n", b"entry 7\nentry 8\n\n\0\0\0\1a"]
)
def test_other_forms_of_the_member_are_refused(raw: bytes) -> None:
    data = compress_bundle(raw) if raw else zstandard.ZstdCompressor().compress(b"")
    with pytest.raises(MalformedError):
        parse_window(data, "7.zst")


@pytest.mark.parametrize(("start", "count", "fits"), [(7, 249, True), (7, 250, False)])
def test_no_window_goes_beyond_the_256_entries_it_stands_among(
    start: int, count: int, *, fits: bool
) -> None:
    text = format_hash_lists("entry", {start: [], start + count - 1: []})
    data = compress_bundle(text + b"\n" + b"\0\0\0\1a" * count)
    if fits:
        assert len(parse_window(data, f"{start}.zst").bodies) == count
        return
    with pytest.raises(MalformedError, match="beyond the 256 entries"):
        parse_window(data, f"{start}.zst")


def test_a_reader_that_knows_no_windows_is_told(
    inside: Inside, outside: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(outside, 3, 1)
    known = manifest_json.CAPABILITIES
    outside.later()
    outside.json("export", "--output", outside.path.parent / "a.tar")
    monkeypatch.setattr(manifest_json, "CAPABILITIES", known - {manifest_json.WINDOW})
    error = inside.take(inside.path.parent / "a.tar", expect=8)
    assert (error["reason"], "requires window" in error["message"]) == ("unknown-capability", True)


def test_windows_are_divided_among_volumes(inside: Inside, outside: Site) -> None:
    fetch(outside, 0, 700)
    outside.later()
    outside.json(*("export", "--volume-size", "32K", "--output", outside.path.parent / "many.tar"))
    files = sorted(outside.path.parent.glob("many.v*of*.tar"))
    assert len(files) > 1
    for file in reversed(files):
        inside.take(file)
    for index in (0, 255, 256, 699):
        proves(inside, index)


def test_a_bundle_with_its_entry_is_carried_alone(
    inside: Inside, outside: Site, tmp_path: Path
) -> None:
    signed = Signed(tmp_path, outside.log)
    bundle = signed.bundle()  # of the last entry
    index = len(outside.log.active.bodies) - 1
    fetch(outside, index - 3, 4)
    outside.log.grow(4)
    outside.json("sync", "--for", bundle)
    inside.carry("a.tar", "--for", str(bundle))
    assert windows_in(outside, "a.tar") == [f"{index}.zst"]
    proves(inside, index)
    proves(inside, index - 2, expect=5)
    command = ("verify", signed.artifact, "--bundle", bundle, "--key", signed.key)
    assert "covered by our mirror up to" in inside.run(*command, "--require-mirror")[1]


def test_a_home_of_the_version_before_counts_its_windows(inside: Inside, outside: Site) -> None:
    fetch(outside, 250, 20)
    database = outside.path / "attestor.db"
    with sqlite3.connect(database) as old:
        for name in ("came", "changed", "went"):
            old.execute(f"DROP TRIGGER entry_window_{name}")
        old.execute("DROP TABLE window_tile")
        old.execute("DELETE FROM _sqlite_migrations WHERE name = '033_window_tile'")
    outside.json("init")
    assert outside.json("store", "check")["problems"] == []
    [done] = inside.carry("a.tar")["logs"]
    assert done["windows"]["new"] == 20
    with sqlite3.connect(database) as damaged:
        damaged.execute("UPDATE window_tile SET n_entries = 7 WHERE tile_index = 1")
    error = outside.json("store", "check", expect=6)
    assert "window_tile" in error["message"]


def test_a_home_whose_entries_had_a_page_each_keeps_them(inside: Inside, outside: Site) -> None:
    fetch(outside, 250, 20)
    migrations = Path(schema.__file__).parent / "migrations"
    triggers = (migrations / "050_entry_window_rows.sql").read_text().partition("CREATE TRIGGER")
    with sqlite3.connect(outside.path / "attestor.db") as old:
        rows = old.execute("SELECT * FROM entry_window ORDER BY entry_index").fetchall()
        tiles = old.execute("SELECT tile_index, n_entries FROM window_tile").fetchall()
        old.execute("DROP TABLE entry_window")
        old.executescript((migrations / "030_entry_window.sql").read_text())
        old.executemany("INSERT INTO entry_window VALUES (?, ?, ?)", rows)
        old.executescript("".join(triggers[1:]))
        old.execute("DELETE FROM _sqlite_migrations WHERE name = '050_entry_window_rows'")
    outside.json("init")
    with sqlite3.connect(outside.path / "attestor.db") as new:
        assert new.execute("SELECT * FROM entry_window ORDER BY entry_index").fetchall() == rows
        assert new.execute("SELECT tile_index, n_entries FROM window_tile").fetchall() == tiles
        made = new.execute("SELECT sql FROM sqlite_schema WHERE name = 'entry_window'")
        assert "ROWID" not in made.fetchone()[0]
    assert outside.json("store", "check")["problems"] == []
    fetch(outside, 270, 1)
    inside.carry("a.tar")
    for index in (250, 269, 270):
        proves(inside, index)


def test_an_entry_takes_little_more_than_its_bytes(outside: Site) -> None:
    """As large as most are: in a table without rowid each would take a page."""
    outside.sync()
    store = open_store(outside.path, write=True)
    log = require_log(store, ORIGIN)

    def pages() -> int:
        [row] = store.rows("PRAGMA page_count")
        return int(row["page_count"])

    before = pages()
    bodies = {at: random.Random(at).randbytes(1300) for at in range(600)}  # noqa: S311
    with store.atomic():
        EntryWindows(store, log).put(bodies)
    assert (pages() - before) * 4096 < 1.3 * 600 * 1300
    store.close()


def test_a_closed_tree_is_an_archive_that_one_export_carries_and_one_command_checks(
    inside: Inside, outside: Site
) -> None:
    outside.log.rotate(grow=7)
    outside.log.grow(20)
    outside.later()
    outside.json("sync", "--backend", "sigstore-prod", "--full-tiles")
    file = outside.path.parent / "sealed.tar"
    command = ("export", "--origin", ORIGIN, "--base", "all")
    told = outside.run(*command, "--dry-run", "--output", file)[1]
    assert f"{ORIGIN}: 707 entries of windows" in told
    wrote = outside.json(*command, "--output", file)
    assert wrote["windows"] == [{"origin": ORIGIN, "entries": 707}]
    [would] = inside.json("import", "--dry-run", file)["imports"][0]["logs"]
    assert (would["origin"], inside.sizes()) == (ORIGIN, {}), "a dry run pins nothing"
    inside.take(file)
    [checked] = inside.json("tiles", "verify")["logs"]
    root = inside.json("checkpoint", "show", "--origin", ORIGIN)["rootHash"]
    assert (checked["origin"], checked["treeSize"], checked["entries"]) == (ORIGIN, 707, 707)
    assert checked["rootHash"] in (root, root.removeprefix("sha256:"))
    assert "707 of 707 entries are here" in inside.run("tiles", "verify")[1]
    both = outside.json("tiles", "verify", "--backend", "sigstore-prod")["logs"]
    assert [(one["treeSize"], one["entries"]) for one in both] == [(707, 707), (20, 20)]
    error = inside.json(
        *("entries", "show", "--origin", ORIGIN, "--index", "3"),
        *("--bundle-out", inside.path.parent / "entry.json"),
        expect=8,
    )
    assert (error["reason"], "--upgrade" in error["next"]) == ("no-promise", True)
    with sqlite3.connect(inside.path / "attestor.db") as rotten:
        [other] = rotten.execute("SELECT body FROM entry_window WHERE entry_index = 99").fetchone()
        rotten.execute("UPDATE entry_window SET body = ? WHERE entry_index = 100", [other])
    error = inside.json("tiles", "verify", expect=6)
    assert (error["reason"], "entries 0 to 706" in error["message"]) == ("corrupt", True)
    assert [one["type"] for one in inside.json("alerts", "list")["alerts"]] == ["StoreCorrupt"]


def test_an_audit_of_checkpoints_alone(inside: Inside, outside: Site) -> None:
    [checked] = outside.json("tiles", "verify", "--backend", "sigstore-prod")["logs"]
    assert (checked["treeSize"], checked["entries"]) == (700, 0)
    assert inside.json("tiles", "verify", expect=5)["reason"] == "no-mirror-checkpoint"
