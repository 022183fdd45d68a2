"""The format document shows what the code writes and names what it raises."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

import bundles
from bundles import header, members, paths, reader, stream, strict_json, sums, ustar, wrap, writer
from bundles.manifest import MAX_MEMBERS
from bundles.manifest_json import format_manifest
from tests.bundles.samples import FILES, KEY, MANIFEST, bundle_of, read

README: Final = (Path(next(iter(bundles.__path__))) / "README.md").read_text(encoding="utf-8")
GOOD: Final = bundle_of(FILES)


def indented(text: str) -> str:
    return "".join(
        f"    {line}\n" if line else "\n" for line in text.removesuffix("\n").split("\n")
    )


def test_the_example_is_the_sample() -> None:
    bundle = read(GOOD)
    assert indented(bundle.note.decode()) in README
    assert indented(KEY.verifier.vkey) in README
    manifest = json.loads(format_manifest(MANIFEST))
    assert indented(json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False)) in README
    lines = {path: f"{member.sha256.hex()}  {path}" for path, member in bundle.members.items()}
    assert indented("\n".join(lines.values())) in README


def test_the_listing_is_what_tar_says(tmp_path: Path) -> None:
    (tmp_path / "bundle.tar").write_bytes(GOOD)
    command = ["tar", "--numeric-owner", "--utc", "-tvf", "bundle.tar"]
    listing = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"    $ {' '.join(command)}\n{indented(listing.stdout)}" in README


def test_the_commands_of_the_example_find_it_good(tmp_path: Path) -> None:
    commands = re.search(r"as `key\.pem`:\n\n((?:    .*\n)+)", README)
    assert commands is not None
    (tmp_path / "bundle.tar").write_bytes(GOOD)
    (tmp_path / "key.der").write_bytes(bytes.fromhex("302a300506032b6570032100") + KEY.verifier.key)
    convert = "openssl pkey -pubin -inform DER -in key.der -out key.pem\n"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", convert + commands[1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    digests = [line.split(" ")[0] for line in done.stdout.splitlines()[:2]]
    assert digests == (tmp_path / "header").read_text(encoding="utf-8").splitlines()[1:3]
    assert done.stdout.count(": OK\n") == len(FILES)
    assert done.stdout.endswith("Signature Verified Successfully\n")


def test_every_key_and_reason_is_explained() -> None:
    for key in json.loads(format_manifest(MANIFEST)):
        assert f"`{key}" in README, key
    sources = [inspect.getsource(module) for module in (header, reader, stream, strict_json, sums)]
    sources += [inspect.getsource(module) for module in (members, paths, ustar, wrap, writer)]
    for reason in re.findall(r'reason="([a-z-]+)"', "".join(sources)):
        assert f"`{reason}`" in README, reason


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (header.MAX_HEADER_BYTES, "64 KiB"),
        (ustar.MAX_MEMBER_BYTES, "64 MiB"),
        (sums.MAX_LINE_BYTES, "237 bytes"),
        (MAX_MEMBERS, "2,000,000"),
        (strict_json.MAX_VALUES, "262,144 values"),
        (strict_json.MAX_TEXT_CHARACTERS, "1,024 characters"),
        (strict_json.MAX_DEPTH, "16 levels"),
        (wrap.MAX_WINDOW_BYTES, "8 MiB"),
        (wrap.CHUNK_BYTES, "128 KiB"),
    ],
)
def test_every_limit_is_the_one_said(number: int, said: str) -> None:
    amount, unit = said.split(" ") if " " in said else (said, "")
    factor = {"KiB": 1024, "MiB": 1024**2}.get(unit, 1)
    assert number == int(amount.replace(",", "")) * factor
    assert said in README
