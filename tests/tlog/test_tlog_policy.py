"""Witness policies: the specification's example, its every rule, every quorum by brute force."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LimitError, MalformedError
from appliance.tlog.cosignature import cosigner_key
from appliance.tlog.note import SigningKey
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.tlog_policy import (
    MAX_POLICY_BYTES,
    Group,
    PolicyLog,
    TlogPolicy,
    Witness,
    parse_tlog_policy,
)
from tests.shared import vectors


def signer(name: str) -> SigningKey:
    return SigningKey(name, name.encode().ljust(32, b"."))


def witness_key(name: str) -> VerifierKey:
    return cosigner_key(signer(name))


def vkey(name: str) -> str:
    return witness_key(name).vkey


LOG = signer("log.example").verifier
EXAMPLE = f"""
log {LOG.vkey}

witness X1 {vkey("X1")}
witness X2 {vkey("X2")}
witness X3 {vkey("X3")}
group X-witnesses 2 X1 X2 X3

witness Y1 {vkey("Y1")}
witness Y2 {vkey("Y2")}
witness Y3 {vkey("Y3")}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def parse(text: str) -> TlogPolicy:
    return parse_tlog_policy(text.encode("utf-8", errors="surrogateescape"))


def test_the_example_of_the_specification_parses() -> None:
    policy = parse(EXAMPLE)
    assert policy.log_keys == (LOG,)
    assert policy.witness_keys == tuple(map(witness_key, ["X1", "X2", "X3", "Y1", "Y2", "Y3"]))
    assert policy.groups == (
        Group("X-witnesses", 2, ("X1", "X2", "X3")),
        Group("Y-witnesses", 1, ("Y1", "Y2", "Y3")),
        Group("X-and-Y", 2, ("X-witnesses", "Y-witnesses")),
    )
    assert policy.quorum == "X-and-Y"


def test_the_example_is_met_by_two_x_and_one_y() -> None:
    policy = parse(EXAMPLE)
    names = ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
    for present in product([False, True], repeat=6):
        cosigners = {witness_key(n) for n, p in zip(names, present, strict=True) if p}
        met = sum(present[:3]) >= 2 and sum(present[3:]) >= 1
        assert policy.quorum_met(cosigners) == met


@pytest.mark.parametrize("threshold", ["any", "all", "1", "2", "3", "4", "5"])
def test_a_group_is_met_by_enough_of_its_members(threshold: str) -> None:
    names = ["a", "b", "c", "d", "e"]
    lines = [f"witness {name} {vkey(name)}" for name in names]
    policy = parse("\n".join([*lines, f"group g {threshold} a b c d e", "quorum g", ""]))
    needed = {"any": 1, "all": 5}.get(threshold) or int(threshold)
    for count in range(6):
        for cosigners in combinations(names, count):
            assert policy.quorum_met(set(map(witness_key, cosigners))) == (count >= needed)


def test_quorum_none_asks_for_nobody() -> None:
    policy = parse("quorum none\n")
    assert policy == TlogPolicy((), (), (), "none")
    assert policy.quorum_met(())


def test_a_single_witness_is_a_quorum() -> None:
    policy = parse(f"witness w {vkey('w')}\nquorum w\n")
    assert policy.quorum_met([witness_key("w")])
    assert not policy.quorum_met([])


def test_a_stranger_or_the_log_itself_counts_for_nothing() -> None:
    policy = parse(f"log {LOG.vkey}\nwitness w {vkey('w')}\nquorum w\n")
    log_as_witness = cosigner_key(signer("log.example"))
    assert not policy.quorum_met([witness_key("stranger"), LOG, log_as_witness])
    # The same public key under another name, or of another type, is another signer.
    assert not policy.quorum_met([signer("w").verifier])


def test_the_real_keys_make_a_policy() -> None:
    logs = [key["vkey"] for key in vectors()["keys"] if "rekor" in key["name"]]
    witnesses = vectors()["witness_vkeys"]
    lines = [f"log {one} https://log.example/" for one in logs]
    lines += [f"witness w{n} {one} https://w.example/" for n, one in enumerate(witnesses)]
    policy = parse("\n".join([*lines, "group g 2 w0 w1 w2", "quorum g", ""]))
    assert [log.key.vkey for log in policy.logs] == logs
    assert [witness.key.vkey for witness in policy.witnesses] == witnesses
    assert {log.url for log in policy.logs} == {"https://log.example/"}


def test_space_tabs_comments_and_empty_lines_do_not_matter() -> None:
    plain = parse(f"log {LOG.vkey}\nwitness w {vkey('w')} u\nquorum w\n")
    assert plain == TlogPolicy((PolicyLog(LOG),), (Witness("w", witness_key("w"), "u"),), (), "w")
    spaced = (
        f"# comment\n \t# another\n#\n\n \t \n\tlog \t {LOG.vkey} \n"
        f"  witness\tw\t{vkey('w')}  u\t\n"
        "quorum w\n# after \u00e9\n"
    )
    assert parse(spaced) == plain


def test_logs_and_witnesses_may_follow_the_quorum() -> None:
    policy = parse(f"quorum none\nlog {LOG.vkey}\nwitness w {vkey('w')}\n")
    assert policy.logs
    assert policy.witnesses


def test_octets_above_ascii_are_opaque() -> None:
    kelvin, kay, bare = "\u212a", "K", b"\xff".decode(errors="surrogateescape")
    lines = [f"witness {name} {vkey(str(n))}" for n, name in enumerate([kelvin, kay, bare])]
    policy = parse("\n".join([*lines, f"quorum {bare}", ""]))
    assert policy.quorum_met([witness_key("2")])
    assert not policy.quorum_met([witness_key("0"), witness_key("1")])


def test_unicode_space_does_not_separate() -> None:
    policy = parse(f"witness a\u00a0b {vkey('w')}\nquorum a\u00a0b\n")
    assert policy.witnesses[0].name == "a\u00a0b"


def test_a_name_may_be_a_keyword_but_none() -> None:
    policy = parse(f"witness any {vkey('w')}\ngroup all 1 any\ngroup 7 any all\nquorum 7\n")
    assert policy.quorum_met([witness_key("w")])


def test_3000_nested_groups_are_decided_without_recursion() -> None:
    lines = [f"witness g0 {vkey('w')}"]
    lines += [f"group g{n} 1 g{n - 1}" for n in range(1, 3000)]
    policy = parse("\n".join([*lines, "quorum g2999", ""]))
    assert policy.quorum_met([witness_key("w")])
    assert not policy.quorum_met([])


W = f"witness w {vkey('w')}\n"
V = f"witness v {vkey('v')}\n"
BAD_POLICIES = {
    "nothing": ("", "policy has no quorum line (quorum none asks for no witness)"),
    "no quorum": (W, "policy has no quorum line (quorum none asks for no witness)"),
    "two quorums": ("quorum none\nquorum none\n", "policy line 2: a second quorum"),
    "an unknown quorum": ("quorum w\n", "policy line 1: quorum 'w' is not defined above"),
    "a quorum before its witness": (
        f"quorum w\n{W}",
        "policy line 1: quorum 'w' is not defined above",
    ),
    "no last newline": ("quorum none", "policy does not end in a newline: is it cut off at "),
    "a carriage return": ("quorum none\r\n", "policy holds a control character: 0d"),
    "a NUL": ("# \0\nquorum none\n", "policy holds a control character: 00"),
    "a DEL": ("# \x7f\nquorum none\n", "policy holds a control character: 7f"),
    "an unknown word": (
        "mirror x\n",
        "policy line 1: expected log, witness, group or quorum, got 'mirror'",
    ),
    "upper case": ("Quorum none\n", "policy line 1: expected log, witness, group or quorum, got"),
    "a byte order mark": ("\ufeffquorum none\n", "policy line 1: expected log, witness, group"),
    "a comment at the end of a line": ("quorum none # x\n", "policy line 1: quorum with 3 items"),
    "a quorum of two": ("quorum none none\n", "policy line 1: quorum with 2 items"),
    "a bare quorum": ("quorum\n", "policy line 1: quorum with 0 items"),
    "a bare log": ("log\n", "policy line 1: log with 0 items"),
    "a log with three items": (f"log {LOG.vkey} u v\n", "policy line 1: log with 3 items"),
    "a witness without a key": ("witness w\n", "policy line 1: witness with 1 items"),
    "a witness with four items": (f"{W[:-1]} u v\n", "policy line 1: witness with 4 items"),
    "an empty group": (f"{W}group g any\n", "policy line 2: group with 2 items"),
    "a bad key": ("log x\n", "policy line 1: verifier key 'x': expected name+id+key"),
    "a witness key as a log's": (
        f"log {vkey('w')}\n",
        "policy line 1: the key of log 'w' is a witness's (type 4)",
    ),
    "a log key as a witness's": (
        f"witness w {LOG.vkey}\n",
        "policy line 1: witness key 'log.example': expected type 4 (cosignature), got type 1",
    ),
    "a log twice": (
        f"log {LOG.vkey}\nlog {LOG.vkey}\n",
        "policy line 2: the key of 'log.example' is listed twice",
    ),
    "a log's key under two names": (
        f"log {LOG.vkey}\nlog {SigningKey('b', signer('log.example').seed).verifier.vkey}\n",
        "policy line 2: the key of 'b' is listed twice",
    ),
    "a witness's key under two names": (
        W + f"witness v {cosigner_key(SigningKey('v', signer('w').seed)).vkey}\n",
        "policy line 2: the key of 'v' is listed twice",
    ),
    "a name twice": (
        W + f"witness w {vkey('v')}\n",
        "policy line 2: the name 'w' is taken",
    ),
    "a group of a witness's name": (W + "group w 1 w\n", "policy line 2: the name 'w' is taken"),
    "a witness called none": (
        f"witness none {vkey('w')}\n",
        "policy line 1: the name 'none' is taken",
    ),
    "a group called none": (W + "group none 1 w\n", "policy line 2: the name 'none' is taken"),
    "none as a member": ("group g 1 none\n", "policy line 1: member 'none' is not defined above"),
    "a member not defined": ("group g 1 w\n", "policy line 1: member 'w' is not defined above"),
    "a member defined below": (f"group g 1 w\n{W}", "policy line 1: member 'w' is not defined"),
    "itself as a member": ("group g 1 g\n", "policy line 1: member 'g' is not defined above"),
    "a member twice in a group": (W + "group g 1 w w\n", "policy line 2: 'w' is a member twice"),
    "a member of two groups": (
        W + V + "group g 1 w\ngroup h 1 v w\n",
        "policy line 4: 'w' is a member twice",
    ),
    **{
        f"a threshold of {threshold}": (
            W + f"group g {threshold} w\n",
            f"policy line 2: threshold of 'g': expected all, any or 1 to 1, got '{threshold}'",
        )
        for threshold in ["0", "2", "-1", "+1", "01", "1.0", "1_0", "ANY", "\u0661", "9" * 60]
    },
}


@pytest.mark.parametrize("name", BAD_POLICIES)
def test_a_bad_policy_is_rejected_with_its_line_and_fault(name: str) -> None:
    text, message = BAD_POLICIES[name]
    with pytest.raises(MalformedError) as caught:
        parse(text)
    assert caught.value.message.startswith(message)


def test_the_reason_and_the_advice_of_a_bad_key_survive() -> None:
    with pytest.raises(MalformedError) as caught:
        parse(f"witness w {signer('w').verifier.vkey}\n")
    assert caught.value.reason == "not-a-witness-key"
    assert caught.value.next_step.endswith(vkey("w"))


def test_a_policy_has_at_most_64_kib() -> None:
    largest = ("#" * (MAX_POLICY_BYTES - 13) + "\nquorum none\n").encode()
    assert len(largest) == MAX_POLICY_BYTES
    assert parse_tlog_policy(largest).quorum == "none"
    with pytest.raises(LimitError, match="at most 65536 bytes, this has 65537"):
        parse_tlog_policy(b"#" + largest)


def test_a_policy_of_32_logs_32_witnesses_and_32_groups_parses() -> None:
    lines = [f"log {signer(f'log{n}').verifier.vkey}" for n in range(32)]
    lines += [f"witness w{n} {vkey(f'w{n}')}" for n in range(32)]
    lines += [f"group g{n} all w{n}" for n in range(31)]
    lines += ["group top 20 " + " ".join(f"g{n}" for n in range(31)), "quorum top", ""]
    policy = parse("\n".join(lines))
    assert policy.quorum_met([witness_key(f"w{n}") for n in range(20)])
    assert not policy.quorum_met([witness_key(f"w{n}") for n in range(19)])


WORDS = st.sampled_from(
    [
        *["log", "witness", "group", "quorum", "none", "any", "all", "1", "2", "w", "g", "#", "\t"],
        *[vkey("w"), vkey("v"), LOG.vkey],
    ]
)


@given(st.binary() | st.lists(WORDS | st.just("\n"), max_size=30).map(" ".join).map(str.encode))
def test_any_bytes_are_a_policy_or_malformed(raw: bytes) -> None:
    for candidate in (raw, raw + b"\n", raw + b"\nquorum none\n"):
        try:
            policy = parse_tlog_policy(candidate)
        except MalformedError:
            continue
        names = {one.name for one in policy.witnesses} | {one.name for one in policy.groups}
        assert policy.quorum in names | {"none"}
        assert policy.quorum_met(policy.witness_keys)


@given(st.binary(max_size=200))
def test_a_damaged_policy_is_a_policy_or_malformed(junk: bytes) -> None:
    raw = EXAMPLE.encode()
    for position in range(0, len(raw), 97):
        try:
            parse_tlog_policy(raw[:position] + junk + raw[position + 1 :])
        except MalformedError:
            continue
