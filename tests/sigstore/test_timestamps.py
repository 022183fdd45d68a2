"""RFC 3161 stamps as OpenSSL makes them, over keys, chains, orders and policies: and spoiled."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.errors import MalformedError, RefusedError, SignatureError, VerificationError
from appliance.sigstore.der import SEQUENCE, Elements, definite_form, only_element
from appliance.sigstore.timestamps import verify_stamp
from appliance.sigstore.trusted_root import Authority
from appliance.sigstore.validity import ALWAYS
from tests.pki import der
from tests.pki.authorities import (
    NOON,
    Issuer,
    TimestampAuthority,
    certificate_der,
    new_authority,
    new_timestamp_authority,
)
from tests.pki.openssl_tsa import OpensslAuthority, Plan, make_authority

SIGNATURE = b"a signature that was stamped"
TIME_STAMPING = ExtendedKeyUsageOID.TIME_STAMPING

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed here"
)


def plans() -> list[Plan]:
    """Every key at one to four levels, with embedded certificates in every order."""
    kinds = ("P-256", "P-384", "P-521", "rsa-2048", "rsa-3072")
    made = []
    for kind, levels in itertools.product(kinds, (1, 2, 3, 4)):
        keys = (kind,) * levels
        embedded = levels if kind in ("P-256", "rsa-2048") else min(levels, 3)
        orders: list[tuple[int, ...]] = [(), *itertools.permutations(range(embedded))]
        made += [Plan(keys, order) for order in orders]
    for leaf, issuer in itertools.permutations(kinds, 2):
        made.append(Plan((leaf, issuer, issuer), (2, 0, 1)))
    for imprint, digest, named in itertools.product(
        ("sha256", "sha384", "sha512"), ("sha256", "sha384", "sha512"), ("sha1", "sha256", "sha512")
    ):
        made.append(
            Plan(("P-384", "rsa-2048"), (1, 0), imprint, digest, named, nonce=named == "sha1")
        )
    lines = (
        "ordering = yes\naccuracy = secs:1, millisecs:500, microsecs:100",
        "tsa_name = yes",
        "ess_cert_id_chain = yes",
        "clock_precision_digits = 6",
        "accuracy = secs:30\ntsa_name = yes\nclock_precision_digits = 3",
    )
    for line, kind in itertools.product(lines, kinds):
        made.append(Plan((kind,) * 3, (1, 2, 0), more=line, nonce=True))
    for usages in ((TIME_STAMPING,), (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)):
        made.append(Plan(("P-256",) * 3, (0, 1), issuer_usages=usages))
    return made


PLANS = plans()


def number(plan: Plan) -> str:
    return f"{PLANS.index(plan)}-{'-'.join(plan.keys)}-{''.join(map(str, plan.order))}"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tsa")


def stamped(plan: Plan, directory: Path) -> tuple[OpensslAuthority, bytes]:
    authority = make_authority(plan)
    return authority, authority.stamp(SIGNATURE, directory)


def refused(stamp: bytes, *authorities: Authority) -> str:
    with pytest.raises((VerificationError, RefusedError)) as caught:
        verify_stamp(stamp, SIGNATURE, authorities)
    return caught.value.reason


def test_there_are_as_many_plans_as_promised() -> None:
    assert len(PLANS) == len(set(PLANS)) >= 200


@needs_openssl
@pytest.mark.parametrize("plan", PLANS, ids=number)
def test_a_stamp_by_openssl_verifies_and_spoiled_does_not(plan: Plan, directory: Path) -> None:
    authority, stamp = stamped(plan, directory)
    good = authority.listed()
    assert verify_stamp(stamp, SIGNATURE, [good]).authority == good
    # Anchored at any of the listed certificates, the last one being the anchor.
    for stop in range(1, len(authority.chain)):
        verify_stamp(stamp, SIGNATURE, [authority.listed(0, stop)])
    # A root that lists the issuers only: the stamp brings its certificate, or it is unknown.
    if len(authority.chain) > 1:
        issuers = authority.listed(1)
        if plan.order:
            verify_stamp(stamp, SIGNATURE, [issuers])
        else:
            assert refused(stamp, issuers) == "unknown-timestamp-authority"
    # Beside authorities that are not its own, in any order.
    other = make_authority(Plan(("P-256", "P-384"))).listed()
    verify_stamp(stamp, SIGNATURE, [other, good])

    with pytest.raises(SignatureError) as caught:
        verify_stamp(stamp, b"another signature", [good])
    assert caught.value.reason == "stamp-of-something-else"
    spoiled = bytearray(stamp)
    spoiled[-1] ^= 1  # the signature's last byte
    assert refused(bytes(spoiled), good) == "bad-stamp"
    at = stamp.index(b"20", stamp.index(der.object_identifier("1.3.6.1.4.1.57264.2")))
    spoiled = bytearray(stamp)
    spoiled[at + 3] ^= 1  # the year it says
    assert refused(bytes(spoiled), good) in ("bad-stamp", "timestamp-authority-window")
    assert refused(stamp, other) == "unknown-timestamp-authority"


@needs_openssl
def test_no_bit_of_what_is_signed_can_be_flipped(directory: Path) -> None:
    """Only what the signature does not cover may change: wrapping and embedded certificates."""
    authority, stamp = stamped(Plan(("P-256",) * 2, (1, 0)), directory)
    good = authority.listed()
    stamped_at = verify_stamp(stamp, SIGNATURE, [good]).time
    free = 0
    for position in range(len(stamp)):
        for bit in (0x01, 0x80):
            spoiled = bytearray(stamp)
            spoiled[position] ^= bit
            try:
                found = verify_stamp(bytes(spoiled), SIGNATURE, [good])
            except (VerificationError, RefusedError):
                continue
            assert found.time == stamped_at
            free += 1
    assert 0 < free < len(stamp) * 2 * 3 // 4


@needs_openssl
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"leaf_usages": (TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING)}, "bad-stamp"),
        ({"issuer_usages": (ExtendedKeyUsageOID.CODE_SIGNING,)}, "bad-stamp"),
        ({"issuer_usages": (ExtendedKeyUsageOID.EMAIL_PROTECTION,)}, "bad-stamp"),
        ({"path_length": 0}, "bad-stamp"),
    ],
    ids=["leaf also for code", "issuer for code only", "issuer for mail only", "path too long"],
)
def test_a_chain_that_may_not_stamp(changes: dict[str, Any], reason: str, directory: Path) -> None:
    good = Plan(("P-256",) * 3, (0, 1))
    authority, stamp = stamped(good, directory)
    verify_stamp(stamp, SIGNATURE, [authority.listed()])
    # OpenSSL does not stamp under a certificate it finds unfit: the same key under such a chain.
    unfit = make_authority(replace(good, **changes))
    if "leaf_usages" not in changes:
        stamp = unfit.stamp(SIGNATURE, directory)
        assert refused(stamp, unfit.listed(1)) == reason
        assert refused(stamp, unfit.listed()) == reason
    else:
        leaf = new_timestamp_authority(more_usages=[ExtendedKeyUsageOID.CODE_SIGNING])
        listed = Authority("", tuple(map(certificate_der, leaf.chain)), ALWAYS)
        assert refused(leaf.stamp(SIGNATURE), listed) == reason


def test_a_stamp_signed_with_rsassa_pss_or_ed25519() -> None:
    key = rsa.generate_private_key(65537, 2048)
    hashed = der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.3"), der.null())
    mask = der.sequence(der.object_identifier("1.2.840.113549.1.1.8"), hashed)

    def stamp(salt: int, *parameters: bytes) -> bytes:
        pss = padding.PSS(padding.MGF1(SHA512()), salt)
        return authority.stamp(
            SIGNATURE,
            sign=lambda message: key.sign(message, pss, SHA512()),
            signature_algorithm=der.sequence(
                der.object_identifier("1.2.840.113549.1.1.10"), der.sequence(*parameters)
            ),
            digest="sha512",
        )

    authority = new_timestamp_authority(key=key)
    listed = Authority("", tuple(map(certificate_der, authority.chain)), ALWAYS)
    full = (der.tagged(0, hashed), der.tagged(1, mask), der.tagged(2, der.integer(64)))
    verify_stamp(stamp(64, *full), SIGNATURE, [listed])
    verify_stamp(stamp(20, *full[:2]), SIGNATURE, [listed])
    assert refused(stamp(20, *full), listed) == "bad-stamp"
    assert refused(stamp(64, full[0], full[2]), listed) == "bad-stamp-form"

    signer = ed25519.Ed25519PrivateKey.generate()
    authority = new_timestamp_authority(key=signer)
    listed = Authority("", tuple(map(certificate_der, authority.chain)), ALWAYS)
    algorithm = der.sequence(der.object_identifier("1.3.101.112"))
    good = authority.stamp(SIGNATURE, sign=signer.sign, signature_algorithm=algorithm)
    verify_stamp(good, SIGNATURE, [listed])
    other = ed25519.Ed25519PrivateKey.generate()
    bad = authority.stamp(SIGNATURE, sign=other.sign, signature_algorithm=algorithm)
    assert refused(bad, listed) == "bad-stamp"
    unknown = der.sequence(der.object_identifier("1.3.101.113"))  # Ed448
    bad = authority.stamp(SIGNATURE, sign=signer.sign, signature_algorithm=unknown)
    assert refused(bad, listed) == "unsupported-stamp"


def test_a_token_that_names_its_certificate_by_key_or_names_another() -> None:
    authority = new_timestamp_authority()
    listed = Authority("", tuple(map(certificate_der, authority.chain)), ALWAYS)
    leaf = certificate_der(authority.leaf.certificate)
    key_id = authority.leaf.certificate.extensions.get_extension_for_class(
        x509.SubjectKeyIdentifier
    ).value.digest
    by_key = der.tlv(0x80, key_id)
    verify_stamp(authority.stamp(SIGNATURE, signer=by_key), SIGNATURE, [listed])
    stranger = der.tlv(0x80, bytes(20))
    stamp = authority.stamp(SIGNATURE, signer=stranger)
    assert refused(stamp, listed) == "unknown-timestamp-authority"

    for oid, algorithm in (("12", "sha1"), ("47", "sha256")):
        for certificate, is_good in ((leaf, True), (b"another", False)):
            hashed = der.octets(hashlib.new(algorithm, certificate).digest())
            named = der.sequence(der.sequence(der.sequence(hashed)))
            attribute = der.sequence(
                der.object_identifier(f"1.2.840.113549.1.9.16.2.{oid}"), der.set_of(named)
            )
            stamp = authority.stamp(SIGNATURE, more_attributes=[attribute])
            if is_good:
                verify_stamp(stamp, SIGNATURE, [listed])
            else:
                assert refused(stamp, listed) == "bad-stamp"


def test_signed_attributes_that_do_not_say_what_they_must() -> None:
    authority = new_timestamp_authority()
    listed = Authority("", tuple(map(certificate_der, authority.chain)), ALWAYS)
    twice = der.sequence(
        der.object_identifier("1.2.840.113549.1.9.4"), der.set_of(der.octets(bytes(32)))
    )
    stamp = authority.stamp(SIGNATURE, more_attributes=[twice])
    assert refused(stamp, listed) == "bad-stamp-form"
    for missing in ("1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"):
        stamp = authority.stamp(SIGNATURE, without_attribute=missing)
        assert refused(stamp, listed) == "bad-stamp-form"


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "30",
        "3080",
        "308000",
        "308100",
        "30820001ff",
        "1f8100",
        "300402010100ff",
        "30060201010201",
        "30850000000001ff",
    ],
)
def test_bytes_that_are_not_der_are_malformed(raw: str) -> None:
    with pytest.raises(MalformedError):
        only_element(bytes.fromhex(raw), SEQUENCE, "value").children("value").sequence("inner")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("integer", "0200"),
        ("integer", "02020001"),
        ("integer", "0202ff80"),
        ("object_identifier", "0600"),
        ("object_identifier", "06028001"),
        ("object_identifier", "060381"),
        ("object_identifier", "06022a80"),
        ("time", "180d3236303130313132303030305a"),
        ("time", "180f32303236313330313132303030305a"),
        ("time", "180e3230323630313031313230303030"),
    ],
)
def test_values_with_another_spelling_are_malformed(kind: str, content: str) -> None:
    with pytest.raises(MalformedError):
        getattr(Elements(bytes.fromhex(content), "value"), kind)("it")


def test_values_in_der_are_read() -> None:
    assert Elements(der.object_identifier("2.16.840.1.101.3.4.2.1"), "").object_identifier("") == (
        "2.16.840.1.101.3.4.2.1"
    )
    assert Elements(der.object_identifier("1.3.6.1.4.1.57264.2"), "").object_identifier("") == (
        "1.3.6.1.4.1.57264.2"
    )
    assert Elements(der.generalized_time(NOON), "").time("") == NOON
    values = (0, 127, 128, 255, 256, 2**64)
    assert [Elements(der.integer(one), "").integer("") for one in values] == list(values)
    assert Elements(b"\x02\x01\xff", "").integer("") == -1


@needs_openssl
def test_an_embedded_certificate_of_a_stranger_with_the_authoritys_names(directory: Path) -> None:
    """A root that lists issuers takes no certificate that only names them."""
    ours = make_authority(Plan(("P-256",) * 2, (0, 1)))
    theirs = make_authority(Plan(("P-384",) * 2, (0, 1)))  # same names, other keys
    assert ours.chain[0].issuer == theirs.chain[0].issuer
    stamp = theirs.stamp(SIGNATURE, directory)
    verify_stamp(stamp, SIGNATURE, [theirs.listed(1)])
    assert refused(stamp, ours.listed(1)) == "bad-stamp"
    assert refused(stamp, ours.listed()) == "unknown-timestamp-authority"


def own(**changes: Any) -> tuple[Authority, TimestampAuthority]:
    """Make an authority of ours, and how a trusted root lists it."""
    authority = new_timestamp_authority(**changes)
    return Authority("", tuple(map(certificate_der, authority.chain)), ALWAYS), authority


@pytest.mark.parametrize("status", [True, False], ids=["status", "version"])
def test_a_number_of_thousands_of_digits_is_malformed(status: bool) -> None:
    """It would not print: Python refuses to write more than 4300 digits."""
    listed, authority = own()
    number = der.tlv(2, b"\x01" * 3000)
    if status:
        stamp = der.sequence(der.sequence(number))
    else:
        stamp = authority.stamp(SIGNATURE, version=number)
    assert refused(stamp, listed) == "bad-stamp-form"


def test_an_object_identifier_of_a_megabyte_is_refused_at_once() -> None:
    body = der.sequence(der.tlv(6, b"\xff" * 1_000_000))
    started = time.process_time()
    assert refused(der.sequence(der.sequence(der.integer(0)), body)) == "bad-stamp-form"
    assert time.process_time() - started < 1


def test_what_is_signed_is_read_to_its_end() -> None:
    """Optional fields are as RFC 3161 2.4.2 has them, or the stamp is malformed."""
    listed, authority = own()
    subject = authority.leaf.certificate.subject.public_bytes()
    good: list[list[bytes]] = [
        [der.sequence(der.integer(1), der.tlv(0x80, b"\x01"), der.tlv(0x81, b"\x03\xe7"))],
        [der.sequence(), der.tlv(1, b"\xff"), der.integer(2**64)],
        [der.tagged(0, der.tagged(4, subject))],
        [der.tagged(0, der.tagged(4, subject.replace(b"test TSA", b"TEST tsa")))],
        [der.tagged(1, der.sequence(der.object_identifier("1.2.3"), der.octets(b"x")))],
    ]
    for more in good:
        verify_stamp(authority.stamp(SIGNATURE, more_info=more), SIGNATURE, [listed])
    critical = der.sequence(der.object_identifier("1.2.3"), der.tlv(1, b"\xff"), der.octets(b"x"))
    # TRUE in BER, and no BOOLEAN at all in DER: it could be read as "not critical".
    unclear = der.sequence(der.object_identifier("1.2.3"), der.tlv(1, b"\x01"), der.octets(b"x"))
    bad: list[list[bytes]] = [
        [der.sequence(der.integer(1), der.tlv(0x80, b"\x00"))],
        [der.sequence(der.tlv(0x81, b"\x03\xe8"))],
        [der.sequence(der.octets(b"x"))],
        [der.tlv(2, b"\x00\x01")],
        [der.tlv(1, b"\x01")],
        [der.tlv(1, b"")],
        [der.tagged(0)],
        [der.tagged(1, critical)],
        [der.tagged(1, unclear)],
        [der.null()],
    ]
    for more in bad:
        assert refused(authority.stamp(SIGNATURE, more_info=more), listed) == "bad-stamp-form"
    other = der.tagged(0, der.tagged(4, subject.replace(b"test TSA", b"best TSA")))
    mail = der.tagged(0, der.tlv(0x81, b"tsa@example.com"))
    for name in (other, mail):
        assert refused(authority.stamp(SIGNATURE, more_info=[name]), listed) == "bad-stamp"


def test_a_status_says_granted_and_no_more() -> None:
    listed, authority = own()
    words = der.sequence(der.utf8_string("granted"))
    verify_stamp(authority.stamp(SIGNATURE, more_status=[words]), SIGNATURE, [listed])
    stamp = authority.stamp(SIGNATURE, more_status=[der.octets(b"x")])
    assert refused(stamp, listed) == "bad-stamp-form"
    stamp = authority.stamp(SIGNATURE, status=2, more_status=[der.tlv(3, b"\x02\x04")])
    assert refused(stamp, listed) == "stamp-not-granted"


def test_content_and_attributes_are_hashed_alike_and_with_what_the_token_lists() -> None:
    listed, authority = own()
    verify_stamp(authority.stamp(SIGNATURE, digests=["sha384", "sha256"]), SIGNATURE, [listed])
    assert refused(authority.stamp(SIGNATURE, digests=["sha384"]), listed) == "bad-stamp-form"
    # ecdsa-with-SHA256 over the attributes, and the content by SHA-512.
    assert refused(authority.stamp(SIGNATURE, digest="sha512"), listed) == "bad-stamp"
    key = authority.leaf.key
    unnamed = authority.stamp(
        SIGNATURE,
        digest="sha512",
        sign=lambda message: key.sign(message, ec.ECDSA(SHA512())),
        signature_algorithm=der.sequence(der.object_identifier("1.2.840.10045.2.1")),
    )
    verify_stamp(unnamed, SIGNATURE, [listed])


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), der.null())


@pytest.mark.parametrize("level", [None, 0, 1, 2, 3])
def test_a_critical_extension_that_nobody_here_knows_breaks_the_chain(level: int | None) -> None:
    """RFC 5280 4.2, at every level: the stamping certificate, its issuers, the anchor."""
    chain: list[Issuer] = []
    for at in (3, 2, 1, 0):
        chain.append(
            new_authority(
                f"level {at}",
                chain[-1] if chain else None,
                is_authority=at > 0,
                usage=None if at else TIME_STAMPING,
                constraints=UNKNOWN if at == level else None,
            )
        )
    authority = TimestampAuthority(chain[-1], tuple(one.certificate for one in chain[::-1]))
    listed = Authority("", tuple(map(certificate_der, authority.chain)), ALWAYS)
    stamp = authority.stamp(SIGNATURE)
    if level is None:
        verify_stamp(stamp, SIGNATURE, [listed])
    else:
        assert refused(stamp, listed) == "bad-stamp"
    if level == 0:
        assert refused(stamp, Authority("", listed.chain[:1], ALWAYS)) == "bad-stamp"


def test_an_anchor_with_a_short_key_is_no_anchor() -> None:
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it has to be refused
    anchor = new_authority("anchor", key=short)
    issuing = new_authority("issuing", anchor)
    leaf = new_authority("leaf", issuing, is_authority=False, usage=TIME_STAMPING)
    chain = (leaf.certificate, issuing.certificate, anchor.certificate)
    stamp = TimestampAuthority(leaf, chain).stamp(SIGNATURE)
    assert refused(stamp, Authority("", tuple(map(certificate_der, chain)), ALWAYS)) == "bad-stamp"


def test_a_signature_algorithm_that_nobody_knows_breaks_the_chain_below_the_anchor() -> None:
    """Nobody verifies how an anchor signed itself (RFC 5280 6.1)."""
    anchor = new_authority("anchor")
    issuing = new_authority("issuing", anchor)
    leaf = new_authority("leaf", issuing, is_authority=False, usage=TIME_STAMPING)
    chain = (leaf.certificate, issuing.certificate, anchor.certificate)
    stamp = TimestampAuthority(leaf, chain).stamp(SIGNATURE)
    known, unknown = (der.object_identifier(f"1.2.{arc}.10045.4.3.2") for arc in (840, 844))

    def listed(level: int) -> Authority:
        raw = [certificate_der(one) for one in chain]
        assert raw[level].count(known) == 2
        raw[level] = raw[level].replace(known, unknown)
        return Authority("", tuple(raw), ALWAYS)

    verify_stamp(stamp, SIGNATURE, [listed(2)])
    assert refused(stamp, listed(1)) == "bad-stamp"
    assert refused(stamp, listed(0)) == "bad-stamp"


def named_by(certificate: bytes, issuer: bytes, serial: int) -> bytes:
    """Return a signingCertificateV2 attribute, with issuer and serial number."""
    by_issuer = der.sequence(der.sequence(der.tagged(4, issuer)), der.integer(serial))
    one = der.sequence(der.octets(hashlib.sha256(certificate).digest()), by_issuer)
    value = der.sequence(der.sequence(one))
    return der.sequence(der.object_identifier("1.2.840.113549.1.9.16.2.47"), der.set_of(value))


def test_issuer_and_serial_number_beside_the_hash_are_the_certificates() -> None:
    listed, authority = own()
    leaf = authority.leaf.certificate
    issuer, serial = leaf.issuer.public_bytes(), leaf.serial_number
    for names, is_good in (
        ((issuer, serial), True),
        ((issuer, serial + 1), False),
        ((leaf.subject.public_bytes(), serial), False),
    ):
        attribute = named_by(certificate_der(leaf), *names)
        stamp = authority.stamp(SIGNATURE, more_attributes=[attribute])
        if is_good:
            verify_stamp(stamp, SIGNATURE, [listed])
        else:
            assert refused(stamp, listed) == "bad-stamp"


def test_a_certificate_that_the_stamp_brings_is_the_one_that_is_named() -> None:
    """By its hash, if the stamp has one; by issuer and serial number at least."""
    listed, authority = own()
    leaf = authority.leaf.certificate
    issuers = Authority("", listed.chain[1:], ALWAYS)
    verify_stamp(authority.stamp(SIGNATURE, embedded=[leaf]), SIGNATURE, [issuers])
    names = leaf.issuer.public_bytes(), leaf.serial_number
    for named, is_good in ((certificate_der(leaf), True), (b"another", False)):
        attribute = named_by(named, *names)
        stamp = authority.stamp(SIGNATURE, embedded=[leaf], more_attributes=[attribute])
        if is_good:
            verify_stamp(stamp, SIGNATURE, [issuers])
        else:
            assert refused(stamp, issuers) == "bad-stamp"


def test_a_crowd_of_certificates_with_the_signers_name_is_refused_at_once() -> None:
    listed, authority = own()
    leaf = authority.leaf.certificate
    issuers = Authority("", listed.chain[1:], ALWAYS)
    real = certificate_der(leaf)
    crowd = [real[:-2] + bytes(divmod(one, 256)) for one in range(300)]
    stamp = authority.stamp(SIGNATURE, embedded=[leaf])
    whole = der.tagged(0, real)
    assert whole in stamp
    body = only_element(stamp, SEQUENCE, "stamp").children("stamp").rest()
    content = only_element(body[1].content[11:], 0xA0, "content").content
    parts = only_element(content, SEQUENCE, "signed").children("signed").rest()
    crowded = der.sequence(
        *(one.encoded for one in parts[:3]), der.tagged(0, *crowd), parts[4].encoded
    )
    token = der.sequence(der.object_identifier("1.2.840.113549.1.7.2"), der.tagged(0, crowded))
    started = time.process_time()
    assert refused(der.sequence(body[0].encoded, token), issuers) == "bad-stamp"
    assert time.process_time() - started < 0.3


@pytest.mark.parametrize("chunk", [0, 1, 100])
def test_a_stamp_in_ber_is_the_same_stamp(chunk: int) -> None:
    """Several authorities write indefinite lengths around what they sign."""
    listed, authority = own()
    stamp = authority.stamp(SIGNATURE, embedded=[authority.leaf.certificate])
    ber = der.in_ber(stamp, chunk=chunk)
    assert ber != stamp
    assert definite_form(ber, "stamp") == stamp
    assert verify_stamp(ber, SIGNATURE, [listed]) == verify_stamp(stamp, SIGNATURE, [listed])
    assert refused(ber[:-2], listed) == "bad-stamp-form"
    assert refused(ber + b"\0\0", listed) == "bad-stamp-form"


@pytest.mark.parametrize(
    "raw",
    [
        b"\x30\x80",
        b"\x30\x80\x00",
        b"\x04\x80\x00\x00",
        b"\x30\x80" * 40 + b"\0\0" * 40,
        b"\x24\x80\x02\x01\x00\x00\x00",
        b"\x30\x03\x30\x80\x00\x00\x00",
        b"\x30\x04\x30\x80\x00",
        b"\x30\x80" + b"\x05\x00" * 20_000 + b"\x00\x00",
        b"\x30\x85\x01\x00\x00\x00\x00",
    ],
)
def test_broken_ber_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        definite_form(raw, "value")
    assert refused(raw) == "bad-stamp-form"
