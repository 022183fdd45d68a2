"""The documents that tell clients of a whole site, and which files are not taken for one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.errors import ApplianceError, MalformedError, RefusedError
from appliance.sigstore.client_config import (
    CODE_SIGNING,
    TIME_STAMPING,
    SiteConfig,
    client_files,
    parse_authority,
    parse_ct_key,
)
from appliance.sigstore.signing_config import parse_signing_config
from appliance.sigstore.trusted_root import parse_trusted_root
from tests.pki.authorities import (
    NOON,
    CtLog,
    Issuer,
    LeafPlan,
    TimestampAuthority,
    certificate_der,
    issue,
    new_authority,
    new_key,
    new_timestamp_authority,
    spki,
)
from tests.pki.bundles import Instance, verify
from tests.pki.logs import V2Log

START = "2025-06-01T00:00:00Z"


def pem(*certificates: Issuer) -> bytes:
    return b"".join(one.certificate.public_bytes(Encoding.PEM) for one in certificates)


def tsa_pem(authority: TimestampAuthority) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in authority.chain)


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


ROOT = new_authority("CA root")
ISSUING = new_authority("CA", ROOT, usage=ExtendedKeyUsageOID.CODE_SIGNING)
STAMPING = new_timestamp_authority()


def site_of(instance: Instance) -> SiteConfig:
    """Describe a throwaway instance by what `log client-config` is given."""
    return SiteConfig(
        log_key=instance.v2_log.key.verifier,
        log_start=START,
        log_url="http://127.0.0.1:3000",
        certificate_authorities=(parse_authority(ca_pem(instance), CODE_SIGNING),),
        ct_keys=(parse_ct_key(spki(instance.ct_log.key)),),
        timestamp_authorities=(
            parse_authority(tsa_pem(instance.timestamp_authority), TIME_STAMPING),
        ),
        fulcio_url="http://127.0.0.1:5555",
        oidc_issuer="http://127.0.0.1:5556",
        tsa_url="http://127.0.0.1:3004/api/v1/timestamp",
    )


def ca_pem(instance: Instance) -> bytes:
    return pem(instance.authority, instance.root_authority)


def test_what_a_site_signed_verifies_under_its_own_root() -> None:
    instance = Instance(v2_log=V2Log())
    files = client_files(site_of(instance))
    verify(instance.v2_bundle(), json.loads(files.trusted_root))
    other = client_files(site_of(Instance(v2_log=instance.v2_log)))
    with pytest.raises(ApplianceError):
        verify(instance.v2_bundle(), json.loads(other.trusted_root))


def test_the_three_files_say_the_same_and_the_same_each_time() -> None:
    site = site_of(Instance())
    files = client_files(site)
    assert client_files(site) == files
    both = json.loads(files.client_trust_config)
    assert both["trustedRoot"] == json.loads(files.trusted_root)
    assert both["signingConfig"] == json.loads(files.signing_config)
    (service,) = parse_signing_config(files.signing_config)
    assert (service.url, service.api_version) == ("http://127.0.0.1:3000", 2)
    operators = {
        one["operator"]
        for name in ("caUrls", "oidcUrls", "rekorTlogUrls", "tsaUrls")
        for one in both["signingConfig"][name]
    }
    assert operators == {site.log_key.name}


def test_the_models_of_sigstore_python_take_all_three() -> None:
    from sigstore.models import ClientTrustConfig, SigningConfig, TrustedRoot
    from sigstore_models.trustroot.v1 import SigningConfig as InnerConfig
    from sigstore_models.trustroot.v1 import TrustedRoot as InnerRoot

    files = client_files(site_of(Instance()))
    config = ClientTrustConfig.from_json(files.client_trust_config.decode())
    assert len(config.trusted_root.get_fulcio_certs()) == 2
    assert len(config.trusted_root.get_timestamp_authorities()) == 1
    assert config.signing_config.get_fulcio().url == "http://127.0.0.1:5555"
    assert config.signing_config.get_oidc_url() == "http://127.0.0.1:5556"
    SigningConfig(InnerConfig.from_json(files.signing_config))
    TrustedRoot(InnerRoot.from_json(files.trusted_root))


def test_keys_and_authorities_begin_when_they_did() -> None:
    site = site_of(Instance())
    root = parse_trusted_root(client_files(site).trusted_root)
    [log], [ct_log] = root.logs, root.ct_logs
    [ca], [tsa] = root.certificate_authorities, root.timestamp_authorities
    assert str(log.valid).startswith(START)
    assert ca.valid.start == site.certificate_authorities[0].start
    assert tsa.valid.start == site.timestamp_authorities[0].start
    assert ct_log.valid.start == ca.valid.start


def test_certificates_come_in_any_order_and_go_out_as_a_chain() -> None:
    middle = new_authority("middle", ROOT)
    issuing = new_authority("issuing", middle)
    chain = [issuing, middle, ROOT]
    for shuffled in itertools.permutations(chain):
        found = parse_authority(pem(*shuffled, shuffled[0]), CODE_SIGNING)
        assert list(found.chain) == [certificate_der(one.certificate) for one in chain]
    assert parse_authority(certificate_der(ROOT.certificate), CODE_SIGNING).common_name == "CA root"


def test_an_authority_that_was_replaced_stays() -> None:
    old = Instance()
    new = Instance(v2_log=old.v2_log)
    new_site, old_site = site_of(new), site_of(old)
    both = SiteConfig(
        log_key=new_site.log_key,
        log_start=START,
        log_url=new_site.log_url,
        certificate_authorities=(
            *old_site.certificate_authorities,
            *new_site.certificate_authorities,
        ),
        ct_keys=(*old_site.ct_keys, *new_site.ct_keys),
        timestamp_authorities=(*old_site.timestamp_authorities, *new_site.timestamp_authorities),
    )
    root = json.loads(client_files(both).trusted_root)
    for instance in (old, new):
        verify(instance.v2_bundle(), root)


PRIVATE = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
LEAF = issue(LeafPlan(), new_key(), ROOT, CtLog()).public_bytes(Encoding.PEM)
RENEWED = new_authority("CA root", key=ROOT.key, start=NOON - timedelta(days=1))
LATER = new_authority("CA root", start=NOON - timedelta(days=1))


@pytest.mark.parametrize(
    ("purpose", "raw", "family", "says"),
    [
        (CODE_SIGNING, b"", MalformedError, "got none"),
        (CODE_SIGNING, b'{"mediaType": "x"}', MalformedError, "got none"),
        (CODE_SIGNING, b"\x30\x03abc", MalformedError, "not a certificate"),
        (CODE_SIGNING, pem(ROOT)[:200], MalformedError, "1 certificates begin, and 0 are whole"),
        (CODE_SIGNING, pem(ROOT, ISSUING)[:-9], MalformedError, "2 certificates begin, and 1"),
        (CODE_SIGNING, b"PK\x03\x04", RefusedError, "a ZIP archive"),
        (CODE_SIGNING, PRIVATE, RefusedError, "got BEGIN PRIVATE KEY"),
        (CODE_SIGNING, public_pem(new_key()), RefusedError, "got BEGIN PUBLIC KEY"),
        (CODE_SIGNING, LEAF + pem(ROOT), RefusedError, "may not issue certificates"),
        (CODE_SIGNING, pem(ISSUING), MalformedError, "'CN=CA root' is missing"),
        (CODE_SIGNING, pem(ISSUING, LATER), MalformedError, "of one chain, got 2"),
        (CODE_SIGNING, pem(ISSUING, ROOT, RENEWED), MalformedError, "got 1 besides it"),
        (CODE_SIGNING, pem(ROOT, new_authority("other")), MalformedError, "of one chain, got 2"),
        (CODE_SIGNING, tsa_pem(STAMPING), RefusedError, "may not issue certificates"),
        (TIME_STAMPING, pem(ISSUING, ROOT), RefusedError, "is not for time stamping"),
        (TIME_STAMPING, pem(ROOT), RefusedError, "is not for time stamping"),
        (
            CODE_SIGNING,
            pem(new_authority("stamps", ROOT, usage=ExtendedKeyUsageOID.TIME_STAMPING), ROOT),
            RefusedError,
            "is for other purposes (1.3.6.1.5.5.7.3.8)",
        ),
    ],
)
def test_a_file_that_is_no_such_authority_is_refused_by_what_it_is(
    purpose: str, raw: bytes, family: type[ApplianceError], says: str
) -> None:
    with pytest.raises(family) as caught:
        parse_authority(raw, purpose)
    assert says in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("make", "details"),
    [
        (lambda: ec.generate_private_key(ec.SECP256R1()), "PKIX_ECDSA_P256_SHA_256"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "PKIX_ECDSA_P384_SHA_384"),
        (lambda: rsa.generate_private_key(65537, 2048), "PKIX_RSA_PKCS1V15_2048_SHA256"),
    ],
)
def test_the_kinds_of_ct_log_keys(
    make: Callable[[], ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey], details: str
) -> None:
    assert parse_ct_key(spki(make())).key_details == details


def test_a_key_no_ct_log_has_is_refused() -> None:
    for key, says in (
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519PublicKey"),
        (ec.generate_private_key(ec.SECP521R1()), "secp521r1"),
        (rsa.generate_private_key(65537, 2304), "2304"),
    ):
        with pytest.raises((RefusedError, MalformedError)) as caught:
            parse_ct_key(spki(key))
        assert says in caught.value.message
    with pytest.raises(RefusedError, match="private key"):
        parse_ct_key(PRIVATE)
    with pytest.raises(RefusedError):
        parse_ct_key(pem(ROOT))
