"""Real clients sign into our log by one option, and verify what each other signed.

Fulcio is the real one, so are the timestamp server and the clients: cosign, sigstore-python,
sigstore-go (its own conformance client) and sigstore-js. They know what `attestor log
client-config` and `attestor log tuf-repository` wrote, and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.attestor import Site
from tests.interop.own_sigstore import EMAIL, PASSWORD, OwnSigstore, own_sigstore, ran, site_peer
from tests.interop.verification_peers import peer

pytestmark = pytest.mark.interop

ARTIFACT = b"signed by identity, and logged here\n"
PREDICATE = "https://example.com/predicate"
SIGSTORE = Path(sys.executable).with_name("sigstore")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSigstore]:
    directory = tmp_path_factory.mktemp("own")
    with own_sigstore(directory) as running:
        (directory / "artifact").write_bytes(ARTIFACT)
        # Go leaves out what is zero, and sigstore-python wants it: two entries stand before all.
        for _ in range(2):
            sigstore_go_signs(running, directory)
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give a client a home in which it remembers nothing."""
    (tmp_path / "artifact").write_bytes(ARTIFACT)
    return tmp_path


# Each signs `artifact` in `home` by identity, and writes `bundle`.


def cosign_signs(own: OwnSigstore, home: Path) -> None:
    ran(
        [
            *(peer("cosign"), "sign-blob", "--yes", "--bundle", "bundle"),
            *("--identity-token", own.token(), "--signing-config", own.signing_config),
            *("--trusted-root", own.trusted_root, "artifact"),
        ],
        home,
    )


def sigstore_python_signs(own: OwnSigstore, home: Path) -> None:
    ran(
        [
            *(SIGSTORE, "--trust-config", own.trust_config, "sign"),
            *("--identity-token", own.token(), "--bundle", "bundle", "artifact"),
        ],
        home,
    )


def sigstore_go_signs(own: OwnSigstore, home: Path) -> None:
    ran(
        [
            *(site_peer("conformance"), "sign-bundle", "--identity-token", own.token()),
            *("--signing-config", own.signing_config, "--trusted-root", own.trusted_root),
            *("--bundle", "bundle", "artifact"),
        ],
        home,
    )


def sigstore_js_signs(own: OwnSigstore, home: Path) -> None:
    client = site_peer("sigstore-js") / "client.mjs"
    ran(["node", client, "sign", own.signing_config, own.token(), "bundle", "artifact"], home)


# Each verifies `bundle` over `artifact` in `home`, as signed by somebody.


def cosign_verifies(own: OwnSigstore, home: Path, who: str, expect: bool) -> None:
    ran(
        [
            *(peer("cosign"), "verify-blob", "--bundle", "bundle"),
            *("--trusted-root", own.trusted_root, "--use-signed-timestamps"),
            *("--certificate-identity", who, "--certificate-oidc-issuer", own.issuer.url),
            "artifact",
        ],
        home,
        expect=expect,
    )


def sigstore_python_verifies(own: OwnSigstore, home: Path, who: str, expect: bool) -> None:
    ran(
        [
            *(SIGSTORE, "--trust-config", own.trust_config, "verify", "identity"),
            *("--bundle", "bundle", "--cert-identity", who),
            *("--cert-oidc-issuer", own.issuer.url, "artifact"),
        ],
        home,
        expect=expect,
    )


def sigstore_go_verifies(own: OwnSigstore, home: Path, who: str, expect: bool) -> None:
    ran(
        [
            *(site_peer("conformance"), "verify-bundle", "--bundle", "bundle"),
            *("--certificate-identity", who, "--certificate-oidc-issuer", own.issuer.url),
            *("--trusted-root", own.trusted_root, "artifact"),
        ],
        home,
        expect=expect,
    )


def sigstore_js_verifies(own: OwnSigstore, home: Path, who: str, expect: bool) -> None:
    client = site_peer("sigstore-js") / "client.mjs"
    words = ("verify", own.trusted_root, "bundle", who, own.issuer.url, "artifact")
    ran(["node", client, *words], home, expect=expect)


def attestor_verifies(own: OwnSigstore, home: Path, who: str, expect: bool) -> None:
    Site(own.log.site.home).run(
        *("verify", home / "artifact", "--bundle", home / "bundle"),
        *("--trusted-root", own.trusted_root, "--require-mirror"),
        *("--certificate-identity", who, "--certificate-oidc-issuer", own.issuer.url),
        expect=0 if expect else 3,
    )


SIGN = (cosign_signs, sigstore_python_signs, sigstore_go_signs, sigstore_js_signs)
VERIFY = (
    *(cosign_verifies, sigstore_python_verifies, sigstore_go_verifies, sigstore_js_verifies),
    attestor_verifies,
)


@pytest.mark.parametrize("sign", SIGN)
def test_what_one_client_signed_every_other_verifies(
    own: OwnSigstore, home: Path, sign: Callable[[OwnSigstore, Path], None]
) -> None:
    before = own.issuer.logged
    sign(own, home)
    assert own.issuer.logged == before + 1, "Fulcio asked the CT log"
    for verify in VERIFY:
        verify(own, home, EMAIL, True)
        verify(own, home, "stranger@example.com", False)
    (home / "artifact").write_bytes(ARTIFACT + b"changed")
    for verify in VERIFY:
        verify(own, home, EMAIL, False)


def test_attestations_by_identity(own: OwnSigstore, home: Path) -> None:
    (home / "predicate").write_text('{"built": "here"}')
    ran(
        [
            *(peer("cosign"), "attest-blob", "--yes", "--bundle", "bundle"),
            *("--predicate", "predicate", "--type", PREDICATE),
            *("--identity-token", own.token(), "--signing-config", own.signing_config),
            *("--trusted-root", own.trusted_root, "artifact"),
        ],
        home,
    )
    ran(
        [
            *(peer("cosign"), "verify-blob-attestation", "--bundle", "bundle"),
            *("--type", PREDICATE, "--trusted-root", own.trusted_root, "--use-signed-timestamps"),
            *("--certificate-identity", EMAIL, "--certificate-oidc-issuer", own.issuer.url),
            "artifact",
        ],
        home,
    )
    # sigstore-python takes statements of version 1 only, and cosign writes version 0.1.
    for verify in (sigstore_go_verifies, attestor_verifies):
        verify(own, home, EMAIL, True)
        verify(own, home, "stranger@example.com", False)


def test_sigstore_js_has_no_attestation_that_a_v2_log_takes(own: OwnSigstore, home: Path) -> None:
    """It posts a DSSE entry, which the real server refuses in the same words."""
    client = site_peer("sigstore-js") / "client.mjs"
    words = ("sign", own.signing_config, own.token(), "bundle", "artifact", "dsse")
    said = ran(["node", client, *words], home, expect=False)
    assert "invalid type, must be hashedrekord" in said


def test_cosign_with_a_key(own: OwnSigstore, home: Path) -> None:
    """Signed and attested with a key of its own, which no CA certified."""
    cosign = peer("cosign")
    ran([cosign, "generate-key-pair"], home, password=PASSWORD)
    services = ("--signing-config", own.signing_config, "--trusted-root", own.trusted_root)
    key = ("--key", "cosign.key", "--yes")
    ran(
        [cosign, "sign-blob", *key, *services, "--bundle", "bundle", "artifact"],
        home,
        password=PASSWORD,
    )
    (home / "predicate").write_text("{}")
    what = ("--predicate", "predicate", "--type", PREDICATE)
    ran(
        [cosign, "attest-blob", *key, *services, *what, "--bundle", "attested", "artifact"],
        home,
        password=PASSWORD,
    )
    by = ("--key", "cosign.pub", "--trusted-root", own.trusted_root, "--use-signed-timestamps")
    ran([cosign, "verify-blob", *by, "--bundle", "bundle", "artifact"], home)
    attested = ("verify-blob-attestation", "--type", PREDICATE, "--bundle", "attested")
    ran([cosign, *attested, *by, "artifact"], home)
    for bundle in ("bundle", "attested"):
        own.log.site.run(
            *("verify", home / "artifact", "--bundle", home / bundle, "--require-mirror"),
            *("--key", home / "cosign.pub", "--trusted-root", own.trusted_root),
        )
    (home / "artifact").write_bytes(b"another")
    ran([cosign, "verify-blob", *by, "--bundle", "bundle", "artifact"], home, expect=False)
    ran([cosign, *attested, *by, "artifact"], home, expect=False)
