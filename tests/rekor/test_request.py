"""Requests to a v2 log: read leniently, checked strictly, one body whatever the spelling."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import (
    ApplianceError,
    LimitError,
    MalformedError,
    RefusedError,
    SignatureError,
)
from appliance.rekor.entry import HashedRekord, parse_entry
from appliance.rekor.request import (
    HashedRekordRequest,
    build_request,
    parse_request,
    verify_request,
)
from appliance.rekor.signing_algorithms import verify_digest_signature
from appliance.rekor.verifier_material import VerifierMaterial
from tests.pki.authorities import SigningKey, certificate_der, spki
from tests.pki.bundles import ARTIFACT, Instance, sign
from tests.shared import vectors

Json = dict[str, Any]
KEYS: dict[str, tuple[SigningKey, str, str]] = {
    "P-256": (ec.generate_private_key(ec.SECP256R1()), "sha256", "PKIX_ECDSA_P256_SHA_256"),
    "P-384": (ec.generate_private_key(ec.SECP384R1()), "sha384", "PKIX_ECDSA_P384_SHA_384"),
    "P-521": (ec.generate_private_key(ec.SECP521R1()), "sha512", "PKIX_ECDSA_P521_SHA_512"),
    "RSA-2048": (
        rsa.generate_private_key(65537, 2048),
        "sha256",
        "PKIX_RSA_PKCS1V15_2048_SHA256",
    ),
}


def made(name: str = "P-256") -> HashedRekordRequest:
    key, algorithm, _ = KEYS[name]
    digest = hashlib.new(algorithm, ARTIFACT).digest()
    return build_request(digest, sign(key, ARTIFACT, algorithm), spki(key))


def as_json(request: HashedRekordRequest | None = None) -> Json:
    return json.loads((request or made()).json)  # type: ignore[no-any-return]


def parsed(value: Json) -> HashedRekordRequest:
    return parse_request(json.dumps(value).encode())


@pytest.mark.parametrize("name", list(KEYS))
def test_each_kind_of_key_makes_a_request_and_a_body(name: str) -> None:
    request = made(name)
    assert request.verifier.key_details == KEYS[name][2]
    assert parse_request(request.json) == request
    entry = parse_entry(request.canonical_body)
    assert isinstance(entry, HashedRekord)
    assert entry.data.algorithm == KEYS[name][1]
    assert entry.signatures[0].verifier == request.verifier


def test_a_certificate_stands_in_for_its_key() -> None:
    signed = Instance().sign_artifact()
    assert signed.certificate is not None
    digest = hashlib.sha256(ARTIFACT).digest()
    der = certificate_der(signed.certificate)
    request = build_request(digest, signed.signature, der, is_certificate=True)
    assert parse_request(request.json) == request
    entry = parse_entry(request.canonical_body)
    assert isinstance(entry, HashedRekord)
    assert entry.signatures[0].verifier.is_certificate


def test_every_spelling_of_a_request_becomes_the_same_body() -> None:
    plain = vectors()["private_log_first_entry"]["request"]
    body = parsed(plain).canonical_body
    inner = plain["hashedRekordRequestV002"]
    signature = inner["signature"]
    verifier = signature["verifier"]
    unpadded = {
        "digest": inner["digest"].rstrip("=").replace("+", "-").replace("/", "_"),
        "signature": {
            "content": signature["content"].replace("+", "-").replace("/", "_"),
            "verifier": {
                "public_key": {"raw_bytes": verifier["publicKey"]["rawBytes"].rstrip("=")},
                "x509Certificate": None,
                "key_details": 5,
            },
        },
    }
    for request in (
        {"hashed_rekord_request_v002": unpadded},
        {"hashedRekordRequestV002": unpadded, "dsseRequestV002": None},
    ):
        assert parsed(request).canonical_body == body
    raw = json.dumps(plain).encode()
    assert parse_request(raw + b' {"more": "values"} or junk').canonical_body == body


@pytest.mark.parametrize(
    "raw", [b"", b" \n", b"{}", b'{"dsseRequestV002":{}}', b'{"hashedRekordRequestV002":null}']
)
def test_a_request_for_anything_else_is_named(raw: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_request(raw)
    assert caught.value.reason == "invalid-type"
    assert "invalid type, must be hashedrekord" in caught.value.message


@pytest.mark.parametrize("name", ["publicKey", "public_key"])
def test_a_request_to_an_identity_log_is_named(name: str) -> None:
    with pytest.raises(MalformedError, match="an identity entry") as caught:
        parsed({name: {"publicKey": "AA==", "signature": "AA=="}, "message": "AA=="})
    assert caught.value.reason == "invalid-type"


def test_both_requests_at_once_are_malformed() -> None:
    with pytest.raises(MalformedError):
        parsed({**as_json(), "dsseRequestV002": {}})


@pytest.mark.parametrize(
    "missing",
    [
        ("digest",),
        ("signature",),
        ("signature", "content"),
        ("signature", "verifier"),
        ("signature", "verifier", "publicKey"),
        ("signature", "verifier", "publicKey", "rawBytes"),
    ],
)
def test_a_missing_part_is_an_invalid_request(missing: tuple[str, ...]) -> None:
    value = as_json()
    container = value["hashedRekordRequestV002"]
    for name in missing[:-1]:
        container = container[name]
    del container[missing[-1]]
    with pytest.raises(MalformedError) as caught:
        parsed(value)
    assert caught.value.reason == "invalid-request"


@pytest.mark.parametrize(
    "where",
    [
        (),
        ("hashedRekordRequestV002",),
        ("hashedRekordRequestV002", "signature"),
        ("hashedRekordRequestV002", "signature", "verifier"),
        ("hashedRekordRequestV002", "signature", "verifier", "publicKey"),
    ],
)
def test_an_unknown_field_is_malformed(where: tuple[str, ...]) -> None:
    value = as_json()
    container = value
    for name in where:
        container = container[name]
    container["extra"] = 1
    with pytest.raises(MalformedError, match="unknown field 'extra'") as caught:
        parsed(value)
    assert caught.value.reason == "malformed"


def test_a_key_and_a_certificate_are_malformed() -> None:
    value = as_json()
    verifier = value["hashedRekordRequestV002"]["signature"]["verifier"]
    verifier["x509Certificate"] = {"rawBytes": "AA=="}
    with pytest.raises(MalformedError, match="both publicKey and x509Certificate"):
        parsed(value)


def test_a_request_over_four_mebibytes_is_a_limit() -> None:
    with pytest.raises(LimitError):
        parse_request(b" " * (4 * 1024 * 1024) + b"{}")


def changed(**parts: Any) -> HashedRekordRequest:
    request = made()
    fields: dict[str, Any] = {
        "digest": request.digest,
        "signature": request.signature,
        "verifier": request.verifier,
    }
    return HashedRekordRequest(**{**fields, **parts})


def key_with(details: str) -> VerifierMaterial:
    return VerifierMaterial(made().verifier.der, is_certificate=False, key_details=details)


def test_a_request_is_checked_as_a_log_checks_it() -> None:
    verify_request(made())
    key = made().verifier
    wrong: list[tuple[HashedRekordRequest, type[ApplianceError], str]] = [
        (changed(digest=bytes(32)), SignatureError, "bad-signature"),
        (changed(digest=bytes(31)), MalformedError, "malformed"),
        (changed(signature=b"\x30\x00"), SignatureError, "bad-signature"),
        (
            changed(verifier=VerifierMaterial(b"junk", is_certificate=False)),
            MalformedError,
            "malformed",
        ),
        (
            changed(verifier=VerifierMaterial(key.der, is_certificate=True)),
            MalformedError,
            "bad-certificate",
        ),
        *(
            (changed(verifier=key_with(details)), SignatureError, "key-details")
            for details in ("", "PKIX_RSA_PKCS1V15_2048_SHA256", "PKIX_ECDSA_P384_SHA_384", "99")
        ),
    ]
    for request, family, reason in wrong:
        with pytest.raises(family) as caught:
            verify_request(request)
        assert caught.value.reason == reason


def test_enum_numbers_that_mean_nothing_are_kept_and_refused() -> None:
    value = as_json()
    value["hashedRekordRequestV002"]["signature"]["verifier"]["keyDetails"] = 99
    request = parsed(value)
    assert request.verifier.key_details == "99"
    with pytest.raises(SignatureError):
        verify_request(request)


def test_a_signature_that_no_ed25519_key_makes_is_another_key_s() -> None:
    digest = hashlib.sha512(ARTIFACT).digest()
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    with pytest.raises(SignatureError, match="another key made it") as caught:
        verify_digest_signature(key, "sha512", digest, bytes(71))
    assert caught.value.reason == "bad-signature"


def test_keys_that_sign_nothing_here_are_refused_by_name() -> None:
    digest = hashlib.sha512(ARTIFACT).digest()
    ed = ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(SignatureError) as wrong:  # pure, where a log takes the prehashed variant
        build_request(digest, ed.sign(ARTIFACT), spki(ed))
    assert wrong.value.reason == "bad-signature"
    koblitz = ec.generate_private_key(ec.SECP256K1())
    with pytest.raises(RefusedError, match="secp256k1; supported are") as caught:
        build_request(digest, b"x", spki(koblitz))
    assert caught.value.reason == "unsupported-key"
    old = dsa.generate_private_key(2048).public_key()
    der = old.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(RefusedError, match="DSA"):
        build_request(digest, b"x", der)
    with pytest.raises(RefusedError) as caught:
        verify_digest_signature(old, "sha512", digest, b"x")
    assert caught.value.reason == "unsupported-key"


def test_the_request_of_the_vector_is_not_changed_by_reading_it() -> None:
    plain = vectors()["private_log_first_entry"]["request"]
    before = copy.deepcopy(plain)
    verify_request(parsed(plain))
    assert plain == before
