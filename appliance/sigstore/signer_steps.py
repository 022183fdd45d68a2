"""Whose signature it has to be: the steps for certificates and for managed keys."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from appliance.errors import IncompleteError, SignatureError
from appliance.rekor.x509_certificate import load_certificate
from appliance.sigstore.case import NO_ROOT, Case
from appliance.sigstore.certificates import check_leaf, verify_path
from appliance.sigstore.dsse import DsseEnvelope
from appliance.sigstore.identity import (
    CertificateIdentity,
    ManagedKey,
    check_identity,
    read_names,
)
from appliance.sigstore.scts import verify_scts
from appliance.sigstore.signer import Signer, make_signer
from appliance.sigstore.validity import format_time
from appliance.sigstore.verdict import SignerFacts
from appliance.tlog.note_keys import load_spki

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


def verify_certificate(case: Case, expected: CertificateIdentity) -> Signer:
    """Verify a certificate at every proven time, its promise of publication and its names.

    Raises as the checks do; afterwards the key is the expected signer's.
    """
    found = case.findings
    with found.step("certificate") as texts:
        der = case.bundle.certificate or b""
        leaf = load_certificate(der, "signer's certificate")
        check_leaf(leaf, may_have_subject=case.opt_ins.leaf_subject)
        signer = make_signer(der, leaf.public_key(), is_certificate=True)
        texts.append(f"{signer.algorithm.key}, SHA-256 {sha256(der).hexdigest()}")
    path = _verify_paths(case, leaf)
    with found.step("certificate-transparency") as texts:
        promise = verify_scts(path, case.root.ct_logs)
        texts.append(f"{format_time(promise.time)} by {promise.log}")
    with found.step("identity") as texts:
        names = read_names(leaf)
        identity = check_identity(names, expected)
        texts.append(f"{identity}, by {names.issuers[0]}")
        texts.extend(f"{name} {value}" for name, value in expected.claims.items())
    found.signer = SignerFacts(
        kind="certificate",
        digest=sha256(der).hexdigest(),
        key_type=signer.algorithm.key,
        identity=identity,
        issuer=names.issuers[0],
        claims=names.claims,
    )
    return signer


def _verify_paths(case: Case, leaf: Certificate) -> tuple[Certificate, ...]:
    with case.findings.step("certificate-path") as texts:
        if case.root is NO_ROOT:
            raise IncompleteError(
                "a certificate can only be verified with a trusted root",
                reason="no-trusted-root",
                next_step="attestor trust import FILE, or --trusted-root FILE",
            )
        times: list[datetime] = [one.time for one in case.findings.times]
        paths = [verify_path(leaf, case.root.certificate_authorities, one) for one in times]
        texts.append(f"valid at {' and '.join(map(format_time, times))}")
    return paths[0]


def take_managed_key(case: Case, expected: ManagedKey) -> Signer:
    """Take the operator's key; a window it has must contain every proven time.

    Raises SignatureError: reason key-hint, key-window or no-signing-time; RefusedError
    (unsupported-key).
    """
    found = case.findings
    with found.step("identity") as texts:
        signer = make_signer(expected.spki, load_spki(expected.spki), is_certificate=False)
        content = case.bundle.content
        if isinstance(content, DsseEnvelope) and content.key_id not in ("", case.bundle.key_hint):
            raise SignatureError(
                f"envelope is for key {content.key_id[:80]!r}, "
                f"the bundle for {case.bundle.key_hint[:80]!r}",
                reason="key-hint",
            )
        texts.append(f"key SHA-256 {sha256(expected.spki).hexdigest()}")
    with found.step("key-window") as texts:
        window = expected.valid
        if (window.start or window.end) and not found.times:
            raise SignatureError(
                f"the key is valid from {window}, and nothing proves when this was signed",
                reason="no-signing-time",
            )
        for one in found.times:
            if not window.contains(one.time):
                raise SignatureError(
                    f"signed at {format_time(one.time)}, the key is valid from {window}",
                    reason="key-window",
                )
        texts.append(str(window))
    digest = sha256(expected.spki).hexdigest()
    found.signer = SignerFacts(kind="key", digest=digest, key_type=signer.algorithm.key)
    return signer
