"""Thresholds, revocations and roles, over random sets of keys under random names.

What counts is worked out here from seeds alone: a seed is a key, whatever it is called.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from appliance.errors import ApplianceError, DigestError, RefusedError, SignatureError
from appliance.jobs.home.init import init_home
from appliance.jobs.home.journal import check_exported, export_journal
from appliance.jobs.log_keys import retire_key
from appliance.jobs.transfer.exporters import open_header_note, open_own_note, open_receipt_note
from appliance.store.database import Store, open_store
from appliance.store.home.journal import append_event
from appliance.store.mirror.logs import add_log, require_log
from appliance.store.revoked_keys import Revocation
from appliance.store.transfer.exporters import revoke
from appliance.store.transfer.transfers import EXPORTER, RECEIPT, enrol, exporter_keys
from appliance.tlog.checkpoint import Checkpoint, open_checkpoint
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.note import SigningKey, sign_note
from appliance.tlog.note_keys import ed25519_key

NOW = 1_760_000_000
SEEDS = [bytes([number]) * 32 for number in range(1, 6)]
names = st.text("abcd.-", min_size=1, max_size=6)
keys = st.tuples(names, st.integers(0, len(SEEDS) - 1))
QUICK = settings(max_examples=25, deadline=None)


def signing(key: tuple[str, int]) -> SigningKey:
    return SigningKey(key[0], SEEDS[key[1]])


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        init_home(home, "site.example", "connected", lambda n: b"\x09" * n)
        opened = open_store(home, write=True)
        yield opened
        opened.close()


@contextmanager
def forgotten(store: Store) -> Iterator[None]:
    """Undo what an example changes."""
    with store.atomic(dry_run=True):
        yield
    store.forget()


class Enrolled:
    """What a store was told in random order, and what follows from it by seeds."""

    def __init__(self, store: Store, story: list[tuple[str, tuple[str, int]]]) -> None:
        self.known: dict[str, dict[int, str]] = {EXPORTER: {}, RECEIPT: {}}  # names, by seed
        self.revoked: set[int] = set()
        for what, key in story:
            verifier, (name, seed) = signing(key).verifier, key
            if what == "revoke":
                revoke(store, Revocation(verifier, NOW, "lost"))
                self.revoked.add(seed)
                for role in self.known.values():
                    role.pop(seed, None)
                continue
            called = {role[seed] for role in self.known.values() if seed in role}
            if seed in self.revoked or called - {name}:
                reason = "revoked-key" if seed in self.revoked else "key-has-another-name"
                with pytest.raises(RefusedError) as caught:
                    enrol(store, verifier, [what], NOW)
                assert caught.value.reason == reason
            else:
                with suppress(RefusedError):  # the same role again
                    enrol(store, verifier, [what], NOW)
                self.known[what][seed] = name

    def counted(self, roles: tuple[str, ...], signers: list[tuple[str, int]]) -> set[int]:
        """Return the seeds that count: a line is by its name and its key."""
        return {
            seed
            for role in roles
            for seed, name in self.known[role].items()
            if (name, seed) in signers
        }


stories = st.lists(
    st.tuples(st.sampled_from([EXPORTER, EXPORTER, RECEIPT, "revoke"]), keys), max_size=8
)
headers = st.lists(keys, min_size=1, max_size=6, unique=True)


@QUICK
@given(stories, headers, st.integers(1, 4))
def test_a_header_counts_exporters_by_key(
    store: Store,
    story: list[tuple[str, tuple[str, int]]],
    signers: list[tuple[str, int]],
    threshold: int,
) -> None:
    with forgotten(store):
        enrolled = Enrolled(store, story)
        note = sign_note("header\n", [signing(one) for one in signers])
        counts = enrolled.counted((EXPORTER,), signers)
        if len(counts) >= threshold:
            assert len(open_header_note(store, note, threshold).signers) == len(counts)
        else:
            with pytest.raises(RefusedError) as caught:
                open_header_note(store, note, threshold)
            assert caught.value.reason in ("below-threshold", "unknown-exporter", "revoked-key")
        assert {SEEDS.index(_seed(one)) for one in exporter_keys(store)} == set(
            enrolled.known[EXPORTER]
        )


def _seed(key: Any) -> bytes:
    return next(seed for seed in SEEDS if SigningKey("x", seed).verifier.key == key.key)


@QUICK
@given(stories, headers)
def test_a_receipt_is_anybodys_of_either_role_and_nobody_elses(
    store: Store, story: list[tuple[str, tuple[str, int]]], signers: list[tuple[str, int]]
) -> None:
    with forgotten(store):
        enrolled = Enrolled(store, story)
        note = sign_note("receipt\n", [signing(one) for one in signers])
        counts = enrolled.counted((EXPORTER, RECEIPT), signers)
        try:
            signed = open_receipt_note(store, note)
        except RefusedError:
            assert not counts
        else:
            assert counts and len(signed.signers) == len(counts)


@QUICK
@given(stories, headers, keys)
def test_who_countersigns_needs_an_exporter_or_its_own_signature_before(
    store: Store,
    story: list[tuple[str, tuple[str, int]]],
    signers: list[tuple[str, int]],
    own: tuple[str, int],
) -> None:
    with forgotten(store):
        enrolled = Enrolled(store, story)
        note = sign_note("header\n", [signing(one) for one in signers])
        may = bool(enrolled.counted((EXPORTER,), signers)) or own in signers
        try:
            open_own_note(store, note, signing(own).verifier)
        except ApplianceError:
            assert not may
        else:
            assert may


of_sites = st.tuples(st.sampled_from(["site.example", "a"]), st.integers(0, len(SEEDS) - 1))
readings = st.lists(of_sites, min_size=1, max_size=4, unique=True)


@QUICK
@given(readings, readings)
def test_a_journal_opens_with_its_own_sites_key_if_that_signed_it_and_no_other(
    store: Store, signers: list[tuple[str, int]], readers: list[tuple[str, int]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "journal.jsonl"
        with store.atomic():
            append_event(store, NOW, "test", {})
        export_journal(store, file, lambda text: sign_note(text, [signing(one) for one in signers]))
        keys = tuple(signing(one).verifier for one in readers)
        # A key that signed under two names is taken under the first of them.
        assume(len({number for _, number in signers}) == len(signers))
        if any(name == "site.example" for name, _ in set(signers) & set(readers)):
            check_exported(file, keys)
        else:
            with pytest.raises((SignatureError, RefusedError, DigestError)):
                check_exported(file, keys)


@QUICK
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True),
    st.dictionaries(st.integers(0, 4), st.integers(0, 9), max_size=5),
    st.sets(st.integers(0, 4), max_size=2),
    st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True),
    st.integers(1, 9),
)
def test_a_logs_keys_sign_until_they_are_retired_and_never_once_revoked(
    store: Store,
    pinned: list[int],
    retired: dict[int, int],
    revoked: set[int],
    signers: list[int],
    size: int,
) -> None:
    origin = "log.example"
    with forgotten(store):
        own = {seed: SigningKey(origin, SEEDS[seed]) for seed in range(len(SEEDS))}
        for seed in pinned:
            add_log(store, origin, 2, own[seed].verifier.spki, NOW)
        log = require_log(store, origin)
        for seed in retired:
            if seed in pinned:
                # Nothing was accepted: a key that is retired has signed nothing.
                retire_key(store, log, own[seed].verifier, NOW, "rotated")
        for seed in revoked:
            other = ed25519_key("somebody.else", own[seed].verifier.key)
            revoke(store, Revocation(other, NOW, "lost"))
            with pytest.raises(RefusedError):
                add_log(store, origin, 2, own[seed].verifier.spki, NOW)
        store.forget()
        log = require_log(store, origin)
        note = sign_note(
            str(Checkpoint(origin, TreeHead(size, Hash(bytes(32))))),
            [own[seed] for seed in signers],
        )
        good = set(pinned) & set(signers) - set(retired)
        if good:
            found = open_checkpoint(note, log.keys, origin).signers
            assert {SEEDS.index(_seed(one)) for one in found} >= good
        else:
            with pytest.raises((RefusedError, SignatureError)):
                open_checkpoint(note, log.keys, origin)
