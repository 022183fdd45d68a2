"""Keys: their ids by every formula, their one text form, and what they sign."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import MalformedError
from appliance.tlog.note_keys import (
    KeyType,
    VerifierKey,
    check_key_name,
    ed25519_key,
    load_public_key_file,
    load_spki,
    log_key,
    parse_vkey,
    rekor_v1_key,
)
from tests.shared import shared_cases, vectors

FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
PROD_V1 = b64decode(
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2G2Y+2tabdTV5BcGiBIx0a9fAFwrkBbmLSGtks4L3qX6yYY0zufBnhC8"
    "Ur/iy55GhWP/9A/bY2LhC30M9+RYtw=="
)
PROD_V2 = b64decode("MCowBQYDK2VwAyEAt8rlp1knGwjfbcXAYPYAkn0XiLz1x8O4t0YkEhie244=")
NAMES = st.text(min_size=1, max_size=40).filter(
    lambda name: name.isprintable() and "+" not in name and " " not in name
)


def ed25519_private(seed: int = 1) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# Key ids.


def test_every_published_key_has_its_log_id() -> None:
    for published in vectors()["keys"]:
        make = rekor_v1_key if published["kind"] == "v1" else log_key
        key = make(published["name"], b64decode(published["spki_b64"]))
        assert b64encode(key.log_id).decode() == published["log_id_b64"]
        assert key.key_id.hex() == published["key_id_hex"]
        assert key.spki == b64decode(published["spki_b64"])
        if "vkey" in published:
            assert key.vkey == published["vkey"]
            assert parse_vkey(key.vkey) == key


def test_the_production_keys_have_the_ids_on_their_checkpoints() -> None:
    assert rekor_v1_key("rekor.sigstore.dev", PROD_V1).key_id.hex() == "c0d23d6a"
    v2 = log_key("log2025-1.rekor.sigstore.dev", PROD_V2)
    assert v2.key_id.hex() == "cf119915"
    assert v2.vkey == (
        "log2025-1.rekor.sigstore.dev+cf119915+AbfK5adZJxsI323FwGD2AJJ9F4i89cfDuLdGJBIYntuO"
    )


def test_an_ed25519_id_hashes_name_type_and_key() -> None:
    raw = PROD_V2[-32:]
    for key_type, byte in ((KeyType.ED25519, b"\x01"), (KeyType.COSIGNATURE, b"\x04")):
        key = ed25519_key("name", raw, key_type)
        assert key.log_id == sha256(b"name\n" + byte + raw).digest()
        assert key.key_id == key.log_id[:4]
        assert key.spki == PROD_V2


def test_an_ecdsa_id_hashes_the_spki_alone() -> None:
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        der = spki(ec.derive_private_key(7, curve).public_key())
        for make in (log_key, rekor_v1_key):
            assert make("any", der).log_id == make("other", der).log_id == sha256(der).digest()


def test_an_rsa_id_hashes_name_label_and_spki() -> None:
    der = b64decode(vectors()["keys"][-1]["spki_b64"])
    label = b"testkey\n\xffPKIX-RSA-PKCS#1v1.5"
    assert log_key("testkey", der).log_id == sha256(label + der).digest()
    assert rekor_v1_key("testkey", der).log_id == sha256(der).digest()
    assert log_key("testkey", der).spki == der
    encoded = b64encode(b"\xff" + der).decode()
    assert log_key("testkey", der).vkey == f"testkey+adf42d0b+{encoded}"


def test_a_rekor_v1_id_hashes_the_spki_whatever_the_key() -> None:
    assert rekor_v1_key("any", PROD_V2).log_id == sha256(PROD_V2).digest()
    assert rekor_v1_key("any", PROD_V2).prehash == ""


def test_the_staging_ids_are_the_published_ones() -> None:
    ids = {key["name"]: key["key_id_hex"] for key in vectors()["keys"]}
    assert ids["rekor.sigstage.dev"] == "d32f30a3"
    assert ids["log2025-alpha1.rekor.sigstage.dev"] == "f30d5a99"
    assert ids["log2025-alpha2.rekor.sigstage.dev"] == "29f4a249"
    assert ids["log2025-alpha3.rekor.sigstage.dev"] == "d3d3a70c"
    assert ids["log2026-1.us-east4.rekor.sigstage.dev"] == "3a727147"


# The text form.


def test_the_key_of_the_signed_note_specification_parses() -> None:
    key = parse_vkey(FOO)
    assert (key.name, key.key_type, key.key_id.hex()) == (
        "example.com/foo",
        KeyType.ED25519,
        "530d903a",
    )
    assert key.vkey == FOO


def test_every_published_witness_key_parses() -> None:
    for vkey in vectors()["witness_vkeys"]:
        key = parse_vkey(vkey)
        assert key.key_type is KeyType.COSIGNATURE
        assert key.vkey == vkey


def test_base64_with_plus_signs_survives_the_splitting() -> None:
    mirror = "mirror.example.org+3fb148ef+BAAjjch9GyYz0sJsJx7ALhbdAtz2ov0unbzSl1vMp94O"
    sunlight = (
        "witness.navigli.sunlight.geomys.org+a3e00fe2+BNy/co4C1Hn1p+INwJrfUlgz7W55dSZReusH/GhUhJ/G"
    )
    assert parse_vkey(mirror).vkey == mirror
    assert parse_vkey(sunlight).vkey == sunlight


@given(NAMES, st.integers(1, 255), st.sampled_from([KeyType.ED25519, KeyType.COSIGNATURE]))
def test_what_was_formatted_parses(name: str, seed: int, key_type: KeyType) -> None:
    key = ed25519_key(name, ed25519_private(seed).public_key().public_bytes_raw(), key_type)
    assert parse_vkey(key.vkey) == key


def test_an_ecdsa_key_of_each_curve_parses_with_its_hash() -> None:
    curves = {"sha256": ec.SECP256R1(), "sha384": ec.SECP384R1(), "sha512": ec.SECP521R1()}
    for prehash, curve in curves.items():
        key = log_key("log", spki(ec.derive_private_key(7, curve).public_key()))
        assert key.prehash == prehash
        assert parse_vkey(key.vkey) == key


@given(st.text() | st.text(alphabet="abc+01A=/ \n", max_size=60))
def test_any_text_is_a_key_in_its_one_spelling_or_malformed(text: str) -> None:
    for line in (text, FOO + text, FOO[:33] + text, text + FOO[15:]):
        try:
            assert parse_vkey(line).vkey == line
        except MalformedError:
            continue


def test_every_part_of_a_good_key_is_rejected() -> None:
    for start in range(len(FOO)):
        for stop in range(start, len(FOO) + 1):
            if FOO[start:stop] != FOO:
                with pytest.raises(MalformedError):
                    parse_vkey(FOO[start:stop])


def test_a_good_key_with_one_character_changed_is_rejected() -> None:
    for position in range(len(FOO)):
        for change in (1, -1, 32):
            changed = chr((ord(FOO[position]) + change) & 0x7F)
            with pytest.raises(MalformedError):
                parse_vkey(FOO[:position] + changed + FOO[position + 1 :])


BAD_KEYS = {
    "nothing": ("", "verifier key '': expected name+id+key"),
    "no key": ("name+00000000", "verifier key 'name+00000000': expected name+id+key"),
    "empty key": (
        "name+00000000+",
        "verifier key 'name': expected type 1, 2, 4 or 6, got nothing",
    ),
    "wrong id": (
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "verifier key 'example.com/foo': key id '530d903b' is not that of this name and key",
    ),
    "upper case id": (
        FOO.replace("530d903a", "530D903A"),
        "verifier key 'example.com/foo': key id '530D903A' is not that of this name and key",
    ),
    "another name": (
        FOO.replace("foo", "fop"),
        "verifier key 'example.com/fop': key id '530d903a' is not that of this name and key",
    ),
    "a short ML-DSA key": (
        "name+00000000+" + b64encode(b"\x06" + bytes(1311)).decode(),
        "ML-DSA-44 key: expected 1312 bytes, got 1311",
    ),
    "RSA": (
        "name+00000000+" + b64encode(b"\xff" + bytes(32)).decode(),
        "verifier key 'name': expected type 1, 2, 4 or 6, got ff",
    ),
    "short": (
        "name+00000000+" + b64encode(b"\x01" + bytes(31)).decode(),
        "key of 'name': expected 32 bytes, got 31",
    ),
    "Ed25519 as ECDSA": (
        "name+00000000+" + b64encode(b"\x02" + PROD_V2).decode(),
        "verifier key 'name': type 2 is ECDSA, the key is not",
    ),
    "junk as ECDSA": (
        "name+00000000+" + b64encode(b"\x02junk").decode(),
        "not a public key (SPKI DER): 6a756e6b",
    ),
    "space in the name": (FOO.replace("/", " "), "not a key name (no spaces, no +): "),
    "no name": (FOO.removeprefix("example.com/foo"), "not a key name (no spaces, no +): ''"),
    "bad base64": ("name+00000000+A", "verifier key 'name': not base64: 'A'"),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_bad_key_is_rejected_with_its_fault(name: str) -> None:
    vkey, message = BAD_KEYS[name]
    with pytest.raises(MalformedError) as caught:
        parse_vkey(vkey)
    assert caught.value.message.startswith(message)


# Names.


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\tb", "a\nb", "a\u00a0b", "a\u0085", "\u2028", "\u3000", "+"]
)
def test_a_name_with_space_or_plus_is_rejected(name: str) -> None:
    with pytest.raises(MalformedError, match="not a key name"):
        check_key_name(name)
    with pytest.raises(MalformedError, match="not a key name"):
        ed25519_key(name, PROD_V2[-32:])


@pytest.mark.parametrize("name", ["a\x7f", "a\u009b2J", "\u202eabc", "a\u00ad", "\udc80"])
def test_a_name_that_does_not_print_may_sign_notes_but_is_not_enrolled(name: str) -> None:
    check_key_name(name)
    for make in (log_key, rekor_v1_key):
        with pytest.raises(MalformedError, match="unprintable characters: ") as caught:
            make(name, PROD_V2)
        assert caught.value.message.isprintable()


def test_a_name_of_255_bytes_is_enrolled_and_a_longer_one_is_not() -> None:
    assert ed25519_key("\u00e9" * 127 + "x", PROD_V2[-32:]).name
    with pytest.raises(MalformedError, match="key name of over 255 bytes: "):
        ed25519_key("\u00e9" * 128, PROD_V2[-32:])


@pytest.mark.parametrize("name", ["a", "log.example/2026", "\u00e9t\u00e9", "\U0001f332"])
def test_any_other_name_is_a_name(name: str) -> None:
    assert parse_vkey(ed25519_key(name, PROD_V2[-32:]).vkey).name == name


# Keys that are refused.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    t = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P
    return x, y


def multiply(n: int, point: Point) -> Point:
    total: Point = (0, 1)
    while n:
        if n & 1:
            total = add(total, point)
        point, n = add(point, point), n >> 1
    return total


def point_with_y(y: int) -> Point | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return None if (x * x - square) % P else (x, y)


def low_order_encodings() -> set[bytes]:
    """Compute every encoding, canonical or not, of the eight points of low order."""
    torsion: Point = (0, 1)
    y = 2
    while multiply(4, torsion) == (0, 1):  # until its order is 8
        if point := point_with_y(y):
            torsion = multiply(L, point)
        y += 1
    encodings = set()
    for k in range(8):
        x, y = multiply(k, torsion)
        for spelling in (y, y + P):
            if spelling < 2**255:
                for sign in {x & 1} if x else {0, 1}:
                    encodings.add((spelling | sign << 255).to_bytes(32, "little"))
    return encodings


LOW_ORDER = sorted(low_order_encodings())


def test_there_are_14_encodings_of_low_order() -> None:
    assert len(LOW_ORDER) == 14


@pytest.mark.parametrize("raw", LOW_ORDER, ids=bytes.hex)
def test_a_key_of_low_order_is_refused_however_it_comes(raw: bytes) -> None:
    der = PROD_V2[:12] + raw
    vkeys = []
    for kind in (b"\x01", b"\x04"):
        key_id = sha256(b"name\n" + kind + raw).hexdigest()[:8]
        vkeys.append(f"name+{key_id}+{b64encode(kind + raw).decode()}")
    enrolments: list[Callable[[], VerifierKey]] = [
        lambda: ed25519_key("name", raw),
        lambda: ed25519_key("name", raw, KeyType.COSIGNATURE),
        lambda: log_key("name", der),
        lambda: rekor_v1_key("name", der),
        lambda: parse_vkey(vkeys[0]),
        lambda: parse_vkey(vkeys[1]),
    ]
    for enrol in enrolments:
        with pytest.raises(MalformedError) as caught:
            enrol()
        assert caught.value.reason == "low-order-key"
        assert caught.value.message == "key of 'name' has low order: anybody can sign for it"


def test_under_a_key_of_low_order_anybody_could_have_signed() -> None:
    # Why they are refused: the library itself believes this.
    key = VerifierKey("name", KeyType.ED25519, LOW_ORDER[0], bytes(32))
    identity = (1).to_bytes(32, "little")
    assert any(
        VerifierKey("name", KeyType.ED25519, raw, bytes(32)).signed(text, identity + bytes(32))
        for raw in LOW_ORDER
        for text in (b"one\n", b"another\n")
    )
    assert key.spki == PROD_V2[:12] + LOW_ORDER[0]


@pytest.mark.parametrize("above", range(2, 19))
@pytest.mark.parametrize("sign", [0, 1])
def test_a_key_with_another_spelling_of_y_is_refused(above: int, sign: int) -> None:
    raw = (P + above | sign << 255).to_bytes(32, "little")
    with pytest.raises(MalformedError, match="not a canonical Ed25519 key"):
        ed25519_key("name", raw)


@pytest.mark.parametrize("n_bytes", [0, 31, 33, 64])
def test_an_ed25519_key_has_32_bytes(n_bytes: int) -> None:
    with pytest.raises(MalformedError, match=f"expected 32 bytes, got {n_bytes}"):
        ed25519_key("name", b"\x03" * n_bytes)


def test_a_key_of_another_kind_is_refused_by_name() -> None:
    others: list[PublicKeyTypes] = [
        x25519.X25519PrivateKey.from_private_bytes(bytes(32)).public_key(),
        ec.derive_private_key(7, ec.SECP256K1()).public_key(),
    ]
    for other in others:
        for make in (log_key, rekor_v1_key):
            with pytest.raises(
                MalformedError, match="expected Ed25519, P-256, P-384, P-521, RSA or ML-DSA-44"
            ):
                make("name", spki(other))


def test_an_spki_in_another_spelling_is_refused() -> None:
    public = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    compressed = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    # SEQUENCE, the same algorithm, and a point of 33 bytes instead of 65.
    der = bytes.fromhex("3039") + spki(public)[2:23] + bytes.fromhex("032200") + compressed
    assert spki(load_spki(der)) == spki(public), "the library no longer reads this"
    for make in (log_key, rekor_v1_key):
        with pytest.raises(MalformedError, match="is not canonical SPKI DER: 3039"):
            make("name", der)


@pytest.mark.parametrize("der", [b"", b"junk", PROD_V2[:-1], PROD_V2 + b"\0", PROD_V1[:-1]])
def test_what_is_no_spki_is_malformed(der: bytes) -> None:
    loads: list[Callable[[bytes], object]] = [
        load_spki,
        lambda raw: log_key("name", raw),
        lambda raw: rekor_v1_key("name", raw),
    ]
    for load in loads:
        with pytest.raises(MalformedError, match=r"not a public key \(SPKI DER\)"):
            load(der)


def test_every_flipped_byte_of_an_spki_is_another_key_or_malformed() -> None:
    for der in (PROD_V1, PROD_V2):
        for position in range(len(der)):
            for mask in (1, 0x80, 0xFF):
                flipped = bytearray(der)
                flipped[position] ^= mask
                try:
                    key = log_key("name", bytes(flipped))
                except MalformedError:
                    continue
                assert key.spki == bytes(flipped)
                assert key.log_id != log_key("name", der).log_id


# Key files.


def test_a_pem_or_der_file_is_read_to_the_same_spki() -> None:
    pem = load_spki(PROD_V1).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for data in (pem, b"\n  " + pem, PROD_V1):
        assert load_public_key_file(data) == PROD_V1


@pytest.mark.parametrize("data", [b"", b"junk", b"-----BEGIN PUBLIC KEY-----\njunk\n", b"\n"])
def test_a_file_that_holds_no_public_key_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match="public key"):
        load_public_key_file(data)


# Signatures.

TEXT = b"what was signed\n"


def test_an_ed25519_signature_is_over_the_bare_text() -> None:
    private = ed25519_private()
    key = log_key("name", spki(private.public_key()))
    assert key.signed(TEXT, private.sign(TEXT))
    assert not key.signed(TEXT + b"\n", private.sign(TEXT))
    assert not key.signed(TEXT, private.sign(TEXT)[:-1])
    assert not key.signed(TEXT, b"")


def test_an_ecdsa_signature_of_v2_uses_the_hash_of_its_curve_and_one_of_v1_sha256() -> None:
    sizes: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
        "P-256": (ec.SECP256R1(), hashes.SHA256()),
        "P-384": (ec.SECP384R1(), hashes.SHA384()),
        "P-521": (ec.SECP521R1(), hashes.SHA512()),
    }
    for curve, prehash in sizes.values():
        private = ec.derive_private_key(7, curve)
        der = spki(private.public_key())
        by_curve = private.sign(TEXT, ec.ECDSA(prehash))
        by_sha256 = private.sign(TEXT, ec.ECDSA(hashes.SHA256()))
        assert log_key("name", der).signed(TEXT, by_curve)
        assert rekor_v1_key("name", der).signed(TEXT, by_sha256)
        assert log_key("name", der).signed(TEXT, by_sha256) == isinstance(prehash, hashes.SHA256)
        assert not log_key("name", der).signed(TEXT + b"x", by_curve)
        assert not log_key("name", der).signed(TEXT, by_curve + b"\0")


def test_an_rsa_signature_is_pkcs1_with_sha256() -> None:
    private = rsa.generate_private_key(65537, 2048)
    der = spki(private.public_key())
    signature = private.sign(TEXT, padding.PKCS1v15(), hashes.SHA256())
    for make in (log_key, rekor_v1_key):
        assert make("name", der).signed(TEXT, signature)
        assert not make("name", der).signed(TEXT + b"x", signature)


def test_a_key_of_an_unknown_kind_has_signed_nothing() -> None:
    der = spki(x25519.X25519PrivateKey.from_private_bytes(bytes(32)).public_key())
    assert not VerifierKey("name", KeyType.RSA, der, bytes(32)).signed(TEXT, b"anything")


def test_a_cosignature_carries_its_time_into_what_is_signed() -> None:
    private = ed25519_private()
    key = ed25519_key("w", private.public_key().public_bytes_raw(), KeyType.COSIGNATURE)

    def cosigned(timestamp: int, said: str | None = None) -> bytes:
        message = f"cosignature/v1\ntime {said or timestamp}\n".encode() + TEXT
        return timestamp.to_bytes(8) + private.sign(message)

    assert key.signed(TEXT, cosigned(0))
    assert key.signed(TEXT, cosigned(1_700_000_000))
    assert key.signed(TEXT, cosigned(2**63 - 1))
    assert not key.signed(TEXT, cosigned(2**63)), "no time is later than 2^63 - 1"
    assert not key.signed(TEXT, cosigned(5, said="6"))
    assert not key.signed(TEXT, cosigned(5, said="05"))
    assert not key.signed(TEXT, private.sign(TEXT))
    assert not key.signed(TEXT, cosigned(5)[:-1])
    assert not key.signed(TEXT, cosigned(5) + b"\0")
    assert not key.signed(TEXT, cosigned(5)[8:])


@pytest.mark.parametrize("file", shared_cases("corpus/wycheproof/testvectors_v1", "*.json"))
def test_wycheproof_agrees_on_every_signature(file: Path) -> None:
    wrong = []
    count = 0
    suite: Any = json.loads(file.read_bytes())
    for group in suite["testGroups"]:
        key = log_key("name", bytes.fromhex(group["publicKeyDer"]))
        for case in group["tests"]:
            count += 1
            text, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
            if key.signed(text, signature) != (case["result"] == "valid"):
                wrong.append((case["tcId"], case["comment"]))
    assert not wrong
    assert count == suite["numberOfTests"] > 150
