"""Where the files of a TUF repository are, if no server is asked: on a medium, or already here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from re import fullmatch
from typing import Final
from urllib.parse import unquote

from appliance.errors import ApplianceError, ArgumentError, IncompleteError, LimitError
from appliance.fetch.tuf import Get
from appliance.jobs.transfer.side_members import REPOSITORY_FILE, TUF, repository_place
from appliance.store.database import Store
from appliance.store.files import read_foreign
from appliance.store.verify.trust import ArrivedFile, arrived_files
from appliance.tlog.strict_json import parse_json
from appliance.value import frozen

_ROOT: Final = ".root.json"
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"


class Candidates:
    """The files of a repository that arrived: of a name there may be several, some of them junk.

    Whoever verifies one in vain refuses it, and is given another of the name from then on.
    """

    def __init__(self, files: Mapping[str, Sequence[ArrivedFile]], url: str) -> None:
        """Take the files by their place below the repository at `url`, the newest first."""
        self._files = files
        self._url = url
        self._refused: set[tuple[str, str]] = set()
        self._given: ArrivedFile | None = None
        self.passed_over: tuple[str, ...] = ()  # what was refused, and why

    def get(self, wanted: str, max_bytes: int) -> bytes:
        """Return what a server would have at a URL; raises as appliance.fetch.tuf.Get does."""
        *folders, name = _path(self._url, wanted)
        found = self._asked_for(folders, name)
        if found is None:
            raise IncompleteError(
                f"{self._url}: no {name} arrived",
                reason="no-file",
                next_step="import a newer transfer bundle of an exporter that follows it",
            )
        self._given = found
        if len(found.raw) > max_bytes:
            raise LimitError(f"{self._url}: {name} is larger than the {max_bytes} bytes allowed")
        return found.raw

    def refuse(self, error: ApplianceError) -> bool:
        """Give the file that was given last never again; False if there is none to refuse."""
        given, self._given = self._given, None
        if given is None:
            return False
        self._refused.add((given.path, given.digest))
        name = given.path.rpartition("/")[2]
        self.passed_over += (
            f"a {name} that transfer bundle {given.bundle_id[:12]} brought was passed over"
            f" (SHA-256 {given.digest}): {error.message}",
        )
        return True

    def _of(self, path: str) -> list[ArrivedFile]:
        found = self._files.get(path, ())
        return [one for one in found if (one.path, one.digest) not in self._refused]

    def _asked_for(self, folders: Sequence[str], name: str) -> ArrivedFile | None:
        """Return the file that a server would have by this name, of all that arrived.

        They are kept without the version or the digest that stands before a server's names; both
        are claims here, which decide what is looked at first and nothing else.
        """
        found = self._of("/".join([*folders, name]))
        if found and name.endswith(_ROOT):
            return found[0]
        first, _, rest = name.partition(".")
        if not found and "." in rest:
            found = self._of("/".join([*folders, rest]))
        if not found:
            return None
        if folders:
            return next((one for one in found if one.digest == first), found[0])
        version = int(first) if first.isdecimal() else None
        exact = (one for one in found if _claimed_version(one.raw) == version)
        return next(exact, max(found, key=lambda one: _claimed_version(one.raw)))


@frozen
class Local:
    """A repository's files, known by a URL like any other's."""

    url: str  # what the repository is known by here
    where: str  # for messages
    get: Get
    roots: tuple[bytes, ...] = ()  # root documents that are here, whatever they are called
    candidates: Candidates | None = None  # where there may be several files of a name


def in_directory(directory: Path, url: str | None) -> Local:
    """Return the repository in a directory, as `log tuf-repository` or a copy of a server has it.

    Without a URL it is known by where it lies.
    """
    directory = directory.absolute()
    known_by = url or f"{directory.as_uri()}/"

    def get(wanted: str, max_bytes: int) -> bytes:
        return read_foreign(directory.joinpath(*_path(known_by, wanted)), max_bytes)

    return Local(known_by, str(directory), get)


def that_arrived(store: Store, url: str | None) -> Local:
    """Return the repository that transfer bundles brought, of each file the version that is asked.

    Raises IncompleteError (not-arrived) if none came, ArgumentError (which-repository) if
    several did and no URL says which.
    """
    arrived: dict[str, list[ArrivedFile]] = {}
    for one in arrived_files(store):  # the newest first
        arrived.setdefault(one.path, []).append(one)
    said = (
        (one.raw.decode("utf-8", "replace").strip(), path.removesuffix(REPOSITORY_FILE))
        for path, found in arrived.items()
        for one in found
        if path.startswith(TUF) and path.endswith(f"/{REPOSITORY_FILE}")
    )
    # What a place is called follows from the URL: a file cannot claim another one's.
    places = {one: place for one, place in said if place == f"{repository_place(one)}/"}
    if url is None and len(places) > 1:
        raise ArgumentError(
            f"transfer bundles brought {len(places)} TUF repositories: {', '.join(sorted(places))}",
            reason="which-repository",
            next_step="say which with --repository URL",
        )
    known_by = url or next(iter(places), None)
    if known_by is None or known_by not in places:
        raise IncompleteError(
            f"no transfer bundle brought the TUF repository {known_by or ''}".rstrip(),
            reason="not-arrived",
            next_step="import one whose exporter follows it; see 'attestor trust arrived'",
        )
    place = places[known_by]
    files = {
        path.removeprefix(place): found for path, found in arrived.items() if path.startswith(place)
    }
    roots = tuple(one.raw for path, found in files.items() if path.endswith(_ROOT) for one in found)
    candidates = Candidates(files, known_by)
    return Local(known_by, f"{known_by}, as it arrived", candidates.get, roots, candidates)


def _claimed_version(raw: bytes) -> int:
    """Return which version metadata says it is; -1 if it says nothing."""
    try:
        document = parse_json(raw)
    except ApplianceError:
        return -1
    signed = document.get("signed") if isinstance(document, dict) else None
    version = signed.get("version") if isinstance(signed, dict) else None
    return version if isinstance(version, int) else -1


def _path(url: str, wanted: str) -> list[str]:
    """Return a file's place below the repository; no name from data leads out of it."""
    parts = unquote(wanted.removeprefix(url)).split("/")
    if not wanted.startswith(url) or not all(fullmatch(_NAME, one) for one in parts):
        raise LimitError(f"{url}: no file of a repository is called {wanted[:200]!r}")
    return parts
