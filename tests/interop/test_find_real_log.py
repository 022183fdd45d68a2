"""The real Rekor server's log is indexed, and what real clients signed into it is found there.

By digest, identity, commit and fingerprint, by the index and by reading everything.
"""

from __future__ import annotations

import base64
import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import UniformResourceIdentifier, load_der_x509_certificate

from tests.interop.attestor import Site
from tests.interop.issuers import REPOSITORY, WORKFLOW, issuers
from tests.interop.own_sigstore import EMAIL, PASSWORD, OwnSigstore, own_sigstore, ran
from tests.interop.private_log import private_log
from tests.interop.rekor_client import post
from tests.interop.rekor_server import RekorServer, rekor_server
from tests.interop.test_own_sigstore import (
    cosign_signs,
    sigstore_go_signs,
    sigstore_js_signs,
    sigstore_python_signs,
)
from tests.interop.timestamp_server import timestamp_server
from tests.interop.verification_peers import peer
from tests.pki.authorities import LeafPlan, new_key, spki
from tests.pki.bundles import Instance, encoded, pem
from tests.pki.openssl_tsa import Plan, make_authority

pytestmark = pytest.mark.interop
JOB = "https://ci.example/org/app/.ci/release.yml@refs/tags/v1"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PREDICATE = "https://example.com/predicate/v1"


@pytest.fixture(scope="module")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, key: Ed25519PrivateKey
) -> Iterator[RekorServer]:
    with rekor_server(tmp_path_factory.mktemp("server"), key) as server:
        yield server


@pytest.fixture
def site(server: RekorServer, tmp_path: Path) -> Site:
    site = Site(tmp_path / "home")
    site.run("init", "--site", "interop")
    site.run(
        *("backend", "add", "real", "--origin", server.origin, "--public-key", server.public_key),
        *("--url", server.url, "--read-url", server.read_url),
    )
    return site


def found(site: Site, *wanted: str | Path) -> list[int]:
    """Search by the index and by reading everything, and return where both found it."""
    search = ("entries", "search", *wanted)
    by_index, by_reading = site.run(*search), site.run(*search, "--rescan")
    assert by_index["complete"] and by_reading["complete"]
    assert by_index["hits"] == by_reading["hits"]
    return [hit["index"] for hit in by_index["hits"]]


def indexed(site: Site) -> None:
    site.run("sync", "--entries")
    site.run("index", "build")


def test_what_a_certified_job_signed_is_found_by_all_that_is_asked(
    server: RekorServer, site: Site, tmp_path: Path
) -> None:
    job, artifact = new_key(), tmp_path / "artifact"
    assert isinstance(job, ec.EllipticCurvePrivateKey)
    artifact.write_bytes(b"a release of a CI job")
    plan = LeafPlan((UniformResourceIdentifier(JOB),), claims={"13": COMMIT})
    der = Instance().certify(job, plan).public_bytes(Encoding.DER)
    certificate = tmp_path / "leaf.pem"
    certificate.write_bytes(pem("CERTIFICATE", der))
    verifier = {
        "x509Certificate": {"rawBytes": base64.b64encode(der).decode()},
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
    }
    signature = job.sign(artifact.read_bytes(), ec.ECDSA(SHA256()))
    request = {
        "digest": base64.b64encode(sha256(artifact.read_bytes()).digest()).decode(),
        "signature": {"content": base64.b64encode(signature).decode(), "verifier": verifier},
    }
    status, logged = post(server.url, json.dumps({"hashedRekordRequestV002": request}).encode())
    assert status == 201, logged
    index = int(logged["logIndex"])
    indexed(site)
    for wanted in (
        ("--artifact", artifact),
        ("--digest", sha256(artifact.read_bytes()).hexdigest()),
        ("--identity-exact", JOB),
        ("--identity", r"org/app/.*@refs/tags/v1$"),
        ("--commit", COMMIT),
        ("--oid", f"source-repository-digest={COMMIT}"),
        ("--fingerprint", sha256(der).hexdigest()),
        ("--fingerprint", sha256(spki(job)).hexdigest().upper()),
        ("--certificate", certificate),
    ):
        assert found(site, *wanted) == [index], wanted
    assert found(site, "--identity-exact", JOB.replace("org", "other")) == []


def test_what_cosign_signed_and_attested_is_found(
    server: RekorServer, site: Site, tmp_path: Path, key: Ed25519PrivateKey
) -> None:
    cosign, home = peer("cosign"), tmp_path / "clients"
    home.mkdir()
    (home / "artifact").write_bytes(b"a release that cosign signs")
    authorities = Instance()
    for name, certificates in (
        ("ca.pem", (authorities.authority.certificate, authorities.root_authority.certificate)),
        ("ct.pem", ()),
    ):
        text = b"".join(one.public_bytes(Encoding.PEM) for one in certificates)
        (home / name).write_bytes(text or pem("PUBLIC KEY", spki(authorities.ct_log.key)))
    with (
        timestamp_server(
            tmp_path / "tsa", make_authority(Plan()), ["--enforce-intermediate-eku=false"]
        ) as tsa,
        private_log(tmp_path / "log", key) as told,  # of the same name and key: what clients get
    ):
        stamping = b"".join(one.public_bytes(Encoding.PEM) for one in tsa.chain)
        (home / "tsa.pem").write_bytes(stamping)
        told.site.run(
            *("log", "client-config", "--url", server.url, "--output", home / "told"),
            *("--fulcio-root", home / "ca.pem", "--fulcio-url", "http://127.0.0.1:1"),
            *("--ct-key", home / "ct.pem", "--oidc-issuer", "http://127.0.0.1:2"),
            *("--tsa", home / "tsa.pem", "--tsa-url", f"{tsa.url}/api/v1/timestamp"),
        )
        ran([cosign, "generate-key-pair"], home, password=PASSWORD)
        by: tuple[str | Path, ...] = (
            *("--key", "cosign.key", "--yes"),
            *("--signing-config", home / "told" / "signing_config.v0.2.json"),
            *("--trusted-root", home / "told" / "trusted_root.json"),
        )
        signed: list[str | Path] = [cosign, "sign-blob", *by, "--bundle", "signed.json", "artifact"]
        ran(signed, home, password=PASSWORD)
        (home / "predicate").write_text("{}")
        what = ("--predicate", "predicate", "--type", PREDICATE)
        attested: list[str | Path] = [
            cosign,
            "attest-blob",
            *by,
            *what,
            "--bundle",
            "attested.json",
            "artifact",
        ]
        ran(attested, home, password=PASSWORD)
    bundles = [json.loads((home / name).read_text()) for name in ("signed.json", "attested.json")]
    entries = [one["verificationMaterial"]["tlogEntries"][0] for one in bundles]
    blob, attestation = (int(one.get("logIndex", 0)) for one in entries)
    envelope = bundles[1]["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    indexed(site)
    assert found(site, "--artifact", home / "artifact") == [blob]
    # An attestation is logged with the digest of what was signed, which is not the artifact.
    text = encoded(payload, envelope["payloadType"])
    assert found(site, "--digest", sha256(text).hexdigest()) == [attestation]
    assert found(site, "--key", home / "cosign.pub") == [blob, attestation]
    site.run("expected", "add", "--bundle", home / "attested.json")  # the statement is known now
    assert found(site, "--artifact", home / "artifact") == [blob, attestation]


@dataclass(frozen=True)
class Signed:
    """What one client signed by identity."""

    artifact: Path
    commit: str  # empty: by a person
    index: int
    certificate: bytes

    @property
    def questions(self) -> Iterator[tuple[str | Path, ...]]:
        """What only this entry answers to."""
        key = load_der_x509_certificate(self.certificate).public_key()
        raw = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        yield "--artifact", self.artifact
        yield "--fingerprint", sha256(self.certificate).hexdigest()
        yield "--fingerprint", sha256(raw).hexdigest()
        if self.commit:
            yield "--commit", self.commit


def signed_by(
    client: Callable[[OwnSigstore, Path], None], own: OwnSigstore, directory: Path
) -> Signed:
    directory.mkdir(parents=True)
    artifact = directory / "artifact"
    artifact.write_text(f"{directory.name} by {own.commit or EMAIL}")
    client(own, directory)
    material = json.loads((directory / "bundle").read_text())["verificationMaterial"]
    leaf = material.get("certificate") or material["x509CertificateChain"]["certificates"][0]
    certificate = b64decode(leaf["rawBytes"])
    index = int(material["tlogEntries"][0].get("logIndex", 0))
    return Signed(artifact, own.commit, index, certificate)


def test_what_each_client_signs_by_identity_is_found(
    server: RekorServer, site: Site, tmp_path: Path, key: Ed25519PrivateKey
) -> None:
    with (
        issuers() as jobs,
        own_sigstore(tmp_path / "own", key=key, log_url=server.url, jobs=jobs) as own,
    ):
        for number in range(2):  # Go leaves out what is zero, and sigstore-python wants it
            signed_by(sigstore_go_signs, own, tmp_path / f"before-{number}")
        clients = (cosign_signs, sigstore_python_signs, sigstore_js_signs, sigstore_go_signs)
        people = [signed_by(one, own, tmp_path / one.__name__) for one in clients]
        built = [
            signed_by(
                one,
                replace(own, issuer=jobs, commit=sha256(one.__name__.encode()).hexdigest()[:40]),
                tmp_path / "jobs" / one.__name__,
            )
            for one in clients
        ]
        root = own.trusted_root.read_bytes()
    (tmp_path / "root.json").write_bytes(root)
    site.run("trust", "import", tmp_path / "root.json")
    indexed(site)
    for one in (*people, *built):
        for question in one.questions:
            assert found(site, *question, "--vouched") == [one.index], question
    by_job = [one.index for one in built]
    job = f"https://github.com/{REPOSITORY}/{WORKFLOW}"
    by_mail = found(site, "--identity-exact", EMAIL, "--vouched")
    assert set(by_mail) > {one.index for one in people} and not {*by_mail} & {*by_job}
    for question in (
        ("--identity-exact", job),
        ("--identity", rf"^https://github[.]com/{REPOSITORY}/.*@refs/heads/main$"),
        ("--issuer-exact", jobs.url),
        ("--oid", f"source-repository-uri=https://github.com/{REPOSITORY}"),
    ):
        assert found(site, *question, "--vouched") == by_job, question
