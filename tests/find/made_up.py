"""Made-up entries of every kind that a log can hold, and what is true of each by its making."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any

from cryptography import x509

from tests.find.logged import instance
from tests.pki.authorities import LeafPlan, new_key, spki

NUMBER = "0000000"  # what differs, in names and claims
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OWNER = "ownerless"  # what differs in the issuer
ISSUER = f"https://{OWNER}.ci.example"
ISSUERS = 200
# A reusable workflow signs for many repositories: the name is the same in all of them.
SHARED = "https://ci.example/org/builder/.ci/build.yml@refs/tags/v1"
REPOSITORY = f"https://ci.example/org-{NUMBER}/app"
_CLAIM_14 = bytes.fromhex("2b0601040183bf30010e")
_CLAIM_12 = bytes.fromhex("2b0601040183bf30010c")


_UNREAD = (
    *(b"anything", b"{}", b"\xff", b"[" * 99, b'"dsse"'),
    # A kind of Rekor v1 that nobody reads.
    b'{"apiVersion":"0.0.1","kind":"rekord","spec":{"data":{},"signature":{}}}',
)


@dataclass(frozen=True)
class Holder:
    """What is true of one signer."""

    fingerprints: frozenset[bytes]
    names: tuple[str, ...] = ()
    issuer: str = ""
    commits: tuple[str, ...] = ()
    claims: frozenset[tuple[int, str]] = frozenset()


@dataclass(frozen=True)
class Truth:
    """What is true of one entry."""

    digest: bytes = b""  # empty: nobody can read it
    holders: tuple[Holder, ...] = field(default=())


@dataclass(frozen=True)
class _Pattern:
    """A certificate or key in which some text is changed."""

    der: bytes
    key: bytes  # SubjectPublicKeyInfo
    names: tuple[str, ...] = ()
    claims: tuple[tuple[int, str], ...] = ()
    is_long: bool = False

    def made(self, number: str, commit: str, owner: str) -> tuple[bytes, Holder]:
        def told(text: str) -> str:
            return text.replace(NUMBER, number).replace(COMMIT, commit)

        der = self.der.replace(NUMBER.encode(), number.encode())
        der = der.replace(COMMIT.encode(), commit.encode()).replace(OWNER.encode(), owner.encode())
        claims = frozenset((at, told(text)) for at, text in self.claims)
        return der, Holder(
            frozenset({sha256(der).digest(), sha256(self.key).digest()}),
            tuple(map(told, self.names)),
            ISSUER.replace(OWNER, owner) if self.names else "",
            tuple(text for at, text in sorted(claims) if at == 13),
            claims,
        )


def _pattern(*names: x509.GeneralName, claims: dict[str, str] | None = None) -> tuple[bytes, bytes]:
    plan = LeafPlan(names, issuer_v1=ISSUER, issuer_v2=ISSUER, claims=claims or {})
    signed = instance().sign_artifact(new_key(), plan)
    return signed.der, spki(signed.key)


def _patterns() -> list[_Pattern]:
    ci = {"12": REPOSITORY, "13": COMMIT, "14": "refs/heads/main"}
    told_claims = ((12, REPOSITORY), (13, COMMIT), (14, "refs/heads/main"))
    # As it stands in the entry it takes 60 KB; an entry has at most 65,535 bytes.
    mail, long = f"dev-{NUMBER}@example.com", f"https://{'x' * 45_000}.example/{NUMBER}"
    uri, dns = x509.UniformResourceIdentifier, x509.DNSName
    found = [
        _Pattern(*_pattern(uri(SHARED), claims=ci), (SHARED,), told_claims),
        _Pattern(*_pattern(x509.RFC822Name(mail)), (mail,)),
        _Pattern(*_pattern(x509.RFC822Name(mail), dns("ci.example")), (mail, "ci.example")),
        _Pattern(*_pattern(uri(long)), (long,), is_long=True),
    ]
    key = spki(new_key())
    found.append(_Pattern(key, key))
    # No UTF-8, a NUL, and a letter of four bytes.
    for raw, told_name in ((b"d\xffv-", "d\\xffv-"), (b"d\0v-", "d\0v-"), ("😀".encode(), "😀")):
        der, key = _pattern(x509.RFC822Name(mail))
        der = der.replace(b"dev-", raw)
        found.append(_Pattern(der, key, (mail.replace("dev-", told_name),)))
    # One claim twice, with different texts: neither may hide the other.
    der, key = _pattern(uri(SHARED), claims=ci)
    der = der.replace(_CLAIM_14, _CLAIM_12)
    twice = ((12, REPOSITORY), (13, COMMIT), (12, "refs/heads/main"))
    return [*found, _Pattern(der, key, (SHARED,), twice)]


class Maker:
    """Makes the same entries each time it is asked, in one process."""

    def __init__(self, seed: int, count: int) -> None:
        self.seed, self.count = seed, count
        self.patterns = _patterns()

    def entries(self) -> Iterator[tuple[bytes, Truth]]:
        """Yield entries and what is true of them; names, digests and commits come again."""
        chance = Random(self.seed)  # noqa: S311 repeatable
        for _ in range(self.count):
            kind = chance.randrange(100)
            if kind == 0:
                yield chance.choice(_UNREAD), Truth()
                continue
            digest = sha256(b"%d" % chance.randrange(max(self.count // 2, 1))).digest()
            n_signers = 1 if kind < 80 else 3
            signers = [self._signer(chance, kind) for _ in range(n_signers)]
            body = _body(kind, digest, [(der, bool(one.names)) for der, one in signers])
            yield body, Truth(digest, tuple(one for _, one in signers))

    def _signer(self, chance: Random, kind: int) -> tuple[bytes, Holder]:
        # A long name is rare, and alone in an entry that has its certificate as it is.
        rare = min(2.0, 60_000 / self.count) if kind < 60 else 0
        weights = [rare if one.is_long else 20 for one in self.patterns]
        [pattern] = chance.choices(self.patterns, weights)
        repeated = max(self.count // 50, 1)
        commit = sha256(b"commit %d" % chance.randrange(repeated)).hexdigest()[:40]
        owner = f"token-{chance.randrange(ISSUERS):03}"
        return pattern.made(f"{chance.randrange(repeated):07}", commit, owner)


def _body(kind: int, digest: bytes, signers: list[tuple[bytes, bool]]) -> bytes:
    spec: Any
    if kind >= 95:
        signatures = [{"publicKey": _pem(*one), "sig": "AA=="} for one in signers]
        hashed = {"algorithm": "sha256", "value": digest.hex()}
        envelope = {"payloadType": "application/vnd.in-toto+json", "signatures": signatures}
        spec = {"content": {"envelope": envelope, "hash": hashed, "payloadHash": hashed}}
        return _written("intoto", "0.0.2", spec)
    if kind >= 90:
        signatures = [{"signature": "AA==", "verifier": _pem(*one)} for one in signers]
        hashed = {"algorithm": "sha256", "value": digest.hex()}
        spec = {"envelopeHash": hashed, "payloadHash": hashed, "signatures": signatures}
        return _written("dsse", "0.0.1", spec)
    verified = [{"content": "AA==", "verifier": _verifier(*one)} for one in signers]
    hashed = {"algorithm": "SHA2_256", "digest": b64encode(digest).decode()}
    if len(signers) > 1 or kind >= 70:
        spec = {"dsseV002": {"payloadHash": hashed, "signatures": verified}}
        return _written("dsse", "0.0.2", spec, canonical=kind % 2 == 0)
    if kind >= 60:
        signature = {"content": "AA==", "publicKey": {"content": _pem(*signers[0])}}
        hashed = {"hash": {"algorithm": "sha256", "value": digest.hex()}}  # type: ignore[dict-item]
        return _written("hashedrekord", "0.0.1", {"data": hashed, "signature": signature})
    spec = {"hashedRekordV002": {"data": hashed, "signature": verified[0]}}
    return _written("hashedrekord", "0.0.2", spec, canonical=kind % 2 == 0)


def _written(kind: str, version: str, spec: Any, *, canonical: bool = False) -> bytes:
    """Write a body as a log does (RFC 8785), or in another order with spaces."""
    entry = {"kind": kind, "apiVersion": version, "spec": spec}
    if canonical:
        return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    return json.dumps(entry).encode()


def _verifier(der: bytes, is_certificate: bool) -> dict[str, Any]:
    name = "x509Certificate" if is_certificate else "publicKey"
    raw = {"rawBytes": b64encode(der).decode()}
    return {name: raw, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}


def _pem(der: bytes, is_certificate: bool) -> str:
    label = "CERTIFICATE" if is_certificate else "PUBLIC KEY"
    text = b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    pem = "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
    return b64encode(pem.encode()).decode()
