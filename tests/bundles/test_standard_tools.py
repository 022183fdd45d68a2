"""A transfer bundle is checked with none of our code: tar, sha256sum, openssl, gzip, zstd."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from bundles.reader import stage
from bundles.wrap import Wrap
from tests.bundles.samples import FILES, KEY, LOG, bundle_of, open_header

TOOLS = ("tar", "sha256sum", "openssl", "gzip", "zstd")
LONG_NAMES = {
    f"{LOG}/tile/entries/x123/x456/x789/x012/345.p/255.zst": b"in no name field of 100 bytes",
    **FILES,
}


@pytest.fixture(autouse=True)
def _tools() -> None:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def run(directory: Path, *command: str, stdin: bytes | None = None) -> bytes:
    done = subprocess.run(
        command, cwd=directory, input=stdin, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    return done.stdout


@pytest.mark.parametrize("wrap", Wrap)
def test_tar_and_sha256sum_find_it_good(wrap: Wrap, tmp_path: Path) -> None:
    files = LONG_NAMES
    name = f"bundle.{wrap.value}"
    (tmp_path / name).write_bytes(bundle_of(files, wrap))
    listed = run(tmp_path, "tar", "-tf", name).decode().splitlines()
    assert listed == ["header", "manifest.json", "SHA256SUMS", *files]
    verbose = run(tmp_path, "tar", "--utc", "--numeric-owner", "-tvf", name).decode().splitlines()
    assert all(line.startswith("-rw-r--r-- 0/0 ") for line in verbose)
    assert all(" 1970-01-01 00:00 " in line for line in verbose)
    run(tmp_path, "tar", "-xf", name)
    checked = run(tmp_path, "sha256sum", "--check", "--strict", "SHA256SUMS").decode()
    assert checked == "".join(f"{path}: OK\n" for path in files)
    assert {path: (tmp_path / path).read_bytes() for path in files} == files


def test_sha256sum_finds_what_was_changed(tmp_path: Path) -> None:
    (tmp_path / "bundle.tar").write_bytes(bundle_of(FILES))
    run(tmp_path, "tar", "-xf", "bundle.tar")
    (tmp_path / "pending/a.json").write_bytes(b"!")
    done = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"pending/a.json: FAILED\n" in done.stdout


def test_the_header_pins_what_sha256sum_says(tmp_path: Path) -> None:
    (tmp_path / "bundle.tar").write_bytes(bundle_of(FILES))
    run(tmp_path, "tar", "-xf", "bundle.tar")
    sums = run(tmp_path, "sha256sum", "manifest.json", "SHA256SUMS").decode().splitlines()
    lines = (tmp_path / "header").read_text().split("\n")
    assert lines[:3] == ["attestor-transfer/v1", sums[0][:64], sums[1][:64]]


def test_openssl_verifies_the_header(tmp_path: Path) -> None:
    (tmp_path / "bundle.tar").write_bytes(bundle_of(FILES))
    run(tmp_path, "tar", "-xf", "bundle.tar", "header")
    text, _, signature_line = (tmp_path / "header").read_bytes().partition(b"\n\n")
    (tmp_path / "text").write_bytes(text + b"\n")
    signature = base64.b64decode(signature_line.split(b" ")[2])[4:]  # after the key id
    (tmp_path / "signature").write_bytes(signature)
    spki = bytes.fromhex("302a300506032b6570032100") + KEY.verifier.key
    (tmp_path / "key.der").write_bytes(spki)
    verify = "openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey key.der -in text"
    answer = run(tmp_path, *verify.split(), "-sigfile", "signature")
    assert answer == b"Signature Verified Successfully\n"


def test_gnu_tar_would_write_the_same_bytes(tmp_path: Path) -> None:
    """With nothing that needs the prefix field, which tar fills only when it must."""
    files = {"pending/a.json": b"{}", "acks/b": bytes(1000)}
    ours = bundle_of(files)
    (tmp_path / "bundle.tar").write_bytes(ours)
    run(tmp_path, "tar", "-xf", "bundle.tar")
    options = "--format=ustar --blocking-factor=1 --owner=0 --group=0 --numeric-owner --mode=644"
    names = ["header", "manifest.json", "SHA256SUMS", *files]
    run(tmp_path, "tar", *options.split(), "--mtime=@0", "-cf", "again.tar", *names)
    assert (tmp_path / "again.tar").read_bytes() == ours


@pytest.mark.parametrize(
    ("wrap", "command"),
    [
        (Wrap.GZIP, "gzip --no-name --stdout bundle.tar"),
        (Wrap.GZIP, "gzip --no-name -1 --stdout bundle.tar"),
        (Wrap.ZSTD, "zstd --quiet --stdout bundle.tar"),
        (Wrap.ZSTD, "zstd --quiet -19 --no-check --stdout bundle.tar"),
        (Wrap.ZSTD, "zstd --quiet -T2 --stdout bundle.tar"),
    ],
)
def test_what_the_tools_wrap_is_unwrapped(wrap: Wrap, command: str, tmp_path: Path) -> None:
    plain = bundle_of({"acks/a": bytes(range(256)) * 20_000, "acks/b": bytes(10_000_000)})
    (tmp_path / "bundle.tar").write_bytes(plain)
    wrapped = run(tmp_path, *command.split())
    destination = io.BytesIO()
    info = stage(io.BytesIO(wrapped), destination, open_header)
    assert (info.wrap, info.sha256) == (wrap, hashlib.sha256(wrapped).digest())
    assert destination.getvalue() == plain


@pytest.mark.parametrize(("wrap", "tool"), [(Wrap.GZIP, "gzip"), (Wrap.ZSTD, "zstd")])
def test_the_tools_unwrap_what_we_wrap(wrap: Wrap, tool: str, tmp_path: Path) -> None:
    wrapped = bundle_of(FILES, wrap)
    assert run(tmp_path, tool, "-dc", stdin=wrapped) == bundle_of(FILES)
