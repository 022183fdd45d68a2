"""Following a TUF repository: from one root document we trust to the files it vouches for.

Its files come by our HTTP, or from wherever the caller has them: a stick, a transfer bundle.

The client workflow (TUF specification 5) is python-tuf's. Ours are HTTP that always ends,
the pin of the first root, and a second look at all of it (tuf_metadata.py). Files exist for
the run only, because python-tuf wants a directory; what it verified is returned, and
stored by the caller, all or nothing.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from re import fullmatch
from typing import IO, Final, TypeAlias

from tuf.api import exceptions
from tuf.api.metadata import TargetFile
from tuf.api.serialization import DeserializationError
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from appliance.errors import (
    DigestError,
    IncompleteError,
    LimitError,
    MalformedError,
    RemoteError,
    SignatureError,
    StoreError,
    VerificationError,
)
from appliance.fetch.http import HttpClient
from appliance.fetch.response import refuse_page
from appliance.fetch.tuf_metadata import Verified, parse_targets, verify_chain
from appliance.value import frozen

MAX_ROOTS: Final = 256  # steps from one root to the newest, in one run
MAX_METADATA_BYTES: Final = 5_000_000
MAX_ROOT_BYTES: Final = 512_000
MAX_FILE_BYTES: Final = 2 * 1024 * 1024
MAX_FILES: Final = 16
TRUSTED_ROOT: Final = "trusted_root.json"

_WANTED: Final = r"trusted_root\.json|(signing|monitor)_config[A-Za-z0-9._-]*\.json"
_MISSING: Final = ("not-found", "no-file")
_NEWER: Final = ("timestamp", "snapshot", "targets")
_AGAIN: Final = "try again; if it stays, compare with another network before trusting anything"


@frozen
class Followed:
    """What a repository says now, verified from the root we started at."""

    roots: tuple[Verified, ...]  # from that one to the newest
    timestamp: Verified
    snapshot: Verified
    targets: Verified
    files: tuple[tuple[str, bytes], ...]  # trusted root, signing and monitor configs, by name


# Returns the file at a URL of the repository, of at most so many bytes. Raises RemoteError
# (not-found) or IncompleteError (no-file) for one that is not there.
Get: TypeAlias = Callable[[str, int], bytes]


class BoundedFetcher(FetcherInterface):
    """python-tuf's way to the files, which is ours."""

    def __init__(self, get: Get) -> None:
        self._file = get

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Yield the body; a missing file is python-tuf's error, any other failure ours."""
        yield BytesIO(self._get(url, max_length))

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self._get(url, MAX_METADATA_BYTES)

    def _get(self, url: str, max_bytes: int) -> bytes:
        try:
            return self._file(url, max_bytes)
        except (RemoteError, IncompleteError) as error:
            if error.reason in _MISSING:  # how python-tuf learns that no newer root exists
                raise exceptions.DownloadHTTPError(error.message, 404) from error
            raise


def over_http(http: HttpClient) -> Get:
    """Return what fetches the files of a repository from a server."""

    def get(url: str, max_bytes: int) -> bytes:
        response = http.get(url, max_bytes)
        refuse_page(response, "a file of a TUF repository")
        return response.body

    return get


def fetch_root(get: Get, url: str, digest: bytes, version: int | None = None) -> bytes:
    """Return the root document with this SHA-256; without `version` it is searched from 1 on.

    Raises DigestError (tuf-root-digest) if there is none.
    """
    for number in range(1, MAX_ROOTS + 1) if version is None else [version]:
        try:
            raw = get(f"{url}{number}.root.json", MAX_ROOT_BYTES)
        except (RemoteError, IncompleteError) as error:
            if error.reason in _MISSING and number > 1 and version is None:
                break
            error.next_step = "check the URL, or give a root document with --root FILE"
            raise
        if sha256(raw).digest() == digest:
            return raw
    which = "any version" if version is None else f"version {version}"
    raise DigestError(
        f"{url}: expected {which} of its root document to have SHA-256 {digest.hex()}; none has",
        reason="tuf-root-digest",
        next_step="compare the digest over another channel, and the URL",
    )


def follow(
    get: Get, url: str, root: bytes, known: Mapping[str, bytes], where: str | None = None
) -> Followed:
    """Walk the roots from `root` to the newest, then timestamp, snapshot, targets, files.

    `where` they are, if that is not the URL, is for messages. `known` is what was verified of
    the other roles before, by role: nothing older is taken. Raises VerificationError or a family
    of it (reasons tuf-signature, tuf-expired, tuf-rollback, tuf-digest, tuf-malformed,
    tuf-repository), LimitError, and as `get` does.
    """
    with (
        _our_errors(where or url),
        tempfile.TemporaryDirectory(prefix="attestor-tuf-") as temporary,
    ):
        directory = Path(temporary)  # mode 0700
        for role, raw in known.items():
            (directory / f"{role}.json").write_bytes(raw)
        updater = Updater(
            metadata_dir=temporary,
            metadata_base_url=url,
            target_base_url=f"{url}targets/",
            fetcher=BoundedFetcher(get),
            config=UpdaterConfig(max_root_rotations=MAX_ROOTS, root_max_length=MAX_ROOT_BYTES),
            bootstrap=root,
        )
        updater.refresh()
        newer = [(directory / f"{role}.json").read_bytes() for role in _NEWER]
        roots, others = verify_chain(_roots(directory), dict(zip(_NEWER, newer, strict=True)))
        wanted = _wanted(url, parse_targets(newer[-1]))
        files = tuple((one.path, _download(updater, one, directory)) for one in wanted)
    return Followed(roots, *others, files)


def _roots(directory: Path) -> tuple[bytes, ...]:
    """Return the roots that python-tuf verified, from the first to the newest."""
    files = (directory / "root_history").glob("*.root.json")
    numbered = sorted((int(file.name.partition(".")[0]), file) for file in files)
    return tuple(file.read_bytes() for _, file in numbered)


def _wanted(url: str, targets: Mapping[str, TargetFile]) -> list[TargetFile]:
    """Choose what we have a use for, in the top-level role only: no delegation is followed."""
    found = [targets[name] for name in sorted(targets) if fullmatch(_WANTED, name)]
    if TRUSTED_ROOT not in targets:
        raise VerificationError(
            f"{url}: its targets do not include {TRUSTED_ROOT}",
            reason="tuf-no-trusted-root",
            next_step="compare the URL: is this a Sigstore trust repository?",
        )
    if len(found) > MAX_FILES:
        raise LimitError(f"{url}: expected at most {MAX_FILES} files for us, got {len(found)}")
    for one in found:
        if one.length > MAX_FILE_BYTES:
            raise LimitError(
                f"{url}: {one.path}: expected at most {MAX_FILE_BYTES} bytes, "
                f"{one.length} are announced"
            )
    return found


def _download(updater: Updater, target: TargetFile, directory: Path) -> bytes:
    place = directory / "file"  # no name from data becomes a path
    updater.download_target(target, filepath=str(place))
    return place.read_bytes()


@contextlib.contextmanager
def _our_errors(url: str) -> Iterator[None]:
    """Turn python-tuf's errors into ours, which say whose fault it is."""
    try:
        yield
    except exceptions.DownloadHTTPError as error:
        raise error.__cause__ or error from error
    except exceptions.ExpiredMetadataError as error:
        raise VerificationError(
            f"{url}: {error}",
            reason="tuf-expired",
            next_step="check this machine's clock; else the repository is stale, or somebody "
            "keeps its updates from us",
        ) from error
    except exceptions.UnsignedMetadataError as error:
        raise SignatureError(f"{url}: {error}", reason="tuf-signature", next_step=_AGAIN) from error
    except exceptions.BadVersionNumberError as error:
        raise VerificationError(
            f"{url}: an older or mixed-up state is served: {error}",
            reason="tuf-rollback",
            next_step=_AGAIN,
        ) from error
    except exceptions.LengthOrHashMismatchError as error:
        raise DigestError(f"{url}: {error}", reason="tuf-digest", next_step=_AGAIN) from error
    except DeserializationError as error:
        raise MalformedError(
            f"{url}: not TUF metadata: {error.__cause__ or error}"[:500], reason="tuf-malformed"
        ) from error
    except exceptions.RepositoryError as error:
        raise VerificationError(
            f"{url}: {error}", reason="tuf-repository", next_step=_AGAIN
        ) from error
    except OSError as error:
        raise StoreError(
            f"temporary directory: {error}",
            reason="temporary-directory",
            next_step="free space there, or set TMPDIR",
        ) from error
