"""Changed stamps beside `openssl ts -verify`: none that we accept does OpenSSL refuse, but listed.

Only what we accept is shown to OpenSSL, a process each. An ordinary run changes 400 stamps;
ATTESTOR_FUZZ_RUNS=100000 changes so many.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.errors import RefusedError, VerificationError
from appliance.sigstore.der import Elements, definite_form
from appliance.sigstore.timestamps import verify_stamp
from appliance.sigstore.trusted_root import Authority
from tests.pki import der
from tests.pki.openssl_tsa import OpensslAuthority, Plan, make_authority
from tests.sigstore.test_fuzz import flipped

RUNS: Final = int(os.environ.get("ATTESTOR_FUZZ_RUNS", "400"))
SIGNATURE: Final = b"a signature that was stamped"
PLANS: Final = (
    Plan(("P-256",) * 2, ()),
    Plan(("P-384", "rsa-2048"), (), "sha512", "sha384", "sha512"),
    Plan(("rsa-2048",) * 3, (2, 0, 1), more="accuracy = secs:1\nordering = yes\ntsa_name = yes"),
    Plan(("P-256",) * 3, (0, 1), certificate_hash="sha1", nonce=True),
)
# What OpenSSL says of stamps that we accept, and why we do.
LISTED: Final = {
    "embedded": "certificates that came along are nobody's evidence: what cannot be read, or is no"
    " part of the chain, is passed over (OpenSSL reads each, and refuses the stamp)",
    "unsigned": "revocation lists, unsigned attributes and versions outside the signature are not"
    " used, and not read further than their length",
    "order": "the signature is over the attributes in DER's order (RFC 5652 5.4); OpenSSL takes"
    " the order they came in",
    "algorithm": "parameters of a signature algorithm that has none are not used",
    "status": "text beside the status granted is not read",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed here"),
]


@dataclass(frozen=True)
class Stamped:
    """A stamp, under whom it verifies, and the files that OpenSSL asks for."""

    raw: bytes
    listed: Authority
    directory: Path

    def accepted(self, raw: bytes) -> bool:
        try:
            verify_stamp(raw, SIGNATURE, [self.listed])
        except (VerificationError, RefusedError):
            return False
        return True

    def by_openssl(self, raw: bytes) -> str:
        """Return what OpenSSL has against a response; empty if nothing."""
        (self.directory / "changed.tsr").write_bytes(raw)
        done = subprocess.run(
            [
                *("openssl", "ts", "-verify", "-queryfile", str(self.directory / "query.tsq")),
                *("-in", str(self.directory / "changed.tsr")),
                *("-CAfile", str(self.directory / "anchor.pem")),
                *("-untrusted", str(self.directory / "chain.pem")),
            ],
            capture_output=True,
            check=False,
        )
        return "" if done.returncode == 0 else done.stderr.decode(errors="replace")


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> list[Stamped]:
    made = []
    for plan in PLANS:
        directory = tmp_path_factory.mktemp("stamp")
        authority: OpensslAuthority = make_authority(plan)
        raw = authority.stamp(SIGNATURE, directory)
        chain = [one.public_bytes(Encoding.PEM) for one in authority.chain]
        (directory / "anchor.pem").write_bytes(chain[-1])
        (directory / "chain.pem").write_bytes(b"".join(chain))
        made.append(Stamped(raw, authority.listed(), directory))
        assert made[-1].by_openssl(raw) == ""
    return made


def rearranged(raw: bytes, chance: random.Random) -> bytes:
    """Drop, repeat, swap, empty or retag one element, and write lengths again around it."""
    elements = list(Elements(raw, "value").rest())
    if not elements:
        return der.null()
    at = chance.randrange(len(elements))
    one = elements[at]
    encoded = [each.encoded for each in elements]
    if one.tag & 0x20 and chance.randrange(6):
        encoded[at] = der.tlv(one.tag, rearranged(one.content, chance))
        return b"".join(encoded)
    kind = chance.randrange(6)
    if kind == 0:
        del encoded[at]
    elif kind == 1:
        encoded.insert(at, one.encoded)
    elif kind == 2:
        other = chance.randrange(len(encoded))
        encoded[at], encoded[other] = encoded[other], encoded[at]
    elif kind == 3:
        encoded[at] = der.tlv(one.tag, b"")
    elif kind == 4:
        encoded[at] = der.tlv(one.tag ^ chance.choice((0x20, 0x80, 0x01, 0xA0)), one.content)
    else:
        encoded[at] = der.tlv(
            one.tag, one.content, chance.choice((b"\0", b"\x05\x00", b"\x02\1\1"))
        )
    return b"".join(encoded)


def changed(raw: bytes, chance: random.Random) -> bytes:
    if chance.randrange(2):
        return flipped(raw, chance)
    try:
        return rearranged(raw, chance)
    except VerificationError:  # an OCTET STRING with the tag of a SEQUENCE
        return flipped(raw, chance)


def parts(raw: bytes) -> dict[str, bytes]:
    """Take a response apart, so that a difference can be named by where it is."""
    try:
        return parts_of_der(raw)
    except VerificationError:
        return parts_of_der(definite_form(raw, "stamp"))


def parts_of_der(raw: bytes) -> dict[str, bytes]:
    status, token = Elements(raw, "stamp").sequence("it").rest()
    content = Elements(token.content, "token").rest()[1].content
    signed = Elements(content, "signed").sequence("it").rest()
    found = {"status": status.encoded, "version": signed[0].encoded}
    found |= {"digests": signed[1].encoded, "content": signed[2].encoded}
    found["embedded"] = b"".join(one.encoded for one in signed[3:-1])
    (info,) = Elements(signed[-1].content, "infos").rest()
    inner = info.children("info").rest()
    names = ("info version", "name", "digest", "attributes", "algorithm", "signature")
    found |= {name: one.encoded for name, one in zip(names, inner, strict=False)}
    found["unsigned"] = b"".join(one.encoded for one in inner[6:])
    return found


def why(before: bytes, after: bytes) -> set[str]:
    """Name where two responses differ, as LISTED does."""
    old, new = parts(before), parts(after)
    where = {name for name in old if old[name] != new[name]}
    words = {
        "attributes": "order",
        "version": "unsigned",
        "info version": "unsigned",
        "digests": "unsigned",
        "name": "unsigned",
        "digest": "algorithm",
    }
    return {words.get(name, name) for name in where}


def test_nothing_that_openssl_refuses_is_accepted_but_what_is_listed(
    stamps: list[Stamped],
) -> None:
    chance = random.Random(20260101)  # noqa: S311 - repeatable, not secret
    seen: set[bytes] = set()
    accepted, differ = 0, dict.fromkeys(LISTED, 0)
    for run in range(RUNS):
        one = stamps[run % len(stamps)]
        raw = changed(one.raw, chance)
        if raw == one.raw or raw in seen or not one.accepted(raw):
            continue
        seen.add(raw)
        accepted += 1
        said = one.by_openssl(raw)
        if said:
            places = why(one.raw, raw)
            assert places, said
            assert places <= LISTED.keys(), (places, said, raw.hex())
            for place in places:
                differ[place] += 1
    assert accepted > RUNS // 100
    summary = re.sub(r"[{}']", "", str(differ))
    # Shown by pytest -s, for who runs the long form.
    sys.stderr.write(
        f"{RUNS} changed stamps, {accepted} accepted; OpenSSL refuses of these: {summary}\n"
    )
