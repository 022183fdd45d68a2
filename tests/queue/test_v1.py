"""The queue before a Rekor v1 log: proposals it takes, proofs and promises that verify."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import MalformedError
from appliance.rekor.answer_v1 import parse_entry_id, parse_v1_answer
from appliance.store.database import open_store
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import open_checkpoint
from tests.cli.homes import Home
from tests.queue.signed_files import envelope, write_artifact, write_envelope
from tests.rig.v1_server import V1Server, v1_server


@pytest.fixture
def server() -> Iterator[V1Server]:
    with v1_server() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str], server: V1Server) -> Home:
    made = Home(tmp_path / "home", capsys)
    key = tmp_path / "log.pem"
    key.write_bytes(server.public_key)
    made.json(
        *("backend", "add", "v1", "--origin", server.log.origin, "--public-key", key),
        *("--url", server.url, "--api-version", "1"),
    )
    made.json("config", "set", "rekor.serverUrl", server.url)
    return made


def shown(home: Home, added: dict[str, Any]) -> Any:
    return home.json("queue", "show", added["id"])


def test_an_artifact_is_logged_with_proof_and_promise(
    home: Home, tmp_path: Path, server: V1Server
) -> None:
    options = write_artifact(tmp_path / "in", b"one")
    added = home.json("queue", "add", *options)
    assert home.json("queue", "drain")["logged"] == 1
    entry = shown(home, added)["entry"]
    assert entry["kindVersion"] == {"kind": "hashedrekord", "version": "0.0.1"}
    assert entry["inclusionPromise"]["signedEntryTimestamp"]
    assert int(entry["logIndex"]) > int(entry["inclusionProof"]["logIndex"])  # over all shards
    finished = tmp_path / "finished.json"
    home.json("queue", "bundle", added["id"], "--output", finished)
    home.json("verify", options[1], "--bundle", finished, "--key", options[5])


def test_an_envelope_goes_out_as_it_was_spelled(
    home: Home, tmp_path: Path, server: V1Server
) -> None:
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a", "digest": {"sha256": "ab" * 32}}],
        "predicateType": "https://example.org/p",
        "predicate": {},
    }
    options = write_envelope(tmp_path / "in", envelope(json.dumps(statement).encode()))
    added = home.json("queue", "add", *options)
    assert home.json("queue", "drain")["logged"] == 1
    assert shown(home, added)["entry"]["kindVersion"]["kind"] == "dsse"
    sent = json.loads(server.requests[-1])["spec"]["proposedContent"]["envelope"]
    assert sent == Path(options[1]).read_text()
    finished = tmp_path / "finished.json"
    home.json("queue", "bundle", added["id"], "--output", finished)
    home.json("verify", "sha256:" + "ab" * 32, "--bundle", finished, "--key", options[3])


def test_what_it_had_already_it_hands_out_by_its_id(home: Home, tmp_path: Path) -> None:
    home.json("tenant", "add", "other")
    options = write_artifact(tmp_path / "in", b"one")
    first = home.json("queue", "add", *options)
    second = home.json("queue", "add", *options, "--tenant", "other")
    drained = home.json("queue", "drain")
    assert (drained["logged"], drained["duplicates"]) == (2, 1)
    entries = [shown(home, one)["entry"] for one in (first, second)]
    assert entries[0]["logIndex"] == entries[1]["logIndex"]


def test_what_is_made_for_a_v2_log_waits(home: Home, tmp_path: Path) -> None:
    options = write_artifact(tmp_path / "in", b"one")
    home.json("queue", "add", *options, "--api-version", "2")
    code, _, err = home.run("queue", "drain")
    assert code == 0
    assert "1 items are for another API version" in err


@pytest.mark.parametrize("locked", [False, True])
def test_an_answer_from_a_tree_that_began_after_the_last_sync(
    home: Home, tmp_path: Path, server: V1Server, locked: bool
) -> None:
    home.json("queue", "add", *write_artifact(tmp_path / "in", b"one"))
    home.json("queue", "drain")
    with closing(open_store(home.path, write=True)) as store:
        log = require_log(store, server.log.origin)
        note = server.entries[0].inclusion_proof
        assert note is not None
        signed = open_checkpoint(note.checkpoint.encode(), log.keys, log.origin)
        Mirror(store, log).accept(signed, Arrival("direct", server.url, 0), {})
    server.log.origin = f"{server.log.origin.rpartition(' ')[0]} 77"
    home.json("queue", "add", *write_artifact(tmp_path / "in2", b"two"))
    if locked:
        with home.app.fresh().locked():
            assert home.json("queue", "drain")["logged"] == 1
    else:
        assert home.json("queue", "drain")["logged"] == 1


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b'{"x":{}}', b'{"%s":{}}' % (b"a" * 64), b'{"a":1,"b":2}', b'{"%s":7}'],
)
def test_what_is_no_answer_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_v1_answer(raw)


def test_entry_ids_are_found_where_servers_put_them() -> None:
    id_ = "108e9186e8c5677a" + "ab" * 32
    for text in (f"/api/v1/log/entries/{id_}", f"https://h/api/v1/log/entries/{id_}/", id_[16:]):
        assert parse_entry_id(text) in (id_, id_[16:])
    assert parse_entry_id(f"an equivalent entry already exists with UUID {id_}") == id_
    with pytest.raises(MalformedError):
        parse_entry_id("/api/v1/log/entries/zz")
