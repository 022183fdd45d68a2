"""Each leniency beside each lie: what is spelled another way, or allowed, is verified no less.

Every spelling alone verifies (the first test); every lie in every spelling is rejected, for the
reason that the lie has in plain spelling.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from appliance.errors import ApplianceError
from appliance.rekor.canonical_json import canonical_json
from appliance.sigstore.attestation_files import read_attestation_file
from appliance.sigstore.case import NO_OPT_INS, OptIns
from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.identity import CertificateIdentity
from appliance.sigstore.trusted_root import parse_trusted_roots
from appliance.sigstore.verification import judge_bundle, single_entries
from tests.pki import der
from tests.pki.authorities import IDENTITY, ISSUER, LeafPlan, certificate_der, issue, new_key
from tests.pki.bundles import (
    ARTIFACT,
    EXPECTED,
    Instance,
    Signed,
    digests,
    hashedrekord_v2,
    statement,
)
from tests.sigstore.test_fuzz import respelled

Json = dict[str, Any]
MADE = Instance()
OTHER = Instance()
ITS_DIGESTS = digests(ARTIFACT)


@dataclass(frozen=True)
class Asked:
    """What is verified, before it is written in some spelling."""

    bundle: Json
    expected: CertificateIdentity = EXPECTED
    artifact: ArtifactDigests = ITS_DIGESTS
    opt_ins: OptIns = NO_OPT_INS

    @property
    def entries(self) -> list[Json]:
        return self.bundle["verificationMaterial"]["tlogEntries"]  # type: ignore[no-any-return]


def verified(asked: Asked, spell: Callable[[Json], bytes]) -> str:
    """Verify it as the command does; returns the reason of a no, empty for a yes."""
    try:
        (root,) = parse_trusted_roots(json.dumps(MADE.root()).encode())
        (bundle,) = read_attestation_file(spell(asked.bundle)).bundles
    except ApplianceError as error:
        return error.reason
    several = asked.opt_ins.several_entries
    reasons = []
    for one in single_entries(bundle) if several else (bundle,):
        judged = judge_bundle(one, asked.artifact, asked.expected, root, opt_ins=asked.opt_ins)
        if judged.error is None:
            return ""
        reasons.append(judged.error.reason)
    return reasons[0]


# ------------------------------------------------------------------ spellings


def plain(bundle: Json) -> bytes:
    return json.dumps(bundle).encode()


def snake_case(bundle: Json) -> bytes:
    return json.dumps(respelled(bundle)).encode()


def numbers(bundle: Json) -> bytes:
    """Numbers where others write strings and names, and fractions of zero."""
    bundle = copy.deepcopy(bundle)
    digest = bundle.get("messageSignature", {}).get("messageDigest")
    if digest is not None:
        digest["algorithm"] = 1
    for entry in bundle["verificationMaterial"]["tlogEntries"]:
        for where in (entry, entry["inclusionProof"]):
            where["logIndex"] = float(where["logIndex"])
    return json.dumps(bundle).encode()


def wrapped(bundle: Json) -> bytes:
    """Windows line ends, and base64 in lines as OpenSSL breaks it."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: cut(one) for name, one in value.items()}
        if isinstance(value, list):
            return [cut(one) for one in value]
        if isinstance(value, str) and len(value) > 80 and " " not in value and "\n" not in value:
            return "\r\n".join(value[at : at + 64] for at in range(0, len(value), 64))
        return value

    return json.dumps(cut(bundle), indent=2).replace("\n", "\r\n").encode() + b"\r\n\r\n"


def stamps_in_ber(bundle: Json) -> bytes:
    bundle = copy.deepcopy(bundle)
    data = bundle["verificationMaterial"].get("timestampVerificationData", {})
    for one in data.get("rfc3161Timestamps", []):
        raw = base64.b64decode(one["signedTimestamp"])
        one["signedTimestamp"] = base64.b64encode(der.in_ber(raw, chunk=30)).decode()
    return json.dumps(bundle).encode()


def newer_media_type(bundle: Json) -> bytes:
    old = "application/vnd.dev.sigstore.bundle+json;version=0.3"
    return json.dumps({**bundle, "mediaType": old}).encode()


def unknown_fields_and_nulls(bundle: Json) -> bytes:
    bundle = copy.deepcopy(bundle)
    other = "messageSignature" if "dsseEnvelope" in bundle else "dsseEnvelope"
    material = bundle["verificationMaterial"]
    material |= {"publicKey": None, "x509CertificateChain": None, "futureField": [1, {"a": None}]}
    return json.dumps({**bundle, other: None, "extra": {"mediaType": "x"}}).encode()


def in_an_attestation_list(bundle: Json) -> bytes:
    return json.dumps({"attestations": [{"bundle": bundle, "repository_id": 1}]}).encode()


def among_other_lines(bundle: Json) -> bytes:
    """Notes, an array and a line that was cut, between which only one is a bundle."""
    return b"# attestations\n[]\n" + json.dumps(bundle).encode() + b'\r\n{"mediaType": "appli\n'


def as_jq_prints_several(bundle: Json) -> bytes:
    newer = {"mediaType": "application/vnd.dev.sigstore.bundle.v0.9+json", "x": [1]}
    return "\n".join(json.dumps(one, indent=2) for one in (newer, bundle)).encode()


def as_gh_prints_it(bundle: Json) -> bytes:
    one = {"attestation": {"bundle": bundle, "bundle_url": ""}, "verificationResult": {"x": 1}}
    return json.dumps([one]).encode()


def as_npm_prints_it(bundle: Json) -> bytes:
    verified = [{"name": "a", "version": "1.0.0", "attestationBundles": [{"bundle": bundle}]}]
    return json.dumps({"invalid": [], "missing": [], "verified": verified}).encode()


def default_digest_algorithm(bundle: Json) -> bytes:
    bundle = copy.deepcopy(bundle)
    digest = bundle.get("messageSignature", {}).get("messageDigest", {})
    digest["algorithm"] = "HASH_ALGORITHM_UNSPECIFIED"
    return json.dumps(bundle).encode()


SPELLINGS: dict[str, Callable[[Json], bytes]] = {
    one.__name__: one
    for one in (
        *(plain, snake_case, numbers, wrapped, stamps_in_ber, newer_media_type),
        *(unknown_fields_and_nulls, in_an_attestation_list, among_other_lines),
        *(as_jq_prints_several, as_gh_prints_it, as_npm_prints_it, default_digest_algorithm),
    )
}


# ------------------------------------------------------------------ what is verified


def artifact() -> Asked:
    return Asked(MADE.v2_bundle())


def envelope() -> Asked:
    """A statement with upper-case hex, which nobody else's spelling changes."""
    content = statement()
    digest = content["subject"][0]["digest"]
    digest["sha256"] = digest["sha256"].upper()
    return Asked(MADE.v2_bundle(MADE.sign_statement(content)))


def unlogged() -> Asked:
    signed = MADE.sign_artifact()
    return Asked(MADE.bundle(signed, None), opt_ins=OptIns(unlogged=True))


def several_entries() -> Asked:
    bundle = MADE.v2_bundle()
    entries = bundle["verificationMaterial"]["tlogEntries"]
    stranger = OTHER.v2_bundle()["verificationMaterial"]["tlogEntries"]
    entries[:] = [*entries, *stranger]
    return Asked(bundle, opt_ins=OptIns(several_entries=True))


def with_a_subject() -> Asked:
    bundle = MADE.v2_bundle(MADE.sign_artifact(plan=LeafPlan(subject="build server")))
    return Asked(bundle, opt_ins=OptIns(leaf_subject=True))


KINDS: dict[str, Callable[[], Asked]] = {
    one.__name__: one for one in (artifact, envelope, unlogged, several_entries, with_a_subject)
}


# ------------------------------------------------------------------ lies


def flip(text: str, at: int = 20) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[at] ^= 1
    return base64.b64encode(bytes(raw)).decode()


def another_artifact(asked: Asked) -> Asked:
    return replace(asked, artifact=digests(b"another artifact\n"))


def another_identity(asked: Asked) -> Asked:
    return replace(asked, expected=CertificateIdentity("other@example.com", ISSUER))


def another_issuer(asked: Asked) -> Asked:
    return replace(asked, expected=CertificateIdentity(IDENTITY, "https://other.example"))


def a_claim_that_nobody_made(asked: Asked) -> Asked:
    expected = CertificateIdentity(IDENTITY, ISSUER, claims={"build-trigger": "push"})
    return replace(asked, expected=expected)


def a_flipped_signature(asked: Asked) -> Asked:
    if "dsseEnvelope" in asked.bundle:
        line = asked.bundle["dsseEnvelope"]["signatures"][0]
        line["sig"] = flip(line["sig"])
    else:
        message = asked.bundle["messageSignature"]
        message["signature"] = flip(message["signature"])
    return asked


def a_stamp_of_another_signature(asked: Asked) -> Asked:
    data = asked.bundle["verificationMaterial"]["timestampVerificationData"]
    stamp = MADE.timestamp_authority.stamp(b"another signature")
    data["rfc3161Timestamps"] = [{"signedTimestamp": base64.b64encode(stamp).decode()}]
    return asked


def a_stamp_by_a_stranger(asked: Asked) -> Asked:
    content = asked.bundle.get("messageSignature") or asked.bundle["dsseEnvelope"]["signatures"][0]
    signature = base64.b64decode(content.get("signature") or content["sig"])
    stamp = OTHER.timestamp_authority.stamp(signature)
    data = asked.bundle["verificationMaterial"]["timestampVerificationData"]
    data["rfc3161Timestamps"] = [{"signedTimestamp": base64.b64encode(stamp).decode()}]
    return asked


def a_strangers_certificate(asked: Asked) -> Asked:
    certificate = issue(LeafPlan(), new_key(), OTHER.authority, OTHER.ct_log)
    raw = base64.b64encode(certificate_der(certificate)).decode()
    asked.bundle["verificationMaterial"]["certificate"] = {"rawBytes": raw}
    return asked


def a_flipped_proof(asked: Asked) -> Asked:
    for entry in asked.entries:
        entry["inclusionProof"]["hashes"] = [
            flip(one) for one in entry["inclusionProof"]["hashes"]
        ] or [base64.b64encode(bytes(32)).decode()]
    return asked


def a_checkpoint_that_nobody_signed(asked: Asked) -> Asked:
    for entry in asked.entries:
        checkpoint = entry["inclusionProof"]["checkpoint"]
        checkpoint["envelope"] = checkpoint["envelope"].replace("\n\n", "\nextension\n\n", 1)
    return asked


def a_body_about_something_else(asked: Asked) -> Asked:
    """An entry that is in the log, of the same signer, for another artifact."""
    key = new_key()
    signed = MADE.sign_artifact(key, artifact=b"something else\n")
    other = Signed(key, signed.signature, "sha256", signed.certificate, None)
    body = hashedrekord_v2(other, hashlib.sha256(b"something else\n").digest())
    entry = MADE.v2_bundle()["verificationMaterial"]["tlogEntries"][0]
    made = MADE.bundle(other, MADE.v2_log.add(canonical_json(body)))
    entry.update(made["verificationMaterial"]["tlogEntries"][0])
    asked.entries[:] = [entry]
    return asked


LIES: dict[str, Callable[[Asked], Asked]] = {
    one.__name__: one
    for one in (
        *(another_artifact, another_identity, another_issuer, a_claim_that_nobody_made),
        *(a_flipped_signature, a_stamp_of_another_signature, a_stamp_by_a_stranger),
        *(a_strangers_certificate, a_flipped_proof, a_checkpoint_that_nobody_signed),
        a_body_about_something_else,
    )
}
OF_ENTRIES = {"a_flipped_proof", "a_checkpoint_that_nobody_signed", "a_body_about_something_else"}
CASES = [
    (kind, spelling, lie)
    for kind in KINDS
    for spelling in SPELLINGS
    for lie in LIES
    if not (kind == "unlogged" and lie in OF_ENTRIES)
]


def test_there_are_as_many_cases_as_promised() -> None:
    assert len(CASES) >= 600


@pytest.mark.parametrize("spelling", list(SPELLINGS))
@pytest.mark.parametrize("kind", list(KINDS))
def test_in_every_spelling_it_verifies(kind: str, spelling: str) -> None:
    assert verified(KINDS[kind](), SPELLINGS[spelling]) == ""


@pytest.mark.parametrize("kind", ["unlogged", "several_entries", "with_a_subject"])
@pytest.mark.parametrize("spelling", list(SPELLINGS))
def test_what_was_not_allowed_is_refused_in_every_spelling(kind: str, spelling: str) -> None:
    asked = replace(KINDS[kind](), opt_ins=NO_OPT_INS)
    expected = {
        "unlogged": "no-log-entry",
        "several_entries": "log-entry-count",
        "with_a_subject": "leaf-certificate",
    }
    assert verified(asked, SPELLINGS[spelling]) == expected[kind]


@pytest.mark.parametrize("lie", list(LIES))
@pytest.mark.parametrize("kind", list(KINDS))
def test_no_spelling_makes_a_lie_true(kind: str, lie: str) -> None:
    if kind == "unlogged" and lie in OF_ENTRIES:
        assert KINDS[kind]().entries == []  # it has none to lie with
        return
    asked = LIES[lie](KINDS[kind]())
    reasons = {name: verified(asked, spell) for name, spell in SPELLINGS.items()}
    assert reasons["plain"]
    assert set(reasons.values()) == {reasons["plain"]}, reasons
