"""Who signs for a role of TUF, over random sets of keys under random ids and spellings.

What counts is worked out here from numbers alone: a number is a key, whatever id it has and
however a root spells it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, Key, Signature, SSlibKey
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from appliance.errors import SignatureError
from appliance.fetch.tuf_metadata import Verified, verify_chain

EXPIRES = datetime(2100, 1, 1, tzinfo=UTC)
ROLES = ("root", "timestamp", "snapshot", "targets")
PAYLOADS: dict[str, type[Timestamp] | type[Snapshot] | type[Targets]] = {
    "timestamp": Timestamp,
    "snapshot": Snapshot,
    "targets": Targets,
}
SIGNERS = [
    *(CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2, 3)),
    *(CryptoSigner(ec.derive_private_key(n, ec.SECP256R1())) for n in (4, 5)),
]
N_SPELLINGS = 5
# To explain a failure takes a minute, to find and shrink it a second.
WITHOUT_EXPLAINING = (Phase.explicit, Phase.generate, Phase.shrink)

# A key as a root lists it: which key, its id there, how it is spelled.
listed = st.tuples(
    st.integers(0, len(SIGNERS) - 1),
    st.text("abcdef0123456789", min_size=1, max_size=2),
    st.integers(0, N_SPELLINGS - 1),
)
role_keys = st.lists(listed, min_size=1, max_size=4, unique_by=lambda one: one[1])
roles = st.fixed_dictionaries(
    {role: st.tuples(role_keys, st.sampled_from((1, 1, 1, 2, 2, 3))) for role in ROLES}
)
signers = st.sets(st.integers(0, len(SIGNERS) - 1), min_size=2)
QUICK = settings(max_examples=30, deadline=None, phases=WITHOUT_EXPLAINING)
Listed = tuple[int, str, int]
Roles = dict[str, tuple[list[Listed], int]]


def spelled(number: int, spelling: int) -> str:
    """Write a public key in one of the ways that all verify with it."""
    own = SIGNERS[number].public_key
    public = str(own.keyval["public"])
    if own.keytype == "ed25519":
        pairs = [public[at : at + 2] for at in range(0, 64, 2)]
        return (public, public.upper(), f" {public}", " ".join(pairs), f"{public}\n")[spelling]
    return (
        public,
        public.strip(),
        f"\n{public}",
        f"a note\n{public}",
        public.replace("\n", "\r\n"),
    )[spelling]


def key_of(one: Listed) -> Key:
    number, key_id, spelling = one
    own = SIGNERS[number].public_key
    return SSlibKey(key_id, own.keytype, own.scheme, {"public": spelled(number, spelling)})


def unique_ids(asked: Roles) -> Roles:
    """Give each id to one key only, as a root has to: the same id elsewhere is the first's."""
    first: dict[str, Listed] = {}
    return {
        role: ([first.setdefault(one[1], one) for one in keys], threshold)
        for role, (keys, threshold) in asked.items()
    }


def root_of(version: int, asked: Roles) -> Root:
    root = Root(version=version, expires=EXPIRES, consistent_snapshot=True)
    for role, (keys, threshold) in asked.items():
        for one in keys:
            root.add_key(key_of(one), role)
        root.roles[role].threshold = threshold
    return root


def signed(payload: Any, who: set[int], ids: Iterable[Listed]) -> bytes:
    """Sign with these keys, once under each id that any root has for them."""
    metadata: Metadata[Any] = Metadata(payload)
    for number, key_id, _ in ids:
        if number in who:
            value = SIGNERS[number].sign(metadata.signed_bytes).signature
            metadata.signatures[key_id] = Signature(key_id, value)
    return metadata.to_bytes()


def is_enough(asked: Roles, role: str, who: set[int]) -> bool:
    keys, threshold = asked[role]
    return len({number for number, _, _ in keys} & who) >= threshold


def ids(*asked: Roles) -> list[Listed]:
    return [one for roles_of in asked for keys, _ in roles_of.values() for one in keys]


def verify(*raw: bytes) -> tuple[Verified, ...]:
    n_roots = len(raw) - len(PAYLOADS)
    roots, others = verify_chain(raw[:n_roots], dict(zip(PAYLOADS, raw[n_roots:], strict=True)))
    return (*roots, *others)


@QUICK
@given(roles, st.fixed_dictionaries(dict.fromkeys(ROLES, signers)))
def test_each_role_is_signed_by_enough_of_its_own_keys(
    asked: Roles, signing: dict[str, set[int]]
) -> None:
    asked = unique_ids(asked)
    payloads = {role: made(version=1, expires=EXPIRES) for role, made in PAYLOADS.items()}
    raw = [signed(root_of(1, asked), signing["root"], ids(asked))]
    raw += [signed(payload, signing[role], ids(asked)) for role, payload in payloads.items()]
    if all(is_enough(asked, role, signing[role]) for role in ROLES):
        assert [one.role for one in verify(*raw)] == [*ROLES]
    else:
        with pytest.raises(SignatureError) as caught:
            verify(*raw)
        assert caught.value.reason == "tuf-signature"


root_keys = st.tuples(
    st.lists(listed, min_size=1, max_size=4, unique_by=lambda one: one[1]), st.integers(1, 3)
)


@QUICK
@given(root_keys, root_keys, signers)
def test_a_next_root_is_signed_by_enough_keys_of_both(
    before: tuple[list[Listed], int], after: tuple[list[Listed], int], who: set[int]
) -> None:
    """Of both by their own lists: what the new root calls a key says nothing for the old one."""
    everybody = set(range(len(SIGNERS)))
    anybody: Roles = dict.fromkeys(PAYLOADS, ([(0, "zz", 0)], 1))
    old, new = anybody | {"root": before}, anybody | {"root": after}
    raw = [signed(root_of(1, old), everybody, ids(old))]
    # An id that both use for different keys can carry one signature: the new root's.
    taken = {one[1]: one for one in (*before[0], *after[0])}
    raw.append(signed(root_of(2, new), who, taken.values()))
    raw += [
        signed(made(version=1, expires=EXPIRES), {0}, [(0, "zz", 0)]) for made in PAYLOADS.values()
    ]
    signs = {(one[0], one[1]) for one in taken.values() if one[0] in who}

    def enough(keys: list[Listed], threshold: int) -> bool:
        return len({one[0] for one in keys if (one[0], one[1]) in signs}) >= threshold

    n_before = len({one[0] for one in before[0]})
    if n_before >= before[1] and enough(*before) and enough(*after):
        assert [one.version for one in verify(*raw)[:2]] == [1, 2]
    else:
        with pytest.raises(SignatureError):
            verify(*raw)
