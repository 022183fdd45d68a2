"""Files from and for the outside: no links, no devices, no hanging; whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from appliance.errors import IncompleteError, LimitError, MalformedError, StoreError
from appliance.store.files import hash_file, open_foreign, read_foreign, staging_file, written_whole
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
        with pytest.raises(MalformedError) as caught, open_foreign(path):
            pass
        assert caught.value.reason == "not-a-file", path
    with pytest.raises(IncompleteError) as missing:
        read_foreign(tmp_path / "none", 1)
    assert missing.value.reason == "no-file"


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
