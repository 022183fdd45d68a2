"""Remember what attestations are about: their entries do not say which artifacts that is.

Nothing is verified for it: which digests a statement names is a fact about its bytes, and what
its entry has of them is a hash of the same bytes. Who signed it, the entry says.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable

from appliance.errors import ApplianceError, MalformedError, RefusedError
from appliance.rekor.signing_algorithms import DIGEST_BYTES
from appliance.sigstore.attestation_files import parse_attestation_file
from appliance.sigstore.dsse import DsseEnvelope, parse_statement
from appliance.sigstore.sigstore_bundle import SigstoreBundle
from appliance.store.database import Store
from appliance.store.find.known_statements import add_known_statement


def remember_file(store: Store, raw: bytes) -> None:
    """Remember what the attestations in a file are about, if it holds any."""
    with contextlib.suppress(MalformedError, RefusedError):
        bundles = parse_attestation_file(raw)
        with store.atomic():
            remember_bundles(store, bundles)


def remember_bundles(store: Store, bundles: Iterable[SigstoreBundle]) -> None:
    """Remember what the attestations among Sigstore bundles are about; in a transaction."""
    for bundle in bundles:
        if isinstance(bundle.content, DsseEnvelope):
            remember_envelope(store, bundle.content)


def remember_envelope(store: Store, envelope: DsseEnvelope) -> None:
    """Remember what the statement in an envelope is about, in a transaction.

    Another payload is about nothing.
    """
    try:
        subjects = parse_statement(envelope).subjects
    except ApplianceError:
        return
    named = {
        bytes.fromhex(text)
        for subject in subjects
        for name, text in subject.digests.items()
        if _is_digest(name, text)
    }
    # Of the payload, or of what the key signs: by the digest that goes with the key.
    logged = {hashlib.new(name, envelope.encoded).digest() for name in DIGEST_BYTES}
    logged.add(hashlib.sha256(envelope.payload).digest())
    add_known_statement(store, logged, named)


def _is_digest(name: str, text: str) -> bool:
    try:
        # Python takes white space between the digits; nothing that compares digests does.
        return len(text) == 2 * DIGEST_BYTES[name] == 2 * len(bytes.fromhex(text))
    except ValueError:
        return False
