"""check.py against whatever somebody puts into a pack: an answer, in time, no false yes."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.cli.divergence import evidence_check
from tests.bounds.test_claimed_sizes import bounded
from tests.cli.mirrored import MirroredHome
from tests.divergence.test_evidence_pack import caught, checked

MEMBERS: Final = ("evidence.json", "ours.note", "theirs.note")
HOSTILE: Final[tuple[Any, ...]] = (
    *(None, True, 0, -1, 2**70, 1e308, "", "x", "\x1b[2J\u202e", [], {}, [[]], {"hashes": {}}),
    *("A" * 100_000, "MCowBQYDK2VwAyEA" + "A" * 43 + "=", "sha256:" + "0" * 64),
    *("HASHES", "MD5", "SHAKE128", "HashAlgorithm", "__class__"),
)
# Without these as they are, nothing is proven.
NEEDED: Final = {
    ("keys",),
    ("keys", 0),
    ("keys", 0, "publicKey"),
    ("keys", 0, "name"),
    ("keys", 0, "keyId"),
    ("consistencyProof",),
    ("consistencyProof", "oldRootHash"),
    ("consistencyProof", "hashes"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made")
    capture: Any = None
    home = MirroredHome(directory / "home", capture, "connected")
    home.sync(100)
    twin = home.log.fork(at=60)
    twin.grow(30)
    caught(home, twin)
    pack = directory / "pack"
    from appliance.cli.main import run

    with redirect_stdout(io.StringIO()):
        assert run(["alerts", "export", "1", "--output", str(pack)], home.app) == 0
    return pack


@pytest.fixture
def pack(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "pack"))


def answer(pack: Path) -> int:
    """Ask in this process: whatever the pack is, one of three codes, and text that prints."""
    shown = io.StringIO()
    with redirect_stdout(shown), bounded(20):
        code = evidence_check._main([pack])
    assert code in (0, 1, 2)
    assert all(line.isprintable() for line in shown.getvalue().splitlines())
    return code


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[name], (*path, name))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    made = copy.copy(value)
    made[path[0]] = changed(value[path[0]], path[1:], new)
    return made


def test_no_value_in_the_facts_ends_it_or_makes_a_proof(pack: Path) -> None:
    facts = json.loads((pack / "evidence.json").read_text())
    assert answer(pack) == 0
    for path in places(facts):
        used = path[:1] in ((), ("keys",), ("consistencyProof",))
        for new in HOSTILE if used else HOSTILE[:2]:
            (pack / "evidence.json").write_text(json.dumps(changed(facts, path, new)))
            code = answer(pack)
            is_needed = path in NEEDED or path[:2] == ("consistencyProof", "hashes")
            assert code != 0 or not is_needed, (path, new)


TEXTS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "deep": lambda _: b"[" * 200_000,
    "deep in a member": lambda raw: raw.replace(b'"keys": [', b'"keys": [' + b"[" * 100_000, 1),
    "a large number": lambda _: b'{"keys": ' + b"9" * 100_000 + b"}",
    "not UTF-8": lambda _: b"\xff\xfe\x00",
    "with a mark": lambda raw: b"\xef\xbb\xbf" + raw,
    "nothing": lambda _: b"",
    "another type": lambda _: b'"keys"',
    "17 MiB": lambda raw: raw + b" " * (17 << 20),
}


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("name", MEMBERS)
def test_no_bytes_of_a_member_end_it_or_make_a_proof(pack: Path, name: str, case: str) -> None:
    raw = (pack / name).read_bytes()
    (pack / name).write_bytes(TEXTS[case](raw))
    assert answer(pack) == 1 or (pack / name).read_bytes() == raw


def test_what_is_cut_or_flipped_is_no_proof(pack: Path) -> None:
    dice = random.Random(7)  # noqa: S311 the same every time
    for name in MEMBERS:
        raw = (pack / name).read_bytes()
        for _ in range(60):
            (pack / name).write_bytes(raw[: dice.randrange(len(raw) - 1)])
            assert answer(pack) == 1, name
            flipped = bytearray(raw)
            flipped[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
            (pack / name).write_bytes(flipped)
            # What the facts tell besides proves nothing, changed or not.
            assert answer(pack) != 0 or name == "evidence.json"
        (pack / name).write_bytes(raw)
    assert answer(pack) == 0


def is_fifo(path: Path) -> None:
    os.mkfifo(path)


def is_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


KINDS: Final[dict[str, Callable[[Path], None]]] = {
    "missing": lambda _: None,
    "a directory": lambda path: path.mkdir(),
    "a FIFO": is_fifo,
    "2^40 bytes": is_sparse,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MEMBERS)
def test_what_is_no_file_of_its_size_is_not_read(pack: Path, name: str, kind: str) -> None:
    (pack / name).unlink()
    KINDS[kind](pack / name)
    assert answer(pack) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_is_no_file_never_means_that_any_key_will_do(
    pack: Path, tmp_path: Path, kind: str
) -> None:
    """A directory of keys counts as none of them: it would be taken for a second pack."""
    KINDS[kind](tmp_path / "key.pem")
    with bounded(20), redirect_stdout(io.StringIO()):
        assert evidence_check._main([pack, tmp_path / "key.pem"]) == 1


def test_a_key_of_an_algorithm_that_is_not_supported_is_an_answer(pack: Path) -> None:
    facts = json.loads((pack / "evidence.json").read_text())
    # A key on secp192k1, as DER: there is such a curve, and nobody verifies with it.
    facts["keys"][0]["publicKey"] = (
        "MEYwEAYHKoZIzj0CAQYFK4EEAB8DMgAE2/8O6bVuV3BPVXxJMqTpJ+TUp5xVRLC7"
        "nC9WVS/Gqg6bLy+VYi5dnZudqIZGqp0d"
    )
    (pack / "evidence.json").write_text(json.dumps(facts))
    code, said = checked(pack, bare=True)
    assert (code, said.startswith("NO: ")) == (1, True)
