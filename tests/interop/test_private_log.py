"""Our private log beside the real server: the same question gets the same answer.

Both have one origin and one key, and see the same requests in the same order. Ed25519
signs the same text the same way every time, so the answers agree to the last signature.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.interop.private_log import PrivateLog, private_log
from tests.interop.rekor_client import exchange, post, read_file
from tests.interop.rekor_server import RekorServer, rekor_server
from tests.interop.request_matrix import request
from tests.interop.requests_table import ACCEPTED, REFUSED, UNPARSABLE
from tests.interop.signed_artifact import SignedArtifact, sign_artifact

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def theirs(
    key: Ed25519PrivateKey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RekorServer]:
    with rekor_server(tmp_path_factory.mktemp("theirs") / "log", key) as server:
        yield server


@pytest.fixture(scope="module")
def ours(key: Ed25519PrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateLog]:
    with private_log(tmp_path_factory.mktemp("ours") / "log", key) as log:
        yield log


@pytest.fixture
def artifact() -> SignedArtifact:
    return sign_artifact(ec.generate_private_key(ec.SECP256R1()), b"one more\n")


@pytest.mark.parametrize("spelling", ACCEPTED)
def test_a_good_request_is_answered_alike(
    theirs: RekorServer, ours: PrivateLog, artifact: SignedArtifact, spelling: str
) -> None:
    raw = ACCEPTED[spelling](artifact)
    status, answer = post(ours.url, raw)
    assert status == 201
    assert (status, answer) == post(theirs.url, raw)


@pytest.mark.parametrize("with_certificate", [False, True], ids=["key", "certificate"])
def test_an_ed25519ph_entry_is_answered_alike(
    theirs: RekorServer, ours: PrivateLog, *, with_certificate: bool
) -> None:
    """To the last signature, and as a duplicate as well: it signs the same each time."""
    content = b"signed with Ed25519ph\n"
    raw = json.dumps(request("Ed25519ph", content, with_certificate=with_certificate)).encode()
    for status in (201, 409):
        answered = post(ours.url, raw)
        assert answered[0] == status
        assert answered == post(theirs.url, raw)


@pytest.mark.parametrize("defect", REFUSED)
def test_a_defect_is_refused_in_the_same_words(
    theirs: RekorServer, ours: PrivateLog, artifact: SignedArtifact, defect: str
) -> None:
    raw = REFUSED[defect](artifact)
    assert post(ours.url, raw) == post(theirs.url, raw)


@pytest.mark.parametrize("defect", UNPARSABLE)
def test_what_does_not_parse_is_refused_with_the_same_code(
    theirs: RekorServer, ours: PrivateLog, artifact: SignedArtifact, defect: str
) -> None:
    raw = UNPARSABLE[defect](artifact)
    their_status, their_answer = post(theirs.url, raw)
    our_status, our_answer = post(ours.url, raw)
    assert our_status == their_status == 400
    assert our_answer["code"] == their_answer["code"]
    assert our_answer.keys() == their_answer.keys()


def test_a_duplicate_is_answered_alike(
    theirs: RekorServer, ours: PrivateLog, artifact: SignedArtifact
) -> None:
    assert post(ours.url, artifact.request()) == post(theirs.url, artifact.request())
    ask = ("POST", "/api/v2/log/entries", artifact.request())
    status, headers, answer = exchange(ours.url, *ask)
    their_status, their_headers, their_answer = exchange(theirs.url, *ask)
    assert status == their_status == 409
    assert answer == their_answer
    assert headers["X-Log-Index"] == their_headers["X-Log-Index"]


def test_checkpoint_and_tiles_are_the_same_bytes(theirs: RekorServer, ours: PrivateLog) -> None:
    checkpoint = (theirs.storage / "checkpoint").read_bytes()
    size = int(checkpoint.split(b"\n")[1])
    for path in ("checkpoint", f"tile/0/000.p/{size}", f"tile/entries/000.p/{size}"):
        assert read_file(f"{ours.url}/api/v2", path) == (theirs.storage / path).read_bytes()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v2/log/entries"),
        ("PUT", "/api/v2/log/entries"),
        ("POST", "/healthz"),
        ("GET", "/healthz"),
        ("POST", "/nowhere"),
        ("GET", "/"),
        ("POST", "/api/v2/log/entries/"),
    ],
)
def test_other_methods_and_paths_are_answered_alike(
    theirs: RekorServer, ours: PrivateLog, method: str, path: str
) -> None:
    their_status, _, their_answer = exchange(theirs.url, method, path)
    our_status, _, our_answer = exchange(ours.url, method, path)
    assert (our_status, our_answer) == (their_status, their_answer)
