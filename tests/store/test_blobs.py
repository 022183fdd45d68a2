"""Blobs: named by their digest, durable in batches, re-hashed on every read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from unittest.mock import patch

import pytest

from appliance.errors import CorruptError, StoreError
from appliance.store.blobs import MAX_FSYNCED, Blobs
from tests.jobs.faults import Faults, PowerCutError, injected


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path / "blobs" / "sha256")
    made.create()
    return made


def names(blobs: Blobs) -> list[str]:
    return [file.path.name for file in blobs.files()]


def test_what_was_put_is_got_back_by_its_digest(blobs: Blobs) -> None:
    first, second = blobs.put([b"one", b"two"])
    assert (first, second) == (sha256(b"one").digest(), sha256(b"two").digest())
    assert (blobs.get(first), blobs.get(second)) == (b"one", b"two")
    assert blobs.path(first) == blobs.root / first.hex()[:2] / first.hex()
    assert blobs.put([]) == []


def test_putting_again_changes_nothing_and_creating_again_neither(blobs: Blobs) -> None:
    [digest] = blobs.put([b"one"])
    before = blobs.path(digest).stat()
    blobs.create()
    assert blobs.put([b"one", b"one"]) == [digest, digest]
    after = blobs.path(digest).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(names(blobs)) == 1


@pytest.mark.parametrize("error", [ValueError("wrong"), FileNotFoundError(2, "gone", "a source")])
def test_what_a_batch_raises_comes_out_and_leaves_nothing(blobs: Blobs, error: Exception) -> None:
    [kept] = blobs.put([b"two"])
    seen: list[int] = []

    def batch() -> Iterator[bytes]:
        yield from (b"one", b"two")
        seen.append(len(names(blobs)))
        raise error

    with pytest.raises(type(error)) as caught:
        blobs.put(batch())
    assert caught.value is error  # a source's file is no fault of the store
    assert seen == [2]  # each is written as it comes
    assert names(blobs) == [kept.hex()]


def test_nobody_else_can_read_them(blobs: Blobs) -> None:
    [digest] = blobs.put([b"one"])
    path = blobs.path(digest)
    assert path.stat().st_mode & 0o777 == 0o600
    for directory in (path.parent, blobs.root, blobs.root.parent):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_a_large_batch_is_flushed_with_its_filesystem(blobs: Blobs) -> None:
    data = [b"%d" % number for number in range(MAX_FSYNCED + 1)]
    faults = Faults()
    with injected(faults):
        digests = blobs.put(data)
    assert "fsync" not in faults.calls
    assert [blobs.get(digest) for digest in digests] == data


def test_without_syncfs_every_blob_is_flushed_by_itself(blobs: Blobs) -> None:
    faults = Faults()
    with injected(faults), patch("ctypes.CDLL", lambda *_, **__: object()):
        blobs.put([b"%d" % number for number in range(MAX_FSYNCED + 1)])
    assert faults.calls.count("fsync") > MAX_FSYNCED


def test_every_flipped_byte_is_found(blobs: Blobs) -> None:
    data = bytes(range(64))
    [digest] = blobs.put([data])
    path = blobs.path(digest)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CorruptError, match=digest.hex()) as caught:
            blobs.get(digest)
        assert caught.value.reason == "corrupt"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptError):
            blobs.get(digest)


def test_a_blob_that_is_not_here_is_named(blobs: Blobs) -> None:
    digest = sha256(b"never").digest()
    with pytest.raises(CorruptError, match=digest.hex()) as caught:
        blobs.get(digest)
    assert caught.value.reason == "blob-missing"
    assert blobs.file(digest) is None


def test_a_blob_that_cannot_be_read_is_the_store_s_fault(blobs: Blobs) -> None:
    digest = sha256(b"x").digest()
    blobs.path(digest).mkdir()
    with pytest.raises(CorruptError, match="no regular file"):
        blobs.get(digest)


def test_a_damaged_blob_is_written_anew(blobs: Blobs) -> None:
    [digest] = blobs.put([b"one"])
    for damage in (b"", b"onE", b"one more"):
        blobs.path(digest).write_bytes(damage)
        assert blobs.put([b"one"]) == [digest]
        assert blobs.get(digest) == b"one"


@pytest.mark.parametrize("after", [False, True])
def test_what_a_power_cut_leaves_is_put_right_by_the_next_run(blobs: Blobs, after: bool) -> None:
    data = [b"one", b"two", b"three"]
    digests = [sha256(one).digest() for one in data]
    with injected(Faults()) as counted:
        blobs.put(data)
    for file in list(blobs.files()):
        blobs.remove(file)
    for fail_at in range(1, len(counted.calls) + 1):
        with injected(Faults(fail_at, after=after)), pytest.raises(PowerCutError):
            blobs.put(data)
        for kept, file in enumerate(blobs.files()):
            # A name may have come to the disk, and its bytes not, or only the first of them.
            file.path.write_bytes(file.path.read_bytes()[:kept])
        assert blobs.put(data) == digests
        assert [blobs.get(digest) for digest in digests] == data
        for file in list(blobs.files()):
            blobs.remove(file)


def test_after_a_failed_flush_nothing_is_taken_for_durable(blobs: Blobs) -> None:
    # The kernel may forget what it could not write and call the next fsync a success.
    [old] = blobs.put([b"old"])
    with (
        injected(Faults(3, error=OSError(5, "Input/output error"))),
        pytest.raises(StoreError, match="Input/output error"),
    ):
        blobs.put([b"new", b"old"])
    assert names(blobs) == [old.hex()]
    assert blobs.get(old) == b"old"


def test_what_a_worker_could_not_flush_stays_for_whoever_holds_the_lock(blobs: Blobs) -> None:
    [old] = blobs.put([b"old"])
    new = sha256(b"new").digest()
    with injected(Faults(1, error=OSError(5, "Input/output error"))):
        assert not blobs.place([(new, b"new"), (old, b"old")])
    assert sorted(names(blobs)) == sorted([old.hex(), new.hex()])
    assert blobs.place([(new, b"new")]) and blobs.get(new) == b"new"


def test_a_link_that_leads_nowhere_is_replaced(blobs: Blobs) -> None:
    digest = sha256(b"one").digest()
    blobs.path(digest).symlink_to(blobs.root / "gone")
    assert blobs.put([b"one"]) == [digest]
    assert not blobs.path(digest).is_symlink() and blobs.get(digest) == b"one"
    assert names(blobs) == [digest.hex()]


def test_what_cannot_be_replaced_leaves_no_temporary_file(blobs: Blobs) -> None:
    [digest] = blobs.put([b"one"])
    blobs.path(digest).write_bytes(b"half")
    with (
        injected(Faults(1, error=OSError(5, "Input/output error"))) as faults,
        pytest.raises(StoreError),
    ):
        blobs.put([b"one"])
    assert faults.calls == ["rename"] and names(blobs) == [digest.hex()]
    assert blobs.path(digest).read_bytes() == b"half"  # a row may name it: damaged is not gone


def test_a_full_disk_leaves_no_temporary_file(blobs: Blobs) -> None:
    with (
        injected(Faults(1, error=OSError(28, "No space left on device"))),
        pytest.raises(StoreError) as caught,
    ):
        blobs.put([b"one"])
    assert caught.value.reason == "disk-full"
    assert names(blobs) == []


def test_a_full_disk_leaves_no_half_of_a_blob(blobs: Blobs) -> None:
    def full(descriptor: int, data: memoryview) -> int:
        if len(data) < 4:
            raise OSError(errno.ENOSPC, "no room")
        return real_write(descriptor, data[:4])

    real_write = os.write
    with patch("appliance.store.blobs.os.write", full), pytest.raises(StoreError):
        blobs.put([b"four", b"no more"])
    assert names(blobs) == []


def test_files_tells_blobs_from_leftovers_and_strangers(blobs: Blobs) -> None:
    [digest] = blobs.put([b"one"])
    place = blobs.path(digest).parent
    (place / f"{digest.hex()}.123.tmp").write_bytes(b"half")
    (place / "notes.txt").write_bytes(b"?")
    (blobs.root / "README").write_bytes(b"?")
    wrong_place = blobs.root / ("00" if digest[0] else "01") / digest.hex()
    wrong_place.write_bytes(b"one")
    found = {file.path: file for file in blobs.files()}
    assert len(found) == 5
    assert found[blobs.path(digest)].digest == digest
    assert found[blobs.path(digest)].n_bytes == 3
    assert found[wrong_place].digest is None
    temporary = [file.path.name for file in found.values() if file.is_temporary]
    assert temporary == [f"{digest.hex()}.123.tmp"]


def test_a_blob_directory_that_is_gone_is_the_store_s_fault(tmp_path: Path) -> None:
    missing = Blobs(tmp_path / "none")
    with pytest.raises(StoreError):
        list(missing.files())
    with pytest.raises(StoreError):
        missing.verify_writable()
    with pytest.raises(StoreError):
        missing.put([b"one"])


def test_writable_is_tried_and_leaves_nothing(blobs: Blobs) -> None:
    blobs.verify_writable()
    assert names(blobs) == []
    assert len(list(blobs.root.iterdir())) == 256
