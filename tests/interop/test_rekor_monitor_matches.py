"""What rekor_monitor matches in a log of Rekor v2 by a configuration, ours match by the same.

A few thousand entries, with ATTESTOR_SOAK=1 a hundred thousand, and what is true of each by its
making. Ours match more, and only as stated: what leads to no authority, what stands beside an
unreadable signer, fingerprints in upper case, and the key in a certificate.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import DNSName, GeneralName, RFC822Name, UniformResourceIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.interop.attestor import Site
from tests.interop.own_sigstore import web_server
from tests.interop.private_log import PrivateLog, private_log
from tests.interop.rekor_monitor import SECONDS, monitor, tuf_repository, watch_once
from tests.interop.rekor_server import ORIGIN
from tests.pki.authorities import (
    CtLog,
    Issuer,
    LeafPlan,
    issue,
    new_authority,
    new_key,
    new_timestamp_authority,
    spki,
)
from tests.pki.bundles import pem
from tests.simulator import SimulatedLog

pytestmark = [pytest.mark.interop, pytest.mark.slow]
ENTRIES: Final = 100_000 if os.environ.get("ATTESTOR_SOAK") == "1" else 3_000
HOLDERS: Final = 400  # different certificates and keys
_FOUND: Final = 0.1  # of the entries: by somebody who may be monitored
ONE, OTHER = "https://accounts.example/one", "https://accounts.example/other"
REPOSITORY = "https://ci.example/org/app"
_FULCIO: Final = "1.3.6.1.4.1.57264.1."
Value = tuple[str, ...]  # a monitored value: its kind, and what is wanted


@dataclass(frozen=True)
class Holder:
    """A key or a certificate, and what is true of it."""

    der: bytes
    key: bytes = b""  # SubjectPublicKeyInfo of a certificate's
    names: tuple[str, ...] = ()
    issuer: str = ""
    claims: tuple[tuple[int, str], ...] = ()
    is_vouched: bool = False
    is_readable: bool = True

    @property
    def verifier(self) -> dict[str, Any]:
        """Write it as an entry of Rekor v2 does."""
        name = "x509Certificate" if self.key or not self.is_readable else "publicKey"
        raw = {"rawBytes": base64.b64encode(self.der).decode()}
        return {name: raw, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}

    def meets(self, value: Value) -> bool:
        """Whether it is what is monitored, by what is true of it."""
        kind, wanted, *more = value
        if kind == "fingerprint":
            own = {sha256(self.der).hexdigest(), sha256(self.key or self.der).hexdigest()}
            return wanted.lower() in own
        if kind == "oid":
            said = dict(self.claims) | ({1: self.issuer, 8: self.issuer} if self.issuer else {})
            return said.get(int(wanted)) in more
        if not any(re.search(wanted, name) for name in self.names):
            return False
        if kind == "subject":
            return True
        return bool(self.issuer) and (not more or any(re.search(o, self.issuer) for o in more))


class Monitored:
    """A log that a real monitor and a home of ours look at."""

    def __init__(self, directory: Path, told: PrivateLog, key: SimulatedLog) -> None:
        self.directory, self.log, self.told = directory, key, told
        self.random = random.Random(17)  # noqa: S311 repeatable
        root = new_authority("test root")
        self.authority = _authority("test CA", root)
        strangers = new_authority("strangers' root")
        self.stranger = _authority("strangers' CA", strangers)
        self.ct_log = CtLog()
        chain = (self.authority.certificate, root.certificate)
        for name, some in (("ca.pem", chain), ("tsa.pem", new_timestamp_authority().chain)):
            text = b"".join(one.public_bytes(Encoding.PEM) for one in some)
            (directory / name).write_bytes(text)
        (directory / "ct.pem").write_bytes(pem("PUBLIC KEY", spki(self.ct_log.key)))
        tuf_repository(directory, told)
        self.holders = [self._holder(number) for number in range(HOLDERS)]
        self.others = [self._other(number) for number in range(HOLDERS // 8)]
        self.entries = [self._entry() for _ in range(ENTRIES)]
        self.log.grow(self._bodies())
        # A proxy's request names the whole URL: so does the path of a plain web server.
        self.log.write_static(directory / "served" / "http:" / ORIGIN)

    def _holder(self, number: int) -> Holder:
        kind = number % 8
        if kind == 0:
            return Holder(spki(new_key()))
        if kind == 1 and number % 16 == 1:
            return Holder(b"no certificate %d" % number, is_readable=False)
        names: tuple[tuple[GeneralName, str], ...] = ()
        mail = f"user{number}@domain.com" + (".attacker.example" if kind == 2 else "")
        uri = f"{REPOSITORY}/.ci/build.yml@refs/tags/v{number % 5}"
        if kind in (1, 2, 3):
            names = ((RFC822Name(mail), mail),)
        elif kind in (4, 5):
            names = ((UniformResourceIdentifier(uri), uri),)
        else:
            names = ((RFC822Name(mail), mail), (DNSName("ci.example"), "ci.example"))
        issuer = self.random.choice((ONE, OTHER, ""))
        is_vouched = kind != 5 and number % 7 != 0
        claims = {"12": REPOSITORY, "14": f"refs/tags/v{number % 5}"} if kind in (4, 5) else {}
        return self._certified(names, issuer, claims, is_vouched=is_vouched)

    def _other(self, number: int) -> Holder:
        """Make somebody whom nobody monitors."""
        mail = f"dev{number}@elsewhere.example"
        return self._certified(((RFC822Name(mail), mail),), ONE, {}, is_vouched=True)

    def _certified(
        self,
        names: tuple[tuple[GeneralName, str], ...],
        issuer: str,
        claims: dict[str, str],
        *,
        is_vouched: bool,
    ) -> Holder:
        key = new_key()
        plan = LeafPlan(
            tuple(name for name, _ in names),
            issuer_v1=issuer or None,
            issuer_v2=issuer or None,
            claims=claims,
        )
        leaf = issue(plan, key, self.authority if is_vouched else self.stranger, self.ct_log)
        return Holder(
            leaf.public_bytes(Encoding.DER),
            spki(key),
            tuple(text for _, text in names),
            issuer,
            tuple((int(at), text) for at, text in claims.items()),
            is_vouched,
        )

    def _entry(self) -> tuple[Holder, ...]:
        n_signers = self.random.choice((1, 1, 1, 2, 3))
        some = self.holders if self.random.random() < _FOUND else self.others
        return tuple(self.random.choices(some, k=n_signers))

    def _bodies(self) -> Iterator[bytes]:
        for number, signers in enumerate(self.entries):
            digest = base64.b64encode(sha256(b"%d" % number).digest()).decode()
            data = {"algorithm": "SHA2_256", "digest": digest}
            signatures = [{"content": "AAAA", "verifier": one.verifier} for one in signers]
            if len(signers) == 1:
                told: Any = {"hashedRekordV002": {"data": data, "signature": signatures[0]}}
            else:
                told = {"dsseV002": {"payloadHash": data, "signatures": signatures}}
            kind = "hashedrekord" if len(signers) == 1 else "dsse"
            entry = {"apiVersion": "0.0.2", "kind": kind, "spec": told}
            yield json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()

    def theirs(self, configuration: str) -> dict[Value, set[int]]:
        """Run the monitor over all entries; return what it found of each value."""
        (found := self.directory / "found.json").unlink(missing_ok=True)
        (self.directory / "checkpoints.txt").unlink(missing_ok=True)
        more = f"startIndex: 0\nendIndex: {ENTRIES - 1}\n"
        more += f"outputIdentities: {found}\noutputIdentitiesFormat: json\n"
        with web_server(self.directory / "served") as url:
            said = watch_once(self.directory, ORIGIN, url, configuration + more)
        assert "failed to successfully" not in said and "consistency" not in said, said[-3000:]
        failed = {int(at) for at in re.findall(r"\{(\d+)  error extracting verifiers", said)}
        assert failed == {
            number
            for number, signers in enumerate(self.entries)
            if not all(one.is_readable for one in signers)
        }
        matches: dict[Value, set[int]] = {}
        for line in found.read_text().splitlines() if found.exists() else ():
            one = json.loads(line)
            matches.setdefault(_value(one["MatchedIdentity"]), set()).add(one["Index"])
        return matches

    def truth(self, value: Value, *, as_theirs: bool) -> set[int]:
        """Return what is to be found of a value, by us or, with the stated differences, by them."""
        found = set()
        for number, signers in enumerate(self.entries):
            certificates = [one for one in signers if one.key]
            if as_theirs:
                if not all(one.is_readable for one in signers):
                    continue  # they report that they failed at it
                if certificates and not any(one.is_vouched for one in certificates):
                    continue  # they pass it over
                if value[0] == "fingerprint":
                    own = {sha256(one.der).hexdigest() for one in signers}
                    found |= {number} if value[1] in own else set()
                    continue
            if any(one.meets(value) for one in signers):
                found.add(number)
        return found


def _authority(name: str, root: Issuer) -> Issuer:
    usage = ExtendedKeyUsageOID.CODE_SIGNING
    return new_authority(name, root, usage=usage, critical_usage=False, path_length=0)


def _value(told: dict[str, Any]) -> Value:
    """Name what an entry of theirs was matched by."""
    kind = told["type"]
    if kind == "certIdentity":
        return ("identity", told["certSubject"], *(told["issuers"] or ()))
    if kind == "oidExtension":
        return ("oid", str(told["oid"][-1]), *sorted(told["extensionValues"]))
    return (kind, told[kind])


def _value_of(criteria: dict[str, list[str]]) -> set[Value]:
    """Name what a watch of ours is for, as they name it; an issuer's claim has two OIDs there."""
    if "fingerprint" in criteria:
        return {("fingerprint", criteria["fingerprint"][0])}
    if "issuerExact" in criteria:
        return {("oid", number, *criteria["issuerExact"]) for number in ("1", "8")}
    if "oid" in criteria:
        parts = [one.removeprefix(_FULCIO).partition("=") for one in criteria["oid"]]
        return {("oid", parts[0][0], *sorted(text for _, _, text in parts))}
    [subject] = criteria["identity"]
    issuers = criteria.get("issuer")
    if issuers is None:
        return {("subject", subject)}
    return {("identity", subject, *(issuers if issuers != ["(?s)."] else ()))}


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    monitor()
    directory = tmp_path_factory.mktemp("monitored")
    log = SimulatedLog(ORIGIN)
    seed = sha256(f"simulated log {ORIGIN}".encode()).digest()
    with private_log(directory / "log", Ed25519PrivateKey.from_private_bytes(seed)) as told:
        yield Monitored(directory, told, log)


def configuration_of(monitored: Monitored) -> str:
    """Make a configuration with values of every kind, as somebody writes it."""
    certificate = next(one for one in monitored.holders if one.key and one.is_vouched)
    key = next(one for one in monitored.holders if not one.key and one.is_readable)
    values = {
        "certIdentities": [
            {"certSubject": r"user[0-9]+@domain\.com"},
            {"certSubject": r"^user[0-9]*1@domain\.com$", "issuers": [f"^{ONE}$"]},
            {"certSubject": REPOSITORY, "issuers": [ONE, "other$"]},
            {"certSubject": "nobody@nowhere"},
        ],
        "subjects": [r"attacker\.example$", "^ci[.]example$"],
        "fingerprints": [
            sha256(certificate.der).hexdigest(),
            sha256(certificate.key).hexdigest(),
            sha256(key.der).hexdigest(),
            sha256(monitored.holders[8].der).hexdigest().upper(),
        ],
        "oidMatchers": {
            "fulcioExtensions": {"source-repository-ref": ["refs/tags/v1", "refs/tags/v2"]},
            "customExtensions": [
                {"objectIdentifier": f"{_FULCIO}12", "extensionValues": [REPOSITORY]},
                {"objectIdentifier": f"{_FULCIO}8", "extensionValues": [OTHER]},
            ],
        },
    }
    return f"monitoredValues: {json.dumps(values)}\n"


@pytest.fixture(scope="module")
def home(monitored: Monitored) -> Site:
    """A home of ours that mirrors the same log and trusts the same root."""
    site = Site(monitored.directory / "home")
    site.run("init", "--site", "watching.example")
    key = monitored.directory / "log.pem"
    key.write_bytes(pem("PUBLIC KEY", monitored.log.key.spki))
    served = (monitored.directory / "served" / "http:" / ORIGIN).as_uri()
    site.run(
        *("backend", "add", "log", "--origin", ORIGIN, "--public-key", key, "--url", served),
    )
    site.run("sync", "--full-tiles", "--entries", seconds=SECONDS)
    site.run("trust", "import", monitored.directory / "clients" / "trusted_root.json")
    return site


def test_the_same_configuration_finds_the_same_entries(monitored: Monitored, home: Site) -> None:
    configuration = configuration_of(monitored)
    theirs = monitored.theirs(configuration)
    (monitored.directory / "ours.yaml").write_text(configuration)
    taken = home.run("watch", "import", monitored.directory / "ours.yaml", seconds=SECONDS)
    n_ours = n_theirs = 0
    seen = set()
    for watch in taken["watches"]:
        values = _value_of(watch["criteria"])
        matches = home.run("watch", "matches", watch["name"])["matches"]
        ours = {one["index"] for one in matches}
        n_ours += len(ours)
        for value in values:
            assert ours == monitored.truth(value, as_theirs=False), value
        # A name that no authority vouched for is a claim.
        some = next(iter(values))
        for one in matches:
            signers = [who for who in monitored.entries[one["index"]] if who.meets(some)]
            is_vouched = some[0] == "fingerprint" or any(who.is_vouched for who in signers)
            assert one["finding"] == ("matched" if is_vouched else "claimed"), one
        for value in values & theirs.keys():
            assert theirs[value] <= ours, value
            seen.add(value)
    for value, found in theirs.items():
        expected = monitored.truth(value, as_theirs=True)
        assert found == expected, value
        n_theirs += len(found)
    assert seen == theirs.keys() and len(seen) >= 9
    assert {("fingerprint", sha256(monitored.holders[8].der).hexdigest().upper())}.isdisjoint(seen)
    print(f"{ENTRIES:,} entries: {n_theirs:,} matches there, {n_ours:,} here")  # noqa: T201


def test_what_is_exported_loads_there_and_finds_the_same(monitored: Monitored, home: Site) -> None:
    configuration = configuration_of(monitored)
    (monitored.directory / "ours.yaml").write_text(configuration)
    home.run("watch", "import", monitored.directory / "ours.yaml", seconds=SECONDS)
    exported = home.run("watch", "export")
    assert exported["leftOut"] == []
    theirs = monitored.theirs(exported["configuration"])
    upper = ("fingerprint", sha256(monitored.holders[8].der).hexdigest())
    assert upper in theirs  # it was in upper case, and they found nothing
    for value, found in theirs.items():
        assert found == monitored.truth(value, as_theirs=True), value
    before = monitored.theirs(configuration)
    assert set().union(*before.values()) <= set().union(*theirs.values())
    assert len(theirs) > len(before)


def test_an_entry_that_is_none_ends_their_search_and_not_ours(
    monitored: Monitored, home: Site
) -> None:
    """Stated difference: whoever can log a text of his own keeps them from all that follows."""
    broken = SimulatedLog(ORIGIN)
    broken.grow([*monitored.log.entries[:300], b"anything", *monitored.log.entries[300:600]])
    served = monitored.directory / "broken"
    broken.write_static(served / "http:" / ORIGIN)
    configuration = "monitoredValues: {subjects: ['.']}\nstartIndex: 0\nendIndex: 600\n"
    (monitored.directory / "checkpoints.txt").unlink(missing_ok=True)
    with web_server(served) as url:
        said = watch_once(monitored.directory, ORIGIN, url, configuration)
    assert "failed to parse entry" in said and "Found" not in said
    site = Site(monitored.directory / "home-broken")
    site.run("init", "--site", "watching.example")
    key = monitored.directory / "log.pem"
    url = (served / "http:" / ORIGIN).as_uri()
    site.run("backend", "add", "log", "--origin", ORIGIN, "--public-key", key, "--url", url)
    site.run("sync", "--full-tiles", "--entries")
    found = site.run("watch", "add", "anybody", "--identity", ".")["matches"]
    assert {one["index"] for one in found if one["index"] > 300}
