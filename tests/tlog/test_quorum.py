"""A checkpoint needs the witnesses its log's policy asks for, and their real signatures."""

from __future__ import annotations

import pytest

from appliance.errors import RefusedError, SignatureError
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.cosignature import cosign, cosigner_key
from appliance.tlog.note import SigningKey
from appliance.tlog.quorum import quorum_time, verify_quorum
from appliance.tlog.tlog_policy import TlogPolicy, parse_tlog_policy
from tests.simulator import SimulatedLog

WITNESSES = [SigningKey(f"witness{number}.example", bytes([number]) * 32) for number in range(3)]


def policy(quorum: str) -> TlogPolicy:
    lines = [f"witness w{n} {cosigner_key(key).vkey}\n" for n, key in enumerate(WITNESSES)]
    return parse_tlog_policy(
        "".join([*lines, "group two 2 w0 w1 w2\n", f"quorum {quorum}\n"]).encode()
    )


def cosigned(*times: int | None) -> SignedCheckpoint:
    """A checkpoint cosigned by each witness that has a time."""
    log = SimulatedLog()
    log.grow(5)
    checkpoint = open_checkpoint(log.checkpoint(), [log.key], log.origin)
    note = checkpoint.note
    for key, at in zip(WITNESSES, times, strict=False):
        if at is not None:
            note += cosign(checkpoint, key, at).line.encode()
    return open_checkpoint(note, [log.key], log.origin)


@pytest.mark.parametrize(
    ("quorum", "times", "suffices"),
    [
        ("none", (), True),
        ("w0", (), False),
        ("w0", (5,), True),
        ("w0", (None, 5, 6), False),
        ("two", (5,), False),
        ("two", (5, None, 6), True),
    ],
)
def test_enough_witnesses_suffice(quorum: str, times: tuple[int, ...], suffices: bool) -> None:
    checkpoint = cosigned(*times)
    if suffices:
        found = verify_quorum(checkpoint, policy(quorum))
        assert [one.timestamp for one in found] == [at for at in times if at is not None]
        return
    with pytest.raises(RefusedError, match=f"quorum '{quorum}'") as caught:
        verify_quorum(checkpoint, policy(quorum))
    assert caught.value.reason == "quorum"


def test_a_forged_cosignature_is_a_no_and_not_an_absence() -> None:
    checkpoint = cosigned(5)
    lines = checkpoint.note.decode().split("\n")
    lines[-2] = lines[-2][:-6] + ("AAAA==" if lines[-2][-6:] != "AAAA==" else "BBBB==")
    forged = SignedCheckpoint(checkpoint.checkpoint, "\n".join(lines).encode(), checkpoint.signers)
    with pytest.raises(SignatureError):
        verify_quorum(forged, policy("none"))
    with pytest.raises(SignatureError):
        quorum_time([forged], policy("two"))


def test_the_time_is_that_of_a_whole_quorum_and_none_that_is_to_come() -> None:
    assert quorum_time([cosigned(7, None, 3)], policy("none")) is None
    assert quorum_time([cosigned(7, None, None)], policy("two")) is None
    assert quorum_time([cosigned(7, None, 3)], policy("two")) == 3
    # One witness that dates itself far ahead makes nothing fresh.
    assert quorum_time([cosigned(4_102_444_800, 5, 3)], policy("two"), not_after=9) == 3
    assert quorum_time([cosigned(7, None, 3), cosigned(None, 6, 2)], policy("two")) == 6
