"""Digests as they are typed, and lists of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from appliance.errors import ArgumentError
from appliance.rekor.signing_algorithms import DIGEST_BYTES
from appliance.store.files import read_given
from appliance.tlog.strict_json import check_encoding

_BY_HEX_DIGITS: Final = {2 * n_bytes: n_bytes for n_bytes in DIGEST_BYTES.values()}
_MAX_LIST_BYTES: Final = 16 * 1024 * 1024


def read_digest(text: str, option: str) -> bytes:
    """Read a digest in hex, with or without its algorithm; raises BadParameter."""
    algorithm, colon, digits = text.rpartition(":")
    n_bytes = _BY_HEX_DIGITS.get(len(digits))
    known = not colon or DIGEST_BYTES.get(algorithm.lower()) == n_bytes
    if n_bytes is None or not known or not re.fullmatch("[0-9a-fA-F]+", digits):
        raise click.BadParameter(
            f"expected a SHA-256, SHA-384 or SHA-512 digest in hex, got {text[:80]!r}",
            param_hint=option,
        )
    return bytes.fromhex(digits)


def read_fingerprint(text: str) -> bytes:
    """Read the SHA-256 of a key or certificate, in any case, with or without colons."""
    digits = text.replace(":", "")
    if not re.fullmatch("[0-9a-fA-F]{64}", digits):
        raise click.BadParameter(
            f"expected the 64 hex digits of a SHA-256, got {text[:80]!r}",
            param_hint="--fingerprint",
        )
    return bytes.fromhex(digits)


def check_commit(text: str) -> None:
    """Raise BadParameter unless a text is a commit as certificates have it: never shortened."""
    if not re.fullmatch("[0-9a-fA-F]{40}|[0-9a-fA-F]{64}", text):
        raise click.BadParameter(
            f"expected all 40 or 64 hex digits of a commit, got {text[:80]!r}: 'git rev-parse"
            " NAME' prints them",
            param_hint="--commit",
        )


def read_digest_list(path: Path) -> list[bytes]:
    """Read the digests of a list as sha256sum and sha512sum write it; raises ArgumentError.

    A list in another encoding is RefusedError: nothing is wrong with the digests in it.
    """
    found = []
    for number, line in lines_of(path):
        digest = listed_digest(line)
        if digest is None:
            raise ArgumentError(
                f"{path}, line {number}: expected a digest and a file name, got {line[:80]!r}",
                reason="digest-list",
                next_step="make the list with sha256sum",
            )
        found.append(digest)
    if not found:
        raise empty_list(path)
    return found


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a list ("-": of standard input) that are not blank, by their numbers.

    Names of files are any bytes: what is no UTF-8 comes as surrogates, which no text of an
    entry has. Nor do they end at what Unicode calls the end of a line.
    """
    raw = read_given(path, _MAX_LIST_BYTES)
    check_encoding(raw, str(path))
    for number, line in enumerate(raw.splitlines(), 1):
        if line.strip():
            yield number, line.decode("utf-8", "surrogateescape")


def listed_digest(line: str) -> bytes | None:
    """Return the digest of a line as sha256sum and its like write it; None: it is none."""
    match = re.match(r"\\?([0-9a-fA-F]+)(?:$| [ *].)", line)
    if match is None or len(match[1]) not in _BY_HEX_DIGITS:
        return None
    return bytes.fromhex(match[1])


def empty_list(path: Path, wanted: str = "digest") -> ArgumentError:
    """Return the error that says that a list has nothing in it."""
    return ArgumentError(
        f"{path}: no {wanted} in it",
        reason="digest-list",
        next_step="look at what writes it: sha256sum FILE... > SHA256SUMS",
    )
