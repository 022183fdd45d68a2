"""Archives made by somebody who knows the format.

Most are signed by a known exporter, so that nothing but the reader stands
between the archive and us.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import time
from typing import Final, Literal

import pytest

from bundles.errors import BundleError, UnsupportedError
from bundles.manifest_json import format_manifest
from bundles.reader import read_bundle, stage
from bundles.ustar import TRAILER, format_member_header
from bundles.wrap import Wrap
from tests.bundles.samples import (
    FILES,
    LOG,
    MANIFEST,
    REFUSALS,
    archived,
    bundle_of,
    forged,
    format_sums,
    open_header,
    padded,
    signed_front,
)

GOOD: Final = bundle_of(FILES)
LISTED: Final = [("acks/a", b"hello"), ("acks/b", b"world")]
B: Final = archived("acks/b", b"world")
FIELDS: Final = {
    "name": (0, 100),
    "mode": (100, 8),
    "uid": (108, 8),
    "gid": (116, 8),
    "size": (124, 12),
    "mtime": (136, 12),
    "checksum": (148, 8),
    "typeflag": (156, 1),
    "linkname": (157, 100),
    "magic": (257, 6),
    "version": (263, 2),
    "uname": (265, 32),
    "gname": (297, 32),
    "devmajor": (329, 8),
    "devminor": (337, 8),
    "prefix": (345, 155),
    "filler": (500, 12),
}


def header(**fields: bytes) -> bytes:
    """The header of acks/a with other bytes in some fields, and its checksum right again."""
    block = bytearray(format_member_header("acks/a", 5))
    checksum = fields.pop("checksum", None)
    for name, value in fields.items():
        start, length = FIELDS[name]
        assert len(value) <= length
        block[start : start + length] = value.ljust(length, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block) if checksum is None else checksum
    return bytes(block)


def a(**fields: bytes) -> bytes:
    """A signed transfer bundle of acks/a and acks/b, the header of acks/a bent."""
    return forged(header(**fields) + padded(b"hello") + B, LISTED)


def before_a(typeflag: bytes, name: bytes, data: bytes) -> bytes:
    """The same, with an extension header and its data before acks/a."""
    extension = header(typeflag=typeflag, name=name, size=b"%011o\0" % len(data)) + padded(data)
    return forged(extension + header() + padded(b"hello") + B, LISTED)


def named(path: str) -> bytes:
    """A bundle in which SHA256SUMS and the archive agree on a name, however bad."""
    sums = format_sums([(path, bytes(32)), ("acks/b", bytes(32))])
    tail = header(name=path.encode()[:100]) + padded(b"hello") + B
    return signed_front(format_manifest(MANIFEST), sums) + tail + TRAILER


def by_tarfile(tar_format: Literal[0, 1, 2], **attributes: object) -> bytes:
    """A bundle whose acks/a was written by the standard library."""
    info = tarfile.TarInfo("acks/a")
    info.size = 5
    for name, value in attributes.items():
        setattr(info, name, value)
    return forged(info.tobuf(tar_format) + padded(b"hello") + B, LISTED)


def size_of(declared: int) -> bytes:
    return a(size=b"%011o\0" % declared)


PLAIN: Final[dict[str, bytes]] = {
    # names, listed and archived alike
    "absolute path": named("/etc/passwd"),
    "parent directory": named("../a"),
    "parent directory inside": named("acks/../../a"),
    "parent directory at the end": named("acks/.."),
    "current directory": named("./acks/a"),
    "current directory inside": named("acks/./a"),
    "empty name": named(""),
    "empty segment": named("acks//a"),
    "slash at the end": named("acks/a/"),
    "only a slash": named("/"),
    "NUL in the name": named("acks/a\0b"),
    "newline in the name": named("acks/a\nb"),
    "backslash": named("acks\\a"),
    "drive letter": named("c:/a"),
    "space": named("acks/a b"),
    "upper case": named("acks/A"),
    "precomposed letter": named("acks/é"),
    "decomposed letter": named("acks/e\u0301"),
    "right-to-left override": named("acks/\u202ea"),
    "full-width letter": named("acks/\uff41"),
    "terminal escape": named("acks/\x1b[2J"),
    "leading dash": named("-rf"),
    "glob": named("acks/*"),
    "tilde": named("~/a"),
    "no known directory": named("bin/sh"),
    "name of 101 bytes": named("acks/" + "x" * 96),
    "name of 4,000 bytes": named("acks/" + "x" * 4000),
    "prefix of a path without a log": a(prefix=b"acks", name=b"a"),
    "prefix of 155 bytes": a(prefix=b"p" * 155),
    "log path in the name field": forged(
        header(name=f"{LOG}/a".encode()) + padded(b"hello"), [(f"{LOG}/a", b"hello")]
    ),
    "name without an end": a(name=b"x" * 100),
    "bytes after the end of the name": a(name=b"acks/a\0x"),
    "bytes after the end of the prefix": a(prefix=b"\0x"),
    "case twins": named("acks/B"),
    "listed twice": forged(archived("acks/b", b"world") + B, [("acks/b", b"world")] * 2),
    "archived twice": forged(archived("acks/a", b"hello") * 2 + B, LISTED),
    "archived twice, the other content": forged(
        archived("acks/a", b"hello") + archived("acks/a", b"jello") + B, LISTED
    ),
    "a second header": forged(GOOD[:1024] + archived("acks/a", b"hello") + B, LISTED),
    "a second SHA256SUMS": forged(archived("SHA256SUMS", b"") + B, LISTED),
    "not listed": forged(archived("acks/a", b"hello") + B + archived("acks/c", b""), LISTED),
    "listed but left out": forged(archived("acks/a", b"hello"), LISTED),
    "members exchanged": forged(B + archived("acks/a", b"hello"), LISTED),
    "names exchanged": forged(archived("acks/b", b"hello") + archived("acks/a", b"world"), LISTED),
    "contents exchanged": forged(
        archived("acks/a", b"world") + archived("acks/b", b"hello"), LISTED
    ),
    "file that is a directory": forged(
        archived("acks/a", b"") + archived("acks/a/b", b""), [("acks/a", b""), ("acks/a/b", b"")]
    ),
    # types
    "old file type": a(typeflag=b"\0"),
    "contiguous file": a(typeflag=b"7"),
    "hard link": a(typeflag=b"1", linkname=b"acks/b"),
    "symbolic link": a(typeflag=b"2", linkname=b"/etc/passwd"),
    "symbolic link without a size": a(typeflag=b"2", linkname=b"b", size=b"00000000000\0"),
    "link name of a file": a(linkname=b"/etc/passwd"),
    "character device": a(typeflag=b"3", devmajor=b"0000001\0", devminor=b"0000005\0"),
    "block device": a(typeflag=b"4", devmajor=b"0000010\0"),
    "directory": a(typeflag=b"5"),
    "directory by its name": a(name=b"acks/a/"),
    "fifo": a(typeflag=b"6"),
    "pax header": before_a(b"x", b"PaxHeaders/a", b"20 path=/etc/passwd\n"),
    "pax header with a size": before_a(b"x", b"PaxHeaders/a", b"12 size=999\n"),
    "pax header that is empty": before_a(b"x", b"PaxHeaders/a", b""),
    "global pax header": before_a(b"g", b"pax_global_header", b"16 comment=aaaaa\n"),
    "Solaris extended header": before_a(b"X", b"a", b"20 path=/etc/passwd\n"),
    "GNU long name": before_a(b"L", b"././@LongLink", b"/etc/passwd\0"),
    "GNU long link": before_a(b"K", b"././@LongLink", b"/etc/passwd\0"),
    "GNU sparse file": a(typeflag=b"S"),
    "GNU volume header": before_a(b"V", b"label", b""),
    "GNU multi-volume": a(typeflag=b"M"),
    "GNU dump directory": a(typeflag=b"D"),
    "unknown type": a(typeflag=b"Z"),
    "type with the high bit": a(typeflag=b"\xb0"),
    "GNU format": by_tarfile(tarfile.GNU_FORMAT),
    "pax format, long owner": by_tarfile(tarfile.PAX_FORMAT, uname="x" * 40),
    "pax format, fraction of a second": by_tarfile(tarfile.PAX_FORMAT, mtime=0.5),
    # numbers
    "size one less": size_of(4),
    "size one more": size_of(6),
    "size of a block more": size_of(5 + 512),
    "size zero": size_of(0),
    "size 64 MiB": size_of(64 * 1024 * 1024),
    "size 8 GiB - 1": size_of(8 * 1024**3 - 1),
    "size 1 TiB in base 256": a(size=b"\x80" + (1024**4).to_bytes(11, "big")),
    "size 5 in base 256": a(size=b"\x80" + (5).to_bytes(11, "big")),
    "size -1 in base 256": a(size=b"\xff" * 12),
    "size 2^64 - 1 in base 256": a(size=b"\x80" + (2**64 - 1).to_bytes(11, "big")),
    "size with a minus": a(size=b"-0000000005\0"),
    "size with a plus": a(size=b"+0000000005\0"),
    "size with spaces": a(size=b"          5\0"),
    "size with a space at the end": a(size=b"00000000005 "),
    "size with an underscore": a(size=b"0000000_005\0"),
    "size of 12 digits": a(size=b"000000000005"),
    "size of fewer digits": a(size=b"5\0"),
    "size with an 8": a(size=b"00000000008\0"),
    "size in hex": a(size=b"0x000000005\0"),
    "size empty": a(size=b""),
    "size not ASCII": a(size="0000000\u0665".encode()),
    "mode 0755": a(mode=b"0000755\0"),
    "mode set-uid": a(mode=b"0004644\0"),
    "mode with spaces": a(mode=b"   644 \0"),
    "owner 1000": a(uid=b"0001750\0"),
    "owner in base 256": a(uid=b"\x80\0\0\0\0\0\0\0"),
    "group 1000": a(gid=b"0001750\0"),
    "owner empty": a(uid=b""),
    "a time": a(mtime=b"15125310400\0"),
    "a time before 1970": a(mtime=b"\xff" * 12),
    "a user name": a(uname=b"root"),
    "a group name": a(gname=b"root"),
    "a device number": a(devmajor=b"0000001\0"),
    "no device number": a(devmajor=b"", devminor=b""),
    "bytes in the filler": a(filler=b"hello"),
    "old GNU magic": a(magic=b"ustar ", version=b" \0"),
    "no magic": a(magic=b"", version=b""),
    "version 01": a(version=b"01"),
    "star magic": a(filler=b"\0\0\0\0\0\0\0\0tar\0"),
    "checksum off by one": a(checksum=b"%06o\0 " % (sum(format_member_header("acks/a", 5)) + 1)),
    "checksum zero": a(checksum=b"000000\0 "),
    "checksum in another form": a(checksum=header()[148:154] + b" \0"),
    "checksum of signed bytes": a(name=b"acks/\xe9", checksum=b"007777\0 "),
    # the whole file
    "nothing": b"",
    "one zero block": bytes(512),
    "only zeros": bytes(10_240),
    "only a trailer": TRAILER,
    "no trailer": GOOD[: -len(TRAILER)],
    "half a trailer": GOOD[:-512],
    "trailer of three blocks": GOOD + bytes(512),
    "trailer up to a record, as tar writes it": GOOD.ljust(-(-len(GOOD) // 10_240) * 10_240, b"\0"),
    "trailing garbage": GOOD + b"garbage",
    "a member after the trailer": GOOD + archived("acks/z", b"z"),
    "two archives": GOOD + GOOD,
    "two archives, one trailer": GOOD[: -len(TRAILER)] + GOOD,
    "zero blocks between members": forged(archived("acks/a", b"hello") + TRAILER + B, LISTED),
    "one zero block between members": forged(archived("acks/a", b"hello") + bytes(512) + B, LISTED),
    "a byte before": b"\0" + GOOD,
    "a block before": bytes(512) + GOOD,
    "padding that says something": forged(header() + b"hello".ljust(512, b"!") + B, LISTED),
    "trailer that says something": forged(
        archived("acks/a", b"hello") + B, LISTED, end=bytes(1023) + b"!"
    ),
    "first member not the header": GOOD[1024:],
    "manifest before the header": GOOD[1024:2048] + GOOD[:1024] + GOOD[2048:],
    "empty header": archived("header", b"") + GOOD[1024:],
    "header of 1 TiB": format_member_header("header", 5)[:124]
    + b"\x80"
    + (1024**4).to_bytes(11, "big")
    + GOOD[136:],
    "empty manifest": signed_front(b"", b"") + TRAILER,
    "manifest of zeros": signed_front(bytes(1000), b"") + TRAILER,
    "manifest that is no object": signed_front(b"[]\n", b"") + TRAILER,
    "manifest deeply nested": signed_front(b"[" * 100_000, b"") + TRAILER,
    "empty SHA256SUMS": signed_front(format_manifest(MANIFEST), b"") + TRAILER,
    "SHA256SUMS that is binary": signed_front(format_manifest(MANIFEST), bytes(200)) + TRAILER,
    "a zip file": b"PK\x03\x04" + bytes(1000),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_archive_is_refused(name: str) -> None:
    started = time.monotonic()
    with pytest.raises(REFUSALS) as caught:
        read_bundle(io.BytesIO(PLAIN[name]), open_header)
    with pytest.raises(REFUSALS):
        stage(io.BytesIO(PLAIN[name]), io.BytesIO(), open_header)
    assert time.monotonic() - started < 2
    message = str(caught.value)
    assert message.isprintable() and 10 < len(message) < 1000


def test_there_are_more_than_sixty() -> None:
    assert len(PLAIN) > 120
    assert len(set(PLAIN.values())) == len(PLAIN)


def test_unbent_they_are_read() -> None:
    """So that each of the above is refused for what was bent, and for nothing else."""
    good = forged(header() + padded(b"hello") + B, LISTED)
    assert read_bundle(io.BytesIO(good), open_header).paths() == ("acks/a", "acks/b")
    assert a() == good


WRAPPED: Final[dict[str, bytes]] = {
    "gzip in gzip": gzip.compress(bundle_of(FILES, Wrap.GZIP)),
    "zstd in gzip": gzip.compress(bundle_of(FILES, Wrap.ZSTD)),
    "two gzip members, one archive": gzip.compress(GOOD[:3000]) + gzip.compress(GOOD[3000:]),
    "an empty gzip member before": gzip.compress(b"") + gzip.compress(GOOD),
    "an empty gzip member after": gzip.compress(GOOD) + gzip.compress(b""),
    "zeros after gzip": gzip.compress(GOOD) + bytes(10),
    "a gzip of nothing": gzip.compress(b""),
    "a gzip of too much": gzip.compress(GOOD + b"\0"),
    "a gzip of too little": gzip.compress(GOOD[:-1]),
    "gzip magic alone": b"\x1f\x8b",
    "gzip header alone": b"\x1f\x8b\x08" + bytes(7),
    "gzip without its trailer": gzip.compress(GOOD)[:-8],
    "gzip with another checksum": gzip.compress(GOOD)[:-8] + bytes(4) + gzip.compress(GOOD)[-4:],
    "gzip with another length": gzip.compress(GOOD)[:-4] + bytes(4),
    "gzip with an extra field": b"\x1f\x8b\x08\x04" + bytes(8) + gzip.compress(GOOD)[10:],
    "gzip with a comment": b"\x1f\x8b\x08\x10" + bytes(6) + b"a\0" + gzip.compress(GOOD)[10:],
    "gzip with a long file name": b"\x1f\x8b\x08\x08"
    + bytes(6)
    + b"a" * 256
    + b"\0"
    + gzip.compress(GOOD)[10:],
    "gzip with an endless file name": b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 1_000_000,
    "gzip of another method": b"\x1f\x8b\x07" + gzip.compress(GOOD)[3:],
    "compress(1)": b"\x1f\x9d\x90" + bytes(100),
    "xz": b"\xfd7zXZ\0" + bytes(100),
    "bzip2": b"BZh91AY&SY" + bytes(100),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapped_archive_is_refused(name: str) -> None:
    with pytest.raises(BundleError):
        stage(io.BytesIO(WRAPPED[name]), io.BytesIO(), open_header)


def test_a_gzip_made_by_others_is_read() -> None:
    assert stage(io.BytesIO(gzip.compress(GOOD)), io.BytesIO(), open_header).wrap is Wrap.GZIP
    for name in (b"", b"a.tar", b"a" * 255):  # as gzip(1) writes it, of the file it was given
        data = b"\x1f\x8b\x08\x08" + bytes(6) + name + b"\0" + gzip.compress(GOOD)[10:]
        destination = io.BytesIO()
        assert stage(io.BytesIO(data), destination, open_header).wrap is Wrap.GZIP
        assert destination.getvalue() == GOOD


@pytest.mark.parametrize(
    ("name", "is_supported"),
    [
        ("gzip with an extra field", False),
        ("gzip with a comment", False),
        ("gzip with an endless file name", True),
        ("gzip without its trailer", True),
    ],
)
def test_an_option_that_is_not_read_says_nothing_against_the_file(
    name: str, is_supported: bool
) -> None:
    with pytest.raises(BundleError) as caught:
        stage(io.BytesIO(WRAPPED[name]), io.BytesIO(), open_header)
    assert isinstance(caught.value, UnsupportedError) is not is_supported
