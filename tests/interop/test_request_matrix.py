"""The same requests to the real server and to ours: the same status, meaning and leaf.

What is answered otherwise is in DIFFERENT, with the reason; a difference that is not there,
or is there and does not show, fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import repeat
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.interop.private_log import private_log
from tests.interop.rekor_server import rekor_server
from tests.interop.request_matrix import KINDS, Ask, accepted, others

pytestmark = pytest.mark.interop

ACCEPTED: Final = accepted()
MATRIX: Final = ACCEPTED | others()
AT_ONCE: Final = 24
# Messages that are the log's own; all others are those of one or the other JSON parser.
WORDS: Final = (
    "invalid hashedrekord request",
    "invalid type, must be hashedrekord",
    "http: request body too large",
    "Method Not Allowed",
    "Not Found",
)

Meaning = tuple[object, ...]

_OTHER_KIND: Final = (
    "the real server compares the digest of keyDetails with that of the key, and logs the key under"
    " a wrong name; ours takes what the key is called alone"
)
_PANIC: Final = "the real server panics: its table has a name that it cannot verify"
_READ: Final = "the real server serves no reads; ours is both"
_POINTER: Final = "not found on both; ours says where it is instead"
_RSA: Final = (
    *("RSA_PKCS1V15_2048_SHA256", "RSA_PKCS1V15_3072_SHA256", "RSA_PKCS1V15_4096_SHA256"),
    "RSA_PSS_2048_SHA256",
)
# name: status of theirs, status of ours, why
DIFFERENT: Final[dict[str, tuple[int, int, str]]] = {
    **{
        f"{kind} called {details}": (201, 400, _OTHER_KIND)
        for kind, names in {
            "P-256": _RSA,
            "P-521": ("ED25519_PH",),
            "RSA-2048": ("ECDSA_P256_SHA_256", *_RSA),
            "RSA-3072": ("ECDSA_P256_SHA_256", *_RSA),
            "RSA-4096": ("ECDSA_P256_SHA_256", *_RSA),
            "Ed25519ph": ("ECDSA_P521_SHA_512",),
        }.items()
        for details in (f"PKIX_{name}" for name in names)
        if details != KINDS[kind].details
    },
    "Ed25519ph called PKIX_ED25519": (500, 400, _PANIC),
    "GET /api/v2/checkpoint": (501, 200, _READ),
    "GET /api/v2/tile/0/000": (501, 404, _READ),  # which is not full yet
    "GET /api/v2/tile/0/xyz": (501, 404, _READ),
    "GET /api/v2/tile/entries/000": (501, 404, _READ),
    "GET /checkpoint": (404, 200, _READ),
    "GET /api/v2/log": (404, 200, _READ),
    "POST /api/v2/log": (404, 501, "a path that only ours has"),
    "GET /api/v1/log": (404, 404, _POINTER),
    "GET /api/v1/log/entries": (404, 404, _POINTER),
    "GET /api/v1/log/proof": (404, 404, _POINTER),
    "GET /api/v1/log/publicKey": (404, 404, _POINTER),
    "POST /api/v1/log/entries": (404, 404, _POINTER),
    "POST /api/v1/log/entries/retrieve": (404, 404, _POINTER),
    "POST /api/v1/index/retrieve": (404, 404, _POINTER),
}


def post(url: str, ask: Ask) -> Meaning:
    """Send one request; return what the answer means."""
    where = urlsplit(url)
    assert where.hostname is not None
    connection = HTTPConnection(where.hostname, where.port, timeout=120)
    try:
        body = ask.body() if ask.method in ("POST", "PUT", "PATCH") else None
        connection.request(ask.method, ask.path, body, ask.headers)
        answer = connection.getresponse()
        return meaning(answer.status, answer.read())
    finally:
        connection.close()


def meaning(status: int, body: bytes) -> Meaning:
    try:
        told: Any = json.loads(body)
    except ValueError:
        return (status, "no JSON")
    if status == 201 and "canonicalizedBody" in told:
        return (status, told["canonicalizedBody"], sorted(told), told["kindVersion"])
    if "message" in told:
        words = told["message"] if told["message"] in WORDS else "in other words"
        if status == 409:
            words = "duplicate"
        return (status, told["code"], words, told["details"])
    return (status, told)


@pytest.fixture(scope="module")
def answers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[Meaning, Meaning]]]:
    """Ask both everything, and then once more what they log."""
    directory = tmp_path_factory.mktemp("both")
    asked = {**MATRIX, **{f"again: {name}": ask for name, ask in ACCEPTED.items()}}
    told: dict[str, list[Meaning]] = {}
    with (
        rekor_server(directory / "theirs") as theirs,
        private_log(directory / "ours") as ours,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        for ask in MATRIX.values():
            ask.body()  # made by one thread, so that both are asked the same
        for url in (theirs.url, ours.url):
            told[url] = []
            for part in (MATRIX, ACCEPTED):
                told[url] += pool.map(post, repeat(url), part.values())
        yield dict(zip(asked, zip(told[theirs.url], told[ours.url], strict=True), strict=True))


def test_there_are_enough_of_them() -> None:
    assert len(MATRIX) + len(ACCEPTED) >= 500
    assert DIFFERENT.keys() <= others().keys()


@pytest.mark.parametrize("name", [name for name in MATRIX if name not in DIFFERENT])
def test_the_same_status_the_same_meaning_the_same_leaf(
    answers: dict[str, tuple[Meaning, Meaning]], name: str
) -> None:
    theirs, ours = answers[name]
    assert ours == theirs
    assert (theirs[0] == 201) is (name in ACCEPTED)


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_same_again_is_a_duplicate_to_both(
    answers: dict[str, tuple[Meaning, Meaning]], name: str
) -> None:
    theirs, ours = answers[f"again: {name}"]
    assert ours == theirs == (409, 6, "duplicate", [])


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_is_answered_otherwise_is_known(
    answers: dict[str, tuple[Meaning, Meaning]], name: str
) -> None:
    theirs, ours = answers[name]
    assert ours != theirs
    assert (theirs[0], ours[0]) == DIFFERENT[name][:2]
