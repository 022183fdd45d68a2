"""The small parsers: windows, root keys, roots, bundles, digests, names in certificates."""

from __future__ import annotations

import copy
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import (
    ArgumentError,
    IncompleteError,
    LimitError,
    MalformedError,
    RefusedError,
    SignatureError,
)
from appliance.rekor.protojson import Message
from appliance.rekor.x509_certificate import load_certificate
from appliance.sigstore.certificates import check_leaf
from appliance.sigstore.der import SEQUENCE, only_element
from appliance.sigstore.digests import (
    ArtifactDigests,
    digests_needed,
    parse_digest_argument,
)
from appliance.sigstore.dsse import DsseEnvelope, parse_statement
from appliance.sigstore.identity import CLAIMS, CertificateIdentity, read_names
from appliance.sigstore.root_keys import RootKey
from appliance.sigstore.signer import make_signer, verify_envelope_signature
from appliance.sigstore.sigstore_bundle import SigstoreBundle, parse_sigstore_bundle
from appliance.sigstore.trusted_root import LogKey, parse_trusted_root
from appliance.sigstore.validity import (
    ALWAYS,
    Window,
    format_time,
    parse_time,
    read_window,
    unix_time,
)
from tests.pki import der
from tests.pki.authorities import (
    FULCIO,
    NOON,
    LeafPlan,
    SigningKey,
    certificate_der,
    new_key,
    spki,
)
from tests.pki.bundles import ARTIFACT, EXPECTED, Instance, digests, statement, verify
from tests.shared import vectors

Json = dict[str, Any]
MADE = Instance()


# ---- validity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T12:00:00Z", NOON),
        ("2026-01-01T12:00:00.000Z", NOON),
        ("2026-01-01T13:30:00+01:30", NOON),
        ("2026-01-01T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        ("2026-01-01T12:00:00.999999999Z", NOON + timedelta(microseconds=999999)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_rfc_3339(text: str, expected: datetime) -> None:
    assert parse_time(text, "t") == expected


@pytest.mark.parametrize(
    "text",
    [
        *["", "2026-01-01", "2026-01-01T12:00:00", "2026-01-01 12:00:00Z", "2026-13-01T12:00:00Z"],
        *["2026-01-01T12:00:60Z", "2026-01-01T12:00:00.Z", "2026-01-01T12:00:00z", "now"],
        *["2026-01-01T12:00:00.0000000000Z", "2026-01-01T12:00:00Z\n", "0000-01-01T00:00:00Z"],
        *["9999-12-31T23:59:59-01:00", "2026-01-01T12:00:00+25:00"],
        "\N{ARABIC-INDIC DIGIT TWO}026-01-01T12:00:00Z",
    ],
)
def test_no_other_time_is_read(text: str) -> None:
    with pytest.raises(MalformedError, match=r"^t: not a time"):
        parse_time(text, "t")


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_formatted_time_parses_back(time: datetime) -> None:
    assert parse_time(format_time(time), "t") == time


def test_a_window_is_closed_and_may_be_open() -> None:
    second = timedelta(seconds=1)
    window = Window(NOON, NOON + second)
    assert [window.contains(NOON + n * second) for n in (-1, 0, 1, 2)] == [
        False,
        True,
        True,
        False,
    ]
    assert ALWAYS.contains(datetime.min.replace(tzinfo=UTC))
    assert str(ALWAYS) == "the beginning to now on"
    assert str(window) == "2026-01-01T12:00:00Z to 2026-01-01T12:00:01Z"


def test_a_window_is_read_where_it_has_to_be() -> None:
    assert read_window(Message("p", {}), start_required=False) == ALWAYS
    only_end = Message("p", {"validFor": {"end": "2026-01-01T12:00:00Z", "start": None}})
    assert read_window(only_end, start_required=False) == Window(None, NOON)
    with pytest.raises(MalformedError, match=r"^p\.validFor\.start: missing"):
        read_window(only_end, start_required=True)
    with pytest.raises(MalformedError, match=r"^p\.validFor: missing"):
        read_window(Message("p", {}), start_required=True)


def test_unix_seconds_end_with_the_year_9999() -> None:
    assert unix_time(int(NOON.timestamp())) == NOON
    for seconds in (253402300800, 2**62, 2**63 - 1):
        with pytest.raises(MalformedError):
            unix_time(seconds)


# ---- keys of a root


def test_a_root_key_has_to_be_what_it_is_said_to_be() -> None:
    p256, p384 = new_key(), ec.generate_private_key(ec.SECP384R1())
    ed, old = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
    good: list[tuple[SigningKey, str]] = [
        (p256, "PKIX_ECDSA_P256_SHA_256"),
        (p384, "PKIX_ECDSA_P384_SHA_384"),
        (ed, "PKIX_ED25519"),
        (old, "PKIX_RSA_PKCS1V15_2048_SHA256"),
        (old, "PKIX_RSA_PKCS1V5"),
    ]
    for key, details in good:
        assert RootKey(spki(key), details).spki == spki(key)
    for key, details in ((p384, good[0][1]), (p256, "PKIX_ED25519"), (ed, good[3][1])):
        with pytest.raises(MalformedError) as caught:
            _ = RootKey(spki(key), details).spki
        assert caught.value.reason == "root-key"
    with pytest.raises(MalformedError) as caught:
        _ = RootKey(b"junk", "PKIX_ED25519").spki
    assert caught.value.reason == "root-key"
    with pytest.raises(RefusedError) as refused:
        _ = RootKey(spki(p256), "ML_DSA_65").spki
    assert refused.value.reason == "unsupported-key"


def test_a_root_key_of_a_strange_kind_is_no_key_of_any_name() -> None:
    from cryptography.hazmat.primitives.asymmetric import x25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x25519.X25519PrivateKey.generate().public_key()
    raw = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(MalformedError, match="X25519"):
        _ = RootKey(raw, "PKIX_ED25519").spki


# ---- the trusted root


def read_root(root: Json) -> Any:
    return parse_trusted_root(json.dumps(root).encode())


def test_a_root_keeps_its_digest_and_its_order() -> None:
    raw = json.dumps(MADE.root()).encode()
    root = parse_trusted_root(raw)
    assert root.digest == hashlib.sha256(raw).hexdigest()
    assert [str(log) for log in root.logs] == ["https://log.example", "https://rekor.example"]
    assert str(root.certificate_authorities[0]) == "https://ca.example"


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
        "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    ],
)
def test_a_newer_root_is_read(media_type: str) -> None:
    assert read_root({**MADE.root(), "mediaType": media_type}).logs


def change_root(*path: Any, value: Any = None) -> Json:
    """Return the root with one place changed, or without it."""
    root = copy.deepcopy(MADE.root())
    container: Any = root
    for key in path[:-1]:
        container = container[key]
    if value is None:
        del container[path[-1]]
    else:
        container[path[-1]] = value
    return root


BAD_ROOTS: dict[str, Json] = {
    "no media type": change_root("mediaType"),
    "a future media type": change_root("mediaType", value="x;version=9"),
    "a log without start": change_root("tlogs", 0, "publicKey", "validFor", "start"),
    "a log without window": change_root("tlogs", 0, "publicKey", "validFor"),
    "a CT log without start": change_root("ctlogs", 0, "publicKey", "validFor", "start"),
    "a log without key": change_root("tlogs", 0, "publicKey"),
    "a log without key bytes": change_root("tlogs", 0, "publicKey", "rawBytes"),
    "a log without keyDetails": change_root("tlogs", 0, "publicKey", "keyDetails"),
    "a log without id": change_root("tlogs", 0, "logId"),
    "a log id of 4 bytes": change_root("tlogs", 0, "logId", "keyId", value="AAAAAA=="),
    "a checkpoint key id of 5 bytes": change_root(
        "tlogs", 0, "checkpointKeyId", value={"keyId": "AAAAAAA="}
    ),
    "an address that is none": change_root("tlogs", 0, "baseUrl", value="https://[x"),
    "an empty chain": change_root(
        "certificateAuthorities", 0, "certChain", "certificates", value=[]
    ),
    "no chain": change_root("timestampAuthorities", 0, "certChain"),
    "a time that is none": change_root(
        "certificateAuthorities", 0, "validFor", "end", value="tomorrow"
    ),
    "a list that is none": change_root("tlogs", value={}),
}


@pytest.mark.parametrize("name", list(BAD_ROOTS))
def test_a_bad_root_is_malformed(name: str) -> None:
    with pytest.raises(MalformedError):
        read_root(BAD_ROOTS[name])


def test_an_exotic_key_spoils_only_itself() -> None:
    root = MADE.root()
    exotic = copy.deepcopy(root["tlogs"][0])
    exotic["publicKey"].update(rawBytes="AAAA", keyDetails="LMS_SHA256")
    exotic["logId"]["keyId"] = "A" * 43 + "="
    root["tlogs"].insert(0, exotic)
    verify(MADE.v2_bundle(), root)


def test_a_root_may_lack_addresses_and_windows_of_authorities() -> None:
    root = MADE.root()
    for kind in ("certificateAuthorities", "timestampAuthorities"):
        del root[kind][0]["uri"], root[kind][0]["validFor"]
    parsed = read_root(root)
    assert str(parsed.certificate_authorities[0]).startswith("authority ")
    assert parsed.certificate_authorities[0].valid == ALWAYS
    verify(MADE.v2_bundle(), root)
    bare = LogKey(bytes(32), bytes(4), (), RootKey(b"", ""), ALWAYS)
    assert str(bare) == "00" * 32


# ---- bundles


def test_a_bundle_wants_a_signer_in_its_form() -> None:
    bundle = MADE.v1_bundle()
    bundle["verificationMaterial"]["x509CertificateChain"]["certificates"] = []
    with pytest.raises(MalformedError) as caught:
        parse_sigstore_bundle(json.dumps(bundle).encode())
    assert caught.value.reason == "empty-chain"


def test_a_message_digest_names_a_known_algorithm() -> None:
    bundle = MADE.v2_bundle()
    bundle["messageSignature"]["messageDigest"]["algorithm"] = "SHA3_256"
    with pytest.raises(RefusedError) as caught:
        parse_sigstore_bundle(json.dumps(bundle).encode())
    assert caught.value.reason == "digest-algorithm"


# ---- digests


def parsed(bundle: Json) -> SigstoreBundle:
    return parse_sigstore_bundle(json.dumps(bundle).encode())


def test_a_bundle_says_which_digests_it_needs() -> None:
    bundle = MADE.v2_bundle()
    assert digests_needed(parsed(bundle), EXPECTED) == {"sha256"}
    del bundle["messageSignature"]["messageDigest"]
    assert digests_needed(parsed(bundle), EXPECTED) == {"sha256", "sha384", "sha512"}
    stated = MADE.v2_bundle(MADE.sign_statement(statement(ARTIFACT, "sha512")))
    assert digests_needed(parsed(stated), EXPECTED) == {"sha512"}
    stated["dsseEnvelope"]["payload"] = "AAAA"
    assert digests_needed(parsed(stated), EXPECTED) == {"sha256"}
    assert parsed(stated).signature


def test_a_digest_argument_has_one_form() -> None:
    found = parse_digest_argument("sha256:" + "0f" * 32)
    assert found is not None
    assert found.get("sha256").value == b"\x0f" * 32
    assert parse_digest_argument("sha256:" + "0F" * 32) == found
    for name, n_bytes in {"sha256": 32, "sha384": 48, "sha512": 64}.items():
        longer = parse_digest_argument(f"{name}:" + "0f" * n_bytes)
        assert longer == ArtifactDigests({name: b"\x0f" * n_bytes})
        for other in {32, 48, 64} - {n_bytes}:
            assert parse_digest_argument(f"{name}:" + "0f" * other) is None
    for text in ("", "sha256:", "sha256:0f", "sha1:" + "0f" * 20, "sha256:" + "0f" * 32 + "\n"):
        assert parse_digest_argument(text) is None
    with pytest.raises(IncompleteError, match="we hold only sha256"):
        found.get("sha512")


def test_an_artifact_has_a_digest_of_the_right_length() -> None:
    with pytest.raises(ValueError, match="at least one digest"):
        ArtifactDigests({})
    with pytest.raises(MalformedError):
        ArtifactDigests({"sha256": b"short"})
    assert str(digests()).startswith("sha256:6970ef51")


def test_the_pre_authentication_encoding_is_the_published_one() -> None:
    vector = vectors()["dsse_pae"]
    envelope = DsseEnvelope(vector["payloadType"], vector["payload"].encode(), b"", "")
    assert envelope.encoded == vector["pae"].encode()
    assert hashlib.sha256(envelope.encoded).hexdigest() == vector["sha256_hex"]
    with pytest.raises(RefusedError) as caught:
        parse_statement(envelope)
    assert caught.value.reason == "payload-type"


def test_lengths_in_the_encoding_are_of_bytes() -> None:
    envelope = DsseEnvelope("\N{GREEK SMALL LETTER PI}", b"\xcf\x80", b"", "")
    assert envelope.encoded == b"DSSEv1 2 \xcf\x80 2 \xcf\x80"


# ---- expectations and names


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"identity": "a"},
        {"issuer": "a"},
        {"identity": "a", "identity_regexp": "a", "issuer": "b"},
        {"identity": "a", "issuer": "b", "issuer_regexp": "b"},
        {"identity_regexp": "(", "issuer": "b"},
        {"identity": "a", "issuer": "b", "claims": {"unknown": "c"}},
    ],
)
def test_an_expectation_that_contradicts_itself_is_a_config_error(fields: Json) -> None:
    with pytest.raises(ArgumentError) as caught:
        CertificateIdentity(**fields)
    assert caught.value.reason == "identity"


def leaf(plan: LeafPlan) -> x509.Certificate:
    return MADE.certify(new_key(), plan)


def test_every_claim_is_read() -> None:
    arcs = {oid.rpartition(".")[2]: name for name, oid in CLAIMS.items()}
    assert sorted(map(int, arcs)) == [*range(2, 7), *range(9, 23)]
    # The first ones are raw bytes; the plan writes them as the later ones are.
    der = {arc: name for arc, name in arcs.items() if int(arc) > 6}
    names = read_names(leaf(LeafPlan(claims={arc: f"value {arc}" for arc in der})))
    assert names.claims == {name: f"value {arc}" for arc, name in der.items()}


BAD_NAMES: dict[str, dict[str, bytes]] = {
    "an empty string": {"9": b""},
    "one byte": {"9": b"\x0c"},
    "another tag": {"9": b"\x16\x01a"},
    "a length too long": {"9": b"\x0c\x02a"},
    "a length too short": {"9": b"\x0c\x00a"},
    "a length in too many bytes": {"9": b"\x0c\x81\x01a"},
    "a length with a leading zero": {"9": b"\x0c\x82\x00\x80" + b"a" * 128},
    "an endless length": {"9": b"\x0c\x80a\x00\x00"},
    "not UTF-8": {"9": b"\x0c\x01\xff"},
}


@pytest.mark.parametrize("name", list(BAD_NAMES))
def test_a_claim_is_a_der_string_or_the_certificate_is_bad(name: str) -> None:
    raw = {FULCIO + arc: value for arc, value in BAD_NAMES[name].items()}
    with pytest.raises(MalformedError) as caught:
        read_names(leaf(LeafPlan(raw_extensions=raw)))
    assert caught.value.reason == "bad-certificate"


def test_an_issuer_that_is_not_utf8_is_bad_as_well() -> None:
    plan = LeafPlan(issuer_v1=None, raw_extensions={FULCIO + "1": b"\xff"})
    with pytest.raises(MalformedError):
        read_names(leaf(plan))


def test_long_strings_have_long_lengths() -> None:
    for length in (127, 128, 255, 256, 70000):
        names = read_names(leaf(LeafPlan(claims={"9": "a" * length})))
        assert names.claims["build-signer-uri"] == "a" * length


# ---- certificates


def test_what_is_no_certificate_is_bad() -> None:
    good = certificate_der(leaf(LeafPlan()))
    for raw in (b"", b"junk", good[:-1], good + b"x"):
        with pytest.raises(MalformedError) as caught:
            load_certificate(raw, "thing")
        assert caught.value.reason == "bad-certificate"


def test_broken_extensions_are_bad() -> None:
    raw = certificate_der(leaf(LeafPlan(names=(), raw_extensions={"2.5.29.17": b"junk"})))
    with pytest.raises(MalformedError) as caught:
        load_certificate(raw, "thing")
    assert caught.value.reason == "bad-certificate"
    assert load_certificate(raw, "thing", with_extensions=False)


def test_a_broken_authority_spoils_only_itself() -> None:
    root = MADE.root()
    for kind in ("certificateAuthorities", "timestampAuthorities"):
        broken = copy.deepcopy(root[kind][0])
        broken["certChain"]["certificates"][0]["rawBytes"] = "AAAA"
        root[kind].insert(0, broken)
    verify(MADE.v2_bundle(), root)
    for kind in ("certificateAuthorities", "timestampAuthorities"):
        del root[kind][1]
        with pytest.raises(SignatureError):
            verify(MADE.v2_bundle(), root)


def test_an_old_certificate_without_extensions_is_no_signers() -> None:
    # X.509 version 1, which no builder makes any more: version and extensions cut out.
    good = leaf(LeafPlan(sct_times=()))
    tbs = only_element(good.tbs_certificate_bytes, SEQUENCE, "tbs").children("tbs")
    _version, *kept, _extensions = tbs.rest()
    old_tbs = der.sequence(*(one.encoded for one in kept))
    signature = MADE.authority.key.sign(old_tbs, ec.ECDSA(hashes.SHA256()))
    algorithm = der.sequence(der.object_identifier("1.2.840.10045.4.3.2"))
    raw = der.sequence(old_tbs, algorithm, der.tlv(0x03, b"\x00" + signature))
    with pytest.raises(SignatureError, match="version v1, expected v3"):
        check_leaf(load_certificate(raw, "old"))


def test_a_signer_of_a_kind_it_is_not_is_a_bug() -> None:
    signed = MADE.sign_statement(key=ed25519.Ed25519PrivateKey.generate(), managed=True)
    real = make_signer(spki(signed.key), signed.key.public_key(), is_certificate=False)
    other = make_signer(spki(new_key()), new_key().public_key(), is_certificate=False)
    confused = type(real)(real.der, real.is_certificate, other.key, real.algorithm)
    envelope = DsseEnvelope("x", b"y", b"z", "")
    with pytest.raises(TypeError):
        verify_envelope_signature(envelope, confused)


def test_limits_of_a_root_are_limits() -> None:
    root = MADE.root()
    root["tlogs"] *= 200
    with pytest.raises(LimitError):
        read_root(root)
