"""Whatever is in the log is found: by the index, by reading everything, and by what was made.

The oracle is how the entries were made, not how they are read. ATTESTOR_ENTRIES=1000000 and
ATTESTOR_QUERIES=1000 make a log of that size and ask so many of each kind.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from appliance.jobs.find.criteria import Criteria, matches
from appliance.jobs.find.search import coverage_of, rescan, search
from appliance.jobs.progress import SILENT
from appliance.store.find.index import create_index, open_index
from tests.cli.mirrored import MirroredHome
from tests.find.made_up import ISSUER, SHARED, Holder, Truth, made_up

ENTRIES: Final = int(os.environ.get("ATTESTOR_ENTRIES", "300"))
QUERIES: Final = int(os.environ.get("ATTESTOR_QUERIES", "4"))
RESCANNED: Final = 12  # of each kind: by reading everything

Asked = tuple[Criteria, Callable[[Truth], bool]]


def by_holder(criteria: Criteria, holds: Callable[[Holder], bool]) -> Asked:
    return criteria, lambda truth: any(map(holds, truth.holders))


def asked(kind: str, chance: random.Random, truth: list[Truth]) -> Asked:
    """Choose something to ask for that is there, mostly, and say when an entry is meant."""
    of_ci = kind in ("commit", "claim", "together")
    one, holder = chance.choice(
        [
            (entry, holder)
            for entry in truth
            for holder in entry.holders
            if holder.commits or not of_ci
        ]
    )
    names = holder.names or ("nobody@example.com",)
    name = chance.choice(names)
    if kind == "digest":
        wanted = chance.choice((one.digest, sha256(b"not there").digest()))
        return Criteria(digests=(wanted,)), lambda truth: truth.digest == wanted
    if kind == "fingerprint":
        wanted = chance.choice(sorted(holder.fingerprints))
        return by_holder(Criteria(fingerprints=(wanted,)), lambda at: wanted in at.fingerprints)
    if kind == "identity":
        return by_holder(Criteria(identities=(name,)), lambda at: name in at.names)
    if kind == "prefix":
        start = name[: chance.randrange(1, min(len(name), 40) + 1)]
        return by_holder(
            Criteria(prefixes=(start,)), lambda at: any(text.startswith(start) for text in at.names)
        )
    if kind == "pattern":
        at = chance.randrange(min(len(name), 30))
        part = name[at : at + chance.randrange(1, 12)]
        return by_holder(
            Criteria(identity_patterns=(re.escape(part),)),
            lambda at: any(part in text for text in at.names),
        )
    if kind == "issuer":
        wanted_issuer = chance.choice((ISSUER, "https://nobody.example"))
        return by_holder(Criteria(issuers=(wanted_issuer,)), lambda at: at.issuer == wanted_issuer)
    commit = chance.choice(holder.commits)
    if kind == "commit":
        return by_holder(Criteria(commits=(commit,)), lambda at: commit in at.commits)
    number, text = chance.choice(sorted(holder.claims))
    if kind == "claim":
        return by_holder(Criteria(claims=((number, text),)), lambda at: (number, text) in at.claims)
    # All of it in one certificate: another one of the entry does not help.
    return by_holder(
        Criteria(identities=(SHARED,), claims=((number, text),), commits=(commit,)),
        lambda at: SHARED in at.names and (number, text) in at.claims and commit in at.commits,
    )


KINDS: Final = (
    *("digest", "fingerprint", "identity", "prefix", "pattern", "issuer", "commit", "claim"),
    "together",
)


def test_index_rescan_and_what_was_made_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = MirroredHome(tmp_path / "home", capsys, "connected")
    chance = random.Random(17)  # noqa: S311 repeatable
    made = list(made_up(chance, ENTRIES))
    truth = [true for _, true in made]
    home.log.grow([body for body, _ in made])
    home.sync(0)
    create_index(home.path).close()
    assert home.run("index", "build")[0] == 0
    questions = [(kind, *asked(kind, chance, truth)) for kind in KINDS for _ in range(QUERIES)]
    unread = [at for at, one in enumerate(truth) if not one.digest]
    index = open_index(home.path, write=False)
    assert index is not None
    found_of: dict[str, int] = dict.fromkeys(KINDS, 0)
    with home.mirror() as mirror:
        expected = []
        for kind, criteria, is_meant in questions:
            wanted = [at for at, one in enumerate(truth) if is_meant(one)]
            answer = search(mirror.store, index, [mirror.log], criteria, limit=ENTRIES)
            [coverage] = answer.coverage
            assert [hit.entry_index for hit in answer.hits] == wanted, (kind, criteria)
            assert [at for at, _ in coverage.opaque] == unread
            assert not coverage.gaps
            found_of[kind] += len(wanted)
            expected.append(set(wanted))
        index.close()
        # Reading everything, once for some of all kinds.
        again = [at for at in range(len(questions)) if at % QUERIES < RESCANNED]
        rescanned: dict[int, set[int]] = {at: set() for at in again}
        everything = coverage_of(mirror, None)
        assert everything.head is not None
        for entry_index, facts in rescan(mirror, everything.head, everything.ranges, SILENT):
            for at in again:
                if matches(questions[at][1], facts):
                    rescanned[at].add(entry_index)
        for at in again:
            assert rescanned[at] == expected[at], questions[at][:2]
    assert all(found_of.values()), found_of
