"""One thing changed in a bundle, a root or an expectation: never a wrong yes.

Each mutation starts from something that verifies (the first test) and names the reason it
must be rejected for, so that a case cannot pass because something else broke.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.errors import ApplianceError
from appliance.rekor.canonical_json import canonical_json
from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.identity import CertificateIdentity, ExpectedSigner, ManagedKey
from appliance.sigstore.validity import Window
from tests.pki.authorities import (
    IDENTITY,
    ISSUER,
    NOON,
    LeafPlan,
    certificate_der,
    new_authority,
    new_key,
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
    Signed,
    digests,
    dsse_v2,
    encoded,
    hashedrekord_v1,
    hashedrekord_v2,
    intoto,
    managed,
    statement,
    verify,
)
from tests.pki.logs import V2Log

Json = dict[str, Any]


class Scene:
    """One verification about to happen."""

    def __init__(
        self,
        instance: Instance,
        bundle: Json,
        expected: ExpectedSigner = EXPECTED,
        artifact: ArtifactDigests | None = None,
    ) -> None:
        self.instance = instance
        self.bundle = bundle
        self.root = copy.deepcopy(instance.root())
        self.expected = expected
        self.artifact = artifact or digests()

    @property
    def material(self) -> Json:
        return self.bundle["verificationMaterial"]  # type: ignore[no-any-return]

    @property
    def entry(self) -> Json:
        return self.material["tlogEntries"][0]  # type: ignore[no-any-return]

    @property
    def proof(self) -> Json:
        return self.entry["inclusionProof"]  # type: ignore[no-any-return]

    @property
    def note(self) -> str:
        return self.proof["checkpoint"]["envelope"]  # type: ignore[no-any-return]

    @note.setter
    def note(self, text: str) -> None:
        self.proof["checkpoint"]["envelope"] = text

    def verify(self) -> None:
        verify(self.bundle, self.root, self.expected, self.artifact)


MADE = Instance()


def keyless_v2() -> Scene:
    return Scene(MADE, MADE.v2_bundle())


def keyless_v1() -> Scene:
    return Scene(MADE, MADE.v1_bundle())


def attestation_v2() -> Scene:
    return Scene(MADE, MADE.v2_bundle(MADE.sign_statement()))


def attestation_v1() -> Scene:
    return Scene(MADE, MADE.v1_bundle(MADE.sign_statement()))


def managed_v2() -> Scene:
    signed = MADE.sign_artifact(managed=True)
    return Scene(MADE, MADE.v2_bundle(signed), managed(signed))


def planned(plan: LeafPlan) -> Scene:
    return Scene(MADE, MADE.v2_bundle(MADE.sign_artifact(plan=plan)))


@pytest.mark.parametrize(
    "make", [keyless_v2, keyless_v1, attestation_v2, attestation_v1, managed_v2]
)
def test_unchanged_it_verifies(make: Callable[[], Scene]) -> None:
    make().verify()


# ------------------------------------------------------------------ the mutations

Mutation = Callable[[], Scene]
MUTATIONS: dict[str, tuple[str, Mutation]] = {}


def mutation(reason: str) -> Callable[[Mutation], Mutation]:
    """Register a scene that must be rejected with `reason`."""

    def register(make: Mutation) -> Mutation:
        MUTATIONS[make.__name__] = (reason, make)
        return make

    return register


def on(make: Callable[[], Scene], change: Callable[[Scene], object]) -> Scene:
    """Apply a change to a fresh scene."""
    scene = make()
    change(scene)
    return scene


def encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def flipped(text: str, position: int = 10) -> str:
    """Flip a bit inside base64."""
    raw = bytearray(base64.b64decode(text))
    raw[position] ^= 1
    return encode(bytes(raw))


# ---- who: identity, issuer, claims, kind of key


@mutation("identity")
def another_identity() -> Scene:
    return Scene(MADE, MADE.v2_bundle(), CertificateIdentity("other@example.com", ISSUER))


@mutation("identity")
def an_identity_that_is_a_prefix() -> Scene:
    return Scene(MADE, MADE.v2_bundle(), CertificateIdentity(IDENTITY[:-1], ISSUER))


@mutation("identity")
def an_identity_in_other_case() -> Scene:
    return Scene(MADE, MADE.v2_bundle(), CertificateIdentity(IDENTITY.upper(), ISSUER))


@mutation("identity")
def an_identity_used_as_a_pattern() -> Scene:
    return Scene(MADE, MADE.v2_bundle(), CertificateIdentity("signer@example...m", ISSUER))


@mutation("identity")
def a_regexp_that_matches_only_the_start() -> Scene:
    expected = CertificateIdentity(identity_regexp="signer@", issuer=ISSUER)
    return Scene(MADE, MADE.v2_bundle(), expected)


@mutation("identity")
def a_regexp_that_matches_all_but_a_newline() -> Scene:
    scene = planned(LeafPlan(names=[other_name(IDENTITY + "\n")]))
    scene.expected = CertificateIdentity(identity_regexp="signer@example.com$", issuer=ISSUER)
    return scene


@mutation("identity")
def a_uri_of_somebody_else() -> Scene:
    return planned(LeafPlan(names=[x509.UniformResourceIdentifier("https://example.com/x")]))


@mutation("identity")
def an_other_name_of_somebody_else() -> Scene:
    return planned(LeafPlan(names=[other_name("somebody!else")]))


@mutation("identity")
def a_dns_name_that_reads_like_the_identity() -> Scene:
    scene = planned(LeafPlan(names=[x509.DNSName("signer.example.com")]))
    scene.expected = CertificateIdentity("signer.example.com", ISSUER)
    return scene


@mutation("issuer")
def another_issuer() -> Scene:
    return Scene(MADE, MADE.v2_bundle(), CertificateIdentity(IDENTITY, ISSUER + "/"))


@mutation("issuer")
def two_issuer_extensions_that_disagree() -> Scene:
    return planned(LeafPlan(issuer_v1="https://other.example"))


@mutation("issuer")
def a_new_issuer_extension_that_disagrees_with_the_old() -> Scene:
    return planned(LeafPlan(issuer_v2="https://other.example"))


@mutation("issuer")
def no_issuer_extension() -> Scene:
    return planned(LeafPlan(issuer_v1=None, issuer_v2=None))


@mutation("claim")
def a_claim_with_another_value() -> Scene:
    scene = planned(LeafPlan(claims={"20": "push"}))
    scene.expected = CertificateIdentity(IDENTITY, ISSUER, claims={"build-trigger": "schedule"})
    return scene


@mutation("claim")
def a_claim_the_certificate_lacks() -> Scene:
    expected = CertificateIdentity(IDENTITY, ISSUER, claims={"build-trigger": "push"})
    return Scene(MADE, MADE.v2_bundle(), expected)


@mutation("signer-kind")
def a_certificate_where_a_key_is_expected() -> Scene:
    return Scene(MADE, MADE.v2_bundle(), ManagedKey(spki(new_key())))


@mutation("signer-kind")
def a_key_where_a_certificate_is_expected() -> Scene:
    return on(managed_v2, lambda scene: setattr(scene, "expected", EXPECTED))


@mutation("bad-signature")
def another_managed_key() -> Scene:
    return on(managed_v2, lambda scene: setattr(scene, "expected", ManagedKey(spki(new_key()))))


@mutation("key-window")
def a_managed_key_that_was_retired_before() -> Scene:
    scene = managed_v2()
    assert isinstance(scene.expected, ManagedKey)
    scene.expected = ManagedKey(scene.expected.spki, Window(None, NOON))
    return scene


@mutation("no-signing-time")
def a_managed_key_with_a_window_and_no_time() -> Scene:
    scene = managed_v2()
    assert isinstance(scene.expected, ManagedKey)
    scene.expected = ManagedKey(scene.expected.spki, Window(NOON, None))
    del scene.material["timestampVerificationData"]
    return scene


@mutation("key-hint")
def an_envelope_for_another_key_than_the_hint() -> Scene:
    signed = MADE.sign_statement(managed=True)
    scene = Scene(MADE, MADE.v2_bundle(signed), managed(signed))
    scene.bundle["dsseEnvelope"]["signatures"][0]["keyid"] = "another"
    return scene


# ---- the certificate


@mutation("certificate-window")
def signed_after_the_certificate_ended() -> Scene:
    end = NOON + timedelta(seconds=59)
    return planned(LeafPlan(end=end))


@mutation("certificate-window")
def signed_before_the_certificate_began() -> Scene:
    return planned(LeafPlan(start=NOON + timedelta(seconds=61)))


@mutation("certificate-window")
def one_of_two_times_outside_the_certificate() -> Scene:
    signed = MADE.sign_artifact()
    late = MADE.timestamp_authority.stamp(signed.signature, NOON + timedelta(hours=1))
    good = MADE.timestamp_authority.stamp(signed.signature)
    bundle = MADE.v2_bundle(signed)
    listed = [{"signedTimestamp": encode(stamp)} for stamp in (good, late)]
    bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] = listed
    return Scene(MADE, bundle)


@mutation("leaf-certificate")
def a_leaf_that_is_an_authority() -> Scene:
    return planned(LeafPlan(is_authority=True))


@mutation("leaf-certificate")
def a_leaf_without_digital_signature() -> Scene:
    return planned(LeafPlan(digital_signature=False))


@mutation("leaf-certificate")
def a_leaf_for_servers() -> Scene:
    return planned(LeafPlan(usages=[ExtendedKeyUsageOID.SERVER_AUTH]))


@mutation("leaf-certificate")
def a_leaf_without_extended_key_usage() -> Scene:
    return planned(LeafPlan(usages=[]))


@mutation("leaf-certificate")
def a_leaf_with_a_subject() -> Scene:
    return planned(LeafPlan(subject="somebody"))


@mutation("leaf-certificate")
def a_leaf_whose_names_are_not_critical() -> Scene:
    return planned(LeafPlan(critical_names=False))


@mutation("certificate-path")
def a_leaf_of_a_foreign_authority_of_the_same_name() -> Scene:
    foreign = Instance()
    foreign.timestamp_authority, foreign.ct_log = MADE.timestamp_authority, MADE.ct_log
    foreign.v2_log = MADE.v2_log
    return Scene(MADE, foreign.v2_bundle())


@mutation("certificate-path")
def a_leaf_whose_signature_is_broken() -> Scene:
    scene = keyless_v2()
    raw = bytearray(base64.b64decode(scene.material["certificate"]["rawBytes"]))
    raw[-1] ^= 1
    scene.material["certificate"]["rawBytes"] = encode(bytes(raw))
    return scene


@mutation("certificate-path")
def an_authority_certificate_that_ended_inside_its_root_window() -> Scene:
    instance = Instance()
    instance.authority = new_authority("short", instance.root_authority, end=NOON)
    return Scene(instance, instance.v2_bundle())


@mutation("certificate-path")
def an_anchor_that_ended() -> Scene:
    instance = Instance(root_authority=new_authority("short root", end=NOON))
    return Scene(instance, instance.v2_bundle())


@mutation("certificate-path")
def an_issuer_that_is_no_authority() -> Scene:
    instance = Instance()
    instance.authority = new_authority("leafy", instance.root_authority, is_authority=False)
    return Scene(instance, instance.v2_bundle())


@mutation("certificate-path")
def an_issuer_that_may_not_sign_certificates() -> Scene:
    instance = Instance()
    instance.authority = new_authority("mute", instance.root_authority, key_cert_sign=False)
    return Scene(instance, instance.v2_bundle())


@mutation("certificate-path")
def an_issuer_for_mail_only() -> Scene:
    return issued_under(usage=ExtendedKeyUsageOID.EMAIL_PROTECTION)


@mutation("certificate-path")
def an_issuer_for_mail_only_uncritically() -> Scene:
    return issued_under(usage=ExtendedKeyUsageOID.EMAIL_PROTECTION, critical_usage=False)


@mutation("certificate-path")
def an_issuer_for_time_stamping_only() -> Scene:
    return issued_under(usage=ExtendedKeyUsageOID.TIME_STAMPING)


@mutation("certificate-path")
def an_issuer_for_several_things_but_not_this() -> Scene:
    others = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.TIME_STAMPING]
    return issued_under(usage=ExtendedKeyUsageOID.SERVER_AUTH, more_usages=others)


@mutation("certificate-path")
def an_anchor_for_mail_only() -> Scene:
    return rooted(usage=ExtendedKeyUsageOID.EMAIL_PROTECTION)


@mutation("certificate-path")
def an_issuer_for_mail_only_as_the_anchor() -> Scene:
    scene = issued_under(usage=ExtendedKeyUsageOID.EMAIL_PROTECTION)
    del scene.root["certificateAuthorities"][0]["certChain"]["certificates"][1:]
    return scene


@mutation("certificate-path")
def an_issuer_for_mail_only_under_one_with_name_constraints() -> Scene:
    allowed = x509.NameConstraints([x509.RFC822Name("example.com")], None)
    root = new_authority("constrained root", constraints=allowed)
    instance = Instance(root_authority=root)
    usage = ExtendedKeyUsageOID.EMAIL_PROTECTION
    instance.authority = new_authority("mail", root, usage=usage)
    return Scene(instance, instance.v2_bundle())


def issued_under(**changes: Any) -> Scene:
    instance = Instance()
    instance.authority = new_authority("special", instance.root_authority, **changes)
    return Scene(instance, instance.v2_bundle())


def rooted(**changes: Any) -> Scene:
    """Issue under an anchor that says something special."""
    instance = Instance(root_authority=new_authority("special root", **changes))
    return Scene(instance, instance.v2_bundle())


@mutation("certificate-path")
def an_anchor_that_is_no_authority() -> Scene:
    return rooted(is_authority=False)


@mutation("certificate-path")
def an_anchor_that_may_not_sign_certificates() -> Scene:
    return rooted(key_cert_sign=False)


@mutation("certificate-path")
def an_anchor_whose_path_length_is_too_short() -> Scene:
    return rooted(path_length=0)


@mutation("certificate-path")
def an_anchor_that_did_not_issue_its_issuer() -> Scene:
    scene = keyless_v2()
    chain = scene.root["certificateAuthorities"][0]["certChain"]["certificates"]
    chain[1]["rawBytes"] = encode(certificate_der(new_authority("test root").certificate))
    return scene


@mutation("certificate-path")
def an_anchor_that_excludes_the_name() -> Scene:
    excluded = x509.NameConstraints(None, [x509.DNSName("ci.example")])
    instance = Instance(root_authority=new_authority("constrained", constraints=excluded))
    plan = LeafPlan(names=[x509.RFC822Name(IDENTITY), x509.DNSName("ci.example")])
    return Scene(instance, instance.v2_bundle(instance.sign_artifact(plan=plan)))


@mutation("authority-window")
def the_authority_ended_before() -> Scene:
    scene = keyless_v2()
    scene.root["certificateAuthorities"][0]["validFor"]["end"] = "2026-01-01T12:00:59Z"
    return scene


@mutation("authority-window")
def the_authority_begins_later() -> Scene:
    scene = keyless_v2()
    scene.root["certificateAuthorities"][0]["validFor"]["start"] = "2026-01-01T12:01:01Z"
    return scene


# ---- the promise of publication


@mutation("no-sct")
def a_leaf_without_timestamps() -> Scene:
    return planned(LeafPlan(sct_times=[]))


@mutation("bad-sct")
def a_timestamp_of_another_certificate() -> Scene:
    return planned(LeafPlan(sct_precertificate=b"another certificate"))


@mutation("ct-log-window")
def a_timestamp_after_the_ct_log_ended() -> Scene:
    scene = keyless_v2()
    scene.root["ctlogs"][0]["publicKey"]["validFor"]["end"] = "2026-01-01T11:59:59.999Z"
    return scene


@mutation("ct-log-window")
def a_timestamp_before_the_ct_log_began() -> Scene:
    return planned(LeafPlan(sct_times=[NOON - timedelta(days=400)]))


@mutation("unknown-ct-log")
def a_ct_log_under_another_id() -> Scene:
    scene = keyless_v2()
    scene.root["ctlogs"][0]["logId"]["keyId"] = encode(bytes(32))
    return scene


@mutation("bad-sct")
def a_ct_log_whose_key_was_exchanged() -> Scene:
    scene = keyless_v2()
    scene.root["ctlogs"][0]["publicKey"]["rawBytes"] = encode(spki(new_key()))
    return scene


@mutation("sct-time")
def a_timestamp_of_2099() -> Scene:
    return planned(LeafPlan(sct_times=[datetime(2099, 1, 1, tzinfo=UTC)]))


@mutation("sct-time")
def a_timestamp_a_year_early() -> Scene:
    return planned(LeafPlan(sct_times=[NOON - timedelta(days=364)]))


@mutation("sct-time")
def a_timestamp_a_day_late() -> Scene:
    return planned(LeafPlan(sct_times=[NOON + timedelta(days=1)]))


@mutation("sct-time")
def a_timestamp_a_millisecond_early() -> Scene:
    return planned(LeafPlan(sct_times=[NOON - timedelta(milliseconds=1)]))


@mutation("sct-time")
def a_timestamp_a_millisecond_late() -> Scene:
    return planned(LeafPlan(sct_times=[NOON + timedelta(minutes=10, milliseconds=1)]))


@mutation("sct-time")
def a_timestamp_beyond_every_calendar() -> Scene:
    return planned(LeafPlan(sct_times=[2**63]))


@mutation("sct-time")
def a_timestamp_as_late_as_can_be_written() -> Scene:
    return planned(LeafPlan(sct_times=[2**64 - 1]))


@mutation("limit")
def too_many_certificate_timestamps() -> Scene:
    return planned(LeafPlan(sct_times=[NOON] * 9))


# ---- the signing time


@mutation("no-signing-time")
def no_time_at_all() -> Scene:
    def change(scene: Scene) -> None:
        del scene.material["timestampVerificationData"]

    return on(keyless_v2, change)


@mutation("no-signing-time")
def an_integrated_time_without_its_promise() -> Scene:
    def change(scene: Scene) -> None:
        scene.bundle["mediaType"] = CHAIN_TYPE
        del scene.entry["inclusionPromise"]

    return on(keyless_v1, change)


@mutation("bad-set")
def an_integrated_time_moved_by_a_second() -> Scene:
    def change(scene: Scene) -> None:
        scene.entry["integratedTime"] = str(int(scene.entry["integratedTime"]) + 1)

    return on(keyless_v1, change)


@mutation("bad-set")
def a_promise_for_another_index() -> Scene:
    return on(keyless_v1, lambda scene: scene.entry.update(logIndex="1"))


@mutation("bad-set")
def a_promise_of_another_entry() -> Scene:
    scene, other = keyless_v1(), keyless_v1()
    scene.entry["inclusionPromise"] = other.entry["inclusionPromise"]
    return scene


@mutation("set-in-v2")
def a_promise_on_a_v2_entry() -> Scene:
    scene, other = keyless_v2(), keyless_v1()
    scene.entry["inclusionPromise"] = other.entry["inclusionPromise"]
    return scene


@mutation("log-key-window")
def logged_after_the_logs_key_ended() -> Scene:
    scene = keyless_v1()
    scene.root["tlogs"][1]["publicKey"]["validFor"]["end"] = "2026-01-01T11:59:59Z"
    return scene


@mutation("log-key-window")
def logged_before_the_logs_key_began() -> Scene:
    scene = keyless_v1()
    scene.root["tlogs"][1]["publicKey"]["validFor"]["start"] = "2026-01-01T12:00:01Z"
    return scene


@mutation("certificate-window")
def promised_after_the_certificate_ended() -> Scene:
    return Scene(MADE, MADE.v1_bundle(time=NOON + timedelta(minutes=11)))


def restamped(**changes: Any) -> Scene:
    """Stamp a fresh signature in a special way."""
    signed = MADE.sign_artifact()
    scene = Scene(MADE, MADE.v2_bundle(signed))
    stamp = MADE.timestamp_authority.stamp(signed.signature, **changes)
    listed = [{"signedTimestamp": encode(stamp)}]
    scene.material["timestampVerificationData"]["rfc3161Timestamps"] = listed
    return scene


@mutation("stamp-of-something-else")
def a_stamp_over_the_artifact() -> Scene:
    return restamped(imprint=hashlib.sha256(ARTIFACT).digest())


@mutation("stamp-of-something-else")
def a_stamp_of_another_signature() -> Scene:
    scene, other = keyless_v2(), keyless_v2()
    name = "timestampVerificationData"
    scene.material[name] = other.material[name]
    return scene


@mutation("stamp-of-something-else")
def a_stamp_by_a_weak_hash() -> Scene:
    return restamped(algorithm="sha1")


@mutation("stamp-not-granted")
def a_stamp_granted_with_changes() -> Scene:
    return restamped(status=1)


@mutation("stamp-not-granted")
def a_stamp_that_was_refused() -> Scene:
    return restamped(status=2)


@mutation("bad-stamp")
def a_stamp_signed_by_another_key() -> Scene:
    return restamped(key=new_key())


@mutation("bad-stamp")
def a_stamp_whose_attributes_are_for_another_content() -> Scene:
    return restamped(attribute_digest=bytes(32))


@mutation("unknown-timestamp-authority")
def a_stamp_with_two_signers() -> Scene:
    return restamped(signer_infos=2)


@mutation("unknown-timestamp-authority")
def a_stamp_with_no_signer() -> Scene:
    return restamped(signer_infos=0)


@mutation("unknown-timestamp-authority")
def a_stamp_of_a_foreign_authority() -> Scene:
    signed = MADE.sign_artifact()
    foreign = new_timestamp_authority()
    stamp = foreign.stamp(signed.signature, embedded=[foreign.leaf.certificate])
    scene = Scene(MADE, MADE.v2_bundle(signed))
    listed = [{"signedTimestamp": encode(stamp)}]
    scene.material["timestampVerificationData"]["rfc3161Timestamps"] = listed
    return scene


def stamped_by(**changes: Any) -> Scene:
    """Stamp with an authority of the root that is itself unfit."""
    instance = Instance(timestamp_authority=new_timestamp_authority(**changes))
    return Scene(instance, instance.v2_bundle())


@mutation("bad-stamp")
def a_timestamp_authority_for_something_else() -> Scene:
    return stamped_by(usage=ExtendedKeyUsageOID.CODE_SIGNING)


@mutation("bad-stamp")
def a_timestamp_authority_for_something_else_as_well() -> Scene:
    return stamped_by(more_usages=[ExtendedKeyUsageOID.CODE_SIGNING])


@mutation("bad-stamp")
def a_timestamp_authority_whose_usage_is_not_critical() -> Scene:
    return stamped_by(critical_usage=False)


@mutation("bad-stamp")
def a_timestamp_authority_that_is_a_certificate_authority() -> Scene:
    return stamped_by(is_authority=True)


@mutation("timestamp-authority-window")
def a_stamping_certificate_that_ended() -> Scene:
    return stamped_by(end=NOON)


@mutation("timestamp-authority-window")
def a_timestamp_authority_that_ended() -> Scene:
    scene = keyless_v2()
    scene.root["timestampAuthorities"][0]["validFor"]["end"] = "2026-01-01T12:00:59Z"
    return scene


@mutation("bad-stamp")
def a_timestamp_authority_whose_chain_does_not_chain() -> Scene:
    scene = keyless_v2()
    stranger = new_authority("stranger").certificate
    chain = scene.root["timestampAuthorities"][0]["certChain"]["certificates"]
    chain[1]["rawBytes"] = encode(certificate_der(stranger))
    return scene


@mutation("duplicate-stamp")
def the_same_stamp_twice() -> Scene:
    def change(scene: Scene) -> None:
        scene.material["timestampVerificationData"]["rfc3161Timestamps"] *= 2

    return on(keyless_v2, change)


@mutation("limit")
def too_many_stamps() -> Scene:
    def change(scene: Scene) -> None:
        scene.material["timestampVerificationData"]["rfc3161Timestamps"] *= 33

    return on(keyless_v2, change)


# ---- the log


@mutation("no-log-entry")
def no_log_entry() -> Scene:
    return on(keyless_v2, lambda scene: scene.material.update(tlogEntries=[]))


@mutation("log-entry-count")
def the_same_log_entry_twice() -> Scene:
    def change(scene: Scene) -> None:
        scene.material["tlogEntries"] *= 2

    return on(keyless_v2, change)


@mutation("no-log-key")
def an_unknown_log() -> Scene:
    return on(keyless_v2, lambda scene: scene.entry["logId"].update(keyId=encode(bytes(32))))


@mutation("no-log-key")
def a_log_under_the_key_id_only() -> Scene:
    def change(scene: Scene) -> None:
        start = base64.b64decode(scene.entry["logId"]["keyId"])[:4]
        scene.entry["logId"]["keyId"] = encode(start + bytes(28))

    return on(keyless_v2, change)


@mutation("no-log-key")
def a_root_without_this_log() -> Scene:
    return on(keyless_v2, lambda scene: scene.root["tlogs"].pop(0))


@mutation("wrong-origin")
def a_log_known_under_another_address() -> Scene:
    return on(keyless_v2, lambda scene: scene.root["tlogs"][0].update(baseUrl="https://b.example"))


@mutation("log-id")
def a_log_whose_key_does_not_make_its_id() -> Scene:
    def change(scene: Scene) -> None:
        other = V2Log(seed=b"\x08" * 32).key.verifier.spki
        scene.root["tlogs"][0]["publicKey"]["rawBytes"] = encode(other)

    return on(keyless_v2, change)


@mutation("unknown-signer")
def a_checkpoint_signed_by_a_namesake() -> Scene:
    signed = MADE.sign_artifact()
    twin = V2Log(seed=b"\x09" * 32, tree=copy.deepcopy(MADE.v2_log.tree))
    body = hashedrekord_v2(signed, hashlib.sha256(ARTIFACT).digest())
    bundle = MADE.bundle(signed, twin.add(canonical_json(body)))
    scene = Scene(MADE, bundle)
    scene.entry["logId"]["keyId"] = encode(MADE.v2_log.log_id)
    return scene


@mutation("bad-signature")
def a_checkpoint_with_a_broken_signature() -> Scene:
    def change(scene: Scene) -> None:
        start, _, line = scene.note.rpartition(" ")
        scene.note = f"{start} {flipped(line.strip(), 40)}\n"

    return on(keyless_v2, change)


@mutation("bad-signature")
def a_checkpoint_with_a_changed_size() -> Scene:
    def change(scene: Scene) -> None:
        lines = scene.note.split("\n")
        scene.note = "\n".join([lines[0], str(int(lines[1]) + 1), *lines[2:]])

    return on(keyless_v2, change)


@mutation("malformed")
def a_checkpoint_with_its_lines_reordered() -> Scene:
    def change(scene: Scene) -> None:
        lines = scene.note.split("\n")
        scene.note = "\n".join([lines[0], lines[2], lines[1], *lines[3:]])

    return on(keyless_v2, change)


@mutation("malformed")
def a_checkpoint_with_its_signature_first() -> Scene:
    def change(scene: Scene) -> None:
        text, _, line = scene.note.rpartition("\n\n")
        scene.note = f"{line}\n{text}\n"

    return on(keyless_v2, change)


@mutation("malformed")
def a_checkpoint_size_with_a_leading_zero() -> Scene:
    def change(scene: Scene) -> None:
        lines = scene.note.split("\n")
        scene.note = "\n".join([lines[0], "0" + lines[1], *lines[2:]])

    return on(keyless_v2, change)


@mutation("bad-signature")
def a_checkpoint_with_an_extension_nobody_signed() -> Scene:
    def change(scene: Scene) -> None:
        text, _, line = scene.note.rpartition("\n\n")
        scene.note = f"{text}\nextension\n\n{line}"

    return on(keyless_v2, change)


@mutation("checkpoint-mismatch")
def a_proof_to_another_size() -> Scene:
    # A fresh tree of six: a proof to size seven has the same shape.
    instance = Instance()
    scene = Scene(instance, instance.v2_bundle())
    scene.proof["treeSize"] = str(int(scene.proof["treeSize"]) + 1)
    return scene


@mutation("checkpoint-mismatch")
def a_checkpoint_of_a_later_tree() -> Scene:
    scene, later = keyless_v2(), keyless_v2()
    scene.note = later.note
    return scene


@mutation("proof")
def a_proof_of_the_neighbour() -> Scene:
    def change(scene: Scene) -> None:
        for part in (scene.entry, scene.proof):
            part["logIndex"] = str(int(part["logIndex"]) + 1)

    return on(keyless_v2, change)


@mutation("index-mismatch")
def a_log_index_that_is_not_the_proofs() -> Scene:
    return on(keyless_v2, lambda scene: scene.entry.update(logIndex="0"))


@mutation("proof")
def a_proof_with_a_hash_flipped() -> Scene:
    def change(scene: Scene) -> None:
        scene.proof["hashes"][0] = flipped(scene.proof["hashes"][0])

    return on(keyless_v2, change)


@mutation("proof")
def a_proof_with_a_hash_missing() -> Scene:
    return on(keyless_v2, lambda scene: scene.proof["hashes"].pop())


@mutation("proof")
def a_proof_with_a_hash_too_many() -> Scene:
    return on(keyless_v2, lambda scene: scene.proof["hashes"].append(encode(bytes(32))))


@mutation("proof")
def a_proof_with_its_hashes_swapped() -> Scene:
    return on(keyless_v2, lambda scene: scene.proof["hashes"].reverse())


@mutation("limit")
def a_proof_longer_than_any_tree() -> Scene:
    return on(keyless_v2, lambda scene: scene.proof.update(hashes=[encode(bytes(32))] * 65))


@mutation("malformed")
def a_proof_hash_of_31_bytes() -> Scene:
    return on(keyless_v2, lambda scene: scene.proof["hashes"].append(encode(bytes(31))))


@mutation("proof")
def a_body_changed_after_it_was_logged() -> Scene:
    def change(scene: Scene) -> None:
        body = base64.b64decode(scene.entry["canonicalizedBody"])
        scene.entry["canonicalizedBody"] = encode(body.replace(b"hashedrekord", b"hashedRekord"))

    return on(keyless_v2, change)


@mutation("no-inclusion-proof")
def no_inclusion_proof() -> Scene:
    return on(keyless_v2, lambda scene: scene.entry.pop("inclusionProof"))


@mutation("no-checkpoint")
def no_checkpoint() -> Scene:
    return on(keyless_v2, lambda scene: scene.proof.pop("checkpoint"))


@mutation("no-inclusion-promise")
def a_v01_bundle_without_promise() -> Scene:
    return on(keyless_v1, lambda scene: scene.entry.pop("inclusionPromise"))


# ---- the form


@mutation("certificate-form")
def a_v03_bundle_with_a_chain() -> Scene:
    def change(scene: Scene) -> None:
        leaf = scene.material.pop("certificate")
        scene.material["x509CertificateChain"] = {"certificates": [leaf]}

    return on(keyless_v2, change)


@mutation("malformed")
def a_certificate_and_a_key() -> Scene:
    return on(keyless_v2, lambda scene: scene.material.update(publicKey={"hint": "x"}))


@mutation("malformed")
def a_message_and_an_envelope() -> Scene:
    scene, other = keyless_v2(), attestation_v2()
    scene.bundle["dsseEnvelope"] = other.bundle["dsseEnvelope"]
    return scene


@mutation("media-type")
def a_version_of_the_future() -> Scene:
    return on(keyless_v2, lambda scene: scene.bundle.update(mediaType=V1_TYPE[:-3] + "0.4"))


@mutation("malformed")
def a_proof_moved_beside_its_entry() -> Scene:
    def change(scene: Scene) -> None:
        scene.material["inclusionProof"] = scene.entry.pop("inclusionProof")
        scene.entry["inclusionProof"] = {}

    return on(keyless_v2, change)


@mutation("malformed")
def a_negative_index() -> Scene:
    return on(keyless_v2, lambda scene: scene.entry.update(logIndex="-1"))


@mutation("signature-count")
def an_envelope_with_two_signatures() -> Scene:
    def change(scene: Scene) -> None:
        scene.bundle["dsseEnvelope"]["signatures"] *= 2

    return on(attestation_v2, change)


@mutation("signature-count")
def an_envelope_without_signature() -> Scene:
    return on(attestation_v2, lambda scene: scene.bundle["dsseEnvelope"].update(signatures=[]))


# ---- the signature and the artifact


@mutation("artifact-digest")
def another_artifact() -> Scene:
    return Scene(MADE, MADE.v2_bundle(), artifact=digests(b"another artifact\n"))


@mutation("artifact-digest")
def a_message_digest_of_something_else() -> Scene:
    def change(scene: Scene) -> None:
        digest = scene.bundle["messageSignature"]["messageDigest"]
        digest["digest"] = encode(bytes(32))

    return on(keyless_v2, change)


@mutation("bad-signature")
def another_artifact_and_no_message_digest() -> Scene:
    scene = Scene(MADE, MADE.v2_bundle(), artifact=digests(b"another artifact\n"))
    del scene.bundle["messageSignature"]["messageDigest"]
    return scene


@mutation("digest-algorithm")
def a_message_digest_the_key_does_not_sign() -> Scene:
    def change(scene: Scene) -> None:
        scene.bundle["messageSignature"]["messageDigest"] = {
            "algorithm": "SHA2_512",
            "digest": encode(hashlib.sha512(ARTIFACT).digest()),
        }

    return on(keyless_v2, change)


@mutation("stamp-of-something-else")
def a_signature_flipped() -> Scene:
    def change(scene: Scene) -> None:
        message = scene.bundle["messageSignature"]
        message["signature"] = flipped(message["signature"], 20)

    return on(keyless_v2, change)


@mutation("bad-signature")
def a_signature_by_another_key() -> Scene:
    signed = MADE.sign_artifact()
    forged = Signed(
        signed.key,
        MADE.sign_artifact(new_key()).signature,
        "sha256",
        signed.certificate,
        None,
    )
    return Scene(MADE, MADE.v2_bundle(forged))


@mutation("stamp-of-something-else")
def an_envelope_signature_moved_to_another_envelope() -> Scene:
    scene, other = attestation_v2(), attestation_v2()
    scene.bundle["dsseEnvelope"] = other.bundle["dsseEnvelope"]
    return scene


@mutation("bad-signature")
def an_envelope_whose_payload_was_changed() -> Scene:
    def change(scene: Scene) -> None:
        envelope = scene.bundle["dsseEnvelope"]
        payload = json.loads(base64.b64decode(envelope["payload"]))
        payload["predicate"] = {"changed": True}
        envelope["payload"] = encode(json.dumps(payload).encode())

    return on(attestation_v2, change)


@mutation("bad-signature")
def an_envelope_whose_type_was_changed() -> Scene:
    return on(attestation_v2, lambda scene: scene.bundle["dsseEnvelope"].update(payloadType="x"))


def stated(content: Json, artifact: ArtifactDigests | None = None) -> Scene:
    """Sign another statement."""
    signed = MADE.sign_statement(content)
    return Scene(MADE, MADE.v2_bundle(signed), artifact=artifact)


@mutation("subject-mismatch")
def a_statement_about_something_else() -> Scene:
    return stated(statement(b"something else"))


@mutation("subject-mismatch")
def a_statement_with_one_right_digest_and_one_wrong() -> Scene:
    content = statement(ARTIFACT, "sha256", "sha512")
    content["subject"][0]["digest"]["sha512"] = "00" * 64
    return stated(content)


@mutation("malformed")
def a_statement_without_subject() -> Scene:
    return stated({**statement(), "subject": []})


@mutation("digest-algorithm")
def a_statement_by_sha512_and_a_sha256_given() -> Scene:
    given = ArtifactDigests({"sha256": hashlib.sha256(ARTIFACT).digest()})
    return stated(statement(ARTIFACT, "sha512"), given)


@mutation("statement-type")
def a_statement_of_an_unknown_type() -> Scene:
    return stated(statement(kind="https://in-toto.io/Statement/v2"))


@mutation("limit")
def a_statement_with_too_many_subjects() -> Scene:
    content = statement()
    content["subject"] *= 1025
    return stated(content)


# ---- the entry and the bundle


def logged_as(body: Json, signed: Signed) -> Scene:
    """Log something else than what was signed."""
    return Scene(MADE, MADE.bundle(signed, MADE.v2_log.add(canonical_json(body))))


def body_of(signed: Signed, message: bytes = ARTIFACT) -> Json:
    return hashedrekord_v2(signed, hashlib.new(signed.algorithm, message).digest())


@mutation("entry-digest")
def an_entry_for_another_artifact() -> Scene:
    signed = MADE.sign_artifact()
    return logged_as(body_of(signed, b"another"), signed)


@mutation("entry-signature")
def an_entry_for_another_signature_of_the_same_artifact() -> Scene:
    signed = MADE.sign_artifact()
    other = Signed(
        signed.key,
        MADE.sign_artifact(signed.key, managed=True).signature,
        "sha256",
        signed.certificate,
        None,
    )
    return logged_as(body_of(other), signed)


@mutation("entry-key")
def an_entry_with_another_certificate_of_the_same_key() -> Scene:
    signed = MADE.sign_artifact()
    twin = Signed(signed.key, signed.signature, "sha256", MADE.certify(signed.key), None)
    return logged_as(body_of(twin), signed)


@mutation("entry-key")
def an_entry_with_the_bare_key_instead_of_the_certificate() -> Scene:
    signed = MADE.sign_artifact()
    bare = Signed(signed.key, signed.signature, "sha256", None, None)
    return logged_as(body_of(bare), signed)


@mutation("entry-key-details")
def an_entry_that_lies_about_the_key() -> Scene:
    signed = MADE.sign_artifact()
    body = body_of(signed)
    body["spec"]["hashedRekordV002"]["signature"]["verifier"]["keyDetails"] = (
        "PKIX_RSA_PKCS1V15_2048_SHA256"
    )
    return logged_as(body, signed)


@mutation("entry-digest")
def a_v2_entry_with_an_unnatural_digest() -> Scene:
    key = ec.generate_private_key(ec.SECP384R1())
    signed = MADE.sign_artifact(key, algorithm="sha256")
    return logged_as(body_of(signed), signed)


@mutation("entry-kind")
def an_entry_of_another_kind_than_it_says() -> Scene:
    scene = keyless_v2()
    scene.entry["kindVersion"] = {"kind": "hashedrekord", "version": "0.0.3"}
    return scene


@mutation("entry-kind")
def an_envelope_entry_for_an_artifact_signature() -> Scene:
    signed = MADE.sign_artifact()
    envelope = Signed(signed.key, signed.signature, "sha256", signed.certificate, ARTIFACT)
    return logged_as(dsse_v2(envelope), signed)


@mutation("entry-kind")
def a_v1_artifact_entry_for_an_envelope() -> Scene:
    signed = MADE.sign_statement()
    assert signed.payload is not None
    digest = hashlib.sha256(encoded(signed.payload)).digest()
    entry = MADE.v1_log.add(canonical_json(hashedrekord_v1(signed, digest)))
    return Scene(MADE, MADE.bundle(signed, entry, media_type=V1_TYPE, stamps=[]))


@mutation("entry-kind")
def an_entry_of_a_kind_nobody_reads() -> Scene:
    signed = MADE.sign_artifact()
    body = {"apiVersion": "0.0.1", "kind": "rekord", "spec": {}}
    entry = MADE.v1_log.add(canonical_json(body))
    return Scene(MADE, MADE.bundle(signed, entry, media_type=V1_TYPE, stamps=[]))


@mutation("entry-kind")
def an_entry_of_an_identity_log_that_is_no_json() -> Scene:
    # rekor-tiles 2.4 describes identity entries, and has no form for their leaves yet.
    signed = MADE.sign_artifact()
    entry = MADE.v2_log.add(b"identity\x00" + bytes(64), ("identity", "0.0.1"))
    return Scene(MADE, MADE.bundle(signed, entry))


@mutation("entry-kind")
def an_entry_as_pre_release_servers_wrote_it() -> Scene:
    signed = MADE.sign_artifact()
    body = body_of(signed)
    body["spec"]["hashedRekordV0_0_2"] = body["spec"].pop("hashedRekordV002")
    return logged_as(body, signed)


@mutation("entry-digest")
def an_entry_for_another_payload() -> Scene:
    signed = MADE.sign_statement()
    other = Signed(signed.key, signed.signature, "sha256", signed.certificate, b"{}")
    return logged_as(dsse_v2(other), signed)


@mutation("entry-signature")
def an_entry_with_two_signatures() -> Scene:
    signed = MADE.sign_statement()
    body = dsse_v2(signed)
    body["spec"]["dsseV002"]["signatures"] *= 2
    return logged_as(body, signed)


@mutation("entry-signature")
def an_intoto_entry_for_another_signature() -> Scene:
    signed = MADE.sign_statement()
    other = Signed(signed.key, b"another", "sha256", signed.certificate, signed.payload)
    entry = MADE.v1_log.add(canonical_json(intoto(other)))
    return Scene(MADE, MADE.bundle(signed, entry, media_type=V1_TYPE, stamps=[]))


@mutation("entry-key")
def a_v1_entry_with_another_certificate() -> Scene:
    signed, other = MADE.sign_artifact(), MADE.sign_artifact()
    twin = Signed(signed.key, signed.signature, "sha256", other.certificate, None)
    body = hashedrekord_v1(twin, hashlib.sha256(ARTIFACT).digest())
    entry = MADE.v1_log.add(canonical_json(body))
    return Scene(MADE, MADE.bundle(signed, entry, media_type=V1_TYPE, stamps=[]))


@mutation("entry-digest")
def a_whole_log_entry_swapped_for_another_of_the_same_signer() -> Scene:
    key = new_key()
    certificate = MADE.certify(key)
    scenes = []
    for artifact in (ARTIFACT, b"another"):
        made = MADE.sign_artifact(key, managed=True, artifact=artifact)
        signed = Signed(key, made.signature, "sha256", certificate, None)
        scenes.append(logged_as(body_of(signed, artifact), signed))
    scenes[0].material["tlogEntries"] = scenes[1].material["tlogEntries"]
    return scenes[0]


# ---- what cannot be told, or is not supported, and said so


@mutation("digest-algorithm")
def an_artifact_signed_with_ed25519_of_which_only_the_digest_is_here() -> Scene:
    key = ed25519.Ed25519PrivateKey.generate()
    signed = MADE.sign_artifact(key, algorithm="sha512")
    return logged_as(body_of(signed), signed)


@mutation("bad-signature")
def an_envelope_signed_otherwise_by_an_ed25519_key() -> Scene:
    key = ed25519.Ed25519PrivateKey.generate()
    signed = MADE.sign_statement(key=key, algorithm="sha512")
    signed.signature = bytes(64)
    assert signed.payload is not None
    return logged_as(body_of(signed, encoded(signed.payload)), signed)


@mutation("unsupported-key")
def an_rsa_key_of_an_odd_length() -> Scene:
    key = rsa.generate_private_key(65537, 2304)
    return Scene(MADE, MADE.v2_bundle(MADE.sign_artifact(key)))


@pytest.mark.parametrize("name", list(MUTATIONS))
def test_a_mutation_is_rejected_for_its_reason(name: str) -> None:
    reason, make = MUTATIONS[name]
    scene = make()
    with pytest.raises(ApplianceError) as caught:
        scene.verify()
    assert caught.value.reason == reason, caught.value


def test_there_are_enough_mutations() -> None:
    assert len(MUTATIONS) >= 60
    assert {"identity", "issuer", "entry-key"} <= {reason for reason, _ in MUTATIONS.values()}
