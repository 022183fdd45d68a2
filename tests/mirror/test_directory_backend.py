"""A backend that is a directory of this host: a copy of a log's tree, however it came here."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard

from appliance.tlog.tile import EntryBundle, tile_at, top_level
from tests.cli.homes import Home
from tests.simulator import SimulatedLog


def write_tree(directory: Path, log: SimulatedLog) -> None:
    """Write what a log serves, as rsync would bring it."""
    size = log.tree_size
    places = [
        tile_at(level, index, size)
        for level in range(top_level(size) + 1)
        for index in range(((size >> 8 * level) + 255) // 256)
    ]
    bundles = [EntryBundle(one.index, one.width) for one in places if one.level == 0]
    paths = [*(one.path for one in places), *(one.path for one in bundles)]
    for path in ("checkpoint", *paths):
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(log.answer(path))


class Site(Home):
    def __init__(
        self, path: Path, capsys: pytest.CaptureFixture[str], log: SimulatedLog, url: str
    ) -> None:
        super().__init__(path / "home", capsys)
        key = path / "log.vkey"
        key.write_text(f"{log.key.vkey}\n")
        self.added = self.json(
            *("backend", "add", "copy", "--origin", log.origin, "--public-key", key),
            *("--url", url),
        )


@pytest.fixture
def log() -> SimulatedLog:
    made = SimulatedLog()
    made.grow(700)
    return made


@pytest.mark.parametrize("below", ["", "api/v2"])
def test_a_directory_is_read_like_a_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: SimulatedLog, below: str
) -> None:
    tree = tmp_path / "a mirror"
    write_tree(tree / below, log)
    site = Site(tmp_path, capsys, log, f"file://{tmp_path}/a%20mirror/")
    assert site.added["baseUrl"] == f"file://{tmp_path}/a%20mirror"
    [done] = site.json("sync", "--full-tiles", "--entries")["backends"]
    assert (done["mirrorSize"], done["entryBundles"], done["complete"]) == (700, 3, True)
    site.json("prove", "--origin", log.origin, "--index", "3", "--output", tmp_path / "proof")
    log.grow(5)
    write_tree(tree / below, log)
    [done] = site.json("sync")["backends"]
    assert (done["relation"], done["mirrorSize"]) == ("ahead", 705)
    assert site.json("backend", "verify-key", "copy")["treeSize"] == 705
    assert f"file://{tmp_path}/a%20mirror" in site.run("config", "show")[1]


def archive(tree: Path, name: str) -> Path:
    """Archive a tree as people do: with directories, owners and times."""
    plain, file = tree.parent / "t.tar", tree.parent / name
    with tarfile.open(plain, "w") as made:
        made.add(tree, arcname="./a mirror")
    if name.endswith(".gz"):
        file.write_bytes(gzip.compress(plain.read_bytes()))
    elif name.endswith(".zst"):
        file.write_bytes(zstandard.ZstdCompressor().compress(plain.read_bytes()))
    return file


@pytest.mark.parametrize("name", ["t.tar", "t.tar.gz", "t.tar.zst"])
def test_an_archive_is_read_like_a_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: SimulatedLog, name: str
) -> None:
    tree = tmp_path / "mirror"
    write_tree(tree / "api/v2", log)
    file = archive(tree, name)
    site = Site(tmp_path, capsys, log, f"file://{file}")
    [done] = site.json("sync", "--max-tiles", "1")["backends"]
    assert not done["complete"], "and the next goes on where it was"
    [done] = site.json("sync", "--full-tiles", "--entries")["backends"]
    assert (done["mirrorSize"], done["entryBundles"], done["complete"]) == (700, 3, True)
    log.grow(5)
    write_tree(tree / "api/v2", log)
    archive(tree, name)
    [done] = site.json("sync")["backends"]
    assert (done["relation"], done["mirrorSize"]) == ("ahead", 705)


def compressed(parts: list[bytes], name: str) -> bytes:
    """Compress each part alone, and join: what pigz, bgzip, pzstd, split and cat leave."""
    if name.endswith(".gz"):
        return b"".join(map(gzip.compress, parts))
    skipped = (0x184D2A50).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"index"
    return skipped.join(zstandard.ZstdCompressor().compress(part) for part in parts)


@pytest.mark.parametrize("name", ["t.tar.gz", "t.tar.zst"])
@pytest.mark.parametrize("padding", [0, 5, 5000])
def test_all_members_of_a_compressed_archive_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: SimulatedLog, name: str, padding: int
) -> None:
    tree = tmp_path / "mirror"
    write_tree(tree, log)
    whole = archive(tree, "t.tar").read_bytes()
    file = tmp_path / name
    parts = [whole[:700], b"", whole[700:9000], whole[9000:]]
    file.write_bytes(compressed(parts, name) + bytes(padding))
    site = Site(tmp_path, capsys, log, f"file://{file}")
    [done] = site.json("sync", "--full-tiles", "--entries")["backends"]
    assert (done["mirrorSize"], done["entryBundles"], done["complete"]) == (700, 3, True)
    for bad, told in (
        (compressed(parts, name) + b"junk", "no whole (gzip member|zstd frame)"),
        (compressed(parts, name) + bytes(3000) + b"junk", "no whole (gzip member|zstd frame)"),
        (compressed(parts, name)[:-3], "last (gzip member|zstd frame) is cut short"),
        (compressed([whole, whole], name), "more follows the end of the archive"),
    ):
        file.write_bytes(bad)
        error = site.json("sync", expect=3)
        assert (error["reason"], bool(error["next"])) == ("archive", True)
        assert re.search(told, error["message"]), error["message"]


def skippable(n_bytes: int, number: int = 0) -> bytes:
    """Return a frame that holds nothing (RFC 8878 3.1.2)."""
    head = (0x184D2A50 + number).to_bytes(4, "little") + n_bytes.to_bytes(4, "little")
    return head + bytes([7]) * n_bytes


def compress_in_parallel(plain: bytes, directory: Path) -> bytes:
    """Compress as pzstd does, in several frames with a skippable one before each."""
    if (program := shutil.which("pzstd")) is None:
        pytest.skip("there is no pzstd here")
    (directory / "plain").write_bytes(plain)
    command = [program, "-q", "-f", "-p", "2", "plain", "-o", "compressed"]
    subprocess.run(command, cwd=directory, check=True)
    return (directory / "compressed").read_bytes()


@pytest.mark.parametrize("made", ["in front", "long", "last", "with nothing", "by pzstd"])
def test_skippable_frames_are_skipped_wherever_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: SimulatedLog, made: str
) -> None:
    tree, file = tmp_path / "mirror", tmp_path / "t.tar.zst"
    write_tree(tree, log)
    plain = archive(tree, "t.tar").read_bytes()
    frame = zstandard.ZstdCompressor().compress
    file.write_bytes(
        {
            "in front": lambda: skippable(4, 15) + frame(plain),
            "long": lambda: frame(plain[:700]) + skippable(300_000) + frame(plain[700:]),
            "last": lambda: frame(plain) + skippable(5000) + bytes(7),
            "with nothing": lambda: skippable(0) * 3 + frame(plain) + skippable(0) * 500,
            "by pzstd": lambda: compress_in_parallel(plain, tmp_path),
        }[made]()
    )
    site = Site(tmp_path, capsys, log, f"file://{file}")
    [done] = site.json("sync", "--full-tiles", "--entries")["backends"]
    assert (done["mirrorSize"], done["entryBundles"], done["complete"]) == (700, 3, True)
    file.write_bytes(frame(plain) + skippable(5000)[:-1])
    assert "last zstd frame is cut short" in site.json("sync", expect=3)["message"]


@pytest.mark.parametrize("name", ["t.tar.gz", "t.tar.zst"])
def test_frames_that_hold_nothing_have_a_limit(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    log: SimulatedLog,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    tree, file = tmp_path / "mirror", tmp_path / name
    write_tree(tree, log)
    plain = archive(tree, "t.tar").read_bytes()
    frame = gzip.compress if name.endswith(".gz") else zstandard.ZstdCompressor().compress
    monkeypatch.setattr("appliance.store.mirror.tar_tree.MAX_EMPTY", 9)
    site = Site(tmp_path, capsys, log, f"file://{file}")
    parts = b"".join(frame(plain[at : at + 1000]) for at in range(0, len(plain), 1000))
    file.write_bytes(frame(b"") * 9 + parts)
    site.json("sync")
    file.write_bytes(frame(b"") * 10 + parts)
    error = site.json("sync", expect=8)
    assert re.search("more than 9 (gzip members|zstd frames) that hold nothing", error["message"])


def test_archives_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: SimulatedLog
) -> None:
    tree = tmp_path / "mirror"
    write_tree(tree, log)
    file = archive(tree, "t.tar")
    whole = file.read_bytes()
    site = Site(tmp_path, capsys, log, f"file://{file}")
    for damaged in (b"", b"no archive at all" * 100, whole[:9000], whole[700:]):
        file.write_bytes(damaged)
        assert site.run("sync")[0] in (3, 5)
    with tarfile.open(file, "w") as made:
        for _ in range(2):
            made.add(tree / "checkpoint", arcname="checkpoint")
    assert "there twice" in site.json("sync", expect=3)["message"]
    with tarfile.open(file, "w") as made:
        link = tarfile.TarInfo("checkpoint")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    assert "no regular file" in site.json("sync", expect=3)["message"]
    with tarfile.open(file, "w") as made:
        for place in ("one", "other"):
            made.add(tree / "checkpoint", arcname=f"{place}/checkpoint")
    assert "2 files named checkpoint" in site.json("sync", expect=5)["message"]
    file.write_bytes(whole)
    assert site.json("sync", "--full-tiles")["backends"][0]["complete"]


def header(kind: bytes, size: int) -> bytes:
    """A header of an archive, with any size: an extended one, or one below zero."""
    made = tarfile.TarInfo("checkpoint")
    made.type, made.size = kind, max(size, 0)
    raw = bytearray(made.tobuf(tarfile.GNU_FORMAT))
    if size < 0:
        raw[124:136] = b"\xff" * 12  # base 256: -1
        raw[148:156] = b" " * 8
        raw[148:156] = f"{sum(raw):06o}\0 ".encode()
    return bytes(raw)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        (header(b"x", 1_000_000) + b"1" * 1_000_448, "extended header of 1,000,000"),
        (header(b"L", 5000) + b"a" * 5120, "extended header of 5,000"),
        (header(b"x", 21) + b"21 GNU.sparse.map=0,\n".ljust(512, b"\0"), "no tar archive"),
        ((header(b"x", 10) + b"10 a=bbbb\n".ljust(512, b"\0")) * 2000, "no tar archive"),
        (header(b"0", -1), "below zero|no tar archive"),  # newer readers of tar notice it
    ],
)
def test_a_hostile_archive_is_refused_at_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    log: SimulatedLog,
    headers: bytes,
    told: str,
) -> None:
    tree = tmp_path / "mirror"
    write_tree(tree, log)
    file = archive(tree, "t.tar")
    file.write_bytes(headers + file.read_bytes())
    site = Site(tmp_path, capsys, log, f"file://{file}")
    assert re.search(told, site.json("sync", expect=3)["message"])


def test_a_directory_that_is_not_mounted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: SimulatedLog
) -> None:
    tree = tmp_path / "mirror"
    write_tree(tree, log)
    site = Site(tmp_path, capsys, log, f"file://{tree}")
    site.json("sync")
    shutil.move(tree, tmp_path / "elsewhere")
    error = site.json("sync", expect=5)
    assert (error["reason"], "mounted" in error["next"]) == ("no-checkpoint", True)
    shutil.move(tmp_path / "elsewhere", tree)
    assert site.json("sync")["backends"][0]["relation"] == "same"


def test_a_copy_with_another_tile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: SimulatedLog
) -> None:
    tree = tmp_path / "mirror"
    write_tree(tree, log)
    file = tree / "tile/0/001"
    file.write_bytes(bytes(len(file.read_bytes())))
    site = Site(tmp_path, capsys, log, f"file://{tree}")
    assert "tile/0/001" in site.json("sync", "--full-tiles", expect=3)["message"]
    write_tree(tree, log)
    assert site.json("sync", "--full-tiles")["backends"][0]["complete"]


def test_a_copy_of_another_story(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: SimulatedLog
) -> None:
    tree = tmp_path / "mirror"
    write_tree(tree, log)
    site = Site(tmp_path, capsys, log, f"file://{tree}")
    site.json("sync", "--full-tiles")
    fork = log.fork(at=300)
    fork.grow(900 - fork.tree_size)
    write_tree(tree, fork)
    site.json("sync", expect=4)


@pytest.mark.parametrize(
    "url", ["file:relative", "file://host/path", "file:///a/../b", "file://", "file:///a b"]
)
def test_what_names_no_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: SimulatedLog, url: str
) -> None:
    home = Home(tmp_path / "home", capsys)
    key = tmp_path / "log.vkey"
    key.write_text(f"{log.key.vkey}\n")
    error = home.json(
        *("backend", "add", "copy", "--origin", log.origin, "--public-key", key, "--url", url),
        expect=2,
    )
    assert "file:///PATH" in error["message"]


def test_nothing_is_written_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: SimulatedLog
) -> None:
    site = Site(tmp_path, capsys, log, f"file://{tmp_path}/mirror")
    assert site.json("config", "set", "rekor.serverUrl", f"file://{tmp_path}/mirror", expect=9)
