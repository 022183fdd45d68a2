"""The answers to a batch share what is the same, and are what each alone would be."""

from __future__ import annotations

import pytest

from appliance.jobs.mirror.prove import logged_entry
from appliance.serve.batch_answers import BatchAnswers
from appliance.tlog.checkpoint import Checkpoint, SignedCheckpoint
from appliance.tlog.growth import Edge, grow
from appliance.tlog.merkle import EMPTY_ROOT, TreeHead, leaf_hash
from appliance.tlog.note import SigningKey, sign_note
from appliance.tlog.proof import verify_inclusion
from appliance.tlog.tile import WIDTH, edge_tiles
from appliance.tlog.tile_tree import TileTree

KEY = SigningKey("100%d.log.example", bytes(32))  # a name that looks like a format


@pytest.mark.parametrize("before", [0, 1, 255, 256, 300])
@pytest.mark.parametrize("new", [1, 2, 255, 256])
def test_an_answer_is_byte_for_byte_what_it_is_alone_and_proves_its_entry(
    before: int, new: int
) -> None:
    bodies = [b"body %d" % number for number in range(before + new)]
    edge = Edge(TreeHead(0, EMPTY_ROOT), {}, ())
    if before:
        grown = grow(edge, bodies[:before])
        tiles = {tile: grown.tiles[tile] for tile in edge_tiles(before)}
        edge = Edge(grown.head, tiles, tuple(bodies[before - before % WIDTH : before]))
    growth = grow(edge, bodies[before:])
    tree = TileTree(growth.head)
    tree.load(growth.tiles, lambda _: {**edge.tiles, **growth.tiles})
    checkpoint = Checkpoint(KEY.name, growth.head)
    signed = SignedCheckpoint(checkpoint, sign_note(str(checkpoint), [KEY]), (KEY.verifier,))
    answers = BatchAnswers(signed, tree)
    for index in (before + new - 1, *range(before, before + new)):  # whichever comes first
        body = bodies[index]
        proof = tree.prove_inclusion(index, lambda _: {})
        verify_inclusion(index, leaf_hash(body), growth.head, proof)
        alone = logged_entry(index, body, signed, proof)
        assert answers.entry(index, body) == alone
        assert answers.json(index, body) == alone.json
