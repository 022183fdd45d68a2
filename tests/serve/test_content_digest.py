"""Content-Digest (RFC 9530): what is known is compared, what is not says nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import DigestError, MalformedError
from appliance.serve.content_digest import check_content_digest
from tests.private_log.private_homes import home_in_memory, make_home
from tests.serve.running_log import ENTRIES, RunningLog, running_log
from tests.serve.signed_requests import signed_request

BODY = b'{"hello": "world"}'


def sf(algorithm: str, body: bytes = BODY) -> str:
    return f":{b64encode(hashlib.new(algorithm, body).digest()).decode()}:"


def test_the_example_of_the_standard() -> None:
    # RFC 9530, appendix B.1: the body of that example ends with a newline.
    check_content_digest("sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:", BODY + b"\n")


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"sha-256={sf('sha256')}",
        f"sha-512={sf('sha512')}",
        f"sha-256={sf('sha256')}, sha-512={sf('sha512')}",
        f" sha-256={sf('sha256')} ,sha-512={sf('sha512')};note=1",
        "md5=:AAAA:",
        "sha=:AAAA:",
        "crc32c=:4waSgw==:",
        f'other="a, b\\" :", sha-256={sf("sha256")}',
        f"flag, sha-256={sf('sha256')}",
        f'sha-256={sf("sha256")};why="a;b,c"',
    ],
)
def test_what_is_right_or_unknown_passes(header: str) -> None:
    check_content_digest(header, BODY)


@pytest.mark.parametrize(
    "header",
    [
        f"sha-256={sf('sha256', b'other')}",
        f"sha-512={sf('sha512', b'other')}",
        f"sha-256={sf('sha256')}, sha-512={sf('sha512', b'other')}",
        f"sha-256={sf('sha256')}, sha-256={sf('sha256', b'other')}",
        f"md5=:AAAA:, sha-512={sf('sha512', b'other')}",
        f"sha-256={sf('sha512')}",
        "sha-256=::",
    ],
)
def test_another_body_is_refused(header: str) -> None:
    with pytest.raises(DigestError):
        check_content_digest(header, BODY)


@pytest.mark.parametrize(
    "header",
    [
        "sha-256",
        "sha-256=abc",
        'sha-256="abc"',
        "sha-256=:###:",
        "sha-256=:A:",
        "=:AAAA:",
        "SHA-256=:AAAA:",
        "sha-256:AAAA",
        f"sha-256={sf('sha256')} sha-512={sf('sha512')}",
    ],
)
def test_what_is_no_dictionary_of_digests_is_refused(header: str) -> None:
    with pytest.raises(MalformedError):
        check_content_digest(header, BODY)


@pytest.mark.parametrize("unit", ["a;", "a,", "a=b;", 'a="\\a', ";", "a", " ", "a=:A"])
def test_a_hostile_field_takes_no_time(unit: str) -> None:
    began = time.process_time()
    for end in ("", '"', "\0", "="):
        with contextlib.suppress(MalformedError):
            check_content_digest((unit * 32_000)[:32_000] + end, BODY)
    assert time.process_time() - began < 2.0


@pytest.fixture(scope="module")
def log() -> Iterator[RunningLog]:
    with home_in_memory() as home:
        make_home(home)
        with running_log(home) as server:
            yield server


def post(log: RunningLog, body: bytes, header: str) -> tuple[int, str]:
    status, _, answer = log.ask("POST", ENTRIES, body, {"Content-Digest": header})
    return status, json.loads(answer).get("message", "")


def test_a_log_compares_it_before_anything_else(log: RunningLog, tmp_path: Path) -> None:
    body = signed_request(b"one")
    status, message = post(log, body, f"sha-256={sf('sha256', b'other')}")
    assert status == 400
    assert message.startswith("Content-Digest: the body has the sha-256 :")
    assert post(log, body, "sha-256=nonsense")[0] == 400
    assert post(log, body, f"sha-512={sf('sha512', body)}, md5=:AAAA:")[0] == 201
    assert post(log, body, f"sha-256={sf('sha256', body)}")[0] == 409  # nothing was logged before
