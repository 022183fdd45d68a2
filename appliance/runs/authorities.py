"""Certificates of authorities in a PEM file that somebody names beside the trusted root."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from appliance.errors import LimitError, MalformedError
from appliance.rekor.x509_certificate import load_certificate, pem_certificate_der
from appliance.runs.exit_codes import naming
from appliance.sigstore.named_authorities import named_authorities
from appliance.store.files import read_foreign
from appliance.tlog.strict_json import check_encoding

MAX_AUTHORITIES: Final = 32  # certificates of roots, and of intermediates
_MAX_BYTES: Final = 256 * 1024
_BEGINS: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----")
_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL
)


def read_authorities(
    roots: Sequence[Path], intermediates: Sequence[Path]
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return the certificates of roots' and of intermediates' files as DER, each once.

    Raises MalformedError (bad-certificate) if there is none in a file, or one is cut short or
    cannot be read, RefusedError for text in another encoding, LimitError for more than 32 of a
    kind, or for more paths between them than are tried.
    """
    found = _read_all(roots), _read_all(intermediates)
    with naming(", ".join(map(str, roots))):
        named_authorities(*found)
    return found


def _read_all(paths: Sequence[Path]) -> tuple[bytes, ...]:
    found: list[bytes] = []
    for path in paths:
        with naming(path):
            raw = read_foreign(path, _MAX_BYTES)
            check_encoding(raw.removeprefix(codecs.BOM_UTF8), str(path))
            blocks, begun = _CERTIFICATE.findall(raw), len(_BEGINS.findall(raw))
            if not blocks or len(blocks) != begun:
                whole = f"{len(blocks)} of the {begun} that begin" if begun else "none"
                raise MalformedError(
                    f"{path}: expected certificates as PEM, found {whole}",
                    reason="bad-certificate",
                    next_step="name a file of certificates: -----BEGIN CERTIFICATE-----",
                )
            if (count := len(found) + len(blocks)) > MAX_AUTHORITIES:
                before = " with those of the files before it" if found else ""
                raise LimitError(
                    f"{path}: {count} certificates{before}, at most {MAX_AUTHORITIES} are taken",
                    next_step="leave only the authorities that issued what is looked for",
                )
            for number, block in enumerate(blocks, 1):
                what = f"{path}: certificate {number}"
                found.append(pem_certificate_der(block, what))
                load_certificate(found[-1], what)
    return tuple(dict.fromkeys(found))
