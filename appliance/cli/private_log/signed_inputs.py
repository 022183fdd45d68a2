"""The parts of a signature as files: what was signed, the signature, the key or certificate."""

from __future__ import annotations

import hashlib
from pathlib import Path

from appliance.errors import MalformedError
from appliance.rekor.entry import Digest
from appliance.rekor.request import load_material_key
from appliance.rekor.signing_algorithms import natural_algorithm
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.rekor.x509_certificate import pem_certificate_der
from appliance.runs.exit_codes import naming
from appliance.store.files import open_foreign, read_foreign
from appliance.tlog.note_keys import load_public_key_file
from appliance.tlog.strict_base64 import decode_base64

MAX_SMALL_FILE_BYTES = 1024 * 1024  # keys, certificates, signatures
READ_BYTES = 1024 * 1024


def read_verifier(key: Path | None, certificate: Path | None) -> VerifierMaterial:
    """Read the one of them that is given: a public key or a certificate, PEM or DER.

    Raises MalformedError if it is none.
    """

    if certificate is not None:
        return VerifierMaterial(_certificate_der(certificate), is_certificate=True)
    return VerifierMaterial(_key_der(key or Path()), is_certificate=False)


def _key_der(path: Path) -> bytes:

    with naming(path):
        return load_public_key_file(read_foreign(path, MAX_SMALL_FILE_BYTES))


def _certificate_der(path: Path) -> bytes:
    data = read_foreign(path, MAX_SMALL_FILE_BYTES)
    if not data.lstrip().startswith(b"-----BEGIN"):
        return data
    return pem_certificate_der(data, str(path))


def read_signature(path: Path) -> bytes:
    """Read a signature as cosign writes it, one line of base64, or as openssl does, raw."""

    raw = read_foreign(path, MAX_SMALL_FILE_BYTES)
    try:
        return decode_base64(raw.decode("ascii").strip(), "signature")
    except (MalformedError, UnicodeDecodeError):
        return raw


def read_digest(path: Path, verifier: VerifierMaterial) -> Digest:
    """Hash an artifact with the algorithm its signer's key goes with."""

    algorithm = natural_algorithm(load_material_key(verifier)).digest
    state = hashlib.new(algorithm)
    with open_foreign(path) as file:
        while data := file.read(READ_BYTES):
            state.update(data)
    return Digest(algorithm, state.digest())
