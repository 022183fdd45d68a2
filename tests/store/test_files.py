"""Files from and for the outside: no links, no devices, no hanging; whole or not at all."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from appliance.errors import IncompleteError, LimitError, RefusedError, StoreError
from appliance.store import files
from appliance.store.files import (
    given_lines,
    hash_file,
    open_foreign,
    open_given,
    read_foreign,
    read_given,
    staging_file,
    written_whole,
)
from tests.jobs.faults import Faults, PowerCutError, injected


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_foreign(path, 5) == b"12345"
    with pytest.raises(LimitError, match="4 bytes"):
        read_foreign(path, 4)
    assert hash_file(path, ["sha256", "sha512"]) == {
        "sha256": hashlib.sha256(b"12345").digest(),
        "sha512": hashlib.sha512(b"12345").digest(),
    }


def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    paths = [tmp_path / name for name in ("link", "dangling", "fifo", "directory")]
    for path in [*paths, Path("/dev/zero"), Path("/dev/null")]:
        with pytest.raises(RefusedError) as caught, open_foreign(path):
            pass
        assert caught.value.reason == "not-a-file", path
    with pytest.raises(IncompleteError) as missing:
        read_foreign(tmp_path / "none", 1)
    assert missing.value.reason == "no-file"


def test_what_the_operator_names_may_be_a_link_or_a_pipe(tmp_path: Path) -> None:
    real, link = tmp_path / "app-1.2.tar.gz", tmp_path / "app-latest.tar.gz"
    real.write_bytes(b"release")
    link.symlink_to(real.name)
    assert read_given(link, 7) == b"release"
    assert hash_file(link, ["sha256"]) == hash_file(real, ["sha256"])
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(b"through a pipe",))
    writer.start()
    assert read_given(fifo, 100) == b"through a pipe"
    writer.join()
    with pytest.raises(LimitError):
        read_given(link, 6)


def test_what_leads_nowhere_or_is_no_file_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "none")
    with pytest.raises(IncompleteError, match=r"leads to .*none, which is not there"):
        read_given(dangling, 1)
    for path in (tmp_path, Path("/dev/null"), Path("/dev/zero")):
        with pytest.raises(RefusedError) as caught, open_given(path):
            pass
        assert caught.value.reason == "not-a-file", path
    monkeypatch.setattr(files, "PIPE_SECONDS", 0)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(IncompleteError, match="nothing came through the pipe"):
        read_given(tmp_path / "fifo", 1)


def test_lines_come_one_by_one_with_either_end(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"one\r\ntwo\n\nthree")
    assert list(given_lines(path, 10)) == [b"one", b"two", b"", b"three"]
    with pytest.raises(LimitError):
        list(given_lines(path, 3))


def test_staging_has_no_name_and_is_ours_alone(tmp_path: Path) -> None:
    with staging_file(tmp_path) as file:
        file.write(b"secret")
        file.seek(0)
        assert file.read() == b"secret"
        assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600
        assert list((tmp_path / "staging").iterdir()) == []
    with pytest.raises(StoreError), staging_file(tmp_path / "none"):
        pass


def test_a_written_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with written_whole(path) as file:
        file.write(b"half")
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    with pytest.raises(StoreError) as caught, written_whole(path):
        pass
    assert caught.value.reason == "file-exists"
    with written_whole(path, replace=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("after", [False, True])
def test_a_failure_leaves_the_old_file_or_the_new_and_nothing_beside(
    tmp_path: Path, after: bool
) -> None:
    path = tmp_path / "out"
    for error in (PowerCutError(), OSError(28, "No space left on device"), KeyError("ours")):
        for fail_at in (1, 2, 3):
            path.write_bytes(b"old")
            expected = StoreError if isinstance(error, OSError) else type(error)
            with (
                injected(Faults(fail_at, after=after, error=error)),
                pytest.raises(expected),
                written_whole(path, replace=True) as file,
            ):
                file.write(b"new")
            assert path.read_bytes() in (b"old", b"new")
            assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_an_exception_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), written_whole(tmp_path / "out") as file:
        file.write(b"half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
