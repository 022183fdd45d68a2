"""Our request parser, canonical bodies and client, against what the real server makes of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.errors import ApplianceError, RefusedError
from appliance.fetch.http import HttpClient, HttpSettings
from appliance.fetch.submit import Duplicate, Logged, submit
from appliance.rekor.request import parse_request, verify_request
from appliance.rekor.transparency_log_entry import parse_log_entry
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.note_keys import log_key
from appliance.tlog.proof import verify_inclusion
from tests.interop.rekor_server import RekorServer, rekor_server
from tests.interop.requests_table import ACCEPTED, REFUSED, UNPARSABLE
from tests.interop.signed_artifact import SignedArtifact, sign_artifact

pytestmark = pytest.mark.interop

ALL_REFUSED = REFUSED | UNPARSABLE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RekorServer]:
    """Run a real server of these tests' own, because others count what is in theirs."""
    with rekor_server(tmp_path_factory.mktemp("rekor")) as running:
        yield running


@pytest.fixture(scope="module")
def http() -> Iterator[HttpClient]:
    with HttpClient(HttpSettings()) as client:
        yield client


@pytest.fixture
def artifact() -> SignedArtifact:
    key = ec.generate_private_key(ec.SECP256R1())
    return sign_artifact(key, b"one more\n")


@pytest.mark.parametrize("spelling", ACCEPTED)
def test_what_it_accepts_we_accept_and_make_the_same_leaf_of(
    server: RekorServer, http: HttpClient, artifact: SignedArtifact, spelling: str
) -> None:
    raw = ACCEPTED[spelling](artifact)
    request = parse_request(raw)
    verify_request(request)
    answer = submit(http, server.url, raw)
    assert isinstance(answer, Logged)
    entry = parse_log_entry(answer.entry)
    assert entry.canonicalized_body == request.canonical_body


def test_its_answer_is_proven_by_our_own_checks(
    server: RekorServer, http: HttpClient, artifact: SignedArtifact
) -> None:
    answer = submit(http, server.url, artifact.request())
    assert isinstance(answer, Logged)
    entry = parse_log_entry(answer.entry)
    key = log_key(server.origin, server.spki)
    assert entry.inclusion_proof is not None
    assert entry.log_id == key.log_id
    note = entry.inclusion_proof.checkpoint.encode()
    head = open_checkpoint(note, [key], server.origin).checkpoint.head
    leaf = leaf_hash(entry.canonicalized_body)
    verify_inclusion(entry.log_index, leaf, head, entry.inclusion_proof.hashes)


def test_a_duplicate_is_found_where_it_is(
    server: RekorServer, http: HttpClient, artifact: SignedArtifact
) -> None:
    first = submit(http, server.url, artifact.request())
    assert isinstance(first, Logged)
    second = submit(http, server.url, artifact.request())
    assert isinstance(second, Duplicate)
    assert second.index == parse_log_entry(first.entry).log_index


@pytest.mark.parametrize("defect", ALL_REFUSED)
def test_what_it_refuses_we_refuse(
    server: RekorServer, http: HttpClient, artifact: SignedArtifact, defect: str
) -> None:
    raw = ALL_REFUSED[defect](artifact)
    with pytest.raises(RefusedError) as refused:
        submit(http, server.url, raw)
    assert refused.value.reason == "invalid-request"
    with pytest.raises(ApplianceError):
        verify_request(parse_request(raw))
