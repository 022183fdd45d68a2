"""Certificates of authorities in a PEM file that somebody names beside the trusted root."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from appliance.errors import LimitError, MalformedError
from appliance.rekor.x509_certificate import load_certificate, pem_certificate_der
from appliance.runs.exit_codes import naming
from appliance.store.files import read_foreign

MAX_AUTHORITIES: Final = 32  # certificates of one file
_MAX_BYTES: Final = 256 * 1024
_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL
)


def read_authorities(path: Path) -> tuple[bytes, ...]:
    """Return the certificates of a file as DER, each once.

    Raises MalformedError (bad-certificate) if there is none or one cannot be read, LimitError for
    more than 32.
    """
    with naming(path):
        blocks = _CERTIFICATE.findall(read_foreign(path, _MAX_BYTES))
        if not blocks:
            raise MalformedError(
                f"{path}: expected certificates as PEM, found none",
                reason="bad-certificate",
                next_step="name a file of certificates: -----BEGIN CERTIFICATE-----",
            )
        if len(blocks) > MAX_AUTHORITIES:
            raise LimitError(
                f"{path}: {len(blocks)} certificates, at most {MAX_AUTHORITIES} are taken",
                next_step="leave only the authorities that issued what is looked for",
            )
        found = []
        for number, block in enumerate(blocks, 1):
            what = f"{path}: certificate {number}"
            found.append(pem_certificate_der(block, what))
            load_certificate(found[-1], what)
        return tuple(dict.fromkeys(found))
