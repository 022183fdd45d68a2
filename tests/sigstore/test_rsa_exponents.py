"""An RSA key with a long public exponent, which costs a hundred verifications, is used nowhere."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.errors import MalformedError, RefusedError
from appliance.rekor.request import build_request, parse_request, verify_request
from appliance.rekor.signing_algorithms import verify_digest_signature
from appliance.sigstore.client_config import parse_ct_key
from appliance.sigstore.root_keys import RootKey
from appliance.sigstore.timestamps import verify_stamp
from appliance.sigstore.trusted_root import Authority
from appliance.sigstore.validity import ALWAYS
from appliance.tlog.note_keys import log_key, rekor_v1_key
from appliance.tlog.rsa_exponent import MAX_BITS
from tests.pki.authorities import certificate_der, new_timestamp_authority, spki
from tests.pki.bundles import ARTIFACT
from tests.pki.rsa_keys import RSA_3072, posted, rsa_key, signed
from tests.sigstore.test_timestamps import SIGNATURE

DIGEST = sha256(ARTIFACT).digest()


def stamped(key: rsa.RSAPrivateKey) -> None:
    authority = new_timestamp_authority(key=key)
    listed = Authority("", tuple(map(certificate_der, authority.chain)), ALWAYS)
    stamp = authority.stamp(
        SIGNATURE,
        sign=lambda message: key.sign(message, padding.PKCS1v15(), SHA256()),
        signature_algorithm=bytes.fromhex("300d06092a864886f70d01010b0500"),
    )
    verify_stamp(stamp, SIGNATURE, [listed])


USES: dict[str, Callable[[rsa.RSAPrivateKey], object]] = {
    "a request to a log": lambda key: verify_request(parse_request(posted(key, ARTIFACT))),
    "a request of ours": lambda key: build_request(DIGEST, signed(key, ARTIFACT), spki(key)),
    "a signature": lambda key: verify_digest_signature(
        key.public_key(), "sha256", DIGEST, signed(key, ARTIFACT)
    ),
    "a log's key": lambda key: log_key("log.example", spki(key)),
    "the key of a Rekor v1 log": lambda key: rekor_v1_key("log.example", spki(key)),
    "a trusted root's key": lambda key: RootKey(spki(key), RSA_3072).spki,
    "a CT log's key": lambda key: parse_ct_key(spki(key)),
    "a stamp": stamped,
}


@pytest.mark.parametrize("use", USES)
def test_an_exponent_of_more_than_31_bits_is_not_verified_with(use: str) -> None:
    USES[use](rsa_key(MAX_BITS))
    for bits in (MAX_BITS + 1, 3070):
        with pytest.raises(RefusedError) as refused:
            USES[use](rsa_key(bits))
        assert f"RSA with a public exponent of {bits:,} bits (at most 31)" in refused.value.message
        assert refused.value.reason in ("unsupported-key", "unsupported-stamp")


@pytest.mark.parametrize("exponent", [0, 1, 2, 4, 65536])
def test_what_is_no_exponent_of_rsa_at_all_is_no_key(exponent: int) -> None:
    good = spki(rsa_key(17))  # ends with its exponent, of three bytes
    for use in (lambda der: log_key("log.example", der), parse_ct_key):
        with pytest.raises((MalformedError, RefusedError), match="a public key"):
            use(good[:-3] + exponent.to_bytes(3))
