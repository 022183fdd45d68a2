"""Situations like those of public reports, made here: our answer, and that of two other clients.

What cosign and sigstore-python answer is measured by tests/interop/test_reference_clients.py.
"""

from __future__ import annotations

import copy
import hashlib
import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.rekor.canonical_json import canonical_json
from tests.pki.authorities import IDENTITY, ISSUER, NOON, certificate_der
from tests.pki.bundles import ARTIFACT, CHAIN_TYPE, V1_TYPE, Instance, hashedrekord_v1, pem
from tests.pki.logs import base64

Json = dict[str, Any]
MADE = Instance()
OTHER = Instance()
DIGEST = hashlib.sha256(ARTIFACT).hexdigest()
TYPE = "https://example.com/predicate"


@dataclass(frozen=True)
class Made:
    """One situation: what is written, and who says yes."""

    write: Callable[[], str | bytes]  # the bundle's file
    code: int
    reason: str = ""
    cosign: bool = True
    sigstore_python: bool = True
    because: str = ""  # why they differ from us, where one does
    root: Callable[[Json], None] = lambda _: None  # changes the trusted root


def plain() -> Json:
    return MADE.v2_bundle()


def attested(*subjects: Json, predicate: str = "{}") -> Json:
    """Attest these subjects; `predicate` is written as it is."""
    content = json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": list(subjects) or [{"name": "a", "digest": {"sha256": DIGEST}}],
            "predicateType": TYPE,
            "predicate": "PREDICATE",
        }
    )
    payload = content.replace('"PREDICATE"', predicate).encode()
    return MADE.v2_bundle(MADE.sign_statement(payload=payload))


def changed(bundle: Json, change: Callable[[Json], object]) -> str:
    bundle = copy.deepcopy(bundle)
    change(bundle)
    return json.dumps(bundle)


def in_pem(bundle: Json) -> None:
    certificate = bundle["verificationMaterial"]["certificate"]
    certificate["rawBytes"] = base64(pem("CERTIFICATE", b64decode(certificate["rawBytes"])))


def single(bundle: Json) -> None:
    """A single certificate in place of a chain."""
    material = bundle["verificationMaterial"]
    material["certificate"] = material.pop("x509CertificateChain")["certificates"][0]


def chain(bundle: Json) -> None:
    material = bundle["verificationMaterial"]
    material["x509CertificateChain"] = {"certificates": [material.pop("certificate")]}


def default_algorithm(bundle: Json) -> None:
    bundle["messageSignature"]["messageDigest"].pop("algorithm")


def fields_of_later(bundle: Json) -> None:
    bundle["verificationMaterial"]["ofLater"] = {"a": 1}


def a_second_stamp(bundle: Json) -> None:
    signature = b64decode(bundle["messageSignature"]["signature"])
    stamp = base64(OTHER.timestamp_authority.stamp(signature))
    stamps = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamps.insert(0, {"signedTimestamp": stamp})


def no_digest_at_all(bundle: Json) -> None:
    bundle["messageSignature"].pop("messageDigest")


def entry_with_chain() -> Json:
    """An entry of Rekor v1 that holds the whole chain, of a signer who sent it."""
    signed = MADE.sign_artifact()
    body = hashedrekord_v1(signed, hashlib.sha256(ARTIFACT).digest())
    issuers = (MADE.authority.certificate, MADE.root_authority.certificate)
    parts = [pem("CERTIFICATE", der) for der in (signed.der, *map(certificate_der, issuers))]
    body["spec"]["signature"]["publicKey"]["content"] = base64(b"".join(parts))
    entry = MADE.v1_log.add(canonical_json(body), NOON)
    return MADE.bundle(signed, entry, media_type=V1_TYPE, stamps=[])


def exotic_log_key(root: Json) -> None:
    log = copy.deepcopy(root["tlogs"][0])
    log["publicKey"] |= {"keyDetails": "PKIX_RSA_PSS_2048_SHA256", "rawBytes": "AAAA"}
    log["logId"] = {"keyId": base64(bytes(32))}
    root["tlogs"].insert(0, log)


def another_authority_first(root: Json) -> None:
    """Two of a kind, as an instance has that renewed its own: only one issued the certificate."""
    root["certificateAuthorities"].insert(0, OTHER.root()["certificateAuthorities"][0])
    root["timestampAuthorities"].insert(0, OTHER.root()["timestampAuthorities"][0])


def ended_authority(root: Json) -> None:
    root["certificateAuthorities"][0]["validFor"]["end"] = "2025-06-01T00:00:00Z"


ONE: Json = {"name": "a", "digest": {"sha256": DIGEST}}
MADE_SITUATIONS: dict[str, Made] = {
    "several objects, as jq prints them": Made(
        lambda: "\n".join(json.dumps(one, indent=2) for one in (attested(), plain())),
        0,
        cosign=False,
        sigstore_python=False,
        because="neither reads several bundles in one file",
    ),
    "what gh attestation verify prints": Made(
        lambda: json.dumps([{"attestation": {"bundle": attested()}}]),
        0,
        cosign=False,
        sigstore_python=False,
        because="neither reads what gh prints",
    ),
    "UTF-16 without a mark": Made(
        lambda: json.dumps(plain()).encode("utf-16-le"),
        8,
        "text-encoding",
        cosign=False,
        sigstore_python=False,
    ),
    "a subject without digests beside it": Made(
        lambda: json.dumps(attested({"uri": "pkg:github/a/b@v1"}, ONE)),
        0,
        sigstore_python=False,
        because="sigstore verify ends in a KeyError",
    ),
    "a subject with the SHA-1 of a commit beside it": Made(
        lambda: json.dumps(attested({"name": "b", "digest": {"sha1": "00" * 20}}, ONE)), 0
    ),
    "subjects by SHA-1 alone": Made(
        lambda: json.dumps(attested({"name": "b", "digest": {"sha1": "00" * 20}})),
        8,
        "digest-algorithm",
        cosign=False,
        sigstore_python=False,
    ),
    "a subject whose SHA-512 is another's": Made(
        lambda: json.dumps(attested({"digest": {"sha256": DIGEST, "sha512": "0" * 128}})),
        3,
        "subject-mismatch",
        cosign=False,
        because="sigstore-python compares SHA-256 alone",
    ),
    "a name twice in a predicate": Made(
        lambda: json.dumps(attested(predicate='{"a": 1, "a": 2}')),
        3,
        "malformed",
        cosign=False,
        because="sigstore-python leaves the predicate to its caller",
    ),
    "no message digest": Made(
        lambda: changed(plain(), no_digest_at_all),
        0,
        cosign=False,
        because="cosign wants the digest that it does not need: the signature is over the artifact",
    ),
    "a message digest of the default algorithm": Made(
        lambda: changed(plain(), default_algorithm),
        0,
        cosign=False,
        sigstore_python=False,
        because="both want the algorithm; its length says which it is",
    ),
    "fields of a later version": Made(
        lambda: changed(plain(), fields_of_later),
        0,
        cosign=False,
        sigstore_python=False,
        because="both refuse fields they do not know; newer clients write them",
    ),
    "a certificate in PEM": Made(
        lambda: changed(plain(), in_pem), 3, "bad-certificate", cosign=False, sigstore_python=False
    ),
    "a single certificate in version 0.1": Made(
        lambda: changed(MADE.v1_bundle(), single),
        0,
        sigstore_python=False,
        because="sigstore-python wants a chain in older versions",
    ),
    "a single certificate in version 0.2": Made(
        lambda: changed(MADE.v1_bundle(media_type=CHAIN_TYPE), single),
        0,
        sigstore_python=False,
        because="sigstore-python wants a chain in older versions",
    ),
    "a chain in version 0.3": Made(
        lambda: changed(plain(), chain), 3, "certificate-form", cosign=False, sigstore_python=False
    ),
    "a stamp by a stranger before the good one": Made(lambda: changed(plain(), a_second_stamp), 0),
    "an entry that holds the chain": Made(
        lambda: json.dumps(entry_with_chain()),
        0,
        sigstore_python=False,
        because="sigstore-python writes the entry again and compares its bytes",
    ),
    "a log key of an exotic kind in the root": Made(
        lambda: json.dumps(plain()),
        0,
        root=exotic_log_key,
        cosign=False,
        because="cosign refuses a root with a key it does not know",
    ),
    "another authority before ours in the root": Made(
        lambda: json.dumps(plain()), 0, root=another_authority_first
    ),
    "an authority whose time was over": Made(
        lambda: json.dumps(plain()),
        3,
        "authority-window",
        root=ended_authority,
        cosign=False,
        because="sigstore-python does not look at the windows of authorities",
    ),
}


def lay_out_made(name: str, directory: Path) -> list[str]:
    """Write a situation's files and return the arguments of verify."""
    situation = MADE_SITUATIONS[name]
    written = situation.write()
    raw = written.encode() if isinstance(written, str) else written
    (directory / "bundle.sigstore.json").write_bytes(raw)
    (directory / "artifact").write_bytes(ARTIFACT)
    root = MADE.root()
    situation.root(root)
    (directory / "trusted_root.json").write_text(json.dumps(root), "utf-8")
    return [
        *("verify", "artifact", "--bundle", "bundle.sigstore.json"),
        *("--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER),
        *("--trusted-root", "trusted_root.json"),
    ]
