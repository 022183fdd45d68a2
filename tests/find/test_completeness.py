"""Whatever is in the log is found: by the index, by reading everything, and by what was made.

The oracle is how the entries were made, not how they are read. ATTESTOR_ENTRIES=1000000 and
ATTESTOR_QUERIES=1000 make a log of that size and ask so many of each kind.
"""

from __future__ import annotations

import itertools
import os
import random
import re
from array import array
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from appliance.jobs.find.criteria import Criteria, matches, proposed
from appliance.jobs.find.search import coverage_of, rescan, search
from appliance.jobs.mirror.prove import show_entry
from appliance.jobs.progress import SILENT, unseen
from appliance.rekor.entry_facts import EntryFacts, read_entry
from appliance.runs.find import build_index
from appliance.runs.session import Session
from appliance.store.find.index import Index, open_index
from appliance.store.mirror.logs import require_log
from appliance.store.mirror.mirror import Mirror
from tests.find.made_up import ISSUER, OWNER, SHARED, Holder, Maker, Truth
from tests.find.stored_log import BATCH, ORIGIN, StoredLog

ENTRIES: Final = int(os.environ.get("ATTESTOR_ENTRIES", "600"))
QUERIES: Final = int(os.environ.get("ATTESTOR_QUERIES", "6"))
READ_AGAIN: Final = 12  # entries of a question; of more the index is asked alone
JUDGED: Final = 600  # entries that are compared with every query, one by one
LONGEST: Final = 40  # prefix in characters
WIDEST: Final = 16  # pattern in characters
KINDS: Final = (
    *("digest", "fingerprint", "identity", "prefix", "pattern", "issuer", "commit", "claim"),
    "together",
)


class Question(NamedTuple):
    """What is asked for, and what an entry has that is meant: by its making."""

    kind: str
    value: Hashable
    criteria: Criteria


def question(kind: str, chance: random.Random, truth: Truth, holder: Holder) -> Question:
    """Ask for something of an entry, or now and then for what is not there."""
    value: Hashable
    name = chance.choice(holder.names or ("nobody@example.com",))
    if kind == "digest":
        value = chance.choice((truth.digest,) * 9 + (sha256(b"not there").digest(),))
        return Question(kind, value, Criteria(digests=(value,)))
    if kind == "fingerprint":
        value = chance.choice(sorted(holder.fingerprints))
        return Question(kind, value, Criteria(fingerprints=(value,)))
    if kind == "identity":
        return Question(kind, name, Criteria(identities=(name,)))
    if kind == "prefix":
        start = name[: chance.randrange(1, min(len(name), LONGEST) + 1)]
        return Question(kind, start, Criteria(prefixes=(start,)))
    if kind == "pattern":
        at = chance.randrange(min(len(name), 30))
        part = name[at : at + chance.randrange(1, WIDEST + 1)]
        return Question(kind, part, Criteria(identity_patterns=(re.escape(part),)))
    if kind == "issuer":
        value = chance.choice(
            (holder.issuer or ISSUER.replace(OWNER, "token-000"),) * 9 + (ISSUER,)
        )
        return Question(kind, value, Criteria(issuers=(value,)))
    commit = chance.choice(holder.commits)
    if kind == "commit":
        return Question(kind, commit, Criteria(commits=(commit,)))
    claim = chance.choice(sorted(holder.claims))
    if kind == "claim":
        return Question(kind, claim, Criteria(claims=(claim,)))
    # All of it in one certificate: another one of the entry does not help.
    criteria = Criteria(identities=(SHARED,), claims=(claim,), commits=(commit,))
    return Question(kind, (claim, commit), criteria)


def said(truth: Truth) -> Iterator[tuple[str, Hashable]]:
    """Yield all that an entry can be asked for and found by, but parts of its names."""
    yield "digest", truth.digest
    for holder in truth.holders:
        yield from (("fingerprint", one) for one in holder.fingerprints)
        yield from (("identity", one) for one in holder.names)
        yield "issuer", holder.issuer
        yield from (("commit", one) for one in holder.commits)
        yield from (("claim", one) for one in holder.claims)
        if SHARED in holder.names:
            yield from (
                ("together", one) for one in itertools.product(holder.claims, holder.commits)
            )


class Oracle:
    """Which entries are meant by which question: each entry is held against all of them."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.asked = {(one.kind, one.value) for one in questions}
        self.parts = {
            kind: [str(value) for asked, value in self.asked if asked == kind]
            for kind in ("prefix", "pattern")
        }
        self.exact: dict[tuple[str, Hashable], array[int]] = defaultdict(partial(array, "I"))
        # Many entries have names with the very same answers.
        self.alike: dict[frozenset[tuple[str, str]], array[int]] = defaultdict(partial(array, "I"))
        self.known: dict[str, frozenset[tuple[str, str]]] = {}

    def add(self, at: int, truth: Truth) -> None:
        for one in set(said(truth)) & self.asked:
            self.exact[one].append(at)
        parts: frozenset[tuple[str, str]] = frozenset()
        for name in {name for holder in truth.holders for name in holder.names}:
            parts |= self.parts_of(name)
        self.alike[parts].append(at)

    def parts_of(self, name: str) -> frozenset[tuple[str, str]]:
        if name not in self.known:
            begins = {("prefix", one) for one in self.parts["prefix"] if name.startswith(one)}
            within = {("pattern", one) for one in self.parts["pattern"] if one in name}
            self.known[name] = frozenset(begins | within)
        return self.known[name]

    def meant(self, question: Question) -> set[int]:
        wanted = (question.kind, question.value)
        if question.kind in self.parts:
            return {at for parts, some in self.alike.items() if wanted in parts for at in some}
        return set(self.exact.get(wanted, ()))


def assert_read(facts: EntryFacts, truth: Truth) -> None:
    """What was read of an entry is what was made, and nothing else."""
    assert bool(facts.unread) == (not truth.digest), facts
    if facts.unread:
        return
    assert [value for _, value in facts.digests] == [truth.digest]
    assert len(facts.signers) == len(truth.holders)
    for signer, holder in zip(facts.signers, truth.holders, strict=True):
        assert {signer.fingerprint, *signer.keys} == holder.fingerprints
        if (certificate := signer.certificate) is None:
            assert not holder.names
            continue
        assert tuple(name for _, name in certificate.identities) == holder.names
        assert certificate.issuers == (holder.issuer,)
        assert {one for one in certificate.claims if one[0] > 8} == holder.claims


def stored(home: Path, maker: Maker) -> list[tuple[Truth, Holder]]:
    """Put the log into a home and index it; return some of its entries to ask for."""
    log, chance = StoredLog(home), random.Random(maker.seed)  # noqa: S311 repeatable
    places = set(chance.sample(range(ENTRIES), min(ENTRIES, 8 * QUERIES + 200)))
    told, waiting = list[tuple[Truth, Holder]](), list[bytes]()
    for at, (body, truth) in enumerate(maker.entries()):
        waiting.append(body)
        if at in places:
            told += [(truth, holder) for holder in truth.holders]
        if len(waiting) == BATCH or at == ENTRIES - 1:
            log.append(waiting)
            waiting.clear()
    build_index(Session(home=home), (), None, unseen)
    return told


def asked(told: Sequence[tuple[Truth, Holder]], chance: random.Random) -> list[Question]:
    of_ci = [one for one in told if one[1].commits]
    return [
        question(kind, chance, *chance.choice(of_ci if kind in KINDS[-3:] else told))
        for kind in KINDS
        for _ in range(QUERIES)
    ]


def assert_found(index: Index, mirror: Mirror, question: Question, meant: set[int]) -> None:
    """The index proposes all that is meant, and what is read again of it is just that."""
    if len(meant) <= READ_AGAIN:
        answer = search(mirror.store, index, [mirror.log], question.criteria, limit=ENTRIES)
        assert [hit.entry_index for hit in answer.hits] == sorted(meant), question
        assert not answer.coverage[0].gaps
        return
    found = proposed(question.criteria, index, mirror.log)
    assert meant <= found, question
    for at in sorted(found - meant)[:READ_AGAIN]:  # hashes that are alike
        assert not matches(question.criteria, read_entry(show_entry(mirror, at).body))


def test_index_rescan_and_what_was_made_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, maker = tmp_path / "home", Maker(17, ENTRIES)
    told = stored(home, maker)
    chance = random.Random(18)  # noqa: S311 repeatable
    questions = asked(told, chance)
    oracle, judged, unread = Oracle(questions), dict[int, EntryFacts](), list[int]()
    sample = set(chance.sample(range(ENTRIES), min(ENTRIES, JUDGED)))
    index = open_index(home, write=False)
    assert index is not None
    # Of a million entries half have the one name that many questions ask for, with others.
    monkeypatch.setattr(index, "with_identity", lru_cache(maxsize=4)(index.with_identity))
    with Session(home=home).reading() as store:
        mirror = Mirror(store, require_log(store, ORIGIN))
        everything = coverage_of(mirror, None)
        assert everything.head is not None and everything.ranges == ((0, ENTRIES),)
        read = rescan(mirror, everything.head, everything.ranges, SILENT)
        for (at, facts), (_, truth) in zip(read, maker.entries(), strict=True):
            assert_read(facts, truth)
            oracle.add(at, truth)
            if not truth.digest:
                unread.append(at)
            if at in sample:
                judged[at] = facts
        assert [at for at, _ in coverage_of(mirror, index).opaque] == unread
        found_of: dict[str, int] = defaultdict(int)
        for one in dict.fromkeys(questions):  # what is drawn again has the same answer
            meant = oracle.meant(one)
            found_of[one.kind] += len(meant)
            assert_found(index, mirror, one, meant)
            for at, facts in judged.items():
                assert matches(one.criteria, facts) == (at in meant), (one, at)
    index.close()
    assert_all_kinds(found_of)


def assert_all_kinds(found_of: Mapping[str, int]) -> None:
    assert all(found_of[kind] for kind in KINDS), found_of
