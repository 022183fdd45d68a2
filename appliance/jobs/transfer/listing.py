"""All members of one volume, in the order of the format, walked without being kept."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from appliance.jobs.transfer.item_members import ItemMembers
from appliance.jobs.transfer.items import Item
from bundles.writer import Listed, Lister, Member

_DIGEST_BYTES: Final = 32
_NAMES_IN_ONE: Final = 512
Read = Callable[[bytes], bytes]  # a blob by its digest


class Listing:
    """Members, described anew in each walk.

    Of what a blob has only the end of its name, digest and size are kept: some 60 bytes, for
    there may be millions.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._parts: list[tuple[Member, ...] | _Described] = []
        self._lister = Lister()

    @property
    def occupied_bytes(self) -> int:
        """What they take up in an archive, with their lines."""
        return self._lister.occupied_bytes

    def end(self) -> Listed:
        """Return what there is to say of them; raises FormatError if they do not go together."""
        return self._lister.end()

    def __iter__(self) -> Iterator[Member]:
        for part in self._parts:
            yield from part

    def add(self, *members: Member) -> None:
        """Append members that are few."""
        self._parts.append(members)
        for member in members:
            self._lister.add(member)

    def describe(self, directory: str, members: ItemMembers, items: Iterable[Item]) -> None:
        """Append items of a log, whose members stand below a directory."""
        part = _Described(directory, members, self._read)
        self._parts.append(part)
        for item in items:
            self._lister.add(part.keep(item))


class _Described:
    """Items of one log: the names of their members and the blobs these are in."""

    def __init__(self, directory: str, members: ItemMembers, read: Read) -> None:
        self._prefix = f"{directory}/"
        self._members = members
        self._read = read
        self._names: list[bytes] = []  # many in one
        self._last_names: list[str] = []
        self._digests = bytearray()
        self._sizes = array("Q")
        self._others: dict[int, Item] = {}  # that are in no blob, by number

    def keep(self, item: Item) -> Member:
        """Keep what the next item's member is, and return it."""
        blob = self._members.stored(item)
        if blob is None:
            self._others[len(self._sizes)] = item
        member = self._members.member(item, blob)
        self._last_names.append(member.path.removeprefix(self._prefix))
        if len(self._last_names) == _NAMES_IN_ONE:
            self._names.append("\n".join(self._last_names).encode())
            self._last_names = []
        self._digests += member.sha256
        self._sizes.append(member.size)
        return member

    def __iter__(self) -> Iterator[Member]:
        prefix, read, digests, sizes = self._prefix, self._read, self._digests, self._sizes
        for number, name in enumerate(self._all_names()):
            if number in self._others:
                yield self._members.member(self._others[number])
                continue
            at = number * _DIGEST_BYTES
            digest = bytes(digests[at : at + _DIGEST_BYTES])
            yield Member(prefix + name, sizes[number], digest, partial(read, digest))

    def _all_names(self) -> Iterator[str]:
        for names in self._names:
            yield from names.decode().split("\n")
        yield from self._last_names
