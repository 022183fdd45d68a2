"""The real server itself, without any code of ours: what the other tests here stand on."""

from __future__ import annotations

import random
from base64 import b64decode, b64encode

import pytest

from tests.interop.conftest import RealLog
from tests.interop.proof_oracle import ask_go
from tests.interop.rekor_client import post, read_file
from tests.interop.signed_artifact import note_log_id
from tests.tlog import reference

pytestmark = pytest.mark.interop


def test_what_it_answers_is_what_its_checkpoint_signs(real_log: RealLog) -> None:
    origin, size, root, *_ = read_file(real_log.server.read_url, "checkpoint").decode().split("\n")
    assert origin == real_log.server.origin
    assert int(size) == len(real_log.entries)
    assert b64decode(root) == reference.tree_hash(real_log.entries)


def test_its_full_and_partial_tiles_hold_the_leaf_hashes(real_log: RealLog) -> None:
    size = len(real_log.entries)
    assert read_file(real_log.server.read_url, "tile/0/000") == reference.tile_hashes(
        0, 0, 256, real_log.entries
    )
    partial = read_file(real_log.server.read_url, f"tile/0/{size // 256:03}.p/{size % 256}")
    assert partial == reference.tile_hashes(0, size // 256, size % 256, real_log.entries)


def test_its_log_id_is_the_note_key_hash(real_log: RealLog) -> None:
    answered = {answer["logId"]["keyId"] for answer in real_log.answers}
    computed = note_log_id(real_log.server.origin, real_log.server.spki)
    assert answered == {b64encode(computed).decode()}


def test_a_duplicate_is_answered_with_its_index(real_log: RealLog) -> None:
    newest = len(real_log.artifacts) - 1  # it remembers the last 256 entries only
    status, answer = post(real_log.server.url, real_log.artifacts[newest].request())
    assert status == 409
    assert answer["message"].endswith(f"with index {newest}")


def test_go_and_the_recursion_agree_on_every_proof(real_log: RealLog) -> None:
    entries = real_log.entries
    chosen = random.Random(1)  # noqa: S311 chooses cases, not keys
    size = len(entries)
    inclusion = [(chosen.randrange(size), size) for _ in range(20)]
    consistency = [(chosen.randrange(1, size + 1), size) for _ in range(20)]
    answer = ask_go(entries, inclusion, consistency)
    assert answer.root_hash == reference.tree_hash(entries)
    assert answer.inclusion == [reference.path(index, entries) for index, _ in inclusion]
    assert answer.consistency == [reference.proof(old, entries) for old, _ in consistency]
