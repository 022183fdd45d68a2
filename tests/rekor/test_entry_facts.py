"""Entry facts: the fast reader against `cryptography` and the strict parser, on real entries."""

from __future__ import annotations

import json
import os
import random
import re
from base64 import b64decode, b64encode
from functools import cache
from hashlib import sha256
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import MalformedError, VerificationError
from appliance.rekor import certificate_facts
from appliance.rekor.certificate_facts import CertificateFacts, key_digests, read_certificate
from appliance.rekor.entry import Dsse, HashedRekord, parse_entry
from appliance.rekor.entry_facts import NO_ENTRY, read_entry
from appliance.rekor.x509_certificate import load_certificate
from appliance.sigstore.identity import read_names
from tests.pki import der
from tests.pki.authorities import new_key, spki
from tests.shared import shared

# ATTESTOR_MUTANTS=1000000 is the long form.
MUTANTS: Final = int(os.environ.get("ATTESTOR_MUTANTS", "4000"))


@cache
def bodies() -> tuple[bytes, ...]:
    """Every log entry in the reference data."""
    found = set()
    for file in sorted(shared("corpus").rglob("*.json*")):
        if file.is_file():
            for one in re.findall(rb'"canonicalizedBody"\s*:\s*"([^"]+)"', file.read_bytes()):
                try:
                    found.add(b64decode(one, validate=True))
                except ValueError:
                    continue
    return tuple(sorted(found))


@cache
def certificates() -> tuple[bytes, ...]:
    found = set()
    for body in bodies():
        try:
            entry = parse_entry(body)
        except VerificationError:
            continue
        if isinstance(entry, HashedRekord | Dsse):
            found |= {one.verifier.der for one in entry.signatures if one.verifier.is_certificate}
    return tuple(sorted(found))


def by_library(raw: bytes) -> tuple[set[str], set[str], set[str], bytes, int]:
    """What `cryptography` reads: identities, issuers, claims, the key's digest, notBefore."""
    loaded = load_certificate(raw, "certificate")
    names = read_names(loaded)
    key = loaded.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    started = int(loaded.not_valid_before_utc.timestamp())
    claims = set(names.claims.values())
    return set(names.identities), set(names.issuers), claims, sha256(key).digest(), started


def assert_found(raw: bytes, facts: CertificateFacts) -> None:
    identities, issuers, claims, key, started = by_library(raw)
    assert identities <= {name for _, name in facts.identities}
    assert issuers == set(facts.issuers)
    assert claims <= {text for _, text in facts.claims}
    assert key in facts.keys
    assert facts.signed_at == started


def test_real_certificates_say_what_the_library_reads() -> None:
    assert len(certificates()) > 100
    for raw in certificates():
        assert_found(raw, read_certificate(raw))


def test_whatever_of_a_mutated_certificate_the_library_reads_is_found() -> None:
    random_ = random.Random(17)  # noqa: S311 repeatable
    read = refused = 0
    for _ in range(MUTANTS):
        raw = bytearray(random_.choice(certificates()))
        for _ in range(random_.randint(1, 3)):
            raw[random_.randrange(len(raw))] = random_.randrange(256)
        try:
            facts = read_certificate(bytes(raw))
        except MalformedError:
            refused += 1
            with pytest.raises(VerificationError):
                by_library(bytes(raw))
            continue
        try:
            by_library(bytes(raw))
        except VerificationError:
            continue  # more is found than a verifier would take
        read += 1
        assert_found(bytes(raw), facts)
    assert read > 1000 and refused > 50


def plainly(raw: bytes) -> CertificateFacts | str:
    """What is read of a certificate, or why it cannot be."""
    try:
        return read_certificate(raw)
    except MalformedError as error:
        return error.message


def test_what_is_read_fast_is_what_is_read_piece_by_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random_ = random.Random(18)  # noqa: S311 repeatable
    usual = [one for one in certificates() if certificate_facts._USUAL.match(one)]
    assert len(usual) > 50
    mutants = list[bytes]()
    for _ in range(MUTANTS):
        raw = bytearray(random_.choice(usual))
        # Lengths and tags, more than anything else: where a reader can lose its place.
        places = [at for at, one in enumerate(raw) if one in (0x30, 0x04, 0x06, 0x81, 0x82, 0x01)]
        at = random_.choice(places) + random_.randrange(3)
        raw[min(at, len(raw) - 1)] = random_.choice((0, 1, 4, 6, 0x30, 0x80, 0x81, 0x82, 0xFF))
        mutants += [bytes(raw), random_.choice(usual)]
    for one in usual[:20]:
        found = certificate_facts._USUAL.match(one)
        for wrapping in (1, 2, 7, 8) if found else ():
            for length in (0, 4, 21, 100, 257, 65_535):
                start, stop = found.span(wrapping)  # type: ignore[union-attr]
                mutants.append(one[:start] + length.to_bytes(2) + one[stop:])
    fast = list(map(plainly, mutants))
    monkeypatch.setattr(certificate_facts, "_USUAL", re.compile(rb"(?!)"))
    monkeypatch.setattr(certificate_facts, "_short_extension", lambda *_: None)
    monkeypatch.setattr(certificate_facts, "_known", Forgetful())
    monkeypatch.setattr(certificate_facts, "_following", Forgetful())
    for mutant, read in zip(mutants, fast, strict=True):
        assert plainly(mutant) == read, mutant.hex()


class Forgetful(dict[bytes, Any]):
    """Remembers nothing."""

    def __setitem__(self, *_: Any) -> None:
        pass


def test_claims_that_follow_a_name_are_remembered_with_it_and_only_as_they_stand() -> None:
    raw = next(one for one in certificates() if len(read_certificate(one).claims) > 10)
    plain = read_certificate(raw)
    for number, text in plain.claims:
        other = raw.replace(text.encode(), bytes(len(text)))
        assert other != raw and dict(read_certificate(other).claims)[number] != text
        assert read_certificate(raw) == plain


def test_what_one_certificate_says_behind_its_claims_is_not_remembered_for_another() -> None:
    def extension(oid: str, value: bytes) -> bytes:
        return der.sequence(der.object_identifier(oid), der.tlv(0x04, value))

    def named(text: bytes) -> bytes:
        return extension("2.5.29.17", der.sequence(der.tlv(0x81, text)))

    first, later = named(b"me@remembered.example"), named(b"you@remembered.example")
    claims = b"".join(
        extension(f"1.3.6.1.4.1.57264.1.{number}", b"claim %d" % number) for number in (2, 3, 4)
    )
    mine = [("email", "me@remembered.example")]
    for raw, names in (
        (first + claims + later, [*mine, ("email", "you@remembered.example")]),
        (first + claims, mine),
        (first + claims + later, [*mine, ("email", "you@remembered.example")]),
        (first + later + claims, [*mine, ("email", "you@remembered.example")]),
        (first + claims, mine),
    ):
        said = certificate_facts._together(certificate_facts._extensions(raw, 0, len(raw)))
        assert list(said.names) == names
        assert said.claims == tuple((number, f"claim {number}") for number in (2, 3, 4))


def test_many_long_names_do_not_fill_the_memory() -> None:
    names = [der.tlv(0x86, b"https://long.example/%d" % at) for at in range(40)]
    value = der.octets(der.sequence(*names))
    claim = der.octets(der.tlv(0x0C, b"https://issuer.example"))
    raw = der.sequence(der.object_identifier("2.5.29.17"), value)
    raw += der.sequence(der.object_identifier("1.3.6.1.4.1.57264.1.8"), claim)
    before = dict(certificate_facts._following)
    said = certificate_facts._together(certificate_facts._extensions(raw, 0, len(raw)))
    assert len(said.names) == 40 and said.issuers == ("https://issuer.example",)
    assert certificate_facts._following == before


def test_a_value_with_a_long_length_is_read_whole() -> None:
    for length in (127, 128, 129, 130, 200):
        value = bytes(length)
        raw = der.sequence(der.object_identifier("2.5.29.17"), der.tlv(0x04, value))
        start = 2 if raw[1] < 0x80 else 3
        short = certificate_facts._short_extension(raw, start)
        assert (short is None) == (length > 127)
        assert (short or certificate_facts._extension(raw, start))[1] == value


def test_a_name_that_the_library_warns_of_is_read_and_nothing_is_printed() -> None:
    organization, country = bytes.fromhex("060355040a"), bytes.fromhex("0603550406")
    raw = next(one for one in certificates() if organization in one)
    hostile = raw.replace(organization, country)  # a country of more than two letters
    assert_found(hostile, read_certificate(hostile))  # a warning is an error in the tests


def test_real_entries_say_what_the_strict_parser_reads() -> None:
    kinds = set()
    for body in bodies():
        facts = read_entry(body)
        try:
            entry = parse_entry(body)
        except VerificationError:
            continue
        assert isinstance(entry, HashedRekord | Dsse)
        digest = entry.data if isinstance(entry, HashedRekord) else entry.payload
        assert facts.digests == ((digest.algorithm, digest.value),)
        assert [one.fingerprint for one in facts.signers] == [
            sha256(one.verifier.der).digest() for one in entry.signatures
        ]
        assert facts.unread == ()
        kinds.add(facts.kind)
    assert kinds == {"dsse 0.0.1", "hashedrekord 0.0.1", "hashedrekord 0.0.2", "intoto 0.0.2"}


def entry_v2(*verifiers: dict[str, Any]) -> dict[str, Any]:
    signatures = [{"content": "AA==", "verifier": one} for one in verifiers]
    digest = {"algorithm": "SHA2_256", "digest": b64encode(bytes(32)).decode()}
    spec = {"dsseV002": {"payloadHash": digest, "signatures": signatures}}
    return {"apiVersion": "0.0.2", "kind": "dsse", "spec": spec}


def certified(raw: bytes) -> dict[str, Any]:
    return {
        "x509Certificate": {"rawBytes": b64encode(raw).decode()},
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
    }


def test_an_unreadable_signer_hides_no_other() -> None:
    good = certificates()[0]
    for signers in ((good, b"junk"), (b"junk", good)):
        facts = read_entry(json.dumps(entry_v2(*map(certified, signers))).encode())
        read = [one.certificate for one in facts.signers if one.certificate is not None]
        assert read == [read_certificate(good)]
        assert [one.fingerprint for one in facts.signers] == [
            sha256(one).digest() for one in signers
        ]
        assert len(facts.unread) == 1 and f"signer {1 + signers.index(b'junk')}:" in facts.unread[0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"kind":1}',
        b"[" * 60_000,
        b'{"apiVersion":"0.0.2","kind":"dsse","spec":{}}',
        b'{"apiVersion":"0.0.1","kind":"rekord","spec":{}}',
    ],
)
def test_what_cannot_be_read_says_so(body: bytes) -> None:
    facts = read_entry(body)
    assert facts.unread and not facts.digests and not facts.signers


def test_a_field_given_twice_is_not_read_one_way() -> None:
    body = json.dumps(entry_v2(certified(certificates()[0])))
    twice = body.replace('"payloadHash":', '"payloadHash": {}, "payloadHash":')
    assert read_entry(body.encode()).unread == ()
    assert read_entry(twice.encode()).kind == NO_ENTRY


def test_a_claim_that_is_no_text_spoils_only_itself() -> None:
    raw = next(one for one in certificates() if len(read_certificate(one).claims) > 10)
    plain = read_certificate(raw)
    number, text = plain.claims[-1]
    broken = raw.replace(text.encode(), b"\xff" * len(text.encode()))
    facts = read_certificate(broken)
    assert broken != raw
    assert (facts.identities, facts.keys) == (plain.identities, plain.keys)
    assert dict(facts.claims)[number] == "\\xff" * len(text.encode())


def test_a_compressed_key_has_both_its_digests() -> None:
    key = new_key()
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    oids = der.object_identifier("1.2.840.10045.2.1"), der.object_identifier("1.2.840.10045.3.1.7")
    compressed = der.sequence(der.sequence(*oids), der.tlv(0x03, b"\x00" + point))
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    usual = sha256(spki(key)).digest()
    assert key_digests(compressed) == (sha256(compressed).digest(), usual)
    assert key_digests(spki(key)) == (usual,)


def test_a_self_made_certificate_is_read_as_well() -> None:
    short = der.sequence(der.sequence(der.integer(1)))
    with pytest.raises(MalformedError, match="certificate"):
        read_certificate(short)
