"""A Rekor v2 log, or any log in tlog-tiles form, read over HTTP (c2sp.org/tlog-tiles)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

from appliance.errors import ApplianceError, MalformedError, RemoteError
from appliance.fetch.http import WORTH_ANOTHER_TRY, HttpClient, url_prefix
from appliance.fetch.parallel import fetch_all
from appliance.fetch.response import LOOK_AT_IT, ResponseFacts, first_words, refuse_page
from appliance.rekor.log_info_v1 import MAX_INFO_BYTES
from appliance.tlog.entries import MAX_BUNDLE_BYTES, parse_entry_bundle, truncate_entry_bundle
from appliance.tlog.merkle import HASH_BYTES
from appliance.tlog.note import MAX_NOTE_BYTES
from appliance.tlog.strict_json import parse_json
from appliance.tlog.tile import WIDTH, EntryBundle, Tile

Place = TypeVar("Place", Tile, EntryBundle)

READ_PATH: Final = "api/v2/"  # below a log's base URL, as the specification has it
# On their way while what came is made durable; who is interrupted fetches these again.
AHEAD_TILES: Final = 256
AHEAD_BYTES: Final = 32 * 1024 * 1024  # of entry bundles
MAX_TILE_BYTES: Final = 2 * WIDTH * HASH_BYTES  # room to say by how much a tile is too long


IS_V1: Final = "rekor-v1"  # the reason if a server of that version answers
NOTE_MARK: Final = "\n\n\N{EM DASH} ".encode()  # before the signatures of any signed note


class RekorV2Log:
    """A LogSource over one read prefix. Nothing it returns is authenticated."""

    def __init__(self, http: HttpClient, base_url: str, read_url: str | None = None) -> None:
        """Read below `read_url`, or if that is absent below `base_url`/api/v2/.

        Where a log is written to, where it is read and what its origin is are three
        different things. Raises ConfigError for a URL that is none.
        """
        self._http = http
        self._prefix = url_prefix(read_url) if read_url else url_prefix(base_url) + READ_PATH
        self.checkpoint_facts: ResponseFacts | None = None  # of the last checkpoint()

    @property
    def description(self) -> str:
        """The read prefix."""
        return self._prefix

    @property
    def exchange(self) -> Mapping[str, Any]:
        """Who answered the last checkpoint(), with which status, headers and certificate."""
        return {} if self.checkpoint_facts is None else self.checkpoint_facts.described

    def checkpoint(self, stopped: threading.Event | None = None) -> bytes:
        """Return the newest signed note it offers; `checkpoint_facts` says how it came."""
        try:
            response = self._http.get(f"{self._prefix}checkpoint", MAX_NOTE_BYTES, stopped=stopped)
        except RemoteError as error:
            if error.reason in ("not-found", "http-status"):
                error.next_step = (
                    "set readUrl to the prefix where this log serves its checkpoint and tiles: "
                    "rekor-server itself serves none"
                )
                if self._is_v1(stopped):
                    error.reason = IS_V1
                    error.message += (
                        ", but the paths of version 1 are: this looks like a Rekor v1 log"
                    )
                    error.next_step = "add it as one: --api-version 1"
            raise
        if NOTE_MARK not in response.body:
            refuse_page(response, "a signed note")
            raise RemoteError(
                f"{self._prefix}checkpoint: expected a signed note, got status {response.status},"
                f" Content-Type {response.facts.lower_headers.get('content-type', 'none')[:80]!r},"
                f" beginning {first_words(response.body)!r}",
                reason="not-what-was-asked",
                next_step=f"{LOOK_AT_IT}, or it is not the log's read URL",
            )
        self.checkpoint_facts = response.facts
        return response.body

    def _is_v1(self, stopped: threading.Event | None) -> bool:
        """Whether a Rekor v1 log answers where a v2 log was expected.

        Raises the RemoteError of one that cannot answer now: that is what is in the way.
        """
        url = f"{self._prefix.removesuffix(READ_PATH)}api/v1/log"
        try:
            found = parse_json(self._http.get(url, MAX_INFO_BYTES, stopped=stopped).body, url)
        except ApplianceError as error:
            if error.reason in WORTH_ANOTHER_TRY | {"redirect"}:
                raise
            return False
        return isinstance(found, dict) and {"treeSize", "rootHash"} <= found.keys()

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Yield each wanted tile, width x 32 bytes, in any order, as they come."""
        threads = self._http.settings.connections
        return fetch_all(wanted, self._tile, threads=threads, ahead=AHEAD_TILES)

    def entry_bundles(self, wanted: Iterable[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Yield each wanted entry bundle, decoded and well-formed, in any order, as they come."""
        # A log makes each of them up to 16 MiB, so none is fetched before there is room.
        n = self._http.settings.connections
        fetch = self._entry_bundle
        return fetch_all(wanted, fetch, threads=n, ahead=3 * n, max_bytes=AHEAD_BYTES)

    def _tile(self, tile: Tile, stopped: threading.Event) -> bytes:
        found, data = self._get(tile, MAX_TILE_BYTES, stopped)
        if len(data) != found.width * HASH_BYTES:
            raise MalformedError(
                f"{self._prefix}{found.path}: expected {found.width * HASH_BYTES} bytes, "
                f"got {len(data)}",
                reason="tile-length",
                next_step="the server or a cache serves a wrong file; try another source",
            )
        return data[: tile.width * HASH_BYTES]

    def _entry_bundle(self, bundle: EntryBundle, stopped: threading.Event) -> bytes:
        found, data = self._get(bundle, MAX_BUNDLE_BYTES, stopped)
        try:
            parse_entry_bundle(data, found)
        except MalformedError as error:
            raise MalformedError(
                f"{self._prefix}{error.message}",  # which begins with the path
                reason=error.reason,
                next_step="the server or a cache serves a wrong file; try another source",
            ) from error
        return truncate_entry_bundle(data, bundle.width)

    def _get(self, wanted: Place, max_bytes: int, stopped: threading.Event) -> tuple[Place, bytes]:
        """Return the wanted thing or the full one in its place, and which of the two it is.

        A log deletes partial tiles once the full tile exists, which begins the same.
        """
        for place in dict.fromkeys((wanted, wanted.full)):
            try:
                response = self._http.get(
                    f"{self._prefix}{place.path}",
                    max_bytes,
                    gzip_allowed=isinstance(place, EntryBundle),
                    stopped=stopped,
                )
            except RemoteError as error:
                if error.reason != "not-found":
                    raise
            else:
                return place, response.body
        raise RemoteError(
            f"{self._prefix}{wanted.path}: not found" + ("" if wanted.is_full else ", nor full"),
            reason="not-found",
            next_step="fetch the checkpoint again; if this stays, the log has lost data",
        )
