"""Requests by every kind of key, in every spelling, with every defect, and at other paths.

Each is one HTTP request by name. Made with cryptography and json; only Ed25519ph, which
cryptography does not sign, takes the base point of our own verifier.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from appliance.rekor.ed25519 import _BASE, _combine, _encode
from tests.interop.requests_table import MAX_REQUEST_BYTES

ENTRIES: Final = "/api/v2/log/entries"
SHA256, SHA384, SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of key, and how a log calls it."""

    details: str
    number: int  # of the enum
    digest: hashes.HashAlgorithm
    make: Callable[[], PrivateKey]


def _rsa(bits: int) -> Callable[[], PrivateKey]:
    return lambda: rsa.generate_private_key(65537, bits)


KINDS: Final = {
    "P-256": Kind(
        "PKIX_ECDSA_P256_SHA_256", 5, SHA256, lambda: ec.generate_private_key(ec.SECP256R1())
    ),
    "P-384": Kind(
        "PKIX_ECDSA_P384_SHA_384", 12, SHA384, lambda: ec.generate_private_key(ec.SECP384R1())
    ),
    "P-521": Kind(
        "PKIX_ECDSA_P521_SHA_512", 13, SHA512, lambda: ec.generate_private_key(ec.SECP521R1())
    ),
    "RSA-2048": Kind("PKIX_RSA_PKCS1V15_2048_SHA256", 9, SHA256, _rsa(2048)),
    "RSA-3072": Kind("PKIX_RSA_PKCS1V15_3072_SHA256", 10, SHA256, _rsa(3072)),
    "RSA-4096": Kind("PKIX_RSA_PKCS1V15_4096_SHA256", 11, SHA256, _rsa(4096)),
    "Ed25519ph": Kind("PKIX_ED25519_PH", 8, SHA512, ed25519.Ed25519PrivateKey.generate),
}


@dataclass(frozen=True, slots=True)
class Ask:
    """One HTTP request."""

    body: Callable[[], bytes] = lambda: b""
    method: str = "POST"
    path: str = ENTRIES
    headers: dict[str, str] = field(default_factory=dict)


@cache
def _key(kind: str, which: int = 0) -> PrivateKey:
    return KINDS[kind].make()


def _spki(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@cache
def _certificate(kind: str) -> bytes:
    key, name = _key(kind), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, kind)])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2025, 1, 2, tzinfo=UTC))  # long over: a log does not judge
    )
    return built.sign(key, algorithm).public_bytes(Encoding.DER)


def _sign(kind: str, key: PrivateKey, content: bytes) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(content, ec.ECDSA(KINDS[kind].digest))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(content, padding.PKCS1v15(), KINDS[kind].digest)
    return _sign_prehashed(key, hashlib.sha512(content).digest())


def _sign_prehashed(key: ed25519.Ed25519PrivateKey, digest: bytes) -> bytes:
    """Sign with Ed25519ph, no context (RFC 8032 5.1.6)."""
    secret = hashlib.sha512(key.private_bytes_raw()).digest()
    scalar = int.from_bytes(secret[:32], "little") & (2**254 - 8) | 2**254
    domain = b"SigEd25519 no Ed25519 collisions\x01\x00"
    order = 2**252 + 27742317777372353535851937790883648493
    nonce = int.from_bytes(hashlib.sha512(domain + secret[32:] + digest).digest(), "little")
    point = _encode(_combine(nonce % order, _BASE, 0, _BASE))
    public = key.public_key().public_bytes_raw()
    hashed = hashlib.sha512(domain + point + public + digest).digest()
    challenge = int.from_bytes(hashed, "little")
    return point + ((nonce + challenge * scalar) % order).to_bytes(32, "little")


def request(kind: str, content: bytes, *, with_certificate: bool = False) -> dict[str, Any]:
    """Return a good request over `content`, as JSON values."""
    key = _key(kind)
    material = (
        {"x509Certificate": {"rawBytes": _b64(_certificate(kind))}}
        if with_certificate
        else {"publicKey": {"rawBytes": _b64(_spki(key))}}
    )
    digest = hashlib.new(KINDS[kind].digest.name, content).digest()
    verifier = {**material, "keyDetails": KINDS[kind].details}
    signature = {"content": _b64(_sign(kind, key, content)), "verifier": verifier}
    return {"hashedRekordRequestV002": {"digest": _b64(digest), "signature": signature}}


# What is done to a request without changing what it asks.

Spell = Callable[[str, dict[str, Any]], bytes]


def _plain(_: str, asked: dict[str, Any]) -> bytes:
    return json.dumps(asked).encode()


def _snake_case(kind: str, asked: dict[str, Any]) -> bytes:
    inner = asked["hashedRekordRequestV002"]
    verifier = inner["signature"]["verifier"]
    [(name, material)] = [one for one in verifier.items() if one[0] != "keyDetails"]
    spelled = "public_key" if name == "publicKey" else "x509_certificate"
    return json.dumps(
        {
            "hashed_rekord_request_v002": {
                "digest": inner["digest"].rstrip("="),
                "signature": {
                    "content": _urlsafe(inner["signature"]["content"]).rstrip("="),
                    "verifier": {
                        spelled: {"raw_bytes": material["rawBytes"].rstrip("=")},
                        "key_details": KINDS[kind].number,
                    },
                },
            }
        }
    ).encode()


def _nulls(_: str, asked: dict[str, Any]) -> bytes:
    verifier = asked["hashedRekordRequestV002"]["signature"]["verifier"]
    verifier |= {name: None for name in ("publicKey", "x509Certificate") if name not in verifier}
    return json.dumps(asked).encode()


def _url_safe(_: str, asked: dict[str, Any]) -> bytes:
    inner = asked["hashedRekordRequestV002"]
    inner["digest"] = _urlsafe(inner["digest"])
    inner["signature"]["content"] = _urlsafe(inner["signature"]["content"])
    return json.dumps(asked).encode()


SPELLINGS: Final[dict[str, Spell]] = {
    "as clients write it": _plain,
    "snake case, unpadded, enum by number": _snake_case,
    "null for unset": _nulls,
    "indented": lambda _, asked: json.dumps(asked, indent=4).encode(),
    "URL-safe base64": _url_safe,
    "escaped names": lambda _, asked: json.dumps(asked).replace("digest", "\\u0064igest").encode(),
    "garbage after it": lambda _, asked: json.dumps(asked).encode() + b" garbage",
    "spaces around it": lambda _, asked: b" \r\n\t" + json.dumps(asked).encode() + b"\n\n",
}


# What is done to a request that makes it a bad one.

Spoil = Callable[[str, dict[str, Any]], None]


def _set(value: object, *path: str) -> Spoil:
    def spoil(_: str, inner: dict[str, Any]) -> None:
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value

    return spoil


def _bytes(change: Callable[[bytes], bytes], *path: str) -> Spoil:
    def spoil(_: str, inner: dict[str, Any]) -> None:
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = _b64(change(b64decode(inner[path[-1]])))

    return spoil


def _other_key(kind: str, inner: dict[str, Any]) -> None:
    key = {"rawBytes": _b64(_spki(_key(kind, 1)))}
    inner["signature"]["verifier"]["publicKey"] = key


def _pem(kind: str, inner: dict[str, Any]) -> None:
    pem = _key(kind).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    inner["signature"]["verifier"]["publicKey"] = {"rawBytes": _b64(pem)}


def _certificate_as_key(kind: str, inner: dict[str, Any]) -> None:
    inner["signature"]["verifier"]["publicKey"] = {"rawBytes": _b64(_certificate(kind))}


def _key_as_certificate(kind: str, inner: dict[str, Any]) -> None:
    verifier = inner["signature"]["verifier"]
    verifier["x509Certificate"] = verifier.pop("publicKey")


_CONTENT, _VERIFIER = ("signature", "content"), ("signature", "verifier")
_KEY: Final = (*_VERIFIER, "publicKey", "rawBytes")
DEFECTS: Final[dict[str, Spoil]] = {
    "another digest": _bytes(lambda raw: raw[1:] + raw[:1], "digest"),
    "short digest": _bytes(lambda raw: raw[:-1], "digest"),
    "long digest": _bytes(lambda raw: raw + b"\0", "digest"),
    "no digest": _set(None, "digest"),
    "no signature": _set(None, "signature"),
    "no signature bytes": _set("", *_CONTENT),
    "one bit of the signature": _bytes(lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), *_CONTENT),
    "a signature cut short": _bytes(lambda raw: raw[:-1], *_CONTENT),
    "a signature with more behind it": _bytes(lambda raw: raw + b"\0", *_CONTENT),
    "no verifier": _set(None, *_VERIFIER),
    "no key": _set(None, *_VERIFIER, "publicKey"),
    "an empty key": _set("", *_KEY),
    "a key cut short": _bytes(lambda raw: raw[:-1], *_KEY),
    "a key with more behind it": _bytes(lambda raw: raw + b"\0", *_KEY),
    "another key of the kind": _other_key,
    "a key in PEM": _pem,
    "a certificate for the key": _certificate_as_key,
    "a key for the certificate": _key_as_certificate,
    "no key details": _set(None, *_VERIFIER, "keyDetails"),
    "key details of no number": _set(999, *_VERIFIER, "keyDetails"),
}
_DETAILS: Final = [
    *(kind.details for kind in KINDS.values()),
    *("PKIX_ED25519", "PKCS1_RSA_PKCS1V5", "PKIX_RSA_PSS_2048_SHA256", "ML_DSA_65"),
]

# What no key has to do with.

_HEX: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_V1: Final = {"data": {"hash": {"algorithm": "sha256", "value": _HEX}}}
BODIES: Final[dict[str, bytes]] = {
    "nothing": b"",
    "spaces": b" \n",
    "an empty object": b"{}",
    "null": b"null",
    "true": b"true",
    "a number": b"1",
    "a text": b'"digest"',
    "an array": b"[]",
    "hello": b"hello",
    "half an object": b'{"hashedRekordRequestV002":',
    "a comma too many": b'{"hashedRekordRequestV002":{},}',
    "not UTF-8": b'{"\xff":1}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a name twice": b'{"hashedRekordRequestV002":{},"hashedRekordRequestV002":{}}',
    "NaN": b'{"hashedRekordRequestV002":NaN}',
    "an unknown name": b'{"x":1}',
    "an unknown inner name": b'{"hashedRekordRequestV002":{"x":1}}',
    "an empty request": b'{"hashedRekordRequestV002":{}}',
    "a request that is a text": b'{"hashedRekordRequestV002":"x"}',
    "a request that is null": b'{"hashedRekordRequestV002":null}',
    "a digest that is a number": b'{"hashedRekordRequestV002":{"digest":5}}',
    "a digest that is no base64": b'{"hashedRekordRequestV002":{"digest":"!!!"}}',
    "an empty DSSE request": b'{"dsseRequestV002":{}}',
    "both requests": b'{"dsseRequestV002":{},"hashedRekordRequestV002":{}}',
    "an array of a request": b'[{"hashedRekordRequestV002":{}}]',
    "deep": b'{"hashedRekordRequestV002":' * 200 + b"1" + b"}" * 200,
    "a hashedrekord of version one": json.dumps(
        {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": _V1}
    ).encode(),
    "a rekord of version one": b'{"apiVersion":"0.0.1","kind":"rekord","spec":{}}',
    "too large": b'{"x":"' + b"a" * MAX_REQUEST_BYTES + b'"}',
}
_PATHS: Final = (
    *(("GET", ENTRIES), ("PUT", ENTRIES), ("DELETE", ENTRIES), ("PATCH", ENTRIES)),
    *(("POST", ENTRIES + "/"), ("POST", ENTRIES + "/x"), ("POST", "/api/v2/log/Entries")),
    *(("POST", "/api/v2/log"), ("POST", "/api/v3/log/entries"), ("POST", "/nowhere"), ("GET", "/")),
    *(("GET", "/healthz"), ("POST", "/healthz"), ("GET", "/healthz/"), ("GET", "/api/v2")),
    *(("GET", "/api/v1/log"), ("GET", "/api/v1/log/entries"), ("GET", "/api/v1/log/publicKey")),
    *(("POST", "/api/v1/log/entries"), ("POST", "/api/v1/log/entries/retrieve")),
    *(("GET", "/api/v2/checkpoint"), ("GET", "/api/v2/tile/0/000"), ("GET", "/api/v2/log")),
    *(("GET", "/api/v2/tile/entries/000"), ("GET", "/checkpoint"), ("GET", "/tile/0/000")),
    *(("POST", "/api/v1/index/retrieve"), ("GET", "/api/v1/log/proof")),
    *(("POST", "/api/v2/checkpoint"), ("GET", "/api/v2/tile/0/xyz")),
)
_HEADERS: Final = (
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/octet-stream"},
    {"Content-Type": "application/json; charset=utf-8"},
    {"Content-Type": ""},
    {"Accept": "text/html"},
    {"Accept-Encoding": "gzip"},
    {"Authorization": "Bearer nobody-asked"},
    {"X-Forwarded-For": "192.0.2.1"},
)


def _good(kind: str, spelling: str, *, with_certificate: bool) -> Callable[[], bytes]:
    content = f"{kind} {spelling} {with_certificate}".encode()

    def body() -> bytes:
        asked = request(kind, content, with_certificate=with_certificate)
        return SPELLINGS[spelling](kind, asked)

    return cache(body)  # the same signature when it is asked again


def _bad(kind: str, spoil: Spoil) -> Callable[[], bytes]:
    def body() -> bytes:
        asked = request(kind, b"spoiled")
        spoil(kind, asked["hashedRekordRequestV002"])
        return json.dumps(asked).encode()

    return cache(body)


def accepted() -> dict[str, Ask]:
    """Name the requests that a log takes. Keys are made when a body is asked for."""
    asks: dict[str, Ask] = {}
    for kind in KINDS:
        for spelling in SPELLINGS:
            for material in ("key", "certificate"):
                made = _good(kind, spelling, with_certificate=material == "certificate")
                asks[f"{kind}, {material}, {spelling}"] = Ask(made)
    for number, headers in enumerate(_HEADERS):
        content = f"headers {number}".encode()
        plain = cache(lambda content=content: json.dumps(request("P-256", content)).encode())
        [(name, value)] = headers.items()
        asks[f"{name}: {value}"] = Ask(plain, headers=headers)
    return asks


def others() -> dict[str, Ask]:
    """Name the requests with something wrong, and those to other paths."""
    asks: dict[str, Ask] = {}
    for kind in KINDS:
        for defect, spoil in DEFECTS.items():
            asks[f"{kind}, {defect}"] = Ask(_bad(kind, spoil))
        for details in _DETAILS:
            if details != KINDS[kind].details:
                spoil = _set(details, *_VERIFIER, "keyDetails")
                asks[f"{kind} called {details}"] = Ask(_bad(kind, spoil))
    for name, literal in BODIES.items():
        asks[f"body: {name}"] = Ask(lambda literal=literal: literal)  # type: ignore[misc]
    for method, path in _PATHS:
        asks[f"{method} {path}"] = Ask(method=method, path=path)
    return asks


def _urlsafe(text: str) -> str:
    return text.translate(str.maketrans("+/", "-_"))


def _b64(raw: bytes) -> str:
    return b64encode(raw).decode()
