from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import (
    ArgumentError,
    ConfigError,
    IncompleteError,
    MalformedError,
    StoreError,
)
from appliance.store.home.key_files import (
    KEYS_NAME,
    change_passphrase,
    create_signing_key,
    has_signing_key,
    key_is_encrypted,
    key_names,
    last_record_names,
    load_signing_key,
    read_last_record,
    swap_last_record,
)
from appliance.store.passphrases import NO_PASSPHRASES, Passphrase
from appliance.tlog.note import SigningKey

SEED = bytes(range(32))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir(mode=0o700)
    return tmp_path


def test_a_key_is_one_private_line_and_loads_again(home: Path) -> None:
    key = create_signing_key(home, "site.example", SEED)
    file = home / "keys" / "site.example.key"
    assert file.read_text() == key.skey + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_signing_key(home, "site.example") == key == SigningKey("site.example", SEED)
    assert has_signing_key(home, "site.example")
    assert not has_signing_key(home, "other")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_key_is_private_whatever_the_umask(home: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        create_signing_key(home, "a", SEED)
        swap_last_record(home, "a", expected=None, new=b"x")
    finally:
        os.umask(before)
    for name in ("a.key", "a.last"):
        assert stat.S_IMODE((home / "keys" / name).stat().st_mode) & 0o077 == 0


def test_a_key_is_never_overwritten(home: Path) -> None:
    create_signing_key(home, "a", SEED)
    with pytest.raises(ConfigError, match="a key named 'a' exists already") as caught:
        create_signing_key(home, "a", bytes(32))
    assert caught.value.reason == "key-exists"
    assert load_signing_key(home, "a").seed == SEED


def test_where_nothing_is_private_no_key_is_made(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_fat(descriptor: int) -> os.stat_result:
        mode, *rest = os.stat(descriptor)
        return os.stat_result((mode | 0o777, *rest))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", on_fat)
        with pytest.raises(ConfigError, match=r"is open to others \(mode 0777\)"):
            create_signing_key(home, "a", SEED)
    assert key_names(home) == ()


def test_a_dangling_link_is_not_followed(home: Path, tmp_path: Path) -> None:
    (home / "keys" / "a.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="exists already"):
        create_signing_key(home, "a", SEED)
    assert not (tmp_path / "elsewhere").exists()
    assert has_signing_key(home, "a")


def test_a_missing_key_says_how_to_make_one(home: Path) -> None:
    with pytest.raises(IncompleteError, match="no key 'a' in") as caught:
        load_signing_key(home, "a")
    assert caught.value.next_step.startswith("see 'attestor key list'")


@pytest.mark.parametrize("mode", [0o601, 0o604, 0o610, 0o620, 0o640, 0o644, 0o660, 0o666, 0o777])
def test_a_key_open_to_others_is_refused_with_the_chmod_to_run(home: Path, mode: int) -> None:
    create_signing_key(home, "a", SEED)
    file = home / "keys" / "a.key"
    file.chmod(mode)
    with pytest.raises(ConfigError, match=rf"is open to others \(mode {mode:04o}\)") as caught:
        load_signing_key(home, "a")
    assert caught.value.reason == "key-permissions"
    assert f"chmod 600 {file}" in caught.value.next_step


def test_a_link_to_a_key_is_refused(home: Path) -> None:
    create_signing_key(home, "a", SEED)
    (home / "keys" / "b.key").symlink_to(home / "keys" / "a.key")
    with pytest.raises(ConfigError, match="is a symbolic link") as caught:
        load_signing_key(home, "b")
    assert caught.value.reason == "key-permissions"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_user_is_refused(home: Path) -> None:
    create_signing_key(home, "a", SEED)
    os.chown(home / "keys" / "a.key", 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to user 12345, not to us") as caught:
        load_signing_key(home, "a")
    assert caught.value.reason == "key-permissions"


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path, 0o600), lambda path: path.mkdir()])
def test_what_is_no_file_is_refused_without_waiting(
    home: Path, make: Callable[[Path], None]
) -> None:
    make(home / "keys" / "a.key")
    with pytest.raises(ConfigError, match="is not a regular file") as caught:
        load_signing_key(home, "a")
    assert caught.value.reason == "key-permissions"


def test_a_key_under_another_name_is_refused(home: Path) -> None:
    create_signing_key(home, "a", SEED)
    (home / "keys" / "a.key").rename(home / "keys" / "b.key")
    with pytest.raises(MalformedError, match="holds the key of 'a'"):
        load_signing_key(home, "b")


def test_a_damaged_key_is_refused_and_never_quoted(home: Path) -> None:
    secret = create_signing_key(home, "a", SEED).skey.rpartition("+")[2]
    file = home / "keys" / "a.key"
    whole = file.read_bytes()
    for damaged in [whole[:length] for length in range(len(whole) - 1)] + [whole + b"x", b"\xff"]:
        file.write_bytes(damaged)
        with pytest.raises(MalformedError) as caught:
            load_signing_key(home, "a")
        assert secret[:10] not in caught.value.message
    file.write_bytes(b"x" * 5000)
    with pytest.raises(MalformedError, match="is larger than 4096 bytes"):
        load_signing_key(home, "a")


BAD_NAMES = ["", ".", "..", "../a", "a/b", "/a", ".a", "-a", "a b", "a\n", "a\0", "a+b", "\u00e9"]


@pytest.mark.parametrize("name", [*BAD_NAMES, "x" * 101])
def test_names_that_are_no_file_names_are_refused(home: Path, name: str) -> None:
    for use in (
        lambda: create_signing_key(home, name, SEED),
        lambda: load_signing_key(home, name),
        lambda: has_signing_key(home, name),
        lambda: read_last_record(home, name),
        lambda: swap_last_record(home, name, expected=None, new=b""),
    ):
        with pytest.raises(ArgumentError, match="not a key name") as caught:
            use()
        assert caught.value.reason == "key-name"


@given(st.text(max_size=8))
def test_no_name_leads_out_of_the_directory(name: str) -> None:
    home = Path("/nowhere")
    try:
        assert not has_signing_key(home, name)
    except ArgumentError:
        return
    assert (home / "keys" / f"{name}.key").parent == home / "keys"
    assert os.path.normpath(home / "keys" / f"{name}.key") == f"/nowhere/keys/{name}.key"


def test_a_seed_of_another_length_is_a_bug_and_leaves_nothing(home: Path) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        create_signing_key(home, "a", bytes(31))
    assert key_names(home) == ()


def test_names_are_listed_in_order_and_records_are_not_keys(home: Path) -> None:
    for name in ("b", "a.example", "c.last"):
        create_signing_key(home, name, SEED)
    swap_last_record(home, "b", expected=None, new=b"x")
    assert key_names(home) == ("a.example", "b", "c.last")
    assert last_record_names(home) == ("b",)


def test_without_a_directory_there_is_nothing_to_list(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        key_names(tmp_path)
    with pytest.raises(StoreError, match="No such file"):
        create_signing_key(tmp_path, "a", SEED)


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_what_lies_where_a_new_file_is_written_is_never_written_into(
    home: Path, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    """Else another's file is overwritten, or a new key is as readable as the old file was."""
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"another's")
    foreign.chmod(0o644)
    create_signing_key(home, "log", SEED)
    swap_last_record(home, "log", expected=None, new=b"one")
    for name in ("log.key.tmp", "log.last.tmp"):
        link(foreign, home / KEYS_NAME / name)
    change_passphrase(
        home, "log", NO_PASSPHRASES, Passphrase(b"long enough, and a secret", Path("p"))
    )
    swap_last_record(home, "log", expected=b"one", new=b"two")
    assert foreign.read_bytes() == b"another's"
    for name in ("log.key", "log.last"):
        status = (home / KEYS_NAME / name).lstat()
        assert stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600
    assert key_is_encrypted(home, "log")


def test_the_last_record_is_compared_and_swapped(home: Path) -> None:
    assert read_last_record(home, "log") is None
    swap_last_record(home, "log", expected=None, new=b"one")
    assert read_last_record(home, "log") == b"one"
    for wrong in (None, b"", b"on", b"two"):
        with pytest.raises(StoreError, match="is not what it was") as caught:
            swap_last_record(home, "log", expected=wrong, new=b"three")
        assert caught.value.reason == "last-record"
        assert read_last_record(home, "log") == b"one"
    swap_last_record(home, "log", expected=b"one", new=b"two")
    assert read_last_record(home, "log") == b"two"
    assert sorted(path.name for path in (home / "keys").iterdir()) == ["log.last"]


def test_a_last_record_open_to_others_is_refused(home: Path) -> None:
    swap_last_record(home, "log", expected=None, new=b"one")
    (home / "keys" / "log.last").chmod(0o664)
    with pytest.raises(ConfigError, match="is open to others"):
        read_last_record(home, "log")


class Fault:
    """Fails the nth durable call, before or after it took effect."""

    def __init__(self, nth: int, *, after: bool) -> None:
        self.left = nth
        self.after = after

    def around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.left -= 1
            if self.left != 0:
                return real(*arguments, **keywords)
            if self.after:
                real(*arguments, **keywords)
            raise OSError(28, "No space left on device")

        return call

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(os, "fsync", self.around(os.fsync))
        patch.setattr(Path, "rename", self.around(Path.rename))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_failed_swap_leaves_one_record_or_the_other_and_a_retry_completes(
    home: Path, monkeypatch: pytest.MonkeyPatch, nth: int, after: bool
) -> None:
    swap_last_record(home, "log", expected=None, new=b"one")
    with monkeypatch.context() as patch:
        Fault(nth, after=after).install(patch)
        with pytest.raises(StoreError, match="No space left"):
            swap_last_record(home, "log", expected=b"one", new=b"two")
    now = read_last_record(home, "log")
    assert now in (b"one", b"two")
    swap_last_record(home, "log", expected=now, new=b"three")
    assert read_last_record(home, "log") == b"three"
    assert last_record_names(home) == ("log",)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_key_that_may_not_be_durable_is_not_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch, nth: int, after: bool
) -> None:
    with monkeypatch.context() as patch:
        Fault(nth, after=after).install(patch)
        with pytest.raises(StoreError, match="No space left"):
            create_signing_key(home, "a", SEED)
    assert key_names(home) == ()
    assert create_signing_key(home, "a", SEED) == load_signing_key(home, "a")


def test_a_home_whose_keys_are_no_directory(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"")
    with pytest.raises(StoreError, match="Not a directory"):
        load_signing_key(tmp_path, "a")
