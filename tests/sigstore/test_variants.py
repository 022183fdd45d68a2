"""Everything that must verify, one thing varied at a time."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from appliance.errors import (
    DigestError,
    IncompleteError,
    LimitError,
    MalformedError,
    RefusedError,
    SignatureError,
)
from appliance.rekor.canonical_json import canonical_json
from appliance.rekor.ed25519 import _BASE, _combine, _encode
from appliance.sigstore.case import OptIns
from appliance.sigstore.digests import ArtifactDigests, prefixes_needed
from appliance.sigstore.identity import CertificateIdentity, ExpectedSigner, ManagedKey
from appliance.sigstore.sigstore_bundle import parse_sigstore_bundle
from appliance.sigstore.trusted_root import (
    parse_trusted_root,
    parse_trusted_roots,
    pinned_log_key,
)
from appliance.sigstore.validity import Window
from appliance.sigstore.verdict import Outcome, Verification
from appliance.sigstore.verification import judge_bundle, single_entries, verify_bundle
from appliance.tlog.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint
from appliance.tlog.cosignature import cosign, cosigner_key
from appliance.tlog.note import SigningKey, parse_note
from appliance.tlog.note_keys import rekor_v1_key
from appliance.tlog.tlog_policy import TlogPolicy, parse_tlog_policy
from tests.pki.authorities import (
    IDENTITY,
    ISSUER,
    NOON,
    CtLog,
    LeafPlan,
    TimestampAuthority,
    certificate_der,
    new_authority,
    new_timestamp_authority,
    other_name,
    spki,
)
from tests.pki.bundles import (
    ARTIFACT,
    CHAIN_TYPE,
    EXPECTED,
    V1_TYPE,
    Instance,
    digests,
    dsse_v1,
    dsse_v2,
    encoded,
    hashedrekord_v2,
    intoto,
    managed,
    statement,
    verify,
)
from tests.pki.logs import V1_ORIGIN, V2Log

Json = dict[str, Any]
MADE = Instance()
ROOT = MADE.root()


def root_of(instance: Instance = MADE) -> Json:
    return copy.deepcopy(instance.root())


def base64_of(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def stamps_of(bundle: Json) -> list[Json]:
    data = bundle["verificationMaterial"]["timestampVerificationData"]
    return data["rfc3161Timestamps"]  # type: ignore[no-any-return]


def entry_of(bundle: Json) -> Json:
    return bundle["verificationMaterial"]["tlogEntries"][0]  # type: ignore[no-any-return]


# ---- keys and algorithms

KEYS: dict[str, tuple[Any, str]] = {
    "P-256": (ec.generate_private_key(ec.SECP256R1()), "sha256"),
    "P-384": (ec.generate_private_key(ec.SECP384R1()), "sha384"),
    "P-521": (ec.generate_private_key(ec.SECP521R1()), "sha512"),
    "RSA-2048": (rsa.generate_private_key(65537, 2048), "sha256"),
}


@pytest.mark.parametrize("name", list(KEYS))
@pytest.mark.parametrize("is_managed", [False, True])
def test_a_key_signs_its_natural_digest(name: str, is_managed: bool) -> None:
    key, algorithm = KEYS[name]
    signed = MADE.sign_artifact(key, algorithm=algorithm, managed=is_managed)
    expected = managed(signed) if is_managed else EXPECTED
    verify(MADE.v2_bundle(signed), ROOT, expected)
    verify(MADE.v1_bundle(signed), ROOT, expected)
    signed = MADE.sign_statement(key=key, algorithm=algorithm, managed=is_managed)
    verify(MADE.v2_bundle(signed), ROOT, expected)
    verify(MADE.v1_bundle(signed), ROOT, expected)


def test_a_p384_key_may_have_signed_sha256_in_a_v1_log() -> None:
    key, _ = KEYS["P-384"]
    verify(MADE.v1_bundle(MADE.sign_artifact(key, algorithm="sha256")), ROOT)
    verify(MADE.v1_bundle(MADE.sign_statement(key=key, algorithm="sha256")), ROOT)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
def test_without_a_message_digest_both_hashes_are_tried(algorithm: str) -> None:
    key, _ = KEYS["P-384"]
    bundle = MADE.v1_bundle(MADE.sign_artifact(key, algorithm=algorithm))
    del bundle["messageSignature"]["messageDigest"]
    verify(bundle, ROOT)
    given = ArtifactDigests({"sha256": hashlib.sha256(ARTIFACT).digest()})
    if algorithm == "sha256":
        verify(bundle, ROOT, artifact=given)
    else:
        with pytest.raises(IncompleteError, match="we hold only sha256"):
            verify(bundle, ROOT, artifact=given)


def test_a_sha256_alone_cannot_serve_a_sha384_signature() -> None:
    key, _ = KEYS["P-384"]
    bundle = MADE.v2_bundle(MADE.sign_artifact(key, algorithm="sha384"))
    given = ArtifactDigests({"sha256": hashlib.sha256(ARTIFACT).digest()})
    with pytest.raises(IncompleteError) as caught:
        verify(bundle, ROOT, artifact=given)
    assert caught.value.reason == "digest-algorithm"
    assert "give the file itself" in caught.value.next_step


@pytest.mark.parametrize("details", ["PKIX_ED25519", "PKIX_ED25519_PH"])
def test_an_ed25519_key_signs_envelopes(details: str) -> None:
    signed = MADE.sign_statement(key=ed25519.Ed25519PrivateKey.generate())
    entry = MADE.v1_log.add(canonical_json(dsse_v1(signed)))
    verify(MADE.bundle(signed, entry, media_type=V1_TYPE, stamps=[]), ROOT)
    body = dsse_v2(signed)
    body["spec"]["dsseV002"]["signatures"][0]["verifier"]["keyDetails"] = details
    verify(MADE.bundle(signed, MADE.v2_log.add(canonical_json(body))), ROOT)


# ---- entries and statements


@pytest.mark.parametrize("body", [dsse_v1, intoto])
def test_an_envelope_in_a_v1_log(body: Any) -> None:
    signed = MADE.sign_statement()
    entry = MADE.v1_log.add(canonical_json(body(signed)))
    verdict = verify(MADE.bundle(signed, entry, media_type=CHAIN_TYPE), ROOT)
    assert [one.source for one in verdict.signing_times] == ["signed-entry-timestamp", "rfc3161"]
    assert verdict.predicate_type == "https://example.com/predicate"


def test_an_envelope_as_v2_logs_took_it_until_2026() -> None:
    signed = MADE.sign_statement()
    verdict = verify(MADE.bundle(signed, MADE.v2_log.add(canonical_json(dsse_v2(signed)))), ROOT)
    assert verdict.checks[-1].text == "dsse 0.0.2"


@pytest.mark.parametrize("kind", ["v1", "v0.1"])
@pytest.mark.parametrize("algorithms", [["sha256"], ["sha384"], ["sha512"], ["sha256", "sha512"]])
def test_a_statement_names_its_subject_by_any_digest(kind: str, algorithms: list[str]) -> None:
    content = statement(ARTIFACT, *algorithms, kind=f"https://in-toto.io/Statement/{kind}")
    content["subject"][0]["digest"]["gitCommit"] = "00"
    content["subject"].insert(0, {"name": "other", "digest": {"sha256": "00" * 32}})
    verify(MADE.v2_bundle(MADE.sign_statement(content)), ROOT)


def test_a_promise_alone_suffices_for_an_attestation() -> None:
    bundle = MADE.v1_bundle(MADE.sign_statement())
    entry_of(bundle)["inclusionProof"] = None
    verdict = verify(bundle, ROOT)
    assert verdict.log is not None
    assert (verdict.log.entry_index, verdict.log.checkpoint, verdict.log.origin) == (None, None, "")
    assert verdict.json["log"]["treeSize"] is None


def test_a_v01_proof_without_checkpoint_is_ignored() -> None:
    bundle = MADE.v1_bundle()
    proof = entry_of(bundle)["inclusionProof"]
    del proof["checkpoint"]
    proof["hashes"] = []
    verify(bundle, ROOT)


def test_v03_and_v02_bundles_of_a_v1_log_need_no_promise_if_they_are_stamped() -> None:
    signed = MADE.sign_artifact()
    bundle = MADE.v1_bundle(signed, media_type=CHAIN_TYPE)
    del entry_of(bundle)["inclusionPromise"]
    stamp = base64_of(MADE.timestamp_authority.stamp(signed.signature))
    bundle["verificationMaterial"]["timestampVerificationData"] = {
        "rfc3161Timestamps": [{"signedTimestamp": stamp}]
    }
    verdict = verify(bundle, ROOT)
    assert [one.source for one in verdict.signing_times] == ["rfc3161"]


def test_a_chain_after_the_leaf_is_not_used() -> None:
    bundle = MADE.v1_bundle()
    chain = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
    chain.append({"rawBytes": base64_of(b"not a certificate")})
    verify(bundle, ROOT)


def test_unknown_fields_line_breaks_and_plain_integers_are_read() -> None:
    bundle = MADE.v2_bundle()
    bundle["future"] = {"anything": [1.5, None]}
    message = bundle["messageSignature"]
    message["signature"] = message["signature"][:20] + "\n" + message["signature"][20:] + "\r\n"
    entry = entry_of(bundle)
    entry["logIndex"] = int(entry["logIndex"])
    entry["inclusionPromise"] = None
    verify(bundle, ROOT)


# ---- certificates

NAMES = {
    "e-mail": (x509.RFC822Name(IDENTITY), IDENTITY),
    "URI": (
        x509.UniformResourceIdentifier("https://ci.example/w@refs/heads/main"),
        "https://ci.example/w@refs/heads/main",
    ),
    "other name": (other_name("foo!oidc.local"), "foo!oidc.local"),
    "long other name": (other_name("\N{GREEK SMALL LETTER PI}" * 100), "\u03c0" * 100),
}


@pytest.mark.parametrize("kind", list(NAMES))
def test_an_identity_of_any_kind(kind: str) -> None:
    name, identity = NAMES[kind]
    other = x509.DNSName("ignored.example")
    bundle = MADE.v2_bundle(MADE.sign_artifact(plan=LeafPlan(names=[other, name])))
    verdict = verify(bundle, ROOT, CertificateIdentity(identity, ISSUER))
    assert verdict.signer is not None
    assert (verdict.signer.identity, verdict.signer.issuer) == (identity, ISSUER)


@pytest.mark.parametrize("issuers", [{"issuer_v1": None}, {"issuer_v2": None}])
def test_either_issuer_extension_suffices(issuers: dict[str, None]) -> None:
    verify(MADE.v2_bundle(MADE.sign_artifact(plan=LeafPlan().but(**issuers))), ROOT)


def test_regular_expressions_match_from_end_to_end() -> None:
    expected = CertificateIdentity(
        identity_regexp=r".*@example\.com", issuer_regexp="https://issuer[.]example"
    )
    verify(MADE.v2_bundle(), ROOT, expected)


def test_claims_are_conditions_and_are_reported() -> None:
    plan = LeafPlan(claims={"20": "push", "22": "public"})
    expected = CertificateIdentity(IDENTITY, ISSUER, claims={"build-trigger": "push"})
    verdict = verify(MADE.v2_bundle(MADE.sign_artifact(plan=plan)), ROOT, expected)
    assert verdict.signer is not None
    assert verdict.signer.claims == {
        "build-trigger": "push",
        "source-repository-visibility": "public",
    }


def test_an_intermediate_may_be_the_anchor() -> None:
    root = root_of()
    root["certificateAuthorities"][0]["certChain"]["certificates"].pop()
    verify(MADE.v2_bundle(), root)


def test_an_anchor_may_set_conditions_that_are_met() -> None:
    permitted = x509.NameConstraints([x509.DNSName("ci.example")], None)
    for root in (
        new_authority("constrained", constraints=permitted),
        new_authority("short", path_length=1),
    ):
        instance = Instance(root_authority=root)
        plan = LeafPlan(names=[x509.RFC822Name(IDENTITY), x509.DNSName("ci.example")])
        verify(instance.v2_bundle(instance.sign_artifact(plan=plan)), instance.root())


def test_an_issuer_for_web_servers_only_is_not_held_to_it() -> None:
    instance = Instance()
    instance.authority = new_authority(
        "with usage", instance.root_authority, usage=ExtendedKeyUsageOID.CODE_SIGNING
    )
    verify(instance.v2_bundle(), instance.root())


def test_authorities_of_the_past_and_present_stand_side_by_side() -> None:
    root, past = root_of(), Instance().root()
    root["certificateAuthorities"].insert(0, past["certificateAuthorities"][0])
    root["timestampAuthorities"].insert(0, past["timestampAuthorities"][0])
    ended = copy.deepcopy(root["tlogs"][1])
    ended["publicKey"]["validFor"]["end"] = "2025-06-01T00:00:00Z"
    root["tlogs"].insert(0, ended)
    ended = copy.deepcopy(root["ctlogs"][0])
    ended["publicKey"]["validFor"]["end"] = "2025-06-01T00:00:00Z"
    root["ctlogs"].insert(0, ended)
    verify(MADE.v2_bundle(), root)
    verify(MADE.v1_bundle(), root)


@pytest.mark.parametrize("side", ["start", "end"])
def test_windows_are_closed_at_both_ends(side: str) -> None:
    at_noon, stamped = "2026-01-01T12:00:00.000Z", "2026-01-01T13:01:00+01:00"
    root = root_of()
    root["tlogs"][1]["publicKey"]["validFor"][side] = at_noon
    root["ctlogs"][0]["publicKey"]["validFor"][side] = at_noon
    root["certificateAuthorities"][0]["validFor"][side] = at_noon
    verify(MADE.v1_bundle(), root)
    root["certificateAuthorities"][0]["validFor"][side] = stamped
    root["timestampAuthorities"][0]["validFor"][side] = stamped
    verify(MADE.v2_bundle(), root)


@pytest.mark.parametrize("seconds", [0, 600])
def test_a_certificate_is_valid_at_both_its_ends(seconds: int) -> None:
    verify(MADE.v1_bundle(time=NOON + timedelta(seconds=seconds)), ROOT)


# ---- certificate timestamps


def test_one_valid_certificate_timestamp_suffices() -> None:
    plan = LeafPlan(sct_times=[NOON - timedelta(days=400), NOON])
    verify(MADE.v2_bundle(MADE.sign_artifact(plan=plan)), ROOT)


@pytest.mark.parametrize("kind", ["extensions", "RSA", "PKCS1"])
def test_certificate_timestamps_of_other_kinds_of_log(kind: str) -> None:
    rsa_key = KEYS["RSA-2048"][0]
    instance = Instance(ct_log=CtLog(extensions=b"\x00\x00\x05index"))
    if kind != "extensions":
        instance.ct_log = CtLog(key=rsa_key)
    root = instance.root()
    key = root["ctlogs"][0]["publicKey"]
    if kind == "RSA":
        key["keyDetails"] = "PKIX_RSA_PKCS1V15_2048_SHA256"
    if kind == "PKCS1":
        pkcs1 = rsa_key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        key.update(rawBytes=base64_of(pkcs1), keyDetails="PKCS1_RSA_PKCS1V5")
    verify(instance.v2_bundle(), root)


@pytest.mark.parametrize("time", [NOON, NOON + timedelta(minutes=10)], ids=["first", "last"])
def test_a_certificate_timestamp_at_either_end_of_the_validity(time: datetime) -> None:
    verify(MADE.v2_bundle(MADE.sign_artifact(plan=LeafPlan(sct_times=[time]))), ROOT)


def test_of_two_certificate_timestamps_one_with_an_absurd_time_is_passed_over() -> None:
    signed = MADE.sign_artifact(plan=LeafPlan(sct_times=[2**63, NOON]))
    verify(MADE.v2_bundle(signed), ROOT)


def test_a_ct_log_with_a_key_that_signs_no_timestamps_is_a_no() -> None:
    instance = Instance(ct_log=CtLog(key=ed25519.Ed25519PrivateKey.generate()))
    root = instance.root()
    root["ctlogs"][0]["publicKey"]["keyDetails"] = "PKIX_ED25519"
    with pytest.raises(SignatureError) as caught:
        verify(instance.v2_bundle(), root)
    assert caught.value.reason == "bad-sct"


def test_a_precertificate_signer_is_not_the_issuer_the_log_hashed() -> None:
    instance = Instance()
    signer = new_authority(
        "precertificate signer",
        instance.authority,
        usage=ObjectIdentifier("1.3.6.1.4.1.11129.2.4.4"),
        more_usages=[ExtendedKeyUsageOID.CODE_SIGNING],
    )
    issuer, instance.authority = instance.authority, signer
    root = instance.root()
    chain = [signer.certificate, issuer.certificate, instance.root_authority.certificate]
    root["certificateAuthorities"][0]["certChain"]["certificates"] = [
        {"rawBytes": base64_of(certificate_der(one))} for one in chain
    ]
    # Our CT log hashed the signer itself; the rule names the signer's issuer.
    with pytest.raises(SignatureError) as caught:
        verify(instance.v2_bundle(), root)
    assert caught.value.reason == "bad-sct"
    # Where the signer is the anchor there is nobody else.
    root["certificateAuthorities"][0]["certChain"]["certificates"] = [
        {"rawBytes": base64_of(certificate_der(signer.certificate))}
    ]
    verify(instance.v2_bundle(), root)


@pytest.mark.parametrize(
    "usages",
    [
        [ExtendedKeyUsageOID.CODE_SIGNING],
        [ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.CODE_SIGNING],
        [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE],
    ],
    ids=["code signing", "among others", "any"],
)
def test_issuers_whose_extended_key_usage_allows_code_signing(
    usages: list[ObjectIdentifier],
) -> None:
    root = new_authority("root", usage=usages[0], more_usages=usages[1:])
    instance = Instance(root_authority=root)
    instance.authority = new_authority("issuer", root, usage=usages[0], more_usages=usages[1:])
    verify(instance.v2_bundle(), instance.root())


def test_names_that_look_the_same_are_told_apart_by_their_code_points() -> None:
    composed, decomposed = "https://ci.example/caf\u00e9", "https://ci.example/cafe\u0301"
    plan = LeafPlan(names=[other_name(decomposed)])
    bundle = MADE.v2_bundle(MADE.sign_artifact(plan=plan))
    verify(bundle, ROOT, CertificateIdentity(decomposed, ISSUER))
    with pytest.raises(SignatureError) as caught:
        verify(bundle, ROOT, CertificateIdentity(composed, ISSUER))
    assert "cafe\\u0301" in caught.value.message
    assert "caf\\xe9" in caught.value.message


def test_a_checkpoint_by_another_key_id_names_both() -> None:
    instance = Instance()
    bundle = instance.v1_bundle(media_type=CHAIN_TYPE)
    proof = entry_of(bundle)["inclusionProof"]
    text, _, line = proof["checkpoint"]["envelope"].partition("\n\n")
    name, blob = line.removeprefix("\u2014 ").split(" ")
    raw = base64.b64decode(blob)
    other = base64_of(bytes(4) + raw[4:])
    proof["checkpoint"]["envelope"] = f"{text}\n\n\u2014 {name} {other}\n"
    with pytest.raises(SignatureError) as caught:
        verify(bundle, instance.root())
    assert caught.value.reason == "unknown-signer"
    assert instance.v1_log.log_id[:4].hex() in caught.value.message
    assert "00000000" in caught.value.message
    assert "https://rekor.example" in caught.value.message


# ---- stamps


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("is_embedded", [False, True])
def test_a_stamp_by_any_hash_with_and_without_its_certificate(
    algorithm: str, is_embedded: bool
) -> None:
    signed = MADE.sign_artifact()
    authority = MADE.timestamp_authority
    embedded = list(authority.chain) if is_embedded else []
    stamp = authority.stamp(signed.signature, algorithm=algorithm, embedded=embedded)
    bundle = MADE.v2_bundle(signed)
    stamps_of(bundle)[:] = [{"signedTimestamp": base64_of(stamp)}]
    verify(bundle, ROOT)


def test_a_stamp_that_proves_nothing_is_noted_if_another_time_is_proven() -> None:
    signed = MADE.sign_artifact()
    bundle = MADE.v2_bundle(signed)
    foreign = new_timestamp_authority().stamp(signed.signature)
    stamps_of(bundle).insert(0, {"signedTimestamp": base64_of(foreign)})
    stamps_of(bundle).append({"signedTimestamp": base64_of(b"not a stamp")})
    verdict = verify(bundle, ROOT)
    noted = [one for one in verdict.checks if one.outcome is Outcome.NOTED]
    assert [one.reason for one in noted if one.code == "timestamp"] == [
        "unknown-timestamp-authority",
        "bad-stamp-form",
    ]
    assert len(verdict.signing_times) == 1


def test_a_timestamp_authority_may_be_one_certificate() -> None:
    own = new_authority(
        "alone",
        is_authority=False,
        key_cert_sign=False,
        usage=ExtendedKeyUsageOID.TIME_STAMPING,
    )
    instance = Instance(timestamp_authority=TimestampAuthority(own, (own.certificate,)))
    verify(instance.v2_bundle(), instance.root())


def test_a_certificate_that_only_looks_like_the_authoritys_is_refused() -> None:
    authority = MADE.timestamp_authority
    real = authority.leaf.certificate
    twin = (
        x509.CertificateBuilder()
        .subject_name(real.subject)
        .issuer_name(real.issuer)
        .serial_number(real.serial_number)
        .public_key(KEYS["P-256"][0].public_key())
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
        .sign(KEYS["P-256"][0], SHA256())
    )
    signed = MADE.sign_artifact()
    bundle = MADE.v2_bundle(signed)
    for embedded in ([twin], [twin, real]):
        stamp = authority.stamp(signed.signature, embedded=embedded)
        stamps_of(bundle)[:] = [{"signedTimestamp": base64_of(stamp)}]
        with pytest.raises(SignatureError, match="only looks like") as caught:
            verify(bundle, ROOT)
        assert caught.value.reason == "bad-stamp"


# ---- logs


@pytest.mark.parametrize(
    ("base_url", "origin"),
    [
        ("https://log.example", "log.example"),
        ("https://log.example/", "log.example"),
        ("log.example", "log.example"),
        ("http://log.example:3000/", "log.example"),
        ("http://log.example:3000", "log.example:3000"),
        ("https://log.example/a/shard", "log.example/a/shard"),
    ],
)
def test_the_origin_of_a_v2_log_is_its_address(base_url: str, origin: str) -> None:
    instance = Instance(v2_log=V2Log(origin=origin))
    root = instance.root()
    root["tlogs"][0]["baseUrl"] = base_url
    verdict = verify(instance.v2_bundle(), root)
    assert verdict.log is not None
    assert verdict.log.origin == origin


@pytest.mark.parametrize("length", [4, 32])
def test_a_checkpoint_key_id_stands_for_the_log_id(length: int) -> None:
    root = root_of()
    full = base64.b64decode(root["tlogs"][0]["logId"]["keyId"])
    root["tlogs"][0]["checkpointKeyId"] = {"keyId": base64_of(full[:length])}
    root["tlogs"][0]["operator"] = "operator.example"
    verify(MADE.v2_bundle(), root)


def test_the_name_on_a_v1_checkpoint_is_not_compared() -> None:
    bundle = MADE.v1_bundle()
    proof = entry_of(bundle)["inclusionProof"]
    text = parse_note(proof["checkpoint"]["envelope"].encode()).text
    proof["checkpoint"]["envelope"] = MADE.v1_log.note(text, "rekor-server-5d4f")
    verdict = verify(bundle, ROOT)
    assert verdict.log is not None
    assert verdict.log.origin == V1_ORIGIN
    assert verdict.log.log_index != verdict.log.entry_index


def test_other_lines_on_a_checkpoint_are_ignored_in_any_order() -> None:
    bundle = MADE.v2_bundle()
    checkpoint = entry_of(bundle)["inclusionProof"]["checkpoint"]
    text, _, line = checkpoint["envelope"].rpartition("\n\n")
    stranger = SigningKey("witness.example", b"\x01" * 32).sign("something else\n").line
    namesake = SigningKey(MADE.v2_log.origin, b"\x02" * 32).sign("something else\n").line
    checkpoint["envelope"] = f"{text}\n\n{stranger}{namesake}{line}"
    verify(bundle, ROOT)


def test_a_pinned_key_serves_a_site_without_a_trusted_root() -> None:
    signed = MADE.sign_artifact(managed=True)
    bundle = parse_sigstore_bundle(json.dumps(MADE.v2_bundle(signed)).encode())
    pinned = pinned_log_key(MADE.v2_log.key.verifier)
    verdict = verify_bundle(bundle, digests(), managed(signed), None, [pinned])
    assert verdict.trust_root_digest == ""
    assert verdict.log is not None
    assert verdict.log.log == MADE.v2_log.origin
    refused = judge_bundle(bundle, digests(), managed(signed), None)
    assert refused.error is not None
    assert refused.error.reason == "no-log-key"
    assert isinstance(refused.error, IncompleteError)


def test_a_pinned_v1_key_serves_as_well() -> None:
    signed = MADE.sign_artifact(managed=True)
    bundle = parse_sigstore_bundle(json.dumps(MADE.v1_bundle(signed)).encode())
    pinned = pinned_log_key(rekor_v1_key("rekor.example", spki(MADE.v1_log.key)))
    assert verify_bundle(bundle, digests(), managed(signed), None, [pinned]).signing_times
    ended = pinned_log_key(
        rekor_v1_key("rekor.example", spki(MADE.v1_log.key)), Window(None, NOON - timedelta(1))
    )
    refused = judge_bundle(bundle, digests(), managed(signed), None, [ended])
    assert refused.error is not None
    assert refused.error.reason == "log-key-window"


def test_a_certificate_needs_a_trusted_root() -> None:
    bundle = parse_sigstore_bundle(json.dumps(MADE.v1_bundle()).encode())
    pinned = pinned_log_key(rekor_v1_key("rekor.example", spki(MADE.v1_log.key)))
    verdict = judge_bundle(bundle, digests(), EXPECTED, None, [pinned])
    assert verdict.error is not None
    assert verdict.error.reason == "no-trusted-root"
    assert verdict.fault == "the bundle, or our trusted root"


def test_a_managed_key_needs_no_time_and_its_hint_binds_the_envelope() -> None:
    signed = MADE.sign_statement(managed=True)
    bundle = MADE.v2_bundle(signed)
    hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    bundle["dsseEnvelope"]["signatures"][0]["keyid"] = hint
    del bundle["verificationMaterial"]["timestampVerificationData"]
    verdict = verify(bundle, ROOT, managed(signed))
    assert verdict.signing_times == ()
    assert verdict.signer is not None
    assert verdict.signer.kind == "key"


def test_a_managed_keys_window_holds_every_time() -> None:
    signed = MADE.sign_artifact(managed=True)
    expected = ManagedKey(spki(signed.key), Window(NOON, NOON + timedelta(minutes=1)))
    verify(MADE.v2_bundle(signed), ROOT, expected)


# ---- witnesses


def cosigned(bundle: Json, *witnesses: SigningKey) -> Json:
    """Add the cosignatures of witnesses to a bundle's checkpoint."""
    envelope = entry_of(bundle)["inclusionProof"]["checkpoint"]
    raw = envelope["envelope"].encode()
    checkpoint: Checkpoint = parse_checkpoint(parse_note(raw).text)
    signed = SignedCheckpoint(checkpoint, raw, ())
    for witness in witnesses:
        envelope["envelope"] += cosign(signed, witness, 1767268800).line
    return bundle


WITNESS = SigningKey("witness.example", b"\x03" * 32)


def judge_under(bundle: Json, policy: str) -> Verification:
    return judge_bundle(
        parse_sigstore_bundle(json.dumps(bundle).encode()),
        digests(),
        EXPECTED,
        parse_trusted_root(json.dumps(ROOT).encode()),
        policy=parse_tlog_policy(policy.encode()),
    )


def test_a_policy_wants_its_log_and_its_quorum() -> None:
    vkey = cosigner_key(WITNESS).vkey
    wanted = f"log {MADE.v2_log.key.verifier.vkey}\nwitness w {vkey}\nquorum w\n"
    verdict = judge_under(cosigned(MADE.v2_bundle(), WITNESS), wanted)
    assert verdict.verified, verdict.error
    assert [one.key.name for one in verdict.cosigners] == ["witness.example"]
    assert verdict.json["cosigners"] == [{"name": "witness.example", "time": 1767268800}]
    alone = judge_under(MADE.v2_bundle(), wanted)
    assert isinstance(alone.error, RefusedError)
    assert alone.error.reason == "quorum"
    other = judge_under(MADE.v1_bundle(), wanted)
    assert other.error is not None
    assert other.error.reason == "log-not-in-policy"
    promise = MADE.v1_bundle(MADE.sign_statement())
    del entry_of(promise)["inclusionProof"]
    only = judge_under(promise, wanted)
    assert only.error is not None
    assert only.error.reason == "promise-only"


def test_a_policy_without_logs_or_quorum_asks_nothing() -> None:
    assert judge_under(MADE.v2_bundle(), "quorum none\n").verified


# ---- the verdict


def test_a_verdict_names_every_check_and_is_json() -> None:
    verdict = verify(MADE.v2_bundle(MADE.sign_statement()), ROOT)
    assert [one.code for one in verdict.checks] == [
        "expected-signer",
        "log-entry",
        "timestamp",
        "signing-time",
        "certificate",
        "certificate-path",
        "certificate-transparency",
        "identity",
        "checkpoint-and-inclusion",
        "signature",
        "subject",
        "entry-binding",
    ]
    shown = json.loads(json.dumps(verdict.json))
    assert shown["verified"] is True
    assert {one["outcome"] for one in shown["checks"]} == {"passed"}
    assert (shown["reason"], shown["fault"]) == ("", "")
    assert shown["signer"]["identity"] == IDENTITY


def test_a_failed_verdict_says_what_and_whose_fault() -> None:
    bundle = parse_sigstore_bundle(json.dumps(MADE.v2_bundle()).encode())
    root = parse_trusted_root(json.dumps(ROOT).encode())
    verdict = judge_bundle(bundle, digests(), CertificateIdentity("x", ISSUER), root)
    assert verdict.checks[-1].outcome is Outcome.FAILED
    assert (verdict.checks[-1].code, verdict.checks[-1].reason) == ("identity", "identity")
    assert verdict.fault == "signed by somebody else than expected"
    assert verdict.json["signer"] is None
    assert verdict.json["message"].startswith("signed by 'signer@example.com', expected 'x'")


def test_a_bundle_with_nothing_at_all_fails_before_any_log() -> None:
    bundle = MADE.v2_bundle()
    bundle["verificationMaterial"]["tlogEntries"] = []
    parsed = parse_sigstore_bundle(json.dumps(bundle).encode())
    verdict = judge_bundle(parsed, digests(), EXPECTED, None)
    assert verdict.json["log"] is None
    assert isinstance(verdict.error, RefusedError)


# ---- spellings that nobody signed


def respelled(value: Any, spell: Callable[[str, Any], tuple[str, Any]]) -> Any:
    """Rebuild a JSON value, every member passed through `spell`."""
    if isinstance(value, dict):
        members = (spell(name, respelled(one, spell)) for name, one in value.items())
        return dict(members)
    return [respelled(one, spell) for one in value] if isinstance(value, list) else value


_BYTES = {
    *("rawBytes", "signedTimestamp", "signature", "digest", "keyId", "canonicalizedBody"),
    *("rootHash", "hashes", "payload", "sig", "signedEntryTimestamp"),
}


def url_safe(name: str, value: Any) -> tuple[str, Any]:
    if name in _BYTES and isinstance(value, str):
        value = value.replace("+", "-").replace("/", "_")
    return name, value


def unpadded(name: str, value: Any) -> tuple[str, Any]:
    return name, value.rstrip("=") if name in _BYTES and isinstance(value, str) else value


def numbered(name: str, value: Any) -> tuple[str, Any]:
    numbers = {"SHA2_256": 1, "SHA2_384": 2, "SHA2_512": 3}
    details = {"PKIX_ED25519": 7, "PKIX_ECDSA_P256_SHA_256": 5}
    return name, {**numbers, **details}.get(value, value) if isinstance(value, str) else value


def snake_case(name: str, value: Any) -> tuple[str, Any]:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name), value


@pytest.mark.parametrize("spell", [url_safe, unpadded, numbered, snake_case])
@pytest.mark.parametrize("make", [MADE.v2_bundle, MADE.v1_bundle])
def test_a_bundle_and_a_root_as_protojson_reads_them(make: Any, spell: Any) -> None:
    bundle = make(MADE.sign_statement())
    verify(respelled(bundle, spell), respelled(ROOT, spell))
    verify(respelled(make(), spell), respelled(ROOT, spell))


def test_what_is_signed_has_one_spelling_still() -> None:
    """In a log entry's body URL-safe base64 is no base64: no log writes it."""
    signed = MADE.sign_artifact()
    while "+" not in base64_of(signed.signature):
        signed = MADE.sign_artifact()
    body = hashedrekord_v2(signed, hashlib.sha256(ARTIFACT).digest())
    part = body["spec"]["hashedRekordV002"]["signature"]
    part["content"] = part["content"].replace("+", "-").replace("/", "_")
    entry = MADE.v2_log.add(canonical_json(body))
    with pytest.raises(MalformedError):
        verify(MADE.bundle(signed, entry), ROOT)


def test_a_subject_digest_in_upper_case_hex() -> None:
    content = statement()
    digest = content["subject"][0]["digest"]
    digest["sha256"] = digest["sha256"].upper()
    verify(MADE.v2_bundle(MADE.sign_statement(content)), ROOT)
    for wrong in ("0x" + digest["sha256"][2:], digest["sha256"][:-1], digest["sha256"] + " "):
        digest["sha256"] = wrong
        with pytest.raises(DigestError):
            verify(MADE.v2_bundle(MADE.sign_statement(content)), ROOT)


def test_a_statement_of_sixteen_mebibytes_and_a_million_values() -> None:
    content = statement()
    row = {"SPDXID": "SPDXRef-1", "name": "x", "files": []}
    content["predicate"] = {"packages": [row] * 250_000, "text": "y" * (4 * 1024 * 1024)}
    signed = MADE.sign_statement(content)
    assert signed.payload is not None
    assert len(signed.payload) > 16 * 1024 * 1024
    bundle = MADE.v2_bundle(signed)
    assert verify(bundle, ROOT).predicate_type == content["predicateType"]
    # Every byte of it is signed, and checked as JSON.
    broken = {**content, "predicate": {"packages": []}}
    raw = json.dumps(broken).replace('"packages": []', '"packages": [}').encode()
    unread = MADE.sign_statement(payload=raw)
    with pytest.raises(MalformedError):
        verify(MADE.v2_bundle(unread), ROOT)


# ---- Ed25519, pure and prehashed


def prehashed(key: ed25519.Ed25519PrivateKey, message: bytes) -> bytes:
    """Sign with Ed25519ph (RFC 8032 5.1), as slowly as the standard says it."""
    secret = hashlib.sha512(key.private_bytes_raw()).digest()
    scalar = int.from_bytes(secret[:32], "little") & (2**254 - 8) | 2**254
    domain = b"SigEd25519 no Ed25519 collisions\x01\x00"
    digest = hashlib.sha512(message).digest()
    nonce = int.from_bytes(hashlib.sha512(domain + secret[32:] + digest).digest(), "little")
    # The base point times a scalar: X25519 and Ed25519 libraries hide it, our verifier has it.
    order = 2**252 + 27742317777372353535851937790883648493
    point = _encode(_combine(nonce % order, _BASE, 0, _BASE))
    public = key.public_key().public_bytes_raw()
    challenge = int.from_bytes(hashlib.sha512(domain + point + public + digest).digest(), "little")
    return point + ((nonce + challenge * scalar) % order).to_bytes(32, "little")


@pytest.mark.parametrize("is_managed", [True, False])
@pytest.mark.parametrize("is_prehashed", [True, False])
def test_an_ed25519_key_over_an_artifact(is_managed: bool, is_prehashed: bool) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    signed = MADE.sign_artifact(key, algorithm="sha512", managed=is_managed)
    if is_prehashed:
        signed.signature = prehashed(key, ARTIFACT)
    bundle = MADE.v2_bundle(signed)
    expected = managed(signed) if is_managed else EXPECTED
    parsed = parse_sigstore_bundle(json.dumps(bundle).encode())

    def of_file(artifact: bytes, who: ExpectedSigner = expected) -> ArtifactDigests:
        prefixes = prefixes_needed(parsed, who)
        assert len(prefixes) == 1
        hashed = {one: hashlib.sha512(one + artifact).digest() for one in prefixes}
        return ArtifactDigests(digests(artifact).by_algorithm, hashed)

    assert verify(bundle, ROOT, expected, of_file(ARTIFACT)).verified
    if is_prehashed:  # then a digest will do
        assert verify(bundle, ROOT, expected).verified
    else:
        with pytest.raises(IncompleteError, match="cannot be told from a digest") as lacking:
            verify(bundle, ROOT, expected)
        assert lacking.value.reason == "digest-algorithm"
    with pytest.raises(DigestError):
        verify(bundle, ROOT, expected, of_file(b"another"))
    del bundle["messageSignature"]["messageDigest"]
    with pytest.raises(SignatureError):
        verify(bundle, ROOT, expected, of_file(b"another"))
    if is_managed:
        other = ManagedKey(spki(ed25519.Ed25519PrivateKey.generate()))
        with pytest.raises(SignatureError):
            verify(bundle, ROOT, other, of_file(ARTIFACT, other))


def test_an_ed25519_key_over_an_envelope_pure_and_prehashed() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    signed = MADE.sign_statement(key=key, algorithm="sha512", managed=True)
    assert verify(MADE.v2_bundle(signed), ROOT, managed(signed)).verified
    assert signed.payload is not None
    signed.signature = prehashed(key, encoded(signed.payload))
    assert verify(MADE.v2_bundle(signed), ROOT, managed(signed)).verified
    signed.signature = prehashed(key, encoded(signed.payload) + b" ")
    with pytest.raises(SignatureError):
        verify(MADE.v2_bundle(signed), ROOT, managed(signed))


def test_an_ed25519_key_for_which_anybody_can_sign_is_refused() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    signed = MADE.sign_artifact(key, algorithm="sha512", managed=True)
    bundle = MADE.v2_bundle(signed)
    low_order = bytes.fromhex("302a300506032b6570032100") + (1).to_bytes(32, "little")
    with pytest.raises(MalformedError) as caught:
        verify(bundle, ROOT, ManagedKey(low_order))
    assert caught.value.reason == "low-order-key"


# ---- what has to be asked for


def test_a_bundle_with_a_stamp_only_has_to_be_asked_for() -> None:
    bundle = MADE.bundle(MADE.sign_artifact(), None)
    with pytest.raises(RefusedError, match="nobody could have noticed") as caught:
        verify(bundle, ROOT)
    assert (caught.value.reason, "--allow-unlogged" in caught.value.next_step) == (
        "no-log-entry",
        True,
    )
    found = judged(bundle, unlogged=True)
    assert found.error is None
    assert found.log is None
    assert [one.source for one in found.signing_times] == ["rfc3161"]
    assert "nobody but the signer" in next(
        one.text for one in found.checks if one.code == "log-entry"
    )


def test_without_a_log_a_stamp_and_everything_else_is_demanded_still() -> None:
    signed = MADE.sign_artifact()
    unstamped = MADE.bundle(signed, None, stamps=[])
    assert reason(judged(unstamped, unlogged=True)) == "no-signing-time"
    managed_key = MADE.sign_artifact(managed=True)
    bundle = MADE.bundle(managed_key, None, stamps=[])
    found = judged(bundle, managed(managed_key), unlogged=True)
    assert reason(found) == "no-signing-time"
    foreign = new_timestamp_authority().stamp(signed.signature)
    bundle = MADE.bundle(signed, None, stamps=[foreign])
    assert reason(judged(bundle, unlogged=True)) == "unknown-timestamp-authority"
    bundle = MADE.bundle(signed, None)
    other = CertificateIdentity("else@example.com", ISSUER)
    assert reason(judged(bundle, other, unlogged=True)) == "identity"
    policy = parse_tlog_policy(b"quorum none\n")
    assert reason(judged(bundle, policy=policy, unlogged=True)) == "no-log-entry"
    late = LeafPlan(sct_times=[])
    bundle = MADE.bundle(MADE.sign_artifact(plan=late), None)
    assert reason(judged(bundle, unlogged=True)) == "no-sct"


def test_of_several_log_entries_one_is_judged_at_a_time() -> None:
    signed = MADE.sign_artifact()
    bundle, other = MADE.v2_bundle(signed), MADE.v2_bundle(MADE.sign_artifact())
    entries = bundle["verificationMaterial"]["tlogEntries"]
    entries.insert(0, entry_of(other))
    with pytest.raises(RefusedError) as caught:
        verify(bundle, ROOT)
    assert caught.value.reason == "log-entry-count"
    assert "--allow-several-entries" in caught.value.next_step
    parsed = parse_sigstore_bundle(json.dumps(bundle).encode())
    of_other, of_it = single_entries(parsed)
    trusted = parse_trusted_root(json.dumps(ROOT).encode())
    assert judge_bundle(of_it, digests(), EXPECTED, trusted).error is None
    assert reason(judge_bundle(of_other, digests(), EXPECTED, trusted)) == "entry-signature"
    assert single_entries(of_it) == (of_it,)


def test_a_leaf_with_a_subject_has_to_be_asked_for() -> None:
    for critical in (True, False):
        plan = LeafPlan(subject="builder", critical_names=critical)
        bundle = MADE.v2_bundle(MADE.sign_artifact(plan=plan))
        refused = judged(bundle)
        assert isinstance(refused.error, RefusedError)
        assert refused.error.reason == "leaf-certificate"
        assert judged(bundle, leaf_subject=True).error is None
    # It is still a signer's certificate, or none.
    for plan in (
        LeafPlan(subject="builder", usages=[ExtendedKeyUsageOID.SERVER_AUTH]),
        LeafPlan(subject="builder", is_authority=True),
        LeafPlan(subject="builder", names=()),
        LeafPlan(critical_names=False),
    ):
        bundle = MADE.v2_bundle(MADE.sign_artifact(plan=plan))
        found = judged(bundle, leaf_subject=True)
        assert isinstance(found.error, SignatureError)
        assert found.error.reason == "leaf-certificate"


def judged(
    bundle: Json,
    expected: ExpectedSigner = EXPECTED,
    policy: TlogPolicy | None = None,
    **opt_ins: bool,
) -> Verification:
    return judge_bundle(
        parse_sigstore_bundle(json.dumps(bundle).encode()),
        digests(),
        expected,
        parse_trusted_root(json.dumps(ROOT).encode()),
        policy=policy,
        opt_ins=OptIns(**opt_ins),
    )


def reason(found: Verification) -> str:
    return "" if found.error is None else found.error.reason


def test_roots_one_a_line_stay_apart() -> None:
    other = Instance()
    lines = "\n".join(json.dumps(one.root()) for one in (MADE, other)).encode()
    first, second = parse_trusted_roots(lines)
    assert parse_trusted_roots(json.dumps(ROOT).encode()) == (first,)
    assert first.timestamp_authorities != second.timestamp_authorities
    with pytest.raises(RefusedError) as caught:
        parse_trusted_root(lines)
    assert caught.value.reason == "several-roots"
    newer = {**ROOT, "mediaType": "application/vnd.dev.sigstore.trustedroot.v0.9+json"}
    with pytest.raises(RefusedError) as caught:
        parse_trusted_root(json.dumps(newer).encode())
    assert caught.value.reason == "media-type"
    with pytest.raises(LimitError):
        parse_trusted_roots(b"{}\n" * 17)
