"""Log entries for the tests that look for them."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256

from cryptography import x509

from tests.pki.authorities import LeafPlan, SigningKey
from tests.pki.bundles import Instance, hashedrekord_v2


@cache
def instance() -> Instance:
    """One authority for all entries of a test run."""
    return Instance()


@cache
def stranger() -> Instance:
    """Another authority, which nobody trusts."""
    return Instance()


def leaf(
    identity: str,
    artifact: bytes = b"an artifact\n",
    *,
    claims: Mapping[str, str] | None = None,
    key: SigningKey | None = None,
    other: bool = False,
) -> bytes:
    """Return the body that an artifact signed by a certificate for `identity` becomes.

    The certificate is by the one authority, or by the `other`.
    """
    name: x509.GeneralName = x509.UniformResourceIdentifier(identity)
    if "@" in identity and "/" not in identity:
        name = x509.RFC822Name(identity)
    plan = LeafPlan((name,), claims=claims or {})
    authority = stranger() if other else instance()
    signed = authority.sign_artifact(key, plan, artifact=artifact)
    return json.dumps(hashedrekord_v2(signed, sha256(artifact).digest())).encode()


def key_leaf(artifact: bytes, key: SigningKey | None = None) -> bytes:
    """Return the body that an artifact signed by a bare key becomes."""
    signed = instance().sign_artifact(key, managed=True, artifact=artifact)
    return json.dumps(hashedrekord_v2(signed, sha256(artifact).digest())).encode()


def signed_by_two(payload: bytes, forged: str = "release@example.com") -> bytes:
    """Return an attestation's body: one good certificate, and one that a stranger made up."""
    bodies = (json.loads(one) for one in (leaf("me@x.org"), leaf(forged, other=True)))
    spec = {
        "payloadHash": {"algorithm": "SHA2_256", "digest": b64encode(payload).decode()},
        "signatures": [one["spec"]["hashedRekordV002"]["signature"] for one in bodies],
    }
    return json.dumps({"apiVersion": "0.0.2", "kind": "dsse", "spec": {"dsseV002": spec}}).encode()
