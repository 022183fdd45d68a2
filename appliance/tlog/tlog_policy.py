"""Which logs count, and whose cosignatures suffice (c2sp.org/tlog-policy).

    log VKEY [URL]
    witness NAME VKEY [URL]
    group NAME all|any|THRESHOLD MEMBER...
    quorum NAME|none

Names exist only inside the file. Lines refer to earlier lines only, so one pass over the
groups decides. Octets above 0x7F are opaque, as the specification wants: they are kept
as surrogates unless they are UTF-8, and equal only to themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final

from appliance.errors import LimitError, MalformedError
from appliance.patterns import pattern
from appliance.tlog.cosignature import parse_witness_vkey
from appliance.tlog.note_keys import COSIGNATURE_TYPES, KeyType, VerifierKey, is_among, parse_vkey
from appliance.value import frozen, replaced

MAX_POLICY_BYTES: Final = 64 * 1024
NO_QUORUM: Final = "none"
_FORBIDDEN: Final = pattern(rb"[^\t\n\x20-\x7e\x80-\xff]")
_THRESHOLD: Final = pattern(r"[1-9][0-9]{0,4}")


@frozen
class PolicyLog:
    """A log whose checkpoints count. Its key's name is its origin."""

    key: VerifierKey
    url: str = ""  # what for is the application's affair


@frozen
class Witness:
    """A witness, under the name the policy gives it."""

    name: str
    key: VerifierKey  # type 4
    url: str = ""


@frozen
class Group:
    """Witnesses that a checkpoint as soon as enough of its members do."""

    name: str
    threshold: int  # 1..len(members)
    members: tuple[str, ...]  # names of witnesses and groups


@frozen
class TlogPolicy:
    """A policy that parsed. Every name in it is defined before it is used."""

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]  # in the order of the file: members before their groups
    quorum: str  # a witness, a group, or none

    @property
    def log_keys(self) -> tuple[VerifierKey, ...]:
        """The keys of its logs, for opening checkpoints."""
        return tuple(log.key for log in self.logs)

    @property
    def witness_keys(self) -> tuple[VerifierKey, ...]:
        """The keys of its witnesses, for opening cosignatures."""
        return tuple(witness.key for witness in self.witnesses)

    def without(self, keys: Collection[VerifierKey]) -> TlogPolicy:
        """Return the policy with none of `keys` for a witness; groups keep their thresholds."""
        left = tuple(witness for witness in self.witnesses if not is_among(witness.key, keys))
        return replaced(self, witnesses=left)

    def quorum_met(self, cosigners: Collection[VerifierKey]) -> bool:
        """Whether these witnesses, whose cosignatures were verified, suffice."""
        satisfied = {NO_QUORUM}
        # Whoever signed the checkpoint as its log has not vouched for it as a witness.
        cosigners = [key for key in cosigners if key.key_type in COSIGNATURE_TYPES]
        satisfied.update(
            witness.name for witness in self.witnesses if is_among(witness.key, cosigners)
        )
        for group in self.groups:
            if sum(member in satisfied for member in group.members) >= group.threshold:
                satisfied.add(group.name)
        return self.quorum in satisfied


def parse_tlog_policy(raw: bytes) -> TlogPolicy:
    """Parse a policy file.

    Raises LimitError if it is over 64 KiB; MalformedError, naming the line, for anything
    the specification does not allow: octets, names, keys, thresholds, forward references,
    a member of two groups, no quorum or two, a last line without its newline.
    """
    if len(raw) > MAX_POLICY_BYTES:
        raise LimitError(f"a policy has at most {MAX_POLICY_BYTES} bytes, this has {len(raw)}")
    if forbidden := _FORBIDDEN.search(raw):
        raise MalformedError(f"policy holds a control character: {forbidden[0].hex()}")
    *lines, last = raw.decode("utf-8", errors="surrogateescape").split("\n")
    if last:
        raise MalformedError(f"policy does not end in a newline: is it cut off at {last[:80]!r}?")
    builder = _Builder()
    for number, line in enumerate(lines, 1):
        items = [item for item in re.split(r"[ \t]", line) if item]
        if items and not items[0].startswith("#"):
            try:
                builder.add(*items)
            except MalformedError as error:
                raise MalformedError(
                    f"policy line {number}: {error.message}",
                    reason=error.reason,
                    next_step=error.next_step,
                ) from error
    return builder.finish()


class _Builder:
    """A policy, line by line."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[Witness] = []
        self.groups: list[Group] = []
        self.quorum = ""
        self._names = {NO_QUORUM}
        self._members: set[str] = set()

    def add(self, kind: str, *items: str) -> None:
        lines: dict[str, tuple[Callable[..., None], int, int]] = {
            "log": (self._add_log, 1, 2),
            "witness": (self._add_witness, 2, 3),
            "group": (self._add_group, 3, MAX_POLICY_BYTES),
            "quorum": (self._set_quorum, 1, 1),
        }
        if kind not in lines:
            raise MalformedError(f"expected log, witness, group or quorum, got {kind[:80]!r}")
        add, fewest, most = lines[kind]
        if not fewest <= len(items) <= most:
            raise MalformedError(f"{kind} with {len(items)} items")
        add(*items)

    def _add_log(self, vkey: str, url: str = "") -> None:
        key = parse_vkey(vkey)
        if key.key_type is KeyType.COSIGNATURE:
            raise MalformedError(f"the key of log {key.name!r} is a witness's (type 4)")
        _check_new_key(key, [log.key for log in self.logs])
        self.logs.append(PolicyLog(key, url))

    def _add_witness(self, name: str, vkey: str, url: str = "") -> None:
        key = parse_witness_vkey(vkey)
        _check_new_key(key, [witness.key for witness in self.witnesses])
        self._define(name)
        self.witnesses.append(Witness(name, key, url))

    def _add_group(self, name: str, threshold: str, *members: str) -> None:
        for member in members:
            if member == NO_QUORUM or member not in self._names:
                raise MalformedError(f"member {member[:80]!r} is not defined above")
            if member in self._members:
                raise MalformedError(f"{member[:80]!r} is a member twice")
            self._members.add(member)
        needed = {"any": "1", "all": str(len(members))}.get(threshold, threshold)
        if not _THRESHOLD.fullmatch(needed) or int(needed) > len(members):
            raise MalformedError(
                f"threshold of {name[:80]!r}: expected all, any or 1 to {len(members)}, "
                f"got {threshold[:80]!r}"
            )
        self._define(name)
        self.groups.append(Group(name, int(needed), members))

    def _set_quorum(self, name: str) -> None:
        if self.quorum:
            raise MalformedError("a second quorum")
        if name not in self._names:
            raise MalformedError(f"quorum {name[:80]!r} is not defined above")
        self.quorum = name

    def _define(self, name: str) -> None:
        if name in self._names:
            raise MalformedError(f"the name {name[:80]!r} is taken")
        self._names.add(name)

    def finish(self) -> TlogPolicy:
        if not self.quorum:
            raise MalformedError("policy has no quorum line (quorum none asks for no witness)")
        return TlogPolicy(tuple(self.logs), tuple(self.witnesses), tuple(self.groups), self.quorum)


def _check_new_key(key: VerifierKey, known: Collection[VerifierKey]) -> None:
    """Two names for one public key would count one signer twice."""
    if is_among(key, known):
        raise MalformedError(f"the key of {key.name!r} is listed twice")
