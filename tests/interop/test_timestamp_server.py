"""Stamps of a real timestamp authority server: keys, chains, orders, policies; and spoiled."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.errors import RefusedError, SignatureError, VerificationError
from appliance.sigstore.timestamps import verify_stamp
from appliance.sigstore.trusted_root import Authority
from appliance.sigstore.validity import ALWAYS
from tests.interop.timestamp_server import TimestampServer, timestamp_server
from tests.pki import der
from tests.pki.authorities import certificate_der
from tests.pki.openssl_tsa import Plan, make_authority

pytestmark = pytest.mark.interop

SIGNATURE = b"a signature that was stamped"
MESSAGE_DIGEST = der.object_identifier("1.2.840.113549.1.9.4")


@dataclass(frozen=True)
class Setup:
    """How one server is run."""

    plan: Plan | None  # None: the chain it makes in memory
    signer_hash: str = "sha256"
    whole_chain: bool = False  # in its answers


SETUPS = (
    Setup(None),
    Setup(None, whole_chain=True),
    Setup(Plan(("P-256", "P-256"))),
    Setup(Plan(("P-384", "P-256", "P-384")), "sha384", whole_chain=True),
    Setup(Plan(("P-521", "P-384", "P-256")), "sha512"),
    Setup(Plan(("rsa-2048", "rsa-2048"))),
    Setup(Plan(("rsa-2048", "rsa-3072", "rsa-2048")), "sha512", whole_chain=True),
    Setup(Plan(("P-256", "rsa-2048", "P-384", "P-256")), whole_chain=True),
    Setup(Plan(("rsa-3072", "P-256", "P-256", "P-256")), "sha384"),
)
ASKED = tuple(
    itertools.product(
        ("sha256", "sha384", "sha512"), (False, True), (0, 2**63), ("", "1.3.6.1.4.1.57264.9")
    )
)


@pytest.fixture(scope="module", params=range(len(SETUPS)))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TimestampServer]:
    setup = SETUPS[request.param]
    authority = None if setup.plan is None else make_authority(setup.plan)
    options = ["--timestamp-signer-hash", setup.signer_hash]
    options += ["--accepted-policy-oids", "1.3.6.1.4.1.57264.2,1.3.6.1.4.1.57264.9"]
    options += ["--include-chain-in-response"] if setup.whole_chain else []
    # Issuers without extended key usage are allowed; the server asks for one by default.
    options += ["--enforce-intermediate-eku=false"]
    directory: Path = tmp_path_factory.mktemp("timestamps")
    with timestamp_server(directory, authority, options) as running:
        yield running


def listed(server: TimestampServer, start: int = 0, stop: int | None = None) -> Authority:
    """Return the server's authority as a trusted root lists it, or a part of its chain."""
    return Authority("", tuple(map(certificate_der, server.chain[start:stop])), ALWAYS)


def test_there_are_as_many_stamps_as_promised() -> None:
    assert len(SETUPS) * len(ASKED) >= 200


@pytest.mark.parametrize(("digest", "certificates", "nonce", "policy"), ASKED)
def test_a_good_stamp_is_accepted_and_a_spoiled_one_refused(
    server: TimestampServer, digest: str, certificates: bool, nonce: int, policy: str
) -> None:
    stamp = server.stamp(SIGNATURE, digest, certificates=certificates, nonce=nonce, policy=policy)
    good = listed(server)
    found = verify_stamp(stamp, SIGNATURE, [good])
    for stop in range(1, len(server.chain)):
        assert verify_stamp(stamp, SIGNATURE, [listed(server, 0, stop)]).time == found.time
    if certificates:  # the root lists the issuers, and the stamp brings its certificate
        assert verify_stamp(stamp, SIGNATURE, [listed(server, 1)]).time == found.time
    with pytest.raises(SignatureError):
        verify_stamp(stamp, b"another signature", [good])
    imprint = hashlib.new(digest, SIGNATURE).digest()
    time, message_digest = stamp.index(b"\x18\x0f") + 5, stamp.index(MESSAGE_DIGEST) + 20
    for position in (-1, time, stamp.index(imprint), message_digest):
        spoiled = bytearray(stamp)
        spoiled[position] ^= 1
        with pytest.raises((VerificationError, RefusedError)):
            verify_stamp(bytes(spoiled), SIGNATURE, [good])
    stranger = make_authority(Plan(("P-256", "P-384"))).listed()
    with pytest.raises(SignatureError):
        verify_stamp(stamp, SIGNATURE, [stranger])
