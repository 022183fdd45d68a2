"""What an outsider writes beneath a checkpoint, and how often a log signs one, store nothing."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import DivergenceError
from appliance.jobs.divergence.gossip import compare_note, compare_waiting, keep_note
from appliance.store.database import Store
from appliance.store.divergence.evidence import evidence_of
from appliance.store.divergence.seen import waiting_seen
from appliance.store.mirror.logs import add_log, put_policy, require_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.cosignature import cosign, cosigner_key
from appliance.tlog.note import SigningKey, add_signatures, parse_note, sign_note
from tests.mirror.mirrors import NOW, make_mirror, sync_from
from tests.simulator import SimulatedLog

WITNESS = SigningKey("witness.example", b"w" * 32)
STRANGER = SigningKey("stranger.example", b"s" * 32)


def with_junk(note: bytes, seed: int, lines: int = 60) -> bytes:
    """Return the note with lines that nobody's key made, as an outsider would write them."""
    junk = (f"stranger{seed}.example {b64encode(os.urandom(76)).decode()}" for _ in range(lines))
    return note + "".join(f"\N{EM DASH} {line}\n" for line in junk).encode()


def cosigned(log: SimulatedLog, *by: tuple[SigningKey, int]) -> bytes:
    bare = open_checkpoint(log.checkpoint_at(log.tree_size), [log.key], log.origin)
    parsed = parse_note(bare.note)
    return add_signatures(parsed.text, [*parsed.signatures, *(cosign(bare, *one) for one in by)])


class Serving:
    """The log, with another note for its checkpoint."""

    def __init__(self, log: SimulatedLog, note: bytes) -> None:
        self._log, self._note = log, note
        self.description, self.exchange = log.description, log.exchange
        self.tiles, self.entry_bundles = log.tiles, log.entry_bundles

    def checkpoint(self) -> bytes:
        return self._note


@pytest.fixture
def log() -> SimulatedLog:
    made = SimulatedLog()
    made.grow(300)
    return made


@pytest.fixture
def mirror(tmp_path: Path, log: SimulatedLog) -> Iterator[Mirror]:
    made = make_mirror(tmp_path / "home", log)
    sync_from(made, log)
    yield made
    made.store.close()


def n_bytes(store: Store) -> int:
    """Count what is kept of notes, wherever that is."""
    sizes = (
        "SELECT sum(length(note)) AS n FROM checkpoint_note",
        "SELECT sum(length(note)) AS n FROM seen_checkpoint",
        "SELECT sum(length(ours) + length(theirs)) AS n FROM evidence",
    )
    return sum(store.rows(one)[0]["n"] or 0 for one in sizes)


@pytest.mark.parametrize("size", [77, 300, 400])  # a prefix; our head; beyond it
def test_junk_beneath_a_note_seen_elsewhere_adds_nothing(
    mirror: Mirror, log: SimulatedLog, size: int
) -> None:
    log.stall()
    log.grow(200)
    compare_note(mirror.store, log.checkpoint_at(size), "mail", NOW)
    before = n_bytes(mirror.store)
    for seed in range(5):
        compare_note(mirror.store, with_junk(log.checkpoint_at(size), seed), "mail", NOW + seed)
        keep_note(mirror.store, with_junk(log.checkpoint_at(400), seed), "mail", NOW + seed)
    compare_waiting(mirror, NOW + 9)
    # At most one note with junk: of the head that nothing was known of before.
    assert n_bytes(mirror.store) - before <= len(with_junk(log.checkpoint_at(400), 0))
    assert len(waiting_seen(mirror.store, mirror.log)) == 1


def test_a_server_that_adds_junk_has_one_note_of_it_kept(mirror: Mirror, log: SimulatedLog) -> None:
    for seed in range(1, 8):
        note = with_junk(log.checkpoint(), seed)
        sync_from(mirror, Serving(log, note), now=NOW + seed)
    first, last = mirror.history.notes(300)
    assert (first, last) == (log.checkpoint_at(300), note)


def test_what_a_stranger_cosigned_last_travels_on(mirror: Mirror, log: SimulatedLog) -> None:
    for at in range(1, 6):
        sync_from(mirror, Serving(log, cosigned(log, (STRANGER, 99 + at))), now=NOW + at)
    assert len(mirror.history.notes(300)) == 2
    assert mirror.history.newest_note(300) == cosigned(log, (STRANGER, 104))


def test_a_quiet_log_keeps_one_cosignature_of_each_witness(
    mirror: Mirror, log: SimulatedLog
) -> None:
    witness = cosigner_key(WITNESS).vkey
    with mirror.store.atomic():
        put_policy(mirror.store, mirror.log, f"witness w {witness}\nquorum w\n".encode())
    mirror = Mirror(mirror.store, require_log(mirror.store, log.origin))
    for at in range(1, 6):
        sync_from(mirror, Serving(log, cosigned(log, (WITNESS, NOW - 9 + at))), now=NOW + at)
    newest = cosigned(log, (WITNESS, NOW - 4))
    assert mirror.history.notes(300) == [log.checkpoint_at(300), newest]
    # An older one that turns up later takes nothing away.
    compare_note(mirror.store, cosigned(log, (WITNESS, NOW - 9)), "mail", NOW + 9)
    assert mirror.history.notes(300) == [log.checkpoint_at(300), newest]


def test_a_log_that_dates_its_checkpoints_does_not_fill_the_store(
    mirror: Mirror, log: SimulatedLog
) -> None:
    for at in range(1, 6):
        note = log.checkpoint_at(300, f"Timestamp: {at}")
        sync_from(mirror, Serving(log, note), now=NOW + at)
    assert mirror.history.notes(300) == [log.checkpoint_at(300), note]
    frozen = log.checkpoint_at(300, "Log frozen \N{EM DASH} Thu Jan  1 00:00:00 UTC 2026")
    for at, one in enumerate((frozen, note, log.checkpoint_at(300, "Timestamp: 9")), start=6):
        sync_from(mirror, Serving(log, one), now=NOW + at)
    assert frozen in mirror.history.notes(300)
    assert mirror.history.newest_note(300) == frozen
    assert len(mirror.history.notes(300)) == 3


def test_ten_copies_of_one_contradiction_are_one_piece_of_evidence(
    mirror: Mirror, log: SimulatedLog
) -> None:
    twin = log.fork(at=5)
    for seed in range(10):
        note = with_junk(twin.checkpoint_at(77), seed)
        with pytest.raises(DivergenceError) as caught:
            compare_note(mirror.store, note, f"mail {seed}", NOW + seed)
        assert caught.value.evidence_id == 1
    assert len(evidence_of(mirror.store, mirror.log)) == 1
    # A second story is a second piece.
    with pytest.raises(DivergenceError):
        compare_note(mirror.store, log.fork(at=6).checkpoint_at(77), "mail", NOW)
    assert len(evidence_of(mirror.store, mirror.log)) == 2


def test_a_waiting_note_of_a_key_that_was_retired_holds_up_no_other(
    mirror: Mirror, log: SimulatedLog
) -> None:
    signer = SigningKey(log.origin, b"o" * 32)
    with mirror.store.atomic():
        spki = signer.verifier.spki
        both = add_log(mirror.store, log.origin, mirror.log.api_version, spki)
    text = parse_note(log.checkpoint_at(50)).text
    keep_note(mirror.store, sign_note(text, [signer]), "mail", NOW)
    keep_note(mirror.store, log.checkpoint_at(77), "mail", NOW)
    with mirror.store.atomic():
        mirror.store.execute("UPDATE log_key SET retired_size = 40 WHERE spki = ?", [spki])
    mirror = Mirror(mirror.store, require_log(mirror.store, both.origin))
    compare_waiting(mirror, NOW + 9)
    assert waiting_seen(mirror.store, mirror.log) == ()
    assert mirror.history.notes(77) == [log.checkpoint_at(77)]
    assert mirror.history.notes(50) == []
